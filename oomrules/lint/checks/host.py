"""Mistakes of rules on one host: ``check --host``.

Files that ship with a package are written for every host, so this host need not have what
they name.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.language import syntax
from oomrules.language.checker import Stated
from oomrules.language.diagnostics import Diagnostic, did_you_mean
from oomrules.language.rulefiles import DIRECTORIES
from oomrules.language.text import RuleText, Span
from oomrules.lint.host_facts import HostFacts
from oomrules.lint.ruleset import Check, RuleSet, nodes, shipped
from oomrules.processes.snapshot import Process
from oomrules.processes.units import Placement
from oomrules.processes.values import GETTERS, container_of, innermost_place, known
from oomrules.program import nodes as nodes_of
from oomrules.program.nodes import glob, is_glob
from oomrules.program.program import Program, Rule
from oomrules.ranking.tiers import LAST
from oomrules.ranking.verdict import Verdict, Why

_SERVICE = "oomrules.service"

# --- targets, users and groups ------------------------------------------------------------


def _known(name: str, units: frozenset[str]) -> bool:
    stem, at, rest = name.partition("@")
    template = f"{stem}@.{rest.rpartition('.')[2]}" if at else name
    return name in units or template in units


def _unit_names(rules: RuleSet) -> Iterator[tuple[RuleText, syntax.Text, bool]]:
    """Yield the names of units in the rules, each with whether it is a user's unit."""
    for source, _, target, _ in rules.targets:
        yield source, target.unit, target.relation is syntax.Relation.OF_USER
    for pattern in rules.patterns:
        asked = pattern.attribute in ("unit", "user.unit") and pattern.how == "glob"
        if asked and not pattern.related:
            yield pattern.source, pattern.text, pattern.attribute == "user.unit"


def _no_unit(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    if host.units is None:
        return
    for source, text, of_user in _unit_names(rules):
        units = host.user_units if of_user else host.units
        name = text.value
        if shipped(source):
            continue
        aliases = _aliases(name, host, of_user)
        if aliases:
            alias, real = aliases[0]
            why = (
                f"`{alias}` is an alias of `{real}`, and units of users go by one name alone"
                if of_user
                else f"`{name}` matches no unit of this host but `{alias}`, an alias of `{real}`, "
                "and a glob means no alias"
            )
            yield NO_UNIT.at(source, text.span, why, f'write `"{real}"`')
            continue
        escaped = _escaped(name, units)
        if escaped:
            yield NO_UNIT.at(
                source,
                text.span,
                f"no unit of this host is called `{name}`, but systemd writes one as `{escaped}`",
                f'write `"{escaped}"`',
            )
            continue
        # Scopes come and go, and a glob may be about units of later.
        if is_glob(name) or name.endswith(".scope") or "." not in name or _known(name, units):
            continue
        listed = "`oomrules scopes` and `systemctl list-units` name them"
        help_ = did_you_mean(name, units, listed)
        if not of_user and _known(name, host.user_units):
            help_ = f'a user has one of this name: write `in user unit "{name}"` or `user.unit`'
        owner = "no user's manager of this host has a" if of_user else "this host has no"
        yield NO_UNIT.at(source, text.span, f"{owner} unit `{name}`", help_)


_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def _escaped(name: str, units: frozenset[str]) -> str:
    """Return the unit, or for a glob one of those, that a name means without systemd's escapes."""
    if any(glob(unit, name) for unit in units):
        return ""
    for unit in sorted(unit for unit in units if "\\x" in unit):
        if glob(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), unit), name):
            return unit
    return ""


def _aliases(name: str, host: HostFacts, of_user: bool) -> list[tuple[str, str]]:
    """Return the aliases, with their units, that a name matches in vain, if it matches no unit."""
    if not of_user and not is_glob(name):
        return []
    aliases = host.user_aliases if of_user else host.aliases
    units = (host.user_units if of_user else host.units or frozenset()) - aliases.keys()
    if any(glob(unit, name) for unit in units):
        return []
    return sorted(one for one in aliases.items() if glob(one[0], name))


