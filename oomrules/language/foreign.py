"""Texts for other tools: how they are recognised, and the sentences that say about the same here.

Nothing is translated: a weight here is not a score there, and a name alone is no protection. A
mistake shows the sentence to write instead, and a foreign file is one mistake, not one a line: it
names the command that says the file in sentences.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, NamedTuple

from oomrules.language.text import RuleText, Span

_LONGEST_COMM = 15
_SENTENCE = '`never kill uid 0 comm "sshd"`'


class Habit(NamedTuple):
    """What a line is, as a message has it, and what to write in its place."""

    message: str
    help: str


# --- one line ------------------------------------------------------------------------------

_OPTION = re.compile(r"--(avoid|prefer|ignore)(?:=|\s+)('[^']*'|\"[^\"]*\"|[^\s'\"]+)")
_PLAIN_OPTIONS = {"--ignore-root-user": "never kill uid 0", "--sort-by-rss": "score rss"}
_EARLYOOM = re.compile(
    r"(?:EARLYOOM_ARGS\s*=|(?:[\w./-]*/)?earlyoom\s|--(?:avoid|prefer|ignore|sort-by-rss)\b"
    r"|-[msMS]\s*\d)"
)
# Percentages below which it acts, of memory and of swap; the kilobytes are for `import`.
_LIMIT = re.compile(r"(?<![\w-])-([ms])\s*(\d{1,2})(?![\d.])")
_NOHANG = re.compile(r"@BADNESS_ADJ_RE_(NAME|CMDLINE|REALPATH|CGROUP_V2)\s+(-?\d+)\s*///\s*(.*\S)")
_SYSTEMD = re.compile(r"(OOMScoreAdjust|OOMPolicy|ManagedOOM\w+|OOMRules)\s*=\s*(\S*)")
_SECTION = re.compile(r"\[(Unit|Service|Slice|Scope|Socket|Mount|Swap|Install|OOM|Rule)\]\s*$")
_NOHANG_ATTRIBUTES = {
    "NAME": "comm",
    "CMDLINE": "cmdline",
    "REALPATH": "exe",
    "CGROUP_V2": "cgroup",
}
_STARTS = {"avoid": "spare", "prefer": "prefer", "ignore": "never kill"}


def of_line(line: str) -> Habit | None:
    """Return what a line of another tool is; None if it is not recognised.

    Args:
        line: the text from where a statement should begin to the end of its line.
    """
    if _EARLYOOM.match(line):
        return _earlyoom(line)
    nohang = _NOHANG.match(line)
    if nohang:
        attribute, score, pattern = nohang.groups()
        start = "spare" if score.startswith("-") else "prefer"
        return Habit(
            "this is a line for nohang; rules here are sentences",
            _write(_matching(start, _NOHANG_ATTRIBUTES[attribute], pattern)),
        )
    systemd = _SYSTEMD.match(line)
    if systemd:
        name, value = systemd.groups()
        return Habit(f"`{name}=` is a setting of systemd, not a rule", _setting(name, value))
    if _SECTION.match(line):
        return Habit(
            "this begins a section of a systemd unit, not a rule",
            f"rules are sentences, one per line, such as {_SENTENCE}",
        )
    if line.startswith("{"):
        return _ananicy(_object(_without_comment(line)))
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        return Habit(
            "this is a conflict marker of a merge that was not finished",
            "keep one side, and remove the three lines with markers",
        )
    return None


# What a guard may ask for where systemd-oomd is to kill. Pressure alone kills the innocent.
_GUARDS = {
    "ManagedOOMMemoryPressure": "scope.stall > 60% and host.available < 10% for 30s",
    "ManagedOOMSwap": "host.available < 10% and host.swap_free < 10%",
}


def _setting(name: str, value: str, unit: str = "NAME.service") -> str:
    """Return what to do with a setting of systemd about memory.

    Args:
        unit: the name to write for the unit.
    """
    sentence = _said_of_a_unit(name, value, f'unit "{unit}"')
    if sentence:
        return f"put it into the unit (`systemctl edit`), or write `{sentence}`"
    if name in _GUARDS and value == "kill":
        return (
            "leave it in the unit (`systemctl edit`), where systemd-oomd acts on it by itself, or "
            f"write `in {unit}: kill when {_GUARDS[name]}`"
        )
    if name.startswith("ManagedOOM") or name == "OOMRules":
        return (
            "leave it in the unit (`systemctl edit`): systemd-oomd acts on it by itself, and here "
            "a guard says when"
        )
    return "leave it in the unit (`systemctl edit`): no rule says the same"


def _said_of_a_unit(name: str, value: str, unit: str) -> str:
    """Return the rule that says about the same as a setting; empty if there is none."""
    if name == "OOMScoreAdjust" and re.fullmatch(r"[+-]?\d+", value) and int(value):
        start = "never kill" if int(value) <= -1000 else "spare" if int(value) < 0 else "prefer"
        return f"{start} {unit}"
    if name == "ManagedOOMPreference" and value in ("avoid", "omit"):
        return f"{'spare' if value == 'avoid' else 'never kill'} {unit}"
    return ""


def _earlyoom(line: str) -> Habit:
    sentences = []
    for option, quoted in _OPTION.findall(line):
        pattern = quoted[1:-1] if quoted[0] in "'\"" else quoted
        sentence = _matching(_STARTS[option], "comm", pattern)
        sentences.append(f"{sentence} for `--{option}`" if sentence else "")
    limits = dict(_LIMIT.findall(line))
    if limits:
        # What it does not say is 10.
        memory, swap = (f"{int(limits.get(letter, 10))}%" for letter in "ms")
        # Of no swap nothing is a share.
        free = f"(host.swap == 0B or host.swap_free <= {swap})"
        said = f"terminate when host.available <= {memory} and {free}"
        sentences.append(f"`{said}` for {' and '.join(f'`-{letter}`' for letter in limits)}")
    for option, said in _PLAIN_OPTIONS.items():
        if re.search(rf"(?<![\w-]){option}(?![\w-])", line):
            sentences.append(f"`{said}` for `{option}`")
    return Habit("this is for earlyoom; rules here are sentences", _write(*sentences))


def _write(*sentences: str) -> str:
    known = [sentence for sentence in sentences if sentence]
    return f"write {' and '.join(known)}" if known else f"write sentences, such as {_SENTENCE}"


def _matching(start: str, attribute: str, pattern: str) -> str:
    """Return the rule about processes that a pattern matches; empty if it cannot be quoted."""
    if '"' in pattern or "`" in pattern:
        return ""
    # Any process can take a name; a protected one must be root's too.
    root = " uid 0" if start == "never kill" else ""
    plain = re.fullmatch(r"\^([\w@-]+)\$", pattern)
    if plain:
        return f'`{start}{root} {attribute} "{plain.group(1)}"`'
    return f'`{start}{root or " anything"} when {attribute} ~ "{pattern}"`'


def _without_comment(line: str) -> str:
    """Return a line without the comment behind its object, and without a comma."""
    return re.sub(r"\}\s*,?\s*(?:#.*)?$", "}", line)


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _ananicy(rule: dict[str, Any] | None) -> Habit | None:
    if rule is None or not ({"name", "type", "cgroup"} & rule.keys()):
        return None
    name, score = rule.get("name"), rule.get("oom_score_adj")
    help_ = "oomrules decides only which process is killed; `nice` and I/O stay with ananicy"
    if isinstance(name, str) and re.fullmatch(r"[\w.+@: -]+", name, re.ASCII):
        sentence = f'comm "{name[:_LONGEST_COMM]}"'
        if isinstance(score, int) and score <= -1000:
            help_ = f"write `never kill uid 0 {sentence}`, or `user` and its name for another user"
        elif isinstance(score, int) and score:
            help_ = f"write `{'spare' if score < 0 else 'prefer'} {sentence}`"
        else:
            help_ = f"write `prefer {sentence}` or `spare {sentence}`, if its memory matters"
    return Habit("this is a rule of ananicy; rules here are sentences", help_)


# --- a whole file --------------------------------------------------------------------------

_YAML = re.compile(r"\s*(?:---|\.\.\.|-\s.*|(?:-\s+)*[\w\"'./-]+\s*:(?:\s.*)?)$")
_TOML = re.compile(r"\s*(?:\[\[?[\w\".: -]+\]\]?|[\w\".-]+\s*=\s*.*)$")
# Lines that only nohang has, and what all of its lines look like.
_OF_NOHANG = re.compile(
    r"@(?:BADNESS_ADJ_RE|SOFT_ACTION_RE)_|@(?:check|debug)_kmsg|(?:soft|hard)_threshold_(?:min|max)_"
)
_LINE_OF_NOHANG = re.compile(r"@\w+|\w+\s*=")
_KINDS = {"Slice": "slice", "Scope": "scope", "Socket": "socket", "Mount": "mount", "Swap": "swap"}


def of_file(source: RuleText) -> tuple[Span, Habit] | None:
    """Return the first line of a file of which no statement could be read, and what the file is.

    It is None if the file may be one of rules with mistakes.
    """
    # Each from its first sign to its last, without the space around it.
    lines = list(re.finditer(r"^[^\S\n]*([^\s#;][^\n]*(?<=\S))", source.text, re.M))
    # For nohang a line that begins with a space is a comment.
    plain = [line for line in lines if line.start() == line.start(1)]
    said = [line.group() for line in plain]
    if any(map(_OF_NOHANG.match, said)) and all(map(_LINE_OF_NOHANG.match, said)):
        first = next(filter(_NOHANG.match, said), "")
        more = habit.help if (habit := of_line(first)) else ""
        what = "for nohang; rules here are sentences"
        return Span(*plain[0].span(1)), _file(what, source.name, more)
    habit = _of_lines([line.group(1) for line in lines], source.name) if lines else None
    return habit and (Span(*lines[0].span(1)), habit)


def _of_lines(lines: list[str], name: str) -> Habit | None:
    objects = [_object(_without_comment(line)) for line in lines]
    if None not in objects:
        scored = (rule for rule in objects if rule and "oom_score_adj" in rule)
        habit = _ananicy(next(scored, objects[0]))
        if habit:
            return _file("for ananicy; rules here are sentences", name, habit.help)
    if _object("\n".join(lines)) is not None or None not in objects:
        return _kind("JSON")
    settings = [line for line in lines if line.startswith("EARLYOOM_ARGS")]
    if settings:
        return _file(
            "for earlyoom; rules here are sentences", name, _earlyoom(" ".join(lines)).help
        )
    if _SECTION.match(lines[0]):
        return _file("a unit of systemd, not a rule file", name, _unit(lines))
    if len(lines) < 2:
        return None
    if all(map(_YAML.match, lines)):
        return _kind("YAML")
    return _kind("TOML") if all(map(_TOML.match, lines)) else None


def _unit(lines: list[str]) -> str:
    """Return what the first setting about memory of a unit would be here."""
    sections = [section[1] for section in map(_SECTION.match, lines) if section]
    kind = next((_KINDS[section] for section in sections if section in _KINDS), "service")
    settings = [(one[1], one[2]) for one in map(_SYSTEMD.match, lines) if one]
    said = [one for one in settings if _said_of_a_unit(*one, "")]
    for setting in said or settings:
        # A slice holds no process itself, so that no process has it as its unit.
        sentence = _said_of_a_unit(*setting, f'unit "NAME.{kind}"')
        if kind == "slice" and sentence:
            sentence = f"in NAME.slice: {_said_of_a_unit(*setting, 'anything')}"
            return f"put it into the unit (`systemctl edit`), or write `{sentence}`"
        return _setting(*setting, f"NAME.{kind}")
    return f"a rule about this unit begins as in `in NAME.{kind}: prefer anything`"


def _file(what: str, name: str, more: str = "") -> Habit:
    """Return the finding about a whole file that ``oomrules import`` reads."""
    # What was read from a pipe has no name.
    named = shlex.quote(name) if re.fullmatch(r"[^<`\n-][^`\n]*", name) else "FILE"
    command = f"`oomrules import {named}` says in rules what can be said"
    return Habit(f"this file is {what}", f"{more}; {command}" if more else command)


def _kind(name: str) -> Habit:
    return Habit(
        f"this looks like {name}; rules here are sentences",
        f"write one sentence per line, such as {_SENTENCE}, with nothing around it",
    )
