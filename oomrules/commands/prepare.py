"""What the service cannot do itself: compile the rules and ask systemd, and say it as JSON."""

from __future__ import annotations

import argparse
import grp
import itertools
import json
import os
import pwd
import sys
from collections.abc import Iterable
from typing import Any

from oomrules import __version__
from oomrules.commands import rulesets, sources
from oomrules.commands.findings import concise
from oomrules.errors import Failure
from oomrules.host import facts
from oomrules.language import rulefiles
from oomrules.runtime import program
from oomrules.runtime.facts import Facts, key
from oomrules.runtime.procfs import ProcSource
from oomrules.runtime.program import Program
from oomrules.runtime.state import State
from oomrules.runtime.units import placement
from oomrules.runtime.values import GETTERS
from oomrules.service.preparation import SCHEMA

# A directory service may know of more; those who have processes are looked up in any case.
_MOST_NAMES = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``prepare``."""
    rulesets.add_rules(parser)
    sources.add_target(parser)


def run(options: argparse.Namespace) -> int:
    """Print the result; rules with errors are one, too."""
    _be_like_others()
    before = _fingerprint(options)
    made, diagnostics, files = _compiled(options, before)
    after = _fingerprint(options)
    if after != before:
        # Somebody is at it; what was read may be half of it.
        made, diagnostics, files = _compiled(options, after)
    found, asks = Facts(), False
    users: dict[int, str] = {}
    groups: dict[int, str] = {}
    in_force = made or _last(options)
    if in_force:
        source = ProcSource(in_force).refresh()
        asked = facts.Asked(in_force)
        found = _facts(asked, source)
        named = {"user", "group"} & in_force.attributes
        if named:
            users, groups = _users(source), _groups(source)
        asks = bool(asked) or bool(named)
    try:
        settled, problem = sources.settled(options), ""
    except Failure as error:
        settled, problem = None, f"{error.message}; {error.hint}"
    data = {
        "schema": SCHEMA,
        "emit": settled and settled._asdict(),
        "emit_problem": problem,
        "program": program.to_data(made) if made else None,
        "diagnostics": diagnostics,
        "fingerprint": after,
        "files": files,
        "asks": asks,
        "facts": {
            "units": found.units,
            "sessions": found.sessions,
            "problems": found.problems,
            "places": None if found.places is None else sorted(found.places),
        },
        "users": users,
        "groups": groups,
    }
    json.dump(data, sys.stdout)
    return 0


def _be_like_others() -> None:
    """The service is protected from the OOM killer and goes first; this process is not worth it."""
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            if int(file.read()) < 0:
                file.seek(0)
                file.write("0")
    except OSError:
        pass


def _fingerprint(options: argparse.Namespace) -> list[list[Any]]:
    if not options.rules:
        return rulefiles.fingerprint(options.root)
    named: list[list[Any]] = [["oomrules", __version__], ["--rules", *options.rules]]
    for file in rulefiles.given(options.rules).files:
        status = os.stat(file.name)
        named.append([file.name, status.st_ino, status.st_size, status.st_mtime_ns])
    return named


def _last(options: argparse.Namespace) -> Program | None:
    """The rules that stay in force where those on disk have errors."""
    kept = None if options.rules else State().program()
    return kept[0] if kept else None


def _compiled(
    options: argparse.Namespace, fingerprint: list[list[Any]]
) -> tuple[Program | None, list[str], list[str]]:
    """Give the program, or its errors, and the files it comes from."""
    found = rulesets.rules(options)
    files = [file.name for file in found.files]
    kept = None if options.rules else State().program()
    if kept and kept[1] == fingerprint:
        return kept[0], [], files
    # lark is loaded here, and only when the rules have changed.
    from oomrules.language import compiler
    from oomrules.language.diagnostics import Rejected

    try:
        return compiler.compile_rules(found), [], files
    except Rejected as error:
        return None, [concise(diagnostic) for diagnostic in error.diagnostics], files


def _facts(asked: facts.Asked, source: ProcSource) -> Facts:
    cgroups = {GETTERS["cgroup"](process, source) for process in source.by_pid.values()}
    places = {placement(cgroup) for cgroup in cgroups if cgroup}
    found = facts.gather(asked, places)
    if not asked:
        return found
    return found._replace(places=frozenset(key(place) for place in facts.every_unit(places)))


def _ids(source: ProcSource, attribute: str) -> Iterable[int]:
    ids = {GETTERS[attribute](process, source) for process in source.by_pid.values()}
    return sorted(number for number in ids if number is not None)


def _users(source: ProcSource) -> dict[int, str]:
    found = {user.pw_uid: user.pw_name for user in itertools.islice(pwd.getpwall(), _MOST_NAMES)}
    for number in _ids(source, "uid"):
        if number not in found:
            try:
                found[number] = pwd.getpwuid(number).pw_name
            except KeyError:
                found[number] = str(number)
    return found


def _groups(source: ProcSource) -> dict[int, str]:
    found = {group.gr_gid: group.gr_name for group in itertools.islice(grp.getgrall(), _MOST_NAMES)}
    for number in _ids(source, "gid"):
        if number not in found:
            try:
                found[number] = grp.getgrgid(number).gr_name
            except KeyError:
                found[number] = str(number)
    return found
