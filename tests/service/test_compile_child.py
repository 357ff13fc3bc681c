"""What the service takes from a child that fails, hangs or talks nonsense."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any

import pytest

from oomrules.errors import Failure
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.program import program
from oomrules.service import compile_child
from oomrules.service.compile_child import PARTS, SCHEMA, CompileChild, Compiled

MADE = program.to_data(compile_texts([RuleText("x.oom", "prefer uid 1\n")]))
PROGRAM: dict[str, Any] = {
    "part": "program",
    "emit": {"to": ["oom_score_adj"], "head": 7},
    "emit_problem": "",
    "program": MADE,
    "diagnostics": [],
    "fingerprint": [["x", 1]],
    "files": ["x.oom"],
    "asks": True,
    "users": {"0": ["root", "toor"], "7": "ann"},
    "groups": {},
}
NAMES: dict[str, Any] = {
    "part": "names",
    "users": {"8": "bob"},
    "groups": {},
    "problems": ["late"],
    "complete": True,
}
FACTS: dict[str, Any] = {
    "part": "facts",
    "units": {},
    "sessions": {},
    "problems": [],
    "places": ["a.service"],
    "whole": False,
}


def line(data: dict[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **data}) + "\n"


WHOLE = line(PROGRAM) + line(NAMES) + line(FACTS)


def prepared(folder: Path, output: str, then: str = "", wait: bool = True) -> Compiled:
    """Let a child write something and do something; give what is taken from it."""
    package = folder / "oomrules" / "commands"
    package.mkdir(parents=True)
    (folder / "output").write_text(output)
    (package / "main.py").write_text(
        "import sys\n"
        "def main(arguments):\n"
        f"    sys.stdout.write(open({str(folder / 'output')!r}).read())\n"
        "    sys.stdout.flush()\n"
        f"    open({str(folder / 'said')!r}, 'w').close()\n"
        f"    {then or 'return 0'}\n"
    )
    resident = folder / "oomrules" / "service"
    resident.mkdir()
    (resident / "memory.py").write_text("START = 0\ndef bound(room):\n    pass\n")
    running = CompileChild([str(folder)], [], 0.0)
    poll = select.poll()
    poll.register(running.descriptor, select.POLLIN)
    while not poll.poll(10) and (wait or not (folder / "said").exists()):
        pass
    try:
        return running.finish()
    finally:
        assert not os.path.exists(f"/proc/{running.pid}")


def test_all_that_it_says_is_taken(tmp_path: Path) -> None:
    found = prepared(tmp_path, WHOLE)
    assert found.program is not None and found.head == 7
    assert found.users == {8: "bob"} and found.names_complete
    assert found.names_problems == ("late",)
    assert found.facts == ({}, {}, (), frozenset({"a.service"}), False, None)


@pytest.mark.parametrize(
    "then",
    ["return 2", "import os; os.abort()", "import time; time.sleep(600)"],
    ids=["fails", "crashes", "hangs"],
)
def test_rules_are_taken_from_a_child_that_does_not_come_to_its_end(
    then: str, tmp_path: Path
) -> None:
    found = prepared(tmp_path, line(PROGRAM) + line(NAMES)[:40], then, wait="sleep" not in then)
    assert found.program is not None
    assert (found.users[0], found.users[7]) == ("root", "ann") and not found.names_complete
    assert (found.facts.units, found.facts.sessions) == (None, None)
    assert "oomrules prepare" in found.facts.problems[0] and "as it was" in found.facts.problems[0]


def test_names_are_taken_where_only_the_bus_hung(tmp_path: Path) -> None:
    then = "import time; time.sleep(600)"
    found = prepared(tmp_path, line(PROGRAM) + line(NAMES), then, wait=False)
    assert found.users == {8: "bob"} and found.names_complete and found.facts.units is None


@pytest.mark.parametrize(
    "output",
    [
        "",
        line(PROGRAM)[:-1],
        "x" + WHOLE,
        "[" * 100000 + "\n",
        line({**PROGRAM, "schema": "oomrules.prepared/1"}),
        line(NAMES) + line(FACTS),
        line({**PROGRAM, "users": {"x": "ann"}}),
        line({**PROGRAM, "users": {"7": [1]}}),
        line({**PROGRAM, "program": {**MADE, "scopes": 7}}),
        "\0" * 1000,
    ],
)
def test_what_is_no_program_is_none(output: str, tmp_path: Path) -> None:
    with pytest.raises(Failure):
        prepared(tmp_path, output)


@pytest.mark.parametrize(
    "rest",
    [
        "{}\n",
        "[" * 100000 + "\n",
        line({**NAMES, "users": 7}) + line({**FACTS, "places": 7}),
        line({**NAMES, "problems": 7}) + line({**FACTS, "problems": None}),
        line(FACTS) + line(NAMES),
        line({**NAMES, "users": {"9": "x" * 999}}) + line(FACTS),
    ],
)
def test_nonsense_about_names_and_units_costs_nothing_but_them(
    rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "names", 900)
    found = prepared(tmp_path, line(PROGRAM) + rest)
    assert found.program is not None and found.facts.units is None
    assert not found.names_complete and found.users[7] == "ann"


def test_a_program_that_is_too_long_is_refused_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compile_child.PARTS, "program", 100)
    with pytest.raises(Failure, match="are allowed"):
        prepared(tmp_path, WHOLE)
