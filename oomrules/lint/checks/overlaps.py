"""Rules that others make pointless, and exclusions that leave nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint.meaning import Meaning, Placed
from oomrules.lint.ruleset import Check, RuleSet, shipped
from oomrules.ranking.evaluator import Verdict
from oomrules.reason.effects import Effect, eligible, inside
from oomrules.reason.globs import Undecided
from oomrules.reason.index import Wider
from oomrules.reason.regions import EVERYBODY, Region
from oomrules.reason.witness.witness import Witness

# More wider rules than this are not compared with one; one is enough.
_MOST_COMPARED = 40


def _index(meaning: Meaning, *kinds: str) -> Wider[Placed]:
    return Wider(
        (placed, placed.effect)
        for placed in meaning.placed
        if placed.kind in kinds and placed.effect.region
    )


def _wider(meaning: Meaning, placed: Placed, index: Wider[Placed]) -> Iterator[Placed]:
    """Find rules that have an effect on every candidate that one rule is about."""
    compared = 0
    for other in index.of(placed.effect.region or []):
        wide = other.effect.region
        if other.number == placed.number or not wide:
            continue
        # Rules of a package are for every host: what is pointless there is no one's mistake.
        if not compared and shipped(placed.stated.source):
            return
        about = meaning.candidates_of(placed)
        if about is None:
            return  # that has a finding of its own
        compared += 1
        if compared > _MOST_COMPARED:
            meaning.reasoner.undecided += 1
            return
        if _covers(meaning, wide, about):
            yield other


def _covers(meaning: Meaning, wide: Region, about: Region) -> bool:
    return meaning.decide(lambda: meaning.reasoner.covers(wide, about))


def _equal(meaning: Meaning, one: Placed, two: Placed) -> bool:
    """Tell whether a rule that is covered by another covers it in turn."""
    region, wide = one.effect.region, two.effect.region
    if not region or not wide:
        return False
    return meaning.decide(lambda: meaning.reasoner.covers(region, meaning.candidates_only(wide)))


def _holds(meaning: Meaning, placed: Placed, witness: Witness) -> bool:
    return meaning.has_effect(witness, placed.effect)


def _on_the_protected(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    index = _index(meaning, "never")
    levels = meaning.effects.levels()
    for placed in meaning.placed:
        # An `only` that allows nobody by itself is told as that (OOM617).
        alone = placed.kind == "only" and len(levels[placed.effect.targets]) == 1
        if placed.kind == "never" or alone:
            continue
        for other in _wider(meaning, placed, index):

            def confirms(witness: Witness, verdict: Verdict, placed: Placed = placed) -> bool:
                return verdict.reason.startswith("never killed") and _holds(
                    meaning, placed, witness
                )

            witness = meaning.witness(placed.effect.region or [], confirms)
            if witness:
                yield PROTECTED.at(
                    placed.stated.source,
                    placed.rule.span,
                    f"this has no effect: whoever it is about is never killed, by "
                    f"{other.stated.place}",
                    "remove one of them, or narrow the `never kill`",
                    related=other.related,
                    witness=witness,
                )
                break


def _inside_its_kind(rules: RuleSet) -> Iterator[tuple[Placed, Placed, dict[str, Any]]]:
    meaning = rules.meaning
    for kind in ("never", "first", "last", "only"):
        index = _index(meaning, kind)
        for placed in meaning.placed:
            if placed.kind != kind:
                continue
            for other in _wider(meaning, placed, index):
                if kind == "only" and other.effect.targets != placed.effect.targets:
                    continue  # levels of `only` are intersected: a second one matters
                if (
                    placed.effect.rule._replace(place="", text="")
                    == other.effect.rule._replace(place="", text="")
                    and placed.effect.targets == other.effect.targets
                ):
                    continue  # said twice, which is OOM514
                # Of two that say the same, the later is blamed.
                if placed.number < other.number and _equal(meaning, placed, other):
                    continue

                def confirms(
                    witness: Witness,
                    verdict: Verdict,
                    placed: Placed = placed,
                    other: Placed = other,
                ) -> bool:
                    return _holds(meaning, placed, witness) and _holds(meaning, other, witness)

                witness = meaning.witness(placed.effect.region or [], confirms)
                if witness:
                    yield placed, other, witness
                    break


def _covered_pairs(rules: RuleSet) -> list[tuple[Placed, Placed, dict[str, Any]]]:
    return rules.meaning.once("covered", lambda: list(_inside_its_kind(rules)))


def _nested(rules: RuleSet) -> Iterator[Diagnostic]:
    for placed, other, witness in _covered_pairs(rules):
        if placed.effect.targets != other.effect.targets:
            continue
        yield NESTED.at(
            placed.stated.source,
            placed.rule.span,
            f"this adds nothing: the `{other.words}` at {other.stated.place} is about all of "
            "these processes",
            "remove it, or narrow the other one",
            related=other.related,
            witness=witness,
        )


def _block_covered(rules: RuleSet) -> Iterator[Diagnostic]:
    for placed, other, witness in _covered_pairs(rules):
        if placed.effect.targets == other.effect.targets:
            continue
        yield COVERED.at(
            placed.stated.source,
            placed.rule.span,
            f"this adds nothing: the `{other.words}` at {other.stated.place} holds here too, and "
            "is about all of these processes",
            "remove it, or narrow the other one",
            related=other.related,
            witness=witness,
        )


def _first_and_last(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    index = _index(meaning, "last")
    for placed in meaning.placed:
        if placed.kind != "first":
            continue
        for other in _wider(meaning, placed, index):

            def confirms(witness: Witness, verdict: Verdict, placed: Placed = placed) -> bool:
                return verdict.tier == 2 and _holds(meaning, placed, witness)

            witness = meaning.witness(placed.effect.region or [], confirms)
            if witness:
                yield LAST_WINS.at(
                    placed.stated.source,
                    placed.rule.span,
                    f"this has no effect: whoever it is about is killed last, by "
                    f"{other.stated.place}, and who is both is last",
                    "remove one of them",
                    related=other.related,
                    witness=witness,
                )
                break


def _shut_out(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for targets, level in meaning.effects.levels().items():
        try:
            out = meaning.effects.shut_out(targets, level)
        except Undecided:
            meaning.reasoner.undecided += 1
            continue
        first = _first(meaning, level)
        for placed in meaning.placed:
            region = placed.effect.region
            # A `never` on top is belt and braces, and no mistake.
            if placed.kind in ("only", "never") or not region:
                continue
            if not set(targets) <= set(placed.effect.targets) or shipped(placed.stated.source):
                continue
            if not _surely_inside(out, region, meaning):
                continue

            def confirms(witness: Witness, verdict: Verdict, placed: Placed = placed) -> bool:
                return bool(verdict.reason) and _holds(meaning, placed, witness)

            witness = meaning.witness(region, confirms)
            if witness:
                yield SHUT_OUT.at(
                    placed.stated.source,
                    placed.rule.span,
                    f"this has no effect: `only kill` at {first.stated.place} leaves out whoever "
                    "it is about",
                    "remove it, or widen the `only kill`",
                    related=first.related,
                    witness=witness,
                )


def _first(meaning: Meaning, level: list[Effect]) -> Placed:
    """Give the rule of a level that stands first in the files."""
    return next(one for one in meaning.placed if any(one.effect is effect for effect in level))


def _surely_inside(out: Region, region: Region, meaning: Meaning) -> bool:
    reasoner = meaning.reasoner
    return meaning.decide(
        lambda: (
            not reasoner.empty(meaning.candidates_only(region))
            and reasoner.covers(out, meaning.candidates_only(region))
        )
    )


def _cancelling(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    by_factor: dict[Fraction, list[Placed]] = {}
    for placed in meaning.placed:
        if placed.kind == "prefer" and placed.effect.sure:
            by_factor.setdefault(Fraction(*placed.effect.rule.factor), []).append(placed)
    indexes = {
        factor: Wider((one, one.effect) for one in found) for factor, found in by_factor.items()
    }
    for placed in meaning.placed:
        factor = 1 / Fraction(*placed.effect.rule.factor)
        region = placed.effect.sure
        if placed.kind != "spare" or not region or factor == 1 or factor not in indexes:
            continue
        for other in indexes[factor].of(region):
            same = other.effect.sure
            if not same or (shipped(placed.stated.source) and shipped(other.stated.source)):
                continue
            if not (_both_ways(meaning, region, same) and not meaning.reasoner.empty(region)):
                continue

            def confirms(
                witness: Witness, verdict: Verdict, placed: Placed = placed, other: Placed = other
            ) -> bool:
                return _holds(meaning, placed, witness) and _holds(meaning, other, witness)

            witness = meaning.witness(region, confirms)
            if witness:
                yield CANCELLING.at(
                    placed.stated.source,
                    placed.rule.span,
                    f"this and the `prefer` at {other.stated.place} cancel out: both hold for the "
                    "same processes, but where a value is unknown",
                    "remove both, or say which one is meant",
                    related=other.related,
                    witness=witness,
                )
                break


def _both_ways(meaning: Meaning, one: Region, two: Region) -> bool:
    covers = meaning.reasoner.covers
    return meaning.decide(
        lambda: (
            covers(one, meaning.candidates_only(two)) and covers(two, meaning.candidates_only(one))
        )
    )


def _nobody_left(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    nevers = [one for one in meaning.placed if one.kind == "never" and one.effect.region]
    levels = meaning.effects.levels()
    for targets, level in levels.items():
        left: Region = [allowed for effect in level for allowed in effect.sure or []]
        if any(effect.sure is None for effect in level):
            continue
        others = {around: one for around, one in levels.items() if around != targets}
        yield from _none(rules, left, nevers, level, targets, others)
    # Without `only`: several `never` that leave nobody together. One alone says so itself.
    everywhere = [one for one in nevers if not one.effect.targets]
    if () not in levels and len(everywhere) > 1:
        whole = meaning.candidates_only(EVERYBODY)
        if not any(_covers(meaning, one.effect.region or [], whole) for one in everywhere):
            yield from _none(rules, EVERYBODY, everywhere, [], (), {})


def _none(
    rules: RuleSet,
    left: Region,
    nevers: Iterable[Placed],
    level: list[Effect],
    targets: tuple[str, ...],
    others: dict[tuple[str, ...], list[Effect]],
) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    reasoner = meaning.reasoner
    by: list[Placed] = []
    try:
        left = meaning.candidates_only(reasoner.intersection([inside(targets, False)], left))
        if not level:
            # What no rule asks for may be unknown; nobody is left means nobody who is known.
            left = reasoner.intersection(left, [eligible()])
        if reasoner.empty(left):
            return  # the conditions themselves hold for nobody
        start = left
        if any(not _excluded(witness.judge(meaning.judge)) for witness in meaning.proposals(left)):
            return  # somebody is left
        for one in nevers:
            region = one.effect.region or []
            rest = reasoner.difference(left, region)
            if len(rest) != len(left) or rest != left:
                by.append(one)
            left = [box for box in rest if reasoner.possible(box)]
            if not left:
                break
        for around, other in others.items() if left else ():
            rest = reasoner.difference(left, meaning.effects.shut_out(around, other))
            if rest != left:
                by.append(_first(meaning, other))
            left = [box for box in rest if reasoner.possible(box)]
            if not left:
                break
    except Undecided:
        reasoner.undecided += 1
        return
    if left or not by:
        return
    blamed = by[-1]
    if level:
        blamed = _first(meaning, level)
    if shipped(blamed.stated.source):
        return

    def confirms(witness: Witness, verdict: Verdict) -> bool:
        return _excluded(verdict)

    witness = meaning.witness(start if level else blamed.effect.region or [], confirms)
    if not witness:
        return
    where = "in this block " if targets else ""
    rest_of = [one for one in by if one is not blamed]
    places = ", ".join(one.stated.place for one in rest_of[:3])
    how = "never killed" if all(one.kind == "never" for one in rest_of) else "excluded as well"
    what = (
        f"nobody {where}can be killed: whoever `only kill` leaves is {how}, by {places}"
        if level
        else f"nobody can be killed: this and the `never kill` at {places} exclude everybody"
    )
    yield NOBODY.at(
        blamed.stated.source,
        blamed.rule.span,
        what,
        "narrow one of them, or say `never kill anything` if that is meant",
        related=tuple(found for one in rest_of[:3] for found in one.related),
        witness=witness,
    )


def _excluded(verdict: Verdict) -> bool:
    """Tell whether it is a rule that makes somebody no candidate."""
    return verdict.rule is not None


PROTECTED = Check(
    "OOM611", "a rule about whoever is never killed", Level.WARNING, _on_the_protected, whole=True
)
NESTED = Check("OOM612", "a rule inside another of its kind", Level.WARNING, _nested, whole=True)
COVERED = Check(
    "OOM613",
    "a rule in a block that a wider rule covers",
    Level.WARNING,
    _block_covered,
    whole=True,
)
LAST_WINS = Check(
    "OOM614", "a `kill first` of whoever is killed last", Level.WARNING, _first_and_last, whole=True
)
SHUT_OUT = Check(
    "OOM615", "a rule about whoever `only kill` leaves out", Level.WARNING, _shut_out, whole=True
)
CANCELLING = Check(
    "OOM616", "a `prefer` and a `spare` that cancel out", Level.WARNING, _cancelling, whole=True
)
NOBODY = Check("OOM617", "exclusions that leave nobody", Level.WARNING, _nobody_left, whole=True)
CHECKS = (PROTECTED, NESTED, COVERED, LAST_WINS, SHUT_OUT, CANCELLING, NOBODY)
