"""Time a full refresh of oomrules: read, rank, write to a file.

Called with the directory that holds the package, a program, the file to write and
the source (``proc``, or the path of a pinned BPF iterator), in a fresh interpreter
without site-packages (``-I -S -E``), which is how the service runs. The first line
is the cold refresh; one more follows for every line on standard input, and the
memory at its end.
"""

from __future__ import annotations

import grp
import json
import pwd
import sys
import time


def memory() -> dict[str, int]:
    """Return the resident memory of this process, now and at its peak, in KiB."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM")}


def names() -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of users and of groups by number: rules may ask for them."""
    users = {user.pw_uid: user.pw_name for user in pwd.getpwall()}
    return users, {group.gr_gid: group.gr_name for group in grp.getgrall()}


def main() -> None:
    checkout, program_file, list_file, tasks = sys.argv[1:]
    sys.path.insert(0, checkout)
    from oomrules.processes import bpf, descriptors
    from oomrules.program import program
    from oomrules.ranking.ranker import Ranker
    from oomrules.service import memory as resident
    from oomrules.sinks import file

    compiled = program.load(program_file)
    # As many descriptors as the service keeps; processes beyond them are read the slow way.
    source = bpf.IteratorSource(
        compiled,
        descriptors=descriptors.DESCRIPTORS,
        names=names(),
        tasks=None if tasks == "proc" else tasks,
        expected=True,
    )
    ranker = Ranker(compiled, source.host)

    resident.settle()

    # A function of its own, so that one round's snapshot is freed before the next.
    def refresh() -> int:
        pids = ranker.rank(source.refresh()).pids
        if source.note:
            raise SystemExit(source.note)
        file.File(list_file).write(pids)
        return len(pids)

    go = True
    while go:
        wall, cpu = time.monotonic_ns(), time.process_time_ns()
        listed = refresh()
        wall, cpu = time.monotonic_ns() - wall, time.process_time_ns() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)
        go = bool(sys.stdin.readline())
    kept = source.descriptors.kept
    print(json.dumps({**memory(), "descriptors": kept, "listed": listed}))


main()
