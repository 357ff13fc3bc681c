"""After a kill, what was known of the processes is kept, and whom the kernel alone had taken."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from oomrules.clock import now
from oomrules.kills import facts
from oomrules.kills.entry import FACTS_ID, KILL_ID
from oomrules.kills.kernel_log import Kill
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes.facts import Facts
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD
from oomrules.service import kept
from oomrules.service.compile_child import Compiled
from oomrules.service.kept import Aftermath
from oomrules.service.list import CurrentList, Listed
from oomrules.service.outbox import Outbox
from oomrules.service.recorder import Recorder
from oomrules.sinks.oom_score_adj.origins import Origins
from oomrules.sinks.oom_score_adj.record import Entry, Record
from oomrules.state import State
from tests.fake_proc import FakeProc

KERNEL = "6.1.0-17-amd64"
PAGE = 4096
# Of the host's 8 GiB.
TOTAL = (8388608 + 1024) // 4


@pytest.fixture(autouse=True)
def _settings(proc: FakeProc) -> None:
    (proc.root / "sys/vm").mkdir(parents=True)
    (proc.root / "sys/vm/oom_kill_allocating_task").write_text("0\n")


def put(proc: FakeProc, pid: int, mib: int, name: str = "x", **more: Any) -> None:
    directory = proc.add(pid, name.encode(), **more)
    status = directory / "status"
    status.write_text(status.read_text() + f"VmRSS:\t{mib << 10} kB\n")


def source_of(proc: FakeProc, rules: str = "score rss\n") -> ProcSource:
    program = compiler.compile_texts([RuleText("rules", rules)])
    source = ProcSource(program, root=str(proc.root))
    return source.refresh()


def killed(pid: int, mib: int | None, **more: Any) -> Kill:
    kill = Kill(
        sequence=1, constraint="CONSTRAINT_NONE", cgroup="", comm="x", pid=pid, uid=0, time=1.0
    )
    held = None if mib is None else mib << 10
    return kill._replace(**{"held": held, "oom_score_adj": 0, **more})


def look(
    source: ProcSource, kill: Kill, heads: list[kept.Head] | None = None, kernel: str = KERNEL
) -> kept.Found:
    source.host = source.host._replace(kernel=kernel)
    if heads is None:
        heads = [kept.head(source.by_pid.values())]
    return Aftermath().look(kill, 4000.0, 3999.0, heads, source)


def test_what_no_report_tells_of_a_process_is_kept(proc: FakeProc) -> None:
    unit = b"0::/system.slice/web.service\n"
    put(proc, 7, 10, uid=33, nice=5, start=4200, adj=-3, capabilities=2, cgroup=unit)
    found = look(source_of(proc), killed(7, 10)).facts
    assert (found.read, found.at, found.ticks, found.adjusted) == (3999.0, 4000.0, 100, False)
    line = found.processes[7]
    assert {name: line[name] for name in ("uid", "comm", "nice", "starttime")} == {
        "uid": 33,
        "comm": "x",
        "nice": 5,
        "starttime": 4200,
    }
    assert line["cgroup"].endswith("/web.service")
    assert (line["oom_score_adj"], line["capabilities"]) == (-3, "2")


def test_what_was_read_for_it_is_not_kept_in_memory(proc: FakeProc) -> None:
    put(proc, 7, 10)
    source = source_of(proc)
    process = source.by_pid[7]
    before = {name: getattr(process, name) for name in facts.KEPT}
    assert UNREAD in before.values()
    assert "capabilities" in look(source, killed(7, 10)).facts.processes[7]
    assert {name: getattr(process, name) for name in facts.KEPT} == before


def test_the_victim_comes_first_then_the_list_then_the_largest(proc: FakeProc) -> None:
    for pid in range(10, 300):
        put(proc, pid, pid)
    source = source_of(proc)
    listed = [source.by_pid[pid] for pid in range(50, 50 + kept.FIRST)]
    found = look(source, killed(20, 20), [kept.head(listed)])
    order = list(found.facts.processes)
    assert order[: 1 + kept.FIRST] == [20, *range(50, 50 + kept.FIRST)]
    assert set(order[1 + kept.FIRST :]) == set(range(300 - kept.FIRST, 300))
    assert len(facts.encode(found.facts)) <= facts.LONGEST


def test_a_process_that_was_gone_before_the_next_list_is_known_by_the_last(proc: FakeProc) -> None:
    put(proc, 7, 10, nice=5)
    source = source_of(proc)
    head = kept.head(source.by_pid.values())
    proc.remove(7)
    source.refresh()
    assert look(source, killed(7, 10), [head]).facts.processes[7]["nice"] == 5


def test_a_process_with_the_pid_of_an_earlier_one_is_not_taken_for_it(proc: FakeProc) -> None:
    put(proc, 7, 10, nice=5, start=1000)
    source = source_of(proc)
    head = kept.head(source.by_pid.values())
    # It began after the kill.
    put(proc, 7, 10, nice=6, start=450_000)
    source.refresh()
    assert 7 not in look(source, killed(7, 10), [head]).facts.processes


# --- whom the kernel alone had taken -------------------------------------------------------


def alone(found: kept.Found) -> int | None:
    return None if found.alone is None else int(found.alone["pid"])


@pytest.mark.parametrize(
    ("mib", "adj", "victim", "taken"),
    [
        # The one with the most.
        (3000, 0, 1000, 7),
        (3000, 0, 4000, 70),
        # With its own oom_score_adj, a thousandth of all memory each.
        (3000, -500, 1000, 70),
        (1000, 500, 3000, 7),
        (3000, -1000, 10, 70),
        # They are too near to each other.
        (3000, 0, 2990, None),
        (3000, 0, 3010, None),
    ],
)
def test_whom_the_kernel_takes_is_told_by_its_formula_where_it_is_certain(
    proc: FakeProc, mib: int, adj: int, victim: int, taken: int | None
) -> None:
    put(proc, 7, mib, adj=adj, cgroup=b"0::/system.slice/db.service\n")
    put(proc, 70, 1)
    source = source_of(proc, "score rss\nnever kill oom_score_adj -1000\n")
    found = look(source, killed(70, victim))
    assert alone(found) == taken
    if taken == 7:
        assert found.alone
        assert (found.alone["unit"], found.alone["uid"]) == ("db.service", 0)


def test_it_takes_oomrules_for_what_it_was_before(proc: FakeProc) -> None:
    put(proc, 7, 3000, adj=-900)
    put(proc, 70, 1, adj=1000)
    source = source_of(proc, "score rss\nnever kill oom_score_adj -1000\n")
    # As the record of the originals has it.
    for pid in (7, 70):
        source.by_pid[pid].oom_score_adj = 0
    source.original = lambda process, value: 0
    found = look(source, killed(70, 1000))
    assert alone(found) == 7 and found.facts.adjusted
    assert found.facts.processes[7]["oom_score_adj"] == 0
    # Of one that has come since it cannot be told.
    put(proc, 8, 100, adj=1000)
    assert alone(look(source, killed(70, 1000))) is None
    # If it has come since the kill, it is no matter.
    put(proc, 8, 100, adj=1000, start=400_100)
    assert alone(look(source, killed(70, 1000))) == 7


@pytest.mark.parametrize(
    "doubt",
    [
        {"kernel": "5.0.0"},
        {"kernel": "4.19.1"},
        {"constraint": "CONSTRAINT_MEMCG"},
        {"constraint": "CONSTRAINT_MEMORY_POLICY"},
        {"constraint": ""},
        {"held": None},
        {"allocating": "1\n"},
    ],
)
def test_nothing_is_said_where_it_is_not_certain(proc: FakeProc, doubt: dict[str, Any]) -> None:
    put(proc, 7, 3000)
    put(proc, 70, 1)
    source = source_of(proc, "score rss\nnever kill oom_score_adj -1000\n")
    (proc.root / "sys/vm/oom_kill_allocating_task").write_text(doubt.pop("allocating", "0\n"))
    kernel = doubt.pop("kernel", KERNEL)
    found = look(source, killed(70, 1000)._replace(**doubt), kernel=kernel)
    assert found.alone is None and 7 in found.facts.processes


def test_of_a_second_kill_at_once_nothing_is_said(proc: FakeProc) -> None:
    put(proc, 7, 3000)
    put(proc, 70, 1)
    source = source_of(proc, "score rss\nnever kill oom_score_adj -1000\n")
    source.host = source.host._replace(kernel=KERNEL)
    heads = [kept.head(source.by_pid.values())]
    aftermath = Aftermath()
    told = [
        aftermath.look(killed(70, 1000), at, at, heads, source).alone for at in (4000, 4002, 4050)
    ]
    assert [one and one["pid"] for one in told] == [7, None, 7]


def test_a_victim_in_swap_may_have_been_larger_than_the_kernel_says(proc: FakeProc) -> None:
    (proc.root / "meminfo").write_text("MemTotal: 8388608 kB\nSwapTotal: 8388608 kB\n")
    put(proc, 7, 3000)
    put(proc, 70, 1, swap=100 << 10)
    unknown = source_of(proc, "score rss\nnever kill oom_score_adj -1000\n")
    assert alone(look(unknown, killed(70, 1000))) is None
    known = source_of(proc, "score footprint\n")
    assert alone(look(known, killed(70, 1000))) == 7


def test_it_gives_up_where_the_processes_take_too_long(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_PATIENCE", -1.0)
    put(proc, 7, 3000)
    put(proc, 70, 1)
    found = look(source_of(proc), killed(70, 1000))
    assert found.alone is None and {7, 70} <= found.facts.processes.keys()


# --- the entries ---------------------------------------------------------------------------


class Sent(Outbox):
    """An outbox that keeps the fields of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, str]] = []

    def send(self, message: str, priority: int = 6, fields: dict[str, str] | None = None) -> bool:
        assert len(message) < 400
        self.fields.append(fields or {})
        return True

    def of(self, kind: str) -> list[dict[str, str]]:
        return [one for one in self.fields if one.get("MESSAGE_ID") == kind]


