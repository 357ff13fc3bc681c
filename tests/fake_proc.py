"""A directory that looks like proc, with processes in it that never were."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oomrules.processes import procfs


class _Below(NamedTuple):
    """Where a process is added that is a thread."""

    root: Path


class FakeProc:
    """A directory that looks like proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "self").mkdir(parents=True)
        (root / "uptime").write_text("5000.25 1.0\n")
        (root / "meminfo").write_text("MemTotal:  8388608 kB\nMemFree: 1 kB\nSwapTotal: 1024 kB\n")
        (root / "self" / "mounts").write_text("proc /proc proc rw,relatime 0 0\n")

    def add(
        self: FakeProc | _Below,
        pid: int,
        comm: bytes = b"demo",
        *,
        ppid: int = 1,
        session: int = 1,
        tty: int = 0,
        start: int = 1000,
        state: str = "S",
        nice: int = 0,
        uid: int = 0,
        adj: int = 0,
        swap: int = 0,
        capabilities: int = 0,
        cgroup: bytes = b"0::/x.service\n",
        cmdline: bytes = b"demo\0",
        exe: str = "/usr/bin/demo",
        total_vm: int = 10000,
        flags: int = 0x400000,
    ) -> Path:
        """Add a process, or put another one in its place."""
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True, parents=True)
        fields = [
            *(state, ppid, pid, session, tty, -1, flags, 1, 1, 1, 1, 20, 10, 0, 0),
            *(20 + nice, nice, 3, 0, start, total_vm * 4096, 2000 if total_vm else 0, 2**64 - 1),
            *([1] * 28),
        ]
        stat = b"%d (%s) %s\n" % (pid, comm, " ".join(map(str, fields)).encode())
        (directory / "stat").write_bytes(stat)
        (directory / "status").write_bytes(
            b"Name:\t" + comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"
            b"State:\tS (sleeping)\n"
            b"Uid:\t%d\t%d\t%d\t%d\n" % (uid, uid + 1, uid + 1, uid + 1) + b"Gid:\t5\t6\t6\t6\n"
            b"VmLck:\t     4 kB\nVmPTE:\t    68 kB\nRssAnon:\t   800 kB\nRssShmem:\t   12 kB\n"
            b"VmSwap:\t%d kB\n" % swap + b"CapEff:\t%016x\n" % capabilities
        )
        (directory / "cgroup").write_bytes(cgroup)
        (directory / "cmdline").write_bytes(cmdline)
        (directory / "oom_score_adj").write_text(f"{adj}\n")
        (directory / "exe").unlink(missing_ok=True)
        (directory / "exe").symlink_to(exe)
        return directory

    def add_thread(self, pid: int, thread: int, **values: Any) -> None:
        """Add a thread of a process."""
        FakeProc.add(_Below(self.root / f"{pid}/task"), thread, **values)

    def remove(self, pid: int) -> None:
        """Take a process away."""
        directory = self.root / str(pid)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    """An empty fake proc; its file ``uptime`` is the clock."""
    fake = FakeProc(tmp_path / "proc")
    clock = fake.root / "uptime"
    monkeypatch.setattr(procfs, "now", lambda: float(clock.read_text().split()[0]))
    return fake
