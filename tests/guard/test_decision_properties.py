"""The guard's decision against a second one, and what holds whatever the figures are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.guard import decision
from oomrules.guard.decision import START, decide
from oomrules.guard.model import HOST, Candidate, Decision, Event, Flight, Ready, Sample
from oomrules.guard.replay import Ending, Replay
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program.program import Program
from tests.guard.making import AT_REST, GIB, MIB, PATIENT, armed, candidate, ready
from tests.oracle.guard import Figure, Judge, Oracle, Turn

OUTER, INNER = "/a.slice", "/a.slice/b.service"
NEVER = float("-inf")


# --- conditions: a sentence, and what it means said a second time ------------------------------


@dataclass(frozen=True)
class Condition:
    text: str
    judge: Judge


def _less(name: str, limit: int, words: str) -> Condition:
    def judge(figure: Any) -> bool | None:
        found: Figure = figure(name)
        return None if found is None else found[0] < limit

    return Condition(f"{name} < {words}", judge)


def _stalls(name: str, percent: int) -> Condition:
    def judge(figure: Any) -> bool | None:
        found: Figure = figure(name)
        if found is None or found[0] <= percent < found[1]:
            return None
        return found[0] > percent

    return Condition(f"{name} > {percent}%", judge)


def _both(one: Condition, other: Condition) -> Condition:
    def judge(figure: Any) -> bool | None:
        found = {one.judge(figure), other.judge(figure)}
        return False if False in found else None if None in found else True

    return Condition(f"({one.text} and {other.text})", judge)


def _either(one: Condition, other: Condition) -> Condition:
    def judge(figure: Any) -> bool | None:
        found = {one.judge(figure), other.judge(figure)}
        return True if True in found else None if None in found else False

    return Condition(f"({one.text} or {other.text})", judge)


def _not(one: Condition) -> Condition:
    def judge(figure: Any) -> bool | None:
        found = one.judge(figure)
        return None if found is None else not found

    return Condition(f"not {one.text}", judge)


def conditions(group: str) -> st.SearchStrategy[Condition]:
    word = "available" if group == "host" else "memory"
    atoms = st.integers(1, 7).map(
        lambda n: _less(f"{group}.{word}", n * GIB // 2, f"{n * 512}MiB")
    ) | st.sampled_from([10, 30, 60]).map(lambda percent: _stalls(f"{group}.stall", percent))
    return st.recursive(
        atoms,
        lambda some: st.builds(_both, some, some) | st.builds(_either, some, some) | some.map(_not),
        max_leaves=3,
    )


@dataclass(frozen=True)
class Stated:
    sentence: str
    judge: Judge


@st.composite
def guards(draw: st.DrawFn, actions: tuple[str, ...] = ("kill", "terminate", "warn")) -> Stated:
    block = draw(st.sampled_from(["", "", "in a.slice: ", "in b.service: "]))
    condition = draw(conditions("scope" if block else "host"))
    lasting = draw(st.sampled_from(["", "", " for 300ms", " for 2s"]))
    within = draw(st.sampled_from(["", " within 500ms"]))
    action = draw(st.sampled_from(actions))
    return Stated(f"{block}{action} when {condition.text}{lasting}{within}", condition.judge)


def program(stated: list[Stated], files: int = 1) -> Program:
    texts = [""] * files
    for number, one in enumerate(stated):
        texts[number % files] += one.sentence + "\n"
    return compiler.compile_texts(
        [RuleText(f"{number}.oom", text) for number, text in enumerate(texts)]
    )


def judges(stated: list[Stated]) -> dict[str, Judge]:
    return {one.sentence.rpartition(": ")[2]: one.judge for one in stated}


UNITS = {"a.slice": OUTER, "b.service": INNER}
CANDIDATES = st.lists(
    st.tuples(
        st.sampled_from(["/x.service", OUTER, INNER]),
        st.sampled_from([100 * MIB, GIB, 2 * GIB]),
        st.sampled_from([0, 100 * MIB]),
    ),
    max_size=6,
).map(
    lambda made: [
        candidate(rank, held=held, cgroup=cgroup, swap=swap)
        for rank, (cgroup, held, swap) in enumerate(made, 1)
    ]
)
ENDINGS = st.lists(
    st.builds(
        Ending,
        asked=st.sampled_from([0.05, 0.3, float("inf")]),
        killed=st.sampled_from([0.05, 0.3, float("inf")]),
        back=st.booleans(),
    ),
    min_size=7,
    max_size=7,
)


@st.composite
def samples(draw: st.DrawFn, longest: int = 40) -> list[Sample]:
    """Return readings: levels that jump, stalls that come and go, now and then a gap."""
    made: list[Sample] = []
    at, full, killed = 0, 0, NEVER
    count = draw(st.integers(1, longest))
    available, memory = 6 * GIB, 0
    for _ in range(count):
        step = draw(st.sampled_from([100, 100, 100, 100, 130, 900, 5000]))
        at += step
        full += draw(st.sampled_from([0, 0, 10, 50, 100])) * step * 10
        if draw(st.integers(0, 3)) == 0:
            available = draw(st.integers(0, 12)) * GIB // 2
            memory = draw(st.integers(0, 8)) * GIB // 2
        if draw(st.integers(0, 30)) == 0:
            killed = at / 1000
        unknown = draw(st.integers(0, 12))
        host = {**AT_REST, "available": available, "full": full, "some": full}
        if unknown == 0:
            host["available"] = None  # type: ignore[assignment]
        unit = {"memory": memory, "full": full if unknown != 1 else None, "some": full}
        units = {OUTER: unit, INNER: {**unit, "memory": memory // 2}} if unknown != 2 else {}
        made.append(Sample(at=at / 1000, host=host, units=units, killed=killed))
    return made


class Driven(Replay):
    """A replay of which every call of ``decide`` is seen."""

    def __init__(self, endings: list[Ending]) -> None:
        super().__init__(lambda victim: endings[victim.rank % len(endings)])


def run(
    stated: list[Stated], listed: Ready, read: list[Sample], endings: list[Ending]
) -> list[Event]:
    world = Driven(endings)
    return [event for sample in read for event in world.look(sample, listed)]


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return what people learn of events, whatever the guards are called."""
    return [
        (
            event.at,
            event.kind,
            event.armed and (event.armed.guard.text, event.armed.unit),
            event.victim,
        )
        for event in events
    ]


