"""What to do about a mistake in a sentence that says when: ``kill when``, ``terminate when``.

As in ``type_help``, what stands in backquotes is a proposal.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language.diagnostics import either
from oomrules.language.habits import Place
from oomrules.language.quantities import spelt_out
from oomrules.language.type_help import EXAMPLES, as_term
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program import program

# Words for what a guard does, and the one that says it here.
_VERBS = {
    **dict.fromkeys(("kill", "sigkill", "oomkill"), "kill"),
    **dict.fromkeys(
        ("terminate", "term", "sigterm", "stop", "end", "quit", "exit", "close"), "terminate"
    ),
    **dict.fromkeys(("warn", "warning", "notify", "alert", "tell", "report", "log"), "warn"),
}
_VERB = rf"(?:{'|'.join(_VERBS)})"
_IF = r"(?:when|whenever|if|once|where|while)"
_DURATION = r"\d[\d_.]*[ \t]*[A-Za-z]+"
_GUARDS = "`kill when …`, `terminate when …` or `warn when …`"
_LEVEL = "host.available < 5%"


# --- the words of the sentence -----------------------------------------------------------------

_LATE = re.compile(
    rf"{_IF}[ \t]+(?P<condition>.+?)[ \t]*(?:,|:|=>|->)?[ \t]+(?:then[ \t]+)?(?P<verb>{_VERB})\b",
    re.I,
)
_CLAUSE_FIRST = re.compile(
    rf"(?:for|within|after)[ \t]+{_DURATION}[ \t]*,?[ \t]*(?P<verb>{_VERB})[ \t]+{_IF}\b"
)
_OTHER_VERB = re.compile(
    rf"(?P<verb>{_VERB})[ \t]+(?:{_IF}|at|on|below|under)[ \t]+(?P<condition>.*)", re.I
)


def of_start(where: Place) -> str:
    """Return what to write for a guard whose first word is another; empty if it is none."""
    rest = _without_comment(where.line[where.column :])
    found = _LATE.match(rest)
    if found:
        verb = _VERBS[found["verb"].lower()]
        return f"say it in this order: `{verb} when {_condition(found['condition'])}`"
    found = _CLAUSE_FIRST.match(rest)
    if found:
        return _clause_behind(_VERBS[found["verb"]], rest)
    found = _OTHER_VERB.match(rest)
    if found:
        verb = _VERBS[found["verb"].lower()]
        return f"write `{verb} when {_condition(found['condition'])}`"
    if re.match(rf"{_IF}\b", rest):
        return f"a sentence begins with what it does: {_GUARDS}"
    word = re.match(r"\w+", rest)
    verb = _VERBS.get(word.group().lower(), "") if word else ""
    return f"a sentence that says when begins with `{verb} when …`" if verb else ""


_BEGUN = re.compile(r"(?<![\w.])(kill|terminate|warn)[ \t]+$")
_LEVELS = re.compile(
    r"(?:at|on|below|under|less[ \t]+than|lower[ \t]+than|with)?[ \t]*<?=?[ \t]*"
    r"(?P<number>\d+(?:\.\d+)?)[ \t]*(?:%|percent)?(?![\w.])"
)
_IN_UNIT = re.compile(
    r"(?:in[ \t]+)?(?P<unit>\"[^\"\s]+\"|[\w.@*-]+\.(?:slice|service|scope))[ \t]+"
    rf"{_IF}[ \t]+(?P<condition>.*)"
)
_WHOM = re.compile(rf"(?P<whom>.*?)[ \t]*(?<![\w.]){_IF}[ \t]+(?P<condition>.*)")


def of_beginning(where: Place) -> str:
    """Return what to write where something else than ``when`` stands behind a guard's verb."""
    begun = _BEGUN.search(where.line[: where.column])
    rest = _without_comment(where.line[where.column :])
    if not begun or not rest:
        return ""
    verb = begun[1]
    found = re.match(rf"{_IF}[ \t]+(?P<condition>.*)", rest)
    if found:
        return f"write `{verb} when {_condition(found['condition'])}`"
    if re.match(rf"(?:for|within|after)[ \t]+{_DURATION}", rest):
        return _clause_behind(verb, rest)
    found = _LEVELS.match(rest)
    if found:
        return f"say what is low: `{verb} when host.available < {found['number']}%`"
    found = re.match(r"(?:at|on|if|below|under)[ \t]+(?P<condition>.*)", rest)
    if found and _condition(found["condition"]) != "…":
        return f"write `{verb} when {_condition(found['condition'])}`"
    found = _IN_UNIT.match(rest)
    if found and _asks_a_place(found["condition"]):
        said = _condition(found["condition"])
        return f"a guard of a unit stands in its block: `in {found['unit']}: {verb} when {said}`"
    found = _WHOM.match(rest)
    if found and _asks_a_place(found["condition"]):
        said = (
            f"a guard says when, and rules say whom: `{verb} when {_condition(found['condition'])}`"
        )
        return f"{said}; a rule is `kill first …`" if verb == "kill" else said
    if verb == "kill":
        return ""
    return (
        f"`{verb}` says when, and not whom: write `{verb} when {_LEVEL}`, and whom it is to take "
        "in a rule, such as `prefer …`"
    )


