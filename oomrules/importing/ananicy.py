"""ananicy and ananicy-cpp: *.rules, *.types and *.cgroups, a JSON object a line.

Written from the README of Ananicy 2 and from the rules of CachyOS. A rule takes what it does not
say from its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from oomrules.importing.translation import (
    WEIGHED,
    Line,
    Piece,
    Selector,
    Translation,
    Untranslatable,
    literal,
    quoted,
    weighed,
)

TOOL = "ananicy"

_PRIORITY = "Processor and I/O priorities. They stay with ananicy; rules say who is killed."
_TYPE = "A type: what its rules take from it is said there."
_CGROUP = "A group for the processor's time. It stays with ananicy."
_CONFIGURATION = "How ananicy itself runs."
# What a rule may say beside its name that changes nothing about whom it means.
_PRIORITIES = frozenset(
    "type nice ioclass ionice sched rtprio oom_score_adj latency_nice cgroup cpuset".split()
)
_LONGEST_COMM = 15
_MOST = 1000


class _Said(NamedTuple):
    line: Line
    rule: dict[str, Any] | None


def of_files(found: Iterable[tuple[str, Sequence[str]]]) -> Translation:
    """Return what ananicy's files mean, all at once: rules take values from types."""
    inputs, said, settings, ignored = list[str](), list[_Said](), list[Piece](), 0
    for name, lines in found:
        inputs.append(name)
        for number, text in enumerate(lines, 1):
            line = Line(f"{name}:{number}", text.strip())
            if not line.text or line.text.startswith("#"):
                ignored += 1
            elif name.endswith(".conf"):
                settings.append(_setting(line))
            else:
                said.append(_Said(line, _object(line.text)))
    types = {
        one.rule["type"]: one.rule
        for one in said
        if one.rule and "name" not in one.rule and isinstance(one.rule.get("type"), str)
    }
    return Translation(
        tool=TOOL,
        inputs=tuple(inputs),
        pieces=(*(_piece(one, types) for one in said), *settings),
        differences=(
            f"oom_score_adj is for the kernel's own measure. {WEIGHED}",
            "ananicy goes by the name of a process or of its program, and each process can take "
            "one. Where a rule protects by a name, say more of the process, such as "
            '`user "postgres"`.',
            "ananicy changes oom_score_adj of the processes for good. Take these rules or "
            "ananicy's, not both: `apply_oom_score_adj = false` in ananicy.conf.",
        ),
        ignored=ignored,
    )


def _setting(line: Line) -> Piece:
    if re.fullmatch(r"apply_oom_score_adj\s*=\s*false", line.text):
        reason = "ananicy does not set oom_score_adj, so the rules here are new on this host."
    else:
        reason = _CONFIGURATION
    return Piece(line.place, line.text, reason=reason)


def _object(text: str) -> dict[str, Any] | None:
    """Return the object in a line; there may be a comma or a comment behind it."""
    try:
        data, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].strip().removeprefix(",").strip()
    return data if isinstance(data, dict) and (not rest or rest.startswith("#")) else None


def _piece(said: _Said, types: dict[str, dict[str, Any]]) -> Piece:
    line, rule = said
    if rule is None:
        return Piece(line.place, line.text, reason="It is no JSON object.")
    if "name" not in rule and "name_regex" not in rule:
        known = _TYPE if "type" in rule else _CGROUP if "cgroup" in rule else "It is no rule."
        return Piece(line.place, line.text, reason=known)
    try:
        return Piece(line.place, line.text, (_sentence(rule, types),), adjusts=True)
    except Untranslatable as error:
        return Piece(line.place, line.text, reason=error.reason)


def _sentence(rule: dict[str, Any], types: dict[str, dict[str, Any]]) -> str:
    kind = rule.get("type")
    inherited = types.get(kind, {}) if isinstance(kind, str) else {}
    score = rule.get("oom_score_adj", inherited.get("oom_score_adj"))
    if score is None:
        if isinstance(kind, str) and kind not in types:
            raise Untranslatable(
                "Its type is in none of the files given. Name the *.types file too, because the "
                "type may have an oom_score_adj."
            )
        raise Untranslatable(_PRIORITY)
    if isinstance(score, bool) or not isinstance(score, int) or abs(score) > _MOST:
        raise Untranslatable("Its oom_score_adj is no whole number from -1000 to 1000.")
    if not score:
        raise Untranslatable("It sets oom_score_adj to 0, which is the default.")
    return weighed(score, _selector(rule))


def _selector(rule: dict[str, Any]) -> Selector:
    name, arguments = rule.get("name"), rule.get("cmdlines", [])
    odd = sorted(rule.keys() - _PRIORITIES - {"name", "cmdlines"})
    if odd or not isinstance(name, str) or not name:
        raise Untranslatable(f"Nothing here is sure to mean the same as `{(odd or ['name'])[0]}`.")
    if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
        raise Untranslatable("Its `cmdlines` is no list of texts.")
    if len(name.encode("utf-8", "replace")) <= _LONGEST_COMM:
        selector = Selector(f"comm {literal(name)}")
    else:
        # The kernel cuts comm; the name of the program is whole.
        selector = Selector(f'exe "*/{literal(name)[1:]}')
    for one in arguments:
        selector = selector.also(f"cmdline ~ {quoted(re.escape(one))}")
    return selector