def in_order(events: list[Event]) -> list[tuple[Any, ...]]:
    return sorted(told(events), key=repr)


# --- properties ----------------------------------------------------------------------------------


TAKING = guards(("kill", "terminate"))


@settings(PATIENT, max_examples=60)
@given(st.lists(TAKING, min_size=1, max_size=4), CANDIDATES, samples(), ENDINGS)
def test_the_decision_is_that_of_the_oracle(
    stated: list[Stated], candidates: list[Candidate], read: list[Sample], endings: list[Ending]
) -> None:
    made = program(stated)
    listed = ready(armed(made, UNITS), candidates, made)
    oracle = Oracle(judges(stated))
    world = Driven(endings)
    state, flight = START, None
    for sample in read:
        # The replay says what becomes of victims; what it decides is decided here once more.
        world._look_at_victim(sample.at)
        flight = world.flight
        after = world._without_gone(sample)
        state, found = decide(state, after, listed, flight)
        expected = oracle.expected(Turn(after, listed, flight))
        due = {(one.guard.text, one.unit) for one in decision.due(state)}
        first = found.victims[0] if found.victims else None
        assert due == expected.due
        assert (found.action, first) == (expected.action, expected.first)
        assert (bool(found.landed), found.escalate) == (expected.landed, expected.escalate)
        if found.landed:
            world.flight = None
        if found.escalate and world.flight:
            world.flight = world.flight._replace(killed=sample.at)
        if found.armed:
            world.state = state
            base = Event(kind="", at=sample.at)
            world._take(base, after, found, found.armed)


