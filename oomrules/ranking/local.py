"""What one program asks of other processes and of outer units, as attributes of its own.

A node that is ready for one host has such an attribute in the place of each ``under`` and
``child``, and of each ``scope.*``, which is bound to the unit that a block is about. Their getters
are those of this program; their values change with the processes, so no kind of process is
ever settled by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.lean import Any, NamedTuple
from oomrules.processes import values
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import LIMIT, Getter, parent_pid, tells_nothing
from oomrules.program import nodes
from oomrules.program.automaton import WORK
from oomrules.program.nodes import SELF_MADE, Definitions, Node, OverBudget
from oomrules.ranking.ancestors import INIT, Ancestors, above
from oomrules.ranking.doubt import causes

# How many places automata may look at for one ancestor and condition (``codegen.BUDGET``).
_BUDGET = 100_000

# Whose value is unknown, in the words that people read.
PARENT, ANCESTOR = "its parent", "an ancestor"

# What the process itself tells, whoever asks.
_OF_ITSELF = (Provider.STAT, Provider.STATUS, Provider.EXE, Provider.CMDLINE)
# What is counted over all processes, and so may change with what is known of any.
_COUNTED = frozenset(
    f"{of}.{what}" for of in ("user", "unit", "cgroup") for what in ("processes", "footprint")
)
_BLOCK = frozenset(name for name, a in ATTRIBUTES.items() if a.provider is Provider.BLOCK)


class Getters(NamedTuple):
    """The getters of attributes, by what asks, as in ``processes.values``."""

    plain: dict[str, Getter]
    protecting: dict[str, Getter]
    scoring: dict[str, Getter]


class Relation(NamedTuple):
    """An ``under`` or ``child``, made ready: its kind, and its condition."""

    kind: str
    condition: Node


class Found(NamedTuple):
    """An ancestor that satisfies the condition of a relation, of that kind."""

    kind: str
    ancestor: Process


class Local:
    """Makes the nodes of a program ready for one host.

    Args:
        definitions: of the program.
        page_size: of the host, in bytes.

    Attributes:
        getters: those of all attributes, and of those that are this program's own.
        definitions: the program's, made ready.
        relations: by the attribute that stands for it, each ``under`` and ``child``.
    """

    def __init__(self, definitions: Mapping[str, Node], page_size: int) -> None:
        self._page_size = page_size
        self.getters = Getters(dict(values.GETTERS), dict(values.PROTECTING), dict(values.SCORING))
        self.relations: dict[str, Relation] = {}
        self._names: dict[str, str] = {}
        self._ancestors: list[Ancestors] = []
        self.definitions = {name: self.localise(node) for name, node in definitions.items()}

    def begin(self) -> None:
        """Forget what was found out about ancestors: the processes may have changed."""
        for one in self._ancestors:
            one.begin()

    def localise(self, node: Node) -> Node:
        """Return a node with quantities in this host's pages, and attributes for relations."""
        return self._related(nodes.localise(node, self._page_size, LIMIT))

    def attributes(self, stated: Iterable[Node]) -> set[str]:
        """Return the attributes that nodes ask of the process itself, with their definitions."""
        stated = list(stated)
        used = [*stated, *nodes.needed(stated, self.definitions).values()]
        return set().union(*map(nodes.attributes, used))

    # --- relations -----------------------------------------------------------------------

    def _related(self, node: Node) -> Node:
        parts = [self._related(part) if isinstance(part, list) else part for part in node[1:]]
        if node[0] in nodes.RELATIVES:
            return ["attr", self._relation(node[0], parts[0])]
        same = all(new is old for new, old in zip(parts, node[1:], strict=True))
        return node if same else [node[0], *parts]

    def _relation(self, kind: str, condition: Node) -> str:
        """Return the attribute that stands for a relation; the same one for the same."""
        key = f"{kind} {condition}"
        if key not in self._names:
            name = self._names[key] = f"({kind} {len(self.relations)})"
            self.relations[name] = Relation(kind, condition)
            for table, tells_apart in (
                (self.getters.plain, False),
                (self.getters.protecting, True),
            ):
                ancestors = Ancestors(
                    partial(self._answer, condition, table, tells_apart),
                    missing=SELF_MADE if tells_apart else None,
                    lasts=partial(self._lasts, condition),
                )
                self._ancestors.append(ancestors)
                table[name] = ancestors.under if kind == "under" else ancestors.child
            self.getters.scoring[name] = self.getters.protecting[name]
        return self._names[key]

    def _lasts(self, condition: Node) -> bool:
        """Return whether a process answers a condition by its identity alone."""
        asked = self.attributes([condition])
        return all(name in ATTRIBUTES and not ATTRIBUTES[name].changes for name in asked)

    def _answer(
        self,
        node: Node,
        table: Mapping[str, Getter],
        tells_apart: bool,
        process: Process,
        snapshot: Snapshot,
    ) -> Any:
        """Return what a condition comes to for an ancestor.

        A text that takes too long to search is unknown by the ancestor's doing.
        """
        own = SELF_MADE if tells_apart else None

        def get(name: str) -> Any:
            value = table[name](process, snapshot)
            return own if value is SELF_MADE else value

        before = WORK.done, WORK.limit
        WORK.begin(_BUDGET)
        try:
            return nodes.reduce(node, get, Definitions(self.definitions, get))
        except OverBudget:
            return own
        finally:
            WORK.done, WORK.limit = before

    def through(self, node: Node, process: Process, snapshot: Snapshot) -> list[Found]:
        """Return the nearest ancestor for each relation of a node that holds."""
        ready = self.localise(node)
        found = []
        for name in sorted(self.attributes([ready]) & self.relations.keys()):
            relation = self.relations[name]
            for ancestor in above(process, snapshot):
                plain = self.getters.plain
                if self._answer(relation.condition, plain, False, ancestor, snapshot) is True:
                    found.append(Found(relation.kind, ancestor))
                    break
                if relation.kind == "child":
                    break
        return found

    def decided(self, name: str, process: Process, snapshot: Snapshot) -> bool:
        """Return whether nothing that is not known could change what a relation comes to.

        The getters cannot tell that: of what is unknown and what is SELF_MADE together, ``or`` is
        True.
        """
        relation = self.relations[name]
        asked = self.attributes([relation.condition])
        known = [ATTRIBUTES.get(one) for one in asked]
        plain = all(attribute and attribute.provider in _OF_ITSELF for attribute in known)
        last = process
        for last in above(process, snapshot):
            answers = [
                self._answer(relation.condition, table, tells_apart, last, snapshot)
                for table, tells_apart in (
                    (self.getters.plain, False),
                    (self.getters.protecting, True),
                )
            ]
            if plain and answers == [True, True]:
                return True
            within = asked & self.relations.keys()
            if None in answers or not asked.isdisjoint(_COUNTED):
                return False
            if not all(self.decided(inner, last, snapshot) for inner in within):
                return False
            if relation.kind == "child":
                return True
        return parent_pid(last, snapshot) is not None

    def causes(self, process: Process, snapshot: Snapshot, name: str, kind: Any) -> Iterator[str]:
        """Yield what is unknown where an attribute of a process is, in the words of the language.

        Args:
            kind: the doubt that is looked for: None, or SELF_MADE.
        """
        relation = self.relations.get(name)
        if relation is None:
            yield name.partition(" ")[0]
            return
        whose = PARENT if relation.kind == "child" else ANCESTOR
        tells_apart = kind is SELF_MADE
        table = self.getters.protecting if tells_apart else self.getters.plain
        last = process
        for below in above(process, snapshot):
            evaluate = partial(
                self._answer, table=table, tells_apart=tells_apart, process=below, snapshot=snapshot
            )
            named = partial(self.causes, below, snapshot)
            if evaluate(relation.condition) is None and tells_nothing(below):
                yield whose
                return
            for cause in causes(relation.condition, evaluate, self.definitions, named, kind):
                yield f"{cause} of {whose}"
            if relation.kind == "child":
                return
            last = below
        pid = parent_pid(last, snapshot)
        if pid is None:
            yield "ppid" if last is process else f"ppid of {whose}"
        elif pid and last.pid != INIT:
            yield whose

    # --- the unit of a block ---------------------------------------------------------------

    def bind(self, node: Node, level: int | None) -> Node:
        """Return a node in which ``scope.*`` is about a unit around the process.

        Args:
            level: how deep the unit lies, 0 for the outermost; None if that is in doubt.
        """
        if nodes.attributes(node).isdisjoint(_BLOCK):
            return node
        if node[0] == "attr":
            return ["unknown"] if level is None else ["attr", self._bound(node[1], level)]
        return [node[0], *(self.bind(p, level) if isinstance(p, list) else p for p in node[1:])]

    def _bound(self, name: str, level: int) -> str:
        bound = f"{name} {level}"
        if bound not in self.getters.plain:
            get = values.of_block(name, level)
            self.getters.plain[bound] = get
            self.getters.protecting[bound] = values.of_outer_unit(get, level)
            self.getters.scoring[bound] = self.getters.protecting[bound]
        return bound
