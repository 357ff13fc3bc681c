"""Logs with several reports, with parts of one, and with something else."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.report.lines import lines
from oomrules.report.model import LIMIT, SYSRQ, Report
from oomrules.report.others import CUT, FILTERED, NO_TABLE, SPLICED, WHOLE, shape
from oomrules.report.reading import Reading
from tests.report.made import KERNELS, Task, killed, report
from tests.report.oom_reports import NUMBERS, text
from tests.report.oom_reports import report as published
from tests.report.test_forms import bare, read

TASKS = (
    Task(1, b"systemd", uid=0, adj=-1000),
    Task(300, b"postgres"),
    Task(301, b"java", rss=9999),
)
VICTIM = TASKS[2]


def stamped(messages: Sequence[bytes], start: float = 100.0, host: bytes = b"") -> list[bytes]:
    """Return messages as a log has them, a millisecond after one another."""
    before = b"May  9 14:52:38 %s kernel: " % host if host else b""
    return [
        before + b"[%12.6f] %s" % (start + place / 1000, message)
        for place, message in enumerate(messages)
    ]


def log(*parts: Sequence[bytes]) -> bytes:
    return b"\n".join(line for part in parts for line in part) + b"\n"


def victims(found: Sequence[Report]) -> list[list[int]]:
    return [[each.pid for each in one.killed] for one in found]


def test_reports_of_one_log_are_numbered() -> None:
    parts = [stamped(report("5.4", TASKS, VICTIM), start) for start in (10.0, 20.0, 9000.0)]
    found = read(log(*parts))
    assert [one.number for one in found] == [1, 2, 3]
    assert [one.time for one in found] == ["10.000000", "20.000000", "9000.000000"]
    assert [one.first for one in found] == [1, 1 + len(parts[0]), 1 + 2 * len(parts[0])]
    assert all(one.table and one.table.complete for one in found)


def test_published_reports_in_one_log_are_the_same() -> None:
    some = NUMBERS[20:44]
    found = read(b"\n".join(text(number) for number in some))
    assert [bare(one) for one in found] == [bare(published(number)) for number in some]


def test_reports_of_two_hosts_in_one_log_are_read_side_by_side() -> None:
    one = stamped(report("5.4", TASKS, VICTIM), host=b"db-1")
    other = stamped(report("3.10", TASKS[:2], TASKS[1]), host=b"web-1")
    mixed = [line for pair in zip(one, other, strict=False) for line in pair]
    found = read(log(mixed, one[len(other) :], other[len(one) :]))
    assert sorted(victims(found)) == [[300], [301]]
    assert all(one.table and one.table.complete for one in found)


@pytest.mark.parametrize("kernel", KERNELS)
def test_lines_about_kills_alone_are_reports_without_a_table(kernel: str) -> None:
    lines_of = [*killed(kernel, TASKS[1]), *killed(kernel, TASKS[2])]
    found = read(log(stamped(lines_of)))
    assert victims(found) == [[300], [301]]
    assert [shape(one) for one in found] == [FILTERED, FILTERED]


def test_a_report_without_a_table_is_told_from_one_that_was_filtered() -> None:
    (found,) = read(log(stamped(report("5.4", TASKS, VICTIM, table=False))))
    assert found.table is None
    assert shape(found) == NO_TABLE
    assert found.figures.ram == 1048576


def test_a_group_that_is_killed_as_a_whole_is_one_report() -> None:
    messages = [
        *report("5.4", TASKS, VICTIM, limit=b"/job", group=b"/job/a"),
        b"Tasks in /job/a are going to be killed due to memory.oom.group set",
        # The kernel says it again of the first one.
        *(killed("5.4", task, limit=b"/job", group=b"/job/a")[1] for task in TASKS[:0:-1]),
    ]
    (found,) = read(log(stamped(messages)))
    assert [(each.pid, each.by) for each in found.killed] == [(301, ""), (300, "oom.group")]
    assert (found.kind, found.group, found.victim_group) == (LIMIT, "/job", "/job/a")


def test_a_kill_asked_for_with_a_key_is_no_shortage() -> None:
    messages = [b"sysrq: Manual OOM execution", *report("6.8", TASKS, VICTIM)]
    messages[1] = messages[1].replace(b"order=0", b"order=-1")
    (found,) = read(log(stamped(messages)))
    assert found.kind == SYSRQ


def test_what_the_module_says_belongs_to_the_report_behind_it() -> None:
    messages = [
        b"oom: process 301 (java) goes first, number 1 of 9 listed",
        *report("5.4", TASKS, VICTIM),
        *report("5.4", TASKS, TASKS[1]),
    ]
    first, second = read(log(stamped(messages)))
    assert (first.listed, second.listed) == (301, None)


def test_what_it_says_at_a_limit_may_come_at_any_place_of_the_report() -> None:
    before, after = report("5.4", TASKS, TASKS[1]), report("5.4", TASKS, VICTIM)
    said = (
        b"oom: process %d (java) goes first, number 1 of 9 listed, at the limit of a control group"
    )
    for place in range(len(after) + 1):
        messages = [*before, *after[:place], said % VICTIM.pid, *after[place:], *before]
        first, second, third = read(log(stamped(messages)))
        assert (first.listed, second.listed, third.listed) == (None, VICTIM.pid, None)
    # If the next report has begun, it is of none.
    for place in range(1, len(before) + 1):
        messages = [*after, *before[:place], said % VICTIM.pid, *before[place:], *after]
        assert [found.listed for found in read(log(stamped(messages)))] == [None] * 3


def test_a_process_that_was_asked_and_then_killed_is_one_report() -> None:
    signal = killed("5.4", VICTIM)[1]
    messages = [signal.replace(b"Killed", b"Terminated"), signal]
    (found,) = read(log(stamped(messages)))
    assert [(each.pid, each.polite, each.by) for each in found.killed] == [
        (301, True, "module"),
        (301, False, ""),
    ]


def test_the_child_that_was_sacrificed_is_told_from_the_process_that_was_chosen() -> None:
    messages = report("3.10", TASKS, VICTIM)
    messages[-1] = messages[-1].replace(b"301 (java)", b"4711 (child)")
    (found,) = read(log(stamped(messages)))
    (victim,) = found.killed
    assert (victim.pid, victim.name, victim.chosen, victim.score) == (4711, "child", 301, 812)
    assert found.table and found.table.complete


def test_other_dumps_of_memory_are_no_reports() -> None:
    dump = [
        b"php: page allocation failure: order:4, mode:0x40d0",
        *report("3.10", (), VICTIM)[4:11],
    ]
    assert read(log(stamped(dump))) == []
    (found,) = read(log(stamped(dump), stamped(killed("3.10", VICTIM), 900.0)))
    assert found.figures.ram is None


def test_a_boot_ends_a_report_and_names_the_kernel_of_the_next() -> None:
    messages = report("5.4", TASKS, VICTIM)
    boot = [b"Linux version 6.12.5-arch1-1 (a@b) (gcc) #1 SMP", *killed("6.8", TASKS[1])]
    first, second = read(log(stamped(messages), stamped(boot, 0.0)))
    assert (first.kernel, second.kernel) == ("5.4-made", "6.12.5-arch1-1")
    assert victims([first, second]) == [[301], [300]]


def test_rows_of_two_reports_are_told() -> None:
    many = [Task(100 + each, b"worker") for each in range(40)]
    messages = report("5.4", many, many[7])
    # The log lost what was between the middle of the first and that of the second.
    spliced = [*stamped(messages)[:40], *stamped(messages, 130.0)[25:]]
    (found,) = read(log(spliced))
    assert shape(found) == SPLICED
    assert found.table and not found.table.complete


@pytest.mark.parametrize("number", [15, 16])
def test_tables_that_were_cut_by_hand_are_told(number: int) -> None:
    assert shape(published(number)) == CUT


def test_the_published_report_that_is_two_is_told() -> None:
    assert shape(published(46)) == SPLICED


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KERNELS), st.data())
def test_a_table_that_ends_with_the_log_is_not_complete(kernel: str, data: st.DataObject) -> None:
    messages = stamped(report(kernel, TASKS, VICTIM))
    header = next(place for place, each in enumerate(messages) if b"tgid" in each)
    end = data.draw(st.integers(header + 2, header + 1 + len(TASKS)))
    (found,) = read(log(messages[:end]))
    assert found.table and not found.table.complete
    assert shape(found) == CUT
    assert found.killed == ()


@pytest.mark.parametrize("kernel", KERNELS)
def test_columns_are_told_by_the_rows_where_the_header_is_missing(kernel: str) -> None:
    tasks = [Task(place, b"x%d" % place, rss=300 * place) for place in range(1, 40)]
    tasks.append(Task(99, b"531", adj=-1000, rss=9999))
    messages = report(kernel, tasks, tasks[-1])
    header = next(place for place, each in enumerate(messages) if b"tgid" in each)
    (found,) = read(log(stamped(messages[:header] + messages[header + 1 :])))
    (whole,) = read(log(stamped(messages)))
    assert found.table and whole.table
    assert found.table.columns == whole.table.columns
    assert [row.values for row in found.table.rows] == [row.values for row in whole.table.rows]
    assert not found.table.complete
    assert found.table.line == 0


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "systemd-oomd",
            b"May  9 14:52:38 h systemd-oomd[512]: Killed /user.slice/a.scope due to memory "
            b"pressure for /user.slice being 81.02% > 50.00% for > 20s with reclaim activity",
        ),
        (
            "earlyoom",
            b'May  9 14:52:38 h earlyoom[512]: sending SIGTERM to process 712 uid 1000 "chrome": '
            b"badness 1023, VmRSS 612 MiB",
        ),
        ("earlyoom", b"mem avail:   321 of 15925 MiB ( 2.02%), swap free:    0 of    0 MiB"),
        ("nohang", b"May  9 14:52:38 h nohang[9]: Memory status that requires corrective actions:"),
        (
            "Talos",
            b"user: warning: [2026-01-12T20:27:31.913975631Z]: [talos] Sending SIGKILL to cgroup "
            b'{"controller": "runtime.OOMController", "cgroup": "/sys/fs/cgroup/kubepods/x"}',
        ),
        ("lmkd", b"05-09 14:52:38.123   412   412 I lowmemorykiller: Kill 'com.a' (9712), uid 1"),
        (
            "systemd",
            b"May  9 14:52:38 h systemd[1]: a.service: A process of this unit has been killed by "
            b"the OOM killer.",
        ),
    ],
)
def test_logs_of_others_are_named(code: str, line: bytes) -> None:
    reading = Reading(lines(io.BytesIO(b"May  9 14:52:37 h app[1]: hello\n" + line + b"\n")))
    assert list(reading) == []
    assert reading.others.found == {code: 2}


def test_what_programs_write_is_no_report() -> None:
    messages = report("5.4", TASKS, VICTIM)
    assert read(log([b"May  9 14:52:38 h app[7]: " + each for each in messages])) == []


def test_the_whole_of_a_published_report_is_whole() -> None:
    assert shape(published(2)) == WHOLE


SIZES = b"total-vm:400kB, anon-rss:300kB, file-rss:4kB"


@pytest.mark.parametrize(
    ("line", "name", "uid", "anon"),
    [
        (b"Killed process 7 (x)", "x", None, None),
        (b"Out of Memory: Killed process 7 (mysql).", "mysql", None, None),
        (b"Killed process 7 (x) vsz:400kB, anon-rss:300kB, file-rss:4kB", "x", None, 300),
        (b"Killed process 7, UID 48, (x) " + SIZES, "x", 48, 300),
        (b"Killed process 7 (x), UID 48, " + SIZES + b", shmem-rss:0kB", "x", 48, 300),
        (b"Killed process 7 (a) b) " + SIZES, "a) b", None, 300),
        (b"Out of memory: Killed process 7 (x) " + SIZES + b", shmem-rss:0k", "x", None, 300),
        (
            b"Out of memory: Killed process 7 (x) total-vm:400kB, anon-rss:300kB, ...",
            "x",
            None,
            300,
        ),
    ],
)
def test_every_wording_of_a_kill_is_read(
    line: bytes, name: str, uid: int | None, anon: int | None
) -> None:
    (found,) = read(b"[    1.000000] " + line + b"\n")
    (victim,) = found.killed
    assert (victim.pid, victim.name, victim.uid, victim.anon_rss) == (7, name, uid, anon)


@pytest.mark.parametrize(
    ("line", "order", "adj", "nodes"),
    [
        (b"gfp_mask=0x201da, order=0, oom_adj=0", 0, None, ""),
        (b"gfp_mask=0xd0, order=0, oom_adj=0, oom_score_adj=-17", 0, -17, ""),
        (b"gfp_mask=0x24200ca(GFP_X), nodemask=0-1,3, order=2, oom_score_adj=0", 2, 0, "0-1,3"),
        (b"gfp_mask=0x24200ca(GFP_X|__Y), nodemask=(null),  order=1, oom_score_adj=7", 1, 7, ""),
        (b"gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0", -1, 0, ""),
    ],
)
def test_every_wording_of_the_begin_is_read(
    line: bytes, order: int, adj: int | None, nodes: str
) -> None:
    (found,) = read(b"[    1.000000] tmux: server invoked oom-killer: " + line + b"\n")
    assert (found.invoker, found.order) == ("tmux: server", order)
    assert (found.invoker_adj, found.nodes) == (adj, nodes)


def test_of_kills_that_follow_each_is_a_report() -> None:
    """The kernel says no more than that, once there were ten reports in five seconds."""
    chosen = b"Out of memory: Kill process 9 (firefox) score 71 or sacrifice child"
    messages = [
        *report("3.10", TASKS, VICTIM),
        *(chosen, b"Killed process 31 (Web Content) " + SIZES),
        *(chosen, b"Killed process 32 (Web Content) " + SIZES),
    ]
    found = read(log(stamped(messages)))
    assert victims(found) == [[301], [31], [32]]
    assert [one.killed[0].chosen for one in found] == [301, 9, 9]
    assert [one.table is None for one in found] == [False, True, True]


def test_a_report_in_a_patch_in_a_mail_is_read() -> None:
    text = b"""\
