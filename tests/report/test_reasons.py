"""The reasons of a choice: each has a page that says what to look at and what to do.

``python -m tests.report.test_reasons docs/generated/reasons.md`` writes the page anew.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from oomrules.commands.parts import replay_rules
from oomrules.report import choice, unranked
from oomrules.report.generations import GENERATIONS, Generation
from oomrules.report.reasons import REASONS, page
from tests.children import CHECKOUT

PAGE = Path("docs/generated/reasons.md")


def whole() -> str:
    """Give what belongs into docs/generated/reasons.md."""
    lines = [
        f"<!-- Made by `python -m tests.report.test_reasons {PAGE}`; do not edit it here. -->",
        "# Reasons of `oomrules replay`",
        "",
        "Why the kernel's choice is what it is, or why it cannot be computed again.",
        "`oomrules replay --explain CODE` prints one of these pages. [All pages](../README.md)",
        "",
        "| code | |",
        "|---|---|",
        *(f"| [{code}](#{_anchor(code)}) | {each.title} |" for code, each in REASONS.items()),
        "",
        "## The formulas",
        "",
        "Pages are resident memory, swap and page tables, as far as the table has columns for",
        "them. The total is RAM and swap, or the limit and the swap that the group may use.",
        "A process with an `oom_score_adj` of -1000 is exempt.",
        "",
        "| kernel | points | of equals dies |",
        "|---|---|---|",
        *map(_formula, GENERATIONS.values()),
        "",
        "Until Linux 5.0 a child with memory of its own dies in the place of the chosen process.",
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(f"#{page(code)}" for code in REASONS)


def _formula(generation: Generation) -> str:
    which = "the last that the kernel meets" if generation.last else "the first"
    return f"| {generation.title} | {generation.formula} | {which} |"


def _anchor(code: str) -> str:
    """Return the name that Markdown gives to the heading of a page."""
    heading = f"{code}: {REASONS[code].title}"
    return re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


def test_the_page_of_reasons_is_the_table() -> None:
    assert (Path(CHECKOUT) / PAGE).read_text(encoding="utf-8") == whole()


def test_each_reason_says_what_to_look_at_and_what_to_do() -> None:
    for code, reason in REASONS.items():
        assert re.fullmatch(r"RPL\d{3}", code)
        assert reason.title[0].islower()
        assert "\n**Look at** " in reason.page, code
        assert re.search(r"\n\*\*To (do|change it|be certain)\*\*[,:] ", reason.page), code


def test_a_code_says_what_came_of_it() -> None:
    words = {"1": "reproduced", "2": "open", "3": "differs", "4": "not ranked"}
    for code, reason in REASONS.items():
        assert reason.title.startswith(f"{words[code[3]]}: ")


def test_each_code_that_is_given_has_a_page() -> None:
    # The command knows what the service had written.
    modules = (choice, unranked, replay_rules)
    code = "".join(inspect.getsource(module) for module in modules)
    assert set(re.findall(r'"(RPL\d+)"', code)) == {*REASONS}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(whole(), encoding="utf-8")
