"""Mistakes of rules on one host: ``check --host``.

Files that ship with a package are written for every host, so this host need not have what
they name.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
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
from oomrules.processes.values import GETTERS, innermost_place, known
from oomrules.program.nodes import glob, is_glob

_SERVICE = "oomrules.service"

# --- targets, users and groups ------------------------------------------------------------


def _known(name: str, units: frozenset[str]) -> bool:
    stem, at, rest = name.partition("@")
    template = f"{stem}@.{rest.rpartition('.')[2]}" if at else name
    return name in units or template in units


def _unit_names(rules: RuleSet) -> Iterator[tuple[RuleText, syntax.Text, bool]]:
    """Yield the names of units in the rules, each with whether it is a user's unit."""
    for source, _, block in rules.blocks:
        yield source, block.target.unit, block.target.relation is syntax.Relation.OF_USER
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
        # Scopes come and go, and a glob may be about units of later.
        if is_glob(name) or name.endswith(".scope") or "." not in name or _known(name, units):
            continue
        listed = "`oomrules scopes` and `systemctl list-units` name them"
        help_ = did_you_mean(name, units, listed)
        if not of_user and _known(name, host.user_units):
            help_ = f'a user has one of this name: write `in user unit "{name}"` or `user.unit`'
        owner = "no user's manager of this host has a" if of_user else "this host has no"
        yield NO_UNIT.at(source, text.span, f"{owner} unit `{name}`", help_)


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
    "unit.pressure": "it is read from the unit's control group in cgroup v2, and only where the "
    "kernel measures it: if `cat /proc/pressure/memory` fails, boot with `psi=1`",
}
_WHY = {
    Provider.SYSTEMD: "it is asked of systemd over D-Bus",
    Provider.LOGIND: "it is asked of logind over D-Bus",
    Provider.SCOPE: "it is read from the unit's control group, where the memory controller has to "
    "be on: the last figure of `grep memory /proc/cgroups` is 1 if it is",
    Provider.EXE: "it takes root and CAP_SYS_PTRACE to read it",
}


def _unreadable(rules: RuleSet) -> Iterator[Diagnostic]:
    host = rules.known_host
    processes = host.processes()
    if not processes:
        return
    first: dict[str, tuple[RuleText, Span]] = {}
    for stated in rules.checked.sound:
        if not shipped(stated.source):
            for asked in _attributes(stated.statement):
                first.setdefault(asked.name, (stated.source, asked.span))
    for name, (source, span) in first.items():
        if name not in ATTRIBUTES or ATTRIBUTES[name].provider is Provider.BLOCK:
            continue
        get, provider = GETTERS[name], ATTRIBUTES[name].provider
        if all(get(process, host.snapshot) is None for process in processes):
            message = f"`{name}` is unknown for every process of this host"
            read = _WHY.get(provider, f"it is read from /proc/PID/{provider.value}")
            yield UNREADABLE.at(source, span, message, _WHY_OF.get(name, read))


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
        verdict = host.ranking.verdict(process)
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
CHECKS = (NO_UNIT, NO_ACCOUNT, WRITABLE, UNREADABLE, CONTRADICTION, LITTLE, UNPROTECTED)
