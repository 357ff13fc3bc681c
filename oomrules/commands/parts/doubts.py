"""What was in doubt, and why: the words for it in every command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.processes.recorded import Recorded
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import GETTERS, LIMIT, known
from oomrules.program.program import Program
from oomrules.ranking.doubt import NEAREST_LIMIT, PLACE
from oomrules.ranking.evaluator import ineligible
from oomrules.ranking.verdict import Verdict, Why
from oomrules.terminal import count

# Why an attribute may be unknown, by where its value comes from; of a recording and of this host.
_RECORDED = {
    Provider.SYSTEMD: "recorded without this property of the unit",
    Provider.LOGIND: "recorded without logind's sessions",
    Provider.SCOPE: "recorded without this figure of the unit",
}
_LIVE = {
    Provider.SYSTEMD: "the unit's manager did not say it",
    Provider.LOGIND: "logind did not say it",
    Provider.SCOPE: "the unit's control group does not tell it",
}
_GONE = "it could not be read"
_NOT_RECORDED = "it was not recorded, or could not be read then"


def of(verdict: Verdict) -> tuple[str, ...]:
    """Name all that was unknown where a doubt decided about a process, each once."""
    names = dict.fromkeys((*verdict.doubts, *verdict.score_doubts))
    for held in verdict.held:
        names |= dict.fromkeys(held.doubts)
    return tuple(names)


def as_data(verdict: Verdict) -> list[str]:
    """Name it for a program: what decided, and what the process made unknown itself."""
    return list(dict.fromkeys((*of(verdict), *verdict.own_doubts)))


def unknown(names: Sequence[str]) -> str:
    """Say what is unknown: ``uid and exe are unknown``."""
    listed = _listed(names)
    if all(name.startswith("a ") for name in names):
        return f"there is {listed}"
    return f"{listed} {'are' if names[1:] else 'is'} unknown"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]


def said(verdict: Verdict) -> list[str]:
    """Say of a candidate what was in doubt, for WHY; nothing where nothing was."""
    parts, names = [], of(verdict)
    if names:
        parts.append(f"in doubt, because {unknown(names)}")
    if verdict.own_doubts:
        own = " and ".join(verdict.own_doubts)
        verb = "are" if verdict.own_doubts[1:] else "is"
        # It is unknown by the process's doing, or what its user says of the user's own unit.
        parts.append(f"{own} {verb} its own doing, which protects nobody")
    return parts


def excluded(verdict: Verdict) -> str:
    """Say why a process is no candidate, and what was unknown."""
    reason = verdict.reason
    if not verdict.doubts:
        return reason
    if verdict.why is not Why.NEVER_IN_DOUBT:
        reason += ", in doubt"
    return f"{reason}, because {unknown(verdict.doubts)}"


def cause(name: str, process: Process, snapshot: Snapshot) -> str:
    """Say why an attribute of a process is unknown, as far as that is known."""
    recorded = isinstance(snapshot, Recorded)
    if name == PLACE:
        where = _recorded_or_not(recorded)
        return where if known("cgroup", process, snapshot) is None else _SAYS_NOT[recorded]
    if name == NEAREST_LIMIT:
        return _by_provider(Provider.SCOPE, recorded)
    attribute = ATTRIBUTES.get(name)
    if attribute is None:
        return ""
    if attribute.provider in _LIVE and known("cgroup", process, snapshot) is None:
        return "its control group is unknown"
    if name in ("user", "group"):
        number = known("uid" if name == "user" else "gid", process, snapshot)
        if number is not None:
            what = "recorded without names" if recorded else "no name is known"
            return f"{what} of {name}s, for id {number}"
    return _by_provider(attribute.provider, recorded)


def causes(names: Iterable[str], process: Process, snapshot: Snapshot) -> list[str]:
    """Say it of each name: ``uid is unknown: it could not be read``."""
    found = []
    for name in names:
        why = cause(name, process, snapshot)
        found.append(f"{unknown([name])}{f': {why}' if why else ''}")
    return found


_SAYS_NOT = {False: "systemd did not say what it belongs to", True: "recorded without it"}


def _recorded_or_not(recorded: bool) -> str:
    return _NOT_RECORDED if recorded else _GONE


def _by_provider(provider: Provider, recorded: bool) -> str:
    return (_RECORDED if recorded else _LIVE).get(provider, _recorded_or_not(recorded))


def summary(verdicts: Iterable[Verdict]) -> list[str]:
    """Say of all candidates together what was in doubt, for a note; nothing where nothing was."""
    decided, names = 0, Counter[str]()
    for verdict in verdicts:
        found = of(verdict)
        decided += bool(found)
        names.update(found)
    if not decided:
        return []
    parts = ", ".join(f"{name} ({number})" for name, number in names.most_common())
    return [
        f"of {count(decided, 'candidate')} something that rules ask for is unknown, so in doubt "
        f"they are spared or last: {parts}; `oomrules explain PID` says why"
    ]


def of_recording(snapshot: Recorded, program: Program) -> list[str]:
    """Say what a recording lacks of what rules ask for, and what was noted when it was made."""
    lacking: dict[str, Counter[str]] = {}
    asked = [*sorted(program.attributes), *([LIMIT] if program.uses_limit else [])]
    for process in snapshot.by_pid.values():
        if ineligible(process, snapshot.own_pids):
            continue
        unknown = [name for name in asked if GETTERS[name](process, snapshot) is None]
        for name in sorted({_recorded_as(name, process) for name in unknown}):
            lacking.setdefault(_why_lacking(name, snapshot), Counter())[name] += 1
    said = [f"when the host was recorded: {note}" for note in snapshot.notes]
    for why, names in lacking.items():
        numbers = sorted(set(names.values()), reverse=True)
        parts = [
            f"{_listed([name for name in names if names[name] == number])} of "
            f"{count(number, 'process')}"
            for number in numbers
        ]
        said.append(f"{', '.join(parts)}: {why}; in doubt, rules that ask for it protect")
    return said


def _recorded_as(name: str, process: Process) -> str:
    """Name what a recording would have to hold for an attribute to be known."""
    if name == LIMIT:
        return NEAREST_LIMIT
    attribute = ATTRIBUTES[name]
    if attribute.provider in (*_RECORDED, Provider.CGROUP) and process.cgroup is None:
        return "cgroup"
    if attribute.provider in _RECORDED:
        return name
    return attribute.field if getattr(process, attribute.field, None) is None else name


def _why_lacking(name: str, snapshot: Recorded) -> str:
    names = {"user": snapshot.host.users, "group": snapshot.host.groups}
    if name in names and names[name] is None:
        return f"the recording has no names of {name}s"
    attribute = ATTRIBUTES.get(name)
    return _by_provider(attribute.provider if attribute else Provider.SCOPE, True)
