"""Figures of several processes together: of a user, of a control group, and of the host."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oomrules.processes import recorded, values
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import GETTERS, PROTECTING, SCORING, of_group
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.ranker import Ranker
from tests.processes.support import PAGE, program

# What a process of the fake proc holds: resident, and in 68 KiB of page tables.
HELD = 2000 + 68 * 1024 // PAGE
MEMINFO = """\
MemTotal:       8388608 kB
MemFree:        1048576 kB
MemAvailable:   2097152 kB
SwapTotal:      1048576 kB
SwapFree:        524288 kB
Shmem:            65536 kB
Hugetlb:        4194304 kB
"""
MIB = 2**20


def ask(source: ProcSource, pid: int, name: str) -> Any:
    return GETTERS[name](source.by_pid[pid], source)


def test_what_the_processes_of_a_user_hold_is_added_up_at_each_refresh(proc: Any) -> None:
    made = program("prefer anything when user.footprint > 1B and user.processes > 1")
    for pid, uid in ((70, 1000), (71, 1000), (72, 1001), (73, 0)):
        proc.add(pid, uid=uid, swap=4 * pid)
    # A kernel thread holds nothing, and no more does a zombie.
    proc.add(74, uid=1000, total_vm=0, state="Z")
    source = ProcSource(made, root=str(proc.root)).refresh()
    held = {pid: HELD + pid * 4096 // PAGE for pid in (70, 71, 72, 73)}
    assert {pid: ask(source, pid, "footprint") for pid in held} == held
    sums = [ask(source, pid, "user.footprint") for pid in held]
    assert sums == [held[70] + held[71], held[70] + held[71], held[72], held[73]]
    assert [ask(source, pid, "user.processes") for pid in held] == [2, 2, 1, 1]
    proc.add(72, uid=1000, start=5, swap=0)
    proc.remove(70)
    source.refresh()
    assert ask(source, 71, "user.footprint") == held[71] + HELD
    assert ask(source, 72, "user.processes") == 2
    source.close()


def test_a_process_that_hides_what_it_holds_does_not_hide_what_its_user_does(proc: Any) -> None:
    made = program("prefer anything when user.footprint > 1B")
    for pid in (70, 71):
        proc.add(pid, uid=1000)
    source = ProcSource(made, root=str(proc.root)).refresh()
    source.by_pid[70].swap = SELF_MADE
    assert ask(source, 70, "footprint") is SELF_MADE
    assert ask(source, 71, "user.footprint") == 2000 + HELD
    # One that ends just now has no memory any more, whatever its stat said before.
    status = proc.root / "70/status"
    lines = status.read_text().splitlines(keepends=True)
    status.write_text("".join(line for line in lines if not line.startswith("Vm")))
    source.refresh()
    assert ask(source, 71, "user.footprint") == 2000 + HELD
    # One that cannot be read leaves the sum in doubt.
    source.refresh()
    source.by_pid[70].swap = None
    assert ask(source, 71, "user.footprint") is None
    source.close()


def test_sums_are_made_once_a_refresh_and_only_where_a_rule_asks(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    footprint = values._footprint

    def counting(process: Process, snapshot: Snapshot) -> Any:
        asked.append(process.pid)
        return footprint(process, snapshot)

    monkeypatch.setattr(values, "_footprint", counting)
    for pid in (70, 71, 72):
        proc.add(pid, uid=1000)
    for rule, often in (("score rss", 0), ("score rss + user.footprint", 3)):
        made = program(rule)
        source = ProcSource(made, root=str(proc.root))
        ranker = Ranker(made, source.host)
        for _ in range(2):
            asked.clear()
            ranker.rank(source.refresh())
            assert len(asked) == often
        source.close()


def test_a_group_has_what_is_below_it(proc: Any) -> None:
    made = program("prefer anything when cgroup.processes > 1 and footprint > 1B")
    groups = {70: "/a.slice", 71: "/a.slice/b", 72: "/a.slice/bc", 73: "/"}
    for pid, group in groups.items():
        proc.add(pid, cgroup=f"0::{group}\n".encode())
    source = ProcSource(made, root=str(proc.root)).refresh()
    assert [ask(source, pid, "cgroup.processes") for pid in groups] == [3, 1, 1, 4]
    below = [of_group(group, "footprint", source) for group in groups.values()]
    assert below == [3 * HELD, HELD, HELD, 4 * HELD]
    assert of_group("/none", "footprint", source) == 0
    source.close()


def told(cgroup: str, scopes: dict[str, dict[str, Any]], getters: Any, name: str) -> Any:
    host = SimpleNamespace(unit_root="", page_size=4096, unknown=frozenset())
    process = Process(7)
    process.cgroup = cgroup
    return getters[name](process, SimpleNamespace(host=host, scope=scopes.get))


def test_the_own_group_of_a_process_need_not_be_a_unit() -> None:
    job = "/system.slice/slurmstepd.scope/job_7/step_0"
    scopes = {job: {"memory": 5 * 4096}, "/system.slice/slurmstepd.scope": {"memory": 9 * 4096}}
    for getters in (GETTERS, SCORING, PROTECTING):
        assert told(job, scopes, getters, "cgroup.memory") == 5
        assert told(job, scopes, getters, "unit.memory") == 9


@pytest.mark.parametrize("name", ["cgroup.memory", "cgroup.memory_max"])
@pytest.mark.parametrize(
    ("cgroup", "theirs"),
    [
        ("/system.slice/a.service", False),
        ("/system.slice", False),
        # The root of a container makes groups below the container's own.
        ("/system.slice/docker-1.scope/below", True),
        ("/lxc/web/below", True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope", True),
    ],
)
def test_what_a_group_does_not_tell_protects_only_where_root_made_it(
    cgroup: str, theirs: bool, name: str
) -> None:
    expected = SELF_MADE if theirs else None
    assert told(cgroup, {cgroup: {}}, PROTECTING, name) is expected
    assert told(cgroup, {}, SCORING, name) is expected
    assert told(cgroup, {cgroup: {}}, GETTERS, name) is None


def test_on_v1_it_is_counted_whose_memory_is_charged_to_a_group() -> None:
    lines = [
        '{"kind":"host","schema":"oomrules.snapshot/1","page_size":4096,"clock_ticks":100,'
        '"uptime":1,"mem_total":1}',
        '{"kind":"process","pid":7,"cgroup":"/a.service","memory_cgroup":"/job/step"}',
        '{"kind":"process","pid":8,"cgroup":"/b.service","memory_cgroup":"/job"}',
        '{"kind":"process","pid":9,"cgroup":"/job"}',
    ]
    snapshot = recorded.parse(lines, "v1")
    found = [GETTERS["cgroup.processes"](one, snapshot) for one in snapshot.by_pid.values()]
    assert found == [1, 3, 3]
    found = [GETTERS["unit.processes"](one, snapshot) for one in snapshot.by_pid.values()]
    assert found == [1, 1, 3]


FIGURES = {
    "host.memory": 4096 * MIB,
    "host.available": 2048 * MIB,
    "host.free": 1024 * MIB,
    "host.shmem": 64 * MIB,
    "host.swap": 1024 * MIB,
    "host.swap_free": 512 * MIB,
    "host.totalpages": 9216 * MIB,
}


def test_the_host_tells_its_memory_once_a_refresh(proc: Any) -> None:
    (proc.root / "meminfo").write_text(MEMINFO)
    proc.add(7)
    made = program("score rss\nkill first anything when host.available < 50%")
    source = ProcSource(made, root=str(proc.root)).refresh()
    assert {name: ask(source, 7, name) * PAGE for name in FIGURES} == FIGURES
    (proc.root / "meminfo").write_text(MEMINFO.replace("2097152", "1024"))
    assert ask(source, 7, "host.available") == FIGURES["host.available"] // PAGE
    source.refresh()
    assert ask(source, 7, "host.available") == MIB // PAGE
    source.close()


def test_a_kernel_that_lacks_a_line_leaves_it_unknown(proc: Any) -> None:
    proc.add(7)
    (proc.root / "meminfo").write_text("MemTotal: 8192 kB\nMemFree: 1024 kB\n")
    source = ProcSource(program("prefer anything when host.free > 1B"), root=str(proc.root))
    source.refresh()
    known = {name: value for name in FIGURES if (value := ask(source, 7, name)) is not None}
    # Without huge pages and without shared memory there is no line for them.
    assert known == {
        "host.memory": 8 * MIB // PAGE,
        "host.free": MIB // PAGE,
        "host.shmem": 0,
        "host.swap": 0,
        "host.totalpages": 8 * MIB // PAGE,
    }
    source.close()


@pytest.mark.parametrize("name", ["host.pressure", "host.stall"])
@pytest.mark.parametrize("text", ["", "some avg10=x\n", "\xff", None])
def test_a_kernel_that_measures_no_pressure_leaves_it_unknown(
    name: str, text: str | None, proc: Any
) -> None:
    proc.add(7)
    if text is not None:
        (proc.root / "pressure").mkdir()
        (proc.root / "pressure/memory").write_bytes(text.encode("latin-1"))
    source = ProcSource(program(f"prefer anything when {name} > 1%"), root=str(proc.root))
    for _ in range(2):
        assert ask(source.refresh(), 7, name) is None
    source.close()


def test_nothing_of_the_host_is_read_where_no_rule_asks(proc: Any) -> None:
    (proc.root / "meminfo").write_text(MEMINFO)
    (proc.root / "pressure").mkdir()
    (proc.root / "pressure/memory").write_text("some avg10=1.00 total=5\nfull avg10=1 total=5\n")
    source = ProcSource(program("score rss"), root=str(proc.root)).refresh()
    host = source.host
    assert (host.available, host.free, host.hugetlb, host.pressure) == (None, None, None, None)
    assert source._waiting._descriptor < 0
    asked = ProcSource(program("score rss\nspare anything when host.pressure > 1%"), str(proc.root))
    assert asked.refresh().host.pressure == 1.0
    before = len(os.listdir("/proc/self/fd"))
    asked.close()
    source.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_this_host_tells_what_meminfo_says() -> None:
    source = ProcSource(program("spare anything when host.free > 1B"))
    lines = Path("/proc/meminfo").read_text().splitlines()
    said = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    source.refresh()
    host = source.host
    assert host.mem_total == said["MemTotal"] and host.hugetlb == said.get("Hugetlb", 0)
    assert host.available is not None and 0 < host.available <= host.mem_total
    assert host.swap_free is not None and host.swap_free <= host.swap_total
    source.close()
