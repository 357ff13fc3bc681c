"""A hook as a unit of its own: out of the sandbox of the service, with a time and a size."""

from __future__ import annotations

import time
from typing import Any

from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.systemd import Manager

# What a hook may take (systemd.exec(5), systemd.resource-control(5)).
_MEMORY, _TASKS = 256 << 20, 64

# Seconds between two looks whether it has ended, and more than its time that it may need to end.
_LOOK, _MORE = 0.1, 3.0

# How systemd calls the end of a service that took too long.
_LATE = ("timeout", "watchdog")


def run(
    connection: Connection, path: str, environment: dict[str, str], said: bytes, seconds: float
) -> str:
    """Run a hook as a transient service, and wait for its end.

    Args:
        path: of the hook; its name has no characters that systemd would take for more.
        environment: its variables, without control characters.
        said: what it reads.
        seconds: that it may take; systemd ends it then, with all that it has started.

    Returns:
        how it failed; empty if it did not.

    Raises:
        BusError: systemd did not start it.
    """
    manager = Manager(connection)
    unit = f"oomrules-hook-{path.rpartition('/')[2]}.service"
    manager.start_transient(unit, _properties(path, environment, said, seconds))
    until = time.monotonic() + seconds + _MORE
    while time.monotonic() < until:
        state = manager.state(unit)
        if state in ("", "inactive"):
            return ""
        if state == "failed":
            result = manager.result(unit)
            _forget(manager, unit)
            late = result in _LATE
            how = f"took longer than {seconds:g} s" if late else f"failed ({result})"
            return f"{how}; `journalctl -u {unit}` shows what it said"
        time.sleep(_LOOK)
    return f"has not ended; `systemctl status {unit}` shows it"


def _forget(manager: Manager, unit: str) -> None:
    try:
        manager.forget_failure(unit)
    except BusError:
        pass  # it is gone already


def _properties(
    path: str, environment: dict[str, str], said: bytes, seconds: float
) -> list[tuple[str, str, Any]]:
    micros = int(seconds * 1e6)
    return [
        ("Description", "s", "What oomrules tells of its guard"),
        # Of this kind the start is over when the process has ended.
        ("Type", "s", "oneshot"),
        ("ExecStart", "a(sasb)", [(path, [path], False)]),
        ("Environment", "as", [f"{name}={value}" for name, value in environment.items()]),
        ("StandardInput", "s", "data"),
        ("StandardInputData", "ay", said),
        ("TimeoutStartUSec", "t", micros),
        ("TimeoutStopUSec", "t", 1_000_000),
        ("OOMScoreAdjust", "i", 0),
        ("MemoryMax", "t", _MEMORY),
        ("TasksMax", "t", _TASKS),
    ]
