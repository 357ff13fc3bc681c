"""Units that are killed as a whole, in words, as rows of a table and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oomrules.commands.parts import doubts
from oomrules.commands.parts.verdicts import Row, within_block
from oomrules.plain import some
from oomrules.processes.snapshot import Process
from oomrules.processes.values import innermost_place, known
from oomrules.program.program import Program
from oomrules.ranking.groups import Group, Together, Unit
from oomrules.ranking.ranker import Ranking
from oomrules.ranking.tiers import FIRST, LAST, NORMAL, TIERS, named, tier_of
from oomrules.terminal import called, count

# What is asked of systemd besides, to say what the end of a unit drags along.
PROPERTIES = ("OOMPolicy",)

# Programs that hold the sessions of others, by the name that the kernel knows.
_MULTIPLEXERS = ("tmux: server", "screen", "SCREEN", "zellij", "dtach", "abduco", "mosh-server")

_OOM_POLICY = {
    "stop": "OOMPolicy=stop: after a kill systemd stops what is left of the unit, "
    "protected processes too",
    "kill": "OOMPolicy=kill: after a kill systemd ends what is left of the unit, "
    "protected processes too",
}


def properties(made: Program) -> tuple[str, ...]:
    """Return what to ask systemd of units besides, if units are killed as a whole."""
    return PROPERTIES if any(scope.wholes for scope in made.scopes) else ()


def rows(ranking: Ranking, opened: bool = False) -> list[Row]:
    """Return a row for each candidate: one for a whole unit, or its members below it as well."""
    found, seen = [], set()
    for rank, process in enumerate(ranking.candidates, 1):
        group = ranking.groups.of(process)
        if group is None:
            found.append(Row.of(process, ranking, rank))
            continue
        path = group.unit.place.path
        if path not in seen:
            seen.add(path)
            found.append(_row(group, ranking, rank))
        if opened:
            member = Row.of(process, ranking, rank)
            found.append(member._replace(command=f"  {member.command}"))
    return found


def _row(group: Group, ranking: Ranking, rank: int) -> Row:
    snapshot, tier = ranking.snapshot, tier_of(group.level)
    users = {known("user", process, snapshot) or "?" for process in group.members}
    pages = sum(process.rss or 0 for process in group.members)
    why = f"whole: {within_block(group.unit.targets, group.unit.whole.target)}"
    if tier != NORMAL:
        why += f", {named(tier, abs(group.level))}"
    return Row(
        rank=rank,
        pid=group.members[0].pid,
        user=users.pop() if len(users) == 1 else "…",
        unit=group.unit.place.unit or "-.slice",
        rss=pages * snapshot.host.page_size,
        points=group.points,
        command=count(len(group.members), "process"),
        why=why,
        style={FIRST: "red", LAST: "green"}.get(tier, ""),
    )


def summary(ranking: Ranking, opened: bool) -> str:
    """Return how many units of a list are one candidate each; empty if there is none."""
    listed = set(ranking.pids)
    groups = [
        group
        for group in ranking.groups.by_path.values()
        if any(process.pid in listed for process in group.members)
    ]
    if not groups:
        return ""
    return f", {count(len(groups), 'unit')} as a whole{'' if opened else ' (--all opens them)'}"


def notes(ranking: Ranking) -> list[str]:
    """Return notes on what stays of whole units, what they drag along, and what is in doubt."""
    if not ranking.groups.by_path and not any(
        ranking.groups.standing(process).doubts for process in ranking.candidates
    ):
        return []
    said, listed = [], set(ranking.pids)
    for found in ranking.together().values():
        if listed.isdisjoint(process.pid for process in found.group.members):
            continue
        name = _unit(found.group.unit)
        if found.protected:
            stay = [_staying(process, why) for process, why in _protected(found)]
            said.append(f"when {name} is killed these stay, since they are protected: {some(stay)}")
        dragged = _dragged(found, ranking)
        if dragged:
            said.append(f"to kill {name} means: {'; '.join(dragged)}")
    doubted: dict[str, int] = {}
    for process in ranking.candidates:
        for whole in ranking.groups.standing(process).doubts:
            text = f"`{whole.text}` at {whole.place}"
            doubted[text] = doubted.get(text, 0) + 1
    said += (
        f"it is unknown whether {text} means a unit around {count(number, 'candidate')}, so it is "
        "not taken to mean that"
        for text, number in doubted.items()
    )
    return said


def explained(
    process: Process, ranking: Ranking, together: Mapping[str, Together] | None = None
) -> list[str]:
    """Return what a process has to do with whole units, a line each; none if it has nothing.

    Args:
        process: it.
        ranking: where it stands.
        together: ``Ranking.together()``, if it is known already.
    """
    standing = ranking.groups.standing(process)
    lines = [
        f"in doubt whether it goes with a unit, which is unknown: {whole.text} ({whole.place})"
        for whole in standing.doubts
    ]
    group = ranking.groups.of(process)
    if group is None:
        return lines
    together = ranking.together() if together is None else together
    found = together[group.unit.place.path]
    name, whole = _unit(group.unit), group.unit.whole
    if any(one is process for one in found.victims):
        lines.append(f"goes with its unit {name}, which is killed as a whole")
    else:
        lines.append(f"stays when its unit {name} is killed as a whole")
    lines.append(f"  {within_block(group.unit.targets, whole.text)}")
    lines.append(f"  at {whole.place}")
    tier = named(tier_of(group.level), abs(group.level) or 1)
    members = count(len(group.members), "process")
    lines.append(f"  {group.points} points together, of {members}, tier {tier}")
    others = [one for one in found.victims if one is not process]
    if others:
        lines.append(f"  dies with it: {some([_process(one) for one in others])}")
    for one, why in _protected(found):
        lines.append(f"  stays: {_staying(one, why)}")
    lines += (f"  drags along: {dragged}" for dragged in _dragged(found, ranking))
    return lines


def drags(path: str, ranking: Ranking) -> list[str]:
    """Return what else ends when a unit is killed as a whole, in sentences.

    Args:
        path: of its control group.
    """
    found = ranking.together().get(path)
    return _dragged(found, ranking) if found else []


def as_data(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the whole units for a program, worst first."""
    listed, data = set(ranking.pids), []
    for found in ranking.together().values():
        group = found.group
        if listed.isdisjoint(process.pid for process in group.members):
            continue
        tier = tier_of(group.level)
        data.append(
            {
                "unit": group.unit.place.unit or "-.slice",
                "cgroup": group.unit.place.path,
                "manager": group.unit.place.manager or None,
                "rule": group.unit.whole.place,
                "tier": TIERS[tier],
                "degree": abs(group.level) or 1,
                "points": group.points,
                "pids": [process.pid for process in group.members],
                "others": [process.pid for process in found.others],
                "protected": [
                    {
                        "pid": process.pid,
                        "comm": process.comm,
                        "reason": verdict.reason,
                        "rule": verdict.rule.place if verdict.rule else None,
                    }
                    for process, verdict in found.protected
                ],
                "at_once": found.at_once,
                "drags": _dragged(found, ranking),
            }
        )
    return data


