"""``oomrules fmt``: one form, nothing lost, the same meaning."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules import resources
from oomrules.commands.main import main
from oomrules.language import formatter, parser, syntax
from oomrules.language.diagnostics import Rejected
from oomrules.language.text import RuleText
from tests.oracle import strategies
from tests.oracle.strategies import thorough


def fmt(text: str) -> str:
    return formatter.formatted(RuleText("x.oom", text))


def parsed(text: str) -> tuple[syntax.Statement, ...]:
    statements, diagnostics = parser.parse(RuleText("x.oom", text))
    assert not diagnostics, diagnostics
    return statements


def comments(text: str) -> list[str]:
    found = re.findall(r'"(?:\\"|[^"\n])*"|#[^\n]*', text)
    return [one.rstrip() for one in found if one.startswith("#")]


FORMS = {
    "spacing": ("never   kill\tuid  0   with A ,B\n", "never kill uid 0 with A, B\n"),
    "operators": ("score rss/ (1MiB*2)-3 +  -nice", "score rss / (1MiB * 2) - 3 + -nice\n"),
    "a call": ("score root ( root( nice ) )", "score root(root(nice))\n"),
    "a bracket behind a word": ("define a=not(b)and(c)", "define a = not (b) and (c)\n"),
    "a negative number": (
        "spare oom_score_adj - 1000 when nice>- 5",
        "spare oom_score_adj -1000 when nice > -5\n",
    ),
    "a negative number in a condition": (
        "define a=nice - 5 or not(nice -5)and nice-5>1",
        "define a = nice -5 or not (nice -5) and nice - 5 > 1\n",
    ),
    "a difference in a selector": (
        "spare rss-swap>1MiB (uid 0 or niced)",
        "spare rss - swap > 1MiB (uid 0 or niced)\n",
    ),
    "several arguments": ("score max( rss,swap ,-1KiB )", "score max(rss, swap, -1KiB)\n"),
    "clauses about others": (
        'spare uid 0 not   under(uid 1 or niced) child   of uid 2 not \\\n child of comm"a"',
        'spare uid 0 not under (uid 1 or niced) child of uid 2 not child of comm "a"\n',
    ),
    "a degree": ("kill  last uid 0  by 2", "kill last uid 0 by 2\n"),
    "a guard": (
        "terminate  when  host.free<1GiB and(host.stall>5% )for  5s within 1min then\tstop",
        "terminate when host.free < 1GiB and (host.stall > 5%) for 5s within 1min then stop\n",
    ),
    "a guard on several lines": (
        "warn when host.free < 1GiB and # a\n host.stall > 5% \\\n  for 5s",
        "warn when host.free < 1GiB and  # a\n    host.stall > 5% for 5s\n",
    ),
    "a guard that is too long": (
        "in user.slice: terminate when scope.memory > 20GiB and scope.stall > 12.5% for 1min30s "
        "within 20s then stop",
        "in user.slice: terminate when scope.memory > 20GiB and scope.stall > 12.5% for 1min30s "
        "within 20s \\\n    then stop\n",
    ),
    "a whole unit": ('kill whole   user  unit "a"', 'kill whole user unit "a"\n'),
    "a minus": ("define a = nice -1 > 5", "define a = nice - 1 > 5\n"),
    "a regex": ('spare anything when comm~"x"', 'spare anything when comm ~ "x"\n'),
    "indentation": (
        "  in a.slice {\nspare uid 0\n in b.slice{\n\tspare uid 1\n }\n}",
        "in a.slice {\n    spare uid 0\n    in b.slice {\n        spare uid 1\n    }\n}\n",
    ),
    "a block in one line": ("in a.slice { spare uid 0 }", "in a.slice {\n    spare uid 0\n}\n"),
    "an empty block": ("in a.slice {}", "in a.slice {\n}\n"),
    "two closed in one line": (
        "in a.slice { in b.slice { spare uid 0 }}",
        "in a.slice {\n    in b.slice {\n        spare uid 0\n    }\n}\n",
    ),
    "a colon": ("in   a.slice :in b.slice:  spare uid 0", "in a.slice: in b.slice: spare uid 0\n"),
    "a relation": (
        "in units   wanted by  x.target:spare uid 0",
        "in units wanted by x.target: spare uid 0\n",
    ),
    "users' units": (
        'in user  unit "a-*.scope" :spare uid 0',
        'in user unit "a-*.scope": spare uid 0\n',
    ),
    "empty lines": (
        "\n\nspare uid 0\n\n\n\nspare uid 1\nin a.slice {\n\nspare uid 2\n\n}\n\n\n",
        "spare uid 0\n\nspare uid 1\nin a.slice {\n    spare uid 2\n}\n",
    ),
    "line ends": ("spare uid 0\r\nspare uid 1 \r\n", "spare uid 0\nspare uid 1\n"),
    "no line end": ("spare uid 0", "spare uid 0\n"),
    "a broken line that fits": ('list a = "b",\n   "c"', 'list a = "b", "c"\n'),
    "a backslash": ("spare uid 0 \\\n   when nice > 0", "spare uid 0 when nice > 0\n"),
    "a comment behind": ("spare uid 0# why", "spare uid 0  # why\n"),
    "a comment in a block": (
        "in a.slice {# one\n#two\nspare uid 0   #three\n  # four\n} # five",
        "in a.slice {  # one\n    #two\n    spare uid 0  #three\n    # four\n}  # five\n",
    ),
    "comments in a list": (
        'list a = "b", # first\n  # of all\n  "c","d"   # last',
        'list a = "b",  # first\n    # of all\n    "c", "d"  # last\n',
    ),
    "a comment and a backslash": ("spare uid 0 \\\n # why", "spare uid 0  # why\n"),
    "comments apart": ("# a\n\n\n# b\n#   c  \n", "# a\n\n# b\n#   c\n"),
    "a text with a sharp": ('spare comm "#  x"', 'spare comm "#  x"\n'),
    "nothing": ("", ""),
    "no mask": (" \n\n", "\n"),
}


@pytest.mark.parametrize("case", FORMS)
def test_there_is_one_form(case: str) -> None:
    before, after = FORMS[case]
    assert fmt(before) == after
    assert fmt(after) == after


def test_a_long_list_is_filled() -> None:
    before = "list a = " + ", ".join(f'"{n:08}"' for n in range(30))
    lines = fmt(before).splitlines()
    assert all(len(line) <= formatter.WIDTH for line in lines)
    assert all(len(line) > formatter.WIDTH - 12 for line in lines[:-1])
    assert all(line.endswith(",") for line in lines[:-1])
    assert parsed("\n".join(lines)) == parsed(before)


def test_a_clause_that_fits_into_a_line_is_kept_together() -> None:
    term = f'kill first cmdline "{"x" * 60}"'
    clause = 'when rss + swap >= 64MiB and not cmdline ~ "yyyyy"'
    assert fmt(f"{term} {clause}") == f"{term} \\\n    {clause}\n"


@pytest.mark.parametrize("length", range(60, 110))
def test_no_line_is_longer_than_need_be(length: int) -> None:
    text = f'prefer comm "{"x" * length}" with SYS_ADMIN when rss > 1GiB and nice > 0 by 17'
    lines = fmt(text).splitlines()
    assert all(len(line) <= formatter.WIDTH for line in lines[1:])
    assert len(lines[0]) <= max(formatter.WIDTH, length + 18)
    assert parsed("\n".join(lines)) == parsed(text)


# --- generated files -------------------------------------------------------------------------

_SPACES = st.sampled_from((" ", " ", " ", "  ", "\t", " \\\n  ", "\f "))
_NOTES = st.sampled_from(("# note", "#", '# "quoted', "# { } \\", "#é  "))
_GLUED = ("_COMMA", "COLON", "LPAR", "RPAR", "LBRACE", "RBRACE", "TILDE", "COMPARE", "EQUAL")


@st.composite
def untidy(draw: st.DrawFn) -> str:
    """Write right rules with other white space, and comments wherever they may be."""
    rules = draw(strategies.rule_sets(most=4, guards=True))
    text = "\n".join(file.text for file in strategies.texts(rules))
    out = ""
    tokens = parser.tokens(RuleText("x.oom", text))
    for number, token in enumerate(tokens):
        before = tokens[number - 1].type if number else "_NL"
        loose = token.type in _GLUED or before in _GLUED
        if before != "_NL" and token.type != "_NL":
            may_break = before in ("_COMMA", "AND", "OR")
            if may_break and draw(st.integers(0, 5)) == 0:
                note = draw(st.just("") | _NOTES)
                own = draw(st.just("") | _NOTES.map("   {}\n".format))
                out += f"{note}\n{own}"
            elif not (loose and draw(st.booleans())):
                out += draw(_SPACES)
        if token.type == "_NL":
            choice = draw(st.integers(0, 9))
            out += draw(_NOTES) if choice == 0 else " " if choice == 1 else ""
            out += "\r\n" if choice == 2 else "\n"
            out += "\n\n" if choice == 3 else draw(_NOTES) + "\n" if choice == 4 else ""
        else:
            out += str(token)
    return out


@thorough
@given(untidy())
def test_formatting_keeps_the_meaning_and_the_comments_and_is_done_once(text: str) -> None:
    once = fmt(text)
    assert parsed(once) == parsed(text)
    assert comments(once) == comments(text)
    assert fmt(once) == once
    assert not re.search(r"[ \t\r]\n|\n\n\n|^\n|\t", once)


def test_shipped_rules_have_this_form() -> None:
    folder = resources.rules()
    for path in folder.rglob("*.oom"):
        text = path.read_text(encoding="utf-8")
        assert fmt(text) == text, path


def test_a_file_with_errors_is_not_touched() -> None:
    with pytest.raises(Rejected):
        fmt("spare  uid 0\nnevr kill uid 1\n")


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "10-a.oom").write_text("spare  uid 0\n")
    (tmp_path / "20-b.oom").write_text("spare uid 0\n")
    (tmp_path / "30-mask.oom").touch()
    return tmp_path


def test_check_names_files_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fmt", "--check", str(folder)]) == 1
    assert capsys.readouterr().out == f"{folder / '10-a.oom'}\n"
    assert (folder / "10-a.oom").read_text() == "spare  uid 0\n"
    assert main(["fmt", "--check", str(folder / "20-b.oom")]) == 0


def test_diff_shows_what_would_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", "--diff", str(folder)]) == 1
    assert "+spare uid 0" in capsys.readouterr().out.splitlines()
    assert (folder / "10-a.oom").read_text() == "spare  uid 0\n"


def test_files_are_written_and_those_in_form_are_not(folder: Path) -> None:
    before = (folder / "20-b.oom").stat()
    assert main(["fmt", str(folder)]) == 0
    assert (folder / "10-a.oom").read_text() == "spare uid 0\n"
    assert (folder / "20-b.oom").stat().st_mtime_ns == before.st_mtime_ns
    assert (folder / "30-mask.oom").stat().st_size == 0
    assert main(["fmt", "--check", str(folder)]) == 0


def test_standard_input_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"spare  uid 0")))
    assert main(["fmt", "-"]) == 0
    assert capsys.readouterr().out == "spare uid 0\n"


def test_files_with_errors_are_left_and_the_others_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "15-bad.oom").write_text("spare  usr\nnevr\n")
    assert main(["fmt", str(folder)]) == 2
    assert "OOM101" in capsys.readouterr().err
    assert (folder / "15-bad.oom").read_text() == "spare  usr\nnevr\n"
    assert (folder / "10-a.oom").read_text() == "spare uid 0\n"
