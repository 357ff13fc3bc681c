"""The check of a whole rule set: what each name means, and whether each statement can."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES
from oomrules.language import parser, quantities, syntax
from oomrules.language.diagnostics import Diagnostic, Related
from oomrules.language.text import RuleText, Span
from oomrules.language.typing import Bad, Typing
from oomrules.program import nodes, program

# The kinds of unit that have a control group (systemd.unit(5)).
UNIT_SUFFIXES = (".slice", ".scope", ".service", ".socket", ".mount", ".swap")
_GLOB = "*?["
_RELATIONS = tuple(relation.value for relation in syntax.Relation if relation.value)

Targets = tuple[str, ...]


class CheckedRule(NamedTuple):
    """A rule that is well formed: its condition is a node of the program."""

    targets: Targets
    kind: syntax.Kind
    when: list[Any]
    factor: Fraction
    place: str
    text: str


class CheckedScore(NamedTuple):
    """The score that is in force in a scope."""

    targets: Targets
    value: list[Any]
    place: str
    text: str


@dataclass
class Checked:
    """What a rule set says, once every file has been read and judged.

    ``stated`` are all statements that could be read, ``sound`` those without a mistake,
    with their rules and scores. ``defined`` and ``listed`` are what is in force.
    """

    rules: list[CheckedRule] = field(default_factory=list)
    scores: dict[Targets, CheckedScore] = field(default_factory=dict)
    definitions: dict[str, list[Any]] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    trees: list[tuple[RuleText, tuple[syntax.Statement, ...]]] = field(default_factory=list)
    stated: list[Stated] = field(default_factory=list)
    sound: list[Sound] = field(default_factory=list)
    defined: dict[str, Stated] = field(default_factory=dict)
    listed: dict[str, Stated] = field(default_factory=dict)


class Stated(NamedTuple):
    """A statement with its file and the blocks around it."""

    source: RuleText
    targets: tuple[syntax.Target, ...]
    statement: syntax.Statement

    @property
    def scope(self) -> Targets:
        """The targets around it as a program has them, outermost first."""
        return tuple(target.relation.value + target.unit.value for target in self.targets)

    @property
    def place(self) -> str:
        """Where it begins, as ``file:line``."""
        return self.source.place(self.statement.span)


class Sound(NamedTuple):
    """A statement without a mistake, and what became of it; a definition became nothing."""

    stated: Stated
    made: CheckedRule | CheckedScore | None


def check(sources: Iterable[RuleText]) -> Checked:
    """Check a rule set; the order of the files does not matter."""
    checked = Checked()
    stated = checked.stated
    for source in sorted(sources, key=lambda source: source.name):
        statements, diagnostics = parser.parse(source)
        checked.diagnostics += diagnostics
        checked.trees.append((source, statements))
        checked.diagnostics += _bad_targets(source, statements)
        stated += [Stated(source, *found) for found in syntax.walk(statements)]
    definitions = checked.defined = _in_force(stated, syntax.Define, checked)
    lists = checked.listed = _in_force(stated, syntax.ListOf, checked)
    broken = {diagnostic.breaks for diagnostic in checked.diagnostics}
    broken |= {
        one.statement.name.name
        for one in stated
        if one.targets and isinstance(one.statement, syntax.Define | syntax.ListOf)
    }
    items = {name: one.statement for name, one in lists.items()}
    scores: list[tuple[Stated, CheckedScore]] = []
    room = _Room()
    for one in stated:
        typing = Typing(one.source, definitions, items, broken)
        made: CheckedRule | CheckedScore | None = None
        try:
            match one.statement:
                case syntax.Rule():
                    made = _rule(one, one.statement, typing)
                    room.take(one, made, typing)
                    checked.rules.append(made)
                case syntax.Score():
                    made = _score(one, one.statement, typing)
                    room.take(one, made, typing)
                    scores.append((one, made))
                case syntax.Define() | syntax.ListOf():
                    _at_top_level(one, one.statement, typing)
            if isinstance(one.statement, syntax.Define):
                node = _definition(one.statement, typing)
                room.take(one, node, typing)
                if definitions[one.statement.name.name] is one:
                    checked.definitions[one.statement.name.name] = node
            checked.sound.append(Sound(one, made))
        except Bad as error:
            checked.diagnostics.append(error.diagnostic)
        if room.left < 0:
            # The rest would only take time and memory.
            break
    _find_cycles(checked)
    _find_scores(scores, checked)
    checked.diagnostics.sort(key=lambda diagnostic: diagnostic.sort_key)
    return checked


class _Room:
    """Sees to it that a rule set does not come to more than the service takes."""

    def __init__(self) -> None:
        self.left = program.ROOM
        self._scopes: set[Targets] = set()

    def take(self, one: Stated, made: Any, typing: Typing) -> None:
        """Count one statement by what has been made of it.

        Raises:
            Bad: there is no room for it.
        """
        self.left -= _SEPARATE + _written(made)
        if one.scope not in self._scopes:
            self._scopes.add(one.scope)
            self.left -= _SEPARATE + _written(one.scope)
        if self.left < 0:
            typing.bad(
                "OOM107",
                one.statement.span,
                f"with this the rules come to more than {program.ROOM / 2**20} MiB, "
                "which the service does not hold",
                "say it in fewer statements, with globs, or with a shorter list",
            )


# What stands around a statement or a scope in a program.
_SEPARATE = 100


def _written(made: Any) -> int:
    """Give how many bytes something takes in a program, about."""
    return len(json.dumps(made, default=str))


def _rule(one: Stated, rule: syntax.Rule, typing: Typing) -> CheckedRule:
    return CheckedRule(
        one.scope,
        rule.kind,
        typing.selector(rule.selector),
        _factor(rule, typing),
        one.source.place(rule.span),
        one.source.quote(rule.span),
    )


def _score(one: Stated, score: syntax.Score, typing: Typing) -> CheckedScore:
    return CheckedScore(
        one.scope,
        typing.score(score.expression),
        one.source.place(score.span),
        one.source.quote(score.span),
    )


def _definition(define: syntax.Define, typing: Typing) -> list[Any]:
    if define.name.name in ATTRIBUTES:
        typing.bad(
            "OOM208",
            define.name.span,
            f"`{define.name.name}` is an attribute and cannot be defined",
            "take another name",
        )
    return typing.condition(define.condition)


def _at_top_level(one: Stated, made: syntax.Define | syntax.ListOf, typing: Typing) -> None:
    if one.targets:
        typing.bad(
            "OOM210",
            made.span,
            f"`{made.name.name}` is defined inside a block",
            "definitions hold everywhere; move it out of the block",
        )


def _factor(rule: syntax.Rule, typing: Typing) -> Fraction:
    """Give the weight of a rule as a multiplier: the kernel's own 2 and 1/4, or what it says."""
    if rule.factor is None:
        return {syntax.Kind.PREFER: Fraction(2), syntax.Kind.SPARE: Fraction(1, 4)}.get(
            rule.kind, Fraction(1)
        )
    written = rule.factor.written
    try:
        factor, suffix = quantities.number(written)
    except quantities.BadQuantity as error:
        typing.bad(error.code, rule.factor.span, error.message, error.help)
    opposite = "spare" if rule.kind is syntax.Kind.PREFER else "prefer"
    if suffix:
        typing.bad(
            "OOM403",
            rule.factor.span,
            f"a factor is a plain number, not `{written}`",
            f"write `by {written.removesuffix(suffix)}`",
        )
    if factor < 1:
        typing.bad(
            "OOM403",
            rule.factor.span,
            f"a factor is 1 or more, not {written}",
            f"use `{opposite} … by {1 / factor}` instead" if factor else "use `never kill` instead",
        )
    return factor if rule.kind is syntax.Kind.PREFER else 1 / factor


