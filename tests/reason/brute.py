"""Every process of a small world, judged by the real evaluator: what reasoning must equal.

A world gives each attribute a few values, unknown among them. Conditions are drawn so that
every value between two edges is there, so that what holds in the world holds at large.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from oomrules.capabilities import CAPABILITIES
from oomrules.language import compiler
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import linter
from oomrules.processes import recorded
from oomrules.program.program import Program
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.verdict import Verdict
from oomrules.reason.effects import PROTECTING, Effects

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


class Sentence(NamedTuple):
    """A rule: its block, as ``in a.slice: ``, how it begins, its condition and its factor."""

    around: str
    start: str
    condition: str
    factor: str = ""

    @property
    def degree(self) -> int:
        return int(self.factor.removeprefix(" by ") or 1)

    @property
    def text(self) -> str:
        return f"{self.around}{self.start} anything when {self.condition}{self.factor}"

    @property
    def kind(self) -> str:
        return self.start.replace("kill", "").strip()

    def effect(self, value: bool | None) -> bool:
        """Tell whether the rule has its effect where its condition has this value."""
        return value is not False if self.kind in PROTECTING else value is True


def written(sentences: Sequence[Sentence]) -> str:
    return "\n".join(sentence.text for sentence in sentences)


def variants(one: str, two: str) -> st.SearchStrategy[str]:
    """Conditions that are the first in other words, or nearly, or have to do with both."""
    return st.sampled_from(
        [
            one,
            f"not (not ({one}))",
            f"({one}) or (({one}) and ({two}))",
            f"({one}) and (({one}) or ({two}))",
            # Where the second is unknown, these two together are not the first.
            f"(({one}) and ({two})) or (({one}) and not ({two}))",
            f"({one}) and ({two})",
            f"({one}) and not ({two})",
            f"({one}) or ({two})",
            f"not ({one})",
            two,
        ]
    )


@st.composite
def sentences(
    draw: st.DrawFn,
    starts: Sequence[str],
    blocks: Sequence[str],
    least: int = 2,
    most: int = 4,
    factors: Sequence[str] = ("",),
    degrees: Sequence[str] = ("",),
) -> list[Sentence]:
    """A few rules whose conditions have much to do with one another."""
    pair = draw(conditions(1)), draw(conditions(1))
    behind = dict.fromkeys(("prefer", "spare"), factors)
    behind |= dict.fromkeys(("kill first", "kill last"), degrees)
    return [
        Sentence(
            draw(st.sampled_from(blocks)),
            start,
            draw(variants(*pair)),
            draw(st.sampled_from(behind.get(start, ("",)))),
        )
        for start in draw(st.lists(st.sampled_from(starts), min_size=least, max_size=most))
    ]


def values(
    sentences: Sequence[Sentence], world: recorded.Recorded
) -> list[tuple[bool | None, ...]]:
    """Let the evaluator say for every process which of the rules' conditions hold where.

    Each rule becomes a ``spare``, which holds in doubt and tells so: None then.
    """
    made = program(written([one._replace(start="spare", factor="") for one in sentences]))
    rows = []
    for verdict in verdicts(made, world):
        held = {index(one.rule.place): one.surely or None for one in verdict.held}
        rows.append(tuple(held.get(number, False) for number in range(len(sentences))))
    return rows


def index(place: str) -> int:
    """Give the number of the sentence at a place: each has a line, below the lists."""
    return int(place.rpartition(":")[2]) - 1 - LISTS.count("\n")


class Findings(NamedTuple):
    """What the linter says of some sentences, and whether it decided everything."""

    all: list[Diagnostic]
    decided: bool

    def of(self, *codes: str) -> dict[int, Diagnostic]:
        """Give the findings of some codes by the number of the sentence they are about."""
        return {_number(one, one.span.start): one for one in self.all if one.code in codes}


def _number(finding: Diagnostic, start: int) -> int:
    return finding.source.position(start)[0] - 1 - LISTS.count("\n")


def other(finding: Diagnostic) -> int:
    """Give the number of the other sentence that a finding names."""
    return _number(finding, finding.related[0].span.start)


def findings(sentences: Sequence[Sentence]) -> Findings:
    text = RuleText("x.oom", LISTS + written(sentences) + "\n")
    rules, found = linter.lint(Found((text,)))
    reasoner = rules.meaning.reasoner
    return Findings(found, not reasoner.undecided and not reasoner.unsolved)


def shown(witness: Any) -> recorded.Recorded:
    """Make the process that a finding shows, from what it says of it and nothing else."""
    said = {key: None if value == "unknown" else value for key, value in witness.items()}
    process: dict[str, Any] = {"kind": "process", "pid": said["pid"], **_ORDINARY}
    for key in ("comm", "uid", "nice"):
        if key in said:
            process[key] = said[key]
    if "rss" in said:
        process["rss"] = None if said["rss"] is None else _pages(said["rss"])
    if "capabilities" in said:
        names = said["capabilities"]
        bits = sum(1 << bit for name, bit in CAPABILITIES.items() if name in (names or ""))
        process["capabilities"] = None if names is None else f"{bits:x}"
    if "cgroup" in said:
        process["cgroup"] = None if said["cgroup"] is None else said["cgroup"].strip('"')
    path = process["cgroup"] or "/"
    around = ["/" + path.strip("/").rsplit("/", less)[0] for less in range(path.count("/"))]
    return _recorded([process], {*around, "/"})


_ORDINARY = {
    "state": "S",
    "flags": 0,
    "total_vm": 1000,
    "utime": 0,
    "stime": 0,
    "starttime": 0,
    "cgroup": "/a.slice",
}


def _pages(said: str) -> int:
    number = int(said.rstrip("BKMGi"))
    size = number << {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[said.lstrip("0123456789")]
    return size // 4096


def _recorded(processes: list[dict[str, Any]], groups: set[str]) -> recorded.Recorded:
    lines = [HOST]
    for path in sorted(groups):
        name = path.rpartition("/")[2] or "-.slice"
        facts = {"Names": [name], "WantedBy": [], "PartOf": []}
        lines.append({"kind": "scope", "cgroup": path, "memory_max": None, "properties": facts})
    return recorded.parse([json.dumps(line) for line in [*lines, *processes]], "the small world")


def processes(*texts: str) -> recorded.Recorded:
    """Give one host with every process that differs in what these rules ask."""
    said = " ".join(texts)
    return _world(tuple(k for k, words in ASKED.items() if any(word in said for word in words)))


@functools.lru_cache(maxsize=24)
def _world(asked: tuple[str, ...]) -> recorded.Recorded:
    """Every process that differs in these facts; nobody changes them, so many rules share one."""
    rows = itertools.product(*(WORLD[key] for key in asked))
    return _recorded(
        [
            {
                "kind": "process",
                "pid": 100 + number,
                **_ORDINARY,
                **dict(zip(asked, row, strict=True)),
            }
            for number, row in enumerate(rows)
        ],
        set(SLICES),
    )


def verdicts(made: Program, world: recorded.Recorded) -> Iterator[Verdict]:
    evaluator = Evaluator(made, world.host)
    for process in world.by_pid.values():
        yield evaluator.judge(process, world)
