"""Guards that never act, act on any host, or take a process though memory is there.

What is claimed about a condition is proved (``oomrules.reason.situations``); an example of figures
that shows it is confirmed by evaluating the condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, Level, Related
from oomrules.language.text import Span
from oomrules.lint import figures
from oomrules.lint.checks.conditions import Part, constants, of_expression
from oomrules.lint.checks.overlaps import exclusions
from oomrules.lint.checks.wholes import may_mean
from oomrules.lint.meaning import Meaning, RuleMeaning
from oomrules.lint.ruleset import Check, RuleSet, shipped
from oomrules.lint.ruleset import nodes as parts
from oomrules.processes.snapshot import NO_LIMIT
from oomrules.program import nodes
from oomrules.program.nodes import Node, is_glob
from oomrules.program.program import ACTIONS
from oomrules.reason import Undecided
from oomrules.reason.effects import eligible, inside
from oomrules.reason.globs import matching
from oomrules.reason.inequalities import inequality
from oomrules.reason.situations import FAILS, HOLDS, LACKS, Case, given, unknown

Guard = Stated[syntax.Guard]

_UNIT = frozenset(figures.UNIT)
# The most guards that one is compared with.
_MOST_COMPARED = 40

# --- conditions that never hold, or always do ----------------------------------------------


def never(meaning: Meaning, guard: Guard) -> bool:
    """Return whether the condition of a guard surely never holds."""
    kept: dict[int, bool] = meaning.once("guards that never act", dict)
    if id(guard) not in kept:
        kept[id(guard)] = meaning.surely_not((guard.node, HOLDS))
    return kept[id(guard)]


def always(meaning: Meaning, guard: Guard) -> bool:
    """Return whether the condition of a guard surely holds wherever its figures are known."""
    kept: dict[int, bool] = meaning.once("guards that always act", dict)
    if id(guard) not in kept:
        kept[id(guard)] = not never(meaning, guard) and meaning.surely_not((guard.node, FAILS))
    return kept[id(guard)]


def _constant_parts(rules: RuleSet) -> Iterator[tuple[Guard, Part, bool]]:
    """Yield the smallest parts of guards' conditions that always hold (True) or never (False)."""
    meaning = rules.meaning

    def is_constant(node: Node, never: bool) -> bool:
        return meaning.surely_not((node, HOLDS if never else FAILS))

    def look() -> list[tuple[Guard, Part, bool]]:
        found: list[tuple[Guard, Part, bool]] = []
        for guard in rules.checked.guards:
            part = of_expression(guard.statement.condition, guard.node)
            parts = constants(part, is_constant)
            # The parts that always hold may be what makes the whole hold never, below a `not`.
            for whole, how in ((never, False), (always, True)):
                if whole(meaning, guard) and all(one is not how for _, one in parts):
                    parts = [(part, how)]
            found += [(guard, *one) for one in parts]
        return found

    return iter(meaning.once("parts of guards", look))