> +[  143.591934] Task in /1/a killed as a result of limit of /1
> +[  143.591940] memory: usage 1048576kB, limit 1048576kB, failcnt 24350
> +[  143.592007] [ pid ]   uid  tgid total_vm      rss nr_ptes swapents
> oom_score_adj name
> +[  143.592155] [ 2903]     0  2903     1618      436       9        0
>             0 oom03
> +[  143.592162] Memory cgroup out of memory: Kill process 2903 (oom03)
> score 921 or sacrifice child
> +[  143.592167] Killed process 2903 (oom03) total-vm:3152200kB,
> anon-rss:979724kB, file-rss:1028kB
"""
    (found,) = read(text)
    assert (found.group, found.victim_group) == ("/1", "/1/a")
    assert found.figures.limit == 1048576
    assert found.table and [row.name for row in found.table.rows] == ["oom03"]
    assert (found.killed[0].score, found.killed[0].file_rss) == (921, 1028)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            b"Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled",
            "panic_on_oom",
        ),
        (b"Out of memory and no killable processes...", "no process"),
        (b"Kernel panic - not syncing: Out of memory and no killable processes...", "no process"),
        (b"Kernel panic - not syncing: System is deadlocked on memory", "no process"),
        (
            b"Out of memory: OOM victim 301 (java) is already exiting. Skip killing the task",
            "exiting",
        ),
    ],
)
def test_a_report_without_a_kill_says_why(line: bytes, said: str) -> None:
    messages = [*report("6.8", TASKS, VICTIM)[:-2], line]
    (found,) = read(log(stamped(messages)))
    assert found.killed == ()
    assert said in " ".join(found.notes)
    assert found.table and found.table.complete


@pytest.mark.parametrize("kernel", ["5.4", "6.8"])
def test_the_summary_says_whom_where_the_line_behind_it_is_missing(kernel: str) -> None:
    (found,) = read(log(stamped(report(kernel, TASKS, VICTIM)[:-1])))
    assert [(each.pid, each.name, each.uid) for each in found.killed] == [(301, "java", 1000)]
    assert "missing" in found.notes[0]


def test_the_announcement_says_whom_where_the_line_behind_it_is_missing() -> None:
    (found,) = read(log(stamped(report("3.10", TASKS, VICTIM)[:-1])))
    assert [(each.pid, each.chosen, each.score) for each in found.killed] == [(301, 301, 812)]
    assert "child" in found.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        b"** 17 printk messages dropped **",
        b"[  100.020000] ** 17 printk messages dropped **",
        b"May  9 14:52:38 db-1 systemd-journald[412]: Missed 42 kernel messages",
    ],
)
def test_a_table_in_which_messages_were_lost_is_not_complete(line: bytes) -> None:
    messages = stamped(report("5.4", TASKS, VICTIM), host=b"db-1")
    header = next(place for place, each in enumerate(messages) if b"tgid" in each)
    (found,) = read(log(messages[: header + 2], [line], messages[header + 2 :]))
    assert shape(found) == CUT
    assert victims([found]) == [[301]]


def test_records_that_were_overwritten_are_missed() -> None:
    messages = report("5.4", TASKS, VICTIM)
    records = [b"6,%d,%d,-;%s" % (at, at, each) for at, each in enumerate(messages)]
    header = next(place for place, each in enumerate(messages) if b"tgid" in each)
    (whole,) = read(log(records))
    (found,) = read(log(records[: header + 1], records[header + 2 :]))
    assert (shape(whole), shape(found)) == (WHOLE, CUT)


def test_a_kill_by_a_program_in_bpf_is_one_where_the_summary_names_the_process() -> None:
    messages = report("6.8", TASKS, VICTIM, limit=b"/a", group=b"/a/b")
    messages[0] += b"\n                oom_policy=my_policy"
    messages[-1] = messages[-1].replace(b"Memory cgroup out of memory", b"bpf oom test")
    (found,) = read(b"\n".join(b"[    1.000000] " + each for each in messages))
    assert [(each.pid, each.by) for each in found.killed] == [(301, "bpf: my_policy")]
    (found,) = read(b"\n".join(b"[    1.000000] " + each for each in messages[1:]))
    assert [(each.pid, each.by) for each in found.killed] == [(301, "bpf: bpf oom test")]
    assert read(b"[    1.000000] " + messages[-1]) == []


def test_old_kernels_tell_the_ram_in_words_of_their_architecture() -> None:
    # arch/arm/mm/init.c, show_mem(), before 3.10.
    figures = {
        b"1048576 pages RAM": b"1048576 pages of RAM",
        b"1024 pages reserved": b"1024 reserved pages",
    }
    messages = report("2.6.36", TASKS, VICTIM)
    (expected,) = read(log(stamped(messages)))
    (found,) = read(log(stamped([figures.get(each, each) for each in messages])))
    assert bare(found) == bare(expected)


def test_a_report_that_was_cut_before_the_figures_of_its_group_has_them() -> None:
    messages = report("3.10", TASKS, VICTIM, limit=b"/a", group=b"/a/b")
    start = next(
        at for at, each in enumerate(messages) if each.startswith(b"Memory cgroup stats for")
    )
    (found,) = read(log(stamped(messages[start:])))
    assert (found.kind, found.group, found.first) == (LIMIT, "/a", 1)
    assert victims([found]) == [[301]]
