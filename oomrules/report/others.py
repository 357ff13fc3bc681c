"""What a log holds besides the kernel's OOM reports, if that is about memory too."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oomrules.report.lines import Line
from oomrules.report.model import Report

# By the code of what it is: what it says. The service manager's lines come after kills by the
# kernel, and do not say why.
_SIGNS = {
    "systemd-oomd": re.compile(
        rb"systemd-oomd|Killed /\S+ due to memory (?:used|pressure)|Memory pressure for /\S+ is \d"
    ),
    "earlyoom": re.compile(
        rb"earlyoom|low memory! at or below SIG|sending SIG(?:TERM|KILL) to process \d+ uid"
        rb"|mem avail: +\d+ of +\d+ MiB"
    ),
    "nohang": re.compile(
        rb"nohang|Memory status that requires corrective actions|Implementing a corrective action"
    ),
    "lmkd": re.compile(
        rb"lowmemorykiller|lmkd|send sigkill to \d+ \("
        rb"|Kill(?:ing)? '[^']*' \(\d+\)(?: \(tgid \d+\))?, (?:uid|adj)"
    ),
    "Talos": re.compile(rb"\[talos\] .*runtime\.OOMController"),
    "systemd": re.compile(rb"killed by the OOM killer|Failed with result 'oom-kill'"),
}
ANY = b"|".join(pattern.pattern for pattern in _SIGNS.values())
_ANY = re.compile(ANY)

CODES = tuple(_SIGNS)


class Others:
    """What else a log holds.

    Attributes:
        found: by a code of CODES, the first line that shows it.
    """

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def hear(self, lines: Sequence[Line]) -> None:
        """Take lines that are no report of the kernel's."""
        for line in lines:
            by = line.by.encode()
            if not (_ANY.search(by) or _ANY.search(line.text)):
                continue
            for code, pattern in _SIGNS.items():
                if pattern.search(by) or pattern.search(line.text):
                    self.found.setdefault(code, line.number)
                    break


# What a report lacks. Filtered: only the lines about the kill, as after `grep`. No table: the rest
# is there, as with vm.oom_dump_tasks = 0. Spliced: rows of two reports. Cut: rows are missing.
WHOLE, FILTERED, NO_TABLE, SPLICED, CUT = SHAPES = (
    *("whole", "filtered", "no table", "spliced", "cut"),
)


def shape(report: Report) -> str:
    """Return what a report lacks, one of SHAPES."""
    table = report.table
    if table is None:
        has_rest = bool(report.gfp or report.figures.printed or report.figures.ram)
        return NO_TABLE if has_rest else FILTERED
    if any("two reports" in doubt for doubt in table.doubts):
        return SPLICED
    return WHOLE if table.complete else CUT
