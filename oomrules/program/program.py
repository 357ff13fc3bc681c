"""The program: a rule set as plain data, ready to be evaluated.

The compile-time half writes it, this half reads it; between them it is JSON. Its conditions
and scores are the nodes of ``oomrules.program.nodes``.
"""

from __future__ import annotations

import json
import re
from graphlib import CycleError, TopologicalSorter

from oomrules.attributes import ATTRIBUTES, Provider, Type, with_sources
from oomrules.errors import Failure
from oomrules.lean import Any, NamedTuple
from oomrules.program import expressions, nodes
from oomrules.program.nodes import Node

SCHEMA = "oomrules.program/1"

# A target that says how a unit belongs to another begins with these words. No unit's name has
# spaces.
WANTED_BY, PART_OF = "units wanted by ", "units part of "
# A target that begins with this means units of users' managers, any other those of the system's.
USER_UNIT = "user unit "

# What an attribute is as an operand (``nodes.FORMS``); any other type is a number.
_ATTRIBUTE_KINDS = {Type.TEXT: "T", Type.BOOLEAN: "C", Type.CAPABILITIES: "-"}

# What the condition of a guard may ask for: everywhere, and in a block.
GUARDED_HOST = frozenset(
    name for name, attribute in ATTRIBUTES.items() if attribute.provider is Provider.HOST
)
GUARDED = GUARDED_HOST | {
    name for name, attribute in ATTRIBUTES.items() if attribute.provider is Provider.BLOCK
}

# Where no score is in force: Linux 2.6.10, mm/oom_kill.c, badness().
DEFAULT_SCORE = "score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))"

# Well above what the parser lets through, and below what the evaluator can stand: of a node, and
# of definitions upon definitions.
_DEPTH = 90
# Of a definition with all that it stands upon written out. Each level takes up to three calls.
DEEPEST = 250
# What a guard does, the strongest first; and in how many milliseconds a process has to have ended
# that was asked to, where the guard does not say.
ACTIONS = ("kill", "terminate", "warn")
WITHIN = 5000
# The longest duration of a guard: a week.
LONGEST_DURATION = 7 * 86_400_000
# The greatest degree of a tier.
MOST_DEGREE = 1000
# Texts, numbers and lists in all; characters of a text, which may be a whole sentence; bits of a
# number; bytes of a file.
MOST_PARTS = 1_000_000
_LONGEST = 2**22
_WIDEST = 512
_LARGEST = 64 * 2**20
# Bytes of all rules, scores and definitions as JSON: what rule files may come to. The service takes
# a line of ``service.compile_child.PARTS``, which is somewhat longer.
ROOM = 7 * 2**19


class Rule(NamedTuple):
    """A rule: what it does, to whom, and where it stands.

    ``kind`` is ``never``, ``only``, ``first``, ``last``, ``prefer`` or ``spare``.
    ``factor`` is the multiplier of the points, above and below the line. ``degree`` says how far
    out ``first`` and ``last`` put a process, from 1.
    """

    kind: str
    when: Node
    place: str
    text: str
    factor: tuple[int, int] = (1, 1)
    degree: int = 1


class Whole(NamedTuple):
    """A statement that each unit that ``target`` means is killed as a whole."""

    target: str
    place: str
    text: str


class Guard(NamedTuple):
    """A statement that says when something is done before memory runs out.

    ``kind`` is ``kill``, ``terminate`` or ``warn``. The condition has to have been true for
    ``lasting`` milliseconds; a process that was asked to end is killed ``within`` so many more.
    ``stop`` says that a unit is stopped that loses processes again and again.
    """

    kind: str
    when: Node
    place: str
    text: str
    lasting: int = 0
    within: int = WITHIN
    stop: bool = False


class Score(NamedTuple):
    """The base measure of badness in a scope."""

    value: Node
    place: str
    text: str


