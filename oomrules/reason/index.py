"""An index of rules by the names and numbers that their conditions ask for.

It answers which rules may cover a rule, and which rules can be about a witness. Without an
index both take the square of the number of rules. A rule that the index leaves out is surely
no answer; a rule that it returns still has to be decided.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

from oomrules.processes.snapshot import Host, Process, Snapshot
from oomrules.processes.units import ROOT_SLICE, UNIT_SUFFIXES
from oomrules.processes.values import innermost_place, known
from oomrules.program import nodes
from oomrules.program.nodes import Node
from oomrules.program.program import Program, Rule
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.verdict import Verdict
from oomrules.reason import Undecided, globs, variables
from oomrules.reason.arithmetic import mentioned
from oomrules.reason.effects import Effect
from oomrules.reason.globs import Texts
from oomrules.reason.numbers import Numbers
from oomrules.reason.regions import PLACE, Region, narrowed
from oomrules.reason.variables import FALSE, IN, UNKNOWN, Box, Values, Variable, attribute, domain

Item = TypeVar("Item")

# What the key is about, how (``is``, ``begins`` or ``inside``), and the value or a piece of it.
Key = tuple[str, str, Any]

# Stands for the names of the units around a process, of which there are several.
_NAMES = "(names)"
# How many characters of a text are looked up: enough to tell most names apart.
_LONGEST = 16


class _Index:
    """Numbers, found by the keys that they were added with."""

    def __init__(self) -> None:
        self._always: list[int] = []
        self._keyed: dict[Key, list[int]] = {}
        # The lengths of the pieces that are looked up inside of texts.
        self._lengths: dict[str, set[int]] = {}

    def add(self, number: int, keys: Collection[Key]) -> None:
        """Add a number that each of the keys finds; without keys it is always found."""
        if not keys:
            self._always.append(number)
        for key in keys:
            about, how, piece = key
            self._keyed.setdefault(key, []).append(number)
            lengths = self._lengths.setdefault(about, set())
            if how == "inside":
                lengths.add(len(piece))

    def find(self, values: Callable[[str], Iterable[Any]]) -> list[int]:
        """Return the numbers that have a key which fits, in order.

        Args:
            values: returns the values of what a key is about; None is an unknown one.
        """
        numbers = set(self._always)
        for about, lengths in self._lengths.items():
            for value in values(about):
                numbers.update(self._keyed.get((about, "is", value), ()))
                if not isinstance(value, str):
                    continue
                for end in range(1, min(len(value), _LONGEST) + 1):
                    numbers.update(self._keyed.get((about, "begins", value[:end]), ()))
                for length in lengths:
                    for start in range(len(value) - length + 1):
                        piece = value[start : start + length]
                        numbers.update(self._keyed.get((about, "inside", piece), ()))
        return sorted(numbers)


def _keys(rule: Rule, targets: tuple[str, ...]) -> list[Key]:
    """Return keys such that every process for which a rule may hold has at least one of them.

    Returns:
        the keys, or nothing if there are no such keys.
    """
    return _keys_of_condition(rule.when) or _keys_of_targets(targets)


def _keys_of_condition(node: Node) -> list[Key]:
    match node:
        case ["and", *parts]:
            keys = [found for found in map(_keys_of_condition, parts) if found]
            # A whole value tells more processes apart than a piece of one.
            return next((found for found in keys if found[0][1] == "is"), keys[0] if keys else [])
        case ["==", ["attr", name], ["number" | "text", value]]:
            return _or_unknown(name, [(name, "is", value)])
        case ["glob" | "among", ["attr", "unit"], *patterns]:
            # A unit matches by any of its names.
            return _or_unknown(_NAMES, [_key_of_glob(_NAMES, pattern) for pattern in patterns])
        case ["glob" | "among", ["attr", name], *patterns]:
            return _or_unknown(name, [_key_of_glob(name, pattern) for pattern in patterns])
    return []


def _keys_of_targets(targets: tuple[str, ...]) -> list[Key]:
    """Return keys for the processes that may be in blocks; one that names units is enough."""
    for target in targets:
        # The root slice is around every process.
        if variables.named(target) and not nodes.glob(ROOT_SLICE, target):
            keys = _or_unknown(_NAMES, [_key_of_glob(_NAMES, target)])
            if keys:
                return keys
    return []


def _or_unknown(about: str, keys: list[Key | None]) -> list[Key]:
    """Add the key for an unknown value, for which no condition is surely false."""
    found = [key for key in keys if key is not None]
    return [*found, (about, "is", None)] if len(found) == len(keys) else []


def _key_of_glob(about: str, pattern: str) -> Key | None:
    """Return the key for the texts that a glob matches; None if any text could match."""
    start = globs.beginning(pattern)
    if start == pattern:
        return (about, "is", pattern)
    if start:
        return (about, "begins", start[:_LONGEST])
    # The suffix of a unit tells nothing apart.
    stem = pattern[: pattern.rfind(".")] if pattern.endswith(UNIT_SUFFIXES) else pattern
    piece = globs.longest_run(stem)
    return (about, "inside", piece[-_LONGEST:]) if piece else None


# --- the rules that can be about a process -----------------------------------------------------


class Judge:
    """The evaluator for one process at a time, on the few rules of many that can be about it.

    A rule that says ``comm "sshd"`` does nothing to a process of another name. Such a rule is
    left out before the evaluator decides, and the verdict is the same as with all rules.

    Args:
        program: the rules.
        host: its page size decides how many pages a quantity of memory is.
    """

    def __init__(self, program: Program, host: Host) -> None:
        self._program = program
        self._host = host
        self._index = _Index()
        # Each rule with the number of its scope.
        self._rules: list[tuple[int, Rule]] = []
        for number, scope in enumerate(program.scopes):
            for rule in scope.rules:
                # A level of ``only kill`` counts even where none of its rules holds.
                keys = [] if rule.kind == "only" else _keys(rule, scope.targets)
                self._index.add(len(self._rules), keys)
                self._rules.append((number, rule))

    def judge(self, process: Process, snapshot: Snapshot) -> Verdict:
        """Decide about one process, and say why, as ``Evaluator.judge`` does."""

        def values(about: str) -> Iterable[Any]:
            if about == _NAMES:
                return _unit_names(process, snapshot)
            value = known(about, process, snapshot)
            return [value, *getattr(value, "aliases", ())]

        rules: list[list[Rule]] = [[] for _ in self._program.scopes]
        for number in self._index.find(values):
            scope_number, rule = self._rules[number]
            rules[scope_number].append(rule)
        scopes = tuple(
            scope._replace(rules=tuple(left))
            for scope, left in zip(self._program.scopes, rules, strict=True)
            if left or scope.score
        )
        asked = [rule.when for scope in scopes for rule in scope.rules]
        asked += [scope.score.value for scope in scopes if scope.score]
        definitions = nodes.needed(asked, self._program.definitions)
        program = self._program._replace(scopes=scopes, definitions=definitions)
        return Evaluator(program, self._host).judge(process, snapshot)


def _unit_names(process: Process, snapshot: Snapshot) -> list[str | None]:
    """Return all names of the units around a process; the empty one stands for no unit."""
    place = innermost_place(process, snapshot)
    if place is None:
        return [None]
    aliases = (name for unit in place.ancestors for name in snapshot.fact(unit, "Names") or ())
    return ["", *place.chain, *aliases]


# --- the rules that may cover a region ---------------------------------------------------------

# Kinds of variables whose values do not depend on those of other variables.
_FREE = ("text", "number", "flag", "cap")
_OPAQUE = ("search", "same", "share", "kin")
# The names of units are tied to their globs and to the blocks around.
_UNIT = Variable("text", "unit")
_TIED = (_UNIT, Variable("text", "user.unit"), Variable("text", "user.slice"))
# The numbers of the two samples are close to these: a small process and a large one.
_SMALL, _LARGE = 5, 2**40


class CoverIndex(Generic[Item]):
    """Effects, to look up those that may cover a region.

    A region that covers another one holds its samples, so two samples are looked up.

    Args:
        entries: the items to find, each with its effect.
    """

    def __init__(self, entries: Iterable[tuple[Item, Effect]]) -> None:
        self._index = _Index()
        self._entries: list[tuple[Item, Region]] = []
        for item, effect in entries:
            if effect.region:
                self._index.add(len(self._entries), _keys(effect.rule, effect.targets))
                self._entries.append((item, effect.region))

    def may_cover(self, region: Region) -> Iterator[Item]:
        """Yield the items that may cover a region, in the order of the entries."""
        box = _possible(region)
        if box is None:
            return
        samples = (_Sample(box, _SMALL), _Sample(box, _LARGE))
        for number in self._index.find(samples[0].values):
            item, wide = self._entries[number]
            if all(any(sample.may_be_in(box) for box in wide) for sample in samples):
                yield item


def _possible(region: Region) -> Box | None:
    """Return a box of a region in which there can be a process; None if there is no such box."""
    for box in region:
        try:
            narrow = narrowed(box)
        except Undecided:
            return box
        if narrow is not None:
            return narrow
    return None


class _Sample:
    """One process of a box, for the variables that do not depend on others.

    Args:
        box: the box.
        liked: the number that its numbers are close to.
    """

    def __init__(self, box: Box, liked: int) -> None:
        self._box = box
        self._liked = liked
        self._values: dict[Variable, Any] = {}
        # Attributes that are read from the same place are unknown together.
        self._unknown = {_origin(one) for one, values in box.items() if values.must_be_unknown}
        numeric = (one for one in box if one.kind in ("number", "order", "share"))
        self._mentioned = {name for variable in numeric for name in mentioned(variable.key)}
        around: list[str] = []
        for (kind, key), values in box.items():
            if kind == "in" and variables.named(key) and IN in values.others:
                around.append(key)
            elif kind == "unit" and FALSE not in values.others:
                around += key
        # A name for each pattern that it has to match.
        self._names: list[Any] = ["", *map(_name_like, around)]
        if _UNIT in box:
            self._names.append(self._value(_UNIT))
        if "place" in self._unknown:
            self._names.append(None)

    def values(self, about: str) -> list[Any]:
        """Return the values of what a key is about, as ``_Index.find`` asks for them."""
        if about == _NAMES:
            return self._names
        value = self._value(attribute(about))
        if about == "run_time" and value is not None:
            value *= 1000  # rules count milliseconds, boxes seconds
        return [value]

    def _value(self, variable: Variable) -> Any:
        """Return the value of a variable; None if it is unknown."""
        if variable not in self._values:
            values = self._box.get(variable)
            unknown = values is None and _origin(variable) in self._unknown - {""}
            chosen = None if unknown else _chosen(values or domain(variable), self._liked)
            self._values[variable] = chosen
        return self._values[variable]

    def may_be_in(self, box: Box) -> bool:
        """Return whether the sample may be in another box; variables that are not free may fit."""
        return all(self._may_have(variable, values) for variable, values in box.items())

    def _may_have(self, variable: Variable, values: Values) -> bool:
        kind, key = variable
        if kind == "in" and variables.named(key):
            return self._may_be_called((key,)) or nodes.glob(ROOT_SLICE, key)
        if kind == "unit":
            return FALSE in values.others or self._may_be_called(key)
        if kind == "in":
            return variable in self._box or nodes.is_glob(key)
        if kind in _OPAQUE:
            return variable in self._box
        if kind == "order" or (kind == "number" and key[0] != "attr"):
            return variable in self._box or bool(mentioned(key) & self._mentioned)
        if kind in _FREE and variable not in _TIED:
            return _within(self._value(variable), values)
        return True

    def _may_be_called(self, patterns: tuple[str, ...]) -> bool:
        return None in self._names or any(nodes.among(name, *patterns) for name in self._names)


@lru_cache(maxsize=8192)
def _name_like(pattern: str) -> str:
    """Return the name of a unit that a glob matches, else any text that it matches."""
    matching = globs.matching((pattern,))
    likely = matching & variables.UNIT_NAMES or matching
    return likely.member() if likely else ""


def _origin(variable: Variable) -> str:
    """Return where a variable is read, if other variables are read there too; else nothing."""
    return "capabilities" if variable.kind == "cap" else "place" if variable in PLACE else ""


def _chosen(values: Values, liked: int) -> Any:
    if isinstance(values.known, Texts) and values.known:
        return values.known.member()
    if isinstance(values.known, Numbers) and values.known:
        return values.known.sample(liked)
    answer = min(values.others)
    return None if answer == UNKNOWN else answer


def _within(value: Any, values: Values) -> bool:
    if value is None:
        return UNKNOWN in values.others
    return value in (values.others if values.known is None else values.known)
