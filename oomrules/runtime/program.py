"""The program: a rule set as plain data, ready to be evaluated.

The compile-time half writes it, this half reads it; between them it is JSON. Its
nodes are lists whose first item says what they are:

    ["number", n]            a number, an id, milliseconds or hundredths of a percent
    ["bytes", n]             memory; a number of pages in arithmetic
    ["share", above, below]  that share of the nearest memory limit above the process
    ["text", s]              a text
    ["attr", name]           an attribute of ``oomrules.attributes``
    ["name", name]           a definition of this program
    ["+" "-" "*" "/", a, b]  arithmetic in whole numbers, ``/`` floors
    ["negative", a], ["root", a]
    ["==" "!=" "<" "<=" ">" ">=", a, b]
    ["glob", text, pattern], ["search", text, regex], ["among", text, pattern, …]
    ["cap", bit]             the capability is in the effective set
    ["not", a], ["and", …], ["or", …]
"""

from __future__ import annotations

import json
import re

from oomrules.attributes import ATTRIBUTES
from oomrules.errors import Failure
from oomrules.lean import Any, NamedTuple

SCHEMA = "oomrules.program/1"

Node = list[Any]

# Operands of each node: "n" is a node, "i" a whole number, "s" a text, "*" any more of the last.
_FORMS: dict[str, str] = {
    "number": "i",
    "bytes": "i",
    "share": "ii",
    "text": "s",
    "attr": "s",
    "name": "s",
    "negative": "n",
    "root": "n",
    "glob": "ns",
    "search": "ns",
    "among": "nss*",
    "cap": "i",
    "not": "n",
    "and": "n*",
    "or": "n*",
    **dict.fromkeys(("+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">="), "nn"),
}
_OPERANDS: dict[str, type] = {"n": list, "i": int, "s": str}


class Rule(NamedTuple):
    """A rule: what it does, to whom, and where it stands.

    ``kind`` is ``never``, ``only``, ``first``, ``last``, ``prefer`` or ``spare``.
    ``factor`` is the multiplier of the points, above and below the line.
    """

    kind: str
    when: Node
    place: str
    text: str
    factor: tuple[int, int] = (1, 1)


class Score(NamedTuple):
    """The base measure of badness in a scope."""

    value: Node
    place: str
    text: str


class Scope(NamedTuple):
    """The rules of one scope: ``targets`` are the units around it, outermost first."""

    targets: tuple[str, ...]
    score: Score | None
    rules: tuple[Rule, ...]


class Program(NamedTuple):
    """A rule set, ready to run."""

    scopes: tuple[Scope, ...]
    definitions: dict[str, Node]
    attributes: frozenset[str]
    uses_limit: bool

    @property
    def uses_units(self) -> bool:
        """Whether a rule needs to know the unit of a process."""
        return any(scope.targets for scope in self.scopes) or self.uses_limit


_GROUPS = {"never": "never", "only": "only", "first": "first", "last": "last"}


def _mentioned(node: Node, attributes: set[str]) -> bool:
    """Collect the attributes of a node; True if it needs the memory limit."""
    if node[0] == "attr":
        attributes.add(node[1])
    elif node[0] == "cap":
        attributes.add("capabilities")
    parts = [_mentioned(part, attributes) for part in node[1:] if isinstance(part, list)]
    return node[0] == "share" or any(parts)


def make(scopes: tuple[Scope, ...], definitions: dict[str, Node]) -> Program:
    """Make a program, finding out which attributes it needs."""
    attributes: set[str] = set()
    nodes = list(definitions.values())
    for scope in scopes:
        nodes += [rule.when for rule in scope.rules]
        nodes += [scope.score.value] if scope.score else []
    limits = [_mentioned(node, attributes) for node in nodes]
    return Program(scopes, definitions, frozenset(attributes), any(limits))


def to_data(program: Program) -> dict[str, Any]:
    """Give a program as plain data."""
    scopes = []
    for scope in program.scopes:
        data: dict[str, Any] = {"targets": list(scope.targets)}
        data["score"] = scope.score and scope.score._asdict()
        for group in (*_GROUPS, "weights"):
            data[group] = []
        for rule in scope.rules:
            entry = {"place": rule.place, "text": rule.text, "when": rule.when}
            if rule.kind not in _GROUPS:
                entry |= {"kind": rule.kind, "factor": list(rule.factor)}
            data[_GROUPS.get(rule.kind, "weights")].append(entry)
        scopes.append(data)
    return {
        "schema": SCHEMA,
        "attributes": sorted(program.attributes),
        "definitions": program.definitions,
        "scopes": scopes,
    }


def from_data(data: Any) -> Program:
    """Read a program from plain data, trusting nothing.

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
        definitions = {
            str(k): _node(v, data["definitions"]) for k, v in data["definitions"].items()
        }
        scopes = tuple(_scope(scope, definitions) for scope in data["scopes"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, re.error) as error:
        raise Failure(f"the program is damaged: {error}", "compile the rules again") from error
    return make(scopes, definitions)


def _scope(data: dict[str, Any], definitions: dict[str, Node]) -> Scope:
    rules = [
        Rule(kind, _node(rule["when"], definitions), str(rule["place"]), str(rule["text"]))
        for kind in _GROUPS
        for rule in data[kind]
    ]
    for rule in data["weights"]:
        above, below = rule["factor"]
        if rule["kind"] not in ("prefer", "spare") or min(int(above), int(below)) < 1:
            raise ValueError(f"a weight {rule['kind']!r} with factor {rule['factor']!r}")
        when = _node(rule["when"], definitions)
        rules.append(
            Rule(rule["kind"], when, str(rule["place"]), str(rule["text"]), (above, below))
        )
    score = data["score"]
    if score is not None:
        value = _node(score["value"], definitions)
        score = Score(value, str(score["place"]), str(score["text"]))
    targets = tuple(str(target) for target in data["targets"])
    return Scope(targets, score, tuple(sorted(rules)))


def _node(node: Any, definitions: dict[str, Any]) -> Node:
    """Check a node and everything below it."""
    if not isinstance(node, list) or not node or node[0] not in _FORMS:
        raise ValueError(f"not a node: {str(node)[:80]}")
    form, operands = _FORMS[node[0]], node[1:]
    if form.endswith("*"):
        fixed, last = form[:-2], form[-2]
        form = fixed + last * (len(operands) - len(fixed))
    if len(form) != len(operands):
        raise ValueError(f"{node[0]} with {len(operands)} operands")
    for kind, operand in zip(form, operands, strict=True):
        if type(operand) is not _OPERANDS[kind]:
            raise ValueError(f"{node[0]} with operand {str(operand)[:80]}")
        if kind == "n":
            _node(operand, definitions)
    if node[0] == "attr" and node[1] not in ATTRIBUTES:
        raise ValueError(f"unknown attribute {node[1]}")
    if node[0] == "name" and node[1] not in definitions:
        raise ValueError(f"unknown definition {node[1]}")
    if node[0] == "share" and node[2] < 1:
        raise ValueError("a share of nothing")
    if node[0] == "search":
        re.compile(node[2])
    return node


def dumps(program: Program) -> str:
    """Write a program as JSON."""
    return json.dumps(to_data(program), indent=1, ensure_ascii=False) + "\n"


def loads(text: str) -> Program:
    """Read a program from JSON.

    Raises:
        Failure: see ``from_data``.
    """
    try:
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
            return loads(file.read())
    except OSError as error:
        raise Failure(f"cannot read the program {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"the program {path} is no UTF-8 text", "compile the rules again") from error