def _never(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard, part, holds in _constant_parts(rules):
        if holds:
            continue
        whole = never(meaning, guard)
        why, witness = _why_never(meaning, guard, part)
        yield NEVER.at(
            guard.source,
            part.span,
            ("this guard never acts: " if whole else "")
            + f"{part.quoted(guard)} holds on no host: {why}",
            "say what is meant" + (", or remove the guard" if whole else ", or remove this part"),
            witness=witness,
        )


def _why_never(meaning: Meaning, guard: Guard, part: Part) -> tuple[str, dict[str, Any] | None]:
    """Return why a condition never holds, and figures that are as near to it as they can be."""
    for one, two in itertools.combinations(part.parts, 2):
        if meaning.surely_not((one.node, HOLDS), (two.node, HOLDS)):
            example = meaning.situations.example((one.node, HOLDS), (two.node, FAILS))
            why = f"{one.quoted(guard)} and {two.quoted(guard)} exclude each other"
            if _is_unknown_without_swap(meaning, two.node, example):
                why = f"{two.quoted(guard)} is unknown on a host without swap"
            return why, _witness(example)
    asked = sorted(meaning.situations.asked(part.node))
    liked = {name: (10_000,) for name in asked if _is_share(name)}
    example = meaning.situations.example((part.node, FAILS), liked=liked)
    if len(asked) == 1 and _is_share(asked[0]):
        return f"`{asked[0]}` is from 0% to 100%", _witness(example)
    wholes = {f"`{ATTRIBUTES[name].whole}`" for name in asked if _whole(name)}
    if wholes and len(asked) == 2:
        return f"it is at least nothing and at most {wholes.pop()}", _witness(example)
    return "no host has such figures", _witness(example)


def _is_share(name: str) -> bool:
    """Return whether a figure is a share of time."""
    return name in ATTRIBUTES and ATTRIBUTES[name].type is Type.PERCENTAGE


def _whole(name: str) -> str:
    return ATTRIBUTES[name].whole if name in ATTRIBUTES else ""


def _is_unknown_without_swap(meaning: Meaning, node: Node, example: dict[str, int] | None) -> bool:
    return example is None and meaning.surely_not((node, HOLDS), given({"host.swap": 0}))


def _witness(example: dict[str, int] | None) -> dict[str, Any] | None:
    return None if example is None else dict(figures.said(example))


def _always(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard, part, holds in _constant_parts(rules):
        if not holds:
            continue
        whole = always(meaning, guard)
        does = {"kill": "kills", "terminate": "terminates", "warn": "warns"}
        action = guard.statement.action.key
        yield ALWAYS.at(
            guard.source,
            part.span,
            (f"this guard {does[action]} at any time: " if whole else "")
            + f"{part.quoted(guard)} holds on every host",
            "say what is meant" + (", or remove the guard" if whole else ", or leave it out"),
            witness=_witness(meaning.situations.example((part.node, HOLDS))),
        )


# --- guards behind others --------------------------------------------------------------------


class _Behind(NamedTuple):
    """A guard that another one makes pointless; ``same`` if it says the same."""

    guard: Guard
    other: Guard
    same: bool
    witness: dict[str, Any]


def _behind(rules: RuleSet) -> list[_Behind]:
    return rules.meaning.once("guards behind others", lambda: list(_find_behind(rules)))


def _find_behind(rules: RuleSet) -> Iterator[_Behind]:
    meaning = rules.meaning
    # What holds always, or never, has findings of its own.
    guards = [
        one for one in rules.checked.guards if not never(meaning, one) and not always(meaning, one)
    ]
    for number, guard in enumerate(guards):
        if shipped(guard.source):
            continue
        compared = 0
        for place, other in enumerate(guards):
            if other is guard or not may_come_before(meaning, other, guard):
                continue
            if not (_does_as_much(other, guard) or _clauses(other) == _clauses(guard)):
                continue
            compared += 1
            if compared > _MOST_COMPARED:
                meaning.situations.undecided += 1
                break
            same = _says_the_same(meaning, guard, other)
            # Of two that say the same, the second one is too much.
            if same and place > number and not shipped(other.source):
                continue
            if not same and not (
                _does_as_much(other, guard)
                and meaning.surely_not((guard.node, HOLDS), (other.node, LACKS))
            ):
                continue
            example = meaning.situations.example((guard.node, HOLDS), (other.node, HOLDS))
            if example is not None:
                yield _Behind(guard, other, same, dict(figures.said(example)))
                break


def _strength(guard: Guard) -> int:
    return -ACTIONS.index(guard.statement.action.key)


def may_come_before(meaning: Meaning, other: Guard, guard: Guard) -> bool:
    """Return whether a guard is about the units of another one, or of more, and no weaker."""
    if other.scope != guard.scope[: len(other.scope)] or _strength(other) < _strength(guard):
        return False
    # Another unit has other figures.
    return other.scope == guard.scope or not meaning.situations.asked(other.node) & _UNIT


def _does_as_much(other: Guard, guard: Guard) -> bool:
    """Return whether a guard, no weaker, acts as soon as another one and does all that it does."""
    if other.lasting > guard.lasting:
        return False
    if _strength(other) > _strength(guard):
        return True
    # A second warning says that it is worse now.
    warns = guard.statement.action is syntax.Action.WARN
    stops = other.statement.stop or not guard.statement.stop
    return not warns and other.within <= guard.within and stops


def _says_the_same(meaning: Meaning, guard: Guard, other: Guard) -> bool:
    if guard.scope != other.scope or _clauses(guard) != _clauses(other):
        return False
    one, two = guard.node, other.node
    return meaning.surely_not((one, HOLDS), (two, LACKS)) and meaning.surely_not(
        (two, HOLDS), (one, LACKS)
    )


def _clauses(guard: Guard) -> tuple[Any, ...]:
    stated = guard.statement
    return stated.action, guard.lasting, guard.within, stated.stop


def _related(other: Guard) -> tuple[Related, ...]:
    return (Related(other.source, other.statement.span, "the other guard"),)


def _shadowed(rules: RuleSet) -> Iterator[Diagnostic]:
    for guard, other, same, witness in _behind(rules):
        if same:
            continue
        action, stronger = guard.statement.action, other.statement.action
        if action is stronger:
            what, help_ = "this guard adds nothing", "remove one of them"
        elif action is syntax.Action.WARN:
            what = "this warning comes too late"
            help_ = "give it a wider condition, so that it comes before the other one acts"
        else:
            what = "this guard never acts"
            help_ = "give it a wider condition, or the other one a narrower one or a longer `for`"
        before = f"the `{stronger.value}` at {other.place}"
        why = f"{what}: {before} acts whenever this one would, and no later"
        yield SHADOWED.at(
            guard.source,
            guard.statement.span,
            why,
            help_,
            related=_related(other),
            witness=witness,
        )


def _same(rules: RuleSet) -> Iterator[Diagnostic]:
    for guard, other, same, witness in _behind(rules):
        if same:
            yield SAME.at(
                guard.source,
                guard.statement.span,
                f"the guard at {other.place} says the same, so this one adds nothing",
                "remove one of them",
                related=_related(other),
                witness=witness,
            )


# --- whom a guard may take ---------------------------------------------------------------------


class _Exclusion(NamedTuple):
    """The rules that leave no process of a block, and one that shows it."""

    by: tuple[RuleMeaning, ...]
    witness: dict[str, Any]


def _nobody(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    found: dict[tuple[str, ...], _Exclusion | None] = {}
    for guard in rules.checked.guards:
        # Where rules leave nobody on the whole host, OOM617 and OOM618 say so.
        if guard.statement.action is syntax.Action.WARN or not guard.scope:
            continue
        if shipped(guard.source):
            continue
        if guard.scope not in found:
            found[guard.scope] = _excluded_from(meaning, guard.scope)
        exclusion = found[guard.scope]
        if exclusion is None:
            continue
        by = exclusion.by[:3]
        places = ", ".join(f"`{one.words}` at {one.stated.place}" for one in by)
        yield NOBODY.at(
            guard.source,
            guard.statement.span,
            f"this guard can take no process: all in its block are excluded, by {places}",
            "narrow that rule, or remove the guard",
            related=tuple(related for one in by for related in one.related),
            witness=exclusion.witness,
        )


def _excluded_from(meaning: Meaning, targets: tuple[str, ...]) -> _Exclusion | None:
    """Return the rules that leave no process of a block; None if one may be left."""
    reasoner = meaning.reasoner
    by: list[RuleMeaning] = []
    try:
        start = reasoner.intersection([inside(targets, False)], [eligible()])
        left = start
        for one, excluded in exclusions(meaning):
            rest = reasoner.difference(left, excluded)
            if rest != left:
                by.append(one)
            left = [box for box in rest if reasoner.possible(box)]
            if not left:
                break
    except (Undecided, RecursionError):
        reasoner.undecided += 1
        return None
    # A rule that excludes every process of the host has a finding of its own.
    if left or any({} in (one.effect.region or []) for one in by):
        return None
    witness = meaning.witness(start, lambda _, verdict: verdict.rule is not None)
    return _Exclusion(tuple(by), witness) if by and witness else None


# --- a share of the swap that a host may not have ----------------------------------------------

_WITHOUT_SWAP = given({"host.swap": 0})


def _swapless(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard in rules.checked.guards:
        if shipped(guard.source) or never(meaning, guard):
            continue
        # `host.swap` in the condition itself says that this was thought of.
        if "host.swap" not in meaning.situations.asked(guard.node) or "host.swap" in named(
            meaning, guard
        ):
            continue
        if not meaning.surely_not((guard.node, HOLDS), _WITHOUT_SWAP):
            continue
        if _acts_without_swap(rules, guard):
            continue
        # The same host, once without its swap.
        example = meaning.situations.example((guard.node, HOLDS))
        if example is None:
            continue
        example = {name: size for name, size in example.items() if name != "host.swap_free"}
        span, help_ = _with_swapless(guard)
        yield SWAPLESS.at(
            guard.source,
            span,
            "this never holds on a host without swap, where a share of the swap is unknown",
            help_,
            witness=_witness({**example, "host.swap": 0}),
        )


def named(meaning: Meaning, guard: Guard) -> frozenset[str]:
    """Return the attributes that a guard's condition names, itself or by definitions."""
    needed = nodes.needed([guard.node], meaning.program.definitions).values()
    return frozenset().union(*map(nodes.attributes, (guard.node, *needed)))


def _acts_without_swap(rules: RuleSet, guard: Guard) -> bool:
    """Return whether a guard no weaker is there for hosts without swap."""
    return any(
        may_come_before(rules.meaning, other, guard)
        and not rules.meaning.surely_not((other.node, HOLDS), _WITHOUT_SWAP)
        for other in rules.checked.guards
        if other is not guard
    )


def _with_swapless(guard: Guard) -> tuple[Span, str]:
    """Return the comparison with a share of swap, and how to write it."""
    for node in parts(guard.statement):
        if isinstance(node, syntax.Compared) and any(
            isinstance(side, syntax.Name) and _whole(side.name) == "host.swap"
            for side in (node.left, node.right)
        ):
            quoted = guard.source.quote(node.span)
            return node.span, f"write `(host.swap == 0B or {quoted})`"
    return guard.statement.condition.span, (
        "say what is to be without swap, as in `(host.swap == 0B or host.swap_free < 10%)`"
    )


# --- guards that take a process though memory is there --------------------------------------------

# On a host of this size limits in bytes, which are written for smaller ones, are no part of it.
_LARGE = 64 * 2**30


def _plenty(name: str, whole: str, at_least: int = 0) -> Case:
    """Return the case in which at least half of the memory is there."""
    half = inequality({name: 2, whole: -1}, 0)
    large = inequality({whole: 1}, -at_least)
    return Case((half, large), frozenset([name, whole]))


_AVAILABLE = _plenty("host.available", "host.memory", _LARGE)
_FREE = _plenty("host.free", "host.memory", _LARGE)
_SWAP_FREE = _plenty("host.swap_free", "host.swap", 4 * 2**30)
_QUIET = given({"host.pressure": 0, "host.stall": 0})
# A condition that holds whatever a unit's figures are is not about the unit.
_NO_UNIT = unknown(_UNIT)
# A unit without a limit that holds nothing and waits for nothing; what it lost once is any number.
_EMPTY_UNIT = given(
    {
        **dict.fromkeys(
            (
                *("scope.memory", "scope.swap", "scope.footprint", "scope.processes"),
                *("scope.pressure", "scope.stall"),
            ),
            0,
        ),
        **dict.fromkeys(("scope.memory_max", "scope.memory_high"), NO_LIMIT),
    }
)
_LIKED = {
    "host.memory": (64 * 2**30,),
    "host.available": (48 * 2**30,),
    "host.free": (32 * 2**30, 100 * 2**20),
    "host.swap": (0, 8 * 2**30),
    "host.swap_free": (8 * 2**30, 100 * 2**20),
}


def _innocent(meaning: Meaning, guard: Guard) -> str:
    """Return why a guard takes a process though memory is there: a key of ``_INNOCENT``, or empty.

    An empty text also stands for a guard that always acts, or never.
    """
    kept: dict[int, str] = meaning.once("guards that kill with memory there", dict)
    if id(guard) not in kept:
        kept[id(guard)] = _found_innocent(meaning, guard)
    return kept[id(guard)]


def _found_innocent(meaning: Meaning, guard: Guard) -> str:
    if guard.statement.action is syntax.Action.WARN or always(meaning, guard):
        return ""
    holds = (guard.node, HOLDS)
    if not _possible(meaning, holds, _AVAILABLE, _NO_UNIT):
        empty = guard.targets and _possible(meaning, holds, _AVAILABLE, _QUIET, _EMPTY_UNIT)
        return "unit" if empty else ""
    if not _possible(meaning, holds, _AVAILABLE, _NO_UNIT, _QUIET):
        return "waiting"
    asked = named(meaning, guard)
    if "host.free" in asked and not _possible(meaning, holds, _AVAILABLE, _NO_UNIT, _QUIET, _FREE):
        return "free"
    if "host.swap_free" in asked and not _possible(
        meaning, holds, _AVAILABLE, _NO_UNIT, _QUIET, _SWAP_FREE
    ):
        return "swap"
    return "level"


def _possible(meaning: Meaning, *wanted: tuple[Node, str] | Case) -> bool:
    return meaning.situations.example(*wanted, liked=_LIKED) is not None


_INNOCENT = {
    "waiting": "a unit that reads much within its limit makes the host's figures rise like that",
    "free": "free memory is low on every healthy host, since the page cache takes the rest",
    "swap": "a full swap is no trouble by itself, and may stay full for weeks",
    "level": "half of the memory can be available when it holds",
    "unit": "it can hold for a unit that holds nothing and waits for nothing",
}


def _kills_innocent(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard in rules.checked.guards:
        why = _innocent(meaning, guard)
        if not why:
            continue
        unit = (_QUIET, _EMPTY_UNIT) if why == "unit" else (_NO_UNIT,)
        example = meaning.situations.example((guard.node, HOLDS), _AVAILABLE, *unit, liked=_LIKED)
        does = "kills" if guard.statement.action is syntax.Action.KILL else "ends"
        yield INNOCENT.at(
            guard.source,
            guard.statement.condition.span,
            f"this guard {does} a process though memory is there: {_INNOCENT[why]}",
            _scarce(guard, why),
            witness=_witness(example),
        )


def _scarce(guard: Guard, why: str) -> str:
    """Return how to write a condition so that memory is short where it holds."""
    condition = guard.statement.condition
    written = guard.source.text[slice(*condition.span)]
    if why == "free" and "\n" not in written:
        return f"write `{written.replace('host.free', 'host.available')}`"
    more = "host.available < 10%"
    if why == "unit":
        return "ask for what the unit holds, as in `scope.memory > 1GiB`"
    if why == "level":
        return f"ask for less, as in `{more}`"
    if isinstance(condition, syntax.Or):
        written = f"({written})"
    if "\n" in written or len(written) > 80:
        return f"add `and {more}`, around the rest parentheses if there is an `or` in it"
    return f"write `{written} and {more}`"


# --- averages of the past ------------------------------------------------------------------------

_PRESSED = ("host.pressure", "scope.pressure")


def _average(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard in rules.checked.guards:
        if guard.lasting or guard.statement.action is syntax.Action.WARN:
            continue
        if shipped(guard.source) or never(meaning, guard) or _innocent(meaning, guard):
            continue
        for name in _PRESSED:
            if name not in named(meaning, guard) or not meaning.surely_not(
                (guard.node, HOLDS), given({name: 0})
            ):
                continue
            stall = name.replace("pressure", "stall")
            example = meaning.situations.example((guard.node, HOLDS), given({stall: 0}))
            if example is None:
                continue
            yield AVERAGE.at(
                guard.source,
                guard.statement.condition.span,
                f"`{name}` is an average of 10 s, so this still holds when nothing waits any more",
                f"add `for 5s`, or ask for `{stall}`",
                witness=_witness(example),
            )
            break


# --- clauses -------------------------------------------------------------------------------------

# Where all units are login sessions, managers of users or units of theirs.
_OF_USERS = matching(("user.slice", "user-*.slice", "user@*.service"))


def _stops(rules: RuleSet) -> Iterator[tuple[Check, Guard, str, str]]:
    for guard in rules.checked.guards:
        # Of a warning OOM536 says that it stops nothing.
        warns = guard.statement.action is syntax.Action.WARN
        if guard.statement.stop and not warns and guard.source in rules.sources:
            yield from _stop(guard)


def _stop(guard: Guard) -> Iterator[tuple[Check, Guard, str, str]]:
    """Yield what is wrong with the `then stop` of a guard, and what to do."""
    if not guard.targets:
        return
    target = guard.targets[-1]
    name, glob = target.unit.value, is_glob(target.unit.value)
    batch = 'name the units of jobs, as in `in "batch-*.service": …`, or leave `then stop` out'
    if any(one.relation is syntax.Relation.OF_USER for one in guard.targets):
        why = "the system's manager does not stop units of users"
    elif target.relation is not syntax.Relation.NAMED:
        return
    elif not glob and (name.endswith(".scope") or name.startswith("user@")):
        if may_mean("session-*.scope", name) or may_mean("user@*.service", name):
            what = "a login session" if name.endswith(".scope") else "all that the user has open"
            yield STOPS, guard, f"`then stop` stops `{name}`, which is {what}", batch
        return
    elif any(not matching((one.unit.value,)) - _OF_USERS for one in guard.targets):
        why = f"in `{name}` are login sessions and units of users, which are not stopped"
    elif glob and not any(may_mean(name, f"*{suffix}") for suffix in _STOPPED):
        why = "a scope or a slice is stopped only where the rule gives its full name"
    else:
        return
    yield IDLE, guard, f"`then stop` stops no unit here: {why}", batch


_STOPPED = (".service", ".slice", ".mount", ".socket", ".swap")


def _found_stops(rules: RuleSet, wanted: str) -> Iterator[Diagnostic]:
    for check, guard, message, help_ in _stops(rules):
        if check.code == wanted:
            yield check.at(guard.source, guard.statement.span, message, help_)


def _idle_clauses(rules: RuleSet) -> Iterator[Diagnostic]:
    for guard in rules.checked.guards:
        stated = guard.statement
        if stated.action is not syntax.Action.WARN or guard.source not in rules.sources:
            continue
        if stated.within:
            yield CLAUSE.at(
                guard.source,
                stated.within.span,
                "`within` does nothing behind `warn when`: no process is asked to end",
                "remove it; how long the condition has to be true is said by "
                f"`for {stated.within.written}`",
            )
        if stated.stop:
            yield CLAUSE.at(
                guard.source,
                stated.span,
                "`then stop` does nothing behind `warn when`: a warning kills nothing, so that no "
                "unit loses processes by it",
                "remove it, or write `kill when …`",
            )


STOPS = Check(
    "OOM534",
    "a `then stop` that stops a login session",
    lambda rules: _found_stops(rules, "OOM534"),
)
IDLE = Check(
    "OOM535", "a `then stop` that stops no unit", lambda rules: _found_stops(rules, "OOM535")
)
CLAUSE = Check("OOM536", "a clause that does nothing behind `warn when`", _idle_clauses)
NEVER = Check("OOM631", "a guard whose condition never holds", _never, whole=True)
ALWAYS = Check("OOM632", "a guard whose condition always holds", _always, whole=True)
SHADOWED = Check("OOM633", "a guard that another one always comes before", _shadowed, whole=True)
SAME = Check("OOM634", "two guards that say the same", _same, whole=True)
NOBODY = Check("OOM635", "a guard that can take no process", _nobody, whole=True)
SWAPLESS = Check("OOM636", "a guard that needs swap", _swapless, whole=True)
INNOCENT = Check(
    "OOM637", "a guard that takes a process though memory is there", _kills_innocent, whole=True
)
AVERAGE = Check("OOM638", "a guard on an average of the past", _average, Level.INFO, whole=True)
CHECKS = (STOPS, IDLE, CLAUSE, NEVER, ALWAYS, SHADOWED, SAME, NOBODY, SWAPLESS, INNOCENT, AVERAGE)
