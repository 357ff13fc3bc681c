"""Memory runs out again and again, in several shapes: who dies, and how old the list was then.

Printed at the end: for each shape the time from its beginning to the first kill, and the age of
the list at each kill. `make storm` has it all; `make storm STORM=short` one storm of each shape.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.vm import module, states
from tests.vm.guest import Guest
from tests.vm.machine import Options
from tests.vm.scenarios.stage import actor_program
from tests.vm.service import show, wait

ROUNDS = 1 if os.environ.get("STORM") == "short" else 3
SWAP = 192  # MiB

# Bigger than any victim when its storm begins, so the kernel alone might take it.
RULES = """
kill first unit "storm-*.service"
never kill unit "precious.service"
kill last unit "reader.service"
"""
SHAPES = {
    "one hog, as fast as it can": "grow=1200 rate=0",
    "one hog, 40 MiB a second": "grow=1200",
    "forty small ones": "hold=16 fork=40",
    "page cache that is in use": "grow=1200",
}
READER = "page cache that is in use"
# Answers in a second, where `oomrules status` takes four to start in the emulated guest.
ASK = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.settimeout(100)
one.connect("/run/oomrules/status.sock")
one.sendall(b"status\\n")
while piece := one.recv(65536):
    sys.stdout.buffer.write(piece)
"""


@dataclass
class Storm:
    """One time out of memory: seconds until the first kill, who was killed (pid and name)."""

    unit: str
    shape: str
    way: str
    took: float
    victims: dict[int, str]

    @property
    def right(self) -> bool:
        """Whether all victims are those that the rules name."""
        return bool(self.victims) and set(self.victims.values()) == {self.unit}


@pytest.fixture
def stormy() -> Iterator[Guest]:
    """A guest of one processor with the service, and somebody who must not die."""
    with states.guest(Options(cpus=1)) as guest:
        guest.put(RULES, "/etc/oomrules.d/50-storm.oom")
        guest.put(actor_program(), "/root/actor", 0o755)
        guest.run("mkdir -m 777 /run/actors; chmod 777 /root; touch /run/go", check=True)
        _start(guest, "precious", "hold=110")
        # The table of all tasks in each report is what takes longest.
        guest.run("echo 0 > /proc/sys/vm/oom_dump_tasks", check=True)
        guest.run(["systemctl", "start", "oomrules"], check=True, timeout=240)
        yield guest


def _start(guest: Guest, unit: str, does: str) -> None:
    # Not root's: with CAP_SYS_RAWIO it would be asked by SIGTERM first.
    argv = ["systemd-run", "--quiet", f"--unit={unit}", "--property=User=build"]
    guest.run([*argv, "/root/actor", unit, *does.split()], check=True, timeout=120)


def _asked(guest: Guest) -> dict[str, Any]:
    done = guest.run(["python3", "-I", "-S", "-c", ASK], check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _goes_to(guest: Guest, way: str) -> bool:
    return bool(_asked(guest)["list"]["to"] == way)


def _history(guest: Guest) -> list[dict[str, Any]]:
    done = guest.run(["oomrules", "history", "--format", "json"], check=True, timeout=120)
    kills: list[dict[str, Any]] = json.loads(done.stdout)["kills"]
    return kills


def _play(guest: Guest, number: int, shape: str, way: str) -> Storm:
    unit = f"storm-{number}"
    if shape == READER:
        _start(guest, "reader", "read=200")
    before = len(guest.kills())
    begun = time.monotonic()
    _start(guest, unit, SHAPES[shape])
    wait(lambda: len(guest.kills()) > before, 300)
    took = time.monotonic() - begun
    # What the kernel has left of the unit is ended by systemd, and the list is made anew.
    wait(lambda: show(guest, "ActiveState", unit) == "failed", 300)
    wait(lambda: _asked(guest)["kills"] >= len(guest.kills()), 120)
    if shape == READER:
        assert show(guest, "ActiveState", "reader") == "active"
        guest.run(["systemctl", "stop", "reader"], check=True, timeout=120)
    victims = {kill.pid: kill.comm for kill in guest.kills()[before:]}
    return Storm(unit, shape, way, took, victims)


@pytest.mark.parametrize("swap", [0, SWAP])
def test_whoever_the_rules_name_dies_and_the_list_is_fresh(stormy: Guest, swap: int) -> None:
    guest = stormy
    storms: list[Storm] = []
    if swap:
        script = f"fallocate -l {swap}M /swap; chmod 600 /swap; mkswap -q /swap; swapon /swap"
        guest.run(script, check=True, timeout=120)
    pid = show(guest, "MainPID")
    assert _goes_to(guest, "oom_score_adj")
    for way in ("oom_score_adj", "/proc/oom"):
        if way == "/proc/oom":
            module.load(guest)
        # The service notices that the module has come, without being told.
        wait(partial(_goes_to, guest, way), 90)
        for shape in SHAPES:
            for _ in range(ROUNDS):
                storms.append(_play(guest, len(storms) + 1, shape, way))
                done = storms[-1]
                others = {} if done.right else done.victims
                print(
                    f"\n{shape}, {way}: {done.took:.0f} s, {len(done.victims)} killed",
                    f"WRONG: {others}" if others else "",
                    end="",
                )
    guest.run(["rmmod", "oom"], check=True)
    wait(partial(_goes_to, guest, "oom_score_adj"), 90)
    recorded = {kill["pid"]: kill for kill in _history(guest)}
    _report(storms, recorded, swap)
    assert [storm for storm in storms if not storm.right] == []
    assert set(recorded) == {pid for storm in storms for pid in storm.victims}
    assert (show(guest, "MainPID"), show(guest, "NRestarts")) == (pid, "0")
    assert show(guest, "ActiveState", "precious") == "active"
    assert "watchdog" not in guest.journal(unit="oomrules").lower()


def _report(storms: list[Storm], recorded: dict[int, dict[str, Any]], swap: int) -> None:
    print(f"\n{len(storms)} storms, {swap} MiB of swap; in seconds:")
    for way, shape in dict.fromkeys((storm.way, storm.shape) for storm in storms):
        alike = [storm for storm in storms if (storm.way, storm.shape) == (way, shape)]
        took = ", ".join(f"{storm.took:.0f}" for storm in alike)
        kills = [recorded[pid] for storm in alike for pid in storm.victims if pid in recorded]
        ages = sorted(kill["list_age"] or 0.0 for kill in kills) or [0.0]
        ranks = [kill["rank"] for kill in kills]
        print(
            f"  {shape}, by {way}: out of memory after {took}; {len(kills)} kills, "
            f"{sum(rank == 1 for rank in ranks)} of rank 1, {ranks.count(None)} not listed; age of "
            f"the list {ages[0]:.1f} to {ages[-1]:.1f}, median {statistics.median(ages):.1f}"
        )
