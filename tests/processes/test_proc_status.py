"""Files of status, long ones above all."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.processes.proc_status import read_status
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker
from tests.processes.support import (
    NOTHING,
    PAGE,
    field,
    needs_root,
    program,
    status_of,
)


def _in_namespace(proc: Any, pid: str, name: str) -> None:
    (proc.root / pid / "ns").mkdir()
    for kind in ("user", "pid"):
        (proc.root / pid / "ns" / kind).symlink_to(f"{kind}:[{name}]")


@pytest.mark.parametrize("rules", ["score total_vm", "score rss + swap"])
def test_who_is_in_very_many_groups_does_not_hold_up_the_others(proc: Any, rules: str) -> None:
    """The kernel writes a thousand times as long at such a status as at another one."""
    _in_namespace(proc, "self", "4026531837")
    many = range(10, 40)
    for pid in (5, *many, 90, 91):
        directory = proc.add(pid, uid=0 if pid in (5, 91) else 1001, swap=8 * pid)
        _in_namespace(proc, str(pid), "7" if pid in many else "4026531837")
        if pid in many or pid == 91:
            status = directory / "status"
            groups = b"Groups:\t" + b"1048576 " * 2048 + b"\n"
            status.write_bytes(status.read_bytes().replace(b"Gid:", groups + b"Gid:"))
    made = program(f"never kill uid 0\n{rules}")
    source = ProcSource(made, root=str(proc.root))
    source.most_long = 20
    ranker = Ranker(made, source.host)
    for turn in range(1, 7):
        ranking = ranker.rank(source.refresh())
        # Nobody is protected by what he hides; nor is root's own forgotten, be it as long.
        assert sorted(ranking.pids) == [*many, 90]
        assert source.by_pid[90].uid == 1001
        known = [pid for pid in many if type(source.by_pid[pid].uid) is int]
        assert turn * 10 - 2 <= len(known) <= turn * 10 or len(known) == len(many)
        # Root's own is read in any case.
        assert max(source._statuses.long) <= 10 + 1
    # All of them have had their turn, also at what changes.
    assert len(known) == len(many)
    if "swap" in rules:
        for pid in many:
            status = proc.root / str(pid) / "status"
            status.write_bytes(status.read_bytes().replace(b"VmSwap:\t", b"VmSwap:\t9999"))
        seen = set()
        for turn in range(8):
            # However many new ones come.
            for pid in range(1000 + 20 * turn, 1020 + 20 * turn):
                directory = proc.add(pid, uid=1001)
                _in_namespace(proc, str(pid), "7")
                (directory / "status").write_bytes((proc.root / "10/status").read_bytes())
            source.refresh()
            seen |= {pid for pid in many if source.by_pid[pid].swap > 999_900 * 1024 // PAGE}
        assert seen == set(many)
    source.close()


@pytest.mark.parametrize("namespace", ["4026531837", "7"])
def test_as_many_as_there_are_are_read_where_nobody_waits_for_it(namespace: str, proc: Any) -> None:
    _in_namespace(proc, "self", "4026531837")
    for pid in range(10, 140):
        status = proc.add(pid, uid=1001, swap=8) / "status"
        _in_namespace(proc, str(pid), namespace)
        status.write_bytes(b"Groups:\t" + b"5 " * 9000 + b"\n" + status.read_bytes())
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert {field(source, pid, "uid") for pid in range(10, 140)} == {1001}
    # One after the other, as a recording asks.
    for name in ("gid", "anon", "swap", "capabilities", "pid_depth"):
        assert {type(field(source, pid, name)) for pid in range(10, 140)} == {int}, name
    source.close()


# --- what a process can make long ----------------------------------------------------


@needs_root
def test_a_process_in_65536_groups_hides_nothing_behind_them(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do("os.setgroups([4294900000 + n for n in range(65536)])")
    child.do("ballast = b'x' * 5_000_000")
    status = Path(f"/proc/{child.pid}/status").read_bytes()
    assert len(status) > 700_000
    source = open_source(program("score rss + swap + anon + pgtables"))
    tracemalloc.start()
    try:
        source.refresh()
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()
    said = status_of(child.pid)
    assert field(source, child.pid, "anon") == int(said["RssAnon"].split()[0]) * 1024 > 5_000_000
    assert field(source, child.pid, "swap") == 0
    assert field(source, child.pid, "pgtables") > 0
    assert field(source, child.pid, "capabilities") == int(said["CapEff"], 16)
    assert field(source, child.pid, "uid") == 0
    assert field(source, child.pid, "egid") == os.getegid()


@pytest.mark.parametrize("length", [*range(8100, 8300, 13), 8192, 65536 + 8192, 70000, 700000])
def test_a_long_status_has_all_its_lines_wherever_a_piece_ends(length: int, tmp_path: Path) -> None:
    path = tmp_path / "status"
    lines = b"Name:\tx\nUid:\t1\t2\t3\t4\nGroups:\t%s\nVmSwap:\t 5 kB\nCapEff:\tff\n"
    path.write_bytes(lines % (b"7 " * (length // 2)))
    found, whole = read_status(str(path))
    assert whole == (len(path.read_bytes()) < 8192)
    for line in (b"\nUid:\t1\t2\t3\t4\n", b"\nVmSwap:\t 5 kB\n", b"\nCapEff:\tff\n"):
        assert line in found
    assert len(found) < 10_000
