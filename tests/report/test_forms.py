"""The form in which a log was saved changes nothing in its reports but lines and times."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from oomrules.report.lines import lines
from oomrules.report.model import Report
from oomrules.report.reading import reports
from tests.report.forms import FORMS, Message
from tests.report.oom_reports import text

# Of each generation one or two, those that were published as the kernel wrote them.
WHOLE = (2, 3, 6, 20, 48, 64, 66, 74, 76, 81)


def messages_of(number: int) -> list[Message]:
    """Return the kernel's messages in a report, a millisecond after one another."""
    read = lines(io.BytesIO(text(number)))
    return [(8758.5 + line.number / 1000, line.text) for line in read]


def read(log: bytes) -> list[Report]:
    """Return the reports in a log."""
    return list(reports(lines(io.BytesIO(log))))


def bare(report: Report) -> Report:
    """Return a report without its lines and times, and what was before it."""
    table = report.table
    return replace(
        report,
        source="",
        number=0,
        first=0,
        last=0,
        time="",
        boot="",
        table=table
        and replace(
            table,
            line=bool(table.line),
            rows=tuple(replace(row, line=0) for row in table.rows),
            doubts=_without_numbers(table.doubts),
        ),
        killed=tuple(replace(each, line=0) for each in report.killed),
        notes=_without_numbers(report.notes),
        earlier=(),
    )


def _without_numbers(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(re.sub(r"\d+", "N", sentence) for sentence in sentences)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", WHOLE)
def test_every_form_gives_the_same_report(number: int, form: str) -> None:
    messages = messages_of(number)
    (expected,) = read(FORMS["dmesg"](messages))
    (found,) = read(FORMS[form](messages))
    assert bare(found) == bare(expected)
