"""Text on terminals, wide and narrow, with long and hostile names."""

from __future__ import annotations

import io

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules import terminal
from oomrules.commands import diff, emit, scopes, status
from oomrules.commands.parts import acts, verdicts
from oomrules.terminal import Paint, clip, legible, middle, rough
from tests.commands.emulator import shown

TABLES = {
    "rank": verdicts.COLUMNS,
    "scopes": scopes._COLUMNS,
    "history": acts.COLUMNS,
    "status": status._COLUMNS,
    "emit": emit._COLUMNS,
    "diff": diff._COLUMNS,
}
WIDTHS = (40, 60, 80, 100, 132, 250)
# All that a terminal or a library may take for wide, narrow, nothing or an order.
NAMES = st.text(
    st.sampled_from("abc-.\x1b\x9b\n\t 漢ｱ\u0301\u0600\u1160\u11a8\u200d\ufe0f\u3164\u202e☺👨🇩")
    | st.characters(),
    max_size=90,
)
CELLS = st.one_of(
    NAMES,
    st.integers(0, 10**40).map(str),
    st.sampled_from((f"docker-{'0123456789abcdef' * 4}.scope", "2026-11-26T12:00:00+00:00")),
)


@pytest.mark.parametrize("name", TABLES)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), wide=st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal_whatever_the_names_are(
    name: str, data: st.DataObject, wide: int
) -> None:
    columns = TABLES[name]
    row = st.lists(CELLS, min_size=len(columns), max_size=len(columns))
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    lines = shown(columns, rows, wide)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert line.isprintable() and terminal.width(line) <= wide
        # Another program's opinion of how wide it is: a line that wraps reaches the second one.
        screen = pyte.Screen(wide, 2)
        pyte.Stream(screen).feed(line)
        assert screen.display[1].strip() == ""


@pytest.mark.parametrize("wide", WIDTHS)
@settings(deadline=None, max_examples=60)
@given(names=st.tuples(NAMES, NAMES, NAMES, NAMES))
def test_figures_stay_whatever_the_names_are(wide: int, names: tuple[str, ...]) -> None:
    user, unit, comm, why = names
    row = ["12", "4194304", user, unit, "1023 MiB", "1234567", comm, why]
    heading, line = shown(verdicts.COLUMNS, [row], wide)
    for word in ("RANK", "PID", "RSS", "POINTS", "COMMAND"):
        assert word in heading.split()
    for word in ("12", "4194304", "1023 MiB", "1234567"):
        assert word in line
    if wide >= 80:
        assert heading.split() == [column.name for column in verdicts.COLUMNS]
        assert wide - heading.index("WHY") >= 20 or terminal.width(legible(why)) < 20
        room = heading.index("WHY") - heading.index("COMMAND")
        assert room > 10 or terminal.width(legible(comm)) < 10


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_shortened_where_no_terminal_is(name: str) -> None:
    columns = TABLES[name]
    rows = [["漢" * 300 + ".scope"] * len(columns), ["1" * 300] * len(columns)]
    *_, wide, number = terminal.table(columns, rows, Paint(io.StringIO())).split("\n")
    assert wide.count("漢" * 300 + ".scope") == number.count("1" * 300) == len(columns)


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [
        ("docker-1a2b3c4d5e6f.scope", 25, "docker-1a2b3c4d5e6f.scope"),
        ("docker-1a2b3c4d5e6f.scope", 20, "docker-1a…5e6f.scope"),
        ("docker-1a2b3c4d5e6f.scope", 12, "doc…6f.scope"),
        ("nginx.service", 12, "ngi….service"),
        ("a" * 30, 9, "aaaaa…aaa"),
        ("漢" * 20 + ".slice", 14, "漢漢…漢.slice"),
        ("x.service", 3, "x.…"),
        ("anything", 0, ""),
    ],
)
def test_a_name_gives_way_in_its_middle(text: str, columns: int, short: str) -> None:
    assert middle(text, columns) == short
    assert terminal.width(short) <= columns


@settings(deadline=None)
@given(text=CELLS.map(legible), columns=st.integers(0, 100))
def test_what_is_cut_fits_and_what_fits_is_not_cut(text: str, columns: int) -> None:
    for cut in (clip, middle, rough, terminal.branch, acts._moment):
        assert terminal.width(cut(text, columns)) <= columns
        if terminal.width(text) <= columns and cut is not acts._moment:
            assert cut(text, columns) == text


@settings(deadline=None)
@given(NAMES)
def test_what_is_legible_stands_in_its_own_line(text: str) -> None:
    text = legible(text)
    assert text.isprintable() and legible(text) == text
    assert "\u0301" * 3 not in text and "\ufe0f" not in text
    assert terminal.width(text[:1]) == min(1, len(text)) or terminal.width(text[:1]) == 2


@pytest.mark.parametrize(
    ("comm", "said"),
    [
        (None, "?"),
        ("", "''"),
        (" ", "' '"),
        ("?", "'?'"),
        ("-", "'-'"),
        (" cat", "' cat'"),
        ("cat", "cat"),
    ],
)
def test_a_command_without_a_name_is_not_one_that_is_unknown(comm: str | None, said: str) -> None:
    assert terminal.called(comm) == said


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (60_000, "1min"),
        (798_000, "13min 18s"),
        (90_061_000, "1d 1h 1min 1s"),
    ],
)
def test_a_duration_is_in_the_units_that_suit_it(milliseconds: int, said: str) -> None:
    assert terminal.duration(milliseconds) == said


def test_half_of_a_flag_may_take_two_columns() -> None:
    assert terminal.width("\U0001f1e60") == 3
