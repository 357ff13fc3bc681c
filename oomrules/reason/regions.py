"""Regions: the processes for which conditions hold, as unions of boxes.

If attributes depend on one another in ways that are not modelled here, an operation may return
a region that is too wide, never one that is too narrow. So *empty* and *covered* are proofs,
and anything else needs a witness that the evaluator confirms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oomrules.processes.units import ROOT_SLICE
from oomrules.processes.values import LIMIT
from oomrules.program.nodes import Node, glob, whole_of
from oomrules.program.program import USER_UNIT
from oomrules.reason import Undecided, arithmetic, atoms, globs, solver, variables
from oomrules.reason.arithmetic import mentioned
from oomrules.reason.atoms import Atom
from oomrules.reason.variables import (
    DOUBT,
    FALSE,
    IN,
    OUT,
    TRUE,
    UNKNOWN,
    Box,
    Values,
    Variable,
    attribute,
    domain,
    only,
)

Region = list[Box]

EVERY_PROCESS: Region = [{}]

# More boxes than any sensible rule has. Beyond this number nothing is claimed.
MOST_BOXES = 128


# More parts than any sensible condition about ancestors has, with its definitions written out.
MOST_PARTS = 1000


class Reasoner:
    """The conditions of one rule set, as regions.

    Attributes:
        definitions: what defined names stand for.
        undecided: how many questions were too large to decide.
        unsolved: how many would need z3, which is not installed.
    """

    def __init__(self, definitions: Mapping[str, Node]) -> None:
        self.definitions = definitions
        self.undecided = 0
        self.unsolved = 0
        # Keyed by the identity of a node, since a list has no hash and several checks ask for
        # the same node. The node is kept too, so that no other one takes its identity.
        self._known: dict[tuple[int, bool, bool], tuple[Node, Region | None]] = {}

    # --- conditions --------------------------------------------------------------------

    def holds(self, node: Node, doubt: bool = False) -> Region:
        """Return the processes for which a condition surely holds; with doubt, for which it may.

        Raises:
            Undecided: the region would have too many boxes.
        """
        return self._region(node, True, doubt)

    def fails(self, node: Node) -> Region:
        """Return the processes for which a condition is surely false.

        Raises:
            Undecided: the region would have too many boxes.
        """
        return self._region(node, False, False)

    def _region(self, node: Node, positive: bool, doubt: bool) -> Region:
        key = (id(node), positive, doubt)
        if key not in self._known:
            # A condition that is too large once stays too large, so None is kept for it.
            self._known[key] = (node, None)
            self._known[key] = (node, self._made(node, positive, doubt))
        region = self._known[key][1]
        if region is None:
            raise Undecided("this condition has too many cases")
        return region

    def _made(self, node: Node, positive: bool, doubt: bool) -> Region:
        match node[0]:
            case "not":
                return self._region(node[1], not positive, doubt)
            case "and" | "or":
                parts = [self._region(part, positive, doubt) for part in node[1:]]
                if (node[0] == "and") is positive:
                    return self.intersection(*parts)
                return _tidied([box for part in parts for box in part])
            case "name":
                return self._region(self.definitions[node[1]], positive, doubt)
            case "child" | "under":
                # Nothing is known of other processes but what is asked of them.
                kin = Variable("kin", (node[0], self._written_out(node[1])))
                answers = {TRUE if positive else FALSE, *([UNKNOWN] if doubt else [])}
                return [{kin: only(*answers)}]
            case "==" | "!=" if arithmetic.is_condition(node[1]):
                # Two conditions are equal if both hold, or neither.
                one, two = node[1:]
                same = ["or", ["and", one, two], ["and", ["not", one], ["not", two]]]
                other = ["or", ["and", one, ["not", two]], ["and", ["not", one], two]]
                if node[0] == "!=":
                    same, other = other, same
                if not positive:
                    same, other = other, same
                if not doubt:
                    return self._region(same, True, False)
                # It may hold unless the opposite surely holds.
                return self.difference(EVERY_PROCESS, self._region(other, True, False))
        found = atoms.atom(node)
        if not isinstance(found, Atom):
            holds = doubt if found is None else found is positive
            return [{}] if holds else []
        values = found.yes if positive else found.no
        if doubt and UNKNOWN in domain(found.variable).others:
            values |= only(UNKNOWN)
        return [{found.variable: values}] if values else []

    def _written_out(self, node: Node) -> tuple[Any, ...]:
        """Return a condition with its definitions written out, as a key."""
        left = MOST_PARTS

        def written(node: Node) -> tuple[Any, ...]:
            nonlocal left
            left -= 1
            if left < 0:
                raise Undecided("a condition about ancestors is too large")
            if node[0] == "name":
                return written(self.definitions[node[1]])
            return tuple(written(part) if isinstance(part, list) else part for part in node)

        return written(node)

    # --- sets --------------------------------------------------------------------------

    def intersection(self, *regions: Region) -> Region:
        """Return the processes that are in all regions."""
        result = [dict[Variable, Values]()]
        for region in regions:
            boxes = [meet(one, two) for one in result for two in region]
            result = _tidied([box for box in boxes if box is not None])
        return result

    def difference(self, region: Region, less: Region) -> Region:
        """Return the processes of a region that are not in another.

        Raises:
            Undecided: there would be too many boxes.
        """
        left = region
        for without in less:
            left = [
                piece
                for box in left
                for piece in _subtract(box, without)
                if self.possible(piece, solve=False)
            ]
            _check(left)
        return left

    def empty(self, region: Region) -> bool:
        """Return whether there surely is no process in a region."""
        return not any(self.possible(box) for box in region)

    def covers(self, wider: Region, region: Region) -> bool:
        """Return whether a region surely lies inside the wider one."""
        return self.empty(self.difference(region, wider))

    def possible(self, box: Box, solve: bool = True) -> bool:
        """Return whether there may be a process in a box.

        Args:
            solve: ask z3 too, if attributes are compared with one another.
        """
        narrow = narrowed(box)
        if narrow is None:
            return False
        if not solve or not solver.needed(narrow):
            return True
        answer = solver.satisfiable(narrow)
        if answer is None:
            self.unsolved += 1
        return answer is not False


def meet(one: Box, two: Box) -> Box | None:
    """Return the intersection of two boxes; None if a variable has no value left."""
    if len(one) < len(two):
        one, two = two, one
    both = dict(one)
    for variable, values in two.items():
        if variable in both:
            values &= both[variable]
            if not values:
                return None
        both[variable] = values
    return both


def apart(one: Box, two: Box) -> bool:
    """Return whether one variable alone shows that no process can be in both boxes."""
    if len(one) > len(two):
        one, two = two, one
    return any(variable in two and not values & two[variable] for variable, values in one.items())


def _subtract(box: Box, without: Box) -> Iterable[Box]:
    """Return disjoint boxes that make up a box without another one."""
    common = meet(box, without)
    if common is None:
        return [box]
    pieces = []
    inside = dict(box)
    for variable, values in without.items():
        before = inside.get(variable)
        outside = (domain(variable) if before is None else before) - values
        if outside:
            pieces.append({**inside, variable: outside})
        inside[variable] = common[variable]
    return pieces


def _check(boxes: Sequence[Any]) -> None:
    if len(boxes) > MOST_BOXES:
        raise Undecided("this condition has too many cases")


def _tidied(region: Region) -> Region:
    """Join boxes that differ in one variable, like those of ``uid 0 or uid 1``."""
    found: Region = []
    for box in region:
        for number, other in enumerate(found):
            if other.keys() == box.keys():
                differing = [variable for variable in box if box[variable] != other[variable]]
                if len(differing) <= 1:
                    joined = {variable: other[variable] | box[variable] for variable in differing}
                    found[number] = {**other, **joined}
                    break
        else:
            found.append(box)
            _check(found)
    if any(not box for box in found):
        return [{}]
    return found


# --- attributes that depend on one another ---------------------------------------------------

# Where a process is. All of these are unknown if its control group is unknown.
PLACE = tuple(
    Variable("text", name) for name in ("cgroup", "slice", "unit", "user.slice", "user.unit")
)
# A name is known only if its id is known. An id may be known without a name.
_NAMED_BY = {Variable("text", "user"): "uid", Variable("text", "group"): "gid"}


def narrowed(box: Box) -> Box | None:
    """Apply what is certain about attributes that are read from the same place.

    Returns:
        the box with fewer values, or None if no process is in it.
    """
    place: list[Variable] = []
    caps: list[Variable] = []
    sums: dict[frozenset[str], list[Variable]] = {}
    for variable, values in box.items():
        if not values:
            return None
        kind, key = variable
        if variable in PLACE or kind == "unit" or (kind == "in" and variables.in_cgroup(key)):
            place.append(variable)
        elif kind == "cap":
            caps.append(variable)
        elif kind in ("order", "share") or (kind == "number" and key[0] != "attr"):
            # An expression is unknown only if one of its parts is, or after a division by 0.
            names = mentioned(key)
            parts = (box.get(attribute(name)) for name in names)
            if values.must_be_known and any(part and part.must_be_unknown for part in parts):
                return None
            if "'/'" not in str(key):
                more = [LIMIT] if kind == "share" or "'share'" in str(key) else []
                if kind == "share" and arithmetic.whole_beside(key):
                    # It is unknown where there is nothing to be a share of, too.
                    more = [whole_of(arithmetic.whole_beside(key))]
                sums.setdefault(frozenset([*names, *more]), []).append(variable)
        elif variable in _NAMED_BY:
            id_ = box.get(attribute(_NAMED_BY[variable]))
            if id_ is not None and id_.must_be_unknown and values.must_be_known:
                return None
    for group in (place, caps, *sums.values()):
        if len(group) > 1 or (group and group is place):
            found = _known_together(box, group)
            if found is None:
                return None
            box = found
    return box if not place or (_of_users_well(box) and _named_well(box, place)) else None


def _known_together(box: Box, group: list[Variable]) -> Box | None:
    """Narrow a box by the fact that the variables of a group are all known or all unknown."""
    known = any(box[variable].must_be_known for variable in group)
    unknown = any(box[variable].must_be_unknown for variable in group)
    if known and unknown:
        return None
    if not known and not unknown:
        return box
    box = dict(box)
    for variable in group:
        doubt = only(DOUBT if variable.kind == "in" else UNKNOWN)
        box[variable] = box[variable] - doubt if known else box[variable] & doubt
        if not box[variable]:
            return None
    for variable, values in box.items():
        # If the control group is unknown, it is unknown what its units belong to.
        if unknown and variable.kind == "in" and DOUBT not in values.others:
            return None
    return box


def _out(box: Box) -> tuple[str, ...]:
    """Return the globs that match none of the system's units around the process."""
    return tuple(
        v.key for v in box if v.kind == "in" and variables.named(v.key) and box[v].others == {OUT}
    )


