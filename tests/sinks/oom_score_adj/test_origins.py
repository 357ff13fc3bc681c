"""A value is believed only of who could set it; one that leaked ends with whom it was meant for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules import files
from oomrules.processes.facts import Facts
from oomrules.sinks.oom_score_adj import origins, record, survey
from oomrules.sinks.oom_score_adj import write as adjusting
from oomrules.sinks.oom_score_adj.origins import Origins
from tests.fake_proc import FakeProc
from tests.sinks.oom_score_adj.test_write import ABLE, Host

SERVICE = b"0::/system.slice/guard.service\n"
SCOPE = b"0::/user.slice/user-1001.slice/user@1001.service/app.slice/mine.scope\n"
SESSION = b"0::/user.slice/user-1001.slice/session-3.scope\n"
ALICE: dict[str, Any] = {"uid": 1001, "capabilities": 0}
EVERYTHING = (1 << 41) - 1


@pytest.fixture
def host(proc: FakeProc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A daemon that a rule protects, one that has -500 of its own, and init."""
    host = Host(proc, tmp_path)
    proc.add(1, b"init", ppid=0, capabilities=EVERYTHING, cgroup=b"0::/init.scope\n")
    proc.add(10, b"safe", capabilities=ABLE, cgroup=SERVICE)
    proc.add(11, b"first", cgroup=SESSION, **ALICE)
    proc.add(12, b"own", adj=-500, cgroup=b"0::/system.slice/own.service\n")
    # The units of the fake host are in no real hierarchy.
    monkeypatch.setattr(Origins, "_is_roots", lambda self, unit: "user@" not in unit.path)
    host.emit()
    assert host.values()[10] == -1000
    return host


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What systemd said of units."""

    def say(**adjusts: int) -> None:
        units = {f"{name}.service": {"OOMScoreAdjust": value} for name, value in adjusts.items()}
        monkeypatch.setattr(
            Facts, "get", lambda _, place, name: units.get(place.unit, {}).get(name)
        )

    return say


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every write of a value: the pid, and what was written."""
    found: list[tuple[int, int]] = []
    write = adjusting._write

    def noted(root: str, pid: int, start: int, current: int, value: int) -> str:
        found.append((pid, value))
        return write(root, pid, start, current, value)

    monkeypatch.setattr(adjusting, "_write", noted)
    return found


def grow_old(host: Host) -> None:
    """Let more than a second pass for all that have been born."""
    host.clock += 500
    (host.proc.root / "uptime").write_text(f"{host.clock / 100:.2f} 1.0\n")


@pytest.mark.parametrize("value", [-1000, -999, -500, -1])
@pytest.mark.parametrize("where", [SERVICE, SCOPE, SESSION, b"0::/system.slice/other.scope\n"])
@pytest.mark.parametrize("user", [ALICE, {"uid": 0, "capabilities": 0}])
def test_what_leaked_is_not_believed_wherever_it_has_gone(
    host: Host, value: int, where: bytes, user: dict[str, Any]
) -> None:
    # A second fork has taken it out of the family; what it has it may have written itself.
    host.fork(10, 20, b"mallory", ppid=1, adj=value, cgroup=where, **user)
    survey, _, _ = host.emit()
    assert [task.original for task in survey.candidates if task.pid == 20] == [0]
    host.release()
    assert host.values()[20] == 0


def test_rules_see_the_value_that_is_believed(host: Host) -> None:
    host.fork(10, 20, b"mallory", ppid=1, cgroup=SCOPE, **ALICE)
    source = host.source()
    assert source.read(source.by_pid[20], "oom_score_adj") == 0
    assert source.read(source.by_pid[10], "oom_score_adj") == 0
    assert source.read(source.by_pid[12], "oom_score_adj") == -500
    source.close()


def test_capabilities_in_a_namespace_of_one_s_own_are_none(host: Host) -> None:
    host.fork(10, 20, b"mallory", 1, EVERYTHING, cgroup=SCOPE, uid=1001)
    (host.proc.root / "20" / "uid_map").write_text("0 1001 1\n")
    survey, _, _ = host.emit()
    assert [task.original for task in survey.candidates if task.pid == 20] == [0]
    assert (20, host.clock) not in survey.watched


def test_who_can_set_a_value_has_it(host: Host) -> None:
    host.fork(10, 20, b"rootly", 1, EVERYTHING, adj=-300, cgroup=b"0::/system.slice/x.service\n")
    host.emit()
    host.release()
    assert host.values()[20] == -300


