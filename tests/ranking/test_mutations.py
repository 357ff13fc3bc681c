"""Damaged rule files cost diagnostics and nothing else.

The seeds are the shipped rules and the example of the design, in pieces of a few
statements, so that ten thousand of them are judged in seconds. What is still accepted has
to rank a small host as well.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from oomrules import resources
from oomrules.language import parser, rulefiles, syntax
from oomrules.language.compiler import compile_rules
from oomrules.language.diagnostics import CODES, Diagnostic, Rejected
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import program
from oomrules.ranking.ranker import Ranker

MUTANTS = 10_000

EXAMPLE = """\
define superuser = uid == 0 or euid == 0 or cap(SYS_ADMIN)
define niced     = nice > 0
list databases   = "postgres", "mysqld", "redis-*"

score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))
prefer niced                        # x2 unless told otherwise
spare superuser                     # /4 unless told otherwise
spare anything with RAWIO

never kill uid 0 with RAWIO
never kill comm "sshd"
spare comm @databases by 8
prefer user "build" when rss > 25%
prefer niced without SYS_ADMIN when run_time < 10min
kill first unit "batch-*.service"
kill last  unit "postgresql@*.service"

in user.slice: prefer anything when rss + swap >= 512MiB
in "batch-*.slice" {
    never kill uid 0 comm "batch-runner"
    only kill anything when rss >= 64MiB
}
in user unit "app-*.scope": prefer anything  # units of users are asked for as such
"""
# What the example leaves out of the language.
REST = """\
define odd = not (comm ~ "^s.*d$" and -nice <= 19 and rss > 4KiB) == session.active
list tools = "make",
    "cc1*"
prefer comm @tools with any of SYS_NICE, CAP_KILL by 1.5
spare anything when exe in @tools \\
    or unit.pressure >= 12.5% or "" == user or root(total_vm / 1KiB) < 2
