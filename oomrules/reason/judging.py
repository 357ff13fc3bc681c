"""The evaluator for one process at a time, on the few rules of many that can be about it.

A rule that says ``comm "sshd"`` does nothing to a process of another name: its condition is
false, whatever else it says. Such a rule is left out before the evaluator decides, and so
is a block of other units. Everything that is not as plain as that stays in, and the verdict
is the same as with all rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.processes.snapshot import Host, Process, Snapshot
from oomrules.processes.values import GETTERS, place_of
from oomrules.program.nodes import Node, names
from oomrules.program.program import Program, Rule, Scope
from oomrules.ranking.evaluator import Evaluator, Verdict
from oomrules.reason import lookup
from oomrules.reason.atoms import named
from oomrules.reason.lookup import Key, Lookup

# Stands for the names of the units around a process.
_NAMES = "(names)"
_UNKNOWN: tuple[None] = (None,)


class Judge:
    """A program, made ready for a host.

    Args:
        program: the rules.
        host: its page size decides how many pages a quantity of memory is.
    """

    def __init__(self, program: Program, host: Host) -> None:
        self.program = program
        self.host = host
        # Of each rule, in which scope it is, and which definitions it names.
        self._rules: list[tuple[int, Rule, frozenset[str]]] = []
        self._localised: dict[int, Node] = {}
        self._lookup = Lookup()
        for place, scope in enumerate(program.scopes):
            around = _keys_of_targets(scope.targets)
            for rule in scope.rules:
                # A level of ``only kill`` counts even where none of its rules holds.
                keys = [] if rule.kind == "only" else _keys(rule.when) or around
                self._lookup.add(len(self._rules), keys)
                self._rules.append((place, rule, frozenset(names(rule.when))))
        self._names = {name: names(node) for name, node in program.definitions.items()}

    def judge(self, process: Process, snapshot: Snapshot) -> Verdict:
        """Decide about one process, and say why, as ``Evaluator.judge`` does."""

        def values(about: Any) -> Iterable[Any]:
            if about == _NAMES:
                return _units(process, snapshot)
            value = GETTERS[about](process, snapshot)
            return (value, *getattr(value, "aliases", ()))

        rules: list[list[Rule]] = [[] for _ in self.program.scopes]
        used: set[str] = set()
        for number in self._lookup.of(values):
            place, rule, mentioned = self._rules[number]
            rules[place].append(rule)
            used |= mentioned
        scopes = tuple(
            Scope(scope.targets, scope.score, tuple(left))
            for scope, left in zip(self.program.scopes, rules, strict=True)
            if left or scope.score
        )
        left = self.program._replace(scopes=scopes, definitions=self._definitions(used))
        return _Prepared(left, self.host, self._localised).judge(process, snapshot)

    def _definitions(self, used: set[str]) -> dict[str, Node]:
        """Give the definitions of some names, and those that they need."""
        found: dict[str, Node] = {}
        open_ = list(used)
        while open_:
            name = open_.pop()
            if name not in found:
                found[name] = self.program.definitions[name]
                open_ += self._names[name]
        return found


class _Prepared(Evaluator):
    """An evaluator of rules that others of the same program and host may have had before.

    Args:
        program: the rules.
        host: the host.
        localised: the nodes that are ready for this host, by their identity; new ones are
            added. Whoever keeps it has to keep the nodes, too.
    """

    def __init__(self, program: Program, host: Host, localised: dict[int, Node]) -> None:
        self._localised = localised
        super().__init__(program, host)

    def _local(self, node: Node) -> Node:
        if id(node) not in self._localised:
            self._localised[id(node)] = super()._local(node)
        return self._localised[id(node)]


def _keys(node: Node) -> list[Key]:
    """Give keys of which one fits whoever a condition is not false for; nothing if any may."""
    best: list[Key] = []
    for part in _joined(node):
        found = _keys_of_comparison(part)
        if found and found[0][1] == "is":
            return found
        best = best or found
    return best


def _joined(node: Node) -> Iterator[Node]:
    """Give the parts of which each has to hold."""
    if node[0] == "and":
        for part in node[1:]:
            yield from _joined(part)
    else:
        yield node


def _keys_of_comparison(node: Node) -> list[Key]:
    match node:
        case ["==", ["attr", name], ["number" | "text", value]]:
            keys: list[Key | None] = [(name, "is", value)]
        case ["glob" | "among", ["attr", name], *patterns]:
            keys = [lookup.glob(name, pattern) for pattern in patterns]
        case _:
            return []
    return _or_unknown(name, keys)


def _keys_of_targets(targets: tuple[str, ...]) -> list[Key]:
    """Give keys for whoever may be in blocks; one target that names units is enough."""
    for target in targets:
        found = _or_unknown(_NAMES, [lookup.glob(_NAMES, target)]) if named(target) else []
        if found:
            return found
    return []


def _or_unknown(about: str, keys: list[Key | None]) -> list[Key]:
    """Add the key for a value that is not known: there nothing is plainly false."""
    found = [key for key in keys if key is not None]
    return [*found, (about, "is", None)] if len(found) == len(keys) else []


def _units(process: Process, snapshot: Snapshot) -> Iterable[str | None]:
    """Give all names of the units around a process, the root slice too."""
    cgroup = GETTERS["cgroup"](process, snapshot)
    if cgroup is None:
        return _UNKNOWN
    place = place_of(cgroup, snapshot)
    names = list(place.chain)
    while place.above is not None:
        names += snapshot.fact(place, "Names") or ()
        place = place.above
    return names
