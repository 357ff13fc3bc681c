"""The check of a whole rule set: what its names mean, and whether each statement makes sense."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Generic, TypeVar

from oomrules.attributes import ATTRIBUTES
from oomrules.language import guard_help, parser, quantities, syntax, type_help
from oomrules.language.diagnostics import Bad, Diagnostic, Related
from oomrules.language.text import RuleText, Span
from oomrules.language.typing import Typing
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program import nodes, program

_RELATIONS = tuple(relation.value for relation in syntax.Relation if relation.value)

Targets = tuple[str, ...]
_Statement = TypeVar("_Statement", bound=syntax.Statement, covariant=True)
_Wanted = TypeVar("_Wanted", bound=syntax.Statement)


@dataclass(frozen=True, eq=False)
class Stated(Generic[_Statement]):
    """A statement: where it stands and, once it is checked, what it means.

    Two of them are equal only if they are the same one: a sentence may stand in two places.

    Attributes:
        source: the file.
        targets: the blocks around it, outermost first.
        statement: its syntax.
        node: the condition or the score as a program has it; empty for a list, and for a
            statement with a mistake.
        factor: by what a rule multiplies the points.
        degree: how far out a rule puts a process, from 1.
        lasting: for how many milliseconds a guard's condition has to be true.
        within: how many milliseconds a guard gives a process that was asked to end.
    """

    source: RuleText
    targets: tuple[syntax.Target, ...]
    statement: _Statement
    node: list[Any] = field(default_factory=list)
    factor: Fraction = Fraction(1)
    degree: int = 1
    lasting: int = 0
    within: int = program.WITHIN

    @cached_property
    def scope(self) -> Targets:
        """The targets around it as a program has them, outermost first."""
        return tuple(target.relation.value + target.unit.value for target in self.targets)

    @property
    def name(self) -> str:
        """The name that it defines; empty for a rule and a score."""
        said: syntax.Statement = self.statement
        return said.name.name if isinstance(said, syntax.Define | syntax.ListOf) else ""

    @cached_property
    def place(self) -> str:
        """Where it begins, as ``file:line``."""
        return self.source.place(self.statement.span)

    @cached_property
    def text(self) -> str:
        """The sentence on one line."""
        return self.source.quote(self.statement.span)


def only(stated: Iterable[Stated[Any]], kind: type[_Wanted]) -> list[Stated[_Wanted]]:
    """Return the statements of one kind."""
    return [one for one in stated if isinstance(one.statement, kind)]


@dataclass
class Checked:
    """What a rule set says, once every file has been read and checked.

    Attributes:
        diagnostics: what is wrong with it, in the order of the text.
        trees: what could be read of each file.
        sound: the statements without a mistake.
        defined: the definition in force for each name; without a node if it has a mistake.
        listed: the list in force for each name.
        scores: the score in force for each scope.
    """

    diagnostics: list[Diagnostic] = field(default_factory=list)
    trees: list[tuple[RuleText, tuple[syntax.Statement, ...]]] = field(default_factory=list)
    sound: list[Stated[syntax.Statement]] = field(default_factory=list)
    defined: dict[str, Stated[syntax.Define]] = field(default_factory=dict)
    listed: dict[str, Stated[syntax.ListOf]] = field(default_factory=dict)
    scores: dict[Targets, Stated[syntax.Score]] = field(default_factory=dict)

    @property
    def rules(self) -> list[Stated[syntax.Rule]]:
        """The rules without a mistake."""
        return only(self.sound, syntax.Rule)

    @property
    def wholes(self) -> list[Stated[syntax.Whole]]:
        """The statements without a mistake that a unit is killed as a whole."""
        return only(self.sound, syntax.Whole)

    @property
    def guards(self) -> list[Stated[syntax.Guard]]:
        """The guards without a mistake."""
        return only(self.sound, syntax.Guard)

    @property
    def definitions(self) -> dict[str, list[Any]]:
        """The conditions that names stand for, as a program has them."""
        return {name: stated.node for name, stated in self.defined.items() if stated.node}


def check(sources: Iterable[RuleText]) -> Checked:
    """Check a rule set; the order of the files does not matter."""
    checked = Checked()
    statements: list[Stated[syntax.Statement]] = []
    for source in sorted(sources, key=lambda source: source.name):
        tree, diagnostics = parser.parse(source)
        checked.diagnostics += diagnostics
        checked.trees.append((source, tree))
        checked.diagnostics += _bad_targets(source, tree)
        statements += [Stated(source, targets, inner) for targets, inner in syntax.walk(tree)]
    broken = {diagnostic.breaks for diagnostic in checked.diagnostics}
    broken |= {stated.name for stated in statements if stated.targets}
    everywhere = [stated for stated in statements if not stated.targets]
    definitions = _in_force(only(everywhere, syntax.Define), checked)
    checked.defined = {**definitions}
    checked.listed = _in_force(only(everywhere, syntax.ListOf), checked)
    items = {name: stated.statement for name, stated in checked.listed.items()}
    left, scopes = program.ROOM, set[Targets]()
    for stated in statements:
        in_block = bool(stated.targets)
        typing = Typing(stated.source, definitions, items, broken, in_block=in_block)
        try:
            sound = _sound(stated, typing)
            left -= _size(sound, scopes)
            if left < 0:
                typing.bad(
                    "OOM107",
                    stated.statement.span,
                    f"with this statement the rules come to more than {program.ROOM / 2**20} MiB, "
                    "which is more than the service can hold",
                    "use fewer statements, globs, or a shorter list",
                )
        except Bad as error:
            checked.diagnostics.append(error.diagnostic)
            if left < 0:
                # The rest would only take time and memory.
                break
            continue
        checked.sound.append(sound)
    for definition in only(checked.sound, syntax.Define):
        if definitions[definition.name].statement is definition.statement:
            checked.defined[definition.name] = definition
    _find_cycles(checked)
    checked.sound = [stated for stated in checked.sound if _asks_a_process(stated, checked) is None]
    checked.scores = _in_force(only(checked.sound, syntax.Score), checked)
    checked.diagnostics.sort(key=lambda diagnostic: diagnostic.sort_key)
    return checked


# Bytes around a statement or a scope in a program.
_SEPARATE = 100


def _size(sound: Stated[syntax.Statement], scopes: set[Targets]) -> int:
    """Return about as many bytes as a program holds of a statement: of a list, none.

    Args:
        scopes: those that were counted; the statement's own is counted with its first statement.
    """
    parts: list[Any]
    match sound.statement:
        case syntax.Rule(kind=kind):
            parts = [sound.scope, kind, sound.node, sound.factor, sound.place, sound.text]
        case syntax.Score():
            parts = [sound.scope, sound.node, sound.place, sound.text]
        case syntax.Whole(target=target):
            parts = [sound.scope, target.unit.value, sound.place, sound.text]
        case syntax.Guard(action=action):
            parts = [sound.scope, action.key, sound.node, sound.place, sound.text]
        case syntax.Define():
            parts = sound.node
        case _:
            return 0
    counted = [parts] if sound.scope in scopes else [parts, sound.scope]
    scopes.add(sound.scope)
    return sum(_SEPARATE + len(json.dumps(one, default=str)) for one in counted)


def _sound(stated: Stated[syntax.Statement], typing: Typing) -> Stated[syntax.Statement]:
    """Return a statement with its meaning; raise Bad if it has a mistake."""
    match stated.statement:
        case syntax.Rule() as rule:
            node = typing.selector(rule.selector)
            if rule.kind in (syntax.Kind.FIRST, syntax.Kind.LAST):
                return replace(stated, node=node, degree=_degree(rule, typing))
            return replace(stated, node=node, factor=_factor(rule, typing))
        case syntax.Score(expression=expression):
            return replace(stated, node=typing.score(expression))
        case syntax.Guard() as guard:
            return replace(
                stated,
                node=typing.guard(guard.condition),
                lasting=_duration(guard.lasting, 0, typing),
                within=_duration(guard.within, program.WITHIN, typing),
            )
        case syntax.Define() | syntax.ListOf() as named:
            if stated.targets:
                typing.bad(
                    "OOM210",
                    named.span,
                    f"`{stated.name}` is defined inside a block",
                    "definitions apply everywhere; move it out of the block",
                )
            if isinstance(named, syntax.Define):
                if stated.name in ATTRIBUTES:
                    typing.bad(
                        "OOM208",
                        named.name.span,
                        f"`{stated.name}` is an attribute and cannot be defined",
                        "choose another name",
                    )
                return replace(stated, node=typing.condition(named.condition))
    return stated


def _degree(rule: syntax.Rule, typing: Typing) -> int:
    """Return how far out a rule puts a process: 1 unless it says more."""
    if rule.factor is None:
        return 1
    written, most = rule.factor.written, program.MOST_DEGREE
    plain = written.replace("_", "")
    if not plain.isdecimal() or not 1 <= int(plain[:9]) <= most or len(plain) > 9:
        typing.bad(
            "OOM403",
            rule.factor.span,
            f"a degree of `{rule.kind.value}` is a whole number from 1 to {most}, not {written}",
            "write `by 2` for what comes further out than the others, or leave it out",
        )
    return int(plain)


def _duration(written: syntax.Quantity | None, default: int, typing: Typing) -> int:
    """Return a guard's duration in milliseconds."""
    if written is None:
        return default
    amount = typing.duration(written)
    if not 0 < amount <= program.LONGEST_DURATION:
        typing.bad(
            "OOM403",
            written.span,
            f"a guard's duration is more than 0 and at most a week, not {written.written}",
            "write `for 10s`, or leave it out",
        )
    return amount


