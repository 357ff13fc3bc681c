"""An index that finds the few regions that may cover another.

A region that covers another holds its samples. So one sample is looked up: by the few
values that a variable can have in a region, or the beginning of its texts. What the index
leaves out surely does not cover; what it gives still has to be decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar

from oomrules.processes.units import ROOT_SLICE
from oomrules.program.nodes import glob
from oomrules.reason import atoms, lookup
from oomrules.reason import globs as texts
from oomrules.reason.atoms import FALSE, IN, UNKNOWN, Values, Variable, domain
from oomrules.reason.globs import Texts, Undecided
from oomrules.reason.lookup import Key, Lookup
from oomrules.reason.numbers import Numbers
from oomrules.reason.regions import Box, Region, narrowed
from oomrules.reason.solver import mentioned

Item = TypeVar("Item")

# Kinds whose values do not depend on those of other variables.
_FREE = ("text", "number", "flag", "cap")
_OPAQUE = ("search", "same", "share")
_UNIT = Variable("text", "unit")
_OF_USER = (Variable("text", "user.unit"), Variable("text", "user.slice"))
_PLACE = (_UNIT, Variable("text", "cgroup"), Variable("text", "slice"), *_OF_USER)
# The names of units are tied to their globs and to the blocks around.
_TIED = (_UNIT, *_OF_USER)
# Stands for the names of units, of which a process has several.
_NAMES = "names"


class Wider(Generic[Item]):
    """Regions to look up.

    Args:
        entries: what is found, its region, and the targets of the blocks around it.
    """

    def __init__(self, entries: Iterable[tuple[Item, Region | None, tuple[str, ...]]]) -> None:
        self._entries: list[tuple[Item, Region, tuple[str, ...]]] = []
        self._lookup = Lookup()
        for item, region, targets in entries:
            if region:
                self._lookup.add(len(self._entries), _keys_of(region))
                self._entries.append((item, region, targets))

    def of(self, region: Region, targets: tuple[str, ...]) -> Iterator[Item]:
        """Give what may cover a region in the blocks of these targets, in the order given."""
        box = _possible(region)
        if box is None:
            return
        sample = _Sample(box, 5)
        numbers = self._lookup.of(
            lambda about: sample.names if about == _NAMES else [sample[about]]
        )
        if not numbers:
            return
        # Two processes of the region, a small and a large one: both must be in what covers it.
        samples = (sample, _Sample(box, 2**40))
        names = (*targets, *sample.units)
        for number in numbers:
            item, wide, around = self._entries[number]
            if around and not _inside(names, around):
                continue
            if all(any(one.may_be_in(box) for box in wide) for one in samples):
                yield item


def _keys_of(region: Region) -> set[Key]:
    """Give keys of which each sample in a region has one; nothing if there are none."""
    found = [_keys(box) for box in region]
    return {key for keys in found for key in keys} if all(found) else set()


def _keys(box: Box) -> list[Key]:
    """Give keys of which each sample in a box has one; nothing if there are none."""
    best: list[Key] = []
    for variable, values in box.items():
        if not _indexed(variable):
            continue
        found: list[Key] = []
        if isinstance(values.known, Numbers):
            found = [(variable, "is", number) for number in values.known.few]
        elif isinstance(values.known, Texts):
            found = _keys_of_texts(variable, values.known)
        if values.must_be_unknown:
            found = [(variable, "is", UNKNOWN)]
        elif found and UNKNOWN in values.others:
            found.append((variable, "is", UNKNOWN))
        if found and (not best or len(found) < len(best)):
            best = found
    if best:
        return best
    return next(filter(None, (_keys_of_names(*item) for item in box.items())), [])


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


def _keys_of_texts(about: Variable, wanted: Texts) -> list[Key]:
    if wanted.these is not None:
        return [(about, "is", text) for text in wanted.these]
    for make, parts in ((lookup.begins, wanted.beginnings), (lookup.inside, wanted.pieces)):
        # What every text has is no key.
        if parts and "" not in parts:
            return [make(about, part) for part in parts]
    return []


def _keys_of_names(variable: Variable, values: Values) -> list[Key]:
    """Give keys for whoever is in a unit of some names, or in a block."""
    kind, key = variable
    names: tuple[str, ...] = ()
    # The root slice is around everybody, whatever else is.
    if kind == "in" and atoms.named(key) and not glob(ROOT_SLICE, key):
        names = (key,)
    elif kind == "unit" and FALSE not in values.others:
        names = key
    found = [lookup.glob(_NAMES, name) for name in names]
    return [] if None in found else [one for one in found if one is not None]


@lru_cache(maxsize=8192)
def _name_like(pattern: str) -> str:
    """Give the name of a unit that a glob matches, or what comes closest to one."""
    matching = texts.matching((pattern,))
    likely = matching & atoms.UNIT_NAMES or matching
    return likely.member() if likely else ""


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

    @property
    def names(self) -> list[str]:
        """Names of units around it, one for each pattern that it has to match."""
        own = [self[_UNIT]] if _UNIT in self.box else []
        return [*map(_name_like, filter(atoms.named, self.around)), *own]

    @cached_property
    def _mentioned(self) -> set[str]:
        return {
            name
            for variable in self.box
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
            elif kind in _FREE and variable not in _TIED and not _within(self[variable], values):
                return False
        return True

    def _may_be_called(self, globs: tuple[str, ...]) -> bool:
        if _UNIT in self.box or not all(one.strip("*") for one in globs):
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
            return values.known.member()
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
        or not atoms.named(target)
        or any(_part_of(inner, target) for inner in targets)
        or glob(ROOT_SLICE, target)
        for target in around
    )


@lru_cache(maxsize=65536)
def _part_of(inner: str, outer: str) -> bool:
    if not any(char in outer for char in "*?["):
        # Only a plain name is inside of another, and that is the same.
        return False
    one = texts.matching((inner,)) & atoms.UNIT_NAMES
    return not one - texts.matching((outer,))
