"""Nothing is lost in silence: a file is refused, or each of its logical lines is a statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language import checker, compiler, formatter, parser, syntax
from oomrules.language.diagnostics import Rejected
from oomrules.language.text import RuleText
from oomrules.program import program
from tests.oracle import strategies
from tests.oracle.lines import logical_lines
from tests.oracle.strategies import thorough

# Every form of a statement, each way to go on in the next line, comments wherever they can be.
WHOLE = """\
# what the host must not lose
never kill user "anna" when rss > 1MiB and
    nice > 0   # and more
only kill anything with any of RAWIO,
    NET_ADMIN
kill first comm @builders when not (rss < 1GiB or

    niced)
list builders = "cc1*",
    "ld", "a # b",   # no comment in a text
    "say \\"hi\\""
define niced = nice > 0 or \\
    nice < -5
in user.slice {
    score rss + swap
    in "app-*.scope": kill last uid 1000 with KILL without CHOWN
    # nothing
    in units wanted by "multi-user.target" { prefer anything by 3 }
}
in units part of a.service: spare unit "b{c}.service" \\
    by 1.5
in empty.slice {}
kill last uid 1 nice > 0 or
    not (comm "a" user @builders) by 2  # further out
kill whole "batch-*.service"
in system.slice {
    kill whole user unit a.scope   # alone
    score max(rss,
        swap, 1KiB)
}
never kill anything under comm "cron" not child of uid 0 \
    not under niced when run_time < 1h30min
kill when host.available < 5% and
    host.stall > 10%   # both
kill when host.stall > 40% \\
    for 10s
in user.slice: terminate when scope.stall > 40% then stop \\
    within 1min30s
warn when short  # soon
define short = host.swap_free < 10% or
    host.available < 512MiB