class Scope(NamedTuple):
    """The rules of one scope: ``targets`` are the units around it, outermost first.

    A target is the name of a unit, a glob, ``WANTED_BY`` or ``PART_OF`` and a name, or
    ``USER_UNIT`` and a name or a glob.
    """

    targets: tuple[str, ...]
    score: Score | None
    rules: tuple[Rule, ...]
    wholes: tuple[Whole, ...] = ()
    guards: tuple[Guard, ...] = ()

    @property
    def nodes(self) -> list[Node]:
        """The conditions of the rules, and the score."""
        return [rule.when for rule in self.rules] + ([self.score.value] if self.score else [])


class Program(NamedTuple):
    """A rule set, ready to run."""

    scopes: tuple[Scope, ...]
    definitions: dict[str, Node]
    attributes: frozenset[str]
    uses_limit: bool

    @property
    def size(self) -> int:
        """How many rules it has."""
        return sum(
            len(scope.rules) + len(scope.wholes) + len(scope.guards) for scope in self.scopes
        )

    @property
    def guards(self) -> list[tuple[tuple[str, ...], Guard]]:
        """The guards, each with the targets of the block that it stands in."""
        return [(scope.targets, guard) for scope in self.scopes for guard in scope.guards]

    @property
    def nodes(self) -> list[Node]:
        """All conditions and scores that processes are judged by, and definitions."""
        stated = [node for scope in self.scopes for node in scope.nodes]
        return [*stated, *self.definitions.values()]


# The kinds of rule that have a list of their own in the data; the others are weights.
_GROUPS = ("never", "only", "first", "last")
_WEIGHTS = ("prefer", "spare")


def make(scopes: tuple[Scope, ...], definitions: dict[str, Node]) -> Program:
    """Make a program, and find which attributes it needs, of a process or of its ancestors."""
    stated = [node for scope in scopes for node in scope.nodes]
    used = [*stated, *nodes.needed(stated, definitions).values()]
    return Program(
        scopes=scopes,
        definitions=definitions,
        attributes=with_sources(frozenset().union(*map(nodes.attributes, used))),
        uses_limit=any(map(nodes.asks_limit, used)),
    )


def to_data(program: Program) -> dict[str, Any]:
    """Return a program as plain data."""
    scopes = []
    for scope in program.scopes:
        score = scope.score and scope.score._asdict()
        data: dict[str, Any] = {"targets": list(scope.targets), "score": score}
        data |= {group: [] for group in (*_GROUPS, "weights")}
        for rule in scope.rules:
            entry: dict[str, Any] = {"place": rule.place, "text": rule.text, "when": rule.when}
            if rule.degree != 1:
                entry["degree"] = rule.degree
            if rule.kind not in _GROUPS:
                entry |= {"kind": rule.kind, "factor": list(rule.factor)}
            data[rule.kind if rule.kind in _GROUPS else "weights"].append(entry)
        if scope.wholes:
            data["whole"] = [whole._asdict() for whole in scope.wholes]
        if scope.guards:
            data["guards"] = [guard._asdict() for guard in scope.guards]
        scopes.append(data)
    return {
        "schema": SCHEMA,
        "attributes": sorted(program.attributes),
        "definitions": program.definitions,
        "scopes": scopes,
    }


# What can be raised where data is no program.
_WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError, re.error, RecursionError)


def from_data(data: Any) -> Program:
    """Return the program that plain data describes, trusting nothing.

    Raises:
        Failure: it is of another version, or no program at all.
    """
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise Failure(
            f"this program says {found!r}, but {SCHEMA} is what runs here",
            "compile the rules again with this version of oomrules",
        )
    try:
        _check_size(data)
        written = dict(data["definitions"])
        definitions = {str(name): _checked(node, "C", written) for name, node in written.items()}
        _check_chains(definitions)
        scopes = tuple(_scope(scope, definitions) for scope in data["scopes"])
        if not any(scope.score and not scope.targets for scope in scopes):
            raise ValueError("no score holds everywhere")
    except _WRONG as error:
        raise Failure(f"the program is damaged: {error}", "compile the rules again") from error
    return make(scopes, definitions)


