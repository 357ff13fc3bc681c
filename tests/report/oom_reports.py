"""The published reports in tests/data/oom-reports, and what is known of each."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from oomrules.report.lines import lines
from oomrules.report.model import Report
from oomrules.report.reading import reports

FOLDER = Path(__file__).parents[1] / "data" / "oom-reports"
INDEX: list[dict[str, Any]] = [
    json.loads(line) for line in (FOLDER / "index.jsonl").read_text().splitlines()
]
NUMBERS = [each["id"] for each in INDEX]
KNOWN = {each["id"]: each for each in INDEX}


def path(number: int) -> Path:
    """Return where a report is."""
    file: str = KNOWN[number]["file"]
    return FOLDER / file


def text(number: int) -> bytes:
    """Return a report as it was published."""
    return path(number).read_bytes()


@cache
def report(number: int) -> Report:
    """Return a report, read."""
    with path(number).open("rb") as opened:
        (found,) = reports(lines(opened), str(path(number)))
    return found
