"""What a sample leads to: one at a time, the strongest action, nothing on what is not known."""

from __future__ import annotations

from oomrules.guard import decision
from oomrules.guard.decision import START, State, decide
from oomrules.guard.model import HOST, Decision, Flight, Ready, Sample, Whole
from tests.guard.making import GIB, MIB, armed, candidate, flight, program, ready, sample

LOW = 400 * MIB


def going(
    samples: list[Sample], listed: Ready, aloft: Flight | None = None, state: State = START
) -> tuple[State, Decision]:
    """Return what the last of several samples leads to."""
    for read in samples:
        state, made = decide(state, read, listed, aloft)
    return state, made


def host(*sentences: str, count: int = 3) -> Ready:
    made = program(*sentences)
    return ready(armed(made), [candidate(rank) for rank in range(1, count + 1)], made)


def test_the_first_of_the_list_is_taken() -> None:
    listed = host("kill when host.available < 10%")
    _, made = going([sample(1.0)], listed)
    assert (made.action, made.victims, made.hot) == ("", (), False)
    _, made = going([sample(1.0), sample(1.1, available=LOW)], listed)
    assert made.action == "kill"
    assert [victim.rank for victim in made.victims] == [1, 2, 3]
    assert made.hot


def test_an_action_takes_its_duration() -> None:
    listed = host("kill when host.available < 10% for 1s")
    low = [sample(n / 10, available=LOW) for n in range(11)]
    _, made = going(low[:10], listed)
    assert (made.action, made.counting, made.hot) == ("", True, True)
    assert going(low, listed)[1].action == "kill"
    broken = [*low[:5], sample(0.5), *low[6:]]
    assert going(broken, listed)[1].action == ""
    unknown = [*low[:5], sample(0.5, available=None), *low[6:]]
    assert going(unknown, listed)[1].action == ""


def test_a_gap_begins_durations_and_stalls_anew() -> None:
    listed = host("kill when host.available < 10% for 5s", "kill when host.stall > 50%")
    low = [sample(float(n), available=LOW) for n in range(5)]
    late = sample(4 + decision.GAP + 0.1, available=LOW, full=2_000_000)
    state, made = going([*low, late], listed)
    assert made.action == ""
    after = [sample(late.at + n, available=LOW, full=2_000_000) for n in (1, 2, 3, 4, 5)]
    assert going(after[:4], listed, state=state)[1].action == ""
    assert going(after, listed, state=state)[1].action == "kill"


