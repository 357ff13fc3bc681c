"""Recordings that somebody damaged or made up: each is refused, or judged as what it says."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.errors import Failure
from oomrules.fleet import questions, recordings
from oomrules.fleet.questions import Question, text_of
from oomrules.language.compiler import compile_rules, compile_texts
from oomrules.language.rulefiles import given
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.resources import rules
from tests.fleet import hosts

Line = dict[str, Any]
Path_ = tuple[Any, ...]

PROGRAM = """\
score footprint
never kill comm "sshd"
spare user "anna"
spare group "x"
prefer exe ~ "x+"
prefer cmdline "*a*"
prefer anything under comm "systemd"
spare anything child of uid 0
in "system.slice": prefer anything when scope.memory > 1GiB
prefer anything when run_time > 1h
kill whole "cron.service"
prefer container.name "a*"
spare pod.qos "Burstable"
prefer anything when user.footprint > 1GiB
prefer anything when host.pressure > 10%
spare unit.description "a*"
spare session.type "tty"
"""
ODD: tuple[Any, ...] = (
    True,
    1,
    1.5,
    "x",
    [],
    {},
    [1],
    {"x": 1},
    10**400,
    "\ud800",
    "\0",
    -1,
    2**64,
    "1e999",
)


def whole(seed: int) -> list[Line]:
    """Give a recording with every kind of key."""
    lines = list(hosts.host(seed, 8))
    lines[0] |= {"groups": {"0": "root"}, "notes": ["x"], "unknown": ["growth"], "hidden": 1}
    lines[0] |= {"pressure": 3.5, "unit_root": "", "swappiness": 60}
    properties = {"Names": ["a.service"], "Description": "d", "OOMScoreAdjust": 3}
    session = {"class": "user", "type": "tty", "active": True}
    lines[1] |= {"properties": properties, "session": session, "unreadable": ["memory_max"]}
    lines[-1] |= {"container": {"id": "a", "name": "b"}, "pod": {"uid": "x", "priority": 3}}
    lines[-1] |= {"memory_cgroup": "/a", "self": True, "self_made": ["cmdline"], "cmdline": None}
    return lines


def places(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the way to each value inside another one."""
    inside = dict(enumerate(value)) if isinstance(value, list) else value
    for key, one in inside.items() if isinstance(inside, dict) else ():
        yield (*at, key)
        yield from places(one, (*at, key))


def put(value: Any, at: Path_, new: Any) -> Any:
    """Put a value in the place of another one, which is returned."""
    for key in at[:-1]:
        value = value[key]
    old, value[at[-1]] = value[at[-1]], new
    return old


def text(lines: list[Line]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def load(folder: Path, said: str) -> recorded.Recorded:
    path = folder / "host.jsonl"
    path.write_text(said, encoding="utf-8", errors="surrogatepass")
    return recordings.load(str(path))


def test_a_value_of_another_type_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    lines = whole(1)
    load(tmp_path, text(lines))
    numbers = int, float
    for number in (0, 1, len(lines) - 2, len(lines) - 1):
        for at in places(lines[number]):
            for odd in ODD:
                made = copy.deepcopy(lines)
                old = put(made[number], at, odd)
                same = (type(old) in numbers and type(odd) in numbers) or type(old) is type(odd)
                if old is not None and not same and not of_systemd(at, odd):
                    with pytest.raises(Failure, match=rf"host\.jsonl:{number + 1}: "):
                        load(tmp_path, text(made))


def of_systemd(at: Path_, odd: Any) -> bool:
    """Return whether a value may be one that another version of systemd has."""
    simple = isinstance(odd, str | int if at[0] == "properties" else str | bool)
    return len(at) == 2 and at[0] in ("properties", "session") and at[1] != "Names" and simple


def test_a_value_of_systemd_that_has_another_type_is_as_good_as_unknown(tmp_path: Path) -> None:
    lines = whole(1)
    lines[1]["properties"] |= {"Description": 7, "OOMScoreAdjust": 10**400}
    lines[1]["session"] |= {"active": "yes", "type": True}
    made = load(tmp_path, text(lines)).scope(lines[1]["cgroup"])
    assert made is not None
    properties, session = made.get("properties"), made.get("session")
    assert properties["Names"] == ["a.service"]
    assert properties["Description"] is properties["OOMScoreAdjust"] is None
    assert session["active"] is session["type"] is None and session["class"] == "user"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    for line in text(whole(1)).splitlines():
        twice = line.replace('"kind":', '"kind": "later", "kind":')
        with pytest.raises(Failure, match=r"the key .kind. a second time"):
            load(tmp_path, text(whole(1)).replace(line, twice))


def mutants(dice: random.Random) -> Iterator[str]:
    """Yield damaged recordings without end."""
    while True:
        lines = whole(dice.randrange(20))
        if dice.random() < 0.5:
            number = dice.choice((0, 1, dice.randrange(len(lines)), len(lines) - 1))
            put(lines[number], dice.choice(list(places(lines[number]))), dice.choice(ODD))
            yield text(lines)
            continue
        said = text(lines)
        for _ in range(dice.randrange(1, 4)):
            at, end = dice.randrange(len(said) + 1), dice.randrange(1, 200)
            cut = said[at : at + end]
            put_in = dice.choice(("", cut * 2, dice.choice('0123456789"{}[],:.-eE\\ \n\0\ud800')))
            said = said[:at] + put_in + said[at + len(cut) * dice.randrange(2) :]
        yield said


@pytest.mark.parametrize("seed", range(4))
def test_damage_leads_to_a_sentence_or_to_an_answer(tmp_path: Path, seed: int) -> None:
    one = compile_texts([RuleText("a.oom", PROGRAM)])
    old, new = text_of(one), text_of(compile_rules(given([str(rules())])))
    asked = (
        Question("rank", (old,)),
        Question("diff", (old, new), details=True),
        Question("check", (old, text_of(questions.unweighed(one)))),
    )
    dice = random.Random(seed)
    judged = 0
    for _, said in zip(range(100), mutants(dice), strict=False):
        path = tmp_path / "host.jsonl"
        path.write_text(said, encoding="utf-8", errors="surrogatepass")
        found = questions.answer(dice.choice(asked), str(path))
        judged += "error" not in found
        assert str(path) in found.get("error", str(path)), said
        assert "mistake" not in found.get("error", "") and json.dumps(found)
    assert 0 < judged < 100
