"""The plan against the kernel's formula, on random tables of processes.

The oracle is the kernel's selection (tests/oracle/killer.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.ranking.kernel_badness import HIGHEST, LOWEST, UNKILLABLE, Domain, Task
from oomrules.sinks.oom_score_adj.plan import MARGINS, Plan, plan, verify
from oomrules.sinks.oom_score_adj.search import Claim, Margin
from tests.oracle.killer import victims

PROPERTY = settings(max_examples=120, deadline=None, derandomize=True, database=None)


class Table(NamedTuple):
    candidates: list[Task]
    rest: list[Task]
    protected: list[Task]
    domains: list[Domain]
    lowering: bool

    @property
    def everybody(self) -> list[Task]:
        return [*self.candidates, *self.rest, *self.protected]

    def each(self, changed: Callable[[Task], Task]) -> Table:
        """Return the same table with every task changed."""
        return self._replace(
            candidates=[changed(task) for task in self.candidates],
            rest=[changed(task) for task in self.rest],
            protected=[changed(task) for task in self.protected],
        )

    def plan(self, *margins: Margin) -> Plan:
        lists = (self.candidates, self.rest, self.protected, self.domains)
        return plan(*lists, margins or MARGINS)


ADJUSTMENTS = st.sampled_from([0, 0, 0, 0, 200, -250, -900, 1000, 500, 7, -1000])


@st.composite
def tables(
    draw: st.DrawFn, most: int = 24, groups: int = 3, head: int = 8, lowering: bool | None = None
) -> Table:
    host = draw(st.integers(1500, 3_000_000))
    domains = [Domain("", host, draw(st.integers(1, head)))]
    for number in range(draw(st.integers(0, groups))):
        limit = draw(st.integers(100, host))
        domains.append(Domain(f"/{number}", limit, draw(st.integers(1, head))))
    may_lower = draw(st.booleans()) if lowering is None else lowering
    lists: tuple[list[Task], list[Task], list[Task]] = ([], [], [])
    for pid in range(10, 10 + draw(st.integers(0, most))):
        inside = draw(st.sets(st.integers(1, max(1, len(domains) - 1)), max_size=2))
        places = (0, *sorted(number for number in inside if number < len(domains)))
        room = min(domains[place].totalpages for place in places)
        size = draw(st.integers(0, room) | st.integers(0, max(1, room // 50)))
        original = draw(ADJUSTMENTS)
        current = draw(st.sampled_from([original, original, original, 300, -1000]))
        lowest = -1000 if may_lower else original
        kind = draw(st.sampled_from([0, 0, 0, 1, 2]))
        lists[kind].append(Task(pid, pid, size, original, current, places, lowest))
    return Table(*lists, domains, may_lower)


def members(table: Table, number: int) -> list[Task]:
    return [task for task in table.everybody if number in task.domains]


def keeps_its_word(table: Table, found: Plan, values: Mapping[int, int]) -> None:
    """Kill in each domain, in both orders of the task list, and compare with the claims."""
    for number, claim in enumerate(found.claims):
        inside = members(table, number)
        ranked = [t.pid for t in table.candidates if number in t.domains]
        ranked = [pid for pid in ranked if pid not in claim.above]
        assert claim.claimed <= claim.wanted <= len(ranked)
        for listed in (inside, inside[::-1]):
            order = victims(listed, values, claim.domain.totalpages)
            order = [pid for pid in order if pid not in claim.above]
            assert order[: claim.claimed] == ranked[: claim.claimed]


@PROPERTY
@given(tables())
def test_the_kernel_kills_in_the_claimed_order(table: Table) -> None:
    found = table.plan()
    keeps_its_word(table, found, found.values)


@PROPERTY
@given(tables(lowering=True))
def test_who_is_protected_is_never_chosen(table: Table) -> None:
    values = table.plan().values
    safe = {task.pid for task in table.protected}
    assert all(values[pid] == UNKILLABLE for pid in safe)
    for number, domain in enumerate(table.domains):
        assert not safe & set(victims(members(table, number), values, domain.totalpages))


def limited(table: Table) -> Table:
    """Return a table in which the values are for the control groups with a limit only."""
    host, *groups = table.domains
    return table._replace(domains=[host._replace(head=0), *groups]).each(
        lambda task: (
            task
            if len(task.domains) > 1
            else task._replace(lowest=task.original, highest=task.original)
        )
    )


@PROPERTY
@given(tables())
def test_for_groups_with_a_limit_alone_all_others_have_their_own_values(table: Table) -> None:
    table = limited(table)
    found = table.plan()
    for task in table.everybody:
        if len(task.domains) == 1:
            assert found.values[task.pid] == task.original
    assert found.claims[0].claimed == 0 and not found.claims[0].wanted
    keeps_its_word(table, found, found.values)
    if table.lowering:
        inside = {task.pid for task in table.protected if len(task.domains) > 1}
        assert all(found.values[pid] == UNKILLABLE for pid in inside)


@PROPERTY
@given(tables(lowering=True))
def test_for_groups_alone_nothing_is_left_of_an_order_of_the_host(table: Table) -> None:
    before = table.plan().values
    after = limited(table.each(lambda task: task._replace(current=before[task.pid])))
    values = after.plan().values
    assert all(
        values[task.pid] == task.original for task in after.everybody if len(task.domains) == 1
    )


def test_a_value_that_is_not_needed_goes_though_the_order_still_holds() -> None:
    domains = [Domain("", 100_000, 0), Domain("/a", 10_000, 5)]
    first, second = (Task(pid, pid, size, 0, 0, (0, 1)) for pid, size in ((10, 7000), (11, 4000)))
    other = Task(12, 12, 50, 0, 300, (0,), lowest=0, highest=0)
    # The order in the group is in force, at half the distance that a new one would have.
    assert plan([first, second], [], [], domains).values == {10: 100, 11: 0}
    found = plan([first, second], [other], [], domains)
    assert found.values[12] == 0 and not found.kept


@PROPERTY
@given(tables(), st.data())
def test_the_claim_survives_a_drift_of_half_the_margin(table: Table, data: st.DataObject) -> None:
    found = table.plan()
    drift = {
        task.pid: min(
            (table.domains[place].margin(found.claims[place].apart) - 1) // 2
            for place in task.domains
        )
        for task in table.everybody
    }
    drifted = table.each(
        lambda task: task._replace(
            size=task.size + data.draw(st.sampled_from([-1, 1])) * drift[task.pid]
        )
    )
    keeps_its_word(drifted, found, found.values)


@PROPERTY
@given(tables(), st.data())
def test_one_that_is_behind_the_head_may_grow_by_the_gap(table: Table, data: st.DataObject) -> None:
    found = table.plan()
    behind = [
        task
        for task in table.everybody
        if not any(task in heads(table, found, number) for number in task.domains)
    ]
    if behind:
        task = data.draw(st.sampled_from(behind))
        steps = min(table.domains[place].margin(found.claims[place].gap) for place in task.domains)
        grown = task._replace(size=task.size + steps - 1)
        later = table.each(lambda other: grown if other == task else other)
        keeps_its_word(later, found, found.values)


def heads(table: Table, found: Plan, number: int) -> list[Task]:
    """The head, and with it whoever takes the place of one that is out of reach."""
    above = found.claims[number].above
    inside = [task for task in table.candidates if number in task.domains]
    return [t for t in inside if t.pid not in above][: table.domains[number].head]


@PROPERTY
@given(tables(lowering=False))
def test_raising_alone_lowers_nobody(table: Table) -> None:
    found = table.plan()
    for task in table.everybody:
        assert found.values[task.pid] >= task.original or found.kept
    for claim in found.claims:
        killable = {task.pid for task in table.protected if task.original != UNKILLABLE}
        inside = {task.pid for task in members(table, found.claims.index(claim))}
        assert set(claim.killable) <= killable & inside


@PROPERTY
@given(tables(groups=0), st.sampled_from(MARGINS))
def test_one_domain_has_the_longest_head_and_then_the_fewest_changes(
    table: Table, margin: Margin
) -> None:
    # Nothing is in force yet, so that nothing is kept.
    table = without_history(table)
    candidates, rest = table.candidates[:5], table.rest[:3]
    protected = table.protected if table.lowering else []
    table = table._replace(candidates=candidates, rest=rest, protected=protected)
    found = table.plan(margin)
    claim = found.claims[0]
    if claim.above:
        return
    changes = sum(found.values[t.pid] != t.original for t in (*candidates, *rest))
    best = brute_force(candidates, rest, table.domains[0], claim)
    assert (claim.claimed, changes) == best


def without_history(table: Table) -> Table:
    return table.each(lambda task: task._replace(current=task.original))


def in_force(table: Table, plan: Plan) -> Table:
    """Return the table of a host where the plan's values have been written."""
    return table.each(lambda task: task._replace(current=plan.values[task.pid]))