def test_one_of_root_that_escaped_keeps_it_is_named_and_explains_nothing(host: Host) -> None:
    host.fork(10, 20, b"tmux", ppid=1, cgroup=SESSION, capabilities=EVERYTHING)
    host.fork(20, 21, b"mallory", **ALICE)
    done = host.release()
    assert (20, "tmux") in done.unsure
    assert [host.values()[pid] for pid in (20, 21)] == [-1000, 0]


def test_who_was_born_before_keeps_what_it_has(host: Host) -> None:
    host.emit()
    host.release()
    assert host.values()[12] == -500


def test_one_that_was_lowered_cannot_keep_a_part_of_it(host: Host) -> None:
    # It was there before, and has no right but what it got from us.
    host.proc.add(13, b"safe", cgroup=SESSION, **ALICE)
    host.emit()
    assert host.values()[13] <= -999
    host.set(13, -500)
    host.emit()
    host.release()
    assert host.values()[13] == 0


# --- services ------------------------------------------------------------------------------

APP = b"0::/system.slice/app.service\n"


def test_a_service_keeps_its_value_when_it_starts_anew(host: Host) -> None:
    # Nobody has asked systemd. A worker is restarted, then the whole service.
    host.fork(1, 20, b"app", adj=-500, cgroup=APP, **ALICE)
    host.fork(20, 21, b"worker", **ALICE)
    host.emit()
    host.fork(20, 22, b"worker", **ALICE)
    host.proc.remove(21)
    host.emit()
    host.release()
    assert [host.values()[pid] for pid in (20, 22)] == [-500, -500]


def test_a_protected_service_keeps_its_value_when_it_starts_anew(host: Host) -> None:
    host.fork(1, 20, b"safe", adj=-500, cgroup=APP, **ALICE)
    host.fork(20, 21, b"worker", **ALICE)
    host.emit()
    assert host.values()[20] <= -999
    host.fork(20, 22, b"worker", **ALICE)
    host.emit()
    for pid in (20, 21, 22):
        host.proc.remove(pid)
    host.fork(1, 30, b"safe", adj=-500, cgroup=APP, **ALICE)
    host.fork(30, 31, b"worker", **ALICE)
    host.emit()
    host.release()
    assert [host.values()[pid] for pid in (30, 31)] == [-500, -500]


@pytest.mark.parametrize(
    ("said", "value", "own"),
    [(-500, -500, -500), (-500, -300, -300), (-500, -1000, -500), (200, -1000, 200), (0, -900, 0)],
)
def test_what_systemd_says_of_a_unit_explains_so_much(
    host: Host, facts: Callable[..., None], said: int, value: int, own: int
) -> None:
    facts(guard=said)
    host.fork(10, 20, b"worker", ppid=1, adj=value, **ALICE)
    host.emit()
    host.release()
    # It is in the unit of a daemon that was lowered, and none of its children any more.
    assert host.values()[20] == own


def test_a_user_cannot_name_a_unit_to_be_believed(host: Host, facts: Callable[..., None]) -> None:
    facts(own=-500)
    path = b"0::/user.slice/user-1001.slice/user@1001.service/own.service\n"
    host.fork(10, 20, b"mallory", ppid=1, adj=-500, cgroup=path, **ALICE)
    host.emit()
    host.release()
    assert host.values()[20] == 0


def test_a_container_keeps_what_its_runtime_gave_it(host: Host) -> None:
    host.proc.add(14, b"shim", adj=-998, capabilities=ABLE, cgroup=b"0::/system.slice/c.service\n")
    pod = b"0::/kubepods.slice/cri-containerd-1.scope\n"
    host.fork(14, 20, b"pause", adj=-997, cgroup=pod, **ALICE)
    host.fork(20, 21, b"server", **ALICE)
    host.emit()
    host.release()
    assert [host.values()[pid] for pid in (20, 21)] == [-997, -997]


# --- once, at first sight ------------------------------------------------------------------


def test_each_newcomer_is_written_to_once_even_if_its_value_is_right(
    host: Host, writes: list[tuple[int, int]]
) -> None:
    grow_old(host)
    host.emit()
    # It could go down at any time to what it has inherited.
    host.clock += 1000
    host.fork(10, 20, b"mallory", ppid=1, adj=0, cgroup=SCOPE, **ALICE)
    host.fork(1, 21, b"rootly", capabilities=EVERYTHING)
    grow_old(host)
    writes.clear()
    survey, _, _ = host.emit()
    assert [task.pid for task in survey.newcomers] == [20]
    assert [pid for pid, _ in writes].count(20) == 1
    writes.clear()
    survey, _, _ = host.emit()
    assert writes == [] and survey.newcomers == ()