_WHEN = re.compile(
    r"(?:^|[:{])[ \t]*(?P<verb>kill|terminate|warn)[ \t]+when(?![\w.])(?P<condition>.*)$"
)
_OF_PSI = re.compile(
    r"(?:(?:psi|memory|mem|pressure)[ \t.]+)*(?P<kind>full|some)(?:[ \t.]+avg(?:10|60|300))?"
    r"[ \t]*(?P<operator>[<>]=?)[ \t]*(?P<number>\d+(?:\.\d+)?)[ \t]*%?",
    re.I,
)
_IN = re.compile(r"(?<![\w.])in[ \t]")
_LASTING = re.compile(
    r"(?:for|during|since|over|lasting|throughout|longer|after|in|within)[ \t]+"
    r"(?:(?:more|longer|at|the)[ \t]+(?:than|least|last)[ \t]+|over[ \t]+|about[ \t]+)?"
    r"(?P<number>\d[\d_.]*)[ \t]*(?P<unit>[A-Za-z]*)"
)


def of_clause(where: Place, word: str) -> str:
    """Return what to do about a word behind the condition of a guard; empty if it is none there."""
    before, rest = where.line[: where.column], _without_comment(where.line[where.column :])
    guard = _WHEN.search(before)
    if not guard:
        return ""
    psi = where.around(_OF_PSI)
    if psi:
        meant = _of_psi(psi, of_unit=_IN.search(before) is not None)
        return f"write `{meant}`; it is of the last {'second' if '.stall' in meant else '10 s'}"
    verb, condition = guard["verb"], guard["condition"].strip()
    if word == ",":
        return "write `and` between, or `or`: a word joins what stands side by side"
    if word == "then" or re.search(r"(?<![\w.])then$", before.rstrip()):
        return _of_then(verb, rest)
    if re.search(r"(?<![\w.])then[ \t]+stop[ \t]*$", before):
        return "leave it out: nothing is said behind `then stop`"
    lasting = _LASTING.match(rest)
    if lasting:
        return _of_lasting(verb, word, lasting)
    if word in ("for", "within"):
        return f"a duration follows, as in `{word} 10s`"
    unit = re.match(r"in[ \t]+(\"[^\"\s]+\"|[\w.@*-]+)", rest)
    if unit and word == "in":
        said = _condition(condition)
        return (
            f"a guard of a unit stands in its block: `in {_as_unit(unit[1])}: {verb} when {said}`"
        )
    if word in ("with", "without", "under", "child", "by"):
        return (
            "leave it out: a guard says when, and names no process; it takes the first of the "
            "list, whose order the rules make"
        )
    if word in ATTRIBUTES:
        return "write `and` between, or `or`: a word joins what stands side by side"
    return ""


def form(verb: str) -> str:
    """Return the form of a guard, for messages."""
    within = "" if verb == "warn" else " [within DURATION]"
    stop = "" if verb == "warn" else " [then stop]"
    return f"{verb} when CONDITION [for DURATION]{within}{stop}"


def _clause_behind(verb: str, rest: str) -> str:
    word = "within" if verb == "terminate" and rest.startswith("within") else "for"
    return f"a duration stands behind the condition: `{verb} when {_LEVEL} {word} 10s`"


