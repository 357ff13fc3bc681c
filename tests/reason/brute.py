"""Every process of a small world, judged by the real evaluator: what reasoning must equal.

A world gives each attribute a few values, unknown among them. Conditions are drawn so that
every value between two edges is there, so that what holds in the world holds at large.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.reason.effects import Effects
from oomrules.runtime import recorded
from oomrules.runtime.evaluator import Evaluator, Verdict
from oomrules.runtime.program import Program

HOST = {
    "kind": "host",
    "schema": recorded.SCHEMA,
    "page_size": 4096,
    "clock_ticks": 100,
    "uptime": 5000,
    "mem_total": 2**20,
    "swap_total": 0,
}
SLICES = ("/a.slice", "/ab.slice", "/b.slice", "/")
# All edges of the constants below, what is between them and beside them, and unknown.
WORLD: dict[str, tuple[Any, ...]] = {
    "nice": (-20, -1, 0, 1, 2, 3, 19, None),
    "rss": (0, 1, 2, 3, 4, 5, None),
    "uid": (0, 1, 2, None),
    "comm": ("", "a", "ab", "abc", "b", "c", "ba", "bc", "xb", "xbx", "ac", "aax", "x", "xx", None),
    "capabilities": ("0", "200000", "20000", "220000", None),
    "cgroup": (*SLICES, None),
}
ASKED = {
    "nice": ["nice"],
    "rss": ["rss"],
    "uid": ["uid"],
    "comm": ["comm"],
    "capabilities": ["cap("],
    "cgroup": ["in "],
}

_NUMBERS = st.tuples(
    st.just("nice"),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["-20", "0", "1", "2", "19", "20"]),
)
_MEMORY = st.tuples(
    st.just("rss"),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["0B", "1B", "4KiB", "5000B", "8KiB", "16KiB"]),
)
_IDS = st.tuples(st.just("uid"), st.sampled_from(["==", "!="]), st.sampled_from("01"))
_TEXTS = st.tuples(
    st.just("comm"), st.sampled_from(["==", "!="]), st.sampled_from(['"a"', '"ab"', '""'])
)
_REGEX = st.tuples(
    st.just("comm"),
    st.just("~"),
    st.sampled_from(['"^a"', '"b$"', '"^a$|^b"', '"b"', '"^(a|b)[bc]"']),
)
_LISTS = st.sampled_from([f"comm in @{name}" for name in ("one", "two", "three", "four")])
LISTS = (
    'list one = "a*"\nlist two = "a", "ab"\nlist three = "?", "*c", ""\nlist four = "[!a]*", "a"\n'
)
_LEAVES = st.one_of(
    *(one.map(" ".join) for one in (_NUMBERS, _MEMORY, _IDS, _TEXTS, _REGEX)),
    _LISTS,
    st.sampled_from(["cap(SYS_ADMIN)", "cap(RAWIO)"]),
)


def conditions(depth: int = 2) -> st.SearchStrategy[str]:
    """Conditions over the small world."""
    if not depth:
        return _LEAVES
    below = conditions(depth - 1)
    return st.one_of(
        _LEAVES,
        st.tuples(below, st.sampled_from([" and ", " or "]), below).map(
            lambda parts: f"({parts[0]}){parts[1]}({parts[2]})"
        ),
        below.map(lambda inner: f"not ({inner})"),
        st.tuples(below, st.sampled_from([" == ", " != "]), below).map(
            lambda parts: f"(({parts[0]}){parts[1]}({parts[2]}))"
        ),
    )


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("x.oom", LISTS + text)])


def effects(text: str) -> Effects:
    return Effects(program(text))


def processes(*texts: str) -> recorded.Recorded:
    """Give one host with every process that differs in what these rules ask."""
    import json

    said = " ".join(texts)
    asked = [key for key, words in ASKED.items() if any(word in said for word in words)]
    lines = [json.dumps(HOST)]
    for slice_ in SLICES:
        names = [slice_.strip("/") or "-.slice"]
        facts = {"Names": names, "WantedBy": [], "PartOf": []}
        lines.append(
            json.dumps({"kind": "scope", "cgroup": slice_, "memory_max": None, "properties": facts})
        )
    for number, row in enumerate(itertools.product(*(WORLD[key] for key in asked))):
        process = {
            "kind": "process",
            "pid": 100 + number,
            "state": "S",
            "flags": 0,
            "total_vm": 1000,
            "utime": 0,
            "stime": 0,
            "starttime": 0,
            "cgroup": "/a.slice",
            **dict(zip(asked, row, strict=True)),
        }
        lines.append(json.dumps(process))
    return recorded.parse(lines, "the small world")


def verdicts(made: Program, world: recorded.Recorded) -> Iterator[Verdict]:
    evaluator = Evaluator(made, world.host)
    for process in world.by_pid.values():
        yield evaluator.judge(process, world)
