"""What the service cannot do itself: tell people what the guard did, and have a unit stopped.

The request is JSON on standard input (``service.telling``), the result JSON on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from typing import Any

from oomrules import config
from oomrules.commands.parts.privileges import renounce_privileges
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import Manager
from oomrules.errors import Failure
from oomrules.plain import some
from oomrules.service.tell_child import SCHEMA

# Seconds that a unit may take to stop before that is said, and that systemd may take to answer.
_TO_STOP, _TO_ANSWER = 20.0, 10.0
_LOOK = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: all that it needs is in the request."""


def run(options: argparse.Namespace) -> int:
    """Do what the request says, and print what came of it."""
    renounce_privileges()
    try:
        request = json.load(sys.stdin)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or request.get("schema") != SCHEMA:
        raise Failure("this is a part of the service", "`oomrules run` starts it")
    result: dict[str, Any] = {"schema": SCHEMA, "problems": []}
    try:
        _do(request, result)
    except (Failure, BusError) as error:
        result["problems"].append(getattr(error, "full", None) or str(error))
    print(json.dumps(result))
    return 0


def _do(request: dict[str, Any], result: dict[str, Any]) -> None:
    if "stop" in request:
        result["result"] = _stop(str(request["stop"]))
        return
    settings = config.load()
    # Each is loaded where it is needed: memory has just been short.
    if "hooks" in request and settings.hooks:
        from oomrules.commands.parts import hooks

        result["problems"] += hooks.run_all(str(request["directory"]), request["hooks"])
    if "notices" in request and settings.notices:
        result["problems"] += _notify(request["notices"], int(request["more"]), settings.notices)


def _notify(told: list[dict[str, Any]], more: int, ways: tuple[str, ...]) -> list[str]:
    """Send notices; return what went wrong, a sentence each."""
    from oomrules.dbus import notices

    acts = [notices.Told(**act) for act in told]
    problems = []
    if config.SESSIONS in ways:
        seated, why = notices.seats()
        problems.append(why)
        users = notices.recipients(acts, seated)
        failed = notices.send(users, acts, more, os.environ.get("OOMRULES_USERS", "/run/user"))
        if failed:
            who = some([f"user {user}" for user in failed])
            problems.append(f"no notice could be shown at the desktop of {who}")
    if config.BROADCAST in ways:
        problems.append(notices.broadcast(acts, more))
    return [problem for problem in problems if problem]


def _stop(unit: str) -> str:
    """Ask systemd to stop a unit; return what came of it, in a sentence."""
    connection = Connection(timeout=_TO_ANSWER)
    manager = Manager(connection)
    try:
        manager.stop(unit)
    except BusError as error:
        return f"systemd was asked to stop it and did not: {error}"
    until = time.monotonic() + _TO_STOP
    state = "?"
    while time.monotonic() < until:
        with suppress(BusError):
            state = manager.state(unit)
            if state in ("", "inactive", "failed"):
                return "systemd has stopped it; `systemctl start` starts it again"
        time.sleep(_LOOK)
    return f"systemd was asked to stop it; after {_TO_STOP:.0f} s it is {state}"