def test_one_that_gives_up_its_rights_later_is_written_to_then(
    host: Host, writes: list[tuple[int, int]]
) -> None:
    host.clock += 1000
    host.fork(10, 20, b"login", ppid=1, adj=0, cgroup=SCOPE, capabilities=EVERYTHING)
    grow_old(host)
    host.emit()
    start = next(start for pid, start in record.load(host.path).watched if pid == 20)
    host.proc.add(20, b"login", ppid=1, start=start, cgroup=SCOPE, **ALICE)
    writes.clear()
    host.emit()
    assert 20 in [pid for pid, _ in writes]
    writes.clear()
    host.emit()
    assert 20 not in [pid for pid, _ in writes]


def test_what_is_remembered_of_those_with_rights_has_a_bound(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "MOST_WATCHED", 5)
    for pid in range(100, 120):
        host.fork(1, pid, b"rootly", capabilities=EVERYTHING)
    grow_old(host)
    host.emit()
    assert {pid for pid, _ in record.load(host.path).watched} == set(range(115, 120))


def test_a_long_line_of_descendants_costs_what_it_is_long(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    host.fork(10, 1000, b"mallory", cgroup=SCOPE, ppid=1, adj=-500, **ALICE)
    for pid in range(1001, 1000 + count):
        host.fork(pid - 1, pid, b"mallory", **ALICE)
    source = host.source()
    reads = [0]
    read = files.read_small

    def counted(*arguments: Any) -> bytes:
        reads[0] += 1
        return read(*arguments)

    monkeypatch.setattr(origins, "read_small", counted)
    known = Origins(source, record.load(host.path))
    for pid in reversed(range(1000, 1000 + count)):
        assert known.original(source.by_pid[pid], -500) == 0
    source.close()
    assert reads[0] < 10 * count


# --- release -------------------------------------------------------------------------------


def test_release_finds_the_escaped_and_writes_to_newcomers(
    host: Host, writes: list[tuple[int, int]]
) -> None:
    host.fork(10, 20, b"mallory", ppid=1, cgroup=SCOPE, **ALICE)
    host.fork(10, 21, b"mallory", ppid=1, cgroup=SCOPE, adj=0, **ALICE)
    done = host.release()
    assert host.values() == {1: 0, 10: 0, 11: 0, 12: -500, 20: 0, 21: 0}
    assert (20, "mallory", -1000, 0) in done.restored
    assert (21, 0) in writes
    assert not os.path.exists(host.path)


def test_who_is_out_of_reach_is_named_and_stays_in_the_record(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.fork(10, 20, b"mal\x1b]lory", ppid=1, cgroup=SCOPE, **ALICE)
    write = adjusting._write
    monkeypatch.setattr(
        adjusting,
        "_write",
        lambda root, pid, *other: "permission denied" if pid == 20 else write(root, pid, *other),
    )
    done = host.release()
    assert done.refused == {20: "permission denied"}
    said = adjusting.unreached(done)
    assert "20 mal\N{REPLACEMENT CHARACTER}]lory in mine.scope" in said.message
    assert "oomrules release" in (said.hint or "")
    monkeypatch.setattr(adjusting, "_write", write)
    assert host.values()[20] == -1000
    host.release()
    assert host.values()[20] == 0 and not os.path.exists(host.path)


def test_a_release_that_finds_ever_new_ones_ends_and_says_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = adjusting._write

    def forks_first(root: str, pid: int, *other: Any) -> str:
        if pid >= 20:
            # Before it has its value back it has one more child.
            host.fork(pid, pid + 1, b"bomb", ppid=1, cgroup=SCOPE, **ALICE)
        return write(root, pid, *other)

    host.fork(10, 20, b"bomb", ppid=1, cgroup=SCOPE, **ALICE)
    monkeypatch.setattr(adjusting, "_write", forks_first)
    done = host.release()
    assert done.refused and "bomb" in adjusting.unreached(done).message
    monkeypatch.setattr(adjusting, "_write", write)
    host.release()
    assert set(host.values().values()) == {0, -500}
    assert not os.path.exists(host.path)


# --- as a whole ----------------------------------------------------------------------------


class World:
    """A fake host whose minimums follow the kernel's rules, and one without oomrules beside it.

    The other one is where the same was done and no value was ever written from here.
    """

    def __init__(self, directory: Path) -> None:
        self.host = Host(FakeProc(directory / "proc"), directory)
        self.host.clock = 10**9
        self.least: dict[int, int] = {}
        self.without: dict[int, tuple[int, int]] = {}
        self.able: dict[int, bool] = {}
        self.told: dict[int, dict[str, Any]] = {}

    def add(self, pid: int, value: int, able: bool, **told: Any) -> None:
        self.able[pid], self.told[pid] = able, told
        self.least[pid] = value
        self.without[pid] = (value, value)
        self._show(pid, value)

    def _show(self, pid: int, value: int) -> None:
        user = {"capabilities": ABLE} if self.able[pid] else ALICE
        self.host.proc.add(pid, adj=value, **user, **self.told[pid])

    def fork(self, parent: int, pid: int, **told: Any) -> None:
        self.host.clock += 300
        told = {**self.told[parent], "ppid": parent, "start": self.host.clock, **told}
        self.able[pid], self.told[pid] = self.able[parent], told
        self.least[pid], self.without[pid] = self.least[parent], self.without[parent]
        self._show(pid, self.host.values()[parent])

    def change(self, pid: int, able: bool | None = None, **told: Any) -> None:
        self.able[pid] = self.able[pid] if able is None else able
        self.told[pid] |= told
        self._show(pid, self.host.values()[pid])

    def write(self, pid: int, value: int) -> None:
        """A process writes its own value, as far as it may."""
        if self.able[pid] or value >= self.least[pid]:
            self.host.set(pid, value)
            if self.able[pid]:
                self.least[pid] = value
        if self.able[pid]:
            self.without[pid] = (value, value)
            # What root chooses for a process explains its children, those of before too.
            for other in self.below(pid):
                has, least = self.without[other]
                self.without[other] = (has, min(least, value))
        elif value >= self.without[pid][1]:
            self.without[pid] = (value, self.without[pid][1])

    def below(self, pid: int) -> set[int]:
        """Find the living descendants of a process."""
        found: set[int] = set()
        while more := {
            other
            for other, told in self.told.items()
            if told.get("ppid") in {pid, *found} and other not in found
        }:
            found |= more
        return found

    def pass_time(self) -> None:
        grow_old(self.host)


@pytest.fixture
def minimums(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[World]]:
    """Let what is written from here set the minimum, as a write with CAP_SYS_RESOURCE does."""
    worlds: list[World] = []
    write = adjusting._write

    def written(root: str, pid: int, start: int, current: int, value: int) -> str:
        result = write(root, pid, start, current, value)
        if result == "done":
            worlds[-1].least[pid] = value
        return result

    monkeypatch.setattr(adjusting, "_write", written)
    monkeypatch.setattr(Origins, "_is_roots", lambda self, unit: "user@" not in unit.path)
    yield worlds


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_nobody_can_go_lower_after_a_release_than_on_a_host_without_us(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, minimums: list[World]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    minimums.append(world)
    world.add(1, 0, True, comm=b"init", ppid=0, cgroup=b"0::/init.scope\n")
    values = st.sampled_from([0, 0, 100, -500, -900])
    names = st.sampled_from([b"safe", b"first", b"x"])
    groups = st.sampled_from([SERVICE, SCOPE, SESSION, APP])
    for pid in range(10, 10 + data.draw(st.integers(1, 4))):
        told = {"comm": data.draw(names), "cgroup": data.draw(groups), "start": 1000}
        world.add(pid, data.draw(values), data.draw(st.booleans()), **told)
    steps = ["emit", "fork", "escape", "move", "drop", "write", "rename", "end"]
    for step in ["emit", *data.draw(st.lists(st.sampled_from(steps), min_size=3, max_size=14))]:
        pid = data.draw(st.sampled_from(sorted(world.able.keys() - {1}) or [1]))
        if step == "emit":
            world.pass_time()
            world.host.emit()
        elif step in ("fork", "escape"):
            world.fork(pid, max(world.able) + 1, **({"ppid": 1} if step == "escape" else {}))
        elif step == "write":
            world.write(pid, data.draw(st.integers(-1000, 200)))
        elif pid == 1:
            continue
        elif step == "move":
            # No user gets a process into a unit of the system's that others are in.
            where = data.draw(st.sampled_from([SCOPE, SESSION]))
            world.change(pid, cgroup=where)
        elif step == "drop":
            world.change(pid, able=False)
        elif step == "rename":
            world.change(pid, comm=data.draw(names))
        elif len(world.able) > 2:
            for other in world.able:
                if world.told[other].get("ppid") == pid:
                    world.change(other, ppid=1)
            world.host.proc.remove(pid)
            for known in (world.able, world.told, world.least, world.without):
                del known[pid]
    world.pass_time()
    world.host.release()
    now = world.host.values()
    for pid, able in world.able.items():
        if not able:
            # From 0 up it is nobody's business.
            least = min(0, world.without[pid][1])
            assert world.least[pid] >= least, (pid, world.least[pid], least)
            assert now[pid] >= least
    assert not os.path.exists(world.host.path)