def _of_users_well(box: Box) -> bool:
    """Return whether units of users' managers can be as a box asks, with their managers around."""
    asked = {
        v.key.removeprefix(USER_UNIT): box[v].others
        for v in box
        if v.kind == "in" and variables.of_user(v.key)
    }
    own = box.get(Variable("text", "user.unit"))
    if not asked and own is None:
        return True
    out = globs.matching(tuple(name for name, others in asked.items() if others == {OUT}))
    inside = [name for name, others in asked.items() if others == {IN}]
    if any(not (variables.UNIT_NAMES & globs.matching((name,))) - out for name in inside):
        return False
    if own is not None and own.must_be_known and isinstance(own.known, globs.Texts):
        nowhere = globs.literal("")
        if inside and not own.known - nowhere:
            return False
        if "" not in own.known:
            inside.append("*")
            if not own.known - out:
                return False
    return not inside or bool(variables.MANAGERS - globs.matching(_out(box)))


def _named_well(box: Box, place: list[Variable]) -> bool:
    """Return whether units can have the names that a box asks for and match no block outside."""
    out = _out(box)
    # No process is outside of the root slice.
    if any(glob(ROOT_SLICE, target) for target in out):
        return False
    around = globs.matching(out)
    unit_out = tuple(
        glob_ for v in place if v.kind == "unit" and box[v].others == {FALSE} for glob_ in v.key
    )
    own = globs.matching(unit_out)
    for variable in place:
        kind, key = variable
        if kind == "in" and variables.named(key) and box[variable].others == {IN}:
            if out and not (variables.UNIT_NAMES & globs.matching((key,))) - around:
                return False
        elif kind == "unit" and box[variable].others == {TRUE}:
            called = (variables.UNIT_NAMES | globs.literal("")) & globs.matching(key)
            if not called - own:
                return False
            # The innermost unit is one of the units around, unless there is no unit at all.
            if out and "" not in called and not called - around:
                return False
    name = Variable("text", "unit")
    if unit_out and all(box[v].must_be_known for v in place if v.kind == "unit"):
        names = box[name].known if name in box else None
        plain = names if isinstance(names, globs.Texts) else domain(name).known
        assert isinstance(plain, globs.Texts)
        if not plain - own:
            return False
    return True