FOUND = kept.Found(
    facts.Facts(read=1.0, at=2.0, ticks=100, adjusted=True, processes={7: {"pid": 7, "nice": 5}}),
    {"pid": 9, "uid": 5, "comm": "big", "unit": "a.service", "manager": "5"},
)


def test_the_facts_are_an_entry_beside_that_of_the_kill() -> None:
    sent = Sent()
    Recorder(sent).record(killed(7, 1), None, None, after=lambda *_: FOUND)
    (kill,), (known,) = sent.of(KILL_ID), sent.of(FACTS_ID)
    assert kill["OOMRULES_KERNEL_PID"] == "9" and kill["OOMRULES_KERNEL_COMM"] == "big"
    # Users choose these names.
    assert kill["OOMRULES_KERNEL_UNIT"] == "user@5.service"
    assert kill["OOMRULES_KERNEL_USER_UNIT"] == "a.service"
    assert known["OOMRULES_PID"] == "7" and known["OOMRULES_SEQUENCE"] == "1"
    again = facts.decode(known["OOMRULES_FACTS"])
    assert again is not None and again.processes == FOUND.facts.processes
    assert json.loads(known["OOMRULES_FACTS"])["schema"] == facts.SCHEMA


def test_without_rules_a_kill_is_recorded_as_ever() -> None:
    sent = Sent()
    Recorder(sent).record(killed(7, 1), None, None, after=lambda *_: None)
    assert len(sent.fields) == 1 and "OOMRULES_KERNEL_PID" not in sent.fields[0]


