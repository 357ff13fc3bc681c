"""The guard over samples of another time: nobody is signalled, and who ends gives memory back."""

from __future__ import annotations

from oomrules.guard import replay
from oomrules.guard.model import HOST, Event, Ready
from oomrules.guard.replay import Ending, Replay
from tests.guard.making import GIB, MIB, armed, candidate, program, ready, sample

LOW = 400 * MIB


def run(
    listed: Ready, course: dict[float, int], end: float, ending: Ending = replay.ORDINARY
) -> list[Event]:
    """Return what happens while so much is available, from each time on."""
    world = Replay(lambda _: ending)
    events = []
    for step in range(int(end * 10)):
        at = step / 10
        available = [value for begun, value in course.items() if begun <= at][-1]
        events += world.look(sample(at, available=available), listed)
    return events


def host(*sentences: str, count: int = 3) -> Ready:
    made = program(*sentences)
    return ready(armed(made), [candidate(rank) for rank in range(1, count + 1)], made)


def test_a_victim_gives_its_memory_back_and_one_is_enough() -> None:
    events = run(host("kill when host.available < 10%"), {0: 6 * GIB, 1: LOW}, 10)
    assert [(one.kind, one.at) for one in events] == [("killed", 1.0), ("ended", 1.1)]
    assert events[1].won == GIB
    assert events[1].problem == ""


def test_one_that_was_asked_and_does_not_end_is_killed() -> None:
    listed = host("terminate when host.available < 10% within 2s")
    events = run(listed, {0: LOW}, 10, replay.IGNORES_SIGTERM)
    assert [(one.kind, one.at) for one in events] == [("asked", 0), ("killed", 2), ("ended", 2.1)]
    assert len({one.victim for one in events}) == 1
    events = run(listed, {0: LOW}, 10)
    assert [(one.kind, one.at) for one in events] == [("asked", 0), ("ended", 0.3)]


def test_one_that_is_stuck_is_given_up_for_the_next() -> None:
    listed = host("kill when host.available < 10%", count=2)
    events = run(listed, {0: LOW}, 10, replay.STUCK)
    assert [(one.kind, one.victim and one.victim.rank) for one in events] == [
        ("killed", 1),
        ("ended", 1),
        ("killed", 2),
        ("ended", 2),
        ("nobody", None),
    ]
    assert "given up" in events[1].problem


def test_memory_that_never_comes_back_is_waited_for() -> None:
    events = run(host("kill when host.available < 10%"), {0: LOW}, 1, Ending(back=False))
    assert [(one.kind, one.at) for one in events] == [
        ("killed", 0),
        ("ended", 0.6),
        ("killed", 0.6),
    ]
    assert "not back in time" in events[1].problem


def test_who_ended_by_himself_is_counted_once() -> None:
    world = Replay()
    listed = host("kill when host.available < 10%")
    world.look(sample(0, available=LOW), listed)
    world.look(sample(0.1, available=LOW), listed)
    assert world.look(sample(0.2, available=LOW), listed) == []
    # In the recording it has ended too, and another process has what it held.
    world.alive([candidate(2).identity, candidate(3).identity])
    later = listed._replace(candidates={"": (candidate(2), candidate(3))})
    (event,) = world.look(sample(0.3, available=LOW), later)
    assert event.victim == candidate(2)


def test_a_victim_is_missed_in_each_unit_around_it_and_in_no_other() -> None:
    made = program("in -.slice: kill when scope.footprint > 4GiB")
    victim = candidate(1, cgroup="/a.slice/b.service", swap=MIB)
    listed = ready(armed(made, {"-.slice": "/"}), [victim], made)
    listed = listed._replace(candidates={HOST: (victim,), "/": (victim,)})
    world = Replay()
    raw = {"memory": 5 * GIB, "swap": 2 * MIB, "footprint": 5 * GIB, "processes": 9}
    units = dict.fromkeys(("/", "/a.slice", "/a.slice/b.service", "/b.service"), raw)
    assert [one.kind for one in world.look(sample(1.0, units), listed)] == ["killed"]
    world.look(sample(1.2, units), listed)
    found = world._without_gone(sample(1.3, units)).units
    less = {
        "memory": 4 * GIB + MIB,
        "swap": MIB,
        "footprint": 4 * GIB,
        "processes": 8,
    }
    assert found == {**dict.fromkeys(units, less), "/b.service": raw}
