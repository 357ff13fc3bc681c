"""Whom the kernel had to take: by the published reports, and against the C of each generation."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.report.choice import GENERATIONS, choose, points
from oomrules.report.lines import lines
from oomrules.report.model import (
    DIFFERS,
    HOST,
    LIMIT,
    NODES,
    NOT_RANKED,
    REPRODUCED,
    SYSRQ,
    TIE,
    Figures,
    Killed,
    Report,
    Row,
    Table,
    Total,
)
from oomrules.report.reading import reports
from oomrules.report.reasons import REASONS
from tests.oracle.kernels import BADNESS, RELEASE, SELECT, Task
from tests.report.oom_reports import NUMBERS, report, text

COLUMNS = tuple("pid uid tgid total_vm rss nr_ptes swapents oom_score_adj name".split())
OLD_COLUMNS = tuple("pid uid tgid total_vm rss cpu oom_adj oom_score_adj name".split())

# The twelve whose text does not let anybody compute the choice, and what it shows instead.
OTHERS = {
    11: (TIE, "RPL201"),
    12: (DIFFERS, "RPL302"),
    13: (NOT_RANKED, "RPL407"),
    15: (NOT_RANKED, "RPL405"),
    16: (NOT_RANKED, "RPL404"),
    17: (DIFFERS, "RPL301"),
    18: (NOT_RANKED, "RPL402"),
    19: (NOT_RANKED, "RPL402"),
    20: (NOT_RANKED, "RPL402"),
    45: (DIFFERS, "RPL301"),
    46: (NOT_RANKED, "RPL406"),
    51: (DIFFERS, "RPL301"),
}


def made(
    tasks: Sequence[Task],
    victim: int,
    *,
    kernel: str = "6.1.0",
    total: int | None = None,
    kind: str = HOST,
    score: int | None = None,
    columns: tuple[str, ...] = COLUMNS,
    **more: Any,
) -> Report:
    """Make a report of a host that has ``total`` pages."""
    rows = tuple(
        Row(
            line=10 + place,
            name=f"p{task.pid}",
            values={
                "pid": task.pid,
                "uid": 0 if task.admin else 1000,
                "tgid": task.pid,
                "total_vm": task.rss + 20_000 + task.pid,
                "rss": task.rss,
                "nr_ptes": task.ptes,
                "swapents": task.swapents,
                "oom_score_adj": task.adj,
            },
        )
        for place, task in enumerate(tasks)
    )
    killed = Killed(line=90, pid=victim, name=f"p{victim}", score=score)
    figures = Figures(ram=total, reserved=0, swap_total=0, swap_free=0) if total else Figures()
    values: dict[str, Any] = {
        "source": "made",
        "first": 1,
        "last": 99,
        "kernel": f"{kernel}-amd64",
        "kind": kind,
        "figures": figures,
        "table": Table(line=9, columns=columns, rows=rows),
        "killed": (killed,),
    }
    return Report(**{**values, **more})


def task(pid: int, pages: int, adj: int = 0, *, admin: bool = False) -> Task:
    return Task(pid=pid, rss=pages, swapents=0, ptes=0, adj=adj, admin=admin)


# The published reports.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_kernels_choice_in_a_published_report_is_computed_again(number: int) -> None:
    choice = choose(report(number))
    result, code = OTHERS.get(number, (REPRODUCED, choice.code))
    assert (choice.result, choice.code) == (result, code)
    if result == REPRODUCED:
        first = report(number).killed[0]
        assert choice.place == 1
        assert choice.first[0].row.pid == first.pid


@pytest.mark.parametrize("number", [each for each in NUMBERS if each not in OTHERS])
def test_a_printed_score_is_computed_to_the_digit(number: int) -> None:
    read = report(number)
    choice, killed = choose(read), read.killed[0]
    if killed.score is None or not choice.total.exact:
        return
    found = points(choice.first[0].row, choice.generation, choice.total, choice.page_size)
    if not GENERATIONS[choice.generation].per_mille:
        found = (found[0] * 1000 // choice.total.least, found[1] * 1000 // choice.total.least)
    assert killed.score in found


@pytest.mark.parametrize("number", NUMBERS)
def test_no_other_process_of_a_published_report_is_claimed(number: int) -> None:
    """Only one process can have been taken, whoever the message names."""
    read = report(number)
    assert read.table is not None
    (killed, *_) = read.killed
    right = choose(read)
    for row in _likely(read):
        if row.pid in (killed.pid, killed.chosen):
            continue
        wrong = replace(killed, pid=row.pid, name=row.name, chosen=None, score=None)
        choice = choose(replace(read, killed=(wrong,)))
        # Without a release the order of equals can fit another formula: then nothing is certain.
        assert choice.result != REPRODUCED or choice.code == "RPL108" or right.result != REPRODUCED


def _likely(read: Report) -> Iterable[Row]:
    assert read.table is not None
    size = lambda row: row.values["rss"] + row.values.get("swapents", 0)  # noqa: E731
    return sorted(read.table.rows, key=size)[-4:]


@pytest.mark.parametrize("number", [1, 3, 21, 47, 63, 64, 66, 67, 78, 80])
def test_a_number_that_is_changed_never_lets_another_one_be_claimed(number: int) -> None:
    read = report(number)
    assert read.table is not None
    killed = read.killed[0]
    for place, row in enumerate(read.table.rows):
        if row.pid == killed.pid:
            continue
        larger = {**row.values, "rss": 2**40}
        rows = list(read.table.rows)
        rows[place] = replace(row, values=larger)
        choice = choose(replace(read, table=replace(read.table, rows=tuple(rows))))
        if row.values["oom_score_adj"] == -1000:
            assert choice.result == REPRODUCED
        else:
            assert choice.result != REPRODUCED
        if place > 12:
            break


@pytest.mark.parametrize("number", [2, 21, 64, 66, 67, 70])
def test_a_row_that_is_dropped_never_lets_another_one_be_claimed(number: int) -> None:
    read = report(number)
    assert read.table is not None
    killed = read.killed[0]
    for place, row in enumerate(read.table.rows):
        rows = read.table.rows[:place] + read.table.rows[place + 1 :]
        choice = choose(replace(read, table=replace(read.table, rows=rows)))
        if row.pid == killed.pid:
            assert (choice.result, choice.code) == (NOT_RANKED, "RPL404")
        elif choice.result == REPRODUCED:
            assert choice.first[0].row.pid == killed.pid


def _broken(text: bytes, random: Random) -> bytes:
    """Break a text as editors, pipes and mail clients do."""
    lines = text.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        here, there = random.randrange(len(lines)), random.randrange(len(lines))
        numbers = list(re.finditer(rb"-?\d+", lines[here]))
        match random.randrange(6):
            case 0:
                del lines[here]
            case 1:
                lines.insert(here, lines[there])
            case 2:
                lines[here] = bytes(b ^ (random.random() < 0.05) for b in lines[here])
            case 3 if numbers:
                number = random.choice(numbers)
                other = random.choice((b"0", b"-1", b"9" * 20, b"1000", b"%d" % 10**7))
                line = lines[here]
                lines[here] = line[: number.start()] + other + line[number.end() :]
            case 4:
                del lines[here + 1 :]
            case _:
                lines[here], lines[there] = lines[there], lines[here]
        lines = lines or [b""]
    return b"\n".join(lines)


@pytest.mark.parametrize("number", [each for each in NUMBERS if len(text(each)) < 30_000][::3])
def test_a_broken_report_ends_in_an_answer_about_its_own_victim(number: int) -> None:
    random = Random(number)
    for _ in range(12):
        broken = _broken(text(number), random)
        for read in reports(lines(io.BytesIO(broken)), "broken"):
            choice = choose(read)
            assert choice.code in REASONS
            if choice.result == REPRODUCED:
                pid = choice.first[0].row.pid
                assert pid in (read.killed[0].pid, read.killed[0].chosen)
                assert b"%d" % pid in broken


# Against the C.

sizes = st.one_of(st.integers(0, 6), st.integers(0, 300_000))
adjustments = st.one_of(
    st.sampled_from([0, 0, -1000, -999, -997, 1, 1000]), st.integers(-1000, 1000)
)


@st.composite
def hosts(draw: st.DrawFn) -> list[Task]:
    # Nobody believes that a host has one process.
    number = draw(st.integers(2, 8))
    return [
        Task(
            pid=100 + place,
            rss=draw(sizes),
            swapents=draw(sizes),
            ptes=draw(st.integers(0, 3)),
            adj=draw(adjustments),
            admin=draw(st.booleans()),
        )
        for place in range(number)
    ]


generations = st.sampled_from(sorted(SELECT))


@given(hosts(), generations, st.integers(1, 3_000_000), st.data())
def test_with_a_known_total_it_is_what_the_c_chooses(
    tasks: list[Task], generation: str, total: int, data: st.DataObject
) -> None:
    if generation == "2.6.36":
        tasks = [each._replace(ptes=0) for each in tasks]
    victim = data.draw(st.sampled_from([each.pid for each in tasks]))
    chosen = SELECT[generation](tasks, total)
    choice = choose(made(tasks, victim, kernel=RELEASE[generation], total=total))
    assert choice.generation == generation
    assert (choice.result == REPRODUCED) == (victim == chosen)
    if victim == chosen:
        assert choice.place == 1
    if choice.result != TIE and chosen:
        assert choice.first[0].row.pid == chosen


@given(hosts(), generations, st.integers(1, 3_000_000), st.integers(0, 3_000_000), st.data())
def test_with_an_unknown_total_it_is_reproduced_if_the_c_chooses_it_for_each(
    tasks: list[Task], generation: str, least: int, width: int, data: st.DataObject
) -> None:
    if generation == "2.6.36":
        tasks = [each._replace(ptes=0) for each in tasks]
    victim = data.draw(st.sampled_from([each.pid for each in tasks]))
    total = Total(least=least, most=least + width, known="")
    choice = choose(made(tasks, victim, kernel=RELEASE[generation]), total=total)
    tried = {
        least,
        least + width,
        *(least + width * part // 7 for part in range(8)),
        data.draw(st.integers(least, least + width)),
    }
    taken = {SELECT[generation](tasks, each) == victim for each in tried}
    if choice.result == REPRODUCED:
        assert taken == {True}
    if choice.result == DIFFERS:
        assert taken == {False}
    if width == 0:
        assert (choice.result == REPRODUCED) == (taken == {True})


@given(hosts(), generations, st.integers(1, 3000), st.integers(0, 1500), st.data())
def test_among_few_totals_it_is_reproduced_exactly_if_the_c_chooses_it_for_each(
    tasks: list[Task], generation: str, least: int, width: int, data: st.DataObject
) -> None:
    tasks = [each._replace(rss=each.rss % 5000, swapents=0, ptes=0) for each in tasks]
    victim = data.draw(st.sampled_from([each.pid for each in tasks]))
    total = Total(least=least, most=least + width, known="")
    choice = choose(made(tasks, victim, kernel=RELEASE[generation]), total=total)
    taken = {SELECT[generation](tasks, each) == victim for each in range(least, least + width + 1)}
    assert (choice.result == REPRODUCED) == (taken == {True})


@given(hosts(), generations, st.integers(1, 3_000_000))
def test_points_hold_what_the_c_counts(tasks: list[Task], generation: str, total: int) -> None:
    if generation == "2.6.36":
        tasks = [each._replace(ptes=0) for each in tasks]
    read = made(tasks, 100)
    assert read.table is not None
    exact = Total(least=total, most=total, known="")
    for each, row in zip(tasks, read.table.rows, strict=True):
        least, most = points(row, generation, exact, 4096)
        without = each._replace(admin=False)
        found = {BADNESS[generation](every, total) for every in (each, without)}
        if each.adj == -1000:
            found = {0}
        assert (least, most) == (min(found), max(found))


@given(hosts(), generations, st.integers(1, 3_000_000))
def test_a_printed_score_never_excludes_the_total_that_it_was_printed_for(
    tasks: list[Task], generation: str, total: int
) -> None:
    if generation == "2.6.36":
        tasks = [each._replace(ptes=0) for each in tasks]
    chosen = SELECT[generation](tasks, total)
    if not chosen:
        return
    plain = made(tasks, chosen, kernel=RELEASE[generation])
    assert plain.table is not None
    (row,) = (each for each in plain.table.rows if each.pid == chosen)
    exact = Total(least=total, most=total, known="")
    for score in points(row, generation, exact, 4096):
        printed = score if generation == "2.6.36" else max(0, score) * 1000 // total
        choice = choose(made(tasks, chosen, kernel=RELEASE[generation], score=printed))
        assert choice.total.least <= total
        assert choice.total.most is None or total <= choice.total.most


# What is not a matter of points.


def test_a_module_a_kernel_setting_and_a_bpf_program_choose_without_points() -> None:
    tasks = [task(1, 500), task(2, 900)]
    killed = Killed(line=90, pid=1, name="p1")
    assert choose(made(tasks, 1, listed=1)).code == "RPL403"
    assert choose(made(tasks, 1, killed=(replace(killed, by="module"),))).code == "RPL403"
    allocating = replace(killed, by="oom_kill_allocating_task")
    assert choose(made(tasks, 1, killed=(allocating,))).code == "RPL402"
    assert choose(made(tasks, 1, constraint="CONSTRAINT_BPF")).code == "RPL410"
    loaded = choose(made(tasks, 1, killed=(replace(killed, by="bpf: web"),)))
    assert (loaded.code, loaded.why) == ("RPL410", "the BPF program web chose")
    assert choose(made(tasks, 1, killed=())).code == "RPL408"
    panic = "line 9: the kernel panicked, since vm.panic_on_oom is set, and killed no process"
    assert choose(made(tasks, 1, killed=(), notes=(panic,))).code == "RPL409"


def test_a_text_that_lacks_something_is_not_ranked() -> None:
    tasks = [task(1, 500), task(2, 900)]
    assert choose(made(tasks, 2, table=None)).code == "RPL401"
    assert choose(made(tasks, 3)).code == "RPL404"
    whole = made(tasks, 2)
    assert whole.table is not None
    cut = replace(whole.table, complete=False, doubts=("line 11: lines are left out",))
    choice = choose(replace(whole, table=cut))
    assert (choice.result, choice.code, choice.place) == (NOT_RANKED, "RPL405", 1)
    assert choice.why == "line 11: lines are left out"
    odd = replace(whole.table, columns=(*COLUMNS[:-1], "(01)nrss", "name"))
    assert choose(replace(whole, table=odd)).code == "RPL407"
    twice = replace(whole.table, rows=(*whole.table.rows, made([task(1, 700)], 1).table.rows[0]))  # type: ignore[union-attr]
    assert choose(replace(whole, table=twice)).code == "RPL406"
    copied = replace(whole.table, rows=(*whole.table.rows, *whole.table.rows))
    assert choose(replace(whole, table=copied)).result == REPRODUCED


def test_a_table_that_has_the_victim_alone_proves_nothing_of_a_host() -> None:
    alone = [task(1, 900)]
    assert choose(made(alone, 1)).code == "RPL405"
    assert choose(made(alone, 1, kind=LIMIT)).code == "RPL101"
    # `grep -E 'oom|p1'` leaves this of a table.
    both = made([*alone, task(2, 3)], 1)
    assert both.table is not None
    found = replace(both.table.rows[1], name="systemd-oomd")
    searched = replace(both.table, rows=(both.table.rows[0], found))
    assert choose(replace(both, table=searched)).code == "RPL405"
    assert choose(both).code == "RPL101"


def test_a_kernel_before_the_formula_is_not_ranked() -> None:
    columns = tuple("pid uid tgid total_vm rss cpu oom_adj name".split())
    choice = choose(made([task(1, 5), task(2, 4)], 1, columns=columns, kernel="2.6.32-5"))
    assert (choice.result, choice.code, choice.generation) == (NOT_RANKED, "RPL411", "")


def test_a_reproduced_choice_says_what_else_happened() -> None:
    tasks = [task(1, 500), task(2, 900)]
    sacrificed = Killed(line=90, pid=1, name="p1", chosen=2)
    choice = choose(made(tasks, 1, kernel="4.9.0", total=9000, killed=(sacrificed,)))
    assert (choice.result, choice.code) == (REPRODUCED, "RPL104")
    together = (
        Killed(line=90, pid=2, name="p2"),
        Killed(line=91, pid=1, name="p1", by="oom.group"),
    )
    assert choose(made(tasks, 2, killed=together)).code == "RPL103"
    assert choose(made(tasks, 2, kind=SYSRQ)).code == "RPL107"
    assert choose(made(tasks, 2, kind=NODES)).code == "RPL106"


def test_of_equals_the_last_one_dies_since_5_3_and_before_it_the_first() -> None:
    tasks = [task(1, 500), task(2, 900), task(3, 900)]
    assert choose(made(tasks, 3, kernel="5.4.0")).code == "RPL102"
    assert choose(made(tasks, 2, kernel="5.4.0")).code == "RPL202"
    assert choose(made(tasks, 2, kernel="4.19.0")).code == "RPL102"


def test_at_a_limit_the_order_of_looking_is_told_since_5_3_only() -> None:
    tasks = [task(1, 900), task(2, 900)]
    for victim in (1, 2):
        choice = choose(made(tasks, victim, kernel="4.19.0", kind=LIMIT))
        assert (choice.result, choice.code) == (TIE, "RPL202")
    assert choose(made(tasks, 2, kernel="5.4.0", kind=LIMIT)).result == REPRODUCED


def test_where_the_total_decides_it_says_for_which() -> None:
    tasks = [task(1, 100_000), task(2, 1000, adj=100)]
    limit = Figures(limit=400_000)
    choice = choose(made(tasks, 2, kind=LIMIT, figures=limit))
    assert (choice.result, choice.code) == (TIE, "RPL203")
    # 1000 + 100 * (990_000 // 1000) is as much as the other one has, and the last one dies.
    assert "at least 990000 pages" in choice.why
    for pages, result in ((989_999, DIFFERS), (990_000, REPRODUCED)):
        known = Total(least=pages, most=pages, known="")
        assert choose(made(tasks, 2, kind=LIMIT), total=known).result == result
    # No swap may be used, so the limit is the total.
    none = Figures(limit=400_000, swap_limit=0)
    assert choose(made(tasks, 1, kind=LIMIT, figures=none)).result == REPRODUCED


def test_where_a_capability_decides_it_says_so() -> None:
    tasks = [task(1, 10_000), task(2, 10_100, admin=True)]
    kernel = {"kernel": "4.9.0", "total": 100_000}
    assert choose(made(tasks, 1, **kernel)).result == REPRODUCED  # type: ignore[arg-type]
    assert choose(made(tasks, 2, **kernel)).code == "RPL204"  # type: ignore[arg-type]
    assert choose(made(tasks, 2, total=100_000)).code == "RPL101"


def test_a_twin_of_the_victim_can_be_a_child_after_vfork() -> None:
    twins = made([task(1, 900), task(2, 900)], 1)
    assert twins.table is not None
    first, second = twins.table.rows
    second = replace(second, values={**second.values, "total_vm": first.values["total_vm"]})
    both = replace(twins.table, rows=(first, second, *made([task(3, 4)], 3).table.rows))  # type: ignore[union-attr]
    choice = choose(replace(twins, table=both))
    assert (choice.result, choice.code) == (TIE, "RPL202")
    larger = replace(second, values={**second.values, "oom_score_adj": 5})
    choice = choose(made([], 1, total=90_000, table=replace(both, rows=(first, larger))))
    assert (choice.result, choice.code) == (TIE, "RPL207")


def test_who_was_killed_before_may_have_more_points() -> None:
    tasks = [task(1, 500), task(2, 900)]
    assert choose(made(tasks, 1)).code == "RPL399"
    assert choose(made(tasks, 1, kernel="6.1.0-rc3-next")).code == "RPL302"
    before = Killed(line=5, pid=2, name="p2")
    choice = choose(made(tasks, 1, earlier=(before,)))
    assert (choice.result, choice.code) == (TIE, "RPL208")
    # Another process has that pid now.
    other = replace(before, name="q")
    assert choose(made(tasks, 1, earlier=(other,))).code == "RPL399"


def test_a_report_knows_whom_those_before_it_name_as_killed() -> None:
    both = text(64) + b"\n" + text(21)
    first, second = reports(lines(io.BytesIO(both)), "log")
    assert first.earlier == ()
    assert second.earlier == first.killed


def test_a_process_that_empties_swap_asked_to_be_first() -> None:
    read = made([task(1, 500), task(2, 900)], 1)
    assert read.table is not None
    row = replace(read.table.rows[0], name="swapoff")
    read = replace(read, table=replace(read.table, rows=(row, read.table.rows[1])))
    assert choose(read).code == "RPL303"


def test_swap_that_an_old_table_does_not_show_is_not_guessed() -> None:
    tasks = [task(1, 500_000), task(2, 400_000)]
    old = {"kernel": "3.2.0", "columns": OLD_COLUMNS}
    used = Figures(ram=900_000, reserved=0, swap_total=4_000_000, swap_free=0)
    score = 500_000 * 1000 // 1_900_000
    fits = made(tasks, 1, figures=used, score=score, **old)  # type: ignore[arg-type]
    assert choose(fits).code == "RPL105"
    more = made(tasks, 1, figures=used, score=score + 1, **old)  # type: ignore[arg-type]
    assert choose(more).code == "RPL301"
    silent = made(tasks, 1, figures=used, **old)  # type: ignore[arg-type]
    assert choose(silent).code == "RPL301"
    unused = replace(used, swap_free=4_000_000)
    assert choose(made(tasks, 1, figures=unused, **old)).code == "RPL105"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("release", "generation"),
    [
        ("2.6.32-642.11.1.el6.x86_64", "2.6.36"),
        ("3.10.0-514.6.1.el7.x86_64", "3.14"),
        ("3.10.0-1160.el7.x86_64", "3.14"),
        ("3.10.0-123.el7.x86_64", "3.14"),
        ("3.8.0-19-generic", "3.5"),
        ("4.14.35-1902.el7uek.x86_64", "3.14"),
        ("4.18.0-17-generic", "4.17"),
        ("5.4.100-1.el7.elrepo.x86_64", "5.3"),
        ("5.14.0-427.el9.x86_64", "5.9"),
        ("5.2.0-rc7", "4.17"),
        ("6.12.9-200.fc41.x86_64", "5.9"),
        ("2.6.39", "2.6.36"),
    ],
)
def test_the_release_tells_the_formula(release: str, generation: str) -> None:
    choice = choose(made([task(1, 5)], 1, kernel=release))
    assert choice.generation == generation
    assert release in choice.known
    assert choose(made([task(1, 5)], 1), linux=release).generation == generation


def test_of_versions_that_took_a_formula_later_both_are_tried() -> None:
    # The bonus is 30 steps, or 3 % of what it has.
    tasks = [task(1, 30_000), task(2, 31_500, admin=True)]
    for victim, formula in ((1, "3.5"), (2, "3.14")):
        choice = choose(made(tasks, victim, kernel="3.12.9", total=100_000))
        assert (choice.result, choice.code) == (REPRODUCED, "RPL108")
        assert choice.generation == formula


def test_what_was_carried_back_to_enterprise_linux_8_is_tried() -> None:
    # Below 0 points since 5.9 only: one of them is the kernel's own choice.
    tasks = [task(1, 900, adj=-999), task(2, 5, adj=-998)]
    kernel = "4.18.0-553.8.1.el8_10.x86_64"
    for victim, formula in ((1, "4.17"), (2, "5.3")):
        choice = choose(made(tasks, victim, kernel=kernel, total=9_000_000))
        assert (choice.result, choice.code) == (REPRODUCED, "RPL108")
        assert choice.generation == formula
    both = choose(made([task(1, 900), task(2, 5)], 1, kernel=kernel, total=9_000_000))
    assert (both.result, both.code) == (REPRODUCED, "RPL101")


def test_a_reason_is_short_where_the_total_decides_in_hundreds_of_ranges() -> None:
    """Per mille, two processes of nearly the same size change places with every step."""
    tasks = [task(1, 64_723), task(2, 64_749)]
    choice = choose(made(tasks, 1, kernel="3.2.48", kind=LIMIT))
    assert (choice.result, choice.code) == (TIE, "RPL203")
    assert "more ranges" in choice.why
    assert len(choice.why) < 300
