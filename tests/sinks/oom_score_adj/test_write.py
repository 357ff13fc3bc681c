"""Applied and undone: every value is what it was, whenever the one who wrote it died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomrules.clock import boot
from oomrules.errors import Failure
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker
from oomrules.sinks.oom_score_adj import origins
from oomrules.sinks.oom_score_adj import record as records
from oomrules.sinks.oom_score_adj import write as adjusting
from oomrules.sinks.oom_score_adj.origins import may_lower
from oomrules.sinks.oom_score_adj.plan import Plan
from oomrules.sinks.oom_score_adj.record import Entry, Record
from oomrules.sinks.oom_score_adj.survey import Survey
from oomrules.sinks.oom_score_adj.write import Outcome
from oomrules.state import ADJUSTMENTS, State
from tests.children import CHECKOUT, Child
from tests.fake_proc import FakeProc

RULES = """
score rss
never kill comm "safe"
kill first comm "first"
kill last comm "last"
never kill oom_score_adj -1000
"""

Spawn = Callable[..., Child]

# Who has it may give itself any value.
ABLE = 1 << 24


def compiled(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


class Host:
    """A fake host with the record that is kept for it."""

    def __init__(self, proc: FakeProc, directory: Path) -> None:
        self.proc = proc
        self.path = str(directory / ADJUSTMENTS)
        status = "Name:\tx\nCapEff:\t000001ffffffffff\n"
        (proc.root / "self" / "status").write_text(status)
        self.lowering(True)
        # The first processes were there before anything was adjusted.
        self.clock = 10**12

    def lowering(self, allowed: bool) -> None:
        text = "0 0 4294967295\n" if allowed else "0 100000 65536\n"
        (self.proc.root / "self" / "uid_map").write_text(text)

    def values(self) -> dict[int, int]:
        return {
            int(one.name): int((one / "oom_score_adj").read_text())
            for one in self.proc.root.iterdir()
            if one.name.isdigit()
        }

    def set(self, pid: int, value: int) -> None:
        (self.proc.root / str(pid) / "oom_score_adj").write_text(f"{value}\n")

    def source(self) -> ProcSource:
        made = compiled(RULES)
        source = ProcSource(made, root=str(self.proc.root)).refresh()
        source.program = made  # type: ignore[attr-defined]
        origins.see_originals(source, self.path)
        return source

    def emit(self) -> tuple[Survey, Plan, Outcome]:
        source = self.source()
        ranker = Ranker(source.program, source.host)  # type: ignore[attr-defined]
        try:
            return adjusting.adjust(ranker.rank(source), source, self.path)
        finally:
            source.close()

    def fork(
        self,
        parent: int,
        pid: int,
        name: bytes = b"child",
        ppid: int | None = None,
        capabilities: int = ABLE,
        **other: Any,
    ) -> None:
        """Make a child with what it inherits."""
        self.clock += 1
        inherited = {
            "adj": self.values()[parent],
            "cgroup": (self.proc.root / str(parent) / "cgroup").read_bytes(),
            "ppid": parent if ppid is None else ppid,
            "capabilities": capabilities,
            "start": self.clock,
        }
        self.proc.add(pid, name, **{**inherited, **other})

    def release(self) -> adjusting.Released:
        source = self.source()
        try:
            return adjusting.release(self.path, source)
        finally:
            source.close()


@pytest.fixture
def host(proc: FakeProc, tmp_path: Path) -> Host:
    host = Host(proc, tmp_path)
    for pid, name, adj in ((10, b"safe", 0), (11, b"last", 0), (12, b"first", -50), (13, b"x", 7)):
        proc.add(pid, name, adj=adj, capabilities=ABLE)
    return host


BEFORE = {10: 0, 11: 0, 12: -50, 13: 7}


def points(host: Host) -> list[int]:
    """Whom the kernel would kill, the first one first; all are of one size here."""
    values = host.values()
    return sorted((pid for pid in values if values[pid] != -1000), key=lambda pid: -values[pid])


def test_the_order_is_in_force_and_release_restores_everything(host: Host) -> None:
    _, _, outcome = host.emit()
    assert host.values()[10] == -1000
    assert points(host) == [12, 13, 11]
    assert outcome.claims[0].claimed == 3
    done = host.release()
    assert host.values() == BEFORE
    assert {pid for pid, *_ in done.restored} == {10, 12, 13}
    assert not os.path.exists(host.path)


def test_a_second_emit_knows_the_originals(host: Host) -> None:
    host.emit()
    _, plan, outcome = host.emit()
    assert not plan.assignments and outcome.written == 0
    host.release()
    assert host.values() == BEFORE


def test_rules_do_not_see_what_they_caused(host: Host) -> None:
    host.emit()
    # It is not protected any more, and that its value is -1000 was only ever our doing.
    host.proc.add(10, b"first", adj=-1000, capabilities=ABLE)
    host.emit()
    assert points(host)[0] in (10, 12)
    host.release()
    assert host.values() == BEFORE


def test_a_value_that_somebody_else_sets_is_the_new_original(host: Host) -> None:
    host.emit()
    host.set(12, 333)
    host.set(10, -17)
    host.emit()
    assert host.values()[10] == -1000
    host.release()
    assert host.values() == {**BEFORE, 10: -17, 12: 333}


def test_release_leaves_what_somebody_else_has_set(host: Host) -> None:
    host.emit()
    host.set(12, 333)
    done = host.release()
    assert done.left == [(12, "first")]
    assert host.values() == {**BEFORE, 12: 333}


def test_children_of_the_adjusted_get_the_original_of_their_ancestor(host: Host) -> None:
    host.emit()
    host.fork(10, 20)
    host.fork(20, 21)
    host.fork(12, 22)
    assert [host.values()[pid] for pid in (20, 21)] == [-1000, -1000]
    host.release()
    assert host.values() == {**BEFORE, 20: 0, 21: 0, 22: -50}


def test_an_orphan_is_known_by_its_control_group(host: Host) -> None:
    host.emit()
    host.fork(10, 20, ppid=1)
    host.proc.remove(10)
    host.release()
    assert host.values()[20] == 0


def test_the_children_of_the_protected_get_their_own_fate_at_the_next_emit(host: Host) -> None:
    host.emit()
    host.fork(10, 20, b"first")
    _, plan, _ = host.emit()
    assert plan.values[20] != -1000
    assert points(host)[:2] == [12, 20]
    host.release()
    assert host.values() == {**BEFORE, 20: 0}


def test_a_child_whose_parent_is_gone_since_is_still_known_one_run_later(host: Host) -> None:
    host.emit()
    host.fork(12, 20)
    host.proc.remove(12)
    host.emit()
    host.fork(20, 21)
    host.proc.remove(20)
    host.emit()
    host.release()
    assert host.values() == {10: 0, 11: 0, 13: 7, 21: -50}


def test_a_process_from_before_is_never_taken_for_a_child(host: Host) -> None:
    # The same value, the same control group, but it was there before.
    host.emit()
    host.proc.add(20, b"old", adj=host.values()[12], start=999)
    value = host.values()[20]
    host.release()
    assert host.values()[20] == value


def test_a_recycled_pid_is_another_process(host: Host) -> None:
    host.emit()
    host.proc.add(12, b"new", start=5, adj=-999)
    host.release()
    assert host.values()[12] == -999


def test_without_the_right_to_lower_nobody_is_lowered(host: Host) -> None:
    host.lowering(False)
    _, _, outcome = host.emit()
    values = host.values()
    assert all(values[pid] >= value for pid, value in BEFORE.items())
    assert outcome.claims[0].killable == (10,)
    # The protected comes last of all.
    assert points(host) == [12, 13, 11, 10]
    host.release()
    assert host.values() == BEFORE


def test_a_group_with_a_limit_has_a_claim_of_its_own(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    Limits(monkeypatch)
    survey, _, outcome = host.emit()
    assert [(d.name, d.totalpages) for d in survey.domains] == [
        ("", (8388608 + 1024) // 4),
        ("/x.service", 64 * 256),
    ]
    assert [claim.claimed for claim in outcome.claims] == [3, 3]


class Limits:
    """Control groups with a limit of 64 MiB, by their paths."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths = {"/x.service"}
        patch.setattr(ProcSource, "scope", lambda _, path: Limit() if path in self.paths else None)


