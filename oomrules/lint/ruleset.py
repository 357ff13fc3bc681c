"""The input of the checks: the rule files, what they say, and perhaps the host."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from oomrules import resources
from oomrules.language import syntax
from oomrules.language.checker import Checked, Stated, only
from oomrules.language.diagnostics import Diagnostic, Fix, Level, Related
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText, Span
from oomrules.lint.host_facts import HostFacts
from oomrules.lint.meaning import Meaning
from oomrules.roots import Root

_PARTS = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*')
_VENDOR = "/usr/lib/oomrules.d"


class Check(NamedTuple):
    """One kind of mistake.

    Attributes:
        code: its name for ever; it has a page of the same name in ``pages``.
        title: the mistake in a few words.
        find: returns all findings of the kind.
        level: how bad it is.
        whole: whether the check runs only if no statement has an error.
        host: whether the check is about this host, and runs under ``--host`` only.
    """

    code: str
    title: str
    find: Callable[[RuleSet], Iterable[Diagnostic]]
    level: Level = Level.WARNING
    whole: bool = False
    host: bool = False

    def at(
        self,
        source: RuleText,
        span: Span,
        message: str,
        help_: str,
        *,
        fix: Fix | None = None,
        related: tuple[Related, ...] = (),
        witness: dict[str, Any] | None = None,
    ) -> Diagnostic:
        """Return a finding at a place in a text."""
        return Diagnostic(
            self.code,
            message,
            source,
            span,
            help_,
            level=self.level,
            fix=fix,
            related=related,
            witness=witness,
        )

    def about(
        self, name: str, message: str, help_: str, witness: dict[str, Any] | None = None
    ) -> Diagnostic:
        """Return a finding that is not about a text: about another file, or the whole."""
        return self.at(RuleText(name, ""), Span(0, 0), message, help_, witness=witness)


class Comment(NamedTuple):
    """A comment: where it is, and whether it stands alone in its line."""

    source: RuleText
    span: Span
    alone: bool


@dataclass(frozen=True)
class RuleSet:
    """Everything that is known of the rules.

    Attributes:
        found: the files.
        checked: their checked statements.
        directories: the directories of drop-ins, the highest precedence first.
        host: this host, under ``--host``.
    """

    found: Found
    checked: Checked
    directories: tuple[Path, ...] = ()
    host: HostFacts | None = None

    @cached_property
    def tree(self) -> Root:
        """The system that the files are in."""
        return Root(self.found.root)

    @property
    def known_host(self) -> HostFacts:
        """This host, for the checks that run only if it is known."""
        assert self.host is not None
        return self.host

    @cached_property
    def sources(self) -> tuple[RuleText, ...]:
        """The files that were asked for, without the vocabulary that is added to them."""
        return self.found.files[self.found.adds_vocabulary :]

    @cached_property
    def comments(self) -> list[Comment]:
        """The comments of all files, in order."""
        found = []
        for source in self.sources:
            for match in _PARTS.finditer(source.text):
                if match.group().startswith("#"):
                    line = source.text.rfind("\n", 0, match.start()) + 1
                    alone = not source.text[line : match.start()].strip()
                    found.append(Comment(source, Span(*match.span()), alone))
        return found

    @cached_property
    def blocks(self) -> list[StatedBlock]:
        """Every block of every file, the outer ones first."""
        return [
            StatedBlock(source, targets, block)
            for source, statements in self.checked.trees
            for targets, block in _blocks(statements, ())
        ]

    @property
    def targets(self) -> Iterator[StatedTarget]:
        """The target of each block, and of each unit that is to be killed whole."""
        for source, around, block in self.blocks:
            yield StatedTarget(source, around, block.target, "in")
        for stated in only(self.checked.sound, syntax.Whole):
            target = stated.statement.target
            yield StatedTarget(stated.source, stated.targets, target, "kill whole")

    @cached_property
    def patterns(self) -> list[Pattern]:
        """Every text that is compared with an attribute."""
        return list(_patterns(self))

    @cached_property
    def meaning(self) -> Meaning:
        """The meaning of the rules, for checks of rule sets without errors."""
        return Meaning(self.checked)


class StatedBlock(NamedTuple):
    """A block, with its file and the targets of the blocks around it, outermost first."""

    source: RuleText
    around: tuple[syntax.Target, ...]
    block: syntax.Block


class StatedTarget(NamedTuple):
    """A target, with its file, the targets around it and the words that it stands behind."""

    source: RuleText
    around: tuple[syntax.Target, ...]
    target: syntax.Target
    behind: str


def _blocks(
    statements: Iterable[syntax.Statement], around: tuple[syntax.Target, ...]
) -> Iterator[tuple[tuple[syntax.Target, ...], syntax.Block]]:
    for statement in statements:
        if isinstance(statement, syntax.Block):
            yield around, statement
            yield from _blocks(statement.statements, (*around, statement.target))


def shipped(source: RuleText) -> bool:
    """Return whether a file comes with a package, so that it is written for every host."""
    folder = os.path.realpath(Path(source.name).parent)
    return folder.startswith((os.path.realpath(resources.rules()), _VENDOR))


class Pattern(NamedTuple):
    """A text that is compared with an attribute.

    ``how`` is ``glob`` for a term or an item of a list, ``search`` for a regular
    expression, and ``text`` for a comparison with ``==`` or ``!=``. For an item of a list,
    ``user`` is the statement that uses the list.
    """

    source: RuleText
    text: syntax.Text
    attribute: str
    how: str
    user: Stated[syntax.Statement]

    @property
    def related(self) -> tuple[Related, ...]:
        """The place where the list is used, if the text is an item of a list."""
        span = self.user.statement.span
        if self.user.source is self.source and span.start <= self.text.span.start < span.end:
            return ()
        return (Related(self.user.source, span, "used here"),)

    @property
    def usage(self) -> str:
        """The end of a message that says where the list is used, if the text is an item of one."""
        return f" (the list is used at {self.user.place})" if self.related else ""

    def finding(self, check: Check, message: str, help_: str, fix: Fix | None = None) -> Diagnostic:
        """Return a finding about the text; it says where the list is used if the text is in one."""
        said = message + self.usage
        return check.at(self.source, self.text.span, said, help_, fix=fix, related=self.related)


def _patterns(rules: RuleSet) -> Iterator[Pattern]:
    """Yield every text that is compared with an attribute; list items once for each attribute."""
    seen: set[tuple[str, str]] = set()

    def items(name: str, attribute: str, user: Stated[syntax.Statement]) -> Iterator[Pattern]:
        listed = rules.checked.listed.get(name)
        if listed is None or (name, attribute) in seen:
            return
        seen.add((name, attribute))
        for item in listed.statement.items:
            yield Pattern(listed.source, item, attribute, "glob", user)

    for stated in rules.checked.sound:
        source = stated.source
        for node in nodes(stated.statement):
            match node:
                case syntax.Matches(name=name, glob=text):
                    yield Pattern(source, text, name.name, "glob", stated)
                case syntax.Member(name=name, list=listed):
                    yield from items(listed.name, name.name, stated)
                case syntax.Membership(subject=syntax.Name(name=attribute), list=listed):
                    yield from items(listed.name, attribute, stated)
                case syntax.Searched(subject=syntax.Name(name=attribute), pattern=text):
                    yield Pattern(source, text, attribute, "search", stated)
                case syntax.Compared(left=syntax.Name(name=attribute), right=syntax.Text() as text):
                    yield Pattern(source, text, attribute, "text", stated)
                case syntax.Compared(left=syntax.Text() as text, right=syntax.Name(name=attribute)):
                    yield Pattern(source, text, attribute, "text", stated)


# Each node of a statement's selector or expression.
nodes = syntax.parts
