"""Types in words, and what to do where one does not fit.

Whatever stands in backquotes here is a proposal: put into the file, it compiles and means what was
meant. ``tests/language/test_proposed.py`` tries each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import quantities, syntax
from oomrules.language.diagnostics import Fix, did_you_mean, either, replacing, similar
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program.nodes import is_glob

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
    **dict.fromkeys(("limit", "memory_limit", "mem_limit"), "unit.memory_max"),
}
_YES_OR_NO = ("yes", "no", "true", "false", "on", "off")
# What people ask for and no rule knows.
_UNKNOWN_HERE = {
    **dict.fromkeys(
        ("hour", "day", "date", "weekday", "month", "clock", "now"),
        "no rule knows the time of day; how long a process has been running is `run_time`",
    ),
    **dict.fromkeys(
        ("cpu", "cpu_percent", "pcpu", "load", "loadavg"),
        "no rule knows the load; the processor time that a process has used is `cpu_time`",
    ),
    **dict.fromkeys(
        _YES_OR_NO,
        "what is yes or no stands by itself, as in `session.active` or `not session.active`",
    ),
}

# As many bytes of a command name as the kernel keeps.
_LONGEST_COMM = 15

# What a word is behind another one: any type.
ANY = frozenset(Type)
TEXTS = frozenset((Type.TEXT,))
BOOLEANS = frozenset((Type.BOOLEAN,))
# Words of clauses where no clause can stand, or where it is not complete.
CLAUSES = {
    "under": 'say what an ancestor satisfies, behind the terms: `anything under comm "cron"`',
    "child": 'say what the parent satisfies, behind the terms: `anything child of comm "cron"`',
    "parent": 'say what the parent satisfies, behind the terms: `anything child of comm "cron"`',
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


def name_help(word: str, defined: Iterable[str], wanted: Collection[Type] = ANY) -> str:
    """Return what to do about a name in a condition that is neither an attribute nor defined.

    Args:
        wanted: the types that can stand there; no name of another type is proposed.
    """
    if capabilities.matches(word):
        return f"`{word}` is a capability: write `cap({word})`"
    if word in quantities.UNITS:
        return f"write the unit without a space, as in `512{word}`"
    if word.lower() in _UNKNOWN_HERE:
        return _UNKNOWN_HERE[word.lower()]
    if word in CLAUSES and not (Type.BOOLEAN not in wanted and _of_a_kind(word, wanted)):
        return CLAUSES[word]
    if word == "oom_score" and Type.MEMORY not in wanted:
        return "compare what a process holds, as in `footprint > 512MiB`"
    if word == "oom_score":
        return (
            "`score footprint` is what the kernel counts beside oom_score_adj; "
            "presets/kernel.oom has both"
        )
    here = _elsewhere(word)
    if here and ATTRIBUTES[here].type in wanted:
        return f"here it is called `{here}`"
    parts = _of_a_kind(word, wanted)
    if parts:
        return f"did you mean {either(f'`{name}`' for name in parts)}?"
    names = [name for name, attribute in ATTRIBUTES.items() if attribute.type in wanted]
    twin = {"user": "uid", "group": "gid"}.get(next(iter(similar(word, ATTRIBUTES)), ""))
    if twin in names and Type.TEXT not in wanted:
        return f"did you mean `{twin}`?"
    close = similar(word, [*names, *(defined if Type.BOOLEAN in wanted else ())])
    if close:
        return f"did you mean {either(f'`{name}`' for name in close)}?"
    if Type.BOOLEAN not in wanted:
        return _NO_SUCH
    others = [name for name in similar(word, ATTRIBUTES) if ATTRIBUTES[name].type in EXAMPLES]
    if others:
        compared = f"{others[0]} > {EXAMPLES[ATTRIBUTES[others[0]].type]}"
        return f"did you mean `{others[0]}`? it is compared, as in `{compared}`"
    return say_what_it_is(word)


_NO_SUCH = "there is no such attribute, and no `define` in these files makes it a word"


def capability_help(word: str, known: list[str]) -> str:
    """Return what to do about an unknown capability."""
    if word in ("root", "sudo", "superuser"):
        return "`with` asks for capabilities; a process of root is `uid 0`"
    # A plain word is another thing, unless it is all but the name of one.
    same = not word.islower() or "_" in word or word.upper() in known
    otherwise = "see capabilities(7) for their names"
    return did_you_mean(word, known, otherwise) if same else otherwise


def not_a_capability(name: str) -> str:
    """Return what to do about a name that is known, but not as a capability."""
    kind = ATTRIBUTES[name].type if name in ATTRIBUTES else Type.BOOLEAN
    if kind is Type.BOOLEAN:
        return f"`{name}` is no capability; it stands in the rule without `with`: `{name}`"
    return f"`{name}` is no capability: {value_help(name, kind)}"


_EVERYBODY = ("all", "everything", "everyone", "everybody", "any", "each", "processes", "whatever")
_ITSELF = ("process", "proc", "self", "this", "p", "task")


def _elsewhere(word: str) -> str:
    """Return the attribute that other tools call by a word; empty if there is none."""
    head, _, tail = word.lower().partition(".")
    tail = _ELSEWHERE.get(tail, tail)
    if not tail:
        return _ELSEWHERE.get(head, "")
    if head in _ITSELF and tail in ATTRIBUTES:
        return tail
    if f"{head}.{tail}" in ATTRIBUTES:
        return f"{head}.{tail}"
    # The name of a unit, a user or a group is what the attribute is.
    return head if head in ATTRIBUTES and tail in ("comm", "id") else ""


def _of_a_kind(word: str, wanted: Collection[Type]) -> list[str]:
    """Return the attributes with a word before or behind their dot, a few at most."""
    begins = [name for name in ATTRIBUTES if name.startswith(f"{word}.")]
    ends = [
        name for name in ATTRIBUTES if name.endswith(f".{word}") and not name.startswith("scope.")
    ]
    own = ["rss"] if word == "memory" else []
    return [name for name in own + begins + ends if ATTRIBUTES[name].type in wanted][:4]


def term_help(word: str, value: str, defined: Iterable[str], wanted: Collection[Type] = ANY) -> str:
    """Return what to do about the name of a term that is neither an attribute nor defined.

    Args:
        value: the text or number beside it, as it was meant; empty if there is none.
        wanted: the types that can take that value.
    """
    if capabilities.matches(word):
        return (
            f"`{word}` is a capability: write `with {word}` behind the terms, as in "
            f"`anything with {word}`"
        )
    if word.lower() in _YES_OR_NO:
        return "what is yes or no takes no value: leave it out, or write `not` before the name"
    if word.lower() in _UNKNOWN_HERE:
        return _UNKNOWN_HERE[word.lower()]
    if word in CLAUSES:
        return CLAUSES[word]
    if quantities.spelt_out("512", word):
        return f"write the unit without a space, as in `{quantities.spelt_out('512', word)}`"
    if word.lower() in _EVERYBODY and not value:
        return "did you mean `anything`?"
    here = _elsewhere(word)
    if here and value and ATTRIBUTES[here].type in wanted:
        return f"here it is called `{here}`, as in `{as_term(here, value)}`"
    if here and ATTRIBUTES[here].type in wanted:
        return f"here it is called `{here}`: {value_help(here, ATTRIBUTES[here].type)}"
    if value:
        return name_help(word, defined, wanted)
    alone = [name for name, one in ATTRIBUTES.items() if one.type is Type.BOOLEAN]
    close = similar(word, [*defined, *alone, "anything"])
    if close:
        return f"did you mean {either(f'`{name}`' for name in close)}?"
    wants = similar(word, ATTRIBUTES)
    if wants:
        return f"did you mean `{wants[0]}`? {value_help(wants[0], ATTRIBUTES[wants[0]].type)}"
    return say_what_it_is(word)


def say_what_it_is(word: str) -> str:
    """Return how a rule names a program, a unit or a user that stood there without its kind."""
    if word.endswith(UNIT_SUFFIXES):
        return f'say that it is a unit: `unit "{word}"`'
    if word.startswith("/"):
        return f'say that it is an executable: `exe "{word}"`'
    if word.isdecimal():
        return f"say what the number is: `pid {word}` or `uid {word}`"
    if " " in word:
        return f'say that it is a command line: `cmdline "{word}*"`'
    if word == "root":
        return 'say that it is a user: `uid 0` or `user "root"`'
    return (
        f"say what it is: `{as_term('comm', word)}` for the name of a program, "
        f'`{as_term("unit", word)}` for a unit, or `user "{word}"`'
    )


# A value for each attribute of which not every text is one.
_VALUES = {
    "state": "R",
    "unit": "nginx.service",
    "slice": "system.slice",
    "exe": "/usr/sbin/sshd",
    "user.unit": "app.slice",
    "user.slice": "app.slice",
}


def as_value(name: str, value: str, exactly: bool = False) -> str:
    """Return a text as a value that an attribute can have.

    A unit gets its suffix, and the name of a program is cut as the kernel cuts it.

    Args:
        value: the text; ``…`` if it is not known.
        exactly: whether the whole value is compared, and not a glob.
    """
    if value == "…" or (name == "state" and value not in tuple("RSDTtI")):
        return _VALUES.get(name, value)
    if is_glob(value):
        return value
    if name.endswith("unit") and not value.endswith(UNIT_SUFFIXES):
        return f"{value}.service"
    if name.endswith("slice") and not value.endswith(".slice"):
        return f"{value.removesuffix('.service')}.slice"
    if name == "exe" and not value.startswith("/"):
        return f"/usr/bin/{value}" if exactly else f"*/{value}"
    if name == "comm":
        return value.encode()[:_LONGEST_COMM].decode("utf-8", "ignore")
    return value


def as_term(name: str, value: str) -> str:
    """Return the term of an attribute and a value that can be its own.

    The name of a unit or a path is none of a program: it becomes the term of its own attribute.
    """
    kind = ATTRIBUTES[name].type
    if name == "pid" and not value[:1].isdecimal():
        return "pid 1234"
    if kind is not Type.TEXT:
        return f"{name} {value if value[:1].isdecimal() else EXAMPLES.get(kind, '0')}"
    if name == "comm":
        name = "unit" if value.endswith(UNIT_SUFFIXES) else name
        name = "exe" if value.startswith("/") else name
    return f'{name} "{as_value(name, value)}"'


def as_comparison(name: str, operator: str, value: str) -> str:
    """Return the comparison of an attribute with a text that can be its value."""
    if name == "comm" and value.endswith(UNIT_SUFFIXES):
        name = "unit"
    return f'{name} {operator} "{as_value(name, value, exactly=True)}"'


def arithmetic_help(operator: str, left: Type, right: Type) -> str:
    """Return what to do about arithmetic that has no meaning."""
    if Type.ID in (left, right):
        return "an id is a name, not an amount; compare it with `==`"
    if operator in "+-" and left in NUMERIC and right in NUMERIC:
        return "add and subtract only like things; divide by a unit to get a plain number"
    if operator in "*/" and left in NUMERIC and right in NUMERIC:
        what = "rss / 1MiB" if Type.MEMORY in (left, right) else "cpu_time / 1s"
        return f"divide one of them by a unit first, as in `{what}`"
    return "arithmetic takes numbers, memory and durations"


def weight_help(kind: str, percent: Fraction) -> str:
    """Return the factor that a percentage stands for: so much more, or so much less.

    Args:
        kind: ``prefer`` or ``spare``.
    """
    if not percent:
        return "nothing changes by 0%: remove the rule"
    if kind == "prefer":
        return f"the points are multiplied: `by {decimal(1 + percent / 100)}` is {percent}% more"
    if percent >= 100:
        return "use `never kill …` instead, which leaves nothing"
    return f"the points are divided: `by {decimal(1 / (1 - percent / 100))}` is {percent}% less"


def decimal(factor: Fraction) -> str:
    """Return a factor of 1 or more as it is written, with two decimals at most."""
    return f"{max(1.0, float(round(factor, 2))):g}" if factor < 10**6 else f"{factor:.0f}"


# What is compared with a quantity that stands alone, by its type.
_SUBJECTS = {
    Type.MEMORY: "rss",
    Type.PERCENTAGE: "rss",
    Type.DURATION: "run_time",
    Type.COUNT: "nice",
}


def condition_help(typed: Typed, written: str) -> str:
    """Return what to do about something that is no condition.

    Args:
        typed: what it is.
        written: its text.
    """
    if typed.literal and typed.type in _SUBJECTS:
        return (
            f"a quantity alone is no condition: compare it, as in "
            f"`{_SUBJECTS[typed.type]} > {written}`"
        )
    if typed.node[0] == "attr" and ATTRIBUTES[typed.node[1]].whole:
        return f"compare it, as in `{written} < 10%`"
    if typed.type in EXAMPLES:
        return f"compare it, as in `{written} > {EXAMPLES[typed.type]}`"
    if typed.type is Type.TEXT:
        texts = f"comm == {written}" if typed.literal else f'{written} == "…"'
        return f"compare it, as in `{texts}`"
    if typed.type is Type.ID:
        return f"compare it, as in `{written} == 0`"
    return "ask for a capability, as in `cap(SYS_ADMIN)`"


def comparison_help(operator: str, left: Typed, right: Typed, quote: Callable[[int], str]) -> str:
    """Return what to do about a comparison of unlike things.

    Args:
        quote: returns the text of the left side (0) or the right one (1).
    """
    for at, this, other in ((0, left, right), (1, right, left)):
        found = _unlike(operator, this, other, quote(at), quote(1 - at), at)
        if found:
            return found
    for this, other in ((left, right), (right, left)):
        if other.literal and this.type in (Type.MEMORY, Type.DURATION):
            what = "memory with a size" if this.type is Type.MEMORY else "a duration with a time"
            return f"compare {what}, as in `{EXAMPLES[this.type]}`"
    return "compare only like things"


def _unlike(operator: str, this: Typed, other: Typed, one: str, two: str, at: int) -> str:
    """Return what to do about one side of a comparison; empty if nothing is known."""
    kind, number = this.type, other.type is Type.COUNT and other.literal
    if kind in (Type.TEXT, Type.ID) and Type.TEXT in (kind, other.type):
        # Texts have no order.
        operator = "!=" if operator == "!=" else "=="

    def written(left: str, right: str) -> str:
        return f"`{left} {operator} {right}`" if at == 0 else f"`{right} {operator} {left}`"

    if kind is Type.MEMORY and number and two.isdecimal() and 0 < int(two) <= 100:
        whole = this.node[0] == "attr" and ATTRIBUTES[this.node[1]].whole
        if whole:
            return f"give the number a unit: {written(one, f'{two}%')} is a share of `{whole}`"
    if kind in (Type.MEMORY, Type.DURATION) and number:
        zero = f"0{'B' if kind is Type.MEMORY else 's'}"
        return f"give the number a unit, as in `{zero if two == '0' else EXAMPLES[kind]}`"
    if kind is Type.PERCENTAGE and number and not this.literal:
        share = f"{two}%" if two.isdecimal() and int(two) <= 100 else EXAMPLES[kind]
        return f"a percentage has its sign: {written(one, share)}"
    if kind is Type.BOOLEAN:
        return f"`{one}` is yes or no and stands by itself: write `{one}` or `not {one}`"
    attribute = this.node[-1] if this.node[0] == "attr" else ""
    if kind is Type.ID and other.type is Type.TEXT:
        return _id_and_text(attribute, other, written)
    by_number = {"user": "uid", "group": "gid"}.get(attribute, "")
    if kind is Type.TEXT and other.type is Type.COUNT and by_number:
        return f"`{attribute}` is a name; by number it is {written(by_number, two)}"
    if kind is Type.TEXT and number and attribute:
        proposed = as_comparison(attribute, operator, two)
        return f"compare a text with a quoted text, as in `{proposed}`"
    if kind is Type.TEXT:
        return 'compare a text with a quoted text, as in `comm == "sshd"`'
    if kind is Type.COUNT and other.literal and other.type in EXAMPLES:
        return _number_and_unit(this, other, one, two, written)
    return ""


def quoted_help(word: str, attribute: str, operator: str) -> str:
    """Return what to do about an unknown word that is compared with a text or an id."""
    kind = ATTRIBUTES[attribute].type if attribute in ATTRIBUTES else None
    if kind is Type.TEXT:
        said = attribute
    else:
        said = {"uid": "user", "gid": "group", "pid": "comm"}.get(attribute, "")
    if not said or operator not in ("==", "!="):
        return ""
    return f"quote a text, as in `{as_comparison(said, operator, word)}`"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _id_and_text(attribute: str, other: Typed, written: Callable[[str, str], str]) -> str:
    named = {"uid": "user", "gid": "group", "pid": "comm"}.get(attribute)
    text = other.node[1] if other.literal else ""
    if text.isdecimal():
        return f"an id is a number: {written(attribute or 'uid', text)}"
    if named and text and '"' not in text:
        return f"an id is a number; by name it is {written(named, _quoted(text))}"
    return "an id is a number, as in `uid == 0`; the name of the real user is `user`"


def _number_and_unit(
    this: Typed, other: Typed, one: str, two: str, written: Callable[[str, str], str]
) -> str:
    """Return what to do about a plain number that is compared with a quantity with a unit."""
    whole, _, unit = one.rpartition(" / ")
    if this.node[0] == "/" and whole and quantities.kind(unit) is other.type:
        return f"compare it before it is divided: {written(whole, two)}"
    if other.type is Type.PERCENTAGE:
        return "a percentage is one of memory; a plain number has no unit, as in `nice > 5`"
    return f"write the number without a unit: {written(one, quantities.digits(two))}"


def ratio_help(operator: str, left: str, right: str, share: Fraction) -> str:
    """Return a comparison of a quotient with a fraction, in whole numbers.

    Args:
        left: what is divided, as it is written.
        right: by what it is divided.
        share: the fraction.
    """
    if operator in ("==", "!="):
        return "a quotient is a whole number, since `/` rounds down; compare it with one"
    above, below = share.numerator, share.denominator
    one = left if below == 1 else f"{left} * {below}"
    two = right if above == 1 else f"{right} * {above}"
    return f"`/` rounds down; compare without it: `{one} {operator} {two}`"


def product_help(factor: str, share: Fraction) -> str:
    """Return a product with a fraction, in whole numbers; ``factor`` is the other side."""
    product = factor if share.numerator == 1 else f"{factor} * {share.numerator}"
    product = product if share.denominator == 1 else f"{product} / {share.denominator}"
    return f"count in whole numbers: `{product}`"


def share_help(of_host: Iterable[str], share: list[Any]) -> str:
    """Return what to write for a percentage beside memory of the host.

    Args:
        of_host: the attributes of the host.
        share: the node of the percentage.
    """
    alone = next((name for name in of_host if ATTRIBUTES[name].whole), "")
    whole = ATTRIBUTES[alone].whole or "host.memory" if alone else "host.memory"
    _, above, below = share
    percent = f"{above * 100 / below:g}%"
    plain = above * 100 % below == 0
    written = f"`{whole} * {above * 100 // below if plain else above} / {100 if plain else below}`"
    if not alone:
        return f"write out the share, as in {written}"
    return f"compare `{alone}` alone, as in `{alone} < {percent}`, or write out {written}"


def value_help(name: str, kind: Type, word: str = "") -> str:
    """Return how an attribute takes its value; ``word`` may be what was meant for it."""
    word = word or "…"
    if kind is Type.CAPABILITIES:
        return "ask for capabilities with `with CAP`, as in `anything with SYS_ADMIN`"
    if kind is Type.TEXT:
        by_number = {"user": "uid", "group": "gid"}.get(name)
        if by_number and word.isdecimal():
            return f"`{name}` is a name; by number it is `{by_number} {word}`"
        return f"quote the text, as in `{as_term(name, word)}`"
    if kind is Type.ID:
        if word.isdecimal():
            return f"give a number, as in `{name} {word}`"
        named = {"uid": "user", "gid": "group", "pid": "comm"}.get(name)
        number = f"give a number, as in `{as_term(name, '…')}`"
        return f"{number}; by name it is `{as_term(named, word)}`" if named else number
    return f"compare it after `when`, as in `anything when {name} > {EXAMPLES[kind]}`"
