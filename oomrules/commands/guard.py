"""Show how far each guard is from acting, whom it would take, and what holds the memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oomrules import resources
from oomrules.commands.parts import (
    armed,
    comparisons,
    guarding,
    recording,
    replaying,
    shared,
    unheld,
    wholes,
)
from oomrules.commands.parts.armed import Guards, Standing
from oomrules.commands.parts.verdicts import why, within_block
from oomrules.errors import Failure
from oomrules.guard.model import HOST, Candidate
from oomrules.language import rulefiles
from oomrules.plain import some
from oomrules.program.nodes import glob
from oomrules.program.program import Guard, Program
from oomrules.service import client
from oomrules.service.listener import STATUS
from oomrules.terminal import (
    Column,
    Paint,
    called,
    count,
    duration,
    memory,
    print_json,
    say,
    table,
)

SCHEMA = "oomrules.guard/1"

_PATIENCE = 2.0
# Where `make install` puts presets.
_INSTALLED = "/usr/lib/oomrules.d/presets"
# Places of one guard that are shown at once, those at which it holds first.
_MOST_PLACES = 16
_COLUMNS = (
    Column("", least=16, enough=24, turn=2),
    Column("", least=12, enough=20, turn=1),
    Column("", least=12, turn=3),
)

EXITS = {
    0: "no guard would kill or terminate now, or in the recording",
    1: "one would",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``guard``."""
    what = parser.add_mutually_exclusive_group()
    shared.add_flag(what, "--now", "how each guard stands now; the default")
    shared.add_value(
        what,
        "--replay",
        "FILE",
        "what the guards would have done over a recording; - is standard input",
    )
    shared.add_value(what, "--snapshot", "FILE", "a recorded host in place of this one")
    shared.add_rules(parser)
    shared.add_value(
        parser,
        "--in",
        "UNIT",
        "only the guards at units that match a glob; - is the host",
        dest="within",
    )
    shared.add_source(parser)
    parser.add_argument(
        "--wait",
        type=shared.duration("--wait", 0.1, 60),
        default=1.0,
        metavar="DURATION",
        help="how long stalls and pressure are measured (1s)",
    )
    shared.add_format(parser, "text", "json")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="as --format json"
    )


def run(options: argparse.Namespace) -> int:
    """Print how the guards stand; 1 if one of them would kill or terminate now."""
    made = shared.program(options)
    if options.replay:
        return _replay(made, options)
    if options.snapshot:
        seen = armed.of_snapshot(made, recording.load(options.snapshot))
    else:
        seen = armed.Live(made, options.source).look(options.wait)
    uses, service = (unheld.read(), _service()) if seen.live else (None, None)
    standings = armed.standings(made, seen)
    found = Guards(
        seen=seen,
        standings=tuple(one for one in standings if _is_within(one, options.within)),
        nowhere=() if options.within else armed.nowhere(made, seen.ready),
        targets=[around for around, _ in made.guards],
    )
    if options.within and not found.standings:
        raise Failure(
            f"no guard is at a unit that `{options.within}` matches",
            "`oomrules guard` shows the guards at all places",
        )
    if options.format == "json":
        print_json(_as_data(found, uses, service))
    else:
        _print(found, uses, service, _MOST_PLACES if options.within is None else sys.maxsize)
    shared.print_notes(seen.notes)
    return 1 if found.acts else 0


def _replay(made: Program, options: argparse.Namespace) -> int:
    """Print what the guards would have done over a recording; 1 if they had signalled anybody."""
    found = replaying.replay(made, options.replay)
    if options.format == "json":
        print_json(replaying.as_data(found, made))
    else:
        replaying.show(found, made)
    return 1 if found.acts else 0


def _is_within(one: Standing, unit: str | None) -> bool:
    if unit is None:
        return True
    return one.armed.unit == HOST if unit == "-" else glob(one.armed.name, unit)


def _service() -> dict[str, Any] | None:
    """Return what the service says of its guard; None if no service answers, or not to us."""
    try:
        document = client.ask(STATUS, _PATIENCE)
    except PermissionError:
        return None
    if document is None:
        return None
    return guarding.of(document) or {"state": "off"}


