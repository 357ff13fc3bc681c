"""Every check and every code. A check is one entry in its module, and a page in ``pages``."""

from __future__ import annotations

from pathlib import Path

from oomrules.errors import Failure
from oomrules.language.diagnostics import CODES as ERRORS
from oomrules.language.diagnostics import similar
from oomrules.lint import suppressions
from oomrules.lint.checks import (
    characters,
    conditions,
    filenames,
    guards,
    guards_here,
    host,
    managers,
    overlaps,
    patterns,
    redundancies,
    scores,
    trust,
    units,
    wholes,
)
from oomrules.lint.ruleset import Check

CHECKS: tuple[Check, ...] = (
    *filenames.CHECKS,
    *characters.CHECKS,
    *patterns.CHECKS,
    *units.CHECKS,
    *redundancies.CHECKS,
    *trust.CHECKS,
    *managers.CHECKS,
    *wholes.CHECKS,
    *conditions.CHECKS,
    *overlaps.CHECKS,
    *scores.CHECKS,
    *guards.CHECKS,
    *host.CHECKS,
    *guards_here.CHECKS,
    *suppressions.CHECKS,
)

# Codes that begin with 6 are kept for findings over all possible processes: rules that always
# or never hold, and rules that others make needless. Such a finding has a witness.

# The title of every code, including those of errors.
TITLES: dict[str, str] = dict(
    sorted({**ERRORS, **{check.code: check.title for check in CHECKS}}.items())
)

_PAGES = Path(__file__).parent / "pages"


def page(code: str) -> str:
    """Return the page that explains a code.

    Raises:
        Failure: there is no such code.
    """
    if code.upper() not in TITLES:
        close = similar(code, TITLES)
        raise Failure(
            f"there is no code {code}",
            f"did you mean {close[0]}?" if close else "codes are like OOM101",
        )
    return (_PAGES / f"{code.upper()}.md").read_text(encoding="utf-8")
