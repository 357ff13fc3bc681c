"""Types in words, and what to do where one does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import quantities, syntax
from oomrules.language.diagnostics import Fix, did_you_mean, replacing

# What other tools call an attribute.
_ELSEWHERE = {
    **dict.fromkeys(("name", "command", "program", "process", "proc"), "comm"),
    **dict.fromkeys(("cmd", "args", "argv", "command_line"), "cmdline"),
    **dict.fromkeys(("vsz", "vsize", "virt", "vms", "vm_size"), "total_vm"),
    **dict.fromkeys(("mem", "res", "pss", "ram", "vm_rss"), "rss"),
    **dict.fromkeys(("username", "owner"), "user"),
    **dict.fromkeys(("pri", "prio", "priority", "niceness"), "nice"),
    **dict.fromkeys(("age", "etime", "uptime", "lifetime"), "run_time"),
    **dict.fromkeys(("service", "systemd_unit"), "unit"),
    **dict.fromkeys(("path", "binary", "executable"), "exe"),
}

# Words of clauses where no clause can stand, or where it is not complete.
_CLAUSES = {
    "under": 'say what an ancestor satisfies, behind the terms: `anything under comm "cron"`',
    "child": 'say what the parent satisfies, behind the terms: `anything child of comm "cron"`',
    "whole": 'a unit is killed whole with a sentence of its own: `kill whole "batch-*.service"`',
}

# Types that arithmetic takes, and an example of each that has a unit.
NUMERIC = (Type.COUNT, Type.MEMORY, Type.DURATION)
EXAMPLES = {Type.COUNT: "5", Type.MEMORY: "512MiB", Type.DURATION: "10min", Type.PERCENTAGE: "10%"}


class Typed(NamedTuple):
    """The type of an expression and its node; a literal adapts to what it meets."""

    type: Type
    node: list[Any]
    literal: bool = False


def by_name(term: syntax.Matches | syntax.Member) -> Fix | None:
    """Return the fix of a `uid` that was given a name: `user`; `euid` has no such twin."""
    named = {"uid": "user", "gid": "group"}.get(term.name.name)
    return replacing(term.name.span, named) if named else None


def is_share(typed: Typed) -> bool:
    """Return whether an expression is a percentage as it is written, such as ``25%``."""
    return typed.literal and typed.type is Type.PERCENTAGE


def in_words(kind: Type) -> str:
    """Return a type as a sentence has it, with its article."""
    return {
        Type.BOOLEAN: "yes or no",
        Type.ID: "an id",
        Type.COUNT: "a number",
        Type.MEMORY: "memory",
        Type.DURATION: "a duration",
        Type.PERCENTAGE: "a percentage",
        Type.TEXT: "a text",
        Type.CAPABILITIES: "a set of capabilities",
    }[kind]


def name_help(word: str, defined: Iterable[str]) -> str:
    """Return what to do about a name that is neither an attribute nor defined."""
    if capabilities.matches(word):
        return f"`{word}` is a capability: write `with {word}`, or `cap({word})` in a condition"
    if word in quantities.UNITS:
        return f"write the unit without a space, as in `512{word}`"
    if word in _CLAUSES:
        return _CLAUSES[word]
    if word.lower() in _ELSEWHERE:
        return f"here it is called `{_ELSEWHERE[word.lower()]}`"
    if word == "oom_score":
        return "the kernel's own measure is `score rss + swap + pgtables`"
    for full in (f"unit.{word}", f"session.{word}"):
        if full in ATTRIBUTES:
            return f"did you mean `{full}`?"
    return did_you_mean(
        word,
        [*ATTRIBUTES, *defined, *syntax.KEYWORDS],
        'use an attribute, or say what it means with `define`; quote a text with `"`',
    )


def arithmetic_help(operator: str, left: Type, right: Type) -> str:
    """Return what to do about arithmetic that has no meaning."""
    if Type.ID in (left, right):
        return "an id is a name, not an amount; compare it with `==`"
    if operator in "+-" and left in NUMERIC and right in NUMERIC:
        return "add and subtract only like things; divide by a unit to get a plain number"
    if operator in "*/" and left in NUMERIC and right in NUMERIC:
        return "divide one of them by a unit first, as in `cpu_time / 1s`"
    return "arithmetic takes numbers, memory and durations"


def comparison_help(left: Typed, right: Typed) -> str:
    """Return what to do about a comparison of unlike things."""
    for this, other in ((left, right), (right, left)):
        if this.type in (Type.MEMORY, Type.DURATION) and other.type is Type.COUNT and other.literal:
            return f"give the number a unit, as in `{EXAMPLES[this.type]}`"
        if this.type is Type.ID and other.type is Type.TEXT:
            return "an id is a number; for a name use `user` or `group`"
        number = (
            {"user": "uid", "group": "gid"}.get(this.node[-1]) if this.node[0] == "attr" else ""
        )
        if this.type is Type.TEXT and other.type is Type.COUNT and number:
            return f"`{this.node[-1]}` is a name; by number it is `{number}`"
        if this.type is Type.TEXT:
            return 'compare a text with a quoted text, as in `comm == "sshd"`'
        if this.type is Type.COUNT and other.literal and other.type in EXAMPLES:
            return "write the number without a unit"
    for this, other in ((left, right), (right, left)):
        if other.literal and this.type in (Type.MEMORY, Type.DURATION):
            what = "memory with a size" if this.type is Type.MEMORY else "a duration with a time"
            return f"compare {what}, as in `{EXAMPLES[this.type]}`"
    return "compare only like things"


def value_help(name: str, kind: Type, word: str = "") -> str:
    """Return how an attribute takes its value; ``word`` may be what was meant for it."""
    word = word or "…"
    if kind is Type.CAPABILITIES:
        return "ask for capabilities with `with CAP`, as in `anything with SYS_ADMIN`"
    if kind is Type.TEXT:
        return f'quote the text, as in `{name} "{word}"`'
    if kind is Type.ID:
        named = {"uid": "user", "euid": "user", "gid": "group", "egid": "group"}.get(name)
        number = f"give a number, as in `{name} 0`"
        return f'{number}; by name it is `{named} "{word}"`' if named else number
    return f"give it one, as in `{name} {EXAMPLES[kind]}`, or compare it after `when`"
