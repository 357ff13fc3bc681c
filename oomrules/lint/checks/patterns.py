"""Globs and regular expressions that match nothing, or everything, or something else."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from oomrules.language.diagnostics import Diagnostic, Level, replacing
from oomrules.lint.ruleset import Check, Pattern, RuleSet
from oomrules.processes.containers import QOS_CLASSES, RUNTIMES
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program import nodes
from oomrules.reason.automata import is_wild, pieces
from oomrules.reason.regexes import parse
from oomrules.reason.variables import COMM_LENGTH, STATES

# The nodes of re's own parser are the only way to know what an expression can match.
from re import _constants as sre  # isort: skip
from re import _parser as sre_parser  # isort: skip

# Every value of the attribute begins (ends) with one of these; "" allows an empty value.
_BEGINNINGS = {
    "cgroup": (("/",), "a control group's path begins with `/`"),
    "exe": (("/", "("), "an executable is given by its whole path, which begins with `/`"),
}
_ENDINGS = {
    "unit": ((*UNIT_SUFFIXES, ""), "a unit's name ends in its kind, such as `.service`"),
    "slice": ((".slice",), "the name of a slice ends in `.slice`"),
}
# All possible values, by proc(5), systemd.service(5) and systemd.resource-control(5).
_VALUES = {
    "state": STATES,
    "unit.oom_policy": ("continue", "stop", "kill", ""),
    "unit.managed_oom_preference": ("none", "avoid", "omit", ""),
    "unit.managed_oom_memory_pressure": ("auto", "kill", ""),
    "container.runtime": (*RUNTIMES, ""),
    "pod.qos": (*QOS_CLASSES, ""),
}


# Words of logind and systemd, all in small letters.
_SMALL = ("session.class", "session.type", "unit.active_state")


class _Glob:
    """The facts that the plain characters of a glob tell about the texts that it matches.

    Attributes:
        least: the least number of bytes of a text.
        plain: whether the glob matches one text only.
        everything: whether every text is matched.
        empty_class: whether there is a class without a character, as in ``[z-a]``.
        beginning, ending: the plain characters that every text begins and ends with.
    """

    def __init__(self, written: str) -> None:
        parts = pieces(written)
        wild = [part for part in parts if is_wild(part)]
        plain = written if not wild else "".join(part for part in parts if not is_wild(part))
        stars = wild.count("*")
        self.least = len(plain.encode("utf-8", "surrogateescape")) + len(wild) - stars
        self.plain = not wild
        self.everything = stars > 0 and self.least == 0
        # fnmatch translates a class that never matches to this expression.
        self.empty_class = any("(?!)" in fnmatch.translate(part) for part in wild)
        self.beginning = written if not wild else written[: written.index(wild[0])]
        self.ending = written if not wild else written[written.rindex(wild[-1]) + len(wild[-1]) :]


# Two checks ask about each glob.
_glob = lru_cache(maxsize=8192)(_Glob)


def _too_long(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        if pattern.attribute != "comm":
            continue
        value = pattern.text.value
        fix = None
        if pattern.how == "search":
            least = _width(value)
        elif pattern.how == "text":
            least = len(value.encode())
        else:
            glob = _glob(value)
            least = glob.least
        if least <= COMM_LENGTH:
            continue
        cut = value.encode()[:COMM_LENGTH].decode("utf-8", "ignore")
        other = _not_a_name(value)
        if other:
            help_ = other
        elif pattern.how == "text" or (pattern.how == "glob" and glob.plain):
            alone = not _is_asked_of_others(rules, pattern) and '"' not in value
            fix = replacing(pattern.text.span, f'"{cut}"') if alone else None
            help_ = f'write `"{cut}"`, which is all that the kernel keeps of it'
        else:
            help_ = f"shorten it to what {COMM_LENGTH} bytes can hold, or look in `cmdline`"
        message = (
            f"no command name is this long: it has {least} bytes, and the kernel keeps "
            f"{COMM_LENGTH}"
        )
        yield pattern.finding(TOO_LONG, message, help_, fix)


def _not_a_name(value: str) -> str:
    """Return what to write for a text that is no command name; empty if it may be one."""
    if value.startswith("/") and " " in value:
        return f'this is a command line: write `cmdline "{value}*"`'
    if " -" in value:
        return f'this is a command line: write `cmdline "*{value}*"`'
    if value.startswith("/"):
        return f'this is the path of an executable: write `exe "{value}"`'
    return f'this is a unit: write `unit "{value}"`' if value.endswith(UNIT_SUFFIXES) else ""


def _is_asked_of_others(rules: RuleSet, pattern: Pattern) -> bool:
    """Return whether an item of a list is compared with another attribute, too."""
    return any(
        other.text == pattern.text
        and other.text.span == pattern.text.span
        and other.source == pattern.source
        and other.attribute != pattern.attribute
        for other in rules.patterns
    )


def _everything(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        if pattern.how == "text":
            continue
        value = pattern.text.value
        always = _glob(value).everything if pattern.how == "glob" else _matches_all(value)
        if always:
            message = f"this matches every `{pattern.attribute}`"
            yield pattern.finding(EVERYTHING, message, "leave it out, or say `anything`")


def _nothing(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        why = _why_nothing(pattern)
        if why:
            yield pattern.finding(NOTHING, f"no `{pattern.attribute}` can match this", why)


_PROGRAM = re.compile(r"[\w.+-]+")


def _why_nothing(pattern: Pattern) -> str:
    value, attribute = pattern.text.value, pattern.attribute
    if pattern.how == "search":
        if _contradicts_itself(value):
            return "something is asked for before the beginning or behind the end of the text"
        return _why_no_beginning(attribute, _anchored(value))
    glob = _glob(value) if pattern.how == "glob" else None
    if glob and glob.empty_class:
        return "its brackets hold no character: a range goes from the lower to the higher one"
    beginning = glob.beginning if glob else value
    ending = glob.ending if glob else value
    plain = glob is None or glob.plain
    if attribute in _BEGINNINGS:
        why = _why_no_beginning(attribute, beginning)
        named = why and attribute == "exe" and glob and _PROGRAM.fullmatch(value)
        return f'{why}: write `exe "*/{value}"`' if named else why
    if attribute in _ENDINGS:
        possible, why = _ENDINGS[attribute]
        if plain and not value:
            return "" if "" in possible else why
        # A pattern with a wild end may match; one with a plain end needs a possible suffix.
        suffixes = tuple(suffix for suffix in possible if suffix)
        fits = ending.endswith(suffixes) or (
            not plain and any(suffix.endswith(ending) for suffix in suffixes)
        )
        if not ending or fits:
            return ""
        suffix = ".slice" if attribute == "slice" else ".service"
        return f'{why}: write `"{value}{suffix}"`' if plain and _PROGRAM.fullmatch(value) else why
    if attribute == "tty" and beginning.startswith("/dev/"):
        return f'it is given without `/dev/`: write `"{value.removeprefix("/dev/")}"`'
    if attribute in _SMALL and value != value.lower():
        return f'it is written in small letters: write `"{value.lower()}"`'
    if attribute in _VALUES and plain and value not in _VALUES[attribute]:
        known = ", ".join(f'`"{one}"`' for one in _VALUES[attribute] if one)
        return f"it is one of {known}"
    return ""


def _why_no_beginning(attribute: str, beginning: str) -> str:
    possible, why = _BEGINNINGS.get(attribute, ((), ""))
    return "" if not beginning or beginning.startswith(possible) else why


# --- regular expressions -------------------------------------------------------------------


def _width(pattern: str) -> int:
    least: int = parse(pattern).getwidth()[0]
    return least


_AT_START = (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING)


def _matches_all(pattern: str) -> bool:
    """Return whether an expression is found in every text: it can match nothing at the start."""
    return _nullable(parse(pattern)) or pattern in (".*$", "^.*$")


def _nullable(parsed: Any) -> bool:
    return all(_may_be_nothing(kind, argument) for kind, argument in parsed)


def _may_be_nothing(kind: Any, argument: Any) -> bool:
    if kind is sre.AT:
        return argument in _AT_START
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return argument[0] == 0 or _nullable(argument[2])
    if kind is sre.SUBPATTERN:
        return _nullable(argument[3])
    return kind is sre.BRANCH and any(map(_nullable, argument[1]))


def _contradicts_itself(pattern: str) -> bool:
    """Return whether a character must stand before ``^`` or behind ``$``, except line ends."""
    if "(?" in pattern:
        return False  # flags may change the meaning of both
    consumed, ended = 0, False
    for kind, argument in parse(pattern):
        least = sre_parser.SubPattern(sre_parser.State(), [(kind, argument)]).getwidth()[0]
        if kind is sre.AT and argument in _AT_START and consumed:
            return True
        if ended and kind is sre.LITERAL and argument != ord("\n"):
            return True
        ended = (ended and kind is sre.AT) or (kind is sre.AT and argument is sre.AT_END)
        consumed += least
    return False


def _anchored(pattern: str) -> str:
    """Return the plain character behind a ``^`` that begins the expression; empty without one."""
    parsed = list(parse(pattern))
    if len(parsed) > 1 and parsed[0] == (sre.AT, sre.AT_BEGINNING) and "(?" not in pattern:
        kind, argument = parsed[1]
        return chr(argument) if kind is sre.LITERAL else ""
    return ""


# These can hold any text.
_ANY_TEXT = ("cmdline", "unit.description")
_LIKE_A_GLOB = re.compile(r"[\w@./-]*[\w@/-]\*")
_LIKE_A_REGEX = re.compile(r"\^.+|.*[^\\]\$|.*\\[dwsb].*|[\w.-]+(\|[\w.-]+)+|\(.*\|.*\)")


def _wrong_kind(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        value = pattern.text.value
        if pattern.attribute in _ANY_TEXT:
            continue
        short = len(value.encode()) <= COMM_LENGTH  # else it is OOM501
        if pattern.attribute == "comm" and pattern.how != "search" and short and _not_a_name(value):
            message = (
                "a command name is that of the program, without a path, arguments or the suffix "
                "of a unit"
            )
            yield pattern.finding(WRONG_KIND, message, _not_a_name(value))
            continue
        if pattern.how == "search" and _LIKE_A_GLOB.fullmatch(value):
            yield pattern.finding(
                WRONG_KIND,
                f"this is a regular expression, in which `{value[-2:]}` means any number of "
                f"`{value[-2]}`, none as well",
                f'write `{pattern.attribute} ~ "^{re.escape(value[:-1])}"`; a glob stands in a '
                f'selector, as in `{pattern.attribute} "{value}"`',
            )
        named = pattern.how == "glob" and pattern.attribute in ("comm", "user", "group", "exe")
        # The account of a machine in a domain ends in a dollar sign.
        account = pattern.attribute in ("user", "group") and re.fullmatch(r"[\w.\\-]+\$", value)
        if named and not account and _LIKE_A_REGEX.fullmatch(value):
            message = f"this is a glob, which takes `{value}` as it stands"
            yield pattern.finding(WRONG_KIND, message, _regex_help(pattern.attribute, value))


def _wild_equality(rules: RuleSet) -> Iterator[Diagnostic]:
    """Yield findings about `==` and `!=` with a text that is meant as a glob."""
    for pattern in rules.patterns:
        value, attribute = pattern.text.value, pattern.attribute
        wild = next((char for char in "*?" if char in value), "")
        if pattern.how != "text" or not wild or (wild == "?" and attribute in _ANY_TEXT):
            continue
        message = f"`==` compares the whole text, in which `{wild}` stands for itself"
        help_ = f'a glob stands without it: `{attribute} "{value}"`'
        yield pattern.finding(WRONG_KIND, message, help_)


def _wrong_way(rules: RuleSet) -> Iterator[Diagnostic]:
    yield from _wrong_kind(rules)
    yield from _wild_equality(rules)


# The ids that accounts have names for.
_IDS = {"user": "uid", "group": "gid"}


def _numbers(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        value, attribute = pattern.text.value, pattern.attribute
        if attribute not in _IDS or not (value.isascii() and value.isdigit()):
            continue
        id_ = _IDS[attribute]
        better = f"`{id_} == {value}`" if pattern.how == "text" else f"`{id_} {value}`"
        if pattern.how != "search":
            yield pattern.finding(
                NUMBER,
                f"`{attribute}` is a name, and a number only of an id that has no name",
                f"for the id whatever its name write {better}",
            )


def _whole_command_line(rules: RuleSet) -> Iterator[Diagnostic]:
    for pattern in rules.patterns:
        value = pattern.text.value
        plain = pattern.how == "glob" and value and not nodes.is_glob(value)
        if pattern.attribute == "cmdline" and plain and " " not in value and not pattern.related:
            yield pattern.finding(
                WHOLE_LINE,
                "a glob matches the whole command line, and this one has no arguments",
                f'for a part of it write `cmdline "*{value}*"`',
            )


def _regex_help(attribute: str, value: str) -> str:
    plain = re.fullmatch(r"\^([\w@-]+)\$", value)
    if plain:
        return f'a glob matches the whole text: write `{attribute} "{plain.group(1)}"`'
    return f'for a regular expression write `when {attribute} ~ "{value}"`'


TOO_LONG = Check("OOM501", "a command name longer than any can be", _too_long)
EVERYTHING = Check("OOM502", "a pattern that matches everything", _everything)
NOTHING = Check("OOM503", "a pattern that can match nothing", _nothing)
WRONG_KIND = Check(
    "OOM504", "a glob that is meant as a regular expression, or the reverse", _wrong_way
)
NUMBER = Check("OOM508", "a number in place of a name", _numbers, Level.INFO)
WHOLE_LINE = Check("OOM509", "a command line without arguments", _whole_command_line, Level.INFO)
CHECKS = (TOO_LONG, EVERYTHING, NOTHING, WRONG_KIND, NUMBER, WHOLE_LINE)
