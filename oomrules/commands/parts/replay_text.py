"""The text that reports are in, and what to say where there is none in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from oomrules.errors import Failure
from oomrules.report import sources
from oomrules.report.lines import lines
from oomrules.report.model import Report
from oomrules.report.reading import Reading
from oomrules.terminal import count

# What kills by itself, by the code of ``others``, and how to ask it why.
_OTHERS = {
    "systemd-oomd": "`journalctl -u systemd-oomd` has its reasons, and `oomctl` its limits",
    "earlyoom": "`journalctl -u earlyoom` has its reasons, and `oomrules import "
    "/etc/default/earlyoom` says its settings in rules",
    "nohang": "`journalctl -u nohang` has its reasons, and `oomrules import "
    "/etc/nohang/nohang.conf` says its settings in rules",
    "lmkd": "`logcat -b all -s lowmemorykiller lmkd` has its reasons",
    "Talos": "`talosctl logs machined` has its reasons; OOMConfig is what sets its trigger",
}

_WRITE = (
    "`journalctl -k -o short-iso > oom.log` writes all of this boot's log, "
    "then `oomrules replay oom.log`"
)
_EARLIER = (
    "`oomrules replay --boot -1` looks into the boot before this one; "
    "`journalctl --list-boots` lists the boots"
)


@dataclass(frozen=True)
class Text:
    """A text that is being read.

    Attributes:
        source: the file, or what else it is, for people.
        own: whether it is this host's own log.
    """

    reading: Reading
    source: str
    own: bool

    def only(self, number: int | None) -> Report:
        """Return the last report, or the one with a number.

        Raises:
            Failure: there is none.
        """
        found, of = None, 0
        for report in self.reading:
            of = report.number
            if number in (None, of):
                found = report
        if not of:
            raise self.nothing()
        if found is None:
            raise Failure(
                f"{self.source} has {count(of, 'report')}, and no number {number}",
                "the same with --list in place of --number lists them",
            )
        return replace(found, of=of)

    def nothing(self) -> Failure:
        """Return what to say of a text that has been read and has no report."""
        source, found = self.source, self.reading.others.found
        for name, hint in _OTHERS.items():
            if name in found:
                return Failure(
                    f"{source} has no OOM report of the kernel; line {found[name]} is of {name}, "
                    "which kills by itself",
                    hint,
                )
        if "systemd" in found:
            return Failure(
                f"{source} has no OOM report of the kernel; line {found['systemd']} is systemd's, "
                "which says that a process was killed, and not why",
                f"`journalctl -u` leaves the kernel's lines out: {_WRITE}",
            )
        if self.own and not self.reading.read and os.geteuid():
            # journalctl leaves out what a user may not read, and says nothing of it.
            return Failure(
                f"{source} has nothing of the kernel that this user may read", "run this as root"
            )
        if self.own:
            return Failure(f"{source} has no OOM report", _EARLIER)
        if not self.reading.read:
            return Failure(f"{source} is empty", _WRITE)
        return Failure(f"{source} has no OOM report of the kernel", _WRITE)


@contextmanager
def opened(file: str | None, boot: int | None, since: str | None) -> Iterator[Text]:
    """Open a file, standard input or this host's own log.

    Raises:
        Failure: it cannot be read.
    """
    if file is not None:
        name = "standard input" if file == sources.STDIN else file
        with sources.opened(file) as stream:
            yield Text(Reading(lines(stream), name), name, own=False)
    else:
        with sources.kernel_log(str(boot or 0), since or "") as (stream, name):
            yield Text(Reading(lines(stream), name), name, own=True)