def _of_then(verb: str, rest: str) -> str:
    late = re.search(rf"(?:within|after|in)[ \t]+({_DURATION})", rest)
    if verb == "terminate" and re.search(rf"\b{_VERB}\b", rest):
        last = _spelt(late[1]) if late else "10s"
        return (
            "`terminate` does so by itself: what has not ended after 5 s is killed; another time "
            f"is `within {last}`"
        )
    if verb == "warn" and re.search(rf"\b{_VERB}\b", rest):
        return "a warning kills nobody; write a guard of its own, which begins with `kill when …`"
    return (
        "leave it out, or write `then stop`: a unit that loses processes again and again is stopped"
    )


def _of_lasting(verb: str, word: str, found: re.Match[str]) -> str:
    written = _spelt(f"{found['number']}{found['unit'] or 's'}")
    if verb == "terminate" and word in ("after", "in", "within"):
        return (
            f"write `for {written}` for how long the condition has to hold, or `within {written}` "
            "for how long a process has to end"
        )
    return f"write `for {written}`"


def _spelt(duration: str) -> str:
    found = re.fullmatch(r"(\d[\d_.]*)[ \t]*([A-Za-z]+)", duration.strip())
    return (spelt_out(*found.groups()) if found else "") or "10s"


def _as_unit(written: str) -> str:
    if written.startswith('"') or written.endswith(UNIT_SUFFIXES):
        return written
    return f"{written}.service"


def _without_comment(text: str) -> str:
    """Return a text up to its comment, with single spaces: what matches it takes its time else."""
    return " ".join(text.partition("#")[0].split())


_PART = re.compile(
    r"(?P<name>(?:host|scope)\.\w+)[ \t]*(?:<|>|<=|>=|==|!=)[ \t]*(?P<value>\d[\w.]*%?)"
)


def _condition(text: str) -> str:
    """Return the condition that a text is; an ellipsis where it is not plain to see."""
    text = text.strip().rstrip(",:").strip()
    level = _LEVELS.fullmatch(text)
    if level:
        return f"host.available < {level['number']}%"
    parts = [_PART.fullmatch(part.strip()) for part in re.split(r"[ \t]+(?:and|or)[ \t]+", text)]
    known = all(part and part["name"] in program.GUARDED for part in parts)
    return " ".join(text.split()) if known else "…"


def _asks_a_place(text: str) -> bool:
    return re.search(r"(?<![\w.])(?:host|scope)\.", text) is not None


def _of_psi(found: re.Match[str], *, of_unit: bool) -> str:
    figure = "stall" if found["kind"].lower() == "full" else "pressure"
    where = "scope" if of_unit else "host"
    return f"{where}.{figure} {found['operator']} {found['number']}%"


# --- names and types ---------------------------------------------------------------------------


class _Figure(NamedTuple):
    """What a word of other tools is of the host, and of a unit."""

    host: str
    scope: str


_MEMORY = _Figure("host.available", "scope.memory")
_SWAP = _Figure("host.swap_free", "scope.swap")
_STALL = _Figure("host.stall", "scope.stall")
_PRESSURE = _Figure("host.pressure", "scope.pressure")
_FIGURES = {
    **dict.fromkeys(
        (
            *("memory", "mem", "ram", "available", "memavailable", "mem_available", "free"),
            *("freemem", "free_memory", "memfree", "mem_free", "available_memory", "memory_free"),
            *(
                "used",
                "usage",
                "memory_used",
                "mem_used",
                "current",
                "rss",
                "footprint",
                "total_vm",
            ),
            *("anon", "memory_available", "memory_usage", "mem_usage", "memory_left"),
        ),
        _MEMORY,
    ),
    **dict.fromkeys(
        ("swap", "swapfree", "swap_free", "free_swap", "swap_used", "swap_left", "swap_usage"),
        _SWAP,
    ),
    **dict.fromkeys(("psi", "full", "full_avg10", "stall", "thrashing", "psi_full"), _STALL),
    **dict.fromkeys(("some", "avg10", "avg60", "pressure", "some_avg10", "psi_some"), _PRESSURE),
}