# --- for people ---------------------------------------------------------------------------------


def _print(
    found: Guards, uses: unheld.Uses | None, service: dict[str, Any] | None, most: int
) -> None:
    """Print how the guards stand, each at so many places at the most."""
    paint = Paint(sys.stdout)
    if found.seen.live:
        print(f"{paint('service', 'bold')}  {_state(service, paint)}\n")
    if not found.targets:
        print("no rule file has a guard, so nothing is done before memory has run out")
        preset = resources.rules() / rulefiles.PRESETS / "guard-server.oom"
        if Path(_INSTALLED, preset.name).exists():
            preset = Path(_INSTALLED, preset.name)
        say(f"  `ln -s {preset} /etc/oomrules.d/60-guard.oom` is a beginning (docs/guard.md)")
        print()
    by_guard: dict[int, list[Standing]] = {}
    # The victims that were explained already: most guards would take the same one.
    told: set[int] = set()
    for one in found.standings:
        by_guard.setdefault(one.armed.number, []).append(one)
    for places in by_guard.values():
        guard = places[0].armed.guard
        _print_head(guard, paint, found.targets[places[0].armed.number])
        shown = sorted(places, key=lambda one: (one.holds is not True, one.holds is not None))
        for one in shown[:most]:
            _print_standing(one, paint)
            for line in _taken(one, found, told):
                say(f"    {line}")
        if shown[most:]:
            more = count(len(places) - most, "unit")
            print(f"  {more} more; `oomrules guard --in UNIT` shows those that match a glob")
        print()
    for targets, guard in found.nowhere:
        _print_head(guard, paint, targets)
        print(f"  {paint('can never act here: no unit is what its block is about', 'yellow')}\n")
    for line in unheld.lines(uses, paint):
        print(line)


def _state(service: dict[str, Any] | None, paint: Paint) -> str:
    if service is None:
        return paint("does not run, or does not answer: nothing will be done", "yellow")
    style = "green" if service.get("state") == "on" else "yellow"
    return paint(f"the guard is {guarding.state(service)}", style)


def _print_head(guard: Guard, paint: Paint, targets: tuple[str, ...]) -> None:
    print(paint(within_block(targets, guard.text), "bold"))
    say(f"  {guard.place}")


def _print_standing(one: Standing, paint: Paint) -> None:
    guard = one.armed.guard
    where = _where(one)
    if one.holds:
        state, style = "HOLDS", "red"
    elif one.holds is None:
        state, style = "unknown, which is not true", "yellow"
    else:
        state, style = "does not hold", "green"
    lasting = f"; acts when it has for {duration(guard.lasting)}" if guard.lasting else ""
    print(f"  {paint(where, 'bold')}: {paint(state + lasting, style)}")
    rows = [
        [f"    {each.text}", comparisons.reading(each), comparisons.missing(each)]
        for each in one.comparisons
    ]
    if rows:
        text = table(_COLUMNS, rows, paint)
        # The columns need no headings.
        print(text.partition("\n")[2])
    if one.never:
        print(f"    {paint(f'can never act here: {one.never}', 'yellow')}")


def _where(one: Standing) -> str:
    if one.armed.unit == HOST:
        return "host"
    return f"{one.armed.name} of user {one.armed.manager}" if one.armed.manager else one.armed.name


def _taken(one: Standing, found: Guards, told: set[int]) -> Iterator[str]:
    """Yield lines that say whom a guard would take now, and what happens then."""
    victim, guard = one.victim, one.armed.guard
    if victim is None or one.never:
        return
    asks = guard.kind == "terminate" or victim.polite
    verb = "ask to end" if asks else "kill"
    later = f", kill {duration(guard.within)} later" if asks else ""
    unit = f", {victim.unit}" if victim.unit else ""
    yield (
        f"would {verb} {called(victim.comm)} ({victim.pid}){unit}, rank {victim.rank} of "
        f"{found.seen.ready.length}{later}: gives back {memory(victim.expected)}"
    )
    if guard.stop:
        yield "  stops its unit if that loses processes again and again"
    if victim.pid in told:
        return
    told.add(victim.pid)
    reasons = _reasons(victim, found)
    if reasons:
        yield f"  because: {reasons}"
    if victim.polite and guard.kind == "kill":
        who = "a process of its unit" if victim.whole else "it"
        yield f"  SIGTERM comes first, since {who} has CAP_SYS_RAWIO, or may have it"
    if victim.whole:
        yield f"  with its unit {victim.whole.path}: {_along(victim, found)}"
        for dragged in wholes.drags(victim.whole.path, found.seen.ranking):
            yield f"  that means: {dragged}"


