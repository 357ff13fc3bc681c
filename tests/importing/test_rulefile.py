"""Whatever the input: a rule file that compiles and names every line, or one error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.errors import Failure
from oomrules.importing import earlyoom, recognition, rulefile, sources
from oomrules.importing.sources import Source
from oomrules.importing.translation import Piece, Translation
from oomrules.language import checker
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import linter
from tests.importing import made
from tests.language import test_foreign as foreign_files

# What lines of all tools are made of, and what their enemies add.
WORDS = [
    *("[Service]", "[Slice]", "[OOM]", "[Rule]", "OOMScoreAdjust=", "-900", "ManagedOOMSwap=kill"),
    *("@BADNESS_ADJ_RE_NAME", "///", "@SOFT_ACTION_RE_NAME", "soft_threshold_min_mem = 5 %"),
    *('{"name": "', '"', "}", '"oom_score_adj": ', "200", '"type": "a"', ", "),
    *("EARLYOOM_ARGS=", "--prefer", "--avoid=", "-m", "'", "^(a|b)$", "[[:alpha:]]", "\\", "\\1"),
    *("#", "# oomrules: allow OOM531", ";", "=", " ", "\t", "\r", "\0", "\x1b[2J", "\udcff", "ü"),
    *("\u2028", "\x85", "\u202e", "x" * 400, "(?=a)", "*", "`", "%", "{" * 200, "kill first uid 0"),
]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map("".join), max_size=8).map(
    "\n".join
)


@settings(deadline=None)
@given(TEXTS, st.sampled_from([*recognition.FORMATS]), st.sampled_from(["x", "oomrules", "a\x1b"]))
def test_every_line_stands_in_a_file_that_compiles(text: str, tool: str, name: str) -> None:
    found = made.translated(name, text, tool)
    made.written([found])
    named = {place for piece in found.pieces for place in [piece.place.rpartition(":")[2]]}
    lines = [number for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    # Some lines are comments, headings, or go on from the line above.
    assert len(lines) <= len(named) + found.ignored + text.count("\\\n") + text.count("\n")


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_so_do_all_arguments(words: list[str]) -> None:
    found = earlyoom.of_arguments(words)
    made.written([found])
    said = " ".join(piece.said for piece in found.pieces)
    for word in words:
        if word not in ("--",) and word.isalnum():
            assert word in said


@settings(max_examples=20, deadline=None)
@given(TEXTS, st.sampled_from([*recognition.FORMATS]))
def test_the_same_input_gives_the_same_file(text: str, tool: str) -> None:
    files = {made.written([made.translated("x", text, tool)]) for _ in range(2)}
    assert len(files) == 1


def test_no_text_of_others_speaks_to_the_linter() -> None:
    line = "# oomrules: allow OOM531"
    found = Translation(
        "x", ("oomrules:",), (Piece("oomrules: allow OOM531", line, ('never kill comm "a"',)),)
    )
    text = made.written([found])
    _, said = linter.lint(Found((RuleText("x.oom", text),)), ())
    assert [one.code for one in said] == ["OOM531"]


def test_of_two_tools_there_is_one_score() -> None:
    first = earlyoom.of_arguments(["--sort-by-rss"])
    text = made.written([first, made.translated("nohang.conf", "a = 5"), first])
    assert made.rules(text) == ["score rss"]
    assert "`score rss` is the first" in text and "The score stands above" in text


def test_a_sentence_that_stands_there_already_is_not_said_twice() -> None:
    text = "@BADNESS_ADJ_RE_NAME -100 /// ^a$\n" * 2
    assert made.rules(made.written([made.translated("nohang.conf", text)]))[2:] == [
        'spare comm "a" by 1.176'
    ]


def test_what_is_too_much_for_a_rule_file_is_an_error() -> None:
    pieces = tuple(Piece(f"x:{number}", "y" * 300, reason="no") for number in range(4000))
    with pytest.raises(Failure, match="larger than 1 MiB"):
        rulefile.written([Translation("x", ("x",), pieces)])


# --- the files that are read ---------------------------------------------------------------------


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_directory_is_read_with_what_is_known_in_it(tmp_path: Path) -> None:
    put(tmp_path / "a/x.rules", '{"name": "a", "oom_score_adj": 100}\n')
    put(tmp_path / "a/b/nohang.conf", "min_badness = 5\n")
    put(tmp_path / "a/other.conf", "x = 5\n")
    put(tmp_path / "a/README", "no settings\n")
    (tmp_path / "a/loop").symlink_to(".")
    found = sources.read([str(tmp_path / "a")], Path("/"))
    translations, others = recognition.translations(found)
    assert {one.tool for one in translations} == {"ananicy", "nohang"}
    assert [name for name in others if "loop" not in name] == [str(tmp_path / "a/other.conf")]
    assert str(tmp_path / "a/other.conf") in rulefile.written(translations, others)


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("x", "[Service]\nOOMScoreAdjust=5", "systemd"),
        ("x.oomrule", "", "systemd"),
        ("/etc/default/earlyoom", "", "earlyoom"),
        ("x", '# a\nEARLYOOM_ARGS=""', "earlyoom"),
        ("x", "--prefer a", "earlyoom"),
        ("x", "#c\n@BADNESS_ADJ_RE_NAME 5 /// x", "nohang"),
        ("nohang-desktop.conf", "", "nohang"),
        ("x", '#\n{ "name": "x" }', "ananicy"),
        ("00.types", "", "ananicy"),
        ("x.service", "\n", "systemd"),
        ("x.service", "[D-BUS Service]\nName=x", None),
        ("x.conf", "[main]\na=5", None),
        ("x", "never kill uid 0", None),
        ("x", "", None),
    ],
)
def test_a_file_is_recognised_by_its_name_or_its_lines(
    name: str, text: str, tool: str | None
) -> None:
    assert recognition.recognised(Source(name, text.split("\n"))) == tool


@pytest.mark.parametrize("below", [False, True], ids=["of this host", "below a root"])
@pytest.mark.parametrize("lenient", [False, True])
def test_masked_units_and_links_to_units_that_are_gone(
    tmp_path: Path, lenient: bool, below: bool
) -> None:
    unit = "[Service]\nType=simple\nOOMScoreAdjust=-1000\n"
    put(tmp_path / "usr/lib/systemd/system/other.service", "[Service]\nType=simple\n")
    for name in ("masked", "gone"):
        put(tmp_path / f"usr/lib/systemd/system/{name}.service", unit)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/masked.service").symlink_to("/dev/null")
    (tmp_path / "etc/systemd/system/gone.service").symlink_to("/nowhere/gone.service")
    paths = [str(tmp_path / "etc/systemd"), str(tmp_path / "usr/lib/systemd")]
    found = sources.read(paths, tmp_path if below else Path("/"), lenient)
    (translation,), others = recognition.translations(found)
    assert others == []
    text = made.written([translation])
    assert made.rules(text) == ['never kill unit "gone.service"']
    # Thousands of lines of units say nothing of memory.
    assert "gone.service:2: Type=" not in text and "other.service" not in text
    assert "2 settings of units are about other things" in text
    # One that is named itself has to be there.
    with pytest.raises(Failure, match="cannot read"):
        sources.read([str(tmp_path / "etc/systemd/system/gone.service")], Path("/"))


def test_odd_files_are_an_error_that_names_them(tmp_path: Path) -> None:
    large = put(tmp_path / "large.rules", "x" * (sources.LARGEST + 1))
    for path in ("/nowhere", "/dev/zero", large, str(tmp_path / "a\0b")):
        with pytest.raises(Failure, match="cannot read"):
            sources.read([path], Path("/"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match="no file of a tool"):
        sources.read([str(tmp_path / "empty")], Path("/"))
    unknown = put(tmp_path / "x.txt", "hello\n")
    with pytest.raises(Failure, match="no tool that is known here"):
        recognition.translations(sources.read([unknown], Path("/")))


def test_bytes_that_are_no_text_raise_nothing_but_our_error(tmp_path: Path) -> None:
    make = random.Random(1)
    path = tmp_path / "x"
    for _ in range(60):
        path.write_bytes(make.randbytes(make.randrange(300)))
        for tool in recognition.FORMATS:
            found, _ = recognition.translations(sources.read([str(path)], Path("/")), tool)
            made.written(found)


def test_what_the_score_counts_already_is_not_said_a_second_time() -> None:
    unit = made.translated("x.service", "[Service]\nOOMScoreAdjust=100\n")
    assert made.rules(made.written([unit])) == ['prefer unit "x.service" by 2']
    first = earlyoom.of_arguments([])
    text = made.written([first, unit])
    assert "x.service" in text
    assert len(made.rules(text)) == 2


@pytest.mark.parametrize("name", foreign_files.CASES)
def test_what_check_proposes_to_import_is_recognised(name: str) -> None:
    text = foreign_files.CASES[name].text
    (finding,) = checker.check([RuleText("f.oom", text)]).diagnostics
    if "oomrules import" in finding.help:
        assert recognition.recognised(Source("f.oom", text.split("\n")))