def test_nobody_makes_the_service_look_around_without_end() -> None:
    sent, asked = Sent(), []

    def after(kill: Kill, at: float, listed: Listed | None) -> kept.Found:
        asked.append(kill)
        return FOUND

    recorder = Recorder(sent)
    user = "/user.slice/user-1000.slice/user@1000.service"
    limit = killed(7, 1)._replace(constraint="CONSTRAINT_MEMCG")
    for number in range(100):
        kill = limit._replace(cgroup=f"{user}/x{number}.service")
        recorder.record(kill, None, None, after=after)
    assert len(asked) == len(sent.of(FACTS_ID)) == 1
    for number in range(100):
        kill = limit._replace(cgroup=f"/system.slice/x@{number}.service")
        recorder.record(kill, None, None, after=after)
    assert len(asked) <= 10
    # A kill with the host has its own share.
    before = len(asked)
    recorder.record(killed(7, 1), None, None, after=after)
    assert len(asked) == before + 1
    for _ in range(100):
        recorder.record(killed(7, 1), None, None, after=after)
    assert len(asked) <= before + 10
    assert len(sent.of(KILL_ID)) > 150


def test_a_journald_that_is_behind_gets_no_facts() -> None:
    sent = Sent()
    sent._waiting.append(b"")
    Recorder(sent).record(killed(7, 1), None, None, after=lambda *_: FOUND)
    assert len(sent.of(KILL_ID)) == 1 and sent.of(FACTS_ID) == []