def _no_account(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    exists = {"user": host.user, "group": host.group}
    for pattern in rules.patterns:
        there = exists.get(pattern.attribute)
        name = pattern.text.value
        if there is None or pattern.how == "search" or pattern.related or shipped(pattern.source):
            continue
        # An account without a name is written as its number.
        if name.isdigit() or (pattern.how == "glob" and is_glob(name)):
            continue
        if not there(name):
            yield NO_ACCOUNT.at(
                pattern.source,
                pattern.text.span,
                f"this host has no {pattern.attribute} `{name}`",
                f"see `getent {'passwd' if pattern.attribute == 'user' else 'group'}`",
            )


# --- the files -------------------------------------------------------------------------------


def _writable(rules: RuleSet) -> Iterator[Diagnostic]:
    """Find rule files, or directories above them, that others than root may write."""
    said = set()
    in_force = [str(directory) for directory in rules.directories]
    for source in rules.sources:
        path = Path(source.name)
        if str(path.parent) not in in_force or not str(path.parent).endswith(DIRECTORIES):
            continue  # a draft
        try:
            real = rules.tree.real(path)
        except OSError:
            continue  # removed meanwhile
        real = real if rules.tree.whole else Path.cwd() / real
        for above in (real, *real.parents):
            if above in said:
                continue
            said.add(above)
            why = _who_may_write(above)
            if why:
                yield WRITABLE.about(
                    str(above),
                    f"{above} is writable by {why}, who could change which processes the kernel "
                    "kills",
                    f"`chown root:root {above}; chmod go-w {above}`",
                )


def _who_may_write(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_uid != 0:
        return f"user {status.st_uid}"
    if status.st_mode & stat.S_IWOTH and not sticky:
        return "every user"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"group {status.st_gid}"
    return ""


# --- attributes that cannot be read --------------------------------------------------------

# Attributes with a reason of their own, which differs from that of their provider.
_WHY_OF = {
    "host.pressure": "it is read from /proc/pressure/memory, and only where the kernel measures "
    "it: if `cat /proc/pressure/memory` fails, boot with `psi=1`",
    "unit.pressure": "it is read from the unit's control group in cgroup v2, and only where the "
    "kernel measures it: if `cat /proc/pressure/memory` fails, boot with `psi=1`",
}
_WHY = {
    Provider.HOST: "it is read from /proc/meminfo and /proc/pressure/memory, which a container may "
    "have other ones of",
    Provider.SYSTEMD: "it is asked of systemd over D-Bus",
    Provider.LOGIND: "it is asked of logind over D-Bus",
    Provider.SCOPE: "it is read from the unit's control group, where the memory controller has to "
    "be on: the last figure of `grep memory /proc/cgroups` is 1 if it is",
    Provider.EXE: "it takes root and CAP_SYS_PTRACE to read it",
    Provider.RUNTIME: "it is asked of the container's runtime; the notes of `oomrules rank` say "
    "which one did not answer",
}


def _unreadable(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    processes = host.processes()
    if not processes:
        return
    first: dict[str, tuple[RuleText, Span]] = {}
    for stated in rules.checked.sound:
        # What it means for a guard is OOM711.
        if not shipped(stated.source) and not isinstance(stated.statement, syntax.Guard):
            for asked in _attributes(stated.statement):
                first.setdefault(asked.name, (stated.source, asked.span))
    for name, (source, span) in first.items():
        if name not in ATTRIBUTES or ATTRIBUTES[name].provider is Provider.BLOCK:
            continue
        # One look at a host does not tell it in any case.
        if ATTRIBUTES[name].over_time:
            continue
        get, provider = GETTERS[name], ATTRIBUTES[name].provider
        where, asked_of = "of this host", processes
        if provider is Provider.RUNTIME:
            # Outside of containers it is known, and empty.
            where, asked_of = "in a container", _in_containers(host, name)
        if asked_of and all(get(process, host.snapshot) is None for process in asked_of):
            message = f"`{name}` is unknown for every process {where}"
            read = _WHY.get(provider, f"it is read from /proc/PID/{provider.value}")
            yield UNREADABLE.at(source, span, message, _WHY_OF.get(name, read))


def _in_containers(host: HostFacts, name: str) -> list[Process]:
    """Return the processes that are in a container, or in a pod where it is asked of pods."""
    found = []
    for process in host.processes():
        place = container_of(process, host.snapshot)
        if place is not None and (place.pod if name.startswith("pod.") else place.id):
            found.append(process)
    return found


def _attributes(statement: syntax.Statement) -> Iterator[syntax.Name]:
    for node in nodes(statement):
        match node:
            case syntax.Name():
                yield node
            case syntax.Equals() | syntax.Matches() | syntax.Member():
                yield node.name


# --- contradictions with systemd ----------------------------------------------------------

_LIKELY = 0  # above it, OOMScoreAdjust= makes a unit more likely to be killed
_UNLIKELY = -500  # at most this, it all but excludes the unit


def _contradictions(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    by_place = {stated.place: stated for stated in rules.checked.rules}
    said: set[tuple[str, str]] = set()
    candidates = {process.pid for process in host.ranking.candidates}
    for process in sorted(host.processes(), key=lambda process: process.pid):
        place = innermost_place(process, host.snapshot)
        if place is None or not place.unit:
            continue
        verdict = host.verdict(process)
        tiers = ("first", "last")
        held = [one.rule for one in verdict.held if one.surely and one.rule.kind in tiers]
        if verdict.rule is not None and verdict.rule.kind == "never":
            held.append(verdict.rule)
        for rule in held:
            stated = by_place.get(rule.place)
            if stated is None or shipped(stated.source) or not _is_about_some(stated):
                continue
            for setting, what in _against(host, place, rule.kind, process.pid in candidates):
                if (rule.place, what) not in said:
                    said.add((rule.place, what))
                    yield CONTRADICTION.at(
                        stated.source,
                        stated.statement.span,
                        f"{place.unit} has {setting}, which {what}",
                        "change the unit (`systemctl edit`) or the rule",
                        witness={"pid": process.pid, "comm": process.comm, "unit": place.unit},
                    )


def _is_about_some(stated: Stated[syntax.Rule]) -> bool:
    """Return whether a rule is about certain processes; one about all contradicts no setting."""
    return bool(stated.statement.selector.terms or stated.targets)


def _against(
    host: HostFacts, place: Placement, kind: str, candidate: bool
) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit that contradict a rule, and how they do."""

    def setting(name: str) -> Any:
        return host.snapshot.fact(place, name)

    adjust = setting("OOMScoreAdjust")
    protects = kind in ("never", "last")
    if isinstance(adjust, int):
        adjusted = f"OOMScoreAdjust={adjust}"
        if protects and adjust > _LIKELY:
            yield adjusted, "makes it more likely to be killed; this rule makes it less likely"
        if not protects and adjust <= _UNLIKELY and candidate:
            yield adjusted, "makes it less likely to be killed; this rule makes it more likely"
    together = kind == "never" and setting("OOMPolicy") == "kill"
    if together and any(
        innermost_place(other, host.snapshot) == place for other in host.ranking.candidates
    ):
        yield "OOMPolicy=kill", "kills all of its processes with the first, this one too"
    if kind == "never" and setting("ManagedOOMMemoryPressure") == "kill":
        yield "ManagedOOMMemoryPressure=kill", "lets systemd-oomd kill all of it"
    preference = setting("ManagedOOMPreference")
    if kind == "first" and preference in ("avoid", "omit"):
        yield (
            f"ManagedOOMPreference={preference}",
            "keeps systemd-oomd away from it, but the rule puts it before others",
        )


# --- rules that others make void on this host ------------------------------------------------

_EXCLUDED = (Why.NEVER, Why.NEVER_IN_DOUBT, Why.OUTSIDE)


def _beaten(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    wanted = {
        stated.place: stated
        for stated in rules.checked.rules
        if stated.statement.kind in (syntax.Kind.FIRST, syntax.Kind.PREFER)
        and not shipped(stated.source)
    }
    about: dict[str, list[tuple[Process, Verdict]]] = {}
    for process in host.processes() if wanted else ():
        verdict = host.verdict(process)
        for one in verdict.held if verdict.eligible else ():
            if one.surely and one.rule.place in wanted:
                about.setdefault(one.rule.place, []).append((process, verdict))
    for place, meant in about.items():
        stated = wanted[place]
        by = [_beater(stated.statement.kind, verdict) for _, verdict in meant]
        if not all(by) or by[0] is None:
            continue
        process, verdict = meant[0]
        which = "process" if len(meant) == 1 else f"{len(meant)} processes"
        fate = "never killed" if verdict.why in _EXCLUDED else "killed last"
        comms = ", ".join(sorted({process.comm or "" for process, _ in meant})[:3])
        yield BEATEN.at(
            stated.source,
            stated.statement.span,
            f"this has no effect on this host: the {which} that it is about ({comms}) "
            f"{'is' if len(meant) == 1 else 'are'} {fate}, by `{by[0].text}` at {by[0].place}",
            "narrow the other rule, or remove this one; a file in /etc/oomrules.d replaces one of "
            "the same name that comes with a package",
            witness={"pid": process.pid, "comm": process.comm},
        )


def _beater(kind: syntax.Kind, verdict: Verdict) -> Rule | None:
    """Return the rule that beats a `kill first` or `prefer` for a process; None without one."""
    if verdict.why in _EXCLUDED:
        return verdict.rule
    if kind is syntax.Kind.PREFER or verdict.tier != LAST:
        return None
    return next(one.rule for one in verdict.held if one.rule.kind == "last")


# --- what the host itself says of its processes --------------------------------------------

# So many candidates are looked at, and not more than this part of all.
_FIRST, _PART = 10, 4
_MOST_NAMED = 3


def _wishes(rules: RuleSet) -> Iterator[Diagnostic]:
    """Find processes that are to be killed late by their oom_score_adj, and come early."""
    host = rules.known_host
    candidates = host.ranking.candidates
    first = candidates[: max(1, min(_FIRST, len(candidates) // _PART))]
    against = [
        (process, adjust, host.verdict(process))
        for process in first
        if (adjust := _wished(process, host)) < 0
    ]
    by_place = {stated.place: stated for stated in rules.checked.rules}
    ignored = [
        one
        for one in against
        if not _counts_wish(one[2], host.ranking.evaluator.program)
        and not _is_meant(one[2], by_place)
    ]
    if not ignored:
        return
    said = [_with_unit(process, adjust, host) for process, adjust, _ in ignored]
    more = f" and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    which = "the first candidate" if len(first) == 1 else f"{len(said)} of the first {len(first)}"
    yield WISHES.about(
        "the rules together",
        f"{which} to be killed on this host {'has' if len(said) == 1 else 'have'} a negative "
        f"oom_score_adj, which no rule counts: {', '.join(said[:_MOST_NAMED])}{more}",
        "write `kill last anything when oom_score_adj < 0`, or `spare anything when oom_score_adj "
        "< 0 by 8`; presets/kernel.oom counts every oom_score_adj as the kernel does",
        witness={
            "processes": [
                {"pid": process.pid, "comm": process.comm, "oom_score_adj": adjust}
                for process, adjust, _ in ignored
            ]
        },
    )


def _wished(process: Process, host: HostFacts) -> int:
    """Return the oom_score_adj of a process, or else what its unit says; 0 if unknown."""
    adjust = known("oom_score_adj", process, host.snapshot)
    if adjust is None:
        place = innermost_place(process, host.snapshot)
        adjust = host.snapshot.fact(place, "OOMScoreAdjust") if place is not None else None
    return adjust if isinstance(adjust, int) else 0


_WISHES = {"oom_score_adj", "unit.oom_score_adjust"}


def _counts_wish(verdict: Verdict, program: Program) -> bool:
    """Return whether a rule protects a process, or whether its oom_score_adj counts."""
    if verdict.tier == LAST:
        return True
    counted = [one.rule.when for one in verdict.held if one.rule.kind == "spare"]
    counted += [verdict.score.value] if verdict.score else []
    counted += nodes_of.needed(counted, program.definitions).values()
    return any(not nodes_of.attributes(node).isdisjoint(_WISHES) for node in counted)


def _is_meant(verdict: Verdict, by_place: Mapping[str, Stated[syntax.Rule]]) -> bool:
    """Return whether a `kill first` of certain processes holds; OOM705 compares that with units."""
    first = (by_place.get(one.rule.place) for one in verdict.held if one.rule.kind == "first")
    return any(stated is not None and _is_about_some(stated) for stated in first)


def _with_unit(process: Process, adjust: int, host: HostFacts) -> str:
    place = innermost_place(process, host.snapshot)
    unit = f", {place.unit}" if place is not None and place.unit else ""
    return f"{process.comm} (pid {process.pid}{unit}) {adjust}"


# --- the result as a whole -------------------------------------------------------------------


def _freeable(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    total = _resident(host.processes())
    free = _resident(host.ranking.candidates)
    if total and free * 100 < total * host.least_freeable:
        yield LITTLE.about(
            "the rules together",
            f"only {free * 100 // total}% of the memory that processes hold on this host could "
            f"be freed; everything else is excluded",
            "`oomrules rank --all` shows what excludes the others; "
            "use `kill last` or `spare` in place of some `never kill`",
            witness={
                "freeable": free * host.snapshot.host.page_size,
                "held": total * host.snapshot.host.page_size,
            },
        )


def _resident(processes: Iterable[Process]) -> int:
    return sum(process.rss or 0 for process in processes)


def _own_service(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    if host.units is None or _SERVICE not in host.units:
        return
    for process in host.processes():
        place = innermost_place(process, host.snapshot)
        if place is None or place.unit != _SERVICE:
            continue
        adjust = known("oom_score_adj", process, host.snapshot)
        if adjust is not None and adjust > _UNLIKELY:
            yield UNPROTECTED.about(
                _SERVICE,
                f"the kernel may kill the service of oomrules itself: the oom_score_adj of its "
                f"process {process.pid} is {adjust}",
                f"set OOMScoreAdjust=-1000 with `systemctl edit {_SERVICE}`",
            )
            return


NO_UNIT = Check("OOM701", "a unit that this host does not have", _no_unit, host=True)
NO_ACCOUNT = Check("OOM702", "a user or group that this host does not have", _no_account, host=True)
WRITABLE = Check("OOM703", "rules that others than root may write", _writable, host=True)
UNREADABLE = Check("OOM704", "an attribute that this host does not tell", _unreadable, host=True)
CONTRADICTION = Check(
    "OOM705", "a rule against a setting of systemd", _contradictions, whole=True, host=True
)
LITTLE = Check("OOM706", "rules that leave too little to free", _freeable, whole=True, host=True)
UNPROTECTED = Check(
    "OOM707", "the service of oomrules unprotected", _own_service, whole=True, host=True
)
WISHES = Check(
    "OOM708", "an oom_score_adj that the rules go against", _wishes, whole=True, host=True
)
BEATEN = Check(
    "OOM709", "a rule that others make void on this host", _beaten, whole=True, host=True
)
CHECKS = (
    NO_UNIT,
    NO_ACCOUNT,
    WRITABLE,
    UNREADABLE,
    CONTRADICTION,
    LITTLE,
    UNPROTECTED,
    WISHES,
    BEATEN,
)
