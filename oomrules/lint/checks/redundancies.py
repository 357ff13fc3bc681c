"""Parts of rules that change nothing, rules said twice, and definitions that replace others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, Edit, Fix, Level, Related
from oomrules.language.rulefiles import is_preset
from oomrules.language.text import RuleText, Span
from oomrules.lint.ruleset import Check, RuleSet, shipped
from oomrules.lint.ruleset import nodes as nodes_of
from oomrules.program import nodes


def _factors(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.checked.rules:
        rule = stated.statement
        weighs = rule.kind in (syntax.Kind.PREFER, syntax.Kind.SPARE)
        if weighs and rule.factor is not None and stated.factor == 1:
            yield NO_WEIGHT.at(
                stated.source,
                rule.factor.span,
                f"a factor of {rule.factor.written} leaves the points as they are",
                "give a larger one, or remove the rule",
            )


# The most globs of a list that its other items are compared with.
_MOST_GLOBS = 500


def _items(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.checked.sound:
        listed = stated.statement
        if not isinstance(listed, syntax.ListOf):
            continue
        wild = {item.value for item in listed.items if nodes.is_glob(item.value)}
        globs = [item for item in listed.items if item.value in wild][:_MOST_GLOBS]
        seen: dict[str, syntax.Text] = {}
        for number, item in enumerate(listed.items):
            twin = seen.setdefault(item.value, item)
            if twin is not item:
                what = "is in the list already"
            else:
                wider = (glob.value for glob in globs if nodes.glob(item.value, glob.value))
                among = None if item.value in wild else next(wider, None)
                if among is None:
                    continue
                what = f'is among `"{among}"`'
            yield TWICE_LISTED.at(
                stated.source,
                item.span,
                f'`"{item.value}"` {what}',
                "remove it",
                fix=_without(stated.source, listed.items, number),
            )


def _without(source: RuleText, items: tuple[syntax.Text, ...], number: int) -> Fix | None:
    """Return a fix that removes an item and one comma; None if a comment stands between."""
    if number:
        span = Span(items[number - 1].span.end, items[number].span.end)
    else:
        span = Span(items[0].span.start, items[1].span.start)
    between = source.text[span.start : span.end].replace(
        source.text[slice(*items[number].span)], ""
    )
    return None if "#" in between else Fix("remove it", (Edit(span, ""),))


def _capabilities(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.checked.rules:
        for clause in stated.statement.selector.clauses:
            if not isinstance(clause, syntax.With):
                continue
            seen: set[str] = set()
            for name in clause.capabilities:
                if name.name in seen:
                    yield TWICE_ASKED.at(
                        stated.source, name.span, f"`{name.name}` is asked for twice", "remove it"
                    )
                seen.add(name.name)


def _repeated(rules: RuleSet) -> Iterator[Diagnostic]:
    first: dict[str, Stated[syntax.Rule]] = {}
    for stated in rules.checked.rules:
        rule = stated.statement
        key = json.dumps(
            [stated.scope, rule.kind.value, stated.node, str(stated.factor), stated.degree]
        )
        earlier = first.setdefault(key, stated)
        # Presets may be linked side by side, and several may have the same rule.
        if earlier is stated or (_ships(earlier.source) and _ships(stated.source)):
            continue
        weighs = rule.kind in (syntax.Kind.PREFER, syntax.Kind.SPARE) and stated.factor != 1
        yield REPEATED.at(
            stated.source,
            rule.span,
            f"the same rule stands at {earlier.place}"
            + (", and both weigh" if weighs else ", so this one adds nothing"),
            "remove one of them" + (", or give one a larger factor" if weighs else ""),
            related=(Related(earlier.source, earlier.statement.span, "the same rule"),),
        )
    yield from _repeated_wholes(rules)


def _repeated_wholes(rules: RuleSet) -> Iterator[Diagnostic]:
    first: dict[tuple[Any, ...], Stated[syntax.Whole]] = {}
    for stated in rules.checked.wholes:
        earlier = first.setdefault((stated.scope, stated.statement.target), stated)
        if earlier is stated or (_ships(earlier.source) and _ships(stated.source)):
            continue
        yield REPEATED.at(
            stated.source,
            stated.statement.span,
            f"the same statement stands at {earlier.place}, so this one adds nothing",
            "remove one of them",
            related=(Related(earlier.source, earlier.statement.span, "the same statement"),),
        )


def _empty(rules: RuleSet) -> Iterator[Diagnostic]:
    for source, _, block in rules.blocks:
        if not block.statements:
            yield EMPTY.at(source, block.target.span, "this block is empty", "fill or remove it")


def _replaced(rules: RuleSet) -> Iterator[Diagnostic]:
    """Yield findings about replaced definitions of a lower directory, which other files use too."""
    for stated in rules.checked.sound:
        statement = stated.statement
        if stated.targets or not isinstance(statement, syntax.Define | syntax.ListOf):
            continue
        name = statement.name.name
        higher: Stated[syntax.Define] | Stated[syntax.ListOf]
        if isinstance(statement, syntax.Define):
            said, higher = name, rules.checked.defined[name]
        else:
            said, higher = f"@{name}", rules.checked.listed[name]
        if higher.source.level == stated.source.level or higher.statement == statement:
            continue
        yield REPLACED.at(
            higher.source,
            higher.statement.name.span,
            f"`{said}` replaces the one at {stated.place}, for the rules of every file",
            "take another name, unless it is meant to change what the rules of other files say",
            related=(Related(stated.source, stated.statement.span, "replaced here"),),
        )


def _unused(rules: RuleSet) -> Iterator[Diagnostic]:
    """Yield findings about definitions and lists that no rule, guard or score needs.

    Another file may use what one file defines, so only a whole rule set tells.
    """
    if not rules.directories:
        return
    checked = rules.checked
    used = _named_by(
        one
        for one in checked.sound
        if isinstance(one.statement, syntax.Rule | syntax.Score | syntax.Guard)
    )
    left = [name for name in used if not name.startswith("@")]
    while left:
        stated = checked.defined.get(left.pop())
        new = _named_by([stated] if stated else []) - used
        used |= new
        left += [name for name in new if not name.startswith("@")]
    for prefix, kind, in_force in (
        ("", "definition", checked.defined),
        ("@", "list", checked.listed),
    ):
        for name, one in in_force.items():
            if prefix + name not in used and not shipped(one.source):
                yield UNUSED.at(
                    one.source,
                    one.statement.name.span,
                    f"no rule uses the {kind} `{prefix}{name}`",
                    "remove it, or look for a rule that was to use it",
                )


def _ships(source: RuleText) -> bool:
    """Return whether a file comes with a package, be it by a link to a preset."""
    return shipped(source) or is_preset(source)


def _named_by(stated: Iterable[Stated[Any]]) -> set[str]:
    """Return the names that statements use themselves; those of lists begin with ``@``."""
    found: set[str] = set()
    for one in stated:
        for node in nodes_of(one.statement):
            match node:
                case syntax.Name(name=name):
                    found.add(name)
                case syntax.Member(list=listed) | syntax.Membership(list=listed):
                    found.add(f"@{listed.name}")
    return found


REPLACED = Check("OOM221", "a definition that replaces another", _replaced, Level.INFO)
UNUSED = Check("OOM222", "a definition that nothing uses", _unused, Level.INFO, whole=True)
NO_WEIGHT = Check("OOM511", "a factor without effect", _factors)
TWICE_LISTED = Check("OOM512", "an item that a list has already", _items)
TWICE_ASKED = Check("OOM513", "a capability that is asked for twice", _capabilities)
REPEATED = Check("OOM514", "a rule that stands there twice", _repeated)
EMPTY = Check("OOM515", "an empty block", _empty, whole=True)
CHECKS = (REPLACED, UNUSED, NO_WEIGHT, TWICE_LISTED, TWICE_ASKED, REPEATED, EMPTY)
