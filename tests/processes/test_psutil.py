"""Every process of this host, as the reader of proc has it and as psutil has it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import PF_KTHREAD, Process
from oomrules.processes.values import GETTERS
from tests.processes.support import (
    NOTHING,
    PAGE,
    TICKS,
)

# --- every process of this host, beside psutil ---------------------------------------

ASKED = (
    "name ppid uids gids nice num_threads cpu_times create_time memory_info cmdline exe terminal "
    "num_ctx_switches"
).split()


class Host(NamedTuple):
    """One refresh of this host with psutil's readings before and after it."""

    before: dict[int, dict[str, Any]]
    source: ProcSource
    after: dict[int, dict[str, Any]]

    def survivors(self) -> Iterator[tuple[dict[str, Any], Process, dict[str, Any]]]:
        """Each process that lived through all three, and changed its program in none."""
        for pid, before in self.before.items():
            after = self.after.get(pid)
            same = ("create_time", "name", "cmdline", "exe", "ppid")
            if after and all(before[key] == after[key] for key in same):
                process = self.source.by_pid.get(pid)
                assert process is not None, f"process {pid} was not seen"
                yield before, process, after


def _by_psutil() -> dict[int, dict[str, Any]]:
    return {p.pid: p.info for p in psutil.process_iter(ASKED, ad_value=None)}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    before = _by_psutil()
    source = ProcSource(NOTHING).refresh()
    # What is read on demand is read now, between the two readings of psutil.
    for process in list(source.by_pid.values()):
        for name in ("ppid", "session", "gid", "anon", "cgroup", "oom_score_adj", "exe", "cmdline"):
            source.read(process, name)
    yield Host(before, source, _by_psutil())
    source.close()


def test_psutil_and_the_source_see_the_same_processes(host: Host) -> None:
    seen = set(host.source.by_pid)
    assert host.before.keys() & host.after.keys() <= seen
    assert len(list(host.survivors())) > 2
    assert os.getpid() in seen


def test_names_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        name = os.fsencode(before["name"]).decode("utf-8", "backslashreplace")
        if name.startswith("kworker/"):
            # The kernel calls these by what they do at the moment.
            assert (process.comm or "").startswith("kworker/")
            continue
        # psutil completes a name that the kernel cut.
        comm = process.comm or ""
        assert name == comm or (len(comm) >= 15 and name.startswith(comm))


def test_parents_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        assert before["ppid"] == process.ppid


def test_user_and_group_ids_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        if (before["uids"], before["gids"]) == (after["uids"], after["gids"]):
            assert before["uids"][:2] == (process.uid, process.euid)
            assert before["gids"][0] == process.gid


def test_nice_values_and_threads_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        assert process.nice in (before["nice"], after["nice"])
        if before["num_threads"] == after["num_threads"]:
            assert process.threads == before["num_threads"]


def test_start_times_agree_with_psutil(host: Host) -> None:
    booted = psutil.boot_time()
    for before, process, _ in host.survivors():
        assert process.starttime is not None
        assert abs((before["create_time"] - booted) * TICKS - process.starttime) <= 1


def test_cpu_times_lie_between_psutil_s_two_readings(host: Host) -> None:
    for before, process, after in host.survivors():
        least, most = (sum(one["cpu_times"][:2]) * TICKS for one in (before, after))
        assert process.utime is not None and process.stime is not None
        # The kernel scales the two parts anew at each reading, so their sum may lose a tick.
        assert round(least) - 1 <= process.utime + process.stime <= round(most) + 1


def test_address_spaces_agree_with_psutil(host: Host) -> None:
    asleep = 0
    for before, process, after in host.survivors():
        # Who was not on a processor in between cannot have mapped and unmapped anything.
        if before["num_ctx_switches"] == after["num_ctx_switches"]:
            asleep += 1
            assert process.total_vm == before["memory_info"].vms // PAGE
    assert asleep


def test_resident_memory_lies_near_psutil_s(host: Host) -> None:
    # stat gives what each processor has not yet added to the common counters as missing;
    # statm, which psutil reads, sums them up (Linux 6.16).
    cpus = os.cpu_count() or 1
    slack = 4 * max(32, 2 * cpus) * cpus
    for before, process, after in host.survivors():
        first, second = before["memory_info"].rss // PAGE, after["memory_info"].rss // PAGE
        if first == second:
            assert process.rss is not None
            assert abs(process.rss - first) <= slack


def test_command_lines_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        if before["cmdline"] is not None and process.cmdline is not None:
            theirs = os.fsencode(" ".join(before["cmdline"])).decode("utf-8", "backslashreplace")
            ours = process.cmdline.replace("\0", " ").strip()
            assert ours == theirs.strip() or (len(ours) > 4000 and theirs.startswith(ours))


def test_executables_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        if before["exe"] and process.exe:
            assert process.exe == before["exe"].removesuffix(" (deleted)")
        elif before["exe"]:
            assert host.source.unreadable.get("exe")


def test_terminals_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        if before["terminal"] == after["terminal"] and before["terminal"]:
            assert f"/dev/{GETTERS['tty'](process, host.source)}" == before["terminal"]


def test_sessions_agree_with_the_kernel(host: Host) -> None:
    for _, process, _ in host.survivors():
        try:
            assert process.session == os.getsid(process.pid)
        except OSError:
            continue


def test_control_groups_and_adjustments_agree_with_the_kernel(host: Host) -> None:
    for _, process, _ in host.survivors():
        try:
            lines = Path(f"/proc/{process.pid}/cgroup").read_bytes().split(b"\n")
            adjustment = int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
        except OSError:
            continue
        paths = [line.split(b":", 2)[2].decode() for line in lines if line]
        assert process.cgroup in paths or (process.cgroup is None and not paths)
        assert process.oom_score_adj == adjustment


def test_kernel_threads_have_their_mark_and_no_memory(host: Host) -> None:
    theirs = [p for _, p, _ in host.survivors() if p.ppid == 2 or p.comm == "kthreadd"]
    if not theirs:
        pytest.skip("a container shows no kernel threads")
    for process in theirs:
        assert process.flags is not None and process.flags & PF_KTHREAD
        assert (process.total_vm, process.rss) == (0, 0)
        assert (process.exe, process.cmdline, process.anon) == (None, "", None)
    for _, process, _ in host.survivors():
        if process.flags is not None and process.flags & PF_KTHREAD:
            assert process.pid == 2 or process.ppid in (0, 2)


def test_the_host_itself_is_described(host: Host) -> None:
    found = host.source.host
    assert found.page_size == PAGE
    assert found.clock_ticks == TICKS
    assert found.mem_total == psutil.virtual_memory().total
    assert found.swap_total == psutil.swap_memory().total
    assert found.kernel == os.uname().release
    assert 0 < found.uptime <= time.clock_gettime(time.CLOCK_BOOTTIME)
