"""A host is ranked alike from its control groups and from a recording of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.commands import snapshot
from oomrules.commands.parts import selection
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Snapshot
from oomrules.processes.values import GETTERS, LIMIT
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.ranking.verdict import Why
from oomrules.sinks.oom_score_adj import survey
from tests.fake_proc import FakeProc

RULES = """
score rss
never kill anything when rss < 0.1%
prefer anything when unit.memory_max < 1GiB by 3
prefer unit "b.service" by 5
in a.slice: prefer anything by 7
"""
RAM = 8 << 30
BOX = "/outer.slice/box.service"


class Layout(NamedTuple):
    """How a host shows its control groups.

    Attributes:
        mounts: lines of mountinfo; ``CG`` is the directory that stands for /sys/fs/cgroup.
        memory: where the groups of memory are, below that.
        limit: the file with a limit, and what it says where there is none.
        root: what comes before each path in ``/proc/PID/cgroup``.
        shown: the part of that which the mount leaves out.
        systemd: whether the host's own systemd begins there.
    """

    mounts: str
    memory: str = ""
    limit: tuple[str, str] = ("memory.max", "max")
    root: str = ""
    shown: str = ""
    systemd: bool = False


_V1 = ("memory.limit_in_bytes", "9223372036854771712")
_LEGACY = (
    "31 1 0:31 / CG/memory rw - cgroup x rw,memory\n"
    "32 1 0:32 / CG/systemd rw - cgroup x rw,name=systemd\n"
)
LAYOUTS = {
    "a host, or a namespace": Layout("30 1 0:30 / CG rw - cgroup2 x rw\n"),
    "a part of the tree": Layout(
        f"30 1 0:30 {BOX} CG rw - cgroup2 x rw\n", "", root=BOX, shown=BOX
    ),
    "systemd below the root": Layout("30 1 0:30 / CG rw - cgroup2 x rw\n", root=BOX, systemd=True),
    "v1": Layout(_LEGACY, "/memory", _V1),
    "hybrid": Layout(
        _LEGACY + "33 1 0:33 / CG/unified rw - cgroup2 x rw\n", "/memory", _V1, systemd=True
    ),
    "a part of the tree of v1": Layout(
        _LEGACY.replace(" / ", f" {BOX} "), "/memory", _V1, root=BOX, shown=BOX
    ),
}
GROUPS = ("/", "/a.slice", "/a.slice/b.service", "/a.slice/b.service/x", "/b.service", "/jobs/1")
_LIMITS = (None, 1 << 20, 3 << 20, 1 << 30, RAM + 4096)


class Drawn(NamedTuple):
    """The limits of groups, and of each process the unit's group and the memory's."""

    limits: dict[str, int | None]
    places: list[tuple[str, str]]


drawn = st.builds(
    Drawn,
    st.fixed_dictionaries({group: st.sampled_from(_LIMITS) for group in GROUPS}),
    st.lists(st.tuples(st.sampled_from(GROUPS), st.sampled_from(GROUPS)), min_size=1, max_size=5),
)


def build(directory: Path, layout: Layout, host: Drawn) -> ProcSource:
    """Make the files of a host."""
    tree, proc = directory / "cg", FakeProc(directory / "proc")
    (directory / "mountinfo").write_text(layout.mounts.replace("CG", str(tree)))
    name, none = layout.limit
    above = layout.root.removeprefix(layout.shown)
    for group, limit in host.limits.items():
        where = Path(f"{tree}{layout.memory}{above}{group}")
        where.mkdir(parents=True, exist_ok=True)
        # The root of the whole tree has no such file in v2.
        if above or layout.shown or layout.memory or group != "/" or limit is not None:
            (where / name).write_text(none if limit is None else str(limit))
    for pid, places in enumerate(host.places, 10):
        unit, memory = (f"{layout.root}{place}".rstrip("/") or "/" for place in places)
        lines = f"0::{unit}\n"
        if layout.memory:
            lines = f"3:cpu,memory:{memory}\n1:name=systemd:{unit}\n"
        proc.add(pid, start=pid, cgroup=lines.encode(), total_vm=10000)
    proc.add(1, cgroup=f"0::{layout.root if layout.systemd else ''}/init.scope\n".encode())
    source = ProcSource(PROGRAM, root=str(proc.root))
    source.hierarchy = Hierarchy(str(directory / "mountinfo"))
    return source


PROGRAM = compiler.compile_texts([RuleText("r.oom", RULES)])


def nearest(host: Drawn, group: str) -> int:
    """The innermost limit around a group, by what was drawn."""
    parts = [part for part in group.split("/") if part]
    for length in range(len(parts), -1, -1):
        limit = host.limits.get("/" + "/".join(parts[:length]))
        if limit is not None:
            return limit
    return RAM


def ranked(world: Snapshot) -> Ranking:
    return Ranker(PROGRAM, world.host).rank(world)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("groups") / "host"


@pytest.mark.parametrize("kind", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(host=drawn)
def test_limits_are_the_nearest_and_a_recording_ranks_alike(
    place: Path, kind: str, host: Drawn
) -> None:
    layout = LAYOUTS[kind]
    shutil.rmtree(place, ignore_errors=True)
    source = build(place, layout, host)
    try:
        source.refresh()
        live = ranked(source)
        lines = [json.dumps(line) for line in snapshot._lines(source)]
        world = recorded.parse(lines, "a host")
        for number, (unit, memory) in enumerate(host.places, 10):
            expected = nearest(host, memory if layout.memory else unit)
            for one in (source, world):
                assert GETTERS[LIMIT](one.by_pid[number], one) == expected
        again = ranked(world)
        assert live.pids == again.pids
        for pid in live.pids:
            before, after = (
                one.verdict(one.snapshot.by_pid[pid])._replace(held=()) for one in (live, again)
            )
            assert before == after
        domains = [survey.survey_recorded(one).domains for one in (live, again)]
        assert domains[0] == domains[1]
    finally:
        source.close()


def test_units_of_an_inner_systemd_are_counted_from_where_it_begins(tmp_path: Path) -> None:
    host = Drawn(dict.fromkeys(GROUPS), [("/a.slice/b.service/x", "/"), ("/", "/")])
    source = build(tmp_path, LAYOUTS["systemd below the root"], host)
    source.refresh()
    units = [GETTERS["unit"](source.by_pid[pid], source) for pid in (10, 11)]
    assert [str(unit) for unit in units] == ["b.service", ""]
    # Without it they are the outer one's.
    (tmp_path / "proc/1/cgroup").write_text("0::/\n")
    other = ProcSource(PROGRAM, root=str(tmp_path / "proc"))
    other.refresh()
    assert str(GETTERS["unit"](other.by_pid[10], other)) == "box.service"


def test_who_is_outside_of_our_namespace_is_in_doubt(tmp_path: Path) -> None:
    host = Drawn(dict.fromkeys(GROUPS), [("/a.slice", "/"), ("/", "/")])
    source = build(tmp_path, LAYOUTS["a host, or a namespace"], host)
    (tmp_path / "proc/10/cgroup").write_text("0::/../system.slice/sshd.service\n")
    source.refresh()
    process = source.by_pid[10]
    assert [GETTERS[name](process, source) for name in ("cgroup", "unit", LIMIT)] == [None] * 3
    assert ranked(source).verdict(process).why is Why.NEVER_IN_DOUBT
    (note,) = (note for note in selection.notes(source) if "namespace" in note)
    assert "of 1 process lies outside" in note
    shutil.rmtree(tmp_path / "proc/10")
    source.refresh()
    assert not source.out_of_sight


def test_a_process_whose_memory_moves_is_noticed(tmp_path: Path) -> None:
    host = Drawn(dict.fromkeys(GROUPS) | {"/jobs/1": 1 << 20}, [("/b.service", "/b.service")])
    source = build(tmp_path, LAYOUTS["v1"], host)
    source.refresh()
    process = source.by_pid[10]
    assert GETTERS[LIMIT](process, source) == RAM
    for memory, limit in (("/jobs/1", 1 << 20), ("/b.service", RAM)):
        lines = f"3:memory:{memory}\n1:name=systemd:/b.service\n"
        (tmp_path / "proc/10/cgroup").write_text(lines)
        assert not source.verify([process])
        source.refresh()
        assert GETTERS[LIMIT](source.by_pid[10], source) == limit
        assert GETTERS["cgroup"](source.by_pid[10], source) == "/b.service"
