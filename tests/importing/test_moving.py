"""The pages about moving over from other tools: each line of their tables does what it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from oomrules import resources
from oomrules.commands import main
from oomrules.importing import earlyoom, nohang, oomd
from oomrules.importing.translation import Translation
from oomrules.language import checker, formatter, rulefiles
from oomrules.language.text import RuleText
from oomrules.setup import others
from tests.importing import made

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("from-earlyoom", "from-nohang", "from-systemd-oomd", "from-oomscoreadjust")
STATEMENT = re.compile(
    r"(?:never|only) kill |kill (?:first|last|whole|when) |(?:terminate|warn) when |prefer |spare "
    r"|score |in (?:user|[\w.\"*-]+[:]|units)"
)
# A setting of a unit, or of oomd.conf.
SETTING = re.compile(r"[A-Z]\w+=\S+")
DIRECTORIES = {"oomd.conf": "etc/systemd", "oomrule": "etc/systemd/oomd/rules.d"}
SECTIONS = {"service": "Service", "slice": "Slice", "conf": "OOM", "oomrule": "Rule"}


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]*)`", text)


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables whose head begins so."""
    found, inside = list[list[str]](), False
    for line in text_of(page).splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {heading} |"):
            inside = True
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def imported(page: str) -> list[list[str]]:
    """Return the rows that `oomrules import` does by itself."""
    whole = "by itself" in text_of(page) and "✓" not in text_of(page)
    table = rows(page, "what you had")
    if whole:
        # The first table of the page; what follows it is for hand.
        first = text_of(page).split("| what you had |")[1].split("\n\n")[0]
        return [row for row in table if f"| {row[0]} |" in first]
    return [row for row in table if row[-1].rstrip(" |") == "✓"]


def case(page: str) -> list[pytest.param]:  # type: ignore[valid-type]
    return [pytest.param(row[0], row[1], id=row[0][:60]) for row in imported(page)]


def statements(cell: str) -> set[str]:
    return {" ".join(one.split()) for one in code(cell)}


def sentences(found: Translation) -> set[str]:
    return set(made.sentences(made.written([found])))


MEASURE = set(code(re.split(r"It also writes|\n\n\|", text_of("from-earlyoom"))[1])[:2])


@pytest.mark.parametrize(("had", "write"), case("from-earlyoom"))
def test_what_was_an_option_of_earlyoom(had: str, write: str) -> None:
    (line,) = code(had) or [""]
    made_of_it = sentences(earlyoom.of_arguments(shlex.split(line)))
    plain = sentences(earlyoom.of_arguments([]))
    guards = {one for one in statements(write) if " when host." in one}
    assert statements(write) <= made_of_it
    # Nothing besides the measure, and guards as they are without an option.
    assert made_of_it - statements(write) <= (MEASURE if guards else plain)


@pytest.mark.parametrize(("had", "write"), case("from-nohang"))
def test_what_was_a_line_of_nohang_conf(had: str, write: str) -> None:
    text = "\n".join(code(had))
    found = made.translated("nohang.conf", text)
    assert statements(write) <= sentences(found)
    assert sentences(found) - statements(write) <= MEASURE


@pytest.mark.parametrize(
    ("had", "write"), [*case("from-systemd-oomd"), *case("from-oomscoreadjust")]
)
def test_what_was_a_setting_of_systemd(had: str, write: str) -> None:
    found = oomd.of_files(list(files(code(had))))
    assert sentences(found) == statements(write)


