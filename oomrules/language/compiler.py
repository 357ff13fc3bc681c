"""A checked rule set becomes a program."""

from __future__ import annotations

from collections.abc import Iterable

from oomrules.language import checker
from oomrules.language.diagnostics import Level, Rejected
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.program import program


def compile_rules(found: Found) -> program.Program:
    """Return the program of the rules that were found.

    Raises:
        Rejected: a file could not be read, or a statement is in error; none of the rules
            is used.
    """
    checked = checker.check(found.files)
    diagnostics = [*found.diagnostics, *checked.diagnostics]
    if any(diagnostic.level is Level.ERROR for diagnostic in diagnostics):
        raise Rejected(diagnostics)
    return program_of(checked)


def compile_texts(sources: Iterable[RuleText]) -> program.Program:
    """Return the program of rule texts without the vocabulary; raise Rejected for an error."""
    return compile_rules(Found(tuple(sources)))


def program_of(checked: checker.Checked) -> program.Program:
    """Return the program of a rule set that was checked and has no errors."""
    default = checker.check([RuleText("built-in", program.DEFAULT_SCORE)]).scores
    scores = {**default, **checked.scores}
    by_targets: dict[checker.Targets, list[program.Rule]] = {around: [] for around in scores}
    for rule in checked.rules:
        by_targets.setdefault(rule.scope, []).append(
            program.Rule(
                kind=rule.statement.kind.key,
                when=rule.node,
                place=rule.place,
                text=rule.text,
                factor=(rule.factor.numerator, rule.factor.denominator),
                degree=rule.degree,
            )
        )
    wholes: dict[checker.Targets, list[program.Whole]] = {}
    for stated in checked.wholes:
        by_targets.setdefault(stated.scope, [])
        target = stated.statement.target
        name = target.relation.value + target.unit.value
        whole = program.Whole(name, stated.place, stated.text)
        wholes.setdefault(stated.scope, []).append(whole)
    guards: dict[checker.Targets, list[program.Guard]] = {}
    for guard in checked.guards:
        by_targets.setdefault(guard.scope, [])
        guards.setdefault(guard.scope, []).append(
            program.Guard(
                kind=guard.statement.action.key,
                when=guard.node,
                place=guard.place,
                text=guard.text,
                lasting=guard.lasting,
                within=guard.within,
                stop=guard.statement.stop,
            )
        )
    scopes = []
    for around, rules in sorted(by_targets.items(), key=lambda item: item[0]):
        score = scores.get(around)
        in_force = program.Score(score.node, score.place, score.text) if score else None
        whole_units = tuple(sorted(wholes.get(around, ())))
        armed = tuple(sorted(guards.get(around, ())))
        scopes.append(program.Scope(around, in_force, tuple(sorted(rules)), whole_units, armed))
    return program.make(tuple(scopes), checked.definitions)
