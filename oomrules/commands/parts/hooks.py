"""The hooks of the guard: which there are, which may run, and how they are run."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from oomrules import state_directory
from oomrules.dbus import hook_units
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.gather import booted_with_systemd
from oomrules.errors import reason
from oomrules.plain import printable

SCHEMA = "oomrules.event/1"

# How long one may take, in seconds, and how many there may be.
DEADLINE = 10.0
_MOST = 16

# As for run-parts(8); nothing in it means more to a shell or to systemd.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

# What editors and package managers leave beside a file.
_LEFTOVER = (
    "~",
    ".bak",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
    ".rpmsave",
    ".rpmnew",
    ".disabled",
)

# <linux/prctl.h>. Loaded before the fork, after which little may be done.
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

_NUMBERS = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,9})?")
# Numbers by what they are; a name of a user's choice may look like one.
_TEXTS = ("MESSAGE", "GUARD", "FILE", "UNIT", "USER_UNIT", "CGROUP", "COMM", "PROBLEM", "ACT")


def run_all(directory: str, events: list[dict[str, Any]]) -> list[str]:
    """Run every hook for each event, one after the other.

    Args:
        events: in their order, each with ``event`` (its kind), ``message``, and ``fields`` of the
            journal's entry.

    Returns:
        what went wrong, a sentence each, and each once.
    """
    problems: list[str] = []
    paths = list(found(directory, problems))
    if not paths:
        return problems
    connection = _manager_bus() if booted_with_systemd() else None
    try:
        for event in events:
            environment, said = told(event)
            for path in paths:
                how = _run(connection, path, environment, said)
                if how:
                    problems.append(f"the hook {path} {how}")
    finally:
        if connection:
            connection.close()
    return list(dict.fromkeys(problems))


def found(directory: str, problems: list[str]) -> Iterator[str]:
    """Yield the hooks that may run, by name; add to the problems why others may not."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"cannot read {directory}: {reason(error)}")
        return
    names = [name for name in names if not name.startswith(".") and not name.endswith(_LEFTOVER)]
    for name in names[:_MOST]:
        path = os.path.join(directory, name)
        why = _why_not(path, name)
        if why:
            problems.append(f"the hook {printable(path)[:200]} is not run: {why}")
        else:
            yield os.path.realpath(path) if os.path.islink(path) else path
    if len(names) > _MOST:
        problems.append(f"{directory} has {len(names)} hooks; the first {_MOST} are run")


def _why_not(path: str, name: str) -> str:
    """Return why a hook is not run; empty if it is."""
    if not _NAME.fullmatch(name):
        return "its name has other characters than letters, digits, `_`, `-` and `.`"
    try:
        real = os.path.realpath(path)
        if not _NAME.fullmatch(os.path.basename(real)):
            return "it is a link to a file with odd characters in its name"
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        if status.st_uid not in (0, os.geteuid()):
            return f"it belongs to uid {status.st_uid}; `chown root {path}` if it is yours"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"others may write to it; check it, then `chmod go-w {path}`"
        if not status.st_mode & stat.S_IXUSR:
            return f"it is not executable; `chmod +x {path}`"
        # As for the directory of the state: no one else may put another file in its place.
        for place in {os.path.dirname(os.path.abspath(path)), os.path.dirname(real)}:
            if wrong := state_directory.ancestor_of_others(place):
                return wrong
    except OSError as error:
        return reason(error)
    return ""


def told(event: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return what a hook is told: its variables, made harmless, and the JSON that it reads."""
    fields = {
        name: str(value) for name, value in event["fields"].items() if name.startswith("OOMRULES_")
    }
    kind, message = str(event["event"]), str(event["message"])
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "OOMRULES_EVENT": kind,
        "OOMRULES_MESSAGE": printable(message),
        **{name: printable(value) for name, value in fields.items()},
    }
    data: dict[str, Any] = {"schema": SCHEMA, "event": kind, "message": message}
    for name, value in fields.items():
        key = name.removeprefix("OOMRULES_")
        number = key not in _TEXTS and _NUMBERS.fullmatch(value)
        data[key.lower()] = (
            None
            if value == "" and key not in _TEXTS
            else float(value)
            if number and "." in value
            else int(value)
            if number
            else value
        )
    return environment, json.dumps(data).encode() + b"\n"


def _manager_bus() -> Connection | None:
    try:
        return Connection(timeout=10.0)
    except BusError:
        return None


def _run(connection: Connection | None, path: str, environment: dict[str, str], said: bytes) -> str:
    """Run a hook; return how it failed, or an empty text."""
    if connection:
        try:
            return hook_units.run(connection, path, environment, said, DEADLINE)
        except BusError as error:
            return f"was not started by systemd: {error}"
    return run_here(path, environment, said)


def _end_with_parent() -> None:
    """Have the kernel end this process with the one that started it (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_here(path: str, environment: dict[str, str], said: bytes, seconds: float = DEADLINE) -> str:
    """Run a hook as a child, where there is no systemd; return how it failed, or an empty text.

    What it prints goes nowhere. It ends with all of its process group when its time is over.
    """
    with tempfile.TemporaryFile() as given:
        given.write(said)
        given.seek(0)
        try:
            child = subprocess.Popen(  # noqa: S603
                [path],
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                process_group=0,
                preexec_fn=_end_with_parent,  # this process has no other thread
            )
        except OSError as error:
            return f"cannot be started: {reason(error)}"
    late = False
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except OSError:
            pass  # nobody is left of it
        child.wait()
    if late:
        return f"took longer than {seconds:g} s and was ended"
    return f"failed (status {child.returncode})" if child.returncode else ""