def _check_size(data: Any) -> None:
    """Raise ValueError for data that is larger than any rule files make.

    This check bounds all others: they look at every part of a program once or twice.
    """
    parts, left = 0, [data]
    while left:
        part = left.pop()
        parts += 1
        if parts > MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS} parts")
        if isinstance(part, dict):
            left += (*part.keys(), *part.values())
        elif isinstance(part, list):
            left += part
        elif isinstance(part, str) and len(part) > _LONGEST:
            raise ValueError(f"a text of {len(part)} characters")
        elif isinstance(part, int) and part.bit_length() > _WIDEST:
            raise ValueError(f"a number of {part.bit_length()} bits")


def _scope(data: dict[str, Any], definitions: dict[str, Node]) -> Scope:
    rules = [
        Rule(
            kind=kind,
            when=_checked(rule["when"], "C", definitions),
            place=str(rule["place"]),
            text=str(rule["text"]),
            degree=_degree(kind, rule.get("degree", 1)),
        )
        for kind in _GROUPS
        for rule in data[kind]
    ]
    for rule in data["weights"]:
        above, below = rule["factor"]
        if type(above) is not int or type(below) is not int or min(above, below) < 1:
            raise ValueError(f"a factor of {rule['factor']!r}")
        if rule["kind"] not in _WEIGHTS:
            raise ValueError(f"a weight of kind {rule['kind']!r}")
        when = _checked(rule["when"], "C", definitions)
        rules.append(
            Rule(rule["kind"], when, str(rule["place"]), str(rule["text"]), (above, below))
        )
    score = data["score"]
    if score is not None:
        value = _checked(score["value"], "N", definitions)
        score = Score(value, str(score["place"]), str(score["text"]))
    targets = data["targets"]
    _check_targets(targets)
    wholes = [
        Whole(whole["target"], str(whole["place"]), str(whole["text"]))
        for whole in data.get("whole", ())
    ]
    _check_targets([whole.target for whole in wholes])
    guards = [_guard(guard, bool(targets), definitions) for guard in data.get("guards", ())]
    return Scope(
        tuple(targets), score, tuple(sorted(rules)), tuple(sorted(wholes)), tuple(sorted(guards))
    )


def _guard(data: dict[str, Any], in_block: bool, definitions: dict[str, Node]) -> Guard:
    when = _checked(data["when"], "C", definitions)
    lasting, within = data.get("lasting", 0), data.get("within", WITHIN)
    if data["kind"] not in ACTIONS or type(data.get("stop", False)) is not bool:
        raise ValueError(f"a guard of kind {data['kind']!r}")
    if not all(type(time) is int and 0 <= time <= LONGEST_DURATION for time in (lasting, within)):
        raise ValueError(f"a guard's durations of {lasting!r} and {within!r}")
    asked = frozenset().union(
        *map(nodes.attributes, (when, *nodes.needed([when], definitions).values()))
    )
    foreign = sorted(asked - (GUARDED if in_block else GUARDED_HOST))
    if foreign:
        raise ValueError(f"a guard that asks for {', '.join(foreign)}")
    return Guard(
        kind=data["kind"],
        when=when,
        place=str(data["place"]),
        text=str(data["text"]),
        lasting=lasting,
        within=within,
        stop=data.get("stop", False),
    )


def _degree(kind: str, degree: Any) -> int:
    most = MOST_DEGREE if kind in ("first", "last") else 1
    if type(degree) is not int or not 1 <= degree <= most:
        raise ValueError(f"{kind} with a degree of {degree!r}")
    return degree


def _check_targets(targets: Any) -> None:
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise ValueError(f"targets are {targets!r}")
    if any(not target or target.endswith(" ") for target in targets):
        raise ValueError(f"a target without a name: {targets!r}")