def _reasons(victim: Candidate, found: Guards) -> str:
    process = found.seen.ranking.snapshot.by_pid.get(victim.pid)
    return why(found.seen.ranking.verdict(process)) if process is not None else ""


def _along(victim: Candidate, found: Guards) -> str:
    """Return who goes along with a victim."""
    others = victim.whole.others if victim.whole else ()
    if not others:
        return "nobody else"
    by_pid = found.seen.ranking.snapshot.by_pid
    names = [f"{called(by_pid[pid].comm) if pid in by_pid else '?'} ({pid})" for pid, _ in others]
    return f"{count(len(others), 'more process')}: {some(names)}"


# --- for programs -------------------------------------------------------------------------------


def _as_data(
    found: Guards, uses: unheld.Uses | None, service: dict[str, Any] | None
) -> dict[str, Any]:
    guards = [_standing(one, found) for one in found.standings]
    for targets, guard in found.nowhere:
        guards.append(
            {
                **_guard(guard, targets),
                "unit": None,
                "cgroup": None,
                "manager": None,
                "holds": None,
                "comparisons": [],
                "victim": None,
                "never": "no unit is what its block is about",
            }
        )
    return {
        "schema": SCHEMA,
        "service": service and {"state": service.get("state"), "why": service.get("why") or None},
        "guards": guards,
        "memory": unheld.as_data(uses),
    }


def _guard(guard: Guard, targets: tuple[str, ...]) -> dict[str, Any]:
    return {
        "rule": within_block(targets, guard.text),
        "place": guard.place,
        "action": guard.kind,
        "for": guard.lasting / 1000,
        "within": guard.within / 1000,
        "stop": guard.stop,
    }


def _standing(one: Standing, found: Guards) -> dict[str, Any]:
    place = one.armed
    return {
        **_guard(place.guard, found.targets[place.number]),
        "unit": place.name,
        "cgroup": place.unit,
        "manager": place.manager,
        "holds": one.holds,
        "comparisons": [_comparison(each) for each in one.comparisons],
        "victim": one.victim and _victim(one.victim, found),
        "never": one.never,
    }


def _comparison(one: comparisons.Comparison) -> dict[str, Any]:
    least, most = one.value or (None, None)
    limit = one.limit[0] if one.limit and one.limit[0] == one.limit[1] else None
    return {
        "text": one.text,
        "attribute": one.attribute or None,
        "value": comparisons.plain(least, one.type) if least == most else None,
        "least": comparisons.plain(least, one.type),
        "most": comparisons.plain(most, one.type),
        "limit": comparisons.plain(limit, one.type),
        "distance": comparisons.plain(one.distance, one.type),
        "whole": one.whole,
        "holds": one.holds,
        "unknown": one.unknown,
    }


def _victim(victim: Candidate, found: Guards) -> dict[str, Any]:
    process = found.seen.ranking.snapshot.by_pid.get(victim.pid)
    verdict = found.seen.ranking.verdict(process) if process is not None else None
    rules = [held.rule.place for held in verdict.held] if verdict else []
    return {
        "rank": victim.rank,
        "pid": victim.pid,
        "comm": victim.comm,
        "uid": victim.uid,
        "unit": victim.unit,
        "cgroup": victim.cgroup,
        "manager": victim.manager,
        "points": victim.points,
        "rules": rules,
        "wins": victim.expected,
        "swap": victim.swap,
        "polite": victim.polite,
        "others": [pid for pid, _ in victim.whole.others] if victim.whole else [],
        "drags": wholes.drags(victim.whole.path, found.seen.ranking) if victim.whole else [],
    }
