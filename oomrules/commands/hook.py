"""What a systemd unit calls when it starts and stops: make the list true again."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from oomrules.commands import dropin, sources
from oomrules.commands.findings import concise
from oomrules.commands.rank import nobody
from oomrules.errors import Failure, reason
from oomrules.host import kernellog
from oomrules.language import rulefiles
from oomrules.runtime import journal, sinks
from oomrules.runtime.evaluator import Evaluator
from oomrules.runtime.program import Program
from oomrules.runtime.ranking import Ranker, Ranking
from oomrules.runtime.state import State, now
from oomrules.runtime.units import placement
from oomrules.runtime.values import GETTERS

# The entry that says who died (docs/systemd.md lists its fields).
KILL_ID = "1956813c936b4d7b9acf2a8cbea1f060"

# A unit waits for its hook; beyond this it must not.
_DEADLINE = 15

# The candidates that the state remembers, for the record of a kill.
_REMEMBERED = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``hook``."""
    parser.add_argument(
        "unit", nargs="?", metavar="UNIT", help="the unit that starts or stops (%%n in a unit file)"
    )
    parser.add_argument(
        "--install", metavar="SERVICE", help="let a service call the hook, by a drop-in"
    )
    parser.add_argument("--remove", metavar="SERVICE", help="remove that drop-in")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    parser.set_defaults(rules=None)


def run(options: argparse.Namespace) -> int:
    """Apply the rules; 2 if they are broken and the last good ones were applied instead."""
    if options.install:
        return dropin.install(options.install, options.root)
    if options.remove:
        return dropin.remove(options.remove, options.root)
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(_DEADLINE)
    try:
        return _apply(options)
    except Failure as error:
        hint = f"; {error.hint}" if error.hint else ""
        whom = f"hook of {options.unit}" if options.unit else "hook"
        journal.send(f"{whom}: {error.message}{hint}", journal.ERROR)
        raise


def _too_late(signum: int, frame: FrameType | None) -> None:
    raise Failure(
        f"the hook took longer than {_DEADLINE} s and gave up; the list is as it was",
        "see how long `oomrules rank` takes",
    )


def _apply(options: argparse.Namespace) -> int:
    called = now()
    state = State()
    with state.lock():
        last = state.last_list()
        if options.unit and os.environ.get("SERVICE_RESULT") == "oom-kill":
            last["kernel_log"] = _record(options.unit, last)
        elif last.get("time", -1.0) > called:
            # While this one waited for the lock another read the processes.
            return 0
        made, broken = _program(options, state)
        read = now()
        source = sources.live(made)
        ranking = sources.fresh(Ranker(Evaluator(made, source.host)), source)
        target = _emit(ranking, state)
        state.save_list(_entries(ranking), read, last.get("kernel_log"))
    for note in sources.notes(source):
        _say(f"note: {note}", journal.WARNING)
    if not ranking.candidates:
        _say(nobody(ranking), journal.WARNING)
    after = f" after {options.unit}" if options.unit else ""
    _say(f"{len(ranking.candidates)} pids written to {target}{after}", journal.INFO)
    return 2 if broken else 0


def _say(message: str, priority: int) -> None:
    """Print a message, with its priority where the journal reads along (sd-daemon(3))."""
    prefix = f"<{priority}>" if os.environ.get("JOURNAL_STREAM") else ""
    print(f"{prefix}{message}", file=sys.stderr)


def _program(options: argparse.Namespace, state: State) -> tuple[Program, bool]:
    """Give the rules in force, compiled anew if a file changed; True if they are broken."""
    fingerprint = rulefiles.fingerprint(options.root)
    kept = state.program()
    if kept and kept[1] == fingerprint:
        return kept[0], False
    # lark is loaded here, and only when the rules have changed.
    from oomrules.language import compiler
    from oomrules.language.diagnostics import Rejected

    try:
        made = compiler.compile_rules(rulefiles.system(options.root))
    except Rejected as error:
        what = "the last good rules stay in force" if kept else "there are no earlier ones"
        findings = "\n".join(concise(diagnostic) for diagnostic in error.diagnostics)
        message = f"the rules have errors, {what}:\n{findings}"
        if not journal.send(message, journal.ERROR) or sys.stderr.isatty():
            print(message, file=sys.stderr)
        if kept is None:
            raise Failure(
                "the rules have errors, and there are no earlier ones to keep to",
                "mend them; `oomrules check` shows the errors",
            ) from error
        return kept[0], True
    state.save_program(made, fingerprint)
    return made, False


def _emit(ranking: Ranking, state: State) -> str:
    """Hand the list to the kernel, or leave it where people find it."""
    if os.path.exists(sinks.KERNEL_LIST):
        sinks.write_kernel(ranking.pids)
        return sinks.KERNEL_LIST
    sinks.write_file(state.path("list"), ranking.pids)
    return state.path("list")


def _entries(ranking: Ranking) -> list[dict[str, Any]]:
    entries = []
    for rank, process in enumerate(ranking.candidates[:_REMEMBERED], 1):
        unit = GETTERS["unit"](process, ranking.snapshot)
        points = ranking.verdict(process).points
        entries.append(
            {
                "rank": rank,
                "pid": process.pid,
                "comm": process.comm,
                "unit": None if unit is None else str(unit),
                "points": points,
            }
        )
    return entries


def _record(unit: str, last: dict[str, Any]) -> int | None:
    """Write an entry for each kill in the unit that the kernel tells of."""
    known = last.get("kernel_log")
    try:
        found, latest = kernellog.kills(-1 if known is None else known)
    except OSError as error:
        journal.send(
            f"{unit} ran out of memory, but the kernel log cannot be read: {reason(error)}",
            journal.WARNING,
        )
        return known if isinstance(known, int) else None
    listed = {entry["pid"]: entry for entry in last.get("candidates", [])}
    for kill in found:
        if unit in placement(kill.cgroup).chain:
            journal.send(*_entry(unit, kill, listed, last))
    return latest


def _entry(
    unit: str, kill: kernellog.Kill, listed: dict[int, Any], last: dict[str, Any]
) -> tuple[str, int, dict[str, str]]:
    entry = listed.get(kill.pid)
    where = "at its memory limit" if kill.constraint.endswith("MEMCG") else "with the host"
    said = (
        f"the list had it at rank {entry['rank']} of {len(listed)}"
        if entry
        else "the list did not have it"
    )
    fields = {
        "MESSAGE_ID": KILL_ID,
        "UNIT": unit,
        "OOMRULES_UNIT": unit,
        "OOMRULES_CGROUP": kill.cgroup,
        "OOMRULES_PID": str(kill.pid),
        "OOMRULES_COMM": kill.comm,
        "OOMRULES_UID": str(kill.uid),
        "OOMRULES_CONSTRAINT": kill.constraint,
        "OOMRULES_LISTED": str(len(listed)),
        "OOMRULES_LIST_AGE": f"{now() - last['time']:.3f}" if "time" in last else "",
        "OOMRULES_RANK": str(entry["rank"]) if entry else "",
        "OOMRULES_POINTS": str(entry["points"]) if entry else "",
    }
    message = f"{unit} ran out of memory {where}: {kill.comm} ({kill.pid}) was killed; {said}"
    return message, journal.WARNING, fields