"""


def _statements(statements: Iterable[syntax.Statement]) -> Iterable[syntax.Statement]:
    for statement in statements:
        yield statement
        if isinstance(statement, syntax.Block):
            yield from _statements(statement.statements)


_VERBS: dict[type[syntax.Statement], str] = {
    syntax.Score: "score",
    syntax.Define: "define",
    syntax.ListOf: "list",
    syntax.Whole: "whole",
}


def _verb(statement: syntax.Statement) -> str:
    if isinstance(statement, syntax.Guard):
        return statement.action.key
    if isinstance(statement, syntax.Rule):
        return {"never kill": "never", "only kill": "only"}.get(
            statement.kind.value, statement.kind.value.removeprefix("kill ")
        )
    return _VERBS[type(statement)]


def assert_nothing_is_lost(text: str) -> bool:
    """Check one file; True if it is accepted."""
    source = RuleText("f", text)
    statements, diagnostics = parser.parse(source)
    if diagnostics:
        return False
    said = list(logical_lines(text))
    found = list(_statements(statements))
    lines = {source.position(statement.span.start)[0] for statement in found}
    assert lines == {line.number for line in said}, text
    verbs = [_verb(one) for one in found if not isinstance(one, syntax.Block)]
    assert Counter(verbs) == Counter(verb for line in said for verb in line.verbs), text
    return True


def test_the_example_is_whole() -> None:
    assert assert_nothing_is_lost(WHOLE)
    assert sum(1 for _ in logical_lines(WHOLE)) == 22


BEHIND = {
    "nothing": "",
    "a line end": "\n",
    "empty lines": "\n\n\n",
    "CRLF": "\r\n",
    "a comment": " # why",
    "a comment and a line end": " # why\n",
    "a comment below": "\n# why\n",
    "a backslash": " \\",
    "a backslash and a line end": " \\\n",
    "a backslash below": "\n\\\n",
    "spaces": "\n   \t\n",
    "another statement": "\nspare uid 5\n",
    "another block": "\nin b.slice: spare uid 5\n",
}
AROUND = {
    "by itself": ("", ""),
    "behind a target": ("in a.slice: ", ""),
    "in a block": ("in a.slice {\n", "\n}\n"),
    "in a block on its line": ("in a.slice { ", "\n}\n"),
    "in an open block": ("in a.slice {\n", ""),
    "behind another": ("spare uid 1\n", ""),
}
UNFINISHED = (
    'never kill user "anna" when rss > 1MiB and',
    'never kill user "anna" when rss > 1MiB or',
    "never kill uid 0 with RAWIO,",
    "never kill uid 0 with any of RAWIO,",
    "define idle = nice > 0 and",
    "define idle = nice > 0 or",
    'list l = "a",',
    'kill first comm "a" and',
    'kill first comm "a" or',
    "score max(rss,",
    "kill when host.available < 5% and",
    "terminate when host.available < 5% or",
)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("statement", UNFINISHED)
def test_a_statement_that_does_not_go_on_is_refused(
    statement: str, behind: str, around: str
) -> None:
    before, after = AROUND[around]
    source = RuleText("f", f"{before}{statement}{BEHIND[behind]}{after}")
    _, diagnostics = parser.parse(source)
    assert diagnostics
    line = 1 + before.count("\n")
    assert source.position(diagnostics[0].span.start)[0] == line or behind == "a backslash"
    with pytest.raises(Rejected):
        formatter.formatted(source)
    with pytest.raises(Rejected):
        compiler.compile_texts([source])


@pytest.mark.parametrize(
    ("written", "where", "says"),
    [
        ("\nnever kill uid 0 when nice > 0 and\n", (2, 32), "line 2 is not complete: a condition"),
        ('list l = "a",\n    "b", # c\n\n', (2, 8), "line 1 is not complete: a text"),
        ("never kill uid 0 \\\n  with KILL,\n", (2, 12), "line 1 is not complete: a capability"),
        ("never kill uid 0 with \\\n", (1, 23), "line 1 is not complete: the rest of it"),
        ("define a = nice > 0 or \\\n", (1, 21), "line 1 is not complete: a condition"),
        ("define a = nice > 0 or\nscore rss", (1, 21), "line 1 is not complete: a condition"),
        ("in a.slice {\nnever kill uid 0 when a or\n}", (2, 25), "line 2 is not complete"),
    ],
)
def test_the_message_says_where_it_began_and_what_is_missing(
    written: str, where: tuple[int, int], says: str
) -> None:
    source = RuleText("f", written)
    _, (diagnostic,) = parser.parse(source)
    assert source.position(diagnostic.span.start) == where
    assert says in diagnostic.message
    assert diagnostic.code == "OOM101"


def test_a_definition_that_is_not_complete_blames_none_of_its_users() -> None:
    source = RuleText("f", "never kill idle\ndefine idle = nice > 0 and\n")
    assert [one.code for one in checker.check([source]).diagnostics] == ["OOM101"]


@pytest.mark.parametrize("sign", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_statement_hides_in_what_is_shown_as_a_line_of_its_own(sign: str) -> None:
    _, diagnostics = parser.parse(RuleText("f", f"# why{sign}never kill uid 0\nspare uid 1\n"))
    assert [one.code for one in diagnostics] == ["OOM103"]
    for harmless in (f"# why{sign}\n", f"# why {sign}  \r\n"):
        assert parser.parse(RuleText("f", harmless)) == ((), [])


def test_cut_at_any_place_it_is_refused_or_whole() -> None:
    accepted = sum(assert_nothing_is_lost(WHOLE[:cut]) for cut in range(len(WHOLE)))
    # Else the test says little.
    assert 50 < accepted < len(WHOLE) / 2


def test_with_any_piece_left_out_it_is_refused_or_whole() -> None:
    lines = WHOLE.splitlines(keepends=True)
    for first in range(len(lines)):
        for last in range(first, len(lines) + 1):
            assert_nothing_is_lost("".join([*lines[:first], *lines[last:]]))
    for at in range(len(WHOLE)):
        assert_nothing_is_lost(WHOLE[:at] + WHOLE[at + 1 :])


_INSERTED = (
    *(",", " and", " or", " \\", "\\\n", "\n", "\r\n", "\r", " # ", "{", "}", '"', ":", " not "),
    *(" never kill uid 0", "in a.slice: ", "in a.slice {", " by 2", "\f", "\x00", "@", "(", ")"),
    *(' "', '" ', 'in units part of "a.b": ', 'in user unit "x ": ', " for 5s", " then stop"),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Rule files of people who were interrupted."""
    whole = [source.text for source in strategies.texts(draw(strategies.rule_sets(guards=True)))]
    text = draw(st.sampled_from([*whole, WHOLE]))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(("cut", "insert", "join", "drop", "comment", "CRLF", "end"))):
            case "cut":
                text = text[:at]
            case "insert":
                text = text[:at] + draw(st.sampled_from(_INSERTED)) + text[at:]
            case "join":
                text = text[:at] + text[at:].replace("\n", " ", 1)
            case "drop":
                text = text[:at] + text[at:].partition("\n")[2]
            case "comment":
                text = text[:at] + text[at:].replace("\n", " # and\n", 1)
            case "CRLF":
                text = text.replace("\n", "\r\n")
            case "end":
                text = text.rstrip("\n")
    return text


@settings(thorough, max_examples=5 * thorough.max_examples)
@given(files())
def test_a_file_is_refused_or_each_line_is_a_statement(text: str) -> None:
    assert_nothing_is_lost(text)


@settings(thorough, max_examples=2 * thorough.max_examples)
@given(files())
def test_what_is_accepted_is_whole_in_its_one_form_and_in_the_program(text: str) -> None:
    source = RuleText("f", text)
    statements, diagnostics = parser.parse(source)
    if diagnostics:
        with pytest.raises(Rejected):
            formatter.formatted(source)
        return
    again, diagnostics = parser.parse(RuleText("f", formatter.formatted(source)))
    assert (again, diagnostics) == (statements, [])
    try:
        made = compiler.compile_texts([source])
    except Rejected:
        return
    # What compiles is what the service takes.
    assert program.loads(program.dumps(made)) == made
    rules = [one for one in _statements(statements) if isinstance(one, syntax.Rule)]
    assert sum(len(scope.rules) for scope in made.scopes) == len(rules)
    guards = [one for one in _statements(statements) if isinstance(one, syntax.Guard)]
    assert len(made.guards) == len(guards)
