"""The documents agree with the tables that the program uses."""

import re
from dataclasses import replace
from pathlib import Path

from oomrules import resources
from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.commands import main
from oomrules.language import rulefiles
from oomrules.language.compiler import compile_rules
from oomrules.language.quantities import UNITS
from oomrules.language.rulefiles import Found
from oomrules.language.syntax import KEYWORDS
from oomrules.language.text import RuleText
from oomrules.language.typing import FUNCTIONS
from oomrules.lint import registry
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.ranker import Ranker
from oomrules.testing.described import Described

CHECKOUT = Path(__file__).resolve().parent.parent


def attribute_table() -> str:
    """Give the table that belongs into docs/language.md."""
    rows = [
        f"| `{a.name}` | {a.type.value} | {a.doc} | {a.source.value} |" for a in ATTRIBUTES.values()
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
        ranker = Ranker(Evaluator(compile_rules(found), snapshot.host))
        ranking = ranker.rank(snapshot)
        return {name: ranking.verdict(snapshot.by_pid[pids[name]]).points for name in pids}

    shipped = rulefiles.given([str(resources.rules())])
    before = points(shipped)
    assert round(before["reserved"] / before["hog"], -2) == times
    (line,) = re.findall(r"^    (score rss .*)$", readme, re.MULTILINE)
    assert f"`{line}`" in page
    own = RuleText("60-score.oom", f"{line}\n", -1)
    after = points(replace(shipped, files=(*shipped.files, own)))
    assert after["hog"] > 100 * after["reserved"]


def test_the_syntax_file_of_vim_has_the_words_of_the_language() -> None:
    text = (CHECKOUT / "editors" / "vim" / "syntax" / "oomrules.vim").read_text(encoding="utf-8")
    groups: dict[str, set[str]] = {}
    for group, words in re.findall(r"^syntax keyword oomrules(\w+) (.*)$", text, re.MULTILINE):
        groups.setdefault(group, set()).update(words.split())
    short = {name.partition("_")[2] for name in CAPABILITIES} - {""}
    assert r"\<in\s\+user\s\+unit\>" in text
    assert groups == {
        "Keyword": {*KEYWORDS, "units", "wanted", "part"},
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


def test_the_hooks_of_pre_commit_are_commands_that_there_are() -> None:
    text = (CHECKOUT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^  entry: oomrules (.*)$", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^- id:", text, re.MULTILINE)) == 2
    for entry in entries:
        main.parser().parse_args([*entry.split(), "x.oom"])
