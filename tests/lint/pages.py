"""The pages that explain codes, taken apart for the tests that hold them to their word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from oomrules.language import compiler
from oomrules.language.diagnostics import Diagnostic, Rejected
from oomrules.language.rulefiles import DIRECTORIES, Found
from oomrules.language.text import RuleText
from oomrules.lint import linter, registry
from oomrules.lint.host_facts import HostFacts, units_of, user_units_of
from oomrules.processes import recorded
from oomrules.ranking.ranker import Ranker

SNAPSHOT = Path(__file__).parent.parent / "data" / "lint.jsonl"
_FENCE = re.compile(r"```(\w*)(?: (\S+))?\n(.*?)```\n", re.DOTALL)


class Block(NamedTuple):
    """A piece of text in a page; ``path`` is where it would be."""

    language: str
    path: str
    text: str


class Page(NamedTuple):
    """A page: its heading and its sections."""

    code: str
    title: str
    about: str
    sections: dict[str, str]

    def blocks(self, section: str) -> list[Block]:
        return [Block(*found) for found in _FENCE.findall(self.sections[section])]

    def rules(self, section: str) -> Found:
        """Give the rule files of a section."""
        files = []
        for number, block in enumerate(self.blocks(section)):
            assert block.language == "oom", self.code
            folder = block.path.rpartition("/")[0]
            level = DIRECTORIES.index(folder) if folder else 0
            # Shipped files are looked at less, so these are none.
            files.append(
                RuleText(
                    block.path.replace("/usr/lib/", "/x/") or f"{number}.oom", block.text, level
                )
            )
        return Found(tuple(files))


def read(code: str) -> Page:
    heading, *rest = re.split(r"^## ", registry.page(code), flags=re.MULTILINE)
    first, _, about = heading.partition("\n")
    sections = {}
    for section in rest:
        name, _, text = section.partition("\n")
        sections[name] = text
    named, _, title = first.removeprefix("# ").partition(": ")
    return Page(named, title, about, sections)


def host(found: Found, **facts: Any) -> HostFacts | None:
    """Give the recorded host, ranked by these rules; None if they are in error."""
    try:
        made = compiler.compile_rules(found)
    except Rejected:
        return None
    snapshot = recorded.load(str(SNAPSHOT))
    ranking = Ranker(made, snapshot.host).rank(snapshot)
    known: dict[str, Any] = {
        "units": units_of(snapshot),
        "user_units": user_units_of(snapshot),
        "user": lambda name: name == "root",
        "group": lambda name: name == "root",
        **facts,
    }
    return HostFacts(ranking, **known)


def findings(code: str, section: str) -> list[Diagnostic]:
    """Lint a section's rules; the recorded host is looked at only for codes about hosts."""
    found = read(code).rules(section)
    hosts = {check.code for check in registry.CHECKS if check.host}
    # What nothing uses is said of a whole directory only.
    directories = (Path("/etc/oomrules.d"),) if code == "OOM222" else ()
    return linter.lint(found, directories, host(found) if code in hosts else None)[1]


def codes(code: str, section: str) -> list[str]:
    return [finding.code for finding in findings(code, section)]
