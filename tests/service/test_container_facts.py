"""What the service knows of containers while a runtime is silent."""

from __future__ import annotations

from typing import Any

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes.facts import Facts
from oomrules.service import list as lists
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.state import State

ONE, TWO = "1" * 64, "2" * 64
RULES = compiler.compile_texts([RuleText("x.oom", 'kill first container.name "batch*"')])


def compiled(containers: dict[str, Any] | None, whole: bool, version: int = 1) -> Compiled:
    return Compiled(
        program=RULES,
        diagnostics=[],
        fingerprint=[version],
        files=[],
        asks=True,
        facts=Facts(units={}, sessions={}, containers=containers, whole=whole),
        users={},
        groups={},
    )


@pytest.fixture
def current(tmp_path: Any) -> Any:
    made = CurrentList(State(str(tmp_path)))
    yield made
    made.close()


def test_what_a_runtime_said_stays_while_it_is_silent(current: CurrentList) -> None:
    current.adopt(compiled({ONE: {"name": "a"}}, whole=True))
    # Docker is silent, Podman has a new one.
    current.adopt(compiled({TWO: {"name": "b"}}, whole=False))
    assert current.facts.containers == {ONE: {"name": "a"}, TWO: {"name": "b"}}
    # The child failed before it had asked.
    current.adopt(compiled(None, whole=True))
    assert current.facts.containers == {ONE: {"name": "a"}, TWO: {"name": "b"}}
    assert current.source is not None and current.source.facts is current.facts


def test_what_all_runtimes_say_takes_its_place(current: CurrentList) -> None:
    current.adopt(compiled({ONE: {"name": "a"}}, whole=True))
    current.adopt(compiled({ONE: {"name": "renamed"}}, whole=False))
    assert current.facts.containers == {ONE: {"name": "renamed"}}
    current.adopt(compiled({TWO: {"name": "b"}}, whole=True))
    assert current.facts.containers == {TWO: {"name": "b"}}


def test_other_rules_begin_anew(current: CurrentList) -> None:
    current.adopt(compiled({ONE: {"name": "a"}}, whole=True))
    current.adopt(compiled({TWO: {"name": "b"}}, whole=False, version=2))
    assert current.facts.containers == {TWO: {"name": "b"}}


def test_what_is_kept_is_bounded(current: CurrentList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_MOST_CONTAINERS", 2)
    current.adopt(compiled({ONE: {}, TWO: {}}, whole=True))
    current.adopt(compiled({"3" * 64: {}}, whole=False))
    assert current.facts.containers == {"3" * 64: {}}
