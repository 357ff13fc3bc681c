"""One screen of a replayed report: 24 lines, 80 columns, whatever is in the report."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.commands.parts import replay_screen
from oomrules.commands.parts.replayed import (
    CERTAIN,
    LIVE,
    NOBODY,
    OPEN,
    RECORDING,
    UNASKED,
    Answer,
    Assumed,
    Replayed,
    Taken,
    Unknown,
    as_data,
)
from oomrules.report.model import (
    DIFFERS,
    KINDS,
    LIMIT,
    NOT_RANKED,
    RESULTS,
    SYSRQ,
    Figures,
    Killed,
    Total,
)
from oomrules.terminal import Paint, width
from tests.commands.replays import choice, replayed, report, row

LINES, COLUMNS = 24, 80
PLAIN = Paint(sys.stdout)

NAMES = st.text(max_size=300)
NUMBERS = st.integers(min_value=0, max_value=2**40)
SIZES = st.none() | st.integers(min_value=0, max_value=2**60)


@st.composite
def reports(draw: st.DrawFn) -> Replayed:
    """Return anything that can be shown."""
    rows = [
        row(pid, draw(NAMES), draw(NUMBERS), swapents=draw(NUMBERS))
        for pid in draw(st.lists(st.integers(1, 4_194_304), min_size=1, max_size=9, unique=True))
    ]
    killed = [
        Killed(line=9, pid=one.pid, name=draw(NAMES), anon_rss=draw(SIZES), chosen=draw(SIZES))
        for one in draw(st.lists(st.sampled_from(rows), max_size=5))
    ]
    made = report(
        *rows,
        source=draw(NAMES),
        time=draw(NAMES),
        kernel=draw(NAMES),
        kind=draw(st.sampled_from(KINDS)),
        group=draw(NAMES),
        victim_group=draw(NAMES),
        nodes=draw(NAMES),
        invoker=draw(NAMES),
        order=draw(st.none() | st.integers(-1, 99)),
        of=draw(st.integers(0, 9)),
        notes=tuple(draw(st.lists(NAMES, max_size=5))),
    )
    made = replace(
        made,
        killed=tuple(killed),
        table=draw(st.sampled_from([made.table, None])),
        figures=Figures(draw(SIZES), swap_total=draw(SIZES), limit=draw(SIZES)),
    )
    possible = tuple(Taken(one.pid, one.name, draw(NAMES), draw(NAMES)) for one in rows)
    result = draw(st.sampled_from([CERTAIN, OPEN, NOBODY, UNASKED]))
    unknown = [Unknown(draw(NAMES), 3, (draw(NAMES), "b")) for _ in range(draw(st.integers(0, 9)))]
    answer = Answer(
        result=result,
        possible=possible,
        nobody=draw(st.booleans()),
        unknown=tuple(unknown),
        why=draw(NAMES),
    )
    least = draw(NUMBERS)
    most = draw(st.none() | st.integers(least, 2**50))
    return replayed(
        made,
        answer=answer,
        choice=choice(
            made,
            result=draw(st.sampled_from(RESULTS)),
            why=draw(NAMES),
            code=draw(NAMES),
            total=Total(least, most, ""),
            place=draw(st.none() | st.integers(1, 9)),
        ),
        by_memory=draw(st.none() | st.just(answer)),
        assumed=tuple(Assumed(draw(NAMES), 3) for _ in range(draw(st.integers(0, 9)))),
        notes=tuple(draw(st.lists(NAMES, max_size=5))),
    )


def shown(one: Replayed, columns: int = COLUMNS) -> list[str]:
    """Return the screen."""
    return list(replay_screen.screen(one, PLAIN, columns))


@settings(max_examples=30)
@given(reports())
def test_every_report_fits_on_a_screen_and_is_text(one: Replayed) -> None:
    lines = shown(one)
    assert len(lines) <= LINES
    for line in lines:
        assert line.isprintable()
        # A command is pasted, so it is whole.
        assert width(line) <= COLUMNS or "oomrules replay " in line


@settings(max_examples=30)
@given(reports())
def test_the_parts_stand_in_one_order(one: Replayed) -> None:
    heads = [line[:9].strip() for line in shown(one)[1:] if re.match("[a-z]+ ", line)]
    order = ["killed", "where", "why", "rules", "next", "unknown"]
    found = [head for head in heads if head in order]
    assert found == [head for head in order if head in found]
    assert {"killed", "where", "why", "rules"} <= {*found}


@settings(max_examples=30)
@given(reports())
def test_every_report_is_json_with_the_same_keys(one: Replayed) -> None:
    assert list(as_data(one)) == list(as_data(replayed(report(row(1)))))


def test_who_died_and_what_held_it_comes_first() -> None:
    made = report(row(7, "leaky", 262_144, swapents=256), victim_group="/system.slice/db.service")
    text = " ".join(shown(replayed(made)))
    assert "leaky (7), uid 1000, held 1.0 GiB of RAM and 1.0 MiB of swap" in text
    assert "in db.service; systemd stops the rest of it" in text
    assert "the whole host: 7.6 GiB of RAM, no swap" in text


def test_the_kernel_s_first_three_are_shown_with_what_counted() -> None:
    rows = [row(pid, f"p{pid}", 100 * pid, oom_score_adj=-pid) for pid in range(1, 9)]
    lines = shown(replayed(report(*rows, killed=8)))
    table = [line.split() for line in lines if re.match(r" {9} *\d ", line)]
    assert [cells[-3] if cells[-1] == "killed" else cells[-2] for cells in table] == ["8", "7", "6"]
    assert [cells[0] for cells in table] == ["1", "2", "3"]
    assert table[0][-1] == "killed" and "-8" in table[0]


def test_a_victim_that_is_not_among_them_is_shown_with_its_place() -> None:
    rows = [row(pid, f"p{pid}", 1000 - pid) for pid in range(1, 9)]
    made = report(*rows, killed=6)
    one = replayed(made, choice=choice(made, result=DIFFERS, place=6, code="RPL301"))
    table = [line.split() for line in shown(one) if re.match(r" {9} *\d ", line)]
    assert [cells[0] for cells in table] == ["1", "2", "6"]
    assert table[-1][-1] == "killed"
    assert "oomrules replay --explain RPL301" in " ".join(shown(one))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(CERTAIN, (Taken(1, "a", "prefer a", "x.oom:3"),)), "the same, by `prefer a`"),
        (Answer(CERTAIN, (Taken(2, "b", "prefer b", "x.oom:4"),)), "another: b (2), by `prefer b`"),
        (Answer(OPEN, (Taken(1, "a"), Taken(2, "b"))), "open between a (1) and b (2)"),
        (
            Answer(OPEN, (Taken(2, "b"),), nobody=True),
            "certainly another, open between b (2) and nobody",
        ),
        (Answer(NOBODY), "nobody"),
    ],
)
def test_whom_the_rules_take_is_said_with_the_rule(answer: Answer, words: str) -> None:
    one = replayed(report(row(1, "a"), row(2, "b")), answer=answer)
    assert words in re.sub(" +", " ", " ".join(shown(one)))
    assert one.agrees == (answer.result == CERTAIN and answer.possible[0].pid == 1)


def test_with_a_score_that_cannot_be_known_memory_answers_too() -> None:
    answer = Answer(OPEN, (Taken(1, "a"), Taken(2, "b")))
    one = replayed(
        report(row(1, "a"), row(2, "b")), answer=answer, by_memory=Answer(CERTAIN, (Taken(2, "b"),))
    )
    text = " ".join(shown(one))
    assert "by your score: open between a (1) and b (2)" in text
    assert "by memory held: would have taken another: b (2)" in text
    assert not one.agrees


@pytest.mark.parametrize(
    ("more", "again", "proposed"),
    [
        (LIVE, "oomrules replay", ["oomrules replay --assume", "oomrules replay --live"]),
        (RECORDING, "oomrules replay x", ["oomrules replay x --assume", ""]),
        ("", "oomrules replay --live", ["oomrules replay --live --assume"]),
        # It was on standard input.
        (RECORDING, "", ["", ""]),
    ],
)
def test_what_would_tell_more_is_proposed(more: str, again: str, proposed: list[str]) -> None:
    answer = Answer(OPEN, (Taken(1, "a"), Taken(2, "b")))
    made = report(row(1, "a"), row(2, "b"))
    one = replace(replayed(made, answer=answer), more=more, again=again)
    assert [command for command, _ in replay_screen.advice(one)] == proposed
    assert all(sentence for _, sentence in replay_screen.advice(one))


def test_where_nobody_died_the_answer_compares_with_nobody() -> None:
    made = replace(report(row(1, "a")), killed=())
    text = " ".join(shown(replayed(made, answer=Answer(CERTAIN, (Taken(1, "a"),)))))
    assert "killed nobody" in re.sub(" +", " ", text)
    assert "would take a (1)" in text and "another" not in text


def test_a_report_without_a_table_says_how_to_get_the_rest() -> None:
    made = replace(report(row(1)), table=None)
    text = "\n".join(shown(replayed(made, answer=Answer(UNASKED))))
    assert "journalctl -k" in text
    assert "vm.oom_dump_tasks=1" in text


def test_a_limit_is_named_and_so_is_who_asked() -> None:
    made = report(
        row(1, "a"),
        kind=LIMIT,
        group="/system.slice/db.service",
        figures=Figures(limit=524_288),
        invoker="db-writer",
    )
    text = " ".join(shown(replayed(made)))
    assert "a limit of 512 MiB, of /system.slice/db.service, not the whole host" in text
    assert "db-writer asked for memory" in text


def test_the_others_of_a_group_are_named() -> None:
    made = report(row(1, "a"), row(2, "b"), row(3, "c"))
    killed = tuple(Killed(line=9, pid=pid, name="x", by="oom.group") for pid in (1, 2, 3))
    text = " ".join(shown(replayed(replace(made, killed=killed))))
    assert "and 2 more processes of its group (memory.oom.group): x (2) and x (3)" in text


def test_who_pressed_sysrq_is_told_that_memory_was_not_out() -> None:
    made = report(row(1), kind=SYSRQ)
    assert "SysRq" in " ".join(shown(replayed(made, choice=choice(made, result=NOT_RANKED))))


@settings(max_examples=30)
@given(reports())
def test_a_list_has_one_row_a_report(one: Replayed) -> None:
    assert len(replay_screen.list_row(one.report, one.choice)) == len(replay_screen.LIST_COLUMNS)
