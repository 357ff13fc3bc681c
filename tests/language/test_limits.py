"""What rule files may come to: none takes time without end, and what compiles runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from oomrules.language import checker, compiler, formatter, parser
from oomrules.language.diagnostics import Rejected
from oomrules.language.text import RuleText
from oomrules.program import program
from oomrules.service.compile_child import PARTS

ROOM = 1 << 16
NAME = "/etc/oomrules.d/50-local.oom"


@pytest.fixture(autouse=True)
def small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "ROOM", ROOM)


def compiled(text: str) -> program.Program | None:
    """The program; None if there is no room for it, and nothing else is wrong."""
    try:
        return compiler.compile_texts([RuleText(NAME, text)])
    except Rejected as error:
        assert [one.code for one in error.diagnostics] == ["OOM107"]
        return None


MANY: dict[str, Callable[[int], str]] = {
    "rules": lambda n: "".join(f"spare uid {i}\n" for i in range(n)),
    "rules with a long line": lambda n: "".join(
        f"spare anything when {' or '.join(f'uid == {i + k}' for k in range(50))}\n"
        for i in range(n)
    ),
    "one long rule": lambda n: (
        f"spare anything when {' or '.join(f'cap(KILL) or nice > {i}' for i in range(n))}\n"
    ),
    "uses of a list": lambda n: (
        "list l = " + ", ".join(f'"a{i}"' for i in range(100)) + "\n" + "spare comm @l\n" * n
    ),
    "a long list": lambda n: (
        "list l = " + ", ".join(f'"a{i}"' for i in range(n)) + "\nspare comm @l\n"
    ),
    "a list of what JSON writes at length": lambda n: (
        "list l = " + ", ".join(f'"\N{GRINNING FACE}{i}"' for i in range(n)) + "\nspare exe @l\n"
    ),
    "blocks": lambda n: "".join(f'in "a{i}.slice": spare uid 0\n' for i in range(n)),
    "nested blocks": lambda n: "".join(
        f'in "a{i}.slice" {{ in "{"b" * 99}{i}.service" {{ spare uid 0\n}} }}\n' for i in range(n)
    ),
    "scores": lambda n: "".join(f'in "a{i}.slice": score rss + {i}B\n' for i in range(n)),
    "definitions": lambda n: "".join(f"define d{i} = nice > {i}\n" for i in range(n)),
    "shares": lambda n: "".join(f"prefer rss {i % 99}.{i:09}%\n" for i in range(n)),
}


@pytest.mark.parametrize("what", MANY)
def test_what_there_is_room_for_is_what_the_service_takes(what: str) -> None:
    made, fits, too_many = None, 0, 1
    while (bigger := compiled(MANY[what](too_many))) is not None:
        made, fits, too_many = bigger, too_many, too_many * 2
    while too_many - fits > max(1, fits // 50):
        middle = (fits + too_many) // 2
        if (found := compiled(MANY[what](middle))) is not None:
            made, fits = found, middle
        else:
            too_many = middle
    assert made is not None
    written = len(json.dumps(program.to_data(made)))
    # As much of what the service takes is left for what stands around the rules.
    assert ROOM // 4 < written < ROOM * PARTS["program"] / (7 * 2**19)
    assert program.loads(program.dumps(made)) == made


def test_room_is_what_the_service_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert PARTS["program"] * 3 / 4 < program.ROOM < PARTS["program"]


def test_what_there_is_no_room_for_is_told_once_and_where() -> None:
    text = MANY["rules"](20_000)
    (one,) = checker.check([RuleText(NAME, text)]).diagnostics
    assert one.code == "OOM107"
    line, column = one.source.position(one.span.start)
    assert column == 1
    assert compiled("".join(text.splitlines(keepends=True)[: line - 1])) is not None


def test_a_file_of_mistakes_has_some_hundred_findings() -> None:
    for line in (
        "x\n",
        "}\n{\n",
        "in a.slice\n",
        "define a =\n",
        "<<<<<<< a\n",
        "in a.slice { kill\n",
    ):
        _, diagnostics = parser.parse(RuleText("f", line * 5000 + "in b.slice {\n"))
        assert 1 <= len(diagnostics) < 1100, line
    _, diagnostics = parser.parse(RuleText("f", "never kil uid\n" * 700 + "in b.slice {\n"))
    assert len(diagnostics) == 501
    assert "the rest of this file is not read" in diagnostics[-1].message


@pytest.mark.parametrize("words", ["", "user unit ", "units wanted by ", "units part of "])
@pytest.mark.parametrize("name", [" ", "a.service ", " a.service", "*.scope ", "\u00a0a.service"])
def test_no_target_begins_or_ends_with_a_blank(words: str, name: str) -> None:
    (one,) = checker.check([RuleText("f", f'in {words}"{name}": spare uid 0\n')]).diagnostics
    assert one.code == "OOM211"
    proposal = one.help.split("`")[1]
    assert compiled(f"{proposal}: spare uid 0\n") is not None


def test_a_long_statement_is_formatted_by_looking_at_each_part_some_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked, breaks = [], formatter._breaks

    def counted(column: int, margin: int, rest: Sequence[object]) -> bool:
        looked.append(len(rest))
        return breaks(column, margin, list(rest))  # type: ignore[arg-type]

    monkeypatch.setattr(formatter, "_breaks", counted)
    for joint, text in ((", ", '"a"'), (" or ", "niced")):
        start = "list l = " if joint == ", " else "define a = "
        looked.clear()
        formatter.formatted(RuleText("f", start + joint.join([text] * 3000) + "\n"))
        assert 2000 < len(looked) < 4000
        assert sum(looked) <= len(looked) * formatter.WIDTH
