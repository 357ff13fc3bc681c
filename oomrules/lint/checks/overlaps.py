"""Rules that others make pointless, and exclusions that leave no process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint.meaning import Meaning, RuleMeaning
from oomrules.lint.ruleset import Check, RuleSet, shipped
from oomrules.ranking.tiers import LAST
from oomrules.ranking.verdict import Verdict, Why
from oomrules.reason import Undecided, globs
from oomrules.reason.effects import Effect, eligible, inside
from oomrules.reason.globs import Texts
from oomrules.reason.index import CoverIndex
from oomrules.reason.regions import EVERY_PROCESS, Region
from oomrules.reason.variables import TRUE, Values, Variable, attribute
from oomrules.reason.witness.witness import Witness

# What a rule names to say which processes it means, and not how they are.
_NAMES = ("comm", "user", "group", "unit", "slice", "user.unit", "user.slice", "exe", "cgroup")
# The most wider rules that are compared with a rule; one of them is enough for a finding.
_MOST_COMPARED = 40


class _Overlap(NamedTuple):
    """A rule that another one makes pointless, and a process that shows it."""

    rule: RuleMeaning
    other: RuleMeaning
    witness: dict[str, Any]

    def finding(self, check: Check, message: str, help_: str) -> Diagnostic:
        """Return the finding; ``{other}`` in the message stands for the other's file and line."""
        return check.at(
            self.rule.stated.source,
            self.rule.stated.statement.span,
            message.format(other=self.other.stated.place, words=self.other.words),
            help_,
            related=self.other.related,
            witness=self.witness,
        )


def _confirmed(
    meaning: Meaning,
    rule: RuleMeaning,
    others: Iterable[RuleMeaning],
    region: Region,
    says: Callable[[Verdict], bool] | None = None,
) -> Iterator[_Overlap]:
    """Yield the overlap with the first other rule for which a process of a region shows it.

    Args:
        says: returns whether a verdict shows that the rule is in vain; without it both rules
            have to hold.
    """
    for other in others:

        def confirms(witness: Witness, verdict: Verdict, other: RuleMeaning = other) -> bool:
            if not meaning.has_effect(witness, rule.effect):
                return False
            return says(verdict) if says else meaning.has_effect(witness, other.effect)

        witness = meaning.witness(region, confirms)
        if witness:
            yield _Overlap(rule, other, witness)
            return


def _index(rules: Iterable[RuleMeaning]) -> CoverIndex[RuleMeaning]:
    return CoverIndex((rule, rule.effect) for rule in rules)


def _wider(
    meaning: Meaning, rule: RuleMeaning, index: CoverIndex[RuleMeaning]
) -> Iterator[RuleMeaning]:
    """Yield the rules that have an effect on every candidate that one rule is about."""
    compared = 0
    for other in index.may_cover(rule.effect.region or []):
        if other.number == rule.number:
            continue
        # Rules of a package are for every host, so a pointless one is no mistake.
        if not compared and shipped(rule.stated.source):
            return
        about = meaning.candidates_of(rule)
        if about is None:
            return  # a rule about no candidates has a finding of its own
        compared += 1
        if compared > _MOST_COMPARED:
            meaning.reasoner.undecided += 1
            return
        if _covers(meaning, other.effect.region or [], about):
            yield other


def _covers(meaning: Meaning, wide: Region, about: Region) -> bool:
    return meaning.decide(lambda: meaning.reasoner.covers(wide, about))


