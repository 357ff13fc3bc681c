"""A host made of a report knows what the report holds, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oomrules.kills.facts import Facts
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.processes.recorded import Recorded
from oomrules.processes.values import GETTERS
from oomrules.processes.values import LIMIT as LIMIT_OF_MEMORY
from oomrules.ranking.ranker import Ranker
from oomrules.report import hosts
from oomrules.report.model import (
    DIFFERS,
    HOST,
    LIMIT,
    Choice,
    Figures,
    Killed,
    Report,
    Row,
    Table,
    Total,
)

COLUMNS = ("pid", "uid", "tgid", "total_vm", "rss", "pgtables_bytes", "swapents", "oom_score_adj")


def row(pid: int, name: str = "x", rss: int = 100, **more: int) -> Row:
    values = {"pid": pid, "uid": 1000, "tgid": pid, "total_vm": 2 * rss, "rss": rss}
    values |= {"pgtables_bytes": 8192, "swapents": 5, "oom_score_adj": 0, **more}
    return Row(line=pid, values=values, name=name)


def report(*rows: Row, **more: Any) -> Report:
    killed = (Killed(line=99, pid=rows[0].pid, name=rows[0].name),) if rows else ()
    usual: dict[str, Any] = {
        "kind": HOST,
        "killed": killed,
        "table": Table(line=1, columns=(*COLUMNS, "name"), rows=rows),
        "figures": Figures(ram=1000, reserved=100, swap_total=400, swap_free=40),
    }
    return Report(source="log", first=1, last=100, **(usual | more))


def choice(least: int = 1000, most: int | None = 1000, page_size: int = 4096) -> Choice:
    return Choice(
        generation="",
        known="",
        page_size=page_size,
        page_known="",
        total=Total(least=least, most=most, known=""),
        result=DIFFERS,
        code="",
        why="",
    )


def value(snapshot: Recorded, pid: int, name: str) -> Any:
    return GETTERS[name](snapshot.by_pid[pid], snapshot)


def values(snapshot: Recorded, pid: int, *names: str) -> list[Any]:
    return [value(snapshot, pid, name) for name in names]


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_what_the_table_has_is_known_to_the_page(page_size: int) -> None:
    pages = row(7, "db", rss=300, pgtables_bytes=2 * page_size, swapents=11, oom_score_adj=-5)
    made = hosts.recorded(report(pages), choice(page_size=page_size))
    names = ("comm", "uid", "rss", "swap", "pgtables", "footprint", "oom_score_adj", "total_vm")
    assert values(made, 7, *names) == ["db", 1000, 300, 11, 2, 313, -5, 600]


def test_page_tables_of_old_kernels_are_counted_in_pages() -> None:
    old = Row(line=2, values={"pid": 7, "uid": 0, "rss": 9, "nr_ptes": 3, "nr_pmds": 2}, name="x")
    made = hosts.recorded(report(old), choice(page_size=16384))
    assert values(made, 7, "pgtables", "swap", "footprint") == [5, None, None]


def test_resident_memory_in_three_columns_is_their_sum() -> None:
    new = Row(line=2, values={"pid": 7, "rss_anon": 9, "rss_file": 3, "rss_shmem": 2}, name="x")
    assert values(hosts.recorded(report(new), choice()), 7, "rss", "anon", "shmem") == [14, 9, 2]


def test_on_a_host_without_swap_no_process_has_any() -> None:
    old = Row(line=2, values={"pid": 7, "rss": 9, "nr_ptes": 3}, name="x")
    made = hosts.recorded(report(old, figures=Figures(swap_total=0)), choice())
    assert values(made, 7, "swap", "footprint") == [0, 12]


@pytest.mark.parametrize(
    "name",
    [
        *("unit", "cgroup", "slice", "user.unit", "run_time", "cpu_time", "capabilities", "nice"),
        *("user", "euid", "gid", "ppid", "parent.comm", "parent.uid", "cmdline", "exe", "tty"),
        *("state", "session", "unit.memory", "unit.processes", "cgroup.memory_max"),
        *("container.id", "pod.uid", "host.memory", "host.available", "host.pressure"),
        *("unit.oom_policy", "session.active", "threads", "pid_depth", "locked"),
    ],
)
def test_what_a_report_does_not_hold_is_unknown(name: str) -> None:
    made = hosts.recorded(report(row(7), row(8)), choice())
    assert value(made, 7, name) is None


def test_roots_name_is_known_everywhere() -> None:
    assert value(hosts.recorded(report(row(7, uid=0)), choice()), 7, "user") == "root"


def test_nobody_is_left_out_for_what_a_report_cannot_tell() -> None:
    program = compiler.compile_texts([RuleText("rules", "score rss\n")])
    made = hosts.recorded(report(row(7), row(8, rss=200)), choice())
    assert Ranker(program, made.host).rank(made).pids == [8, 7]


@pytest.mark.parametrize("most", [1000, None, 2000])
def test_the_total_counts_for_every_process_if_it_is_one_number(most: int | None) -> None:
    made = hosts.recorded(report(row(7)), choice(1000, most))
    assert value(made, 7, "totalpages") == (1000 if most == 1000 else None)


def test_threads_of_one_process_count_once_by_its_first() -> None:
    rows = (row(12, "worker", tgid=10), row(10, "main", tgid=10), row(13, "worker", tgid=10))
    one = report(*rows)
    assert hosts.recorded(one, choice()).by_pid.keys() == {1, 10}
    assert hosts.recorded(one, choice()).by_pid[10].comm == "main"
    assert hosts.pids(one) == {12: 10, 10: 10, 13: 10}


def test_a_process_whose_first_thread_has_ended_is_known_by_its_own_pid() -> None:
    made = hosts.recorded(report(row(12, "worker", tgid=10)), choice())
    assert made.by_pid.keys() == {1, 10}


def test_sums_over_users_are_known_where_every_process_is_there() -> None:
    rows = (row(7, uid=5), row(8, uid=5, rss=200), row(9, uid=6))
    made = hosts.recorded(report(*rows), choice())
    assert values(made, 7, "user.footprint", "user.processes") == [314, 2]
    part = report(*rows, table=Table(line=1, columns=COLUMNS, rows=rows, complete=False))
    for other in (part, report(*rows, kind=LIMIT, group="/system.slice/x.service")):
        made = hosts.recorded(other, choice())
        assert values(made, 7, "user.footprint", "user.processes") == [None, None]


def test_roots_sum_lacks_the_init_process_and_so_is_unknown() -> None:
    assert value(hosts.recorded(report(row(7, uid=0)), choice()), 7, "user.footprint") is None


def test_the_victim_is_known_by_what_was_said_of_its_kill_if_its_row_is_cut_off() -> None:
    killed = Killed(
        line=9,
        pid=70,
        name="gone",
        uid=5,
        total_vm=800,
        anon_rss=80,
        file_rss=8,
        shmem_rss=4,
        page_tables=16,
        oom_score_adj=3,
    )
    made = hosts.recorded(report(row(7), killed=(killed,)), choice())
    names = ("comm", "uid", "total_vm", "rss", "swap", "pgtables", "oom_score_adj")
    assert values(made, 70, *names) == ["gone", 5, 200, 23, None, 4, 3]


# --- places --------------------------------------------------------------------------------

SERVICE = "/system.slice/web.service"
SESSION = "/user.slice/user-1000.slice/session-2.scope"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"


def test_the_victims_unit_is_known_and_its_limits_are_not() -> None:
    made = hosts.recorded(report(row(7), row(8), victim_group=SESSION), choice())
    assert values(made, 7, "unit", "slice") == ["session-2.scope", "user-1000.slice"]
    assert values(made, 7, "unit.memory_max", "unit.memory", "cgroup.memory") == [None] * 3
    assert value(made, 8, "unit") is None


@pytest.mark.parametrize("group", ["/", "/user.slice", MANAGER, "/lxc", "x", "/../x.service"])
def test_a_group_that_may_only_be_around_its_unit_tells_nothing(group: str) -> None:
    made = hosts.recorded(report(row(7), victim_group=group), choice())
    assert value(made, 7, "unit") is None


def test_each_process_of_a_service_at_its_limit_is_in_it() -> None:
    figures = Figures(limit=2048, usage=1024)
    at_limit = report(
        row(7), row(8), kind=LIMIT, group=SERVICE, victim_group=f"{SERVICE}/a", figures=figures
    )
    made = hosts.recorded(at_limit, choice())
    for pid in (7, 8):
        assert values(made, pid, "unit", "unit.memory_max") == ["web.service", 512]
        # Below the service it may be anywhere.
        assert values(made, pid, "cgroup", "container.id", "unit.processes") == [None] * 3


def test_each_process_of_a_container_at_its_limit_is_in_it() -> None:
    id_ = "0123456789abcdef" * 4
    group = f"/system.slice/docker-{id_}.scope"
    made = hosts.recorded(report(row(7), kind=LIMIT, group=group), choice())
    assert values(made, 7, "container.id", "container.runtime") == [id_, "docker"]


@pytest.mark.parametrize("group", ["/", "/user.slice", MANAGER, "/a.slice/a-b.slice"])
def test_a_slice_at_its_limit_tells_no_unit(group: str) -> None:
    made = hosts.recorded(report(row(7), row(8), kind=LIMIT, group=group), choice())
    assert value(made, 8, "unit") is None


# As v2 prints the usage of swap, and as v1 does.
V2, V1 = {"swap usage": 0}, {"memory+swap usage": 4}


@pytest.mark.parametrize(
    ("group", "printed", "unit"),
    [
        ("/foo", V2, ""),
        ("/user.slice/foo", V2, "user.slice"),
        (f"{MANAGER}/foo", V2, "user@1000.service"),
        ("/foo", V1, None),
        ("/foo", {}, None),
        ("/foo.slice", V2, None),
        ("/", V2, None),
    ],
)
def test_outside_every_unit_there_is_none_further_down_if_there_is_one_hierarchy(
    group: str, printed: dict[str, int], unit: str | None
) -> None:
    figures = Figures(limit=2048, usage=1024, printed=printed)
    at_limit = report(row(7), row(8), kind=LIMIT, group=group, figures=figures)
    made = hosts.recorded(at_limit, choice())
    assert [value(made, pid, "unit") for pid in (7, 8)] == [unit] * 2
    # Further down there may be a container.
    assert values(made, 7, "cgroup", "container.id") == [None] * 2


def test_where_units_begin_further_down_a_group_around_them_tells_none() -> None:
    figures = Figures(limit=2048, usage=1024, printed=V2)
    inside = facts({**KNOWN, "cgroup": None}, unit_root="/foo")
    for group, unit in (("/foo", None), ("/foo/x.service", "x.service"), ("/foo/x", "")):
        at_limit = report(row(7), kind=LIMIT, group=group, figures=figures)
        assert value(hosts.recorded(at_limit, choice(), inside), 7, "unit") == unit


# --- what else is known --------------------------------------------------------------------


def facts(*lines: dict[str, Any], **more: Any) -> Facts:
    usual: dict[str, Any] = {"read": 900.0, "at": 1000.0, "ticks": 100, "adjusted": False}
    return Facts(processes={line["pid"]: line for line in lines}, **(usual | more))


KNOWN = {
    "pid": 7,
    "uid": 1000,
    "comm": "x",
    "starttime": 50_000,
    "cgroup": SERVICE,
    "nice": 5,
    "utime": 150,
    "stime": 50,
    "capabilities": "0000000000000002",
    "oom_score_adj": -7,
}


def test_facts_of_the_same_process_are_added() -> None:
    made = hosts.made(report(row(7), row(8)), choice(), facts(KNOWN))
    names = ("unit", "nice", "run_time", "cpu_time", "capabilities", "oom_score_adj", "rss")
    assert values(made.snapshot, 7, *names) == ["web.service", 5, 500_000, 2000, 2, -7, 100]
    assert values(made.snapshot, 8, "unit", "nice", "oom_score_adj") == [None, None, 0]
    assert (made.joined, made.strange) == (1, 0)


@pytest.mark.parametrize("other", [{"uid": 5}, {"comm": "y"}, {"starttime": 100_200}])
def test_facts_of_another_process_with_that_pid_are_not_taken(other: dict[str, Any]) -> None:
    made = hosts.made(report(row(7), row(8)), choice(), facts(KNOWN | other))
    assert values(made.snapshot, 7, "unit", "nice", "oom_score_adj") == [None, None, 0]
    assert (made.joined, made.strange) == (0, 1)


@pytest.mark.parametrize(("time", "joined"), [("", 1), ("Nov 27 04:00", 1), ("400.5", 0)])
def test_a_process_that_began_after_the_report_is_another_one(time: str, joined: int) -> None:
    # As a snapshot or this host has it, which do not know when the report was.
    made = hosts.made(report(row(7), time=time), choice(), facts(KNOWN, at=None))
    assert made.joined == joined


def test_an_oom_score_adj_that_oomrules_may_have_written_is_unknown() -> None:
    made = hosts.recorded(report(row(7), row(8)), choice(), facts(KNOWN, adjusted=True))
    assert [value(made, pid, "oom_score_adj") for pid in (7, 8)] == [-7, None]


@pytest.mark.parametrize(
    ("value", "own"),
    [
        # It is told.
        (-900, -900),
        (-1000, 5),
        # Nobody has it from oomrules.
        (200, 200),
        # Children inherit what oomrules wrote, or lower themselves down to it.
        (-800, None),
        (-5, None),
    ],
)
def test_a_value_that_oomrules_did_not_write_is_a_process_s_own(
    value: int, own: int | None
) -> None:
    known = facts(adjusted=True, written=frozenset({-1000, -800, 30}), originals={9: 5, 10: -900})
    pid = {-1000: 9, -900: 10}.get(value, 8)
    made = hosts.recorded(report(row(pid, oom_score_adj=value)), choice(), known)
    assert hosts_value(made, pid) == own


def hosts_value(snapshot: Recorded, pid: int) -> Any:
    return value(snapshot, pid, "oom_score_adj")


def test_facts_from_elsewhere_than_the_group_at_its_limit_tell_no_place() -> None:
    at_limit = report(row(7), kind=LIMIT, group="/a.slice")
    for group, unit in ((SERVICE, None), ("/a.slice/b.service", "b.service")):
        made = hosts.recorded(at_limit, choice(), facts(KNOWN | {"cgroup": group}))
        assert values(made, 7, "unit", "nice") == [unit, 5]


# --- what is assumed -----------------------------------------------------------------------


def test_what_is_assumed_is_counted_by_attribute() -> None:
    rows = (row(7, "db", uid=5), row(8, uid=0), row(9))
    made = hosts.made(report(*rows), choice(), facts(KNOWN | {"pid": 9}), assume=True)
    names = ("unit", "run_time", "nice", "euid", "exe", "user")
    assert values(made.snapshot, 7, *names) == [*("db.service", 1000_000, 0, 5, "/usr/bin/db", "5")]
    assert value(made.snapshot, 8, "capabilities") & 1
    assert values(made.snapshot, 9, "unit", "nice", "capabilities") == ["web.service", 5, 2]
    assert {name: made.assumed[name] for name in ("unit", "nice", "exe")} == {
        "unit": 2,
        "nice": 2,
        "exe": 3,
    }
    # The table tells these.
    assert not made.assumed.keys() & {"rss", "uid", "comm", "oom_score_adj", "swap"}


def test_a_process_is_assumed_to_be_no_further_down_than_the_group_at_its_limit() -> None:
    figures = Figures(ram=1000, reserved=100, swap_total=0, limit=2048)
    at_limit = report(row(7), row(8), kind=LIMIT, group=SERVICE, figures=figures)
    made = hosts.made(at_limit, choice(), assume=True)
    assert values(made.snapshot, 7, "cgroup", LIMIT_OF_MEMORY) == [SERVICE, 2048 * 1024]
    assert made.assumed["cgroup"] == 2
    told = hosts.recorded(at_limit, choice())
    assert values(told, 7, "cgroup", LIMIT_OF_MEMORY) == [None, None]


def test_without_being_asked_nothing_is_assumed() -> None:
    assert hosts.made(report(row(7)), choice()).assumed == {}


@pytest.mark.parametrize("assume", [False, True])
@pytest.mark.parametrize("kind", [HOST, LIMIT])
def test_the_lines_are_read_back_to_the_same(tmp_path: Path, assume: bool, kind: str) -> None:
    one = report(
        *(row(7, "a\\xffb"), row(8, uid=0)),
        kind=kind,
        group=SERVICE,
        victim_group=SESSION if kind == HOST else SERVICE,
    )
    made = hosts.made(one, choice(), facts(KNOWN), assume=assume)
    path = tmp_path / "s.jsonl"
    path.write_text(made.text)
    again = recorded.load(str(path))
    assert again.host == made.snapshot.host
    assert again.by_pid.keys() == made.snapshot.by_pid.keys()
    for pid in again.by_pid:
        for name, get in GETTERS.items():
            before = get(made.snapshot.by_pid[pid], made.snapshot)
            assert get(again.by_pid[pid], again) == before, name


def test_a_snapshot_serves_as_facts() -> None:
    host = {"kind": "host", "schema": recorded.SCHEMA, "page_size": 4096, "clock_ticks": 100}
    host |= {"uptime": 1.0, "mem_total": 1 << 30, "users": {"1000": "kim"}}
    scope = {"kind": "scope", "cgroup": SERVICE, "memory_max": 1 << 20}
    lines = [host, scope, {"kind": "process", **KNOWN, "rss": 1, "exe": "/bin/x"}]
    snapshot = recorded.parse(map(json.dumps, lines), "s")
    made = hosts.recorded(report(row(7), row(8)), choice(), hosts.facts_of(snapshot, "s"))
    names = ("unit", "nice", "exe", "user", "unit.memory_max", "rss")
    assert values(made, 7, *names) == ["web.service", 5, "/bin/x", "kim", 256, 100]


def test_a_report_without_a_table_has_its_victim_and_no_more() -> None:
    bare = Report(source="log", first=1, last=2, killed=(Killed(line=1, pid=7, name="x"),))
    made = hosts.made(bare, choice())
    assert made.snapshot.by_pid.keys() == {7}
    assert "the report has no table of processes" in made.snapshot.notes
