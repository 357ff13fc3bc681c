"""Figures about the guard and the limits of control groups, for monitoring."""

from __future__ import annotations

from pathlib import Path

from oomrules.kills import guarded
from oomrules.service import metrics
from tests.children import CHECKOUT


def test_without_a_guard_there_are_no_figures_of_one() -> None:
    assert metrics._of_guard(None) == ()


def test_every_act_is_counted_from_the_start_and_the_page_names_the_figures() -> None:
    off = {key: value for _, key, value, _ in metrics._of_guard({"state": "off"})}
    assert set(off["guard_acts"]) == {*guarded.IDS, "dry"} and not any(off["guard_acts"].values())
    assert (off["guard_on"], off["guard_armed"], off["guard_reaction_seconds"]) == (0, 0, None)
    document = {
        "state": "on",
        "armed": 3,
        "counts": {"killed": 2},
        "last": {"reaction": 0.004, "won": 1 << 30},
    }
    on = {key: value for _, key, value, _ in metrics._of_guard(document)}
    assert (on["guard_on"], on["guard_armed"], on["guard_acts"]["killed"]) == (1, 3, 2)
    assert (on["guard_reaction_seconds"], on["guard_won_bytes"]) == (0.004, 1 << 30)
    page = (Path(CHECKOUT) / "docs" / "service.md").read_text(encoding="utf-8")
    assert all(f"`oomrules_{key}" in page for key in on)


def test_whether_the_list_is_followed_at_a_limit_is_a_figure() -> None:
    assert metrics._of_limits(None) == ()
    page = (Path(CHECKOUT) / "docs" / "service.md").read_text(encoding="utf-8")
    for by, ooms in (("/proc/oom", 3), ("oom_score_adj", None), (None, 0)):
        said = metrics._of_limits({"by": by, "why": None, "ooms": ooms})
        found = {key: (kind, value) for kind, key, value, _ in said}
        assert found["memcg_followed"] == ("gauge", int(by is not None))
        assert found["memcg_ooms"] == ("counter", ooms)
        assert all(f"`oomrules_{key}" in page for key in found)