class Limit:
    def get(self, key: str) -> int | None:
        return {"memory_max": 64 * 2**20, "swap_max": 0}.get(key)


@pytest.fixture
def limits(host: Host, monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Let the processes of the host be in a group with a limit, and four more outside of it."""
    for pid, name, adj in ((30, b"safe", 0), (31, b"last", 0), (32, b"first", -50), (33, b"x", 7)):
        host.proc.add(pid, name, adj=adj, capabilities=ABLE, cgroup=b"0::/free.service\n")
    # The values given back are those of the fake host.
    root = str(host.proc.root)
    monkeypatch.setattr(adjusting, "ProcSource", lambda made: ProcSource(made, root=root))
    return Limits(monkeypatch)


OUTSIDE = {30: 0, 31: 0, 32: -50, 33: 7}


def sink(host: Host, limited: bool) -> str:
    """Put the order into force as the sink does; return what it says."""
    source = host.source()
    ranker = Ranker(source.program, source.host)  # type: ignore[attr-defined]
    state = State(os.path.dirname(host.path))
    try:
        return adjusting.OomScoreAdj(state, limited=limited).put(ranker.rank(source), source)
    finally:
        source.close()


def outside(host: Host) -> dict[int, int]:
    return {pid: value for pid, value in host.values().items() if pid >= 30}


def inside(host: Host) -> dict[int, int]:
    return {pid: value for pid, value in host.values().items() if pid < 30}


def test_for_groups_with_a_limit_only_their_members_are_changed(host: Host, limits: Limits) -> None:
    assert sink(host, limited=True).endswith("written for 1 control group with a limit")
    assert outside(host) == OUTSIDE
    values = inside(host)
    assert values[10] == -1000 and values[12] > values[13] > values[11]
    # The next one finds all as it is to be.
    assert sink(host, limited=True).startswith("0 oom_score_adj values written")
    assert host.values() == OUTSIDE | values
    host.release()
    assert host.values() == OUTSIDE | BEFORE


def test_from_the_whole_host_to_its_groups_the_others_get_their_own_back(
    host: Host, limits: Limits
) -> None:
    sink(host, limited=False)
    assert outside(host) != OUTSIDE
    sink(host, limited=True)
    assert outside(host) == OUTSIDE and inside(host)[10] == -1000
    sink(host, limited=False)
    assert outside(host) != OUTSIDE
    limits.paths.clear()
    assert sink(host, limited=True) == ""
    assert host.values() == OUTSIDE | BEFORE and not os.path.exists(host.path)


def test_without_a_group_with_a_limit_nothing_is_written_down(host: Host, limits: Limits) -> None:
    limits.paths = {"/other.slice"}
    assert sink(host, limited=True) == ""
    assert host.values() == OUTSIDE | BEFORE and not os.path.exists(host.path)
    # One that is around them counts.
    host.proc.add(40, b"safe", capabilities=ABLE, cgroup=b"0::/other.slice/a.service\n")
    sink(host, limited=True)
    assert host.values()[40] == -1000


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_was_before_nobody_outside_of_the_groups_with_a_limit_is_changed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("host")
    host = Host(FakeProc(directory / "proc"), directory)
    groups = st.sampled_from(["/free.service", "/a.slice", "/a.slice/x.service", "/b.service"])
    names = st.sampled_from([b"safe", b"first", b"last", b"x"])
    named: dict[int, bytes] = {}
    placed: dict[int, str] = {}
    before: dict[int, int] = {}

    def place(pid: int, adj: int) -> None:
        placed[pid] = data.draw(groups)
        group = f"0::{placed[pid]}\n".encode()
        host.proc.add(pid, named[pid], adj=adj, cgroup=group, capabilities=ABLE)

    for pid in range(10, 10 + data.draw(st.integers(1, 6))):
        named[pid] = data.draw(names)
        before[pid] = data.draw(st.sampled_from([0, 0, 0, 100, -500, -1000]))
        place(pid, before[pid])
    with pytest.MonkeyPatch.context() as patch:
        root = str(host.proc.root)
        patch.setattr(adjusting, "ProcSource", lambda made: ProcSource(made, root=root))
        limits = Limits(patch)
        limits.paths = set()
        for what in data.draw(st.lists(st.sampled_from(["move", "limit", "whole", "groups"]))):
            if what == "move":
                pid = data.draw(st.sampled_from(sorted(before)))
                place(pid, host.values()[pid])
            elif what == "limit":
                limits.paths ^= {data.draw(groups)}
            else:
                sink(host, limited=what == "groups")
            if what == "groups" and any(name != b"safe" for name in named.values()):
                for pid, value in host.values().items():
                    within = {placed[pid], os.path.dirname(placed[pid])}
                    assert value == before[pid] or within & limits.paths
    host.release()
    assert host.values() == before


def test_a_child_that_leaves_a_group_with_a_limit_gets_its_parent_s_own_value(
    host: Host, limits: Limits
) -> None:
    sink(host, limited=True)
    host.fork(10, 41, b"x", capabilities=0, cgroup=b"0::/free.service\n")
    assert host.values()[41] == -1000
    sink(host, limited=True)
    assert host.values()[41] == 0


# --- whenever it dies --------------------------------------------------------------------


class Died(BaseException):
    """Stands for kill -9: nothing that comes after it is run."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let the process die at the n-th of its writes, values and records alike."""
    left = [-1]
    write, save = adjusting._write, records.save

    def count() -> None:
        if left[0] == 0:
            raise Died
        left[0] -= 1

    def counted_write(*arguments: object) -> str:
        count()
        return write(*arguments)  # type: ignore[arg-type]

    def counted_save(path: str, record: Record) -> None:
        count()
        save(path, record)

    monkeypatch.setattr(adjusting, "_write", counted_write)
    monkeypatch.setattr(adjusting, "save", counted_save)
    yield lambda number: left.__setitem__(0, number)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_after_any_deaths_release_restores_everything(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, dying: Callable[[int], None]
) -> None:
    directory = tmp_path_factory.mktemp("host")
    host = Host(FakeProc(directory / "proc"), directory)
    names = st.sampled_from([b"safe", b"first", b"last", b"x"])
    before = {}
    for pid in range(10, 10 + data.draw(st.integers(1, 6))):
        before[pid] = data.draw(st.sampled_from([0, 0, 0, 100, -500, -1000]))
        # Of an orphan nothing tells the parent but the control group.
        group = b"0::/%d.service\n" % pid
        host.proc.add(pid, data.draw(names), adj=before[pid], cgroup=group, capabilities=ABLE)
    steps = st.sampled_from(["emit", "die", "fork", "fork", "end", "release", "rename"])
    for what in ["emit", *data.draw(st.lists(steps, min_size=2, max_size=10))]:
        if what in ("emit", "die", "release"):
            dying(-1 if what == "emit" else data.draw(st.integers(0, 8)))
            try:
                host.release() if what == "release" else host.emit()
            except Died:
                pass
            dying(-1)
        elif what == "fork":
            parent = data.draw(st.sampled_from(sorted(before)))
            child = max(before) + 1
            host.fork(parent, child, data.draw(names))
            before[child] = before[parent]
        elif what == "rename":
            # An exec: the rules see another process.
            stat = host.proc.root / str(data.draw(st.sampled_from(sorted(before)))) / "stat"
            begin, _, end = stat.read_bytes().partition(b" (")
            stat.write_bytes(begin + b" (" + data.draw(names) + b")" + end.partition(b")")[2])
        elif len(before) > 1:
            gone = data.draw(st.sampled_from(sorted(before)))
            for pid in before:
                # Its children become those of init.
                stat = host.proc.root / str(pid) / "stat"
                stat.write_bytes(stat.read_bytes().replace(b") S %d " % gone, b") S 1 "))
            host.proc.remove(gone)
            del before[gone]
    host.release()
    assert host.values() == before
    assert not os.path.exists(host.path)


def test_the_record_is_on_disk_before_the_first_value_is_written(
    host: Host, dying: Callable[[int], None]
) -> None:
    dying(1)
    with pytest.raises(Died):
        host.emit()
    assert host.values() == BEFORE
    recorded = {entry.pid: entry.original for entry in records.load(host.path)}
    assert recorded == {pid: BEFORE[pid] for pid in recorded} and {10, 12} <= set(recorded)


def test_nothing_is_written_where_the_record_cannot_be(host: Host) -> None:
    host.path = str(host.proc.root / "missing" / "directory" / ADJUSTMENTS)
    with pytest.raises(Failure, match="cannot write"):
        host.emit()
    assert host.values() == BEFORE


def record(**fields: Any) -> str:
    """A record with one process, as it should be but for some of the fields."""
    entry = {"pid": 12, "start": 5, "original": 0, "values": [300], "since": 9, "cgroup": "/a"}
    entry |= {"fading": False} | {k: v for k, v in fields.items() if k in (*entry, "fading")}
    data = {"schema": records.SCHEMA, "boot": boot(), "processes": [entry]}
    return json.dumps(data | {key: value for key, value in fields.items() if key not in entry})


NO_PROCESSES: tuple[Any, ...] = (None, {"pid": 1}, [None], [[]], ["x"], [{}])


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "{}", "null", "7", '"x"', '{"schema": "oomrules.list/1"}', "\xff\xfe"),
        "[" * 100_000,
        "9" * 5000,
        *(record(pid=pid) for pid in (0, -1, 2**22 + 1, "12", 1.5, True, None, [12])),
        *(record(original=value) for value in (-1001, 1001, 10**30, "0", False, float("nan"))),
        *(record(values=value) for value in ("300", {"a": 1}, 300, None, [1001], [[1]], [0] * 99)),
        *(record(cgroup=value) for value in (7, ["/a"])),
        *(record(fading=value) for value in (0, "no", None)),
        *(record(since=value) for value in (-1, 2**65, "9")),
        *(record(processes=value) for value in NO_PROCESSES),
        *(record(watched=value) for value in (None, 3, [3], [[1]], [[1, 2, 3]], [["a", 2]])),
        *(record(seen=value) for value in (-1, None, "x", 1.0)),
        *(record(boot=7, schema=["oomrules.adjustments/1"]), record(schema=None)),
    ],
)
def test_a_record_that_makes_no_sense_is_said_and_kept(host: Host, content: str) -> None:
    Path(host.path).write_text(content, encoding="latin-1")
    for call in (lambda: records.load(host.path), host.release):
        with pytest.raises(Failure, match=ADJUSTMENTS):
            call()
    assert Path(host.path).read_text(encoding="latin-1") == content


