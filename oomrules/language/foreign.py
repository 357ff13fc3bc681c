"""Texts for other tools: how they are recognised, and the sentences that say about the same here.

Nothing is translated: a weight here is not a score there, and a name alone is no protection. A
mistake shows the sentence to write instead, and a foreign file is one mistake, not one a line.
"""

from __future__ import annotations

import json
import re
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
_EARLYOOM = re.compile(
    r"(?:EARLYOOM_ARGS\s*=|(?:[\w./-]*/)?earlyoom\s|--(?:avoid|prefer|ignore)\b)"
)
_NOHANG = re.compile(r"@BADNESS_ADJ_RE_(NAME|CMDLINE|REALPATH|CGROUP_V2)\s+(-?\d+)\s*///\s*(.*\S)")
_SYSTEMD = re.compile(r"(OOMScoreAdjust|OOMPolicy|ManagedOOM\w+)\s*=\s*(\S*)")
_SECTION = re.compile(r"\[(Unit|Service|Slice|Scope|Install)\]\s*$")
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
        start = "prefer" if name == "OOMScoreAdjust" and not value.startswith("-") else "spare"
        return Habit(
            f"`{name}=` is a setting of systemd, not a rule",
            f'put it into the unit (`systemctl edit`), or write `{start} unit "NAME.service"`',
        )
    if _SECTION.match(line):
        return Habit(
            "this begins a section of a systemd unit, not a rule",
            f"rules are sentences, one per line, such as {_SENTENCE}",
        )
    if line.startswith("{"):
        return _ananicy(_object(line))
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        return Habit(
            "this is a conflict marker of a merge that was not finished",
            "keep one side, and remove the three lines with markers",
        )
    return None


def _earlyoom(line: str) -> Habit:
    sentences = []
    for option, quoted in _OPTION.findall(line):
        pattern = quoted[1:-1] if quoted[0] in "'\"" else quoted
        sentence = _matching(_STARTS[option], "comm", pattern)
        sentences.append(f"{sentence} for `--{option}`" if sentence else "")
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


def of_file(source: RuleText) -> tuple[Span, Habit] | None:
    """Return the first line of a file of which no statement could be read, and what the file is.

    It is None if the file may be one of rules with mistakes.
    """
    # Each from its first sign to its last, without the space around it.
    lines = list(re.finditer(r"^[^\S\n]*([^\s#][^\n]*(?<=\S))", source.text, re.M))
    habit = _of_lines([line.group(1) for line in lines]) if lines else None
    return habit and (Span(*lines[0].span(1)), habit)


def _of_lines(lines: list[str]) -> Habit | None:
    objects = [_object(line.rstrip(",")) for line in lines]
    if None not in objects:
        scored = (rule for rule in objects if rule and "oom_score_adj" in rule)
        habit = _ananicy(next(scored, objects[0]))
        if habit:
            return Habit("this file is for ananicy; rules here are sentences", habit.help)
    if _object("\n".join(lines)) is not None or None not in objects:
        return _kind("JSON")
    if len(lines) < 2:
        return None
    if any(map(_SECTION.match, lines)) and all(map(_TOML.match, lines)):
        setting = next(filter(None, map(_SYSTEMD.match, lines)), None)
        habit = of_line(setting.group()) if setting else None
        return habit and Habit("this file is a unit of systemd, not a rule file", habit.help)
    if all(map(_YAML.match, lines)):
        return _kind("YAML")
    return _kind("TOML") if all(map(_TOML.match, lines)) else None


def _kind(name: str) -> Habit:
    return Habit(
        f"this looks like {name}; rules here are sentences",
        f"write one sentence per line, such as {_SENTENCE}, with nothing around it",
    )
