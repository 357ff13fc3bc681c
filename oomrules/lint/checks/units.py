"""Names that no unit can have, and outer units that are asked for as the innermost one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from oomrules.attributes import ATTRIBUTES
from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.language.text import RuleText, Span
from oomrules.lint.ruleset import Check, Pattern, RuleSet, nodes, shipped
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program.nodes import is_glob

_OF_UNITS = ("unit", "slice", "user.unit", "user.slice")

# --- names that no unit has -----------------------------------------------------------------

# machined escapes the name of a machine (unit_name_mangle of systemd), so a `-` in it is `\x2d`.
# Only the first one, behind "machine", is a `-`. Some drivers name their machines like this:
_MACHINE = re.compile(r"machine-(?=.*-)[^/]*\.scope|machine-(?:qemu|lxc|xen)-[^/]*")


def why_no_unit(name: str) -> str:
    r"""Return what to do about a name or a glob that no unit matches; empty if one may.

    A name has letters, digits, ``:``, ``-``, ``_``, ``.``, ``\`` and ``@`` (systemd.unit(5)).
    """
    if "/" in name:
        path = name if name.startswith(("/", "*")) else f"*/{name}"
        return f'the name of a unit has no slash; of a control group say `cgroup "{path}"`'
    if _MACHINE.fullmatch(name):
        escaped = "machine-" + name.removeprefix("machine-").replace("-", r"\x2d")
        return f'systemd escapes each hyphen in the name of a machine: write `"{escaped}"`'
    return ""


def _no_unit(rules: RuleSet) -> Iterator[Diagnostic]:
    for source, span, name in _targets(rules):
        why = why_no_unit(name) or _why_no_kind(name)
        if why:
            yield NO_UNIT.at(source, span, f"no unit can be called `{name}`", why)
    for pattern in rules.patterns:
        if pattern.attribute in _OF_UNITS and pattern.how != "search":
            why = why_no_unit(pattern.text.value)
            if why:
                message = f"no unit can be called `{pattern.text.value}`"
                yield pattern.finding(NO_UNIT, message, why)


def _targets(rules: RuleSet) -> Iterator[tuple[RuleText, Span, str]]:
    """Yield the targets of blocks and of `kill whole`, by name or glob."""
    said = [(source, block.target) for source, _, block in rules.blocks]
    said += [
        (one.source, one.statement.target)
        for one in rules.checked.sound
        if isinstance(one.statement, syntax.Whole)
    ]
    for source, target in said:
        if target.relation in (syntax.Relation.NAMED, syntax.Relation.OF_USER):
            yield source, target.unit.span, target.unit.value


def _why_no_kind(name: str) -> str:
    """Return what to do about a glob with an end that no unit with processes has."""
    ending = re.split(r"[*?\]]", name)[-1]
    if not is_glob(name) or not ending or ending.endswith(UNIT_SUFFIXES):
        return ""
    if any(suffix.endswith(ending) for suffix in UNIT_SUFFIXES):
        return ""
    return "processes are in slices, services and scopes: write the end, as in `*.service`"


# --- the innermost unit ----------------------------------------------------------------------

# Slices whose processes are in slices below them, one for each user.
_OF_SLICES = ("user.slice",)


def _outer(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        name, attribute = pattern.text.value, pattern.attribute
        if pattern.how == "search" or pattern.attribute not in _OF_UNITS:
            continue
        if attribute in ("unit", "user.unit") and name.endswith(".slice"):
            message = (
                f"`{attribute}` is the innermost unit, which is a service or a scope: "
                f"this is about no process in `{name}`"
            )
        elif attribute == "slice" and name in _OF_SLICES:
            message = (
                f"`slice` is the innermost slice, and below `{name}` each user has one: this is "
                "about no process of users"
            )
        else:
            continue
        yield pattern.finding(OUTER, message, _in_a_block(pattern))


def _in_a_block(pattern: Pattern) -> str:
    name, stated = pattern.text.value, pattern.user
    unit = f'user unit "{name}"' if pattern.attribute.startswith("user.") else f'"{name}"'
    if isinstance(stated.statement, syntax.Rule):
        words = stated.statement.kind.value
        return f"for all below it write a block, as in `in {unit}: {words} anything`"
    return f"for all below it write a block around the rules: `in {unit}: …`"


# Slices in which a rule about the figures of a unit usually means the services and scopes.
_OF_SERVICES = (
    *("-.slice", "system.slice", "machine.slice"),
    *("app.slice", "session.slice", "background.slice"),
)


def _inner(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.checked.rules:
        target = stated.targets[-1].unit.value if stated.targets else ""
        if not target.endswith(".slice") or target in _OF_SERVICES or shipped(stated.source):
            continue
        for asked in _figures(stated):
            wanted = asked.name.replace("unit.", "scope.", 1)
            yield INNER.at(
                stated.source,
                asked.span,
                f"`{asked.name}` is that of the innermost unit around a process, not of `{target}`",
                f"for all of `{target}` together write `{wanted}`",
            )


def _figures(stated: Stated[syntax.Rule]) -> Iterator[syntax.Name]:
    for node in nodes(stated.statement):
        if isinstance(node, syntax.Name) and _has_outer(node.name):
            yield node


def _has_outer(name: str) -> bool:
    return name.startswith("unit.") and name.replace("unit.", "scope.", 1) in ATTRIBUTES


NO_UNIT = Check("OOM505", "a name that no unit can have", _no_unit)
OUTER = Check("OOM506", "an outer unit that is asked for as the innermost one", _outer)
INNER = Check(
    "OOM507", "a figure of the innermost unit in a block of an outer one", _inner, Level.INFO
)
CHECKS = (NO_UNIT, OUTER, INNER)