def _asks_a_process(stated: Stated[syntax.Statement], checked: Checked) -> str | None:
    """Report a guard whose definitions ask for what a process has; return the attribute."""
    if not isinstance(stated.statement, syntax.Guard):
        return None
    # A definition with a mistake asks for nothing.
    definitions = {name: one.node or ["or"] for name, one in checked.defined.items()}
    needed = nodes.needed([stated.node], definitions)
    asked = frozenset[str]().union(*map(nodes.attributes, needed.values()))
    foreign = min(asked - program.GUARDED, default=None)
    if foreign is None:
        return None
    name = next(name for name in sorted(needed) if foreign in nodes.attributes(needed[name]))
    place = checked.defined[name].place
    checked.diagnostics.append(
        Diagnostic(
            code="OOM214",
            message=f"a guard looks at the host or at a unit, and `{name}` ({place}) asks for "
            f"`{foreign}` of a process",
            source=stated.source,
            span=stated.statement.span,
            help=guard_help.of_process(foreign, bool(stated.targets), ""),
        )
    )
    return foreign


def _factor(rule: syntax.Rule, typing: Typing) -> Fraction:
    """Return the weight of a rule as a multiplier: the kernel's own 2 and 1/4, or what it says."""
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
            type_help.weight_help(rule.kind.value, factor)
            if suffix == "%"
            else f"write `by {max(written.removesuffix(suffix), '1', key=Fraction)}`",
        )
    if factor < 1:
        typing.bad(
            "OOM403",
            rule.factor.span,
            f"a factor is 1 or more, not {written}",
            f"use `{opposite} … by {type_help.decimal(1 / factor)}` instead"
            if factor
            else "use `never kill …` instead",
        )
    return factor if rule.kind is syntax.Kind.PREFER else 1 / factor


