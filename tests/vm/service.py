"""The service in a guest: started with a unit of the test's own, and asked how it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.vm.guest import Guest

UNIT = "[Service]\nExecStart=/usr/bin/sleep 10000\n"
LIST = "/run/oomrules/list"


def serving(guest: Guest) -> Guest:
    """Start the service in a guest, and have a unit whose process it lists first."""
    guest.put(UNIT, "/etc/systemd/system/served.service")
    guest.put('kill first unit "served.service"\n', "/etc/oomrules.d/50-mine.oom")
    guest.run(["systemctl", "daemon-reload"], check=True, timeout=60)
    guest.run(["systemctl", "start", "oomrules"], check=True, timeout=180)
    return guest


def status(guest: Guest) -> dict[str, Any]:
    result = guest.run(["oomrules", "status", "--format", "json"], timeout=60)
    assert result.status in (0, 1), result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def show(guest: Guest, name: str, unit: str = "oomrules") -> str:
    argv = ["systemctl", "show", "--value", f"--property={name}", unit]
    return guest.run(argv, check=True).stdout.strip()


def listed(guest: Guest) -> list[str]:
    return guest.get(LIST).decode().split()


def wait(until: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something holds; the emulated guest takes its time."""
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.3)
    return found
