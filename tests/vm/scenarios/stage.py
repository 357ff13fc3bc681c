"""Plays a scenario in a guest, one way, and says who was killed."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.vm import states
from tests.vm.guest import Guest
from tests.vm.machine import GuestError
from tests.vm.scenarios.table import ADJUST, MODULE, Actor, Scenario

KERNEL = "kernel"
WAYS = (KERNEL, MODULE, ADJUST)

# How long memory may take to run out, and how long a second kill is waited for.
_PATIENCE = 120
_AFTERWARDS = 12

# The kernel's line, and the module's, which has the same form from these words on.
_KILLED = r"(?:Killed|Terminated) process (\d+) \(([^)]*)\)"
_LINE = re.compile(f"^.*?{_KILLED}.*$", re.MULTILINE)


class Kill(NamedTuple):
    """A kill that the kernel's log tells of."""

    pid: int
    comm: str
    line: str


class Outcome(NamedTuple):
    """What happened.

    Attributes:
        kills: in order.
        panic: whether the guest panicked or hung.
        right: whether the victims are those that the rules want; None: it cannot be covered.
        said: what the emitting command printed on standard error.
    """

    kills: tuple[Kill, ...]
    panic: bool
    right: bool | None
    said: str


def actor_program() -> bytes:
    """Compile actor.c: static, since a library's pages would be thrashed with the rest."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "actor")
        source = Path(__file__).with_name("actor.c")
        flags = ["-static", "-Os", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *flags, "-o", made, source], check=True)
        return made.read_bytes()


def play(scenario: Scenario, way: str, actor: bytes, module: bytes) -> Outcome:
    """Run out of memory in a guest of its own.

    Args:
        module: oom.ko for the guest's kernel.
    """
    with states.guest() as guest:
        said = _prepare(guest, scenario, way, actor, module)
        panic = False
        try:
            guest.run(["touch", "/run/go"])
            guest.wait_console(_KILLED, _PATIENCE)
            time.sleep(_AFTERWARDS)
            guest.run(["true"])
        except GuestError:
            panic = not guest.machine.running or "Kernel panic" in guest.console
        kills = tuple(Kill(int(m[1]), m[2], m[0]) for m in _LINE.finditer(guest.console))
    # The one that is asked by SIGTERM and then killed is one victim.
    victims = {kill.pid: kill.comm for kill in kills}
    right = not panic and 0 < len(victims) <= scenario.most
    right = right and set(victims.values()) <= set(scenario.victims)
    return Outcome(kills, panic, None if way in scenario.uncovered else right, said)


def _prepare(guest: Guest, scenario: Scenario, way: str, actor: bytes, module: bytes) -> str:
    guest.put(actor, "/root/actor", 0o755)
    guest.put(scenario.rules, "/etc/oomrules.d/50-scenario.oom")
    guest.run("mkdir -m 777 /run/actors; chmod 755 /root; " + scenario.prepare, check=True)
    for actor_ in scenario.actors:
        guest.run(_start(actor_), check=True)
    names = " ".join(f"{one.name}.service" for one in scenario.actors)
    processes = sum(one.processes for one in scenario.actors)
    ready = f"until [ $(ls /run/actors | wc -l) = {processes} ]; do sleep 0.2; done"
    guest.run(ready, timeout=60, check=True)
    watch = "systemctl show --value --property=ControlGroup " + names
    guest.run(
        f"for group in $({watch}); do cat /sys/fs/cgroup$group/cgroup.procs; done > /run/watched",
        check=True,
    )
    said = ""
    if way != KERNEL:
        if way == MODULE:
            guest.put(module, "/root/oom.ko")
            guest.run(["insmod", "/root/oom.ko"], check=True)
        target, first = {
            MODULE: ("/proc/oom", "--top"),
            ADJUST: ("oom_score_adj", "--head"),
        }[way]
        emit = ["oomrules", "emit", "--to", target]
        emit += [first, str(scenario.first)] if scenario.first else []
        said = guest.run(emit, timeout=120, check=True).stderr
        guest.run(scenario.meanwhile, env={"EMIT": shlex.join(emit)}, check=True, timeout=60)
    return said


def _start(actor: Actor) -> list[str]:
    # With OOMPolicy=stop systemd would kill what the OOM killer has left of a unit.
    properties = [f"--property={one}" for one in ("OOMPolicy=continue", *actor.unit)]
    unit = [f"--unit={actor.name}.service", *properties]
    return ["systemd-run", "--quiet", *unit, "/root/actor", actor.name, *actor.does.split()]