def _bad_targets(
    source: RuleText, statements: tuple[syntax.Statement, ...]
) -> Iterable[Diagnostic]:
    """Find targets that cannot be the name of a unit."""
    for statement in statements:
        if not isinstance(statement, syntax.Block):
            continue
        target, relation = statement.target.unit.value, statement.target.relation
        is_glob = any(char in target for char in _GLOB)
        by_name = relation in (syntax.Relation.WANTED_BY, syntax.Relation.PART_OF)
        if by_name and (is_glob or "." not in target):
            yield Diagnostic(
                "OOM211",
                f"`{target}` is not the full name of a unit",
                source,
                statement.target.unit.span,
                'write the full name, as in `in units wanted by "multi-user.target"`',
            )
        elif target != target.strip():
            yield Diagnostic(
                "OOM211",
                f'"{target}" is not the name of a unit: no name begins or ends with a blank',
                source,
                statement.target.unit.span,
                f'write `in {relation.value}"{target.strip() or "nginx.service"}"`',
            )
        elif relation is syntax.Relation.NAMED and target.startswith(_RELATIONS):
            yield Diagnostic(
                "OOM211",
                f'"{target}" is not the name of a unit: words of a target stand before the quotes',
                source,
                statement.target.span,
                f"write {_unquoted(target)}",
            )
        elif not by_name and not is_glob and not target.endswith(UNIT_SUFFIXES):
            yield Diagnostic(
                "OOM211",
                f"`{target}` is not the name of a unit that holds processes",
                source,
                statement.target.span,
                f"write the full name, as in `{relation.value}{target or 'nginx'}.service`; "
                "the suffix is .service, .scope or .slice",
            )
        yield from _bad_targets(source, statement.statements)


