"""A course as it is drawn: kills have their numbers, whatever is beside them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from oomrules.picture import plot
from oomrules.picture.course import Course, Mark

EVENTS = st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=60)


def drawn(events: list[tuple[float, bool]]) -> list[tuple[int, float, bool]]:
    """The number, the place and whether it is a kill, of each mark that has its number written."""
    marks = tuple(Mark(at, real=True, kill=kill, cells=("x",)) for at, kill in sorted(events))
    course = Course("x", "2026-11-27T02:40:00+00:00", 1000.0, (), marks, ("What",), ())
    found = re.findall(
        r'class="mark real( kill)?"><title>(\d+):.*?<path.*?(?:<text x="([\d.]+)".*?)?</g>',
        plot.svg(course),
    )
    return [(int(number), float(x), bool(kill)) for kill, number, x in found if x]


def test_a_kill_among_warnings_has_its_number() -> None:
    events = [(500 + at / 10, at == 7) for at in range(20)]
    assert [(number, kill) for number, _, kill in drawn(events)] == [(8, True)]


@given(EVENTS)
def test_numbers_do_not_overlap_and_none_is_left_out_that_has_room(
    events: list[tuple[float, bool]],
) -> None:
    found = drawn(events)
    for one, (_, x, _) in enumerate(found):
        assert all(abs(x - other) >= 21.9 for _, other, _ in found[:one])
    kills = [x for _, x, kill in found if kill]
    assert bool(kills) == any(kill for _, kill in events)
    assert bool(found) == bool(events)