def _unit(unit: Unit) -> str:
    name = unit.place.unit or "-.slice"
    return f"{name} of user {unit.place.manager}" if unit.place.manager else name


def _process(process: Process) -> str:
    return f"{called(process.comm)} ({process.pid})"


def _protected(found: Together) -> Iterator[tuple[Process, str]]:
    for process, verdict in found.protected:
        rule = f" at {verdict.rule.place}" if verdict.rule else ""
        yield process, f"{doubts.excluded(verdict)}{rule}"


def _staying(process: Process, why: str) -> str:
    return f"{_process(process)}: {why}"


def _dragged(found: Together, ranking: Ranking) -> list[str]:
    """Return what else ends with a unit: sessions, a multiplexer's windows, what systemd does."""
    snapshot, said = ranking.snapshot, []
    sessions: dict[str, None] = {}
    managers: dict[str, None] = {}
    for process in found.victims:
        place = innermost_place(process, snapshot)
        for name in place.chain if place else ():
            if name.startswith("session-") and name.endswith(".scope"):
                sessions[name] = None
            if name.startswith("user@") and name.endswith(".service"):
                managers[name] = None
    if sessions:
        said.append(f"the login session ends: {some(list(sessions))}")
    if managers and found.group.unit.place.manager == "":
        said.append(f"all that these users' managers run ends: {some(list(managers))}")
    held = [one for one in found.victims if (one.comm or "").startswith(_MULTIPLEXERS)]
    if held:
        said.append(f"with all its windows: {some([_process(one) for one in held])}")
    policy = snapshot.fact(found.group.unit.place, "OOMPolicy")
    if found.protected and policy in _OOM_POLICY:
        said.append(_OOM_POLICY[policy])
    elif found.protected and found.group.unit.place.unit.endswith(".service"):
        said.append("when the main process has ended, systemd ends what is left (KillMode=)")
    return said
