"""What was unknown where it decided, and why: the words for it in every command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.processes.recorded import Recorded
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import GETTERS, LIMIT, known, parent_pid
from oomrules.program.program import Program
from oomrules.ranking.ancestors import above
from oomrules.ranking.doubt import NEAREST_LIMIT, PLACE
from oomrules.ranking.evaluator import ineligible
from oomrules.ranking.local import ANCESTOR, PARENT
from oomrules.ranking.verdict import Verdict, Why
from oomrules.terminal import called, count

# Why an attribute may be unknown, by where its value comes from; of a recording and of this host.
_RECORDED = {
    Provider.SYSTEMD: "recorded without this property of the unit",
    Provider.LOGIND: "recorded without logind's sessions",
    Provider.SCOPE: "recorded without this figure of the unit",
    Provider.BLOCK: "recorded without this figure of the block's unit",
    Provider.RUNTIME: "recorded without what the runtime says of the container",
    Provider.HOST: "recorded without this figure of the host",
}
_LIVE = {
    Provider.SYSTEMD: "the unit's manager did not say it",
    Provider.LOGIND: "logind did not say it",
    Provider.SCOPE: "the unit's control group does not tell it",
    Provider.BLOCK: "the control group of the block's unit does not tell it",
    Provider.RUNTIME: "the container's runtime did not say it",
    Provider.HOST: "this host does not tell it",
}


# What is known only together with the control group of the process.
_OF_UNITS = (Provider.SYSTEMD, Provider.LOGIND, Provider.SCOPE)
_OF_OTHERS = (Provider.PARENT, Provider.BLOCK)


def of(verdict: Verdict) -> tuple[str, ...]:
    """Return the names of all that was unknown where a doubt decided, each once."""
    of_rules = (name for held in verdict.held for name in held.doubts)
    return tuple(dict.fromkeys((*verdict.doubts, *verdict.score_doubts, *of_rules)))


def as_data(verdict: Verdict) -> list[str]:
    """Return the names for a program: what decided, and what the process made unknown itself."""
    return list(dict.fromkeys((*of(verdict), *verdict.own_doubts)))


def unknown(names: Sequence[str]) -> str:
    """Return what is unknown, as words: ``uid and exe are unknown``."""
    listed = _listed(names)
    if all(name.startswith("a ") for name in names):
        return f"there is {listed}"
    return f"{listed} {'are' if names[1:] else 'is'} unknown"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]


def said(verdict: Verdict) -> list[str]:
    """Return what was in doubt about a candidate, as parts of WHY; empty if nothing was."""
    parts, names = [], of(verdict)
    if names:
        parts.append(f"in doubt, because {unknown(names)}")
    if verdict.own_doubts:
        own = " and ".join(verdict.own_doubts)
        verb = "are" if verdict.own_doubts[1:] else "is"
        # The process made it unknown, or its user states it of a unit of the user's own.
        parts.append(f"{own} {verb} its own doing, which protects no process")
    return parts


def excluded(verdict: Verdict) -> str:
    """Return why a process is no candidate, with what was unknown."""
    reason = verdict.reason
    if not verdict.doubts:
        return reason
    if verdict.why is not Why.NEVER_IN_DOUBT:
        reason += ", in doubt"
    return f"{reason}, because {unknown(verdict.doubts)}"


def cause(name: str, process: Process, snapshot: Snapshot) -> str:
    """Return why an attribute of a process is unknown; empty if that is not known either."""
    recorded = isinstance(snapshot, Recorded)
    cgroup = known("cgroup", process, snapshot)
    if name == PLACE:
        if cgroup is None:
            return _by_provider(Provider.CGROUP, recorded)
        return "recorded without it" if recorded else "systemd did not say what it belongs to"
    if name == NEAREST_LIMIT:
        return _by_provider(Provider.SCOPE, recorded)
    if name.endswith((PARENT, ANCESTOR)):
        return _of_relatives(name.rpartition(" of ")[0], process, snapshot)
    attribute = ATTRIBUTES.get(name)
    if attribute is None:
        return ""
    if attribute.provider is Provider.PARENT:
        return _of_relatives(name.removeprefix("parent."), process, snapshot)
    if attribute.over_time and not recorded:
        return "it takes two looks, a second apart; the service and `oomrules top` know it"
    if attribute.provider in _OF_UNITS and cgroup is None:
        return "its control group is unknown"
    if name in ("user", "group"):
        number = known("uid" if name == "user" else "gid", process, snapshot)
        if number is not None:
            what = "recorded without names" if recorded else "no name is known"
            return f"{what} of {name}s, for id {number}"
    return _by_provider(attribute.provider, recorded)


def _of_relatives(name: str, process: Process, snapshot: Snapshot) -> str:
    """Return which ancestor a process lacks, or of which an attribute is unknown."""
    last = process
    for last in above(process, snapshot):
        if name in GETTERS and known(name, last, snapshot) is None:
            return f"of process {last.pid}, {called(last.comm)}"
    parent = parent_pid(last, snapshot)
    if parent is None:
        return _by_provider(Provider.STAT, isinstance(snapshot, Recorded))
    if not parent or parent in snapshot.by_pid:
        return ""
    return f"process {parent} is not among the processes: it has ended, or it is hidden"


def _by_provider(provider: Provider, recorded: bool) -> str:
    if recorded:
        return _RECORDED.get(provider, "it was not recorded, or could not be read then")
    return _LIVE.get(provider, "it could not be read")


def summary(verdicts: Iterable[Verdict]) -> list[str]:
    """Return a note on what was in doubt about all candidates together, or no note."""
    decided, names = 0, Counter[str]()
    for verdict in verdicts:
        found = of(verdict)
        decided += bool(found)
        names.update(found)
    if not decided:
        return []
    parts = ", ".join(f"{name} ({number})" for name, number in names.most_common())
    return [
        f"attributes that rules ask for are unknown for {count(decided, 'candidate')}, which in "
        f"doubt are spared or last: {parts}; `oomrules explain PID` says why"
    ]


def of_recording(snapshot: Recorded, program: Program) -> list[str]:
    """Return notes on what a recording lacks for these rules, and those made when it was made."""
    lacking: dict[str, Counter[str]] = {}
    # What is of an outer unit, or of another process, is no fault of this process's line.
    own = (name for name in program.attributes if ATTRIBUTES[name].provider not in _OF_OTHERS)
    asked = [*sorted(own), *([LIMIT] if program.uses_limit else [])]
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
    """Return the key that a recording would need for an attribute to be known."""
    if name == LIMIT:
        return NEAREST_LIMIT
    attribute = ATTRIBUTES[name]
    if attribute.provider in (*_OF_UNITS, Provider.CGROUP) and process.cgroup is None:
        return "cgroup"
    if attribute.provider in _RECORDED:
        return name
    missing = [field for field in attribute.needs if getattr(process, field) is None]
    if missing:
        return missing[0]
    return attribute.field if getattr(process, attribute.field, None) is None else name


def _why_lacking(name: str, snapshot: Recorded) -> str:
    names = {"user": snapshot.host.users, "group": snapshot.host.groups}
    if name in names and names[name] is None:
        return f"the recording has no names of {name}s"
    attribute = ATTRIBUTES.get(name)
    if attribute is not None and attribute.over_time:
        return "a recording of one moment does not tell it"
    if attribute is None:
        # A raw field of the process has no attribute of its name.
        return _by_provider(Provider.SCOPE if name == NEAREST_LIMIT else Provider.STAT, True)
    return _by_provider(attribute.provider, True)