def _on_the_protected(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    index = _index(meaning.of("never"))
    levels = meaning.effects.levels()
    for rule in meaning.of("only", "first", "last", "prefer", "spare"):
        # An `only` that allows no process by itself has a finding of its own (OOM617).
        if rule.kind == "only" and len(levels[rule.effect.targets]) == 1:
            continue
        wider, region = _wider(meaning, rule, index), rule.effect.region or []
        for overlap in _confirmed(meaning, rule, wider, region, _is_never_killed):
            yield overlap.finding(
                PROTECTED,
                "this has no effect: the `never kill` at {other} is about all of these processes",
                "remove one of them, or narrow the `never kill`",
            )


def _is_never_killed(verdict: Verdict) -> bool:
    return verdict.why in (Why.NEVER, Why.NEVER_IN_DOUBT)


def _first_and_last(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    index = _index(meaning.of("last"))
    for rule in meaning.of("first"):
        wider, region = _wider(meaning, rule, index), rule.effect.region or []
        for overlap in _confirmed(meaning, rule, wider, region, lambda said: said.tier == LAST):
            yield overlap.finding(
                LAST_WINS,
                "this has no effect: the `kill last` at {other} is about all of these processes, "
                "and what is both is killed last",
                "remove one of them",
            )


def _inside_its_kind(meaning: Meaning) -> Iterator[_Overlap]:
    for kind in ("never", "first", "last", "only"):
        index = _index(meaning.of(kind))
        for rule in meaning.of(kind):
            wider = (
                other for other in _wider(meaning, rule, index) if _is_told(meaning, rule, other)
            )
            yield from _confirmed(meaning, rule, wider, rule.effect.region or [])


def _is_told(meaning: Meaning, rule: RuleMeaning, other: RuleMeaning) -> bool:
    """Return whether it is a mistake that another rule of the same kind covers a rule."""
    one, two = rule.effect, other.effect
    degree = two.rule.degree - one.rule.degree
    if degree:
        return _is_milder(meaning, rule, degree)
    if one.targets != two.targets:
        # Levels of `only` are intersected, so a second one matters.
        return rule.kind != "only" and not _is_blamed(meaning, other, rule)
    # Two equal conditions are OOM514.
    return one.rule.when != two.rule.when and not _is_blamed(meaning, other, rule)


def _is_milder(meaning: Meaning, rule: RuleMeaning, degree: int) -> bool:
    """Return whether another rule of a tier, whose degree is greater by so much, always counts."""
    if rule.kind == "last":
        return degree > 0
    # In doubt a first rule makes the tier of one further out milder, which the other may not do.
    return degree < 0 and rule.effect.rule.degree == max(
        one.effect.rule.degree for one in meaning.of("first")
    )


def _is_blamed(meaning: Meaning, later: RuleMeaning, earlier: RuleMeaning) -> bool:
    """Return whether the later one of two rules is reported, since both say the same."""
    region, wide = earlier.effect.region, later.effect.region
    if later.number < earlier.number or not region or not wide:
        return False
    return _covers_all(meaning, region, wide)


def _covers_all(meaning: Meaning, wide: Region, region: Region) -> bool:
    """Return whether a region covers all candidates of another."""
    return meaning.decide(lambda: meaning.reasoner.covers(wide, meaning.candidates_only(region)))


def _inside(rules: RuleSet, in_one_block: bool) -> Iterator[_Overlap]:
    meaning = rules.meaning
    for overlap in meaning.once("inside", lambda: list(_inside_its_kind(meaning))):
        if (overlap.rule.effect.targets == overlap.other.effect.targets) is in_one_block:
            yield overlap


def _taken_by_last(rules: RuleSet) -> Iterator[Diagnostic]:
    """Yield findings about rules that another author's `kill last` takes a part of.

    Within one file a `kill last` inside a `kill first` is an exception on purpose.
    """
    meaning = rules.meaning
    lasts = [one for one in meaning.of("last") if one.effect.region]
    for rule in meaning.of("first"):
        if shipped(rule.stated.source):
            continue
        named = _named(rule)
        for other in lasts if named else ():
            if other.stated.source == rule.stated.source or not _same(named, _named(other)):
                continue
            if _covers_all(meaning, other.effect.region or [], rule.effect.region or []):
                break  # OOM614
            both = _both(meaning, rule, other)
            overlap = next(_confirmed(meaning, rule, [other], both, _is_last), None)
            if overlap:
                yield overlap.finding(
                    TAKEN,
                    "the `kill last` at {other} is about some of these processes, and what is both "
                    "is killed last",
                    f"if this is to win for them, {_narrower(other)}",
                )
                break


def _is_last(verdict: Verdict) -> bool:
    return verdict.candidate and verdict.tier == LAST


def _narrower(other: RuleMeaning) -> str:
    path = Path(other.stated.source.name)
    if shipped(other.stated.source):
        return (
            f"narrow the `kill last` in a copy of {path} of your own: "
            f"/etc/oomrules.d/{path.name}, which then counts in its place"
        )
    return f"narrow the `kill last` in {path}"


def _named(rule: RuleMeaning) -> dict[Variable, Values]:
    """Return the accounts, names and units that a rule asks for, written out or as globs."""
    found: dict[Variable, Values] = {}
    for box in rule.effect.sure or []:
        for variable, values in box.items():
            if variable.kind == "unit" and values.others == {TRUE}:
                variable, values = attribute("unit"), Values(globs.matching(variable.key))
            if variable.kind == "text" and variable.key in _NAMES and _few(values):
                found[variable] = found[variable] | values if variable in found else values
    return found


def _few(values: Values) -> bool:
    """Return whether a rule means these texts; a rule about all others names none."""
    return isinstance(values.known, Texts) and values.known.these is not None


def _same(one: dict[Variable, Values], two: dict[Variable, Values]) -> bool:
    return any(bool(one[variable] & two[variable]) for variable in one.keys() & two.keys())


def _both(meaning: Meaning, one: RuleMeaning, two: RuleMeaning) -> Region:
    try:
        return meaning.reasoner.intersection(one.effect.sure or [], two.effect.sure or [])
    except Undecided:
        meaning.reasoner.undecided += 1
        return []


_MEND = "remove it, or narrow the other one"


def _nested(rules: RuleSet) -> Iterator[Diagnostic]:
    message = "this adds nothing: the `{words}` at {other} is about all of these processes"
    for overlap in _inside(rules, in_one_block=True):
        yield overlap.finding(NESTED, message + _degrees(overlap), _MEND)


def _block_covered(rules: RuleSet) -> Iterator[Diagnostic]:
    message = (
        "this adds nothing: the `{words}` at {other} holds here too, and is about all of these "
        "processes"
    )
    for overlap in _inside(rules, in_one_block=False):
        yield overlap.finding(COVERED, message + _degrees(overlap), _MEND)


def _degrees(overlap: _Overlap) -> str:
    """Return why the other one of two tiers counts, where they differ in degree."""
    ours, theirs = (one.effect.rule.degree for one in (overlap.rule, overlap.other))
    if ours == theirs:
        return ""
    which = "smaller" if overlap.rule.kind == "first" else "greater"
    return f", and of two degrees the {which} one counts ({theirs}, not {ours})"


def _shut_out(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for targets, level in meaning.effects.levels().items():
        try:
            out = meaning.effects.shut_out(targets, level)
        except Undecided:
            meaning.reasoner.undecided += 1
            continue
        first = meaning.first_of(level)
        # A `never` as well is a second protection, and no mistake.
        for rule in meaning.of("first", "last", "prefer", "spare"):
            region = rule.effect.region
            if not region or not set(targets) <= set(rule.effect.targets):
                continue
            if shipped(rule.stated.source) or meaning.candidates_of(rule) is None:
                continue
            if not _covers_all(meaning, out, region):
                continue
            for overlap in _confirmed(
                meaning, rule, [first], region, lambda said: not said.candidate
            ):
                yield overlap.finding(
                    SHUT_OUT,
                    "this has no effect: the `only kill` at {other} leaves out all of these "
                    "processes",
                    "remove it, or widen the `only kill`",
                )


def _cancelling(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    by_factor: dict[Fraction, list[RuleMeaning]] = {}
    for rule in meaning.of("prefer"):
        by_factor.setdefault(rule.factor, []).append(rule)
    indexes = {factor: _index(preferring) for factor, preferring in by_factor.items()}
    for rule in meaning.of("spare"):
        region = rule.effect.sure
        if not region or rule.factor == 1 or 1 / rule.factor not in indexes:
            continue
        others = (
            other
            for other in indexes[1 / rule.factor].may_cover(region)
            if not (shipped(rule.stated.source) and shipped(other.stated.source))
            and _are_equal(meaning, region, other.effect.sure or [])
        )
        for overlap in _confirmed(meaning, rule, others, region):
            yield overlap.finding(
                CANCELLING,
                "this and the `prefer` at {other} cancel out: both hold for the same processes, "
                "but where a value is unknown",
                "remove both, or say which one is meant",
            )


def _are_equal(meaning: Meaning, one: Region, two: Region) -> bool:
    """Return whether two regions have the same candidates, and may have any."""
    return (
        _covers_all(meaning, one, two)
        and _covers_all(meaning, two, one)
        and not meaning.reasoner.empty(one)
    )


def _none_left(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    nevers = [one for one in meaning.of("never") if one.effect.region]
    levels = meaning.effects.levels()
    for targets, level in levels.items():
        left: Region = [allowed for effect in level for allowed in effect.sure or []]
        if any(effect.sure is None for effect in level):
            continue
        others = {around: one for around, one in levels.items() if around != targets}
        yield from _none(rules, left, nevers, level, targets, others)
    # Without `only`: several `never` that together leave no process. A single one is plain to see.
    everywhere = [one for one in nevers if not one.effect.targets]
    if () not in levels and len(everywhere) > 1:
        whole = meaning.candidates_only(EVERY_PROCESS)
        if not any(_covers(meaning, one.effect.region or [], whole) for one in everywhere):
            yield from _none(rules, EVERY_PROCESS, everywhere, [], (), {})


def _none(
    rules: RuleSet,
    left: Region,
    nevers: Iterable[RuleMeaning],
    level: list[Effect],
    targets: tuple[str, ...],
    others: dict[tuple[str, ...], list[Effect]],
) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    reasoner = meaning.reasoner
    by: list[RuleMeaning] = []
    try:
        left = meaning.candidates_only(reasoner.intersection([inside(targets, False)], left))
        if not level:
            # An attribute that no rule asks for may be unknown. "None left" means none known.
            left = reasoner.intersection(left, [eligible()])
        if reasoner.empty(left):
            return  # the conditions themselves hold for no process
        start = left
        if any(not _excluded(witness.judge(meaning.judge)) for witness in meaning.proposals(left)):
            return  # a process is left
        for one, excluded in _exclusions(meaning, nevers, others):
            rest = reasoner.difference(left, excluded)
            if rest != left:
                by.append(one)
            left = [box for box in rest if reasoner.possible(box)]
            if not left:
                break
    except Undecided:
        reasoner.undecided += 1
        return
    if left or not by:
        return
    blamed = meaning.first_of(level) if level else by[-1]
    if shipped(blamed.stated.source):
        return
    region = start if level else blamed.effect.region or []
    witness = meaning.witness(region, lambda _, verdict: _excluded(verdict))
    if not witness:
        return
    where = "in this block " if targets else ""
    rest_of = [one for one in by if one is not blamed]
    places = ", ".join(one.stated.place for one in rest_of[:3])
    how = "never killed" if all(one.kind == "never" for one in rest_of) else "excluded as well"
    what = (
        f"no process {where}can be killed: those that `only kill` leaves are {how}, by {places}"
        if level
        else f"no process can be killed: this and the `never kill` at {places} exclude all of them"
    )
    yield NOBODY.at(
        blamed.stated.source,
        blamed.stated.statement.span,
        what,
        "narrow one of them",
        related=tuple(found for one in rest_of[:3] for found in one.related),
        witness=witness,
    )


def _all_protected(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    whole = meaning.candidates_only(EVERY_PROCESS)
    for rule in _index(meaning.of("never")).may_cover(whole):
        region = rule.effect.region or []
        witness = (
            meaning.witness(region, lambda _, verdict: _is_never_killed(verdict))
            if _covers(meaning, region, whole)
            else None
        )
        if witness:
            yield ALL_PROTECTED.at(
                rule.stated.source,
                rule.stated.statement.span,
                "no process can be killed: this is about every process",
                'say which processes must live, as in `never kill uid 0 comm "sshd"`',
                witness=witness,
            )


def exclusions(meaning: Meaning) -> Iterator[tuple[RuleMeaning, Region]]:
    """Yield the rules that exclude processes, each with the region of these processes.

    Raises:
        Undecided: a region is too large.
    """
    return _exclusions(meaning, meaning.of("never"), meaning.effects.levels())


def _exclusions(
    meaning: Meaning,
    nevers: Iterable[RuleMeaning],
    levels: dict[tuple[str, ...], list[Effect]],
) -> Iterator[tuple[RuleMeaning, Region]]:
    for never in nevers:
        yield never, never.effect.region or []
    for targets, level in levels.items():
        yield meaning.first_of(level), meaning.effects.shut_out(targets, level)


def _excluded(verdict: Verdict) -> bool:
    """Return whether a rule makes the process no candidate."""
    return verdict.rule is not None


PROTECTED = Check(
    "OOM611", "a rule about processes that are never killed", _on_the_protected, whole=True
)
NESTED = Check("OOM612", "a rule inside another of its kind", _nested, whole=True)
COVERED = Check("OOM613", "a rule in a block that a wider rule covers", _block_covered, whole=True)
LAST_WINS = Check(
    "OOM614", "a `kill first` of processes that are killed last", _first_and_last, whole=True
)
SHUT_OUT = Check(
    "OOM615", "a rule about processes that `only kill` leaves out", _shut_out, whole=True
)
CANCELLING = Check("OOM616", "a `prefer` and a `spare` that cancel out", _cancelling, whole=True)
NOBODY = Check("OOM617", "exclusions that leave no process", _none_left, whole=True)
ALL_PROTECTED = Check("OOM618", "a `never kill` of every process", _all_protected, whole=True)
TAKEN = Check(
    "OOM619",
    "a `kill first` that a `kill last` of another file overrules in part",
    _taken_by_last,
    Level.INFO,
    whole=True,
)
CHECKS = (
    PROTECTED,
    NESTED,
    COVERED,
    LAST_WINS,
    SHUT_OUT,
    CANCELLING,
    NOBODY,
    ALL_PROTECTED,
    TAKEN,
)