def test_one_at_a_time_and_the_next_when_the_memory_is_back() -> None:
    listed = host("kill when host.available < 10%")
    by = listed.armed[0]
    state, made = going([sample(1.0, available=LOW)], listed)
    aloft = flight(made.victims[0], by, 1.0, killed=1.0, available=LOW)
    state, made = going([sample(1.1, available=LOW)], listed, aloft, state)
    assert (made.action, made.landed) == ("", "")
    # It is gone, and its memory is not back.
    gone = aloft._replace(gone=1.15)
    state, made = going([sample(1.2, available=LOW + GIB // 4)], listed, gone, state)
    assert (made.action, made.landed) == ("", "")
    # Half of it is.
    state, made = going([sample(1.3, available=LOW + GIB // 2)], listed, gone, state)
    assert (made.landed, made.action) == (decision.BACK, "")
    # A new shortage takes the next one: the first is no candidate of an old list any more.
    _, made = going([sample(1.4, available=LOW)], listed, None, state)
    assert [victim.rank for victim in made.victims] == [2, 3]


def test_memory_that_does_not_come_back_is_waited_for_until_its_deadline() -> None:
    listed = host("kill when host.available < 10%")
    victim = candidate(1, swap=400 * MIB)
    gone = flight(victim, listed.armed[0], 1.0, killed=1.0, gone=1.5, available=LOW)
    state, made = going([sample(3.9, available=LOW)], listed, gone)
    assert (made.landed, made.action) == ("", "")
    _, made = going([sample(4.0, available=LOW)], listed, gone, state)
    assert (made.landed, made.action) == (decision.LATE, "kill")
    assert made.victims[0].rank == 2


def test_one_that_does_not_die_is_given_up_and_never_taken_again() -> None:
    listed = host("kill when host.available < 10%", count=2)
    stuck = flight(candidate(1), listed.armed[0], 1.0, killed=1.0, available=LOW)
    read = [sample(1 + n / 10, available=LOW) for n in range(31)]
    state, made = going(read[:20], listed, stuck)
    assert (made.landed, made.action) == ("", "")
    state, made = going(read[20:21], listed, stuck, state)
    assert (made.landed, made.action) == (decision.STUCK, "kill")
    assert [victim.rank for victim in made.victims] == [2]
    other = flight(candidate(2), listed.armed[0], 3.0, killed=3.0, available=LOW, gone=3.05)
    state, made = going([sample(3.6, available=LOW)], listed, other, state)
    assert (made.landed, made.action) == (decision.LATE, "")
    assert len(made.nobody) == 1


def test_who_was_asked_is_killed_when_the_time_is_over() -> None:
    listed = host("terminate when host.available < 10% within 2s")
    asked = flight(candidate(1), listed.armed[0], 1.0)
    state, made = going([sample(2.9, available=LOW)], listed, asked)
    assert (made.escalate, made.action) == (False, "")
    assert going([sample(3.0, available=LOW)], listed, asked, state)[1].escalate


def test_who_was_asked_is_killed_when_a_guard_that_kills_holds() -> None:
    listed = host("terminate when host.available < 10%", "kill when host.available < 5%")
    asked = flight(candidate(1), listed.armed[0], 1.0)
    assert not going([sample(1.1, available=700 * MIB)], listed, asked)[1].escalate
    assert going([sample(1.1, available=LOW)], listed, asked)[1].escalate
    # One that may access hardware has the time that this guard gives.
    polite = asked._replace(victim=candidate(1, polite=True), escalate=60.0)
    read = [sample(1 + n / 2, available=LOW) for n in range(1, 15)]
    assert not going(read[:9], listed, polite)[1].escalate
    assert going(read, listed, polite)[1].escalate


def test_the_guard_that_gives_least_time_counts_for_a_victim_of_its_place() -> None:
    """Ten minutes of one guard do not hold up the guards of the host."""
    made = program(
        "in b.slice: terminate when scope.memory > 1GiB within 10min",
        "terminate when host.available < 10% for 1s within 3s",
    )
    victim = candidate(2, cgroup="/b.slice/x")
    listed = ready(armed(made), [candidate(1), victim], made)
    slow = next(one for one in listed.armed if one.unit == "/b.slice")
    asked = flight(victim, slow, 0.0)
    over = {"/b.slice": {"memory": 2 * GIB}}
    state = START
    course = [sample(n / 2, over, available=6 * GIB if n < 200 else LOW) for n in range(220)]
    killed = []
    for read in course:
        state, chosen = decide(state, read, listed, asked)
        assert not chosen.action
        if chosen.escalate:
            killed.append(read.at)
    # It is due a second after 100, and gives three.
    assert killed[0] == 104
    # The other way round, the slow one changes nothing.
    quick = flight(victim, slow, 0.0, escalate=2.0)
    assert going(course[:5], listed, quick)[1].escalate
    # One of another place is none of theirs.
    elsewhere = flight(candidate(1), slow, 0.0)._replace(armed=slow._replace(unit="/a.service"))
    assert not going(course[:199], listed, elsewhere)[1].escalate


def test_a_guard_elsewhere_kills_nobody_who_was_asked() -> None:
    made = program(
        "terminate when host.available < 10%", "in b.slice: kill when scope.memory > 1GiB"
    )
    listed = ready(armed(made), [candidate(1), candidate(2, cgroup="/b.slice/x")], made)
    over = {"/b.slice": {"memory": 2 * GIB}}
    terminate = next(one for one in listed.armed if one.guard.kind == "terminate")
    asked = flight(candidate(1), terminate, 1.0)
    assert not going([sample(1.1, over, available=LOW)], listed, asked)[1].escalate
    inside = asked._replace(victim=candidate(2, cgroup="/b.slice/x"))
    assert going([sample(1.1, over, available=LOW)], listed, inside)[1].escalate


def test_a_stall_that_a_kill_has_ended_kills_nobody_else() -> None:
    listed = host("kill when host.stall > 20%")
    by = listed.armed[0]
    read = [sample(n / 10, full=90_000 * n) for n in range(1, 11)]
    state, made = going(read, listed)
    assert made.action == "kill"
    killed = flight(made.victims[0], by, 1.0, killed=1.0)
    state, _ = going([sample(1.2, full=1_080_000)], listed, killed, state)
    gone = killed._replace(gone=1.25)
    state, made = going([sample(1.3, available=7 * GIB, full=1_170_000)], listed, gone, state)
    assert (made.landed, made.action) == (decision.BACK, "")
    quiet = [sample(1.3 + n / 10, full=1_170_000) for n in range(1, 20)]
    for end in range(1, 20):
        assert going(quiet[:end], listed, None, state)[1].action == ""
    # A new one is as good as the first.
    new = [sample(1.3 + n / 10, full=1_170_000 + 90_000 * n) for n in range(1, 5)]
    assert going(new, listed, None, state)[1].action == "kill"


def test_a_kill_by_the_kernel_is_waited_for_as_one_of_ours() -> None:
    listed = host("kill when host.stall > 20%", "kill when host.available < 5%")
    read = [sample(n / 10, full=90_000 * n) for n in range(1, 3)]
    state, made = going(read, listed)
    assert made.action == ""
    soon = sample(0.3, full=270_000, killed=0.25, available=LOW)
    state, made = going([soon], listed, None, state)
    assert (made.action, made.hot) == ("", True)
    later = [sample(0.3 + n / 10, available=LOW, killed=0.25) for n in range(1, 11)]
    assert [going(later[:n], listed, None, state)[1].action for n in range(1, 10)] == [""] * 9
    assert going(later, listed, None, state)[1].action == "kill"


def test_a_warning_is_said_once_and_so_is_its_end() -> None:
    listed = host("warn when host.available < 10% for 1s")
    state, said = START, []
    for n in range(300):
        low = 10 <= n < 60 or n == 80
        state, made = going([sample(n / 10, available=LOW if low else GIB)], listed, None, state)
        said += [(n, "warned")] * len(made.warnings) + [(n, "over")] * len(made.over)
        assert made.action == ""
    # The second time, at 8 s, the first warning was not over.
    assert said == [(20, "warned"), (181, "over")]


def test_nobody_is_said_once_until_there_was_somebody_or_enough_memory() -> None:
    listed = host("kill when host.available < 10%", count=0)
    somebody = host("kill when host.available < 10%", count=1)._replace(armed=listed.armed)
    low = [sample(n / 10, available=LOW) for n in range(4)]
    state, made = going(low[:1], listed)
    assert [one.guard.kind for one in made.nobody] == ["kill"]
    state, made = going(low[1:2], listed, None, state)
    assert made.nobody == ()
    _, made = going([low[2], sample(0.25), low[3]], listed, None, state)
    assert len(made.nobody) == 1
    state, made = going(low[2:3], somebody, None, state)
    assert (made.action, made.nobody) == ("kill", ())


def test_a_guard_with_nobody_to_take_keeps_no_other_from_acting() -> None:
    made = program("in b.slice: kill when scope.memory > 1B", "terminate when host.available < 10%")
    listed = ready(armed(made), [candidate(1)], made)
    read = sample(1.0, {"/b.slice": {"memory": 2}}, available=LOW)
    _, chosen = going([read], listed)
    assert chosen.action == "terminate"
    assert [one.unit for one in chosen.nobody] == ["/b.slice"]


def test_of_several_guards_the_strongest_acts_and_takes_the_first_of_their_scopes() -> None:
    made = program(
        "terminate when host.available < 10%",
        "in b.slice: kill when scope.memory > 1GiB",
        "in c.slice: kill when scope.memory > 1GiB",
    )
    listed = ready(
        armed(made),
        [
            candidate(1),
            candidate(2, cgroup="/c.slice"),
            candidate(3, cgroup="/c.slice"),
            candidate(4, cgroup="/b.slice"),
            candidate(5, cgroup="/c.slice"),
        ],
        made,
    )
    both = {"/b.slice": {"memory": 2 * GIB}, "/c.slice": {"memory": 2 * GIB}}
    _, chosen = going([sample(1.0, both, available=LOW)], listed)
    assert chosen.armed is not None
    assert (chosen.action, chosen.armed.unit) == ("kill", "/c.slice")
    # The next is of another guard: so it is decided anew.
    assert [victim.rank for victim in chosen.victims] == [2, 3]


def test_who_cannot_be_signalled_is_passed_over() -> None:
    listed = host("kill when host.available < 10%")
    state, made = going([sample(1.0, available=LOW)], listed)
    state = decision.tried(state, made, flight(candidate(2), listed.armed[0], 1.0))
    _, made = going([sample(1.0, available=LOW)], listed, None, state)
    assert [victim.rank for victim in made.victims] == [2, 3]
    state = decision.tried(state, made, None)
    state, made = going([sample(1.1, available=LOW)], listed, None, state)
    assert (made.action, len(made.nobody)) == ("", 1)
    _, made = going([sample(1.1 + decision.RETRY, available=LOW)], listed, None, state)
    assert made.action == "kill"


def test_those_who_went_with_a_unit_are_passed_over_too() -> None:
    listed = host("kill when host.available < 10%")
    whole = Whole("/a.service", True, (candidate(2).identity,), GIB)
    gone = flight(candidate(1, whole=whole), listed.armed[0], 1.0, killed=1.0, gone=1.1)
    state, made = going([sample(1.2, available=6 * GIB)], listed, gone)
    assert made.landed == decision.BACK
    _, made = going([sample(1.3, available=LOW)], listed, None, state)
    assert [victim.rank for victim in made.victims] == [3]


def test_kills_in_a_unit_keep_the_hosts_guards_from_acting_for_a_moment_only() -> None:
    """A user whose processes are taken again and again does not blind the host's own guard."""
    made = program("kill when host.pressure > 40%", "in u.slice: kill when scope.memory > 1GiB")
    listed = ready(armed(made), [candidate(1), candidate(2, cgroup="/u.slice")], made)
    inner = next(one for one in listed.armed if one.unit)
    units = {"/u.slice": {"memory": 2 * GIB}}
    state, acted = START, None
    for n in range(200):
        at = n / 10
        # One kill after the other, each over within half a second.
        begun = n // 5 * 5 / 10
        victim = candidate(1000 + n // 5, cgroup="/u.slice")
        aloft = flight(victim, inner, begun, killed=begun, gone=at if n % 5 == 4 else None)
        read = sample(at, units, available=6 * GIB, some=900_000 * n // 10)
        state, chosen = decide(state, read, listed, aloft)
        if chosen.armed and chosen.armed.unit == "":
            acted = at
            break
    assert acted is not None and acted < 6


def test_a_kill_anywhere_begins_the_totals_of_the_root_slice_anew() -> None:
    made = program("in -.slice: kill when scope.stall > 40%", "kill when host.available < 10%")
    there = candidate(1, cgroup="/a.service"), candidate(2, cgroup="/b.service")
    listed = ready(armed(made, {"-.slice": "/"}), there, made)
    listed = listed._replace(candidates={HOST: there, "/": there})
    state, aloft, acts, full = START, None, [], 0
    for n in range(30):
        # A third of the time is lost, and while the victim dies all of it: that is its death.
        full += 35_000 if n <= 10 else 100_000 if n < 13 else 0
        available = LOW if n == 10 else 6 * GIB
        read = sample(n / 10, {"/": {"some": full, "full": full}}, available=available)
        state, chosen = decide(state, read, listed, aloft)
        aloft = None if chosen.landed else aloft
        if chosen.armed:
            acts.append((n, chosen.armed.unit))
            at = read.at
            aloft = flight(chosen.victims[0], chosen.armed, at, killed=at, available=LOW)
        elif aloft and n == 12:
            aloft = aloft._replace(gone=read.at)
    assert acts == [(10, HOST)]


def test_a_suspend_during_a_kill_gives_the_victim_its_time() -> None:
    listed = host("kill when host.available < 10%")
    killed = flight(candidate(1), listed.armed[0], 1.0, killed=1.0, available=LOW)
    state, _ = going([sample(1.0, available=LOW)], listed, killed)
    state, made = going([sample(9000.0, available=LOW)], listed, killed, state)
    assert made.landed == ""
    state, made = going([sample(9002.0, available=LOW)], listed, killed, state)
    assert made.landed == decision.STUCK


def test_after_a_gap_somebody_who_comes_to_an_empty_place_has_the_whole_duration() -> None:
    """That nobody could be taken before the suspend is no reason to miss that it was one."""
    listed = host("kill when host.available < 10% for 2s")
    empty = host("kill when host.available < 10% for 2s", count=0)._replace(armed=listed.armed)
    low = [sample(n / 10, available=LOW) for n in range(40)]
    state, made = going(low, empty)
    assert made.nobody == () and state.watches[0].nobody
    woken = [sample(9000 + n / 10, available=LOW) for n in range(21)]
    assert going(woken[:20], listed, None, state)[1].action == ""
    assert going(woken, listed, None, state)[1].action == "kill"


def test_a_new_list_with_the_same_guards_goes_on_counting() -> None:
    first = host("kill when host.available < 10% for 1s")
    again = host("warn when host.available < 1%", "kill when host.available < 10% for 1s")
    low = [sample(n / 10, available=LOW) for n in range(11)]
    state, _ = going(low[:6], first)
    same = first._replace(armed=first.armed[:], at=3.0)
    assert going(low[6:], same, None, state)[1].action == "kill"
    moved = again._replace(
        armed=tuple(
            one._replace(guard=one.guard._replace(place="g.oom:1"))
            if one.guard.kind == "kill"
            else one
            for one in again.armed
        )
    )
    assert going(low[6:], moved, None, state)[1].action == "kill"
    other = host("kill when host.available < 10.5% for 1s")
    assert going(low[6:], other, None, state)[1].action == ""


def test_a_warning_of_a_unit_that_is_gone_is_over() -> None:
    made = program("in b.slice: warn when scope.memory > 1GiB")
    listed = ready(armed(made), [candidate(1)], made)
    state, said = going([sample(1.0, {"/b.slice": {"memory": 2 * GIB}})], listed)
    assert len(said.warnings) == 1
    _, said = going([sample(1.1)], listed._replace(armed=()), None, state)
    assert len(said.over) == 1


def test_a_dry_run_says_once_a_shortage_what_it_would_do() -> None:
    listed = host("kill when host.available < 10%")
    state, made = going([sample(1.0, available=LOW)], listed)
    dry = flight(made.victims[0], listed.armed[0], 1.0, killed=1.0, gone=1.0, dry=True)
    low = [sample(1 + n / 10, available=LOW) for n in range(1, 100)]
    for read in low:
        state, made = decide(state, read, listed, dry)
        assert (made.landed, made.action, made.escalate) == ("", "", False)
    state, made = decide(state, sample(11.0), listed, dry)
    assert made.landed == decision.BACK
    _, made = decide(state, sample(11.1, available=LOW), listed, None)
    # It was not taken, so it is still the first.
    assert [victim.rank for victim in made.victims] == [1, 2, 3]


def test_what_is_near_is_looked_at_often() -> None:
    listed = host("kill when host.available < 10% and host.stall > 10%")
    rest = [sample(n / 10, available=820 * MIB) for n in range(30)]
    assert going(rest, listed)[1].hot is False
    # 10 % are 819 MiB, a fiftieth of 8 GiB is 164 MiB.
    busy = [sample(n / 10, available=900 * MIB, full=8000 * n) for n in range(30)]
    assert going(busy, listed)[1].hot is True
    far = [sample(n / 10, available=2 * GIB, full=80_000 * n) for n in range(30)]
    assert going(far, listed)[1].hot is False


def test_distances_are_those_that_the_condition_needs_however_it_is_written() -> None:
    """The figure first, and turned round below a `not`: else nothing would seem to be missing."""
    written = "host.available < 10%", "10% > host.available", "not host.available >= 10%"
    for condition in written:
        listed = host(f"kill when {condition}")
        read = sample(1.0)
        state, _ = going([read], listed)
        ((one,),) = (each.comparisons for each in decision.distances(state, read, listed))
        assert (one.text, one.holds) == ("host.available < 10%", False)
        assert one.value == (6 * GIB, 6 * GIB) and one.limit == (8 * GIB // 10,) * 2


def test_a_definition_that_is_named_often_is_opened_once() -> None:
    deep = [f"define d{n} = d{n - 1} and not d{n - 1}" for n in range(1, 40)]
    made = program("define d0 = host.available < 10%", *deep, "kill when d39")
    listed = ready(armed(made), [candidate(1)], made)
    state, _ = going([sample(1.0)], listed)
    (one,) = decision.distances(state, sample(1.0), listed)
    assert [part.text for part in one.comparisons] == [
        "host.available < 10%",
        "host.available >= 10%",
    ]


def test_distances_say_what_is_missing() -> None:
    made = program(
        "define tight = host.available < 10%",
        "kill when tight and host.stall > 10%",
        "terminate when host.swap_free < 10%",
        "in b.slice: warn when scope.memory > 1GiB",
    )
    listed = ready(armed(made), [candidate(1)], made)
    read = sample(1.0, available=LOW, full=None, swap=0, swap_free=0)
    state, _ = going([read], listed)
    kill, terminate, warn = decision.distances(state, read, listed)
    available, stall = kill.comparisons
    assert (available.text, stall.text) == ("host.available < 10%", "host.stall > 10%")
    assert stall.missing == ("host.stall",)
    assert available.holds is True
    assert available.value == (LOW, LOW) and available.limit == (8 * GIB // 10,) * 2
    assert "PSI" in kill.never
    assert "no swap" in terminate.never
    assert warn.never == "there is no b.slice"
    assert kill.victim == candidate(1)
    assert warn.victim is None


def test_one_that_is_stuck_is_remembered_however_many_cannot_be_signalled() -> None:
    listed = host("kill when host.available < 10%", count=1)
    stuck = flight(candidate(1), listed.armed[0], 1.0, killed=1.0, available=LOW)
    state, made = going([sample(1.0, available=LOW), sample(3.1, available=LOW)], listed, stuck)
    assert made.landed == decision.STUCK
    for number in range(20):
        others = tuple(candidate(rank) for rank in range(100 * number + 2, 100 * number + 102))
        state = decision.tried(state, Decision(action="kill", victims=others), None)
    assert len(state.passed) <= 256
    _, made = going([sample(3.2, available=LOW)], listed, None, state)
    assert made.victims == ()


def test_somebody_who_comes_is_taken_though_nobody_was_there() -> None:
    listed = host("kill when host.available < 10% for 1s", count=0)
    low = [sample(1 + n, available=LOW) for n in range(4)]
    state, made = going(low[:3], listed)
    assert (made.action, made.counting, made.hot) == ("", True, True)
    somebody = listed._replace(candidates={"": (candidate(1),)})
    assert going(low[3:], somebody, None, state)[1].action == "kill"
    # After a gap its duration begins anew.
    assert going([sample(60.0, available=LOW)], somebody, None, state)[1].action == ""