@settings(PATIENT, max_examples=40)
@given(
    st.lists(guards(), min_size=2, max_size=4),
    CANDIDATES,
    samples(),
    ENDINGS,
    st.randoms(use_true_random=False),
)
def test_sentences_and_files_have_no_order(
    stated: list[Stated],
    candidates: list[Candidate],
    read: list[Sample],
    endings: list[Ending],
    random: Any,
) -> None:
    made = program(stated)
    listed = ready(armed(made, UNITS), candidates, made)
    shuffled = random.sample(stated, len(stated))
    other = program(shuffled, files=2)
    again = ready(armed(other, UNITS), candidates, other)
    assert in_order(run(stated, listed, read, endings)) == in_order(
        run(shuffled, again, read, endings)
    )


@settings(PATIENT, max_examples=40)
@given(st.lists(guards(), min_size=1, max_size=4), CANDIDATES, samples(), st.data())
def test_an_unknown_figure_makes_no_guard_hold(
    stated: list[Stated], candidates: list[Candidate], read: list[Sample], data: st.DataObject
) -> None:
    made = program(stated)
    listed = ready(armed(made, UNITS), candidates, made)
    lost = data.draw(st.sets(st.sampled_from(["available", "memory", "full"]), min_size=1))
    place = data.draw(st.sampled_from([HOST, OUTER]))
    full, less = START, START
    for sample in read:
        without = sample
        if place == HOST:
            without = sample._replace(host={**sample.host, **dict.fromkeys(lost)})
        elif place in sample.units:
            figures = {**sample.units[place], **dict.fromkeys(lost)}
            without = sample._replace(units={**sample.units, place: figures})
        full, _ = decide(full, sample, listed, None)
        less, _ = decide(less, without, listed, None)
        # Fewer hold, so fewer samples are awaited: with the same gaps no more hold.
        if full.resumed == less.resumed:
            fewer, more = ({one.key for one in decision.due(state)} for state in (less, full))
            assert fewer <= more


@settings(PATIENT, max_examples=40)
@given(st.lists(guards(), min_size=1, max_size=4), CANDIDATES, samples())
def test_nothing_is_known_and_nobody_is_taken(
    stated: list[Stated], candidates: list[Candidate], read: list[Sample]
) -> None:
    made = program(stated)
    listed = ready(armed(made, UNITS), candidates, made)
    state = START
    for sample in read:
        nothing = sample._replace(host=dict.fromkeys(sample.host), units={})
        state, found = decide(state, nothing, listed, None)
        assert found._replace(hot=False, counting=False) == Decision()


@settings(PATIENT, max_examples=40)
@given(st.lists(guards(), min_size=1, max_size=4), CANDIDATES, samples(), ENDINGS)
def test_one_at_a_time_out_of_the_list_and_each_is_asked_once(
    stated: list[Stated], candidates: list[Candidate], read: list[Sample], endings: list[Ending]
) -> None:
    made = program(stated)
    listed = ready(armed(made, UNITS), candidates, made)
    events = run(stated, listed, read, endings)
    flying: Candidate | None = None
    asked: set[int] = set()
    over: set[int] = set()
    for event in events:
        if event.kind not in ("asked", "killed", "ended"):
            continue
        victim = event.victim
        assert victim is not None and event.armed is not None
        if event.kind == "ended":
            assert flying == victim
            flying = None
            over.add(victim.pid)
            continue
        assert flying in (None, victim)
        assert victim.pid not in over
        assert victim in listed.candidates[event.armed.unit]
        if event.kind == "asked":
            assert victim.pid not in asked
            asked.add(victim.pid)
        flying = victim


