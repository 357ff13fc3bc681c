"""The page of the scenarios: what was played, row by row, so that some can be played again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_HEAD = """<!-- Made by `make scenarios`; do not edit it here. -->
# Which process the rules name, and which one was killed

Each scenario is played in a guest of its own, with 512 MiB of memory, no swap and
{release}, by the kernel alone, with the module's `/proc/oom`, and with
`oomrules emit --to oom_score_adj`. The rules beside each are added to the shipped ones. The list
is written once, before the memory runs out. Values of `oom_score_adj` hold as long as no process
grows by more than the distances that `emit` states. At the limit of a control group the first
victim decides: the kernel may kill once more before the memory of the first is back.
[All pages](../README.md)

| # | scenario | wanted | kernel alone | module | oom_score_adj |
|---|---|---|---|---|---|
"""
_REPLAYED = """
## The same reports, replayed

What `oomrules replay` says of the first report: whether the kernel's choice comes out when it is
computed again, and whom the rules would have taken, by the report alone and with a snapshot from
before (`--snapshot`).

| # | by | the kernel's choice | the rules, by the report alone | with the snapshot |
|---|---|---|---|---|
"""
_LOG = "\n## What the kernel's log says\n"


@dataclass
class Page:
    """What the page says of each scenario, by its number.

    Attributes:
        release: the kernel that it was played on, as in "Linux 6.1.0".
        rows: of the first table.
        replayed: of the second table, one for each way.
        details: of the log.
    """

    release: str
    rows: dict[int, str] = field(default_factory=dict)
    replayed: dict[int, list[str]] = field(default_factory=dict)
    details: dict[int, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the page, in the order of the numbers."""
        replayed = [row for _, rows in sorted(self.replayed.items()) for row in rows]
        lines = [
            *(row for _, row in sorted(self.rows.items())),
            *_REPLAYED.splitlines(),
            *replayed,
            *_LOG.splitlines(),
            *("\n" + text for _, text in sorted(self.details.items())),
        ]
        return _HEAD.format(release=self.release) + "\n".join(lines) + "\n"


def read(text: str) -> Page:
    """Return what a page says that `Page.text` has written."""
    table, _, log = text.partition(_LOG)
    table, _, replays = table.partition("\n## ")
    release = re.search(r"^(Linux \S+),", text, re.MULTILINE)
    page = Page(release[1] if release else "")
    for row in re.finditer(r"^\| (\d+) \|.*$", table, re.MULTILINE):
        page.rows[int(row[1])] = row[0]
    for row in re.finditer(r"^\| (\d+) \|.*$", replays, re.MULTILINE):
        page.replayed.setdefault(int(row[1]), []).append(row[0])
    for part in re.finditer(r"^(\d+)\. .*(?:\n(?!\d+\. ).*)*", log, re.MULTILINE):
        page.details[int(part[1])] = part[0].rstrip()
    return page