def _figure(word: str) -> _Figure | None:
    """Return what a name may have meant, by all of it or by its last part that says something."""
    word = word.lower()
    parts = [word, *reversed(word.split("."))]
    return next((_FIGURES[part] for part in parts if part in _FIGURES), None)


def name(word: str, in_block: bool) -> str:
    """Return what to write for a name that means nothing in a guard; empty if nothing is known."""
    if word in ("for", "within", "then"):
        return f"the condition comes first, as in `{_LEVEL}`"
    figure = _figure(word)
    if figure is None:
        return ""
    if in_block and not word.startswith("host."):
        return f"of the block's unit it is `{figure.scope}`, of the host `{figure.host}`"
    return f"of the host it is `{figure.host}`"


# A level above which something is used, and the level below which it is left.
_LEFT = {">": "<", ">=": "<="}
_SAYS_LEFT = re.compile("avail|free|left", re.I)
# Percent of the memory: what was said of more of it was not meant as what is left.
_LITTLE = 30


def comparison(word: str, operator: str, value: str, in_block: bool) -> str:
    """Return what to write for a comparison whose name means nothing; empty if nothing is known.

    Args:
        word: the name.
        operator: as it stands behind the name.
        value: the quantity behind it, as it is written.
    """
    figure = _figure(word)
    if figure is None:
        return ""
    asked = figure.scope if in_block and not word.startswith("host.") else figure.host
    number = re.fullmatch(r"(\d{1,3})(\.\d+)?(%?)", value)
    if number is None or not 0 < float(number[1] + (number[2] or "")) <= 100:
        # What is used has no figure of its own: the same sign would say the opposite.
        turned = operator in _LEFT and asked in (_MEMORY.host, _SWAP.host)
        return f"compare what is left, which is `{asked}`, by `{_LEFT[operator]}`" if turned else ""
    if figure in (_STALL, _PRESSURE):
        return f"write `{asked} {operator} {value.rstrip('%')}%`"
    if not number[3] and asked.startswith("scope."):
        return ""
    value = f"{value.rstrip('%')}%"
    if asked.startswith("host.") and operator in _LEFT:
        left = 100 - float(value.rstrip("%"))
        if _SAYS_LEFT.search(word):
            return f"write `{asked} {_LEFT[operator]} {value}`: a guard acts where little is left"
        if 0 < left <= _LITTLE:
            return f"say what is left: `{asked} {_LEFT[operator]} {left:g}%`"
        return f"compare what is left, which is `{asked}`, by `{_LEFT[operator]}`"
    if asked == "scope.swap":
        return ""
    return f"write `{asked} {operator} {value}`"


def of_process(attribute: str, in_block: bool, rule: str) -> str:
    """Return what to do about an attribute of a process in a guard.

    Args:
        rule: the whole condition, if it is one of a rule; else empty.
    """
    figure = _figure(attribute.rpartition(".")[2])
    last = attribute.rpartition(".")[2]
    of_unit = f"scope.{last}" if f"scope.{last}" in program.GUARDED else ""
    of_host = f"host.{last}" if f"host.{last}" in program.GUARDED else ""
    known = [
        *((of_unit or (figure.scope if figure else ""),) if in_block else ()),
        figure.host if figure else of_host,
    ]
    said = [one for one in known if one]
    asked = f"ask for {either(f'`{one}`' for one in said)}" if said else _PLACES
    compared = re.fullmatch(rf"{re.escape(attribute)} ([<>]=?) (\S+)", rule)
    asked = (comparison(last, compared[1], compared[2], in_block) if compared else "") or asked
    kind = ATTRIBUTES[attribute].type
    if not rule and kind is Type.TEXT:
        rule = as_term(attribute, "…")
        return f"{asked}; a rule says whom to take, such as `prefer {rule}`"
    rule = rule or (f"{attribute} > {EXAMPLES[kind]}" if kind in EXAMPLES else "")
    whom = f"; a rule says whom to take, as in `prefer anything when {rule}`" if rule else ""
    return f"{asked}{whom}"


_PLACES = (
    "ask for figures of the host, such as `host.available`, and in a block for those of its unit, "
    "such as `scope.memory`"
)