def _checked(node: Node, wanted: str, definitions: dict[str, Any]) -> Node:
    if _kind(node, definitions, 0) != wanted:
        raise ValueError(f"not what belongs there: {str(node)[:80]}")
    return node


def _kind(node: Any, definitions: dict[str, Any], depth: int) -> str:
    """Check a node and everything below it; return what it is (``nodes.FORMS``)."""
    if depth > _DEPTH:
        raise ValueError(f"nested more than {_DEPTH} deep")
    if not isinstance(node, list) or not node or not isinstance(node[0], str):
        raise ValueError(f"not a node: {str(node)[:80]}")
    if node[0] not in nodes.FORMS:
        raise ValueError(f"an unknown node: {node[0]}")
    form, result = nodes.FORMS[node[0]]
    operands = node[1:]
    if form.endswith("*"):
        fixed, last = form[:-2], form[-2]
        form = fixed + last * (len(operands) - len(fixed))
    if len(form) != len(operands):
        raise ValueError(f"{node[0]} with {len(operands)} operands")
    kinds = [
        {int: "i", str: "s"}.get(type(operand)) or _kind(operand, definitions, depth + 1)
        for operand in operands
    ]
    if "X" in form:
        form = kinds[0] * 2
    if kinds != list(form):
        raise ValueError(f"operands that do not fit: {str(node)[:80]}")
    return _checked_leaf(node, definitions) or result


def _checked_leaf(node: Node, definitions: dict[str, Any]) -> str:
    """Check what a node names; return what it is if it is an attribute."""
    if node[0] == "attr":
        if node[1] not in ATTRIBUTES:
            raise ValueError(f"unknown attribute {node[1]}")
        return _ATTRIBUTE_KINDS.get(ATTRIBUTES[node[1]].type, "N")
    if node[0] == "name" and node[1] not in definitions:
        raise ValueError(f"unknown definition {node[1]}")
    if (node[0] == "share" and node[2] < 1) or (node[0] == "cap" and not 0 <= node[1] < 64):
        raise ValueError(f"out of range: {node}")
    if node[0] in ("glob", "among") and max(map(len, node[2:])) > expressions.LONGEST:
        raise ValueError(f"a glob of more than {expressions.LONGEST} characters")
    if node[0] == "search":
        expressions.check(node[2])
    return ""


def _check_chains(definitions: dict[str, Node]) -> None:
    """Raise ValueError where definitions need themselves or go too deep."""
    uses = {name: nodes.names(node) for name, node in definitions.items()}
    depths: dict[str, int] = {}
    levels: dict[str, int] = {}
    try:
        names = [*TopologicalSorter(uses).static_order()]
    except CycleError as error:
        _, cycle = error.args
        raise ValueError(f"definitions that need themselves: {', '.join(cycle)}") from error
    for name in names:
        depths[name] = 1 + max((depths[used] for used in uses[name]), default=0)
        levels[name] = nodes.levels(definitions[name], levels)
        if depths[name] > _DEPTH or levels[name] > DEEPEST:
            raise ValueError(f"the definition {name} goes too deep")


def dumps(program: Program) -> str:
    """Write a program as JSON."""
    return json.dumps(to_data(program), indent=1, ensure_ascii=False) + "\n"


def loads(text: str) -> Program:
    """Read a program from JSON.

    Raises:
        Failure: see ``from_data``.
    """
    try:
        if len(text) > _LARGEST:
            raise ValueError(f"longer than {_LARGEST >> 20} MiB")
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"the program is no JSON: {error}", "compile the rules again") from error
    return from_data(data)


def load(path: str) -> Program:
    """Read a program file.

    Raises:
        Failure: it cannot be read; see ``from_data``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return loads(file.read(_LARGEST + 1))
    except OSError as error:
        raise Failure(f"cannot read the program {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"the program {path} is no UTF-8 text", "compile the rules again") from error
