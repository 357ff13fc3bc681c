"""The documents agree with the tables that the program uses, and with each other."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from oomrules import __version__, resources
from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.commands import main
from oomrules.fields import FIELDS
from oomrules.kills import guarded
from oomrules.kills.entry import Listing, record, record_facts
from oomrules.kills.facts import Facts
from oomrules.kills.kernel_log import Kill
from oomrules.language import checker, formatter, rulefiles
from oomrules.language.compiler import compile_rules
from oomrules.language.quantities import UNITS
from oomrules.language.rulefiles import Found
from oomrules.language.syntax import FORMS, KEYWORDS, WORDS
from oomrules.language.text import RuleText
from oomrules.language.typing import FUNCTIONS
from oomrules.lint import registry
from oomrules.processes import recorded
from oomrules.processes.cgroups import FIGURES
from oomrules.processes.facts import CONTAINER_FACTS
from oomrules.processes.snapshot import HOST_MEMORY, HOST_SHARES, Host
from oomrules.ranking.ranker import Ranker
from oomrules.testing.described import Described
from tests.vm.scenarios import page as scenarios_page
from tests.vm.scenarios.table import SCENARIOS

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "oomrules"


def attribute_table() -> str:
    """Give the table that belongs into docs/language.md."""
    rows = [
        f"| `{a.name}` | {a.type.value} | {a.doc} | {a.provider.value} |"
        for a in ATTRIBUTES.values()
    ]
    return "\n".join(["| attribute | type | what it is | from |", "|---|---|---|---|", *rows])


def test_the_language_page_lists_every_attribute() -> None:
    page = (CHECKOUT / "docs" / "language.md").read_text(encoding="utf-8")
    assert attribute_table() in page


def test_what_is_said_of_the_default_measure_is_so() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    page = (CHECKOUT / "docs" / "language.md").read_text(encoding="utf-8")
    said = r"of (\d+) MiB with 1 TiB\s+reserved has ([\d,]+) times the points of a hog of (\d+) MiB"
    (figures,) = set(re.findall(said, f"{readme}{page}"))
    small, times, large = (int(figure.replace(",", "")) for figure in figures)
    described = {
        "process": {
            "reserved": {"uid": 1000, "rss": f"{small}MiB", "total_vm": "1TiB"},
            "hog": {"uid": 1000, "rss": f"{large}MiB", "total_vm": f"{large}MiB"},
        }
    }
    snapshot, pids = Described("x").snapshot(described)

    def points(found: Found) -> dict[str, int]:
        ranker = Ranker(compile_rules(found), snapshot.host)
        ranking = ranker.rank(snapshot)
        return {name: ranking.verdict(snapshot.by_pid[pids[name]]).points for name in pids}

    shipped = rulefiles.given([str(resources.rules())])
    before = points(shipped)
    assert round(before["reserved"] / before["hog"], -2) == times
    (line,) = re.findall(r"^    (score footprint)$", readme, re.MULTILINE)
    assert f"`{line}`" in page
    own = RuleText("60-score.oom", f"{line}\n", -1)
    after = points(replace(shipped, files=(*shipped.files, own)))
    assert after["hog"] > 100 * after["reserved"]


def _rules_in(page: Path) -> list[str]:
    """Return the rules of a page that are indented, each block without its indentation."""
    text = re.sub(r"^```[\s\S]*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M)
    blocks = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, re.M)
    starts = re.compile(r"(?:never|only|kill|terminate|warn|prefer|spare|score|define|list|in) ")
    texts = [re.sub(r"^    ", "", block, flags=re.M) for block in blocks]
    return [text for text in texts if starts.match(text)]


@pytest.mark.parametrize("page", ["README.md", "docs/language.md", "docs/guard.md"])
def test_the_rules_on_a_page_compile_and_are_in_their_one_form(page: str) -> None:
    found = _rules_in(CHECKOUT / page)
    assert found
    for text in found:
        words = rulefiles.given([str(resources.rules() / rulefiles.VOCABULARY)]).files
        assert checker.check([*words, RuleText("page.oom", text)]).diagnostics == []
        assert formatter.formatted(RuleText("page.oom", text)) == text


def test_the_linter_finds_nothing_in_the_guards_on_their_page(tmp_path: Path) -> None:
    examples = _rules_in(CHECKOUT / "docs" / "guard.md")
    assert len(examples) > 3
    for text in examples:
        path = tmp_path / "page.oom"
        path.write_text(text, encoding="utf-8")
        assert main.main(["check", "--fatal-warnings", str(path)]) == 0, text


def test_the_snapshot_on_its_page_is_one_and_every_key_is_there(tmp_path: Path) -> None:
    page = (DOCS / "snapshot.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n([\s\S]*?)```", page)
    lines = example.splitlines()
    snapshot = recorded.parse(lines, "example")
    made = compile_rules(rulefiles.given([str(resources.rules())]))
    assert Ranker(made, snapshot.host).rank(snapshot).pids == [812]
    for line in lines:
        assert all(f"`{key}`" in page or key in FIELDS for key in json.loads(line) if key != "kind")
    written = {*HOST_MEMORY, *HOST_SHARES, *FIGURES, *Host._fields}
    assert not [key for key in written if f"`{key}`" not in page]
    assert not [key for key in CONTAINER_FACTS if f"`{key.removeprefix('pod_')}`" not in page]


def test_the_syntax_file_of_vim_has_the_words_of_the_language() -> None:
    text = (CHECKOUT / "editors" / "vim" / "syntax" / "oomrules.vim").read_text(encoding="utf-8")
    groups: dict[str, set[str]] = {}
    for group, words in re.findall(r"^syntax keyword oomrules(\w+) (.*)$", text, re.MULTILINE):
        groups.setdefault(group, set()).update(words.split())
    short = {name.partition("_")[2] for name in CAPABILITIES} - {""}
    assert r"\<in\s\+user\s\+unit\>" in text
    assert groups == {
        "Keyword": {*KEYWORDS, "units", "wanted", "part", "stop", *WORDS, *FORMS},
        "Function": set(FUNCTIONS),
        "Attribute": set(ATTRIBUTES),
        "Capability": {*CAPABILITIES, *short},
    }
    (units,) = re.findall(r"\(\\\.\\d\+\)\?\(([\w|]+)\)\?>", text)
    assert {*units.split("|"), "%"} == set(UNITS)


def test_the_linter_s_page_lists_every_code() -> None:
    page = (CHECKOUT / "docs" / "linter.md").read_text(encoding="utf-8")
    rows = [f"| {code} | {title} |" for code, title in registry.TITLES.items()]
    assert "\n".join(rows) in page


def test_the_page_of_the_journal_has_the_fields_and_ids_of_the_entries() -> None:
    sent: dict[str, str] = {}

    def send(message: str, priority: int, fields: dict[str, str] | None = None) -> bool:
        sent.update(fields or {})
        return True

    kill = Kill(pid=7, comm="x", uid=0, time=0.0, constraint="", cgroup="", sequence=1)
    alone = {"pid": 7, "uid": 0, "comm": "x", "unit": "x.service", "manager": ""}
    record("x.service", kill, Listing(), send=send, alone=alone)
    facts = Facts(read=None, at=None, ticks=100, adjusted=False, processes={})
    record_facts("x.service", kill, facts, "", send)
    page = (CHECKOUT / "docs" / "systemd.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`OOMRULES_.*?) \|", page, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    sent |= guarded.fields(guarded.Act(kind="killed"))
    assert sorted(named) == sorted(name for name in sent if name.startswith("OOMRULES_"))
    for kind, number in guarded.IDS.items():
        assert re.search(rf"^\| `{kind}` \|.*\| `{number}` \|$", page, re.MULTILINE), kind
    assert guarded.DRY_ID in page


def test_the_hooks_of_pre_commit_are_commands_that_there_are() -> None:
    text = (CHECKOUT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^  entry: oomrules (.*)$", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^- id:", text, re.MULTILINE)) == 2
    for entry in entries:
        main.parser().parse_args([*entry.split(), "x.oom"])


# --- what a reader clicks --------------------------------------------------------------

DOCS = CHECKOUT / "docs"
INDEX = DOCS / "README.md"
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "oomrules/**/*.md", "tests/**/*.md")
    for path in sorted(CHECKOUT.glob(pattern))
]
_CODE = re.compile(r"^```[\s\S]*?^```$|^ {4}.*$|`[^`\n]*`", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """Return the targets of a page's links; those in code are none."""
    return _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```[\s\S]*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def target(page: Path, link: str) -> Path:
    """Return the file that a relative link leads to."""
    path = link.partition("#")[0]
    return (page.parent / path).resolve() if path else page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        assert target(page, link).exists(), link
        anchor = link.partition("#")[2]
        assert not anchor or anchor in anchors(target(page, link)), link


def test_every_page_is_linked_from_the_index_and_links_back() -> None:
    # The manual pages name one another (tests/man/test_pages.py).
    pages = {*DOCS.rglob("*.md")} - {INDEX} - {*(DOCS / "man").iterdir()}
    indexed = {target(INDEX, link) for link in links(INDEX)}
    assert pages <= indexed
    for page in pages:
        assert INDEX in {target(page, link) for link in links(page)}, page


def test_a_generated_page_names_its_command_in_its_first_line() -> None:
    generated = [*(DOCS / "generated").glob("*.md")]
    assert len(generated) == 5
    for page in generated:
        (command,) = re.findall(
            r"^<!-- Made by `(make|python -m) ([\w.]+).*`; .*-->$",
            page.read_text(encoding="utf-8").splitlines()[0],
        )
        if command[0] == "make":
            assert f"\n{command[1]}:" in (CHECKOUT / "Makefile").read_text(encoding="utf-8")
        else:
            assert importlib.util.find_spec(command[1])


def test_the_page_of_scenarios_has_those_that_are_played() -> None:
    text = (DOCS / "generated" / "scenarios.md").read_text(encoding="utf-8")
    page = "\n".join(scenarios_page.read(text).rows.values())
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|", page, re.MULTILINE)
    assert rows == [
        (str(number), scenario.title, ", ".join(scenario.victims))
        for number, scenario in enumerate(SCENARIOS, 1)
    ]


def test_a_scenario_that_is_played_again_leaves_the_rest_of_its_page_as_it_was() -> None:
    text = (DOCS / "generated" / "scenarios.md").read_text(encoding="utf-8")
    page = scenarios_page.read(text)
    assert page.text() == text
    page.details[2] = "2. a title\n\n    kernel: 1. nobody"
    page.replayed[2] = ["| 2 | kernel | - | - | - |"]
    assert scenarios_page.read(page.text()) == page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_a_page_names_files_that_there_are(page: Path) -> None:
    folders = "bench|bpf|docs|editors|grammar|kernel|oomrules|rules\\.d|systemd|tests"
    text = page.read_text(encoding="utf-8")
    for path in re.findall(rf"`((?:{folders})/[\w./-]+\.(?:c|h|md|oom|py|toml|vim))`", text):
        assert (CHECKOUT / path).exists(), path


def test_contributing_names_files_that_there_are() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|h|c|vim)))`", text)
    assert len(named) > 40
    for path in named:
        assert (CHECKOUT / path).exists() or (CHECKOUT / "oomrules" / path).exists(), path


