"""What the service knows, and what it takes for unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oomrules import files
from oomrules.accounts import passwd
from oomrules.errors import Failure
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes.bpf import IteratorSource
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.facts import Facts
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.processes.units import placement
from oomrules.program import program
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.ranker import Ranking
from oomrules.service import list as list_module
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList, PacedAdjustment
from oomrules.state import LastList, State

BROKEN = Compiled(None, ["x.oom:1:1: error"], [], [], False, Facts(), {}, {})
OLD, NEW = placement("/system.slice/old.service"), placement("/system.slice/new.service")


def test_of_a_unit_that_is_newer_than_the_facts_nothing_is_known() -> None:
    facts = Facts({}, {}, (), frozenset({"old.service"}))
    assert facts.get(OLD, "session") == {}
    assert facts.get(OLD, "WantedBy") == []
    assert facts.get(NEW, "session") is None
    assert facts.get(NEW, "WantedBy") is None
    assert facts._replace(places=None).get(NEW, "session") == {}


GOOD = BROKEN._replace(program=compile_texts([RuleText("x.oom", "prefer uid 1\n")]), diagnostics=[])


def test_what_the_bus_said_is_not_kept_for_rules_that_ask_for_something_else(
    tmp_path: Path,
) -> None:
    current = CurrentList(State(str(tmp_path)))
    known = Facts({"old.service": {"OOMPolicy": "kill"}}, {}, (), frozenset({"old.service"}))
    current.adopt(GOOD._replace(facts=known, fingerprint=[["x", 1]]))
    # Else "units wanted by" would be known not to hold, though nobody has asked for that.
    current.adopt(GOOD._replace(fingerprint=[["x", 2]]))
    assert current.facts.get(OLD, "WantedBy") is None
    current.close()


def test_names_that_a_directory_said_stay_while_it_is_silent(tmp_path: Path) -> None:
    current = CurrentList(State(str(tmp_path)))
    current.adopt(BROKEN._replace(users={1000: "build", 5001: "ann@corp"}))
    current.adopt(BROKEN._replace(users={1000: "builder"}, names_complete=False))
    assert current._users == {1000: "builder", 5001: "ann@corp"}
    current.adopt(BROKEN._replace(users={1000: "builder"}))
    assert current._users == {1000: "builder"}
    most = {number: f"u{number}" for number in range(passwd.MOST_NAMES)}
    for start in (0, 10000, 20000, 30000):
        users = {start + number: name for number, name in most.items()}
        current.adopt(BROKEN._replace(users=users, names_complete=False))
        assert len(current._users) <= 2 * passwd.MOST_NAMES


def test_what_the_bus_said_stays_while_it_is_away(tmp_path: Path) -> None:
    current = CurrentList(State(str(tmp_path)))
    known = Facts({"old.service": {"OOMPolicy": "kill"}}, {}, (), frozenset({"old.service"}))
    current.adopt(BROKEN._replace(facts=known))
    current.adopt(BROKEN._replace(facts=Facts(None, None, ("there is no bus",), frozenset())))
    assert current.facts.get(OLD, "OOMPolicy") == "kill"
    assert current.facts.get(NEW, "OOMPolicy") is None
    assert current.facts.problems == ("there is no bus",)


def test_rules_that_are_broken_are_compiled_again_only_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "x.oom"
    file.write_text("nevr")
    status = file.stat()
    entry = [str(file), status.st_ino, status.st_size, status.st_mtime_ns]
    current = CurrentList(State(str(tmp_path)))
    current.adopt(BROKEN._replace(fingerprint=[["oomrules", "1"], entry, ["/none", 2]]))
    assert not current.stale
    file.write_text("never")
    assert current.stale
    file.unlink()
    assert current.stale


def test_values_are_reconsidered_sooner_if_somebody_new_is_among_the_first(
    tmp_path: Path,
) -> None:
    paced = PacedAdjustment(State(str(tmp_path)), None)
    made = program.make((), {})
    source = ProcSource(made)
    evaluator = Evaluator(made, source.host)

    def ranking(*pids: int) -> Ranking:
        return Ranking([Process(pid) for pid in pids], source, evaluator)

    paced._adjusted = {1, 2}
    paced._new_at, paced._at = 10.5, 12.0
    assert not paced.is_due(10.4, ranking(3, 1))
    assert paced.is_due(10.6, ranking(3, 1))
    # The same ones in another order, or fewer, have their values.
    assert not paced.is_due(10.6, ranking(2, 1))
    assert not paced.is_due(10.6, ranking(1))
    assert paced.is_due(12.1, ranking(1))
    source.close()


def test_a_refusal_keeps_the_pace_and_a_held_lock_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def put(self, *_: Any) -> str:
            raise Failure("the kernel refused it")

    monkeypatch.setattr(list_module, "named", lambda *_: Refusing())
    source = ProcSource(program.make((), {}))
    ranking = Ranking([Process(1)], source, Evaluator(program.make((), {}), source.host))
    paced = PacedAdjustment(State(str(tmp_path), wait=False), None)
    with State(str(tmp_path)).lock(), pytest.raises(Failure, match="holds it"):
        paced.put(ranking, source)
    # The next list has its turn.
    with pytest.raises(Failure, match="refused"):
        paced.put(ranking, source)
    assert paced.put(ranking, source) == ""
    source.close()


def test_the_last_list_is_recalled_after_a_restart(tmp_path: Path) -> None:
    state = State(str(tmp_path))
    state.save_list(
        [{"rank": 1, "pid": 7, "comm": "x", "unit": "", "points": 3}], LastList(5.0, 12)
    )
    current = CurrentList(state)
    current.recall()
    assert current.listed is not None
    assert (current.listed.pids, current.listed.read, current.listed.to) == ([7], 5.0, ())
    assert not current.quiet()


def test_units_are_where_systemd_makes_their_directories(tmp_path: Path) -> None:
    named = "27 1 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    unified = "28 1 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    mounts = tmp_path / "mounts"
    for text, where in (
        (named + unified, "/sys/fs/cgroup/systemd"),
        (unified + named, "/sys/fs/cgroup/systemd"),
        (unified, "/sys/fs/cgroup/unified"),
        ("", None),
    ):
        mounts.write_text(text)
        units = Hierarchy(str(mounts)).units
        assert (units.directory("/") if units else None) == where


# --- what changes without a new process ----------------------------------------------


@pytest.fixture
def listing(proc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A list of 1,000 processes, which would be looked at in turn within five minutes."""
    for pid in range(1000, 2000):
        proc.add(pid)
    (proc.root / "loadavg").write_text("0.1 0.1 0.1 1/1000 1999\n")
    read = files.read_small
    monkeypatch.setattr(
        files, "read_small", lambda path: read(path.replace("/proc", str(proc.root)))
    )
    text = 'score total_vm\nin "new.scope": kill first anything\nnever kill uid 5\n'
    made = compile_texts([RuleText("x.oom", text)])
    current = CurrentList(State(str(tmp_path / "state")))
    current.direct([str(tmp_path / "list")], None)
    current.adopt(GOOD._replace(program=made, fingerprint=[["x", 1]]))
    assert current.source is not None
    current.source.close()
    current.source = IteratorSource(made, root=str(proc.root), tasks=None)
    meminfo = "MemTotal: 1048576 kB\nMemAvailable: 500000 kB\nSwapTotal: 1024 kB\n"
    (proc.root / "meminfo").write_text(meminfo)
    assert current.refresh() and current.quiet()
    yield current
    current.close()


