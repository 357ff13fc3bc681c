"""Make the list anew when a systemd unit starts or stops, which calls this command."""

from __future__ import annotations

import argparse
import os
import select
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oomrules.clock import now
from oomrules.commands.parts import selection
from oomrules.commands.parts.findings import concise
from oomrules.commands.parts.manager import systemctl
from oomrules.commands.parts.verdicts import no_candidate
from oomrules.errors import Failure, reason
from oomrules.kills import entry as kills
from oomrules.kills import journal, kernel_log
from oomrules.kills.kernel_log import Kill
from oomrules.language import rulefiles
from oomrules.plain import printable_lines
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.units import placement
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, fresh
from oomrules.roots import Root
from oomrules.service import client, memory
from oomrules.service.listener import BROKEN, MISSING, REFRESH, WORDS
from oomrules.sinks import chosen, put_all, sinks_of
from oomrules.state import LastList, State
from oomrules.terminal import say

# Seconds that a unit may wait for its hook: systemd gives a unit 90 s to start.
_DEADLINE = 45

# Seconds that the service may take to answer; it does at once, or not at all.
_ANSWER = 10.0

# The drop-in that lets a service call the hook.
_DROPIN = "50-oomrules.conf"

# Where units are (systemd.unit(5)).
_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "run/systemd/generator.late",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)

# "-": a failing hook never keeps the unit from starting. "+": with full rights, whatever
# sandbox the service itself has.
_TEXT = """\
# Made by `oomrules hook --install {service}`; `oomrules hook --remove {service}` removes it.
# It keeps the list of OOM candidates true as this service comes and goes.
[Service]
ExecStartPost=-+{command} hook %n
ExecStopPost=-+{command} hook %n
"""