def test_looking_around_leaves_nothing_behind(proc: FakeProc) -> None:
    for pid in range(10, 60):
        put(proc, pid, pid)
    source = source_of(proc)
    aftermath, heads = Aftermath(), [kept.head(source.by_pid.values())]
    aftermath.look(killed(20, 20), now(), 0.0, heads, source)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(5):
        aftermath.look(killed(20, 20), now(), 0.0, heads, source)
    gc.collect()
    assert len(gc.get_objects()) - before < 10


@pytest.mark.parametrize("gone", [False, True])
def test_the_service_knows_a_victim_of_the_last_list_and_of_the_one_before(
    tmp_path: Path, gone: bool
) -> None:
    current = CurrentList(State(str(tmp_path / "state")))
    current.direct([str(tmp_path / "list")], None)
    with subprocess.Popen(["/usr/bin/nice", "-n", "3", "/bin/sleep", "600"]) as child:
        try:
            # What no rule asks for is read when it is needed, of those that are still there.
            first = f"never kill uid 65533\nkill first anything when pid == {child.pid}\n"
            rules = compiler.compile_texts([RuleText("rules", first)])
            current.adopt(Compiled(rules, [], [], [], True, Facts(), {}, {}))
            while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
                time.sleep(0.01)
            assert current.refresh()
            at, listed = now(), current.listed
        finally:
            child.kill()
    if gone:
        # It was killed while the next list was made.
        current.refresh()
    found = current.aftermath(killed(child.pid, 1)._replace(comm="sleep"), at, listed)
    assert found is not None
    line = found.facts.processes[child.pid]
    assert (line["comm"], line["nice"], line["uid"]) == ("sleep", os.nice(0) + 3, os.geteuid())
    assert next(iter(found.facts.processes)) == child.pid
    assert listed is not None and found.facts.read == listed.read
    current.close()
    assert current.aftermath(killed(1, 1), at, listed) is None


def test_who_was_adjusted_is_kept_for_all_processes(proc: FakeProc) -> None:
    for pid in range(10, 300):
        put(proc, pid, pid, start=1000 + pid, adj=-900 if pid in (11, 20) else 0)
    source = source_of(proc)
    entries = [
        Entry(pid=pid, start=1000 + pid, original=3, values=(-900, 20), since=1, cgroup=None)
        for pid in (11, 20)
    ]
    # It has ended, and another process has its pid.
    entries.append(entries[0]._replace(pid=12, start=5))
    source.original = Origins(source, Record(entries, since=1)).original
    found = look(source, killed(20, 20), [])
    assert found.facts.adjusted and found.facts.originals == {11: 3}
    assert found.facts.processes[20]["oom_score_adj"] == 3
    again = facts.decode(facts.encode(found.facts))
    assert again is not None
    # What nobody has from oomrules is a process's own.
    values = ((11, -900), (11, 8), (12, -900), (12, 7))
    assert [again.own(pid, value) for pid, value in values] == [3, 8, None, 7]
