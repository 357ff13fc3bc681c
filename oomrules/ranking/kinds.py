"""Kinds of process: processes that no rule tells apart by what does not change about them.

What the identity of a process decides is decided once for its kind. What is left is a function
of the values that change, which all processes of the kind share. So a refresh costs the same for
ten rules as for a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.lean import Any, NamedTuple
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import GETTERS
from oomrules.program import nodes
from oomrules.program.nodes import SELF_MADE, Node
from oomrules.program.program import Program
from oomrules.ranking.blocks import Blocks
from oomrules.ranking.codegen import Decider, compile_residual
from oomrules.ranking.residual import Residual, specialise, undecided

# Read only for a process whose fate may hang on it: each costs a file of its own.
_COSTLY = frozenset(
    name for name, a in ATTRIBUTES.items() if a.provider in (Provider.EXE, Provider.CMDLINE)
)
_SETTLED = frozenset(name for name, a in ATTRIBUTES.items() if not a.changes) - _COSTLY

# Kinds of process that are remembered. Each new unit is another kind, of 3 to 6 KiB, so this bounds
# what an hour of them costs. Only a new process asks for its kind, so forgetting costs little.
_FEW, _MOST = 128, 512


class _Kind(NamedTuple):
    """What is known of a kind of process.

    Attributes:
        residual: what is left to be decided by attributes that are costly to read; else None.
        decider: the function for the rest; None if no process of this kind is a candidate, or
            if there is a residual.
    """

    residual: Residual | None
    decider: Decider | None


class Kinds:
    """The kinds of process that a program tells apart on a host.

    Args:
        program: the rules.
        definitions: those of the program, ready for this host.
        blocks: those of the program.
    """

    def __init__(self, program: Program, definitions: dict[str, Node], blocks: Blocks) -> None:
        self._definitions = definitions
        self._blocks = blocks
        self._settled = sorted(program.attributes & _SETTLED)
        self._costly = sorted(program.attributes & _COSTLY)
        self._kinds: dict[Any, _Kind] = {}
        # Kinds that differ in nothing that matters share a function.
        self._deciders: dict[str, Decider] = {}

    def decider(
        self, process: Process, snapshot: Snapshot, hidden: frozenset[str]
    ) -> Decider | None:
        """Return the function that decides about a process; None if it is no candidate.

        Args:
            hidden: the attributes of this process that take too long to search.
        """
        settled = _values(self._settled, process, snapshot, hidden)
        chain = self._blocks.around(process, snapshot)
        kind = self._kinds.get((chain, *settled.values()))
        if kind is None:
            start = undecided(self._blocks.active(chain), self._definitions)
            kind = self._kind(specialise(start, settled))
            self._kinds[chain, *settled.values()] = kind
        if kind.residual is None:
            return kind.decider
        costly = _values(self._costly, process, snapshot, hidden)
        left = specialise(kind.residual, costly)
        return self._compiled(left) if left else None

    def forget(self, processes: int) -> None:
        """Start anew once more kinds are remembered than there are processes.

        A few are remembered in any case, and never more than some hundred.

        Args:
            processes: how many there are.
        """
        most = max(_FEW, processes)
        self._blocks.forget(most)
        for known in (self._kinds, self._deciders):
            if len(known) > most:
                known.clear()

    def _kind(self, residual: Residual | None) -> _Kind:
        if len(self._kinds) >= _MOST:
            self._kinds.clear()
        if residual is None:
            return _Kind(None, None)
        # Only with more to be decided by what is costly to read is it needed again.
        if any(not nodes.attributes(node).isdisjoint(self._costly) for node in residual.nodes):
            return _Kind(residual, None)
        return _Kind(None, self._compiled(residual))

    def _compiled(self, residual: Residual) -> Decider:
        if len(self._deciders) >= _MOST:
            self._deciders.clear()
        key = repr(residual)
        if key not in self._deciders:
            self._deciders[key] = compile_residual(residual)
        return self._deciders[key]


def _values(
    names: Iterable[str], process: Process, snapshot: Snapshot, hidden: frozenset[str]
) -> dict[str, Any]:
    return {
        name: SELF_MADE if name in hidden else GETTERS[name](process, snapshot) for name in names
    }
