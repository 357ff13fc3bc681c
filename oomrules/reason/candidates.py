"""An index that finds the few regions that may cover another.

A region that covers another holds its samples. So one sample is looked up: by the few
values that a variable can have in a region, or the beginning of its texts. What the index
leaves out surely does not cover; what it gives still has to be decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

from oomrules.reason import texts, variables
from oomrules.reason.arithmetic import mentioned
from oomrules.reason.intervals import Numbers
from oomrules.reason.regions import Box, Region, narrowed
from oomrules.reason.texts import Texts, Undecided
from oomrules.reason.variables import FALSE, IN, UNKNOWN, Values, Variable, domain
from oomrules.runtime.nodes import glob
from oomrules.runtime.units import ROOT_SLICE

Item = TypeVar("Item")
Key = tuple[Any, ...]

# Kinds whose values do not depend on those of other variables.
_FREE = ("text", "number", "flag", "cap")
_OPAQUE = ("search", "same", "share")
_LONGEST = 8
_UNIT = Variable("text", "unit")
_PLACE = (_UNIT, Variable("text", "cgroup"), Variable("text", "slice"))


class Wider(Generic[Item]):
    """Regions to look up.

    Args:
        entries: what is found, its region, and the targets of the blocks around it.
    """

    def __init__(self, entries: Iterable[tuple[Item, Region | None, tuple[str, ...]]]) -> None:
        self._keyed: dict[Key, list[tuple[Item, Region, tuple[str, ...]]]] = {}
        self._variables: set[Variable] = set()
        for item, region, targets in entries:
            if not region:
                continue
            # A sample may be in a box that has no keys, and would not be found by those of others.
            keys = {key for box in region for key in _keys(box) or [()]}
            for key in {()} if () in keys else keys:
                self._keyed.setdefault(key, []).append((item, region, targets))
            for box in region:
                self._variables.update(box)

    def of(self, region: Region, targets: tuple[str, ...]) -> Iterator[Item]:
        """Give what may cover a region in the blocks of these targets."""
        box = _possible(region)
        if box is None:
            return
        # Two processes of the region, a small and a large one: both must be in what covers it.
        sample, other = _Sample(box, 5), _Sample(box, 2**40)
        names = (*targets, *sample.units)
        seen: set[int] = set()
        for key in self._lookups(sample):
            for item, wide, around in self._keyed.get(key, ()):
                if id(wide) in seen:
                    continue
                seen.add(id(wide))
                if around and not _inside(names, around):
                    continue
                if all(any(one.may_be_in(box) for box in wide) for one in (sample, other)):
                    yield item

    def _lookups(self, sample: _Sample) -> Iterator[Key]:
        yield ()
        for variable in self._variables:
            if _indexed(variable):
                value = sample[variable]
                yield (variable, value)
                if isinstance(value, str):
                    for end in range(1, min(len(value), _LONGEST) + 1):
                        yield (variable, "beginning", value[:end])
        for target in sample.around:
            yield ("in", target)
        own = sample[_UNIT]
        names = [*sample.units, *([own] if _UNIT in sample.box and isinstance(own, str) else [])]
        for name in names:
            beginning = _beginning(name)
            for end in range(1, len(beginning) + 1):
                yield ("unit", beginning[:end])


def _possible(region: Region) -> Box | None:
    """Give a box of a region in which there can be somebody; nobody is in no sample of it."""
    for box in region:
        try:
            narrow = narrowed(box)
        except Undecided:
            return box
        if narrow is not None:
            return narrow
    return None


def _indexed(variable: Variable) -> bool:
    plain = variable.kind == "number" and variable.key[0] == "attr"
    return plain or variable.kind == "text"


def _keys(box: Box) -> list[Key]:
    """Give keys of which a sample in the box has one; nothing if there are none."""
    best: list[Key] = []
    for variable, values in box.items():
        if UNKNOWN in values.others and not values.must_be_unknown:
            # A protecting rule: the sample is of the known ones, or unknown and found so.
            values = Values(values.known, frozenset())
            extra: list[Key] = [(variable, UNKNOWN)]
        else:
            extra = []
        if not _indexed(variable):
            continue
        found: list[Key] = []
        if isinstance(values.known, Numbers):
            found = [(variable, number) for number in values.known.few]
        elif isinstance(values.known, Texts):
            if values.known.these is not None:
                found = [(variable, text) for text in values.known.these]
            elif values.known.prefixes is not None:
                found = [
                    (variable, "beginning", prefix[:_LONGEST])
                    for prefix in values.known.prefixes
                    if prefix
                ]
                if len(found) < len(values.known.prefixes):
                    found = []
        if values.must_be_unknown:
            found = [(variable, UNKNOWN)]
        if found and (not best or len(found) < len(best)):
            best = found + extra
    if not best:
        # Whoever is in a unit of one name is in no block of another name because of it.
        best = [("in", key) for kind, key in box if kind == "in" and _is_plain(key)][:1]
    if not best:
        for variable, values in box.items():
            if variable.kind == "unit" and FALSE not in values.others:
                beginnings = [_beginning(name) for name in variable.key]
                if all(beginnings):
                    return [("unit", beginning) for beginning in beginnings]
    return best


def _beginning(name: str) -> str:
    return re.split(r"[*?[]", name, maxsplit=1)[0][:_LONGEST]


def _is_plain(target: str) -> bool:
    wild = any(char in target for char in "*?[")
    return not wild and target != ROOT_SLICE and variables.named(target)


class _Sample:
    """One process of a box, as far as its variables are free."""

    def __init__(self, box: Box, liked: int) -> None:
        self.box = box
        self.liked = liked
        self._values: dict[Variable, Any] = {}
        # What is read from one place is unknown all at once.
        self._unknown = {
            _source(variable) for variable, values in box.items() if values.must_be_unknown
        } - {""}
        self.units = [
            name
            for variable, values in box.items()
            if variable.kind == "unit" and FALSE not in values.others
            for name in variable.key
        ]
        self.around = [
            variable.key
            for variable, values in box.items()
            if variable.kind == "in" and IN in values.others
        ] + self.units
        self._mentioned = {
            name
            for variable in box
            if variable.kind in ("number", "order", "share")
            for name in mentioned(variable.key)
        }

    def __getitem__(self, variable: Variable) -> Any:
        if variable not in self._values:
            values = self.box.get(variable)
            if values is None and _source(variable) in self._unknown:
                self._values[variable] = UNKNOWN
            else:
                self._values[variable] = _chosen(values or domain(variable), self.liked)
        return self._values[variable]

    def may_be_in(self, box: Box) -> bool:
        """Tell whether the sample may be in another box; what is not free is left open."""
        for variable, values in box.items():
            kind, key = variable
            if kind == "unit":
                if FALSE not in values.others and not self._may_be_called(key):
                    return False
            elif kind in _OPAQUE:
                if variable not in self.box:
                    return False
            elif kind == "order" or (kind == "number" and key[0] != "attr"):
                if variable not in self.box and not mentioned(key) & self._mentioned:
                    return False
            # The name of a unit is tied to its globs and to the blocks around.
            elif kind in _FREE and variable != _UNIT and not _within(self[variable], values):
                return False
        return True

    def _may_be_called(self, globs: tuple[str, ...]) -> bool:
        if _UNIT in self.box or "*" in globs:
            return True
        return any(
            name in globs or any(_part_of(name, one) for one in globs) for name in self.units
        )


def _source(variable: Variable) -> str:
    """Say where a variable is read, if others are read there as well."""
    if variable.kind == "cap":
        return "capabilities"
    return "place" if variable in _PLACE else ""


def _chosen(values: Values, liked: int) -> Any:
    if values.known:
        if isinstance(values.known, Texts):
            return values.known.sample()
        return values.known.sample(liked)
    return min(values.others)


def _within(value: Any, values: Values) -> bool:
    if values.known is not None and not (isinstance(value, str) and value == UNKNOWN):
        return value in values.known
    return value in values.others


@lru_cache(maxsize=65536)
def _inside(targets: tuple[str, ...], around: tuple[str, ...]) -> bool:
    """Tell whether whoever is in some blocks may be in others because of their names."""
    return all(
        target in targets
        or not variables.named(target)
        or any(_part_of(inner, target) for inner in targets)
        or glob(ROOT_SLICE, target)
        for target in around
    )


@lru_cache(maxsize=65536)
def _part_of(inner: str, outer: str) -> bool:
    if not any(char in outer for char in "*?["):
        # Only a plain name is inside of another, and that is the same.
        return False
    one = texts.matching((inner,)) & variables.UNIT_NAMES
    return not one - texts.matching((outer,))