def _bad_targets(
    source: RuleText, statements: tuple[syntax.Statement, ...]
) -> Iterable[Diagnostic]:
    """Return the diagnostics of targets that cannot be the name of a unit."""
    for statement in statements:
        if isinstance(statement, syntax.Block | syntax.Whole):
            before = "in" if isinstance(statement, syntax.Block) else "kill whole"
            mistake = _bad_target(statement.target, before)
            if mistake:
                message, span, help_ = mistake
                yield Diagnostic("OOM211", message, source, span, help_)
        if isinstance(statement, syntax.Block):
            yield from _bad_targets(source, statement.statements)


def _bad_target(target: syntax.Target, before: str) -> tuple[str, Span, str] | None:
    """Return what is wrong with a target, where, and what to do; None if nothing is.

    Args:
        before: the words that a target stands behind.
    """
    name, relation = target.unit.value, target.relation
    by_name = relation in (syntax.Relation.WANTED_BY, syntax.Relation.PART_OF)
    if by_name and (nodes.is_glob(name) or "." not in name):
        return (
            f"`{name}` is not the full name of a unit",
            target.unit.span,
            f'write the full name, as in `{before} units wanted by "multi-user.target"`',
        )
    if name != name.strip():
        return (
            f'"{name}" is not the name of a unit: no name begins or ends with a space',
            target.unit.span,
            f'write `{before} {relation.value}"{name.strip() or "nginx.service"}"`',
        )
    if relation is syntax.Relation.NAMED and name.startswith(_RELATIONS):
        words = next(words for words in _RELATIONS if name.startswith(words))
        return (
            f'"{name}" is not the name of a unit: these words stand before the quotes',
            target.span,
            f'write `{before} {words}"{name.removeprefix(words).strip()}"`',
        )
    if not by_name and not nodes.is_glob(name) and not name.endswith(UNIT_SUFFIXES):
        return (
            f"`{name}` is not the name of a unit that holds processes",
            target.span,
            f"write the full name, as in `{relation.value}{name or 'nginx'}.service`; "
            "the suffix is .service, .scope or .slice"
            + ("; about processes it is `kill first …`" if before != "in" else ""),
        )
    return None