def files(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the files of a row: names, each with its settings behind it."""
    lines: dict[str, list[str]] = {}
    for word in words:
        if SETTING.fullmatch(word):
            [*lines.values()][-1].append(word)
        else:
            section = SECTIONS[word.rpartition(".")[2]]
            lines[word] = [f"[{section}]"]
    for name, said in lines.items():
        ending = name.rpartition(".")[2]
        folder = DIRECTORIES.get(name) or DIRECTORIES.get(ending) or "etc/systemd/system"
        yield f"/{folder}/{name}", said


@pytest.mark.parametrize("page", PAGES)
def test_there_are_lines_to_try(page: str) -> None:
    assert len(imported(page)) > 5


@pytest.mark.parametrize(
    ("page", "tool", "found"),
    [
        ("from-earlyoom", "earlyoom", earlyoom.of_arguments([])),
        (
            "from-nohang",
            "nohang",
            made.translated(
                "nohang.conf", "hard_threshold_min_mem = 2 %\nhard_threshold_min_swap = 4 %"
            ),
        ),
        (
            "from-systemd-oomd",
            "systemd-oomd",
            oomd.of_files([("/etc/systemd/system/a.slice", ["[Slice]", "ManagedOOMSwap=kill"])]),
        ),
    ],
)
def test_the_tool_is_stopped_by_the_same_command_everywhere(
    page: str, tool: str, found: Translation
) -> None:
    said = " ".join(made.written([found]).replace("#", "").split())
    commands = re.findall(r"`(systemctl disable --now [^`]*)`", said)
    assert len(commands) == 1
    assert f"    {commands[0]}" in text_of(page)
    units = {word if "." in word else f"{word}.service" for word in commands[0].split()[3:]}
    (known,) = (one for one in others.OTHERS if one.name == tool)
    assert units == set(known.units)


# --- what is written by hand ------------------------------------------------------------------


def by_hand(page: str) -> Iterator[str]:
    """Yield the statements that a page has anywhere: in tables, sentences and blocks."""
    text = text_of(page)
    yield from (one for one in code(re.sub(r"\s+", " ", text)) if STATEMENT.match(one))
    for line in re.findall(r"^    (.*)$", text, re.MULTILINE):
        if STATEMENT.match(line):
            yield line


@pytest.mark.parametrize("page", PAGES)
def test_each_statement_on_a_page_compiles_and_is_in_its_one_form(page: str) -> None:
    words = rulefiles.given([str(resources.rules() / rulefiles.VOCABULARY)]).files
    found = set(by_hand(page))
    assert len(found) > 8
    for statement in found:
        source = RuleText("page.oom", f"{statement}\n")
        assert checker.check([*words, source]).diagnostics == [], statement
        # The formatter breaks long lines.
        assert " ".join(formatter.formatted(source).replace("\\\n", " ").split()) == statement


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page_have_the_options_that_stand_there(page: str) -> None:
    text = text_of(page)
    lines = [*re.findall(r"^    (.*)$", text, re.MULTILINE), *code(text)]
    typed = [line.partition("  #")[0] for line in lines if line.startswith("oomrules ")]
    assert typed
    for line in typed:
        command, *words = shlex.split(line)[1:]
        if command == "--version" or command == "--help":
            continue
        (commands,) = main.parser([command])._get_positional_actions()
        known = dict(commands.choices or {})[command]._option_string_actions
        assert {word for word in words if word.startswith("-")} <= set(known), line


# --- nothing is missing -----------------------------------------------------------------------


def had(page: str, heading: str = "what you had") -> str:
    return " ".join(row[0] for row in rows(page, heading))


def test_every_option_of_earlyoom_is_in_a_table() -> None:
    words = set(re.findall(r"(?<!\S)`?(--?[a-zA-Z][\w-]*)", had("from-earlyoom")))
    assert words == set(earlyoom.OPTIONS)


def test_every_key_of_nohang_is_in_a_table() -> None:
    text = had("from-nohang")
    adjustments = {f"@BADNESS_ADJ_RE_{kind}" for kind in (*nohang._ATTRIBUTES, *nohang._MISSING)}
    wanted = {*nohang.SETTINGS, *adjustments, "@BADNESS_ADJ_RE_UID"}
    assert set(re.findall(r"`(@?\w+)", text)) == wanted
    commands = set(re.findall(r"nohang --(\w+)", had("from-nohang", "command of nohang")))
    assert commands == {"check", "tasks", "monitor", "memload", "version", "help"}


def test_every_setting_of_systemd_oomd_is_in_a_table() -> None:
    named = set(re.findall(r"`(\w+)=", had("from-systemd-oomd")))
    wanted = {*oomd._UNITS_SETTINGS, *oomd._DEFAULTS, *oomd._OF_A_RULESET} - {"OOMScoreAdjust"}
    assert named == wanted


def test_every_setting_of_units_for_the_kernel_is_in_a_table() -> None:
    named = set(re.findall(r"`(\w+)=", had("from-oomscoreadjust")))
    assert named == {"OOMScoreAdjust", "OOMPolicy", "DefaultOOMScoreAdjust", "DefaultOOMPolicy"}
