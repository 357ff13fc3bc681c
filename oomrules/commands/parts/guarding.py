"""What the service says of its guard, for people (the key ``guard`` of ``oomrules.status/1``).

A service of another version may say more or less: what is missing is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.commands.parts import comparisons
from oomrules.terminal import Paint, called, count, duration, memory

STATES = {
    "on": "on",
    "dry-run": "on, without signals (dry run)",
    "off": "off: nothing is done before memory has run out",
}
# Guards that are shown; `oomrules guard` shows all of them.
_SHOWN = 8
# What was done, by the keys of ``counts``.
_COUNTED = (
    ("killed", "killed"),
    ("asked", "asked to end"),
    ("dry", "not signalled (dry run)"),
    ("warned", "warnings"),
    ("nobody", "times nobody to take"),
    ("again", "restart loops"),
    ("stopped", "units stopped"),
    ("failed", "failures"),
)
_ATTRIBUTE = re.compile(r"\b(?:host|scope)\.[a-z_]+")


def of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a status says of the guard; empty if it says nothing."""
    said = document.get("guard")
    return said if isinstance(said, dict) else {}


def state(said: Mapping[str, Any]) -> str:
    """Return whether the guard is on, in words, and why if it is not."""
    text = STATES.get(str(said.get("state")), STATES["off"])
    if said.get("why"):
        text += f"; {said['why']}"
    again = said.get("again")
    if isinstance(again, int | float):
        text += f"; tried again in {duration(int(again * 1000))}"
    return text


def lines(document: Mapping[str, Any], paint: Paint) -> Iterator[tuple[str, str]]:
    """Yield lines of ``oomrules status``, each with what stands before it."""
    said = of(document)
    if not said:
        return
    style = "green" if said.get("state") == "on" else "yellow"
    # That no rule asks for a guard is nothing to mend.
    style = style if said.get("armed") or said.get("state") != "off" else ""
    text = paint(state(said), *([style] if style else []))
    yield "guard", text + paint(_going(said))
    if said.get("unknown"):
        yield "", paint(f"  {said['unknown']}", "yellow")
    shown = [one for one in said.get("guards") or () if isinstance(one, dict)]
    for one in shown[:_SHOWN]:
        yield from _guard(one, paint)
    more = (said.get("armed") or 0) - min(len(shown), _SHOWN)
    if shown and more > 0:
        yield "", f"  {count(more, 'guard')} more: `oomrules guard`"
    flight = said.get("flight")
    if isinstance(flight, dict):
        how = "killed" if flight.get("killed") else "asked to end"
        whom = f"{called(flight.get('comm'))} ({flight.get('pid')})"
        yield "", paint(f"  {whom} was {how}; its memory is not back yet", "red")
    last = _last(document)
    if last:
        yield "", paint(f"  {last}")
    counts = said.get("counts")
    done = [f"{counts[key]} {word}" for key, word in _COUNTED if counts.get(key)] if counts else []
    if done:
        yield "", paint(f"  so far: {', '.join(done)}")


def _going(said: Mapping[str, Any]) -> str:
    """Return how the guard goes round."""
    if said.get("state") == "off" or not said.get("armed"):
        return ""
    parts = [f"{count(said['armed'], 'guard')} armed"]
    parts.append("looks often now" if said.get("hot") else "at rest")
    reaction = said.get("reaction")
    if isinstance(reaction, dict) and reaction.get("median") is not None:
        parts.append(f"signals after {1000 * reaction['median']:.1f} ms (median)")
    late = said.get("late")
    if isinstance(late, dict) and late.get("times"):
        parts.append(f"was late {late['times']} times, by up to {late.get('most')} s")
    return "; " + ", ".join(parts)


def _guard(one: Mapping[str, Any], paint: Paint) -> Iterator[tuple[str, str]]:
    where = one.get("unit") or "host"
    if one.get("manager"):
        where += f" of user {one['manager']}"
    holds = one.get("holds")
    if one.get("never"):
        text, style = f"can never act here: {one['never']}", "yellow"
    elif holds:
        since = one.get("since")
        text = "HOLDS" if since is None else f"HOLDS for {duration(round(1000 * since))}"
        if one.get("for"):
            text += f" of {duration(round(1000 * one['for']))}"
        style = "red"
    elif holds is None:
        text, style = "unknown, which is not true", "yellow"
    else:
        text, style = "does not hold", "green"
    yield "", paint(f"  {one.get('text')} ({one.get('place')})", "bold")
    head = paint(f"    {where}: ") + paint(text, style)
    parts = [*_distances(one)]
    yield "", head + paint(f"; {', '.join(parts)}" if parts else "")
    victim = one.get("would_take")
    if isinstance(victim, dict):
        unit = f", {victim['unit']}" if victim.get("unit") else ""
        others = victim.get("others")
        along = f", with {count(others, 'process')} more" if others else ""
        taken = (
            f"    would take {called(victim.get('comm'))} ({victim.get('pid')}){unit}, "
            f"rank {victim.get('rank')}{along}: gives back {memory(victim.get('expected'))}"
        )
        yield "", paint(taken)


def _distances(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is missing of each comparison that does not hold."""
    for part in one.get("comparisons") or ():
        if not isinstance(part, dict) or part.get("holds"):
            continue
        text, value, most, limit = (part.get(key) for key in ("text", "value", "most", "limit"))
        if value is None or most is None or limit is None or part.get("holds") is None:
            yield f"{text}: unknown"
            continue
        found = _ATTRIBUTE.search(str(text))
        attribute = ATTRIBUTES.get(found.group()) if found else None
        kind = attribute.type if attribute else Type.COUNT
        # Right after a rest a share is known between bounds only.
        far = comparisons.amount(min(abs(value - limit), abs(most - limit)), kind)
        yield f"{text}: {far} to go" if value == most else f"{text}: at least {far} to go"


def _last(document: Mapping[str, Any]) -> str:
    """Return a sentence on what the guard did last; empty if it did nothing."""
    last = of(document).get("last")
    if not isinstance(last, dict):
        return ""
    verb = "asked to end" if last.get("act") == "asked" else "killed"
    ago = "" if last.get("ago") is None else f" {duration(round(1000 * last['ago']))} ago"
    unit = f" in {last['unit']}" if last.get("unit") else ""
    text = f"last {verb}{ago}: {called(last.get('comm'))} ({last.get('pid')}){unit}"
    if last.get("rank"):
        text += f", rank {last['rank']} of {last.get('listed')}"
    if last.get("lasted") is not None:
        text += f", gone after {last['lasted']:.1f} s"
    if last.get("won") is not None:
        won = last["won"]
        text += f", {memory(won)} came back" if won > 0 else ", no memory came back"
    return f"{text} ({last.get('guard')})"
