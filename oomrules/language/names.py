"""What words mean where they stand: attributes, definitions, lists and capabilities."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import guard_help, syntax, type_help
from oomrules.language.diagnostics import Mistakes, did_you_mean, either, only_the_case, replacing
from oomrules.language.text import RuleText
from oomrules.language.type_help import EXAMPLES, Typed
from oomrules.program import program

# What looks like the value of an attribute, but for its quotes.
_UNQUOTED = re.compile(r"[ \t]+([^\s\"'`#{}()<>=!&|,;%]+)")


class Names(Mistakes):
    """The names that one file's expressions may use.

    Args:
        source: the file, for places.
        definitions: the defined names; what they mean is not looked at.
        lists: the lists by name.
        broken: names whose definition has a mistake. That is reported where they are defined,
            so nothing is reported where they are used.
        in_block: a target stands around the statement, so that `scope.` attributes have a unit.
    """

    def __init__(
        self,
        source: RuleText,
        definitions: Mapping[str, object],
        lists: Mapping[str, syntax.ListOf],
        broken: Collection[str] = (),
        *,
        in_block: bool = False,
    ) -> None:
        super().__init__(source)
        self.definitions = definitions
        self.lists = lists
        self.broken = broken
        self.in_block = in_block
        # Whether it is an ancestor that a condition is asked of.
        self.of_ancestor = False
        # Whether it is the condition of a guard, which knows no process.
        self.of_guard = False

    def name(
        self,
        name: syntax.Name,
        wanted: Collection[Type] = type_help.ANY,
        term: str | None = None,
        bare: str = "",
    ) -> Typed:
        """Return the type and the node of a name.

        Args:
            wanted: the types that can stand there, for the help.
            term: for the name of a term, the value beside it.
            bare: the whole word that it is a part of, if it is.
        """
        # An attribute comes first; a definition cannot take its name (OOM208).
        if name.name.startswith("scope.") and self.of_ancestor:
            kind = ATTRIBUTES[name.name].type if name.name in ATTRIBUTES else Type.MEMORY
            self.bad(
                "OOM212",
                name.span,
                f"`{name.name}` is of the unit that a block is about, and an ancestor may be in "
                "another one",
                f"ask for it behind `when`, as in `in user.slice: prefer anything under uid 0 "
                f"when {name.name} > {EXAMPLES[kind]}`",
            )
        if name.name.startswith("scope.") and not self.in_block:
            self._no_scope(name)
        if name.name in ATTRIBUTES:
            if self.of_guard and name.name not in program.GUARDED:
                self.of_process(name)
            return Typed(ATTRIBUTES[name.name].type, ["attr", name.name])
        if name.name in self.definitions:
            return Typed(Type.BOOLEAN, ["name", name.name])
        word = name.name
        if word in self.broken:
            return Typed(Type.BOOLEAN, ["or"])
        meant = guard_help.name(word, self.in_block) if self.of_guard else ""
        if meant:
            self.bad("OOM201", name.span, f"unknown name `{word}`", meant)
        same = only_the_case(word, [*ATTRIBUTES, *self.definitions])
        self.bad(
            "OOM201",
            name.span,
            f"unknown name `{word}`",
            type_help.name_help(word, self.definitions, wanted)
            if term is None
            else type_help.term_help(bare or word, term, self.definitions, wanted),
            replacing(name.span, same) if same and not capabilities.matches(word) else None,
        )

    def of_process(self, name: syntax.Name) -> NoReturn:
        """Refuse what is of a process where a guard's condition stands."""
        self.bad(
            "OOM214",
            name.span,
            f"a guard looks at the host or at a unit, and `{name.name}` is of a process",
            # ``Typing.guard`` says what to do: it knows the whole condition.
            "",
        )

    def _no_scope(self, name: syntax.Name) -> NoReturn:
        of_unit = name.name.replace("scope.", "unit.", 1)
        kind = ATTRIBUTES[name.name].type if name.name in ATTRIBUTES else Type.MEMORY
        if self.of_guard:
            self.bad(
                "OOM212",
                name.span,
                f"`{name.name}` is of the unit that a block is about, and there is no block "
                "around it",
                "write the guard in a block, as in `in user.slice: kill when "
                f"{name.name} > {EXAMPLES[kind]}`",
            )
        self.bad(
            "OOM212",
            name.span,
            f"`{name.name}` is of the unit that a block is about, and there is no block around it",
            "write the statement in a block, as in `in user.slice: prefer anything when "
            f"{name.name} > {EXAMPLES[kind]}`"
            + (f"; of the innermost unit it is `{of_unit}`" if of_unit in ATTRIBUTES else ""),
        )

    def capability(self, name: syntax.Name) -> int:
        """Return the bit of a capability, by its name or by the end of its name."""
        meant = capabilities.matches(name.name)
        if len(meant) == 1:
            return capabilities.CAPABILITIES[meant[0]]
        if meant:
            self.bad(
                "OOM203",
                name.span,
                f"`{name.name}` can mean {either(f'`{full}`' for full in meant)}",
                "write the full name",
            )
        short = [full.partition("_")[2] for full in capabilities.CAPABILITIES]
        upper = name.name.upper()
        fix = replacing(name.span, upper) if len(capabilities.matches(upper)) == 1 else None
        self.bad(
            "OOM202",
            name.span,
            f"unknown capability `{name.name}`",
            type_help.not_a_capability(name.name)
            if name.name in self.definitions or name.name in ATTRIBUTES
            else type_help.capability_help(
                name.name.removeprefix("CAP_"),
                [*capabilities.CAPABILITIES, *filter(None, short)],
            ),
            fix,
        )

    def among(self, subject: list[Any], name: syntax.ListName) -> Typed:
        """Return the condition that a text is in a list."""
        if name.name in self.broken:
            return Typed(Type.BOOLEAN, ["or"])
        if name.name not in self.lists:
            self.bad(
                "OOM204",
                name.span,
                f"unknown list `@{name.name}`",
                did_you_mean(
                    f"@{name.name}",
                    [f"@{known}" for known in self.lists],
                    f'make it with `list {name.name} = "…", "…"`',
                ),
            )
        items = sorted({item.value for item in self.lists[name.name].items})
        return Typed(Type.BOOLEAN, ["among", subject, *items])

    def unknown(self, expression: syntax.Expression) -> str:
        """Return the name that an expression is, if it means nothing."""
        name = expression.name if isinstance(expression, syntax.Name) else ""
        known = name in ATTRIBUTES or name in self.definitions or name in self.broken
        return "" if known else name

    def unquoted(self, name: syntax.Name) -> str:
        """Return the word behind a name that is no known name, and may lack its quotes."""
        behind = _UNQUOTED.match(self.source.text, name.span.end)
        word = behind.group(1) if behind else ""
        known = word in ATTRIBUTES or word in self.definitions or word in self.broken
        return "" if known or word in syntax.KEYWORDS else word