@settings(PATIENT, max_examples=40)
@given(
    guards(("kill", "terminate")),
    CANDIDATES,
    samples(),
    st.booleans(),
    st.floats(3, 1e6),
    samples(),
)
def test_after_a_gap_nothing_fires_before_its_duration(
    stated: Stated,
    candidates: list[Candidate],
    before: list[Sample],
    deserted: bool,
    asleep: float,
    after: list[Sample],
) -> None:
    """With nobody to take a condition is counted as well: somebody may come after the gap."""
    made = program([stated])
    listed = ready(armed(made, UNITS), candidates, made)
    first_list = ready(listed.armed, [] if deserted else candidates, made)
    state = START
    for sample in before:
        state, _ = decide(state, sample, first_list, None)
    begun = before[-1].at + asleep
    counted = decision._counting(state.watches)
    first = True
    for sample in after:
        later = sample._replace(at=begun + sample.at - after[0].at, killed=NEVER)
        state, found = decide(state, later, listed, None)
        if first and not counted:
            # Nothing was counted: it begins with this sample in any case.
            assert all(w.since in (None, later.at) for w in state.watches)
        first = False
        if found.armed:
            assert later.at >= begun + found.armed.guard.lasting / 1000 - 1e-5


@given(st.integers(1, 9), st.integers(0, 90), st.integers(1, 60))
def test_a_stall_that_is_over_takes_no_second_one(limit: int, after: int, before: int) -> None:
    """Whatever the average of the second is: what counts is what came after the kill."""
    made = program([Stated(f"kill when host.stall > {limit * 10}%", lambda _: None)])
    listed = ready(armed(made), [candidate(1), candidate(2)], made)
    state, full, flight = START, 0, None
    kills = 0
    for step in range(before + 40):
        killed = flight is not None or kills
        # Afterwards there is less than the limit.
        full += (min(after, limit * 10 - 5) if killed else 100) * 1000
        host = {**AT_REST, "full": full, "some": full}
        at = step / 10
        if flight is not None:
            flight = flight._replace(gone=flight.since + 0.05)
        state, found = decide(state, Sample(at, host, {}), listed, flight)
        if found.landed:
            flight = None
        if found.armed:
            kills += 1
            victim = found.victims[0]
            flight = Flight(victim, found.armed, at, at, at + 5, 0, 0)
    assert kills <= 1


@given(st.integers(0, 800), st.integers(1, 3), st.integers(20, 60))
def test_a_steady_level_takes_one(level: int, ranks: int, steps: int) -> None:
    """The victim's memory is back, and what is there stays as it is."""
    made = program([Stated("kill when host.available < 10%", lambda _: None)])
    listed = ready(armed(made), [candidate(rank) for rank in range(1, ranks + 1)], made)
    world = Replay()
    events = []
    for step in range(steps):
        host = {**AT_REST, "available": level * MIB}
        events += world.look(Sample(step / 10, host, {}), listed)
    assert [event.kind for event in events] == ["killed", "ended"]


@given(CANDIDATES, st.lists(st.sampled_from([OUTER, INNER, HOST]), min_size=1, max_size=3))
def test_who_is_not_in_the_list_is_never_named(
    candidates: list[Candidate], places: list[str]
) -> None:
    """Protected processes are in no ready list, so they can be no victim."""
    block = {HOST: "", OUTER: "in a.slice: ", INNER: "in b.service: "}
    sentences = [f"{block[place]}kill when host.available < 10%" for place in dict.fromkeys(places)]
    made = compiler.compile_texts([RuleText("x.oom", "\n".join(sentences) + "\n")])
    listed = ready(armed(made, UNITS), candidates, made)
    allowed = {*itertools.chain.from_iterable(listed.candidates[place] for place in places)}
    unit = {"memory": GIB, "full": 0, "some": 0}
    low = Sample(1.0, {**AT_REST, "available": 0}, {OUTER: unit, INNER: unit})
    _, found = decide(START, low, listed, None)
    assert {*found.victims} <= allowed
    assert bool(found.victims) == bool(allowed)
    if allowed:
        assert found.victims[0] == min(allowed, key=lambda one: one.rank)