never kill odd oom_score_adj -17
score (rss + swap - 25%) * 2 / 3
in a.slice { in "b*.scope": in "*" { prefer odd when 1_000 > threads / 2 } }
kill first uid 0 rss > 1GiB not comm "a" or (comm @tools and nice -5) by 3
kill last (comm "a" or not odd) with KILL when run_time < 1h30min and user "b" by 2
kill whole user unit "app-*.scope"
in system.slice: kill whole a.service
score max(rss, swap, 25%) - min(rss, 1KiB)
"""

# Single words that are wrong in most places.
NASTY = (
    *('"["', '"', "(", ")", "(" * 100, "{", "}", "@tools", "@nothing", "0", "1.5", "9" * 50),
    *("4EiB", "512MB", "50%", "-", "not", "root", "cap(SYS_ADMIN)", "MODULE", "rss", "comm"),
    *("under", "child of", "not under", "whole", "max(", "or", "and", "1h30min", "kill whole"),
    *("define niced = rss", "list tools = comm", "\nscore rss", "\nscore comm\n", "é", "\x00"),
)

_TOKEN = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|@?\w[\w.%]*|[=!<>]=|\n|[^\S\n]+|.')


class Seed(NamedTuple):
    """A piece of a rule file, and a file with the definitions that it uses."""

    text: str
    vocabulary: RuleText


def seeds() -> list[Seed]:
    """Cut the rule files into pieces of one to three statements."""
    files = [path.read_text(encoding="utf-8") for path in sorted(resources.rules().rglob("*.oom"))]
    # The example and the rest make up half of the seeds.
    pieces = [piece for text in files for piece in _cut(text)]
    others = [piece for text in (EXAMPLE, REST) for piece in _cut(text)]
    pieces += others * (len(pieces) // len(others) + 1)
    definitions = dict(found for text in (*files, EXAMPLE, REST) for found in _definitions(text))
    return [Seed(piece, _vocabulary(piece, definitions)) for piece in pieces]


def _statements(text: str) -> list[tuple[str, syntax.Statement]]:
    source = RuleText("seed", text)
    statements, diagnostics = parser.parse(source)
    assert not diagnostics
    return [(text[slice(*statement.span)], statement) for statement in statements]


def _cut(text: str) -> list[str]:
    written = [statement for statement, _ in _statements(text)]
    return ["\n".join(written[at : at + 1 + at % 3]) + "\n" for at in range(len(written))]


def _definitions(text: str) -> Iterator[tuple[str, str]]:
    for written, statement in _statements(text):
        if isinstance(statement, syntax.Define | syntax.ListOf):
            yield statement.name.name, written


def _vocabulary(piece: str, definitions: dict[str, str]) -> RuleText:
    """Write the definitions that a piece needs, in a directory below its own."""
    needed: dict[str, str] = {}
    unread = [piece]
    while unread:
        for word in re.findall(r"\w+", unread.pop()):
            if word in definitions and word not in needed:
                needed[word] = definitions[word]
                unread.append(definitions[word])
    return RuleText("vocabulary.oom", "\n".join(needed.values()) + "\n", 1)


def delete(tokens: list[str], rng: random.Random) -> None:
    del tokens[rng.randrange(len(tokens))]


def double(tokens: list[str], rng: random.Random) -> None:
    at = rng.randrange(len(tokens))
    tokens.insert(at, tokens[at])


def swap(tokens: list[str], rng: random.Random) -> None:
    one, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    tokens[one], tokens[other] = tokens[other], tokens[one]


def graft(tokens: list[str], rng: random.Random) -> None:
    donor = rng.choice((NASTY, _TOKEN.findall(EXAMPLE), _TOKEN.findall(REST)))
    tokens.insert(rng.randrange(len(tokens) + 1), rng.choice(donor))


def cut(tokens: list[str], rng: random.Random) -> None:
    del tokens[rng.randrange(len(tokens)) :]


def add_bytes(text: bytes, rng: random.Random) -> bytes:
    """Put in bytes at random: any, or those that mean something to the language."""
    some = bytes(range(256)) if rng.random() < 0.3 else b'\t\r\n "#%()*+,-./:<=>@[\\]_{}~09aZ'
    junk = bytes(rng.choice(some) for _ in range(rng.randint(1, 4)))
    at = rng.randint(0, len(text))
    return text[:at] + junk + text[at + rng.randint(0, 2) :]


TOKEN_MUTATIONS: list[Callable[[list[str], random.Random], None]] = [
    delete,
    double,
    swap,
    graft,
    cut,
]


def mutants() -> Iterator[tuple[bytes, RuleText]]:
    """Damage seeds in one to three places, in the same way each time."""
    rng = random.Random(20050110)
    pieces = seeds()
    for _ in range(MUTANTS):
        piece, vocabulary = rng.choice(pieces)
        tokens = _TOKEN.findall(piece)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if tokens:
                rng.choice(TOKEN_MUTATIONS)(tokens, rng)
        text = "".join(tokens).encode()
        yield (add_bytes(text, rng) if rng.random() < 0.3 else text), vocabulary


def found(text: bytes, vocabulary: RuleText) -> rulefiles.Found:
    """Read a rule file from its bytes, as from a directory."""
    read = rulefiles.decode(text, "mutant.oom")
    if isinstance(read, Diagnostic):
        return rulefiles.Found((vocabulary,), diagnostics=(read,))
    return rulefiles.Found((vocabulary, read))


def assert_helpful(diagnostic: Diagnostic) -> None:
    """Check that a diagnostic says what is wrong, where, and what to do."""
    assert diagnostic.code in CODES
    assert diagnostic.message.strip()
    assert diagnostic.help.strip()
    text, span = diagnostic.source.text, diagnostic.span
    assert 0 <= span.start <= span.end <= len(text)
    line, column = diagnostic.source.position(span.start)
    assert 1 <= line <= text.count("\n") + 1
    assert 1 <= column <= len(diagnostic.source.line(line)) + 2
    assert diagnostic.source.quote(span) or span.start == span.end or not text[slice(*span)].strip()


SNAPSHOT = recorded.parse(
    map(
        json.dumps,
        (
            {
                "kind": "host",
                "schema": "oomrules.snapshot/1",
                "page_size": 4096,
                "clock_ticks": 100,
                "uptime": 5000.25,
                "mem_total": 2**33,
            },
            {
                "kind": "process",
                "pid": 812,
                "comm": "sshd",
                "uid": 0,
                "euid": 1000,
                "capabilities": "20000",
                "nice": 5,
                "utime": 12,
                "stime": 3,
                "starttime": 4567,
                "threads": 1,
                "state": "S",
                "flags": 0,
                "total_vm": 3853,
                "rss": 2100,
                "cgroup": "/a.slice/b.scope",
            },
            {"kind": "process", "pid": 813},
            {
                "kind": "scope",
                "cgroup": "/a.slice/b.scope",
                "memory": 2**20,
                "pressure": 12.5,
                "properties": {"session.active": True},
            },
        ),
    ),
    "host",
)


def test_a_damaged_rule_file_is_compiled_or_rejected_with_helpful_diagnostics() -> None:
    accepted = rejected = 0
    codes = set()
    for text, vocabulary in mutants():
        try:
            try:
                compiled = compile_rules(found(text, vocabulary))
            except Rejected as error:
                rejected += 1
                assert error.diagnostics
                for diagnostic in error.diagnostics:
                    codes.add(diagnostic.code)
                    assert_helpful(diagnostic)
            else:
                accepted += 1
                assert program.loads(program.dumps(compiled)) == compiled
                ranking = Ranker(compiled, SNAPSHOT.host).rank(SNAPSHOT)
                for process in SNAPSHOT.by_pid.values():
                    ranking.verdict(process)
        except Exception as error:
            error.add_note(f"the rule file: {text!r}")
            raise
    # The damage is neither so small nor so great that it would always come to the same.
    assert min(accepted, rejected) > MUTANTS // 10
    assert len(codes) > 20


def test_the_seeds_themselves_are_well_formed() -> None:
    for piece, vocabulary in seeds():
        compile_rules(found(piece.encode(), vocabulary))
