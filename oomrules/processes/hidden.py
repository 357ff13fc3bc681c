"""Processes that exist, but that proc does not show to this process.

A security module, ``hidepid`` or a missing capability hides processes in proc. Such a process is
in no list, so nothing can be done about it, but a note says that there are some.
Any process can read which processes are in a control group. A process is hidden if it is in a group
both before and after proc says that it does not exist: it has neither just come nor just gone. A
process cannot cause a false alarm by coming and going, nor by its properties.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from itertools import islice

from oomrules.lean import NamedTuple
from oomrules.processes.cgroups import Hierarchy, as_bytes

# At most this many control groups are read, and this many processes that proc does not show.
MOST_GROUPS, MOST_PROCESSES = 8192, 65536
# Far more pids than fit into the memory of a group that an ordinary user may make.
_MOST_BYTES = 1 << 20


class Hidden(NamedTuple):
    """The numbers of processes that cannot be seen."""

    # Processes that proc lists but does not let anything be read of; those that it does not list.
    refused: int = 0
    unlisted: int = 0
    # Processes that are in none of the pid namespaces that proc shows.
    elsewhere: int = 0

    @property
    def processes(self) -> int:
        """Return the number of all of them."""
        return self.refused + self.unlisted + self.elsewhere


def look(root: str, listed: Container[int], refused: int, hierarchy: Hierarchy) -> Hidden:
    """Count the processes that proc does not show.

    Args:
        root: where proc is mounted.
        listed: the pids that it has listed and that could be read.
        refused: how many could not be.
    """
    unlisted: set[int] = set()
    elsewhere, everywhere = 0, _is_first_namespace(root)
    for group in islice(_groups(hierarchy), MOST_GROUPS):
        pids = _pids(group)
        missing = {pid for pid in pids if pid and pid not in listed and _is_missing(root, pid)}
        # One of another namespace has no number here.
        strangers = 0 if everywhere else pids.count(0)
        if missing or strangers:
            again = _pids(group)
            unlisted |= missing.intersection(again)
            elsewhere += min(strangers, again.count(0))
        if len(unlisted) >= MOST_PROCESSES:
            break
    return Hidden(refused, len(unlisted), elsewhere)


def notes(hidden: Hidden, hidepid: bool) -> list[str]:
    """Return notes: how many processes cannot be seen, why (proc's ``hidepid``?), what to do."""
    root = os.geteuid() == 0
    said = []
    number = hidden.refused + hidden.unlisted
    if number or (hidepid and not root):
        why, advice = "the kernel does not show them", "run as root to see them"
        if root:
            why = "a security module hides them, or CAP_SYS_PTRACE is missing"
            advice = "give oomrules CAP_SYS_PTRACE, and its domain the right to read /proc"
        if hidepid:
            why = "/proc hides the processes of other users (hidepid)"
        said.append(f"{_unseen(number)}: {why}; {advice}" if number else f"{why}; {advice}")
    if hidden.elsewhere:
        said.append(
            f"{_unseen(hidden.elsewhere, 'of another pid namespace ')}; "
            "run oomrules on the host to see them"
        )
    return said


def is_hiding(mount: bytes, root: bytes) -> bool:
    """Return whether a mount is of proc and hides processes from us.

    This is has_pid_permissions() of fs/proc/base.c: the members of a group, root's if no other is
    named, see them all the same, but for the strictest kind.

    Args:
        mount: a line of /proc/self/mounts.
    """
    fields = mount.split(b" ")
    if len(fields) < 4 or (fields[1], fields[2]) != (root, b"proc"):
        return False
    options = dict(option.partition(b"=")[::2] for option in fields[3].strip().split(b","))
    if b"hidepid" not in options:
        return False
    if options[b"hidepid"] in (b"4", b"ptraceable"):
        return True
    return int(options.get(b"gid", b"0")) not in (os.getegid(), *os.getgroups())


def _unseen(number: int, whose: str = "") -> str:
    noun, verb = ("process", "is") if number == 1 else ("processes", "are")
    return f"{number} {noun} {whose}cannot be seen and {verb} in no list"


def _is_first_namespace(root: str) -> bool:
    """Return whether every process has a number here (PROC_PID_INIT_INO of linux/proc_ns.h)."""
    try:
        return os.readlink(f"{root}/self/ns/pid") == "pid:[4026531836]"
    except OSError:
        return False


def _is_missing(root: str, pid: int) -> bool:
    try:
        os.stat(f"{root}/{pid}")
    except OSError as error:
        # Otherwise it is there: a listing of proc shows it.
        return isinstance(error, FileNotFoundError)
    return False


def _groups(hierarchy: Hierarchy) -> Iterator[bytes]:
    """Return the directories of control groups; not the first one, which has kernel threads."""
    tree = hierarchy.unified or hierarchy.memory or hierarchy.units
    # The mount that shows most comes first.
    top = tree and tree.directory(tree.mounts[0].root)
    if not top:
        return
    waiting = [as_bytes(top)]
    # In a container the first directory is one of many, and has their files.
    if os.path.exists(os.path.join(waiting[0], b"cgroup.events")):
        yield waiting[0]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        yield entry.path
        except OSError:
            # It has gone, or may not be looked at.
            continue


def _pids(group: bytes) -> list[int]:
    """Read the pids in a control group; a threaded group tells none."""
    data = b""
    try:
        with open(os.path.join(group, b"cgroup.procs"), "rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError:
        pass
    # The last line may be cut off.
    return [int(line) for line in data[: data.rfind(b"\n") + 1].split() if line.isdigit()]