def brute_force(
    candidates: Sequence[Task], rest: Sequence[Task], domain: Domain, claim: Claim
) -> tuple[int, int]:
    """Try every set of processes that could be moved, the longest head and the smallest first."""
    unit = domain.totalpages // 1000
    between, gap = (domain.totalpages * one // 1000 for one in (claim.apart, claim.gap))
    everybody = [*candidates, *rest]
    for head in range(claim.wanted, -1, -1):
        for size in range(len(everybody) + 1):
            for moved in itertools.combinations(everybody, size):
                if head == 0 or possible(candidates, rest, head, set(moved), unit, between, gap):
                    return head, size
    raise AssertionError


def possible(
    candidates: Sequence[Task],
    rest: Sequence[Task],
    head: int,
    moved: set[Task],
    unit: int,
    between: int,
    gap: int,
) -> bool:
    """Move everybody below the head as far down as it goes, and the head up as little as it can."""
    below = [
        task.size + (max(task.lowest, LOWEST) if task in moved else task.original) * unit
        for task in (*candidates[head:], *rest)
        if task.original != UNKILLABLE
    ]
    needed = max((points + gap for points in below), default=None)
    for task in reversed(candidates[:head]):
        choices = range(max(LOWEST, task.lowest), HIGHEST + 1) if task in moved else [task.original]
        fitting = [
            task.size + value * unit
            for value in choices
            if value != UNKILLABLE and (needed is None or task.size + value * unit >= needed)
        ]
        if not fitting:
            return False
        needed = min(fitting) + between
    return True


@PROPERTY
@given(tables())
def test_whoever_is_written_to_is_written_to_for_a_reason(table: Table) -> None:
    found = table.plan()
    for task, value, why in found.assignments:
        assert value == found.values[task.pid] != task.current
        assert UNKILLABLE <= value <= HIGHEST
        assert (why == "original") == (value == task.original)
        assert why != "protected" or task in table.protected
    written = {assignment.task.pid for assignment in found.assignments}
    assert all(found.values[t.pid] == t.current for t in table.everybody if t.pid not in written)


@PROPERTY
@given(tables())
def test_what_is_in_force_stays_while_it_serves(table: Table) -> None:
    found = table.plan()
    later = in_force(table, found)
    again = later.plan()
    assert not again.assignments
    # Half the margin may let more of them count.
    for now, before in zip(again.claims, found.claims, strict=True):
        assert now.claimed >= before.claimed


@PROPERTY
@given(tables())
def test_verify_says_the_same_of_the_plan_and_the_truth_of_nothing_done(table: Table) -> None:
    found = table.plan()
    lists = (table.candidates, table.rest, table.protected)
    again = verify(found.claims, *lists, found.values)
    assert again == found.claims
    now = {task.pid: task.current for task in table.everybody}
    keeps_its_word(table, found._replace(claims=verify(found.claims, *lists, now)), now)


# --- cases with names -------------------------------------------------------------------


ONE = (Margin(1000, 10),)


def host(total: int = 1_000_000, head: int = 20) -> list[Domain]:
    return [Domain("", total, head)]


def tasks(*sizes: int, adj: int = 0, first: int = 10, lowest: int = -1000) -> list[Task]:
    return [Task(pid, pid, size, adj, adj, (0,), lowest) for pid, size in enumerate(sizes, first)]


def test_an_order_that_is_the_kernel_s_already_needs_nothing() -> None:
    found = plan(tasks(90_000, 60_000, 30_000), [], [], host(), ONE)
    assert not found.assignments
    assert found.claims[0].claimed == 3


def test_one_process_that_stands_in_the_way_is_the_one_that_moves() -> None:
    found = plan(tasks(90_000, 60_000, 30_000), tasks(400_000, first=20), [], host(), ONE)
    assert [(a.task.pid, a.why) for a in found.assignments] == [(20, "below")]
    assert found.claims[0].claimed == 3


def test_nobody_is_lowered_further_than_needed() -> None:
    found = plan(tasks(90_000, 60_000, 30_000), tasks(400_000, first=20), [], host(), ONE)
    # 30,000 less the margin of 10,000 is 20,000: 380 steps of 1,000 pages below 400,000.
    assert found.values == {10: 0, 11: 0, 12: 0, 20: -380}


def test_equal_sizes_are_no_order() -> None:
    found = plan(tasks(500, 500, 500), [], [], host())
    assert found.claims[0].claimed == 3
    points = [500 + found.values[pid] * 1000 for pid in (10, 11, 12)]
    assert points[0] >= points[1] + 10_000 >= points[2] + 20_000


def test_a_group_of_less_than_a_thousand_pages_knows_no_steps() -> None:
    inside = [task._replace(domains=(0, 1)) for task in tasks(10, 500)]
    found = plan(inside, [], [], [*host(), Domain("/small", 999, 2)])
    assert [claim.claimed for claim in found.claims] == [2, 1]
    # The larger one dies first there, whatever is written.
    assert [claim.above for claim in found.claims] == [(), (11,)]


def test_a_step_weighs_less_in_a_small_group_and_both_orders_hold() -> None:
    inside = [task._replace(domains=(0, 1)) for task in tasks(1_000, 9_000)]
    found = plan(inside, [], [], [*host(), Domain("/small", 20_000, 2)], ONE)
    assert [claim.claimed for claim in found.claims] == [2, 2]
    # 8,000 pages and the margin of 200 are 410 steps of 20 pages, where the host needs 18.
    assert found.values[10] - found.values[11] == 410


def test_when_the_scale_is_too_short_the_worst_are_in_order() -> None:
    sizes = [1, *(900_000 - 10_000 * place for place in range(30, 0, -1))]
    found = plan(tasks(*sizes), [], [], host(head=31), (Margin(3100, 100),))
    claim = found.claims[0]
    assert 0 < claim.claimed < claim.wanted == 31
    assert claim.stuck == 10 + claim.claimed


def test_without_the_right_to_lower_the_protected_get_candidates_above_them() -> None:
    safe = tasks(300_000, first=30, lowest=0)
    found = plan(tasks(10_000, lowest=0), [], safe, host())
    # 400 steps of gap, 300 of size, less its own 10.
    assert found.values == {10: 690, 30: 0}
    assert found.claims[0].claimed == 1
    assert found.claims[0].killable == (30,)


def test_whoever_no_step_gets_out_of_the_way_is_named() -> None:
    safe = tasks(300_000, adj=1000, first=30, lowest=1000)
    found = plan(tasks(10_000, lowest=0), [], safe, host())
    claim = found.claims[0]
    assert (claim.above, claim.killable, claim.claimed) == ((30,), (30,), 1)


def test_a_candidate_that_was_never_killable_becomes_one() -> None:
    found = plan(tasks(10_000, adj=-1000), tasks(20_000, first=20), [], host())
    assert found.claims[0].claimed == 1
    assert found.values[10] > -1000


def test_a_child_of_the_protected_gets_its_own_fate() -> None:
    inherited = [Task(10, 10, 50_000, 0, -1000)]
    found = plan(inherited, [], [], host())
    assert [(a.value, a.why) for a in found.assignments] == [(0, "original")]


def test_a_large_host_is_planned() -> None:
    ranked = tasks(*(index * 7919 % 100_000 for index in range(5000)))
    found = plan(ranked, [], [], host(4_000_000))
    assert found.claims[0].claimed == 20
    assert len(found.assignments) <= 20
    assert (found.claims[0].apart, found.claims[0].gap) == (20, 200)


# --- who passes on what he has, and what users may have -----------------------------------


@st.composite
def crowds(draw: st.DrawFn) -> Table:
    """Tables in which protected processes are of users, or start processes for others."""
    table = draw(tables(most=12, groups=2, lowering=True))
    uids = st.sampled_from([0, 0, 105, 1000, 1001, 165536])
    protected = [
        task._replace(uid=draw(uids), passes_on=draw(st.booleans())) for task in table.protected
    ]
    return table._replace(protected=protected)


@PROPERTY
@given(crowds())
def test_the_protected_die_after_all_others_if_at_all(table: Table) -> None:
    found = table.plan()
    inside = members(table, 0)
    last = set(found.last)
    safe = {task.pid for task in table.protected} - last
    for listed in (inside, inside[::-1]):
        order = victims(listed, found.values, table.domains[0].totalpages)
        first = next((place for place, pid in enumerate(order) if pid in safe), len(order))
        assert set(order[first:]) <= safe
    # In a group with a limit the kernel fails the charge instead.
    for number, domain in enumerate(table.domains[1:], 1):
        order = victims(members(table, number), found.values, domain.totalpages)
        assert not safe & set(order)


@PROPERTY
@given(crowds())
def test_the_order_holds_with_whoever_passes_on_his_value(table: Table) -> None:
    found = table.plan()
    keeps_its_word(table, found, found.values)
    lists = (table.candidates, table.rest, table.protected)
    assert verify(found.claims, *lists, found.values, found.last) == found.claims


@PROPERTY
@given(crowds())
def test_what_users_make_unkillable_has_bounds(table: Table) -> None:
    found = table.plan()
    total = table.domains[0].totalpages
    held = [
        task
        for task in table.protected
        if task.uid >= 1000 and found.values[task.pid] == UNKILLABLE != task.original
    ]
    for uid in {task.uid for task in held}:
        assert sum(task.size for task in held if task.uid == uid) * 4 <= total
    assert sum(task.size for task in held) * 2 <= total
    killable = sum(task.size for task in table.everybody if found.values[task.pid] != UNKILLABLE)
    assert not held or killable * 20 >= total
    # Nobody but users gives way, and none of them without need.
    assert all(task.uid >= 1000 for task in table.protected if task.pid in found.last)


def test_one_user_s_process_in_the_way_of_another_s_leaves_enough_that_is_killable() -> None:
    # 11 is safe at -999 as long as nobody else of the protected is there; 12 has to be.
    first, second = (
        Task(pid, pid, size=0, original=0, current=0, lowest=-1000, uid=1000, domains=domains)
        for pid, domains in ((11, (0,)), (12, (0, 1)))
    )
    other = Task(10, 10, size=0, original=0, current=0, lowest=-1000)
    found = plan([other], [], [first, second], [Domain("", 1500, 1), Domain("/0", 100, 1)])
    assert found.last == (11, 12)
    assert UNKILLABLE not in found.values.values()


@PROPERTY
@given(crowds())
def test_values_of_the_protected_do_not_change_with_every_run(table: Table) -> None:
    # Who was low before may stand in the way of -999 once.
    for _ in range(2):
        table = in_force(table, table.plan())
    assert not table.plan().assignments


def test_a_small_daemon_that_starts_sessions_is_last_and_a_database_never() -> None:
    login = Task(30, 30, 1_000, 0, 0, passes_on=True)
    database = Task(31, 31, 600_000, 0, 0, uid=105)
    found = plan(tasks(90_000, 60_000), [], [login, database], host(), ONE)
    assert (found.values[30], found.values[31]) == (LOWEST, UNKILLABLE)
    assert [(a.task.pid, a.why) for a in found.assignments] == [
        (30, "protected"),
        (31, "protected"),
    ]
    assert found.claims[0].killable == ()


def test_a_large_one_that_starts_sessions_is_never_where_somebody_is_as_low() -> None:
    large = Task(30, 30, 300_000, 0, 0, passes_on=True)
    low = tasks(5_000, adj=-900, first=20)
    assert plan(tasks(90_000), low, [large], host(), ONE).values[30] == UNKILLABLE
    assert plan(tasks(90_000), [], [large], host(), ONE).values[30] == LOWEST


def test_in_a_group_with_a_limit_one_that_starts_sessions_is_never() -> None:
    inside = Task(30, 30, 1_000, 0, 0, (0, 1), passes_on=True)
    found = plan(tasks(90_000), [], [inside], [*host(), Domain("/small", 20_000, 2)], ONE)
    assert found.values[30] == UNKILLABLE


def test_sixty_that_imitate_a_protected_one_leave_victims() -> None:
    # 500 MiB each, of 64 GiB, all "never" by the rules.
    crowd = [Task(pid, pid, 128_000, 0, 0, uid=1000) for pid in range(100, 160)]
    manager = Task(50, 50, 3_000, 0, 0, uid=1001)
    low = tasks(500, adj=-999, first=20)
    found = plan(tasks(51_200, 51_200), low, [*crowd, manager], host(1 << 24), ONE)
    held = [pid for pid, value in found.values.items() if value == UNKILLABLE]
    # A quarter are 32 of them; the manager of another user is not pushed out.
    assert len(held) == 33 and 50 in held
    assert len(found.last) == 28
    assert found.claims[0].killable == found.last


def test_a_system_user_has_what_the_rules_say() -> None:
    database = Task(31, 31, 900_000, 0, 0, uid=105)
    dynamic = Task(32, 32, 900_000, 0, 0, uid=61_500)
    found = plan(tasks(10), [], [database, dynamic], host(), ONE)
    assert found.last == () and {found.values[31], found.values[32]} == {UNKILLABLE}