def _unquoted(target: str) -> str:
    """Give a target whose words were inside the quotes as it is written."""
    words = next(words for words in _RELATIONS if target.startswith(words))
    return f'`in {words}"{target.removeprefix(words).strip()}"`'


def _in_force(
    stated: list[Stated], kind: type[syntax.Define] | type[syntax.ListOf], checked: Checked
) -> dict[str, Any]:
    """Find what each name stands for: a higher directory's definition replaces a lower's."""
    found: dict[str, list[Stated]] = {}
    for one in stated:
        if isinstance(one.statement, kind) and not one.targets:
            found.setdefault(one.statement.name.name, []).append(one)
    in_force = {}
    for name, all_of_it in found.items():
        by_level: dict[int, Stated] = {}
        for one in all_of_it:
            assert isinstance(one.statement, kind)
            earlier = by_level.setdefault(one.source.level, one)
            if earlier is not one:
                checked.diagnostics.append(
                    _twice("OOM206", f"`{name}` is defined", one, earlier, one.statement.name.span)
                )
        in_force[name] = by_level[min(by_level)]
    return in_force


def _twice(code: str, what: str, one: Stated, earlier: Stated, span: Span) -> Diagnostic:
    return Diagnostic(
        code,
        f"{what} here and at {earlier.source.place(earlier.statement.span)}",
        one.source,
        span,
        "rules have no order, so neither comes first: remove one, or put the one that "
        "shall hold into a directory of higher precedence",
        related=(Related(earlier.source, earlier.statement.span, "the other one"),),
    )


def _find_scores(scores: list[tuple[Stated, CheckedScore]], checked: Checked) -> None:
    """Keep one score per scope, that of the highest directory."""
    found: dict[Targets, dict[int, tuple[Stated, CheckedScore]]] = {}
    for one, score in scores:
        by_level = found.setdefault(score.targets, {})
        earlier, _ = by_level.setdefault(one.source.level, (one, score))
        if earlier is not one:
            checked.diagnostics.append(
                _twice("OOM209", "the score is given", one, earlier, one.statement.span)
            )
    for targets, by_level in found.items():
        checked.scores[targets] = by_level[min(by_level)][1]


def _find_cycles(checked: Checked) -> None:
    """Refuse definitions that need themselves, and chains deeper than the parser's limit."""
    definitions = {name: checked.defined[name] for name in checked.definitions}
    uses = {name: sorted(nodes.names(node)) for name, node in checked.definitions.items()}
    depths: dict[str, int] = {}

    def complain(name: str, code: str, message: str, help_: str) -> None:
        one = definitions[name]
        span = one.statement.span
        checked.diagnostics.append(Diagnostic(code, message, one.source, span, help_))

    def too_deep(name: str) -> None:
        message = f"`{name}` ends a chain of more than {parser.DEPTH} definitions"
        complain(name, "OOM106", message, "define it more directly")

    # How deep each definition is with those that it stands upon written out.
    levels: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> int:
        """Give how many definitions deep a name is; each complaint is made once."""
        if name in depths:
            return depths[name]
        if name in path:
            cycle = " → ".join((*path[path.index(name) :], name))
            complain(
                name, "OOM207", f"`{name}` needs itself: {cycle}", "say one without the others"
            )
            return depths.setdefault(name, 0)
        if len(path) > parser.DEPTH:
            too_deep(name)
            return depths.setdefault(name, 0)
        below = [visit(used, (*path, name)) for used in uses.get(name, ()) if used in definitions]
        depth = 1 + max(below, default=0)
        levels[name] = nodes.levels(checked.definitions[name], levels)
        if depth == parser.DEPTH + 1:
            too_deep(name)
        elif levels[name] > program.DEEPEST:
            # Those that stand upon it are not blamed for it.
            levels[name] = 0
            message = f"`{name}` is more than {program.DEEPEST} levels deep, with what it stands on"
            complain(name, "OOM106", message, "define it more directly")
        return depths.setdefault(name, depth)

    for name in sorted(uses):
        visit(name, ())