def _in_force(found: list[Stated[_Wanted]], checked: Checked) -> dict[Any, Stated[_Wanted]]:
    """Return one statement for each name or scope: a higher directory's replaces a lower's.

    Two that say the same score are no mistake: presets are linked beside each other.
    """
    by_key: dict[Any, dict[int, Stated[_Wanted]]] = {}
    for stated in found:
        by_level = by_key.setdefault(stated.name or stated.scope, {})
        earlier = by_level.setdefault(stated.source.level, stated)
        alike = isinstance(stated.statement, syntax.Score) and stated.statement == earlier.statement
        if earlier is not stated and not alike:
            checked.diagnostics.append(_twice(stated, earlier))
    return {key: by_level[min(by_level)] for key, by_level in by_key.items()}


def _twice(second: Stated[Any], first: Stated[Any]) -> Diagnostic:
    what = f"`{second.name}` is defined" if second.name else "the score is given"
    return Diagnostic(
        code="OOM206" if second.name else "OOM209",
        message=f"{what} here and at {first.place}",
        source=second.source,
        span=(second.statement.name if second.name else second.statement).span,
        help="remove one, or move the one that you want into a directory of higher precedence; "
        "rules have no order, so neither comes first",
        related=(Related(first.source, first.statement.span, "the other one"),),
    )


def _find_cycles(checked: Checked) -> None:
    """Report definitions that need themselves, and chains deeper than the parser's limit."""
    definitions = checked.definitions
    uses = {name: sorted(nodes.names(node)) for name, node in definitions.items()}
    depths: dict[str, int] = {}

    def complain(name: str, code: str, problem: str, help_: str) -> None:
        stated = checked.defined[name]
        message, span = f"`{name}` {problem}", stated.statement.span
        checked.diagnostics.append(Diagnostic(code, message, stated.source, span, help_))

    def too_deep(name: str, problem: str) -> None:
        complain(name, "OOM106", problem, "define it more directly")

    chain = f"ends a chain of more than {parser.DEPTH} definitions"

    # How deep each definition is with those that it uses written out.
    levels: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> int:
        """Return how many definitions deep a name is; each mistake is reported once."""
        if name in depths:
            return depths[name]
        if name in path:
            cycle = " → ".join((*path[path.index(name) :], name))
            complain(
                name, "OOM207", f"needs itself: {cycle}", "define one of them without the others"
            )
            return depths.setdefault(name, 0)
        if len(path) > parser.DEPTH:
            too_deep(name, chain)
            return depths.setdefault(name, 0)
        below = [visit(used, (*path, name)) for used in uses.get(name, ()) if used in definitions]
        depth = 1 + max(below, default=0)
        levels[name] = nodes.levels(definitions[name], levels)
        if depth == parser.DEPTH + 1:
            too_deep(name, chain)
        elif levels[name] > program.DEEPEST:
            # Definitions that use it are not blamed for it.
            levels[name] = 0
            too_deep(name, f"is more than {program.DEEPEST} levels deep, with what it uses")
        return depths.setdefault(name, depth)

    for name in sorted(uses):
        visit(name, ())