def test_contributing_says_rightly_what_is_in_a_module() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    # As in: `_SPECIAL` of `processes/values.py`.
    names = r"`\w+`(?: \([^)]*\))?"
    named = re.findall(rf"({names}(?:(?:,| and| or) {names})*)\s(?:in|of)\s`([\w./]+\.py)`", text)
    assert len(named) > 15
    for words, path in named:
        (module,) = (file for folder in (CHECKOUT, PACKAGE) if (file := folder / path).exists())
        code = module.read_text(encoding="utf-8")
        for word in re.findall(r"`(\w+)`", words):
            assert re.search(rf"\b{word}\b", code), f"{path}: {word}"


def test_the_picture_of_the_chain_has_every_folder_and_module() -> None:
    (picture,) = re.findall(r"^### The chain$(.*)", INDEX.read_text(encoding="utf-8"), re.M | re.S)
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "state"}
    assert set(re.findall(r"\b([a-z_]+)/", picture)) >= folders
    assert set(re.findall(r"`([a-z_]+)`", picture)) == modules
    assert "state.py" in picture


def test_the_kernel_module_says_its_version_which_dkms_goes_by() -> None:
    source = (CHECKOUT / "kernel/oom.c").read_text(encoding="utf-8")
    assert f'\nMODULE_VERSION("{__version__}");\n' in source


def test_the_changelog_begins_with_the_version_of_the_program() -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.*?)\](.*)$", text, re.MULTILINE)
    # What follows a release, until that is a release itself.
    dated = headings[headings[0] == ("Unreleased", "") :]
    versions = [version for version, _ in dated]
    assert versions[0] == __version__
    ordered = sorted(set(versions), key=lambda v: [*map(int, v.split("."))], reverse=True)
    assert versions == ordered
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in dated)
