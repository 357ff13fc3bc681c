"""`oomrules diff`: what a change of rules means, for the processes there are and could be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.reason import diff
from tests.commands.done import DATA, Done
from tests.oracle import strategies
from tests.oracle.strategies import thorough

Run = Callable[..., Done]


@pytest.fixture
def rules(tmp_path: Path) -> Callable[[str, str], tuple[Path, Path]]:
    def write(old: str, new: str) -> tuple[Path, Path]:
        paths = tmp_path / "old.oom", tmp_path / "new.oom"
        for path, text in zip(paths, (old, new), strict=True):
            path.write_text(text)
        return paths

    return write


def test_rules_in_other_words_are_proved_the_same(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules("prefer niced\n", "prefer anything when not nice <= 0\n")
    done = oomrules("diff", "--no-host", old, new)
    assert done.code == 0
    assert "none is ranked or protected differently (proved)" in done.out


def test_a_difference_has_a_witness_and_exit_code_1(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules('never kill uid 0 comm "a*"\n', 'never kill uid 0 comm "ab*"\n')
    done = oomrules("diff", "--no-host", "--format", "json", old, new)
    assert done.code == 1
    assert done.data["schema"] == "oomrules.diff/1"
    assert done.data["host"] is None
    (one,) = done.data["everywhere"]["differences"]
    assert (one["what"], one["side"], one["place"]) == ("exclusion", "old", f"{old}:1")
    assert one["witness"]["uid"] == 0
    assert one["old"]["reason"] == "never killed" and one["new"]["reason"] is None
    assert not done.data["everywhere"]["proved"]


def test_what_dies_together_is_compared_by_its_targets(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules(
        "kill whole a.service\nin user.slice: kill whole b.scope\n",
        'kill whole "a.service"  # the same\nkill whole b.scope\n',
    )
    done = oomrules("diff", "--no-host", "--format", "json", old, new)
    assert done.code == 1 and not done.data["everywhere"]["proved"]
    assert done.data["everywhere"]["wholes"] == [
        {"side": "old", "place": f"{old}:2", "text": "kill whole b.scope"},
        {"side": "new", "place": f"{new}:2", "text": "kill whole b.scope"},
    ]
    shown = oomrules("diff", "--no-host", old, new).out
    assert "2 differences" in shown and f"by the new statement at {new}:2" in shown
    assert oomrules("diff", "--no-host", old, old).code == 0


def test_guards_that_came_went_or_say_something_else_are_named(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules(
        "define low = host.available < 5%\nkill when low\nwarn when host.free < 1GiB\n"
        "in user.slice: kill when scope.stall > 40% for 20s\n",
        "# moved\nterminate when host.free < 1GiB\nkill when host.available < 5%\n"
        "in user.slice { kill when scope.stall > 40% for 20s then stop }\n",
    )
    done = oomrules("diff", "--no-host", "--format", "json", old, new)
    assert done.code == 1
    # No process is ranked differently.
    assert done.data["everywhere"]["proved"]
    assert done.data["guards"] == [
        {
            "what": "added",
            "targets": [],
            "old": None,
            "new": {"place": f"{new}:2", "text": "terminate when host.free < 1GiB"},
        },
        {
            "what": "removed",
            "targets": [],
            "old": {"place": f"{old}:3", "text": "warn when host.free < 1GiB"},
            "new": None,
        },
        {
            "what": "changed",
            "targets": ["user.slice"],
            "old": {"place": f"{old}:4", "text": "kill when scope.stall > 40% for 20s"},
            "new": {"place": f"{new}:4", "text": "kill when scope.stall > 40% for 20s then stop"},
        },
    ]
    shown = oomrules("diff", "--no-host", old, new).out
    assert "\nGuards: 3 differences\n" in shown
    assert f"removed, {old}:3: warn when host.free < 1GiB\n" in shown
    assert f"changed, {old}:4 -> {new}:4: in user.slice: kill when" in shown


@settings(thorough, max_examples=thorough.max_examples // 2)
@given(strategies.guard_sets(), st.data())
def test_guards_in_another_order_are_the_same(
    rule_set: strategies.RuleSet, data: st.DataObject
) -> None:
    one, other = (
        compiler.compile_texts(strategies.texts(stated))
        for stated in (rule_set, data.draw(st.permutations(rule_set)))
    )
    assert diff.guards(one, other) == ()
    none = compiler.compile_texts([])
    assert {found.what for found in diff.guards(none, one)} <= {"added"}
    assert {found.what for found in diff.guards(one, none)} <= {"removed"}
    assert len(diff.guards(none, one)) == len(diff.guards(one, none)) <= len(one.guards)


def test_a_recorded_host_is_compared_process_by_process(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules("score rss\n", "score rss\nprefer uid 0 by 3\n")
    done = oomrules("diff", "--snapshot", DATA / "lint.jsonl", "--format", "json", old, new)
    changes = done.data["host"]["changes"]
    assert done.code == 1 and changes
    for change in changes:
        assert change["what"] == "weight"
        assert change["new"]["points"] == 3 * change["old"]["points"]
    shown = oomrules("diff", "--snapshot", DATA / "lint.jsonl", old, new)
    assert str(changes[0]["pid"]) in shown.out and "Over all possible processes" in shown.out


def test_this_host_is_compared_where_nothing_else_is_said(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules("score rss\n", "score rss\n")
    done = oomrules("diff", old, new)
    assert done.code == 0
    assert "On this host: none of" in done.out


def test_rules_in_error_are_a_failure(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]]
) -> None:
    old, new = rules("score rss\n", "score rs\n")
    done = oomrules("diff", "--no-host", old, new)
    assert done.code == 2
    assert "OOM201" in done.err


def test_what_was_not_decided_is_no_proof(
    oomrules: Run, rules: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from oomrules.reason import solver

    monkeypatch.setattr(solver, "_z3", lambda: None)
    old, new = rules(
        "spare anything when rss + swap > 2 * swap\n", "spare anything when rss > swap\n"
    )
    done = oomrules("diff", "--no-host", old, new)
    assert done.code == 0
    assert "(proved)" not in done.out
    assert "z3-solver" in done.out
