"""What takes several looks at a host: how a process grows, and how much all tasks waited."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.processes.history import Growth, Stalls
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process
from oomrules.processes.values import GETTERS, PROTECTING
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import make
from tests.oracle.strategies import thorough

MIB = 2**20


class Host:
    """One process, and looks at it."""

    def __init__(self) -> None:
        self.growth, self.process = Growth(), Process(7)
        self.process.starttime = 0

    def look(self, at: float, size: Any) -> Any:
        self.growth.look([(self.process, size)], at)
        return self.process.growth


def test_growth_takes_a_second_and_is_0_where_the_process_shrank() -> None:
    host = Host()
    sizes = ((0, 10), (0.5, 20), (1, 30), (3, 25), (4, 5), (5, 5), (6, 5), (9, 5))
    found = [host.look(at, size * MIB) for at, size in sizes]
    assert found == [None, None, 20 * MIB, 5 * MIB, 0, 0, 0, 0]


def test_growth_forgets_what_was_longer_ago_than_some_ten_seconds() -> None:
    host = Host()
    for at in range(20):
        host.look(at, at * 10 * MIB)
    assert host.process.growth == 10 * MIB
    found = [host.look(20 + at, 190 * MIB) for at in range(12)]
    assert found == sorted(found, reverse=True) and found[-1] == 0
    # After a pause, what came before it says nothing of the last second.
    host.look(300, 190 * MIB)
    assert host.look(301, 290 * MIB) == 100 * MIB


def test_a_process_that_has_just_begun_is_unknown_by_its_own_doing() -> None:
    host = Host()
    host.growth.look([], 0)
    assert host.look(5, MIB) is SELF_MADE
    assert host.look(5.5, MIB) is SELF_MADE
    assert host.look(6, 2 * MIB) == MIB
    # So is another one with its pid.
    host.process.starttime = 1
    assert host.look(7, 9 * MIB) is SELF_MADE
    assert host.look(8, 10 * MIB) == MIB


def test_a_footprint_that_is_unknown_has_a_growth_that_is_and_spoils_no_later_one() -> None:
    host = Host()
    host.look(0, MIB)
    assert host.look(2, None) is None
    assert host.look(4, SELF_MADE) is SELF_MADE
    assert host.look(5, 6 * MIB) == MIB
    assert host.growth.of(host.process, 11 * MIB, 5) == 2 * MIB


@thorough
@given(
    st.lists(st.tuples(st.floats(0.05, 20), st.integers(0, 2**40)), min_size=1, max_size=60),
)
def test_growth_is_measured_between_two_looks_a_second_or_more_apart(
    steps: list[tuple[float, int]],
) -> None:
    host, now = Host(), 0.0
    looks: list[tuple[float, int]] = []
    for wait, size in steps:
        now += wait
        found = host.look(now, size)
        known = [(at, was) for at, was in looks if now - at >= 1]
        rates = {max(0, int((size - was) / (now - at))) for at, was in known}
        assert found in rates if known else found is None
        looks.append((now, size))
        assert len(host.growth._looks) == 1


def test_a_stall_is_the_share_of_about_the_last_second() -> None:
    stalls = Stalls()
    looks = [
        *((0.0, 0, None), (0.5, 100, None), (1.0, 500, 50.0)),
        # Since 0.5 s, and since 1.0 s.
        *((1.5, 500, 40.0), (2.0, 500, 0.0)),
        # More than there is time for cannot be, and no total goes back.
        *((3.0, 9000, 100.0), (4.0, 8000, 0.0)),
        # What was before a pause says nothing of now.
        *((60.0, 9000, None), (61.5, 9300, 20.0)),
    ]
    for at, milliseconds, expected in looks:
        assert stalls.share("", at, milliseconds * 1000) == expected, at


def test_looks_at_a_stall_have_bounds() -> None:
    stalls = Stalls()
    for at in range(1000):
        stalls.share("/a", at / 100, at)
        stalls.forget(at / 100)
    assert len(stalls._looks["/a"]) <= 6
    stalls.forget(20)
    assert not stalls._looks


@pytest.mark.parametrize("name", ["growth", "host.stall"])
def test_one_look_does_not_know_what_takes_two(name: str, proc: Any) -> None:
    (proc.root / "pressure").mkdir()
    psi = "some avg10=1.25 avg60=0.50 avg300=0.10 total=123\nfull avg10=0.75 total="
    file = proc.root / "pressure/memory"
    file.write_text(f"{psi}0\n")
    proc.add(7)
    asked = make((), {})._replace(attributes=frozenset([name]))
    source = ProcSource(asked, root=str(proc.root)).refresh()
    assert GETTERS[name](source.by_pid[7], source) is None
    assert PROTECTING[name](source.by_pid[7], source) is None
    (proc.root / "uptime").write_text("5002.25 1.0\n")
    file.write_text(f"{psi}500000\n")
    proc.add(7, swap=1024)
    source.refresh()
    # 256 pages in two seconds, and half a second of two.
    assert GETTERS[name](source.by_pid[7], source) == {"growth": 128, "host.stall": 2500}[name]
    # An exec makes no other process of it, and its growth is known at once.
    source.by_pid[7].forget()
    assert GETTERS[name](source.by_pid[7], source) == {"growth": 128, "host.stall": 2500}[name]
    source.close()