def test_a_record_that_is_too_large_or_no_file_is_refused_and_not_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(host.path)
    with pytest.raises(Failure, match="no record of oomrules"):
        records.load(host.path)
    os.unlink(host.path)
    os.symlink("/etc/passwd", host.path)
    with pytest.raises(Failure, match="cannot read"):
        records.load(host.path)
    os.unlink(host.path)
    host.emit()
    # What cannot be read again is not written in the first place.
    monkeypatch.setattr(records, "_LARGEST", 100)
    with pytest.raises(Failure, match="no record of oomrules"):
        records.load(host.path)
    with pytest.raises(Failure, match="larger than"):
        records.save(host.path, Record([Entry(1, 2, 0, (1,), 3, "/a")]))


def test_a_record_of_an_earlier_version_is_understood(host: Host) -> None:
    Path(host.path).write_text(record())
    assert list(records.load(host.path)) == [Entry(12, 5, 0, (300,), 9, "/a")]
    assert records.load(host.path).since == 0


def test_the_record_of_another_boot_is_of_no_process(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.emit()
    monkeypatch.setattr(records, "boot", lambda: "another")
    assert len(records.load(host.path)) == 0


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    entries = [Entry(1, 2, -3, (4, 5), 6, "/a"), Entry(2**22, 2**63, 1000, (), 0, None, True)]
    records.save(str(tmp_path / "r"), Record(entries))
    assert list(records.load(str(tmp_path / "r"))) == entries


# --- real processes ----------------------------------------------------------------------

APPLY = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.sinks.oom_score_adj.test_write import mine
import os, signal
pids = [int(pid) for pid in sys.argv[3].split()]
deadly = int(sys.argv[4])
if deadly >= 0:
    from oomrules.sinks.oom_score_adj import write as adjusting
    write, left = adjusting._write, [deadly]
    def dies(*arguments):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return write(*arguments)
    adjusting._write = dies
print(mine(sys.argv[2], pids))
"""


class Mine(ProcSource):
    """Sees none but the processes of a test."""

    pids: frozenset[int] = frozenset()

    def refresh(self) -> ProcSource:
        super().refresh()
        for pid in [pid for pid in self.by_pid if pid not in self.pids]:
            self.drop(self.by_pid[pid])
        return self


def mine(path: str, pids: list[int]) -> int:
    """Put the test's own children in order; the pid that is named last is to die first."""
    first = pids[-1]
    made = compiled(f"score rss\nkill first pid {first}\n")
    source = Mine(made)
    source.pids = frozenset(pids)
    source.refresh()
    origins.see_originals(source, path)
    ranking = Ranker(made, source.host).rank(source)
    _, _, outcome = adjusting.adjust(ranking, source, path)
    return outcome.claims[0].claimed


def value_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def score_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score").read_text())


def release_mine(path: str, pids: list[int]) -> adjusting.Released:
    source = Mine(compiled("score rss\n"))
    source.pids = frozenset(pids)
    return adjusting.release(path, source)


@pytest.mark.parametrize("deadly", [-1, 0, 1, 2])
def test_real_processes_get_their_values_back(deadly: int, spawn: Spawn, tmp_path: Path) -> None:
    children = [spawn() for _ in range(3)]
    pids = [child.pid for child in children]
    before = [value_of(pid) for pid in pids]
    path = str(tmp_path / ADJUSTMENTS)
    done = subprocess.run(
        [sys.executable, "-c", APPLY, CHECKOUT, path, " ".join(map(str, pids)), str(deadly)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if deadly < 0:
        assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr
        # What the kernel says itself.
        assert score_of(pids[-1]) > max(score_of(pid) for pid in pids[:-1])
    else:
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
    released = release_mine(path, pids)
    assert not released.refused
    assert [value_of(pid) for pid in pids] == before
    assert not os.path.exists(path)


def test_a_real_child_that_inherited_its_value_gets_its_own_back(
    spawn: Spawn, tmp_path: Path
) -> None:
    parent, other = spawn(), spawn()
    before = value_of(parent.pid)
    path = str(tmp_path / ADJUSTMENTS)
    assert mine(path, [other.pid, parent.pid]) == 2
    assert value_of(parent.pid) != before
    parent.do("r, w = os.pipe(); k = os.fork(); k or time.sleep(60)")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    child = int(children[0])
    try:
        assert value_of(child) == value_of(parent.pid)
        released = release_mine(path, [other.pid, parent.pid, child])
        assert {pid for pid, *_ in released.restored} >= {parent.pid, child}
        assert value_of(child) == value_of(parent.pid) == before
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_kernel_s_refusal_is_told_with_its_reason(spawn: Spawn, tmp_path: Path) -> None:
    if may_lower():
        pytest.skip("everything may be lowered here")
    child = spawn()
    path = str(tmp_path / ADJUSTMENTS)
    value = value_of(child.pid)
    start = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    records.save(path, Record([Entry(child.pid, start, -500, (value,), 0, None)]))
    released = release_mine(path, [child.pid])
    assert released.refused == {child.pid: "permission denied"}
    # It can still be restored by somebody who may.
    assert [(e.pid, e.original) for e in records.load(path)] == [(child.pid, -500)]
