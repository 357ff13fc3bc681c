"""What the service says of OOMs at the limit of a control group."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oomrules import targets
from oomrules.service import status
from oomrules.service.loop import Service

HERE, VALUES = "oom", targets.OOM_SCORE_ADJ
FOLLOWED = "memcg 1\nmemcg_error 0\nmemcg_ooms 12\n"
REFUSED = "memcg 0\nmemcg_error 95\nmemcg_ooms 0\n"
WHY = "errno 95"


@pytest.mark.parametrize(
    ("said", "to", "by", "why", "ooms"),
    [
        (FOLLOWED, [HERE], HERE, None, 12),
        (FOLLOWED, [HERE, VALUES], HERE, None, 12),
        (REFUSED, [HERE, VALUES], VALUES, WHY, 0),
        (REFUSED, [HERE], None, WHY, 0),
        ("", [HERE], None, "older", None),
        # The module is there, and the list is not in it.
        (FOLLOWED, [VALUES], VALUES, None, None),
        (None, [VALUES], VALUES, None, None),
        # It has gone since the list was put there.
        (None, [HERE], None, None, None),
    ],
)
def test_by_what_the_kernel_follows_the_list(
    said: str | None,
    to: list[str],
    by: str | None,
    why: str | None,
    ooms: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = str(tmp_path / HERE)
    monkeypatch.setattr(targets, "KERNEL_LIST", module)
    monkeypatch.setattr(targets, "IN_FORCE", (module, VALUES))
    if said is not None:
        Path(module).touch()
        Path(f"{module}_stat").write_text(said)
    found = status._memcg([module if target == HERE else target for target in to])
    assert found is not None
    assert found["by"] == (module if by == HERE else by) and found["ooms"] == ooms
    assert (found["why"] is None) if why is None else why in found["why"]


def test_a_list_that_is_in_force_nowhere_is_followed_by_nothing() -> None:
    assert status._memcg(["/run/a list"]) is None and status._memcg([]) is None


def test_what_the_module_does_not_cover_is_logged_once_until_that_changes() -> None:
    logged: list[str] = []
    service: Any = SimpleNamespace(
        current_list=SimpleNamespace(uncovered=""),
        problems=SimpleNamespace(say=lambda message, _: logged.append(message)),
        _uncovered="",
    )
    for uncovered in ("", "one", "one", "other", "", ""):
        service.current_list.uncovered = uncovered
        Service._tell_uncovered(service)
    assert logged == ["one", "other", "no longer so: other"]
