"""What the service cannot do itself: compile the rules and ask systemd, and print it as JSON.

Each line is a part of the result (``service.compile_child.PARTS``), written as soon as it is
known: first the rules, which wait for no other process, then names, then what systemd knows.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from oomrules import __version__, roots
from oomrules.accounts import passwd
from oomrules.accounts.names import Names
from oomrules.commands.parts import facts, selection, shared
from oomrules.commands.parts.findings import concise
from oomrules.commands.parts.privileges import renounce_privileges
from oomrules.dbus import gather
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.processes.proc_status import MOST_LONG
from oomrules.processes.procfs import ProcSource
from oomrules.processes.values import places
from oomrules.program import program
from oomrules.program.program import Program
from oomrules.service.compile_child import SCHEMA
from oomrules.state import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``prepare``."""
    shared.add_rules(parser)
    selection.add_target(parser)


def run(options: argparse.Namespace) -> int:
    """Print the result; rules with errors are one, too."""
    renounce_privileges()
    kept = None if options.rules else State().program()
    before = _fingerprint(options)
    compiled, diagnostics, files = _compiled(options, before, kept)
    after = _fingerprint(options)
    if after != before:
        # The files are being changed; what was read may be half of it.
        compiled, diagnostics, files = _compiled(options, after, kept)
    # Where the rules on disk have errors the last good ones stay in force.
    in_force = compiled or (kept and kept[0])
    asked = gather.questions(in_force) if in_force else None
    names = Names(in_force) if in_force else None
    try:
        settled, problem = selection.settled(options), ""
    except Failure as error:
        settled, problem = None, error.full
    _say(
        "program",
        {
            "emit": settled and settled._asdict(),
            "emit_problem": problem,
            "program": program.to_data(compiled) if compiled else None,
            "diagnostics": diagnostics,
            "fingerprint": after,
            "files": files,
            "asks": bool(asked) or bool(names and names.needed),
            **_names(names, None),
        },
    )
    if in_force and asked is not None and names is not None:
        source = ProcSource(in_force, own=names.pids)
        source.most_long = MOST_LONG
        source.refresh()
        selection.settle_names(names, source)
        problems, complete = names.problems(), names.complete
        _say("names", {**_names(names, source), "problems": problems, "complete": complete})
        found = facts.gathered(asked, source)._asdict()
        units = sorted(gather.of_system(places(source))) if asked.of_bus else None
        _say("facts", {**found, "places": units})
    return 0


def _say(part: str, data: dict[str, Any]) -> None:
    """Print a part; it is there whatever becomes of the rest."""
    print(json.dumps({"schema": SCHEMA, "part": part, **data}), flush=True)


def _names(names: Names | None, source: ProcSource | None) -> dict[str, Any]:
    """Return the names that matter to the rules, those of running processes first."""
    data: dict[str, Any] = {}
    for kind, name, attribute in (("user", "users", "uid"), ("group", "groups", "gid")):
        present: list[int] = []
        if names and source and names.need_ids:
            present = selection.ids(source.by_pid.values(), source, attribute)
        data[name] = passwd.to_data(names.chosen(kind, present)) if names else {}
    return data


def _fingerprint(options: argparse.Namespace) -> list[list[Any]]:
    if not options.rules:
        return rulefiles.fingerprint(options.root)
    named: list[list[Any]] = [["oomrules", __version__], ["--rules", *options.rules]]
    tree = roots.named(options.root)
    for file in rulefiles.given(options.rules, options.root).files:
        status = tree.stat(file.name)
        named.append([file.name, status.st_ino, status.st_size, status.st_mtime_ns])
    return named


def _compiled(
    options: argparse.Namespace,
    fingerprint: list[list[Any]],
    kept: tuple[Program, list[Any]] | None,
) -> tuple[Program | None, list[str], list[str]]:
    """Return the program, or its errors, and the files it comes from.

    Args:
        kept: the last good program, and the fingerprint of its files.
    """
    found = shared.rules(options)
    files = [file.name for file in found.files]
    if kept and kept[1] == fingerprint:
        return kept[0], [], files
    # lark is loaded here, and only when the rules have changed.
    from oomrules.language import compiler
    from oomrules.language.diagnostics import Rejected

    try:
        return compiler.compile_rules(found), [], files
    except Rejected as error:
        return None, [concise(diagnostic) for diagnostic in error.diagnostics], files
