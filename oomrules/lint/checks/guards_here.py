"""Guards on one host: those that cannot act there, act at once, or have nobody to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from oomrules.language import syntax
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint import figures
from oomrules.lint.checks.guards import Guard, always, may_come_before, never
from oomrules.lint.figures import Figures, Unit
from oomrules.lint.host_facts import HostFacts
from oomrules.lint.meaning import Meaning
from oomrules.lint.ruleset import Check, RuleSet, shipped
from oomrules.processes.snapshot import NO_LIMIT, Process
from oomrules.processes.values import LIMIT
from oomrules.program.nodes import is_glob
from oomrules.reason.inequalities import inequality
from oomrules.reason.situations import FAILS, HOLDS, Case, given, unknown
from oomrules.terminal import memory

_WAITING = frozenset(("host.pressure", "host.stall", "scope.pressure", "scope.stall"))


class _Place(NamedTuple):
    """The host, or a unit, that a guard is at: its figures now, and which of them never change."""

    figures: Figures
    unit: Unit | None
    measured: bool

    @property
    def memory(self) -> Case:
        """The case of the memory that the host has, and of its limits."""
        return self._given("host.memory", LIMIT)

    @property
    def swap(self) -> Case:
        """The case of the swap that the host has."""
        return self._given("host.swap")

    @property
    def waiting(self) -> Case:
        """The case in which waiting is unknown, where the kernel does not measure it."""
        return Case() if self.measured else unknown(_WAITING)

    @property
    def limit(self) -> Case:
        """The case of the unit's own limit, of which it never has more."""
        most = self.figures.get("scope.memory_max")
        if most is None or most >= NO_LIMIT:
            return Case()
        own = given({"scope.memory_max": most})
        return own._replace(system=(*own.system, inequality({"scope.memory": -1}, most)))

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of what never changes."""
        return self.waiting, self.swap, self.memory, self.limit

    def _given(self, *names: str) -> Case:
        known = {name: value for name in names if (value := self.figures.get(name)) is not None}
        return given(known)


def _places(guard: Guard, host: HostFacts) -> list[_Place]:
    """Return the places of this host that a guard is at; none if its figures are not known."""
    of_host = figures.of_host(host.snapshot)
    if of_host["host.available"] is None:
        return []  # a recording without figures
    measured = of_host["host.pressure"] is not None
    if not guard.scope:
        return [_Place(of_host, None, measured)]
    return [
        _Place({**of_host, **figures.of_unit(unit.place, host.snapshot)}, unit, measured)
        for unit in figures.units(guard.scope, host)
    ]


def _guards(rules: RuleSet) -> Iterator[Guard]:
    """Yield the guards that are written for this host, as far as they may act on some host."""
    for guard in rules.checked.guards:
        if not shipped(guard.source) and not never(rules.meaning, guard):
            yield guard


# --- never ---------------------------------------------------------------------------------------


def _never(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard in _guards(rules):
        places = _places(guard, rules.known_host)
        if not places:
            continue
        if not all(meaning.surely_not((guard.node, HOLDS), *place.cases) for place in places):
            continue
        why, help_, others = _why(meaning, guard, places[0])
        if others and _is_done_by_another(rules, guard, places):
            continue
        yield NEVER.at(
            guard.source,
            guard.statement.condition.span,
            f"this guard never acts on this host: {why}",
            help_,
            witness=_witness(meaning, guard, places[0].figures),
        )


def _is_done_by_another(rules: RuleSet, guard: Guard, places: list[_Place]) -> bool:
    """Return whether a guard no weaker, for the same units or more, may act on this host."""
    return any(
        may_come_before(rules.meaning, other, guard)
        and not all(rules.meaning.surely_not((other.node, HOLDS), *place.cases) for place in places)
        for other in rules.checked.guards
        if other is not guard
    )


class _Reason(NamedTuple):
    """Why a guard never acts on a host, what to do, and whether another guard may do it."""

    why: str
    help: str
    others: bool = False


def _why(meaning: Meaning, guard: Guard, place: _Place) -> _Reason:
    """Return why a guard never acts at a place, and what to do about it."""

    def alone(case: Case) -> bool:
        return meaning.surely_not((guard.node, HOLDS), case)

    if alone(place.waiting):
        return _Reason(
            "its kernel does not measure waiting (`cat /proc/pressure/memory` fails)",
            "boot with `psi=1`, or add a guard that does without, as in "
            "`kill when host.available < 3%`",
            others=True,
        )
    if alone(place.swap):
        swap = place.figures["host.swap"]
        if not swap:
            return _Reason(
                "it has no swap",
                "say what is to be without swap, as in `(host.swap == 0B or host.swap_free < 10%)`",
                others=True,
            )
        return _Reason(f"it has {memory(swap)} of swap", "ask for a share, as in `10%`")
    if alone(place.memory):
        return _Reason(
            f"it has {memory(place.figures['host.memory'])} of memory",
            "ask for less, or for a share, as in `host.available < 10%`",
        )
    if place.unit is not None and alone(place.limit):
        most = memory(place.figures["scope.memory_max"])
        return _Reason(
            f"the kernel lets {place.unit.name} have {most} (`scope.memory_max`)",
            "ask for less than its limit, as in `scope.memory > 90%`",
        )
    return _Reason("its figures do not allow it", "see `oomrules guard --now`")


def _witness(meaning: Meaning, guard: Guard, now: Mapping[str, int | None]) -> dict[str, Any]:
    """Return the figures of now that a condition asks for."""
    asked = meaning.situations.asked(guard.node)
    known = {name: value for name in asked if (value := now.get(name)) is not None}
    return {
        **figures.said(known, read=True),
        **{name: "unknown" for name in sorted(asked) if now.get(name) is None},
    }


# --- now -----------------------------------------------------------------------------------------


def _now(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for guard in _guards(rules):
        if always(meaning, guard):
            continue  # on any host
        for place in _places(guard, rules.known_host):
            if meaning.situations.value(guard.node, place.figures) is not True:
                continue
            ever = meaning.surely_not((guard.node, FAILS), *place.cases)
            where = f" for {place.unit.name}" if place.unit is not None else ""
            does = {"kill": "kill", "terminate": "end", "warn": "warn"}
            action = guard.statement.action.key
            what = does[action] + (" a process" if action != "warn" else "")
            after = f" after {guard.lasting / 1000:g}s" if guard.lasting else " at once"
            yield NOW.at(
                guard.source,
                guard.statement.condition.span,
                f"this guard would {what}{after}{where}: its condition "
                + ("always holds on this host" if ever else "holds on this host now"),
                "ask for less; `oomrules guard --now` shows each figure and how far it is away",
                witness=_witness(meaning, guard, place.figures),
            )
            break


# --- whom ----------------------------------------------------------------------------------------


def _nobody(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    candidates = {process.pid for process in host.ranking.candidates}
    for guard in _guards(rules):
        if guard.statement.action is syntax.Action.WARN:
            continue
        inside = _inside(guard, host)
        if not inside or any(process.pid in candidates for process in inside):
            continue
        largest = max(inside, key=lambda process: (process.rss or 0, -process.pid))
        verdict = host.verdict(largest)
        by = f" ({verdict.reason})"
        if verdict.rule is not None:
            by = f", by `{verdict.rule.text}` at {verdict.rule.place}"
        which = "the only process" if len(inside) == 1 else f"none of the {len(inside)} processes"
        where = f"in `{guard.scope[-1]}`" if guard.scope else "of this host"
        may = "may not be taken" if len(inside) == 1 else "may be taken"
        yield NOBODY.at(
            guard.source,
            guard.statement.span,
            f"this guard has nobody to take here: {which} {where} {may}{by}",
            "narrow that rule, or remove the guard; `oomrules rank --all` shows what excludes each",
            witness={"pid": largest.pid, "comm": largest.comm},
        )


def _inside(guard: Guard, host: HostFacts) -> list[Process]:
    if not guard.scope:
        return host.processes()
    units = figures.units(guard.scope, host)
    return [*{process.pid: process for unit in units for process in unit.processes}.values()]


def _empty(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    for guard in _guards(rules):
        if not guard.scope or host.units is None or figures.units(guard.scope, host):
            continue
        target = guard.targets[-1]
        name = target.unit.value
        # Of a unit by its name, OOM701 says that there is none.
        names = target.relation in (syntax.Relation.NAMED, syntax.Relation.OF_USER)
        known = host.units if target.relation is syntax.Relation.NAMED else host.user_units
        if names and not is_glob(name) and name not in known and not name.endswith(".scope"):
            continue
        yield EMPTY.at(
            guard.source,
            guard.statement.span,
            f"this guard watches nothing at present: no process of this host is in "
            f"`{guard.scope[-1]}`",
            "see `oomrules scopes` for the units that have processes; if this one comes later, "
            "all is well",
        )


NEVER = Check("OOM711", "a guard that never acts on this host", _never, whole=True, host=True)
NOW = Check("OOM712", "a guard that would act now on this host", _now, whole=True, host=True)
NOBODY = Check(
    "OOM713", "a guard that has nobody to take on this host", _nobody, whole=True, host=True
)
EMPTY = Check(
    "OOM714",
    "a guard that watches no process of this host",
    _empty,
    Level.INFO,
    whole=True,
    host=True,
)
CHECKS = (NEVER, NOW, NOBODY, EMPTY)