def clock(proc: Any, uptime: float) -> None:
    (proc.root / "uptime").write_text(f"{uptime} 1.0\n")


def test_who_was_moved_into_a_unit_that_came_is_in_it(listing: CurrentList, proc: Any) -> None:
    proc.add(1900, cgroup=b"0::/new.scope\n")
    assert (listed := listing.refresh()) and listed.pids[0] == 1000
    assert (listed := listing.refresh(stirred=True)) and listed.pids[0] == 1900
    # Where memory is short, the list is there first.
    assert listing.refresh(pressed=True) and listing.refresh(pressed=True)
    proc.add(1901, cgroup=b"0::/new.scope\n")
    proc.add(1900)
    assert (listed := listing.refresh(pressed=True, stirred=True)) and 1901 not in listed.pids[:2]
    assert (listed := listing.refresh(pressed=True)) and listed.pids[0] == 1901


def test_when_memory_becomes_short_everybody_is_looked_at_with_the_second_list(
    listing: CurrentList, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 2000.0
    monkeypatch.setattr(list_module, "now", lambda: at)

    def pressed() -> tuple[int, bool]:
        listed = listing.refresh(pressed=True)
        assert listed
        return listed.pids[0], 1901 in listed.pids

    proc.add(1900, cgroup=b"0::/new.scope\n")
    proc.add(1901, uid=5)
    # For the first list only those are looked at who are at its head.
    assert pressed() == (1000, True)
    at += 1
    assert pressed() == (1900, False)
    # Not again for the third one, but as soon as memory becomes short another time.
    proc.add(1901, uid=6)
    for _ in range(3):
        at += 1
        assert pressed() == (1900, False)
    at += 100
    assert pressed() == (1900, False)
    at += 1
    assert pressed() == (1900, True)


def test_a_host_is_not_quiet_when_somebody_was_moved(listing: CurrentList, proc: Any) -> None:
    clock(proc, 5030.25)
    assert listing.quiet()
    proc.add(1900, cgroup=b"0::/new.scope\n")
    seen = []
    for heartbeat in range(1, 11):
        clock(proc, 5030.25 + 30 * heartbeat)
        seen.append(listing.quiet())
    # Ten a second: a third of them at each heartbeat.
    assert seen.count(False) >= 1 and seen.index(False) < 4
    assert (listed := listing.refresh()) and listed.pids[0] == 1900


@pytest.mark.parametrize(("key", "before"), [("MemTotal", "1048576"), ("SwapTotal", "1024")])
def test_a_host_is_not_quiet_when_memory_or_swap_came_or_went(
    key: str, before: str, listing: CurrentList, proc: Any
) -> None:
    meminfo = (proc.root / "meminfo").read_text()
    for after in ("0", "77", "9999999"):
        assert listing.quiet()
        (proc.root / "meminfo").write_text(
            meminfo.replace(f"{key}: {before} kB", f"{key}: {after} kB")
        )
        assert not listing.quiet()
        listing.refresh()
        host = listing.source and listing.source.host
        assert host
        assert {"MemTotal": host.mem_total, "SwapTotal": host.swap_total}[key] == int(after) * 1024


def test_processes_that_cannot_be_seen_are_told(
    listing: CurrentList, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listing.hidden == []
    assert listing.source
    listing.source.refused = {7, 8}
    listing.source.look_for_hidden()
    (said,) = listing.hidden
    assert said.startswith("2 processes cannot be seen and are in no list")
