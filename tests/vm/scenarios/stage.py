"""Plays a scenario in a guest, one way, and says who was killed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.vm import states
from tests.vm.guest import Guest
from tests.vm.machine import GuestError
from tests.vm.scenarios.table import ADJUST, MODULE, Actor, Scenario

KERNEL = "kernel"
WAYS = (KERNEL, MODULE, ADJUST)

BEFORE, LOG = "/root/before.jsonl", "/root/oom.log"
REPLAY = ("oomrules", "replay", LOG, "--number", "1", "--format", "json")

# How long memory may take to run out, and how long a second kill is waited for. At the limit of a
# control group it follows at once: no page cache has to go first.
_PATIENCE = 120
_AFTERWARDS = 12
_AFTERWARDS_AT_LIMIT = 5

# Becomes `build` in the control group that is its first argument. 0 is the shell itself.
_ENTER = (
    'echo 0 > "/sys/fs/cgroup/$1/cgroup.procs" || exit; shift; '
    'exec setpriv --reuid=build --regid=build --clear-groups "$@"'
)

# The kernel's line, and the module's, which has the same form from these words on.
_KILLED = r"(?:Killed|Terminated) process (\d+) \(([^)]*)\)"
_LINE = re.compile(f"^.*?{_KILLED}.*$", re.MULTILINE)


class Kill(NamedTuple):
    """A kill that the kernel's log tells of."""

    pid: int
    comm: str
    line: str


class Replayed(NamedTuple):
    """What `oomrules replay` says of the kernel's report.

    Attributes:
        code: why the kernel took it.
        result: of the kernel's choice, computed again.
        alone: what the rules say of the report alone: certain, open or nobody, and the first names.
        known: the same with a snapshot from before.
    """

    code: str
    result: str
    alone: tuple[str, tuple[str, ...]]
    known: tuple[str, tuple[str, ...]]


class Outcome(NamedTuple):
    """What happened.

    Attributes:
        kills: in order.
        panic: whether the guest panicked or hung.
        right: whether the victims are those that the rules want, at the limit of a control group
            the first one; None: it cannot be covered.
        said: what the emitting command printed on standard error.
        replayed: None after a panic.
    """

    kills: tuple[Kill, ...]
    panic: bool
    right: bool | None
    said: str
    replayed: Replayed | None = None


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
        _furnish(guest, scenario, way, actor, module)
        _gather(guest, scenario)
        said = _arm(guest, scenario, way)
        guest.run(["oomrules", "snapshot", "-o", BEFORE], check=True, timeout=120)
        panic, replayed = False, None
        kills: tuple[Kill, ...] = ()
        try:
            guest.run(["touch", "/run/go"])
            guest.wait_console(_KILLED, _PATIENCE)
            time.sleep(_AFTERWARDS_AT_LIMIT if scenario.limited else _AFTERWARDS)
            # Replaying takes time, in which what was won is taken again.
            kills = _kills(guest)
            replayed = _replay(guest)
        except GuestError:
            panic = not guest.machine.running or "Kernel panic" in guest.console
            kills = kills or _kills(guest)
    right = not panic and _right(scenario, kills)
    covered = None if way in scenario.uncovered else right
    return Outcome(kills=kills, panic=panic, right=covered, said=said, replayed=replayed)


def play_again(
    scenario: Scenario, way: str, times: int, actor: bytes, module: bytes
) -> Iterator[tuple[Kill, ...]]:
    """Run out of memory again and again in one guest; return the kills of each time.

    A time in which nobody was killed has none.

    Args:
        module: oom.ko for the guest's kernel.
    """
    units = [f"{one.name}.service" for one in scenario.actors]
    with states.guest() as guest:
        _furnish(guest, scenario, way, actor, module)
        for _ in range(times):
            guest.run(scenario.again, check=True)
            _gather(guest, scenario)
            _arm(guest, scenario, way)
            begin = len(guest.console)
            guest.run(["touch", "/run/go"])
            end = time.monotonic() + _PATIENCE
            while not _kills(guest, begin) and time.monotonic() < end:
                time.sleep(0.1)
            time.sleep(_AFTERWARDS_AT_LIMIT)
            yield _kills(guest, begin)
            guest.run(["systemctl", "stop", *units], timeout=120)
            # What was killed is loaded as long as its failure is remembered.
            guest.run("systemctl reset-failed; rm -f /run/go /run/actors/*", check=True)