EXITS = {
    0: "the list is written, or the drop-in",
    2: "usage or failure, or the rules have errors, and the list is by the last good ones",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``hook``."""
    parser.add_argument(
        "unit", nargs="?", metavar="UNIT", help="the unit that starts or stops (%%n in a unit file)"
    )
    parser.add_argument(
        "--install", metavar="SERVICE", help="let a service call the hook, by a drop-in"
    )
    parser.add_argument("--remove", metavar="SERVICE", help="remove that drop-in")
    selection.add_target(parser)
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    parser.set_defaults(rules=None)


def run(options: argparse.Namespace) -> int:
    """Apply the rules; 2 if they are broken and the last good ones were applied instead."""
    if options.install:
        return _install(options.install, options.root)
    if options.remove:
        return _remove(options.remove, options.root)
    return _in_time(lambda: _work(options), options.unit)


def _work(options: argparse.Namespace) -> int:
    try:
        answer = _served(options.unit)
        if answer:
            return 2 if answer["rules"]["state"] == BROKEN else 0
        return _apply(options)
    except Failure as error:
        _record_failure(error, options.unit)
        raise


def _record_failure(failure: Failure, unit: str | None) -> None:
    whose = f"hook of {unit}" if unit else "hook"
    journal.send(f"{whose}: {failure.full}", journal.ERROR)


def _in_time(work: Callable[[], int], unit: str | None) -> int:
    """Do work that may hang, in a child, which can be killed wherever it hangs.

    In this process no handler of a signal would run while a directory service is asked for a name.
    """
    from oomrules.commands import main

    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 2
        try:
            # The processes that it starts are killed with it.
            os.setpgid(0, 0)
            memory.bound(memory.START)
            code = main.attempt(work)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        if poll.poll(_DEADLINE * 1000):
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code >= 0:
                return code
            problem = Failure(
                f"the hook was killed by signal {-code}; the list is as it was",
                "was memory short? the next hook does it",
            )
        else:
            problem = Failure(
                f"the hook took longer than {_DEADLINE} s and gave up; the list is as it was",
                "see how long `oomrules rank` takes",
            )
        _record_failure(problem, unit)
        raise problem
    finally:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        # If not even that ends it, it is not waited for.
        poll.poll(1000)
        os.close(descriptor)


def _served(unit: str | None) -> dict[str, Any] | None:
    """Let the service make the list, if it runs; return its status, or None if it did not."""
    try:
        answer = client.ask(REFRESH, _ANSWER)
    except PermissionError:
        return None
    listed = answer and answer.get("list")
    if not answer or not listed or not listed["to"] or listed["problem"]:
        return None
    after = f" after {unit}" if unit else ""
    _say(f"the service wrote {listed['candidates']} pids to {listed['to']}{after}", journal.INFO)
    return answer


def _apply(options: argparse.Namespace) -> int:
    called = now()
    state = State()
    with state.lock():
        last = state.last_list()
        if options.unit and os.environ.get("SERVICE_RESULT") == "oom-kill":
            last["kernel_log"] = _record(options.unit, last)
        elif last.get("time", -1.0) > called:
            # While this hook waited for the lock, another one read the processes.
            return 0
        program, broken = _program(options, state)
        read = now()
        source = selection.live(program)
        # The process that waits for this one is no candidate either.
        source.own_pids |= {os.getppid()}
        ranking = fresh(Ranker(program, source.host), source)
        settled = selection.settled(options)
        put = put_all(
            sinks_of(chosen(settled.to), state, settled.head),
            ranking,
            source,
            state,
            LastList(read, last.get("kernel_log"), last.get("kills_left", ())),
            only=True,
        )
    for note in selection.notes(source):
        _say(f"note: {note}", journal.WARNING)
    if not ranking.candidates:
        _say(no_candidate(ranking), journal.WARNING)
    after = f" after {options.unit}" if options.unit else ""
    for done in put.done:
        _say(f"{done}{after}", journal.INFO)
    for failure in put.failures[1:]:
        _say(failure.full, journal.ERROR)
    if put.failures:
        raise put.failures[0]
    return 2 if broken else 0


def _say(message: str, priority: int) -> None:
    """Print a message, with its priority where the journal reads along (sd-daemon(3))."""
    prefix = f"<{priority}>" if os.environ.get("JOURNAL_STREAM") else ""
    say(f"{prefix}{message}", sys.stderr)


def _program(options: argparse.Namespace, state: State) -> tuple[Program, bool]:
    """Return the rules in force, compiled anew if a file changed, and whether those are broken."""
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
        findings = "\n".join(concise(diagnostic) for diagnostic in error.diagnostics)
        message = f"{WORDS[BROKEN if kept else MISSING]}:\n{findings}"
        if not journal.send(message, journal.ERROR) or sys.stderr.isatty():
            print(printable_lines(message), file=sys.stderr)
        if kept is None:
            hint = "mend them; `oomrules check` shows the errors"
            raise Failure(WORDS[MISSING], hint) from error
        return kept[0], True
    state.save_program(made, fingerprint)
    return made, False


def _record(unit: str, last: dict[str, Any]) -> int | None:
    """Write an entry for each kill in the unit; return the number of the kernel's last message.

    The other kills are left to the hooks of their own units; ``last`` says which they are.
    """
    known, left = last.get("kernel_log"), last.get("kills_left", [])
    try:
        found, latest, lost = kernel_log.recent(-1 if known is None else known, left=left)
    except OSError as error:
        journal.send(
            f"{unit} ran out of memory, but the kernel log cannot be read: {reason(error)}",
            journal.WARNING,
        )
        return known if isinstance(known, int) else None
    if lost and known is not None:
        journal.send(kills.overwritten(lost), journal.WARNING)
    last["kills_left"] = []
    for kill in found:
        at = kills.died(kill)
        # A list that was made after the kill was not in force; it still says where processes were.
        in_force = "time" in last and last["time"] <= at
        candidates: list[dict[str, Any]] = last.get("candidates", [])
        entry = next((listed for listed in candidates if kills.is_of(kill, listed)), {})
        if unit not in _whereabouts(kill, entry):
            last["kills_left"].append(kill.sequence)
            continue
        kill = kill._replace(pid=entry.get("pid", kill.pid))
        listing = kills.Listing()
        if in_force:
            listing = kills.Listing(
                rank=entry.get("rank"),
                points=entry.get("points"),
                length=len(candidates),
                age=at - last["time"],
            )
        kills.record(unit, kill, listing)
    return latest


def _whereabouts(kill: Kill, entry: dict[str, Any]) -> tuple[str | None, ...]:
    """Return the system's units around a victim: users call their own units as they like."""
    if kill.cgroup:
        return placement(kill.cgroup, Hierarchy().unit_root()).system.chain
    # If the log does not name the group, the last list may know where the process was.
    return () if entry.get("manager") else (entry.get("unit"),)


# --- the drop-in ---------------------------------------------------------------------------


def _install(service: str, root: Path) -> int:
    """Write the drop-in and let systemd read it."""
    path = _dropin(service, root)
    command = shutil.which("oomrules") or str(Path(sys.argv[0]).resolve())
    try:
        Root(root).make(path.parent)
    except OSError as error:
        raise Failure(f"cannot make {path.parent}: {reason(error)}", "run it as root") from error
    Root(root).replace(path, _TEXT.format(service=service, command=command).encode())
    say(f"{path} written")
    _reload(root)
    if not _exists(service, root):
        say(
            f"note: there is no {service} here; the hook waits for one. If the name is wrong: "
            f"`oomrules hook --remove {shlex.quote(service)}`, and "
            "`systemctl list-unit-files --type=service` lists the services",
            sys.stderr,
        )
    return 0


def _exists(service: str, root: Path) -> bool:
    """Return whether there is such a service; an instance of a template counts as one."""
    asked = systemctl(root, "show", "--property=LoadState", "--value", "--", service)
    if asked and asked.returncode == 0:
        return asked.stdout.strip() != "not-found"
    head, at, _ = service.removesuffix(".service").partition("@")
    names = (service, f"{head}@.service") if at else (service,)
    return any(os.path.lexists(root / folder / name) for folder in _FOLDERS for name in names)


def _remove(service: str, root: Path) -> int:
    """Remove the drop-in and let systemd know."""
    path = _dropin(service, root)
    try:
        Root(root).remove(path)
    except FileNotFoundError as error:
        raise Failure(f"{service} has no hook: there is no {path}") from error
    except OSError as error:
        raise Failure(f"cannot remove {path}: {reason(error)}", "run it as root") from error
    try:
        Root(root).remove(path.parent)
    except OSError:
        pass  # Other drop-ins are there.
    say(f"{path} removed")
    _reload(root)
    return 0


def _dropin(service: str, root: Path) -> Path:
    if not service.endswith(".service") or "/" in service:
        raise Failure(
            f"{service} is not the name of a service",
            f"only services can call a hook; write the full name, as in `{service}.service`"
            if "." not in service and "/" not in service
            else "only services can call a hook; write a name such as nginx.service",
        )
    return root / "etc/systemd/system" / f"{service}.d" / _DROPIN


def _reload(root: Path) -> None:
    done = systemctl(root, "daemon-reload")
    if done and done.returncode:
        raise Failure(
            f"systemd did not take it: {done.stderr.strip()}", "run `systemctl daemon-reload`"
        )