def _kills(guest: Guest, begin: int = 0) -> tuple[Kill, ...]:
    """Return the kills that the console tells of, from a place in it on."""
    found = _LINE.finditer(guest.console, begin)
    return tuple(Kill(int(m[1]), m[2], m[0]) for m in found)


def _right(scenario: Scenario, kills: tuple[Kill, ...]) -> bool:
    """Whether the victims are those that the rules want."""
    # The one that is asked by SIGTERM and then killed is one victim.
    victims = list({kill.pid: kill.comm for kill in kills}.values())
    if scenario.limited:
        return bool(victims) and victims[0] in scenario.victims
    return 0 < len(victims) <= scenario.most and set(victims) <= set(scenario.victims)


def _replay(guest: Guest) -> Replayed:
    """Replay the first report."""
    guest.run(f"dmesg > {LOG}; systemctl stop 'repeat*'", check=True, timeout=60)
    alone, known = (
        json.loads(guest.run([*REPLAY, *more], timeout=240).stdout)
        for more in ((), ("--snapshot", BEFORE))
    )
    return Replayed(
        code=alone["choice"]["code"],
        result=alone["choice"]["result"],
        alone=_verdict(alone),
        known=_verdict(known),
    )


def _verdict(said: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    rules = said["rules"]
    return rules["result"], tuple(one["comm"] for one in rules["possible"])


def _furnish(guest: Guest, scenario: Scenario, way: str, actor: bytes, module: bytes) -> None:
    """Bring what a scenario needs, once."""
    guest.put(actor, "/root/actor", 0o755)
    guest.put(scenario.rules, "/etc/oomrules.d/50-scenario.oom")
    guest.run("mkdir -m 777 /run/actors; chmod 755 /root; " + scenario.prepare, check=True)
    if way == MODULE:
        guest.put(module, "/root/oom.ko")
        guest.run(["insmod", "/root/oom.ko"], check=True)


def _gather(guest: Guest, scenario: Scenario) -> None:
    """Start the actors, and wait until all of them have the memory that they begin with."""
    for actor in scenario.actors:
        guest.run(_start(actor), check=True)
    processes = sum(one.processes for one in scenario.actors)
    ready = f"until [ $(ls /run/actors | wc -l) = {processes} ]; do sleep 0.2; done"
    guest.run(ready, timeout=60, check=True)
    guest.run("ls /run/actors > /run/watched", check=True)


def _arm(guest: Guest, scenario: Scenario, way: str) -> str:
    """Put the list into force; return what the command said on standard error."""
    said, emit = "", ["sleep", "1"]  # by the kernel alone nothing is emitted
    if way != KERNEL:
        target, first = {MODULE: ("/proc/oom", "--top"), ADJUST: ("oom_score_adj", "--head")}[way]
        emit = ["oomrules", "emit", "--to", target]
        emit += [first, str(scenario.first)] if scenario.first else []
        said = guest.run(emit, timeout=120, check=True).stderr
    guest.run(scenario.meanwhile, env={"EMIT": shlex.join(emit)}, check=True, timeout=60)
    return said


def _start(actor: Actor) -> list[str]:
    # With OOMPolicy=stop systemd would kill what the OOM killer has left of a unit.
    properties = [f"--property={one}" for one in ("OOMPolicy=continue", *actor.unit)]
    unit = [f"--unit={actor.name}.service", *properties]
    enter = ["sh", "-c", _ENTER, "sh", actor.group] if actor.group else []
    program = ["/root/actor", actor.name, *actor.does.split()]
    return ["systemd-run", "--quiet", *unit, *enter, *program]
