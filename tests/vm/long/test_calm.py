"""Not one kill: hosts that look as if they were in need and are not, with each guard preset armed.

`make calm` runs this; `make calm CALM=long` takes an hour of churn. Each prints how near it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm import states
from tests.vm.duel.contenders import CONTENDERS, Contender
from tests.vm.duel.stage import OPTIONS, processes, staged, wait_for
from tests.vm.duel.storms import ACTOR, INNOCENT, LARGE, starts
from tests.vm.guest import Guest
from tests.vm.machine import Machine
from tests.vm.service import show, wait

CHURN = 3600 if os.environ.get("CALM") == "long" else 60
# The presets as they are shipped. Levels alone, as other daemons have them, kill at such a level.
PRESETS = [one for one in CONTENDERS if one.name in ("oomrules, server", "oomrules, desktop")]
# What comes and goes by itself.
FLEETING = {"ps", "bash", "sh", "actor", "systemd-run", "(udev-worker)", "systemctl", "sleep"}
# The service has children for a moment. That it goes on itself is asked of systemd.
FLEETING |= {"oomrules"}


@pytest.fixture(params=PRESETS, ids=lambda one: one.name.split()[-1])
def preset(request: pytest.FixtureRequest) -> Contender:
    """One that is armed with a preset."""
    found: Contender = request.param
    return found


def meminfo(guest: Guest) -> dict[str, int]:
    """Return the figures of /proc/meminfo in MiB."""
    lines = guest.get("/proc/meminfo").decode().splitlines()
    pairs = (line.split() for line in lines)
    return {name.rstrip(":"): int(value) >> 10 for name, value, *_ in pairs}


def acts(guest: Guest, *kinds: str) -> list[dict[str, Any]]:
    """Return the journal's entries of what the guard did: all, or some kinds."""
    entries = guest.journal_entries(unit="oomrules")
    done = [one for one in entries if "OOMRULES_ACT" in one]
    return [one for one in done if not kinds or one["OOMRULES_ACT"] in kinds]


def unit(guest: Guest, name: str, does: str, *properties: str) -> None:
    """Start a unit with one process."""
    guest.run(starts(name, [does], desktop=False, properties=properties), check=True, timeout=120)


@contextlib.contextmanager
def nobody_dies(guest: Guest, name: str) -> Iterator[None]:
    """Nobody that is there at the beginning of the block is gone at its end, nor was asked to."""
    before = processes(guest)
    looking = guest.start([ACTOR, "look", "36000"])
    yield
    # To its pid: it leads a process group of its own.
    looking.kill("TERM")
    seen = json.loads(looking.wait(120).stdout)
    told = [one["OOMRULES_ACT"] for one in acts(guest)]
    print(*(one["MESSAGE"] for one in acts(guest, "asked", "killed", "failed")), sep="\n", end="")
    print(
        f"\n{name}: {seen['took']:.0f} s, least available {seen['least_kib'] >> 10} MiB, "
        f"least swap free {seen['least_swap_kib'] >> 10} MiB, "
        f"worst second stalled {seen['worst_second_ms']} ms, waited {seen['some_ms'] / 1000:.1f} s "
        f"in all; the guard: {', '.join(told) or 'nothing'}"
    )
    gone = {pid: comm for pid, comm in before.items() if pid not in processes(guest)}
    assert {pid: comm for pid, comm in gone.items() if comm not in FLEETING} == {}
    assert seen["died"] == [] and guest.kills() == []
    assert acts(guest, "asked", "killed", "failed") == []
    assert show(guest, "ActiveState") == "active" and show(guest, "NRestarts") == "0"


def test_page_cache_load(preset: Contender) -> None:
    load = (
        "dd if=/dev/zero of=/var/tmp/big bs=1M count=1500 status=none; cat /var/tmp/big > /dev/null"
    )
    with staged(preset, "none") as guest, nobody_dies(guest, "page cache"):
        guest.run(f"for n in 1 2; do {load}; done", timeout=300, check=True)


def test_a_limited_unit_that_reads_much(preset: Contender) -> None:
    limits = ("MemoryMax=64M", "MemorySwapMax=0")
    with staged(preset, "none") as guest, nobody_dies(guest, "a limited unit"):
        unit(guest, "limited", f"read limited {LARGE}", *limits)
        time.sleep(40)
        events = guest.run("cat /sys/fs/cgroup/system.slice/limited.service/memory.pressure")
        print(events.stdout, end="")


def test_a_file_system_in_memory(preset: Contender) -> None:
    with staged(preset, "disk") as guest, nobody_dies(guest, "tmpfs at 60 %"):
        size = meminfo(guest)["MemTotal"] * 6 // 10
        fill = f"dd if=/dev/zero of=/mnt/file bs=1M count={size} status=none"
        guest.run(f"mount -t tmpfs -o size=90% tmpfs /mnt && {fill}", check=True, timeout=120)
        time.sleep(30)


def test_nearly_all_memory_and_swap_in_use(preset: Contender) -> None:
    """A level that is steady, and came about without hurry."""
    levels: list[tuple[int, int]] = []
    with staged(preset, "disk") as guest:
        figures = meminfo(guest)
        left, swap = figures["MemTotal"] // 10, figures["SwapTotal"]
        with nobody_dies(guest, "90 % of both"):
            size = figures["SwapFree"] - swap // 10
            unit(guest, "ballast", f"steady ballast {size} {left}")
            wait_for(guest, INNOCENT + 1)
            time.sleep(20)
            for _ in range(6):
                figures = meminfo(guest)
                levels.append((figures["MemAvailable"], figures["SwapFree"]))
                time.sleep(10)
        print(f"of {figures['MemTotal']} and {swap} MiB were left: {levels}")
        available, free = map(sorted, zip(*levels, strict=True))
        # Less may be left: programs come and go, and the kernel moves what is used little.
        assert available[3] < left * 1.2 and free[3] < swap * 0.12


def test_it_is_stopped_and_the_clock_jumps(preset: Contender) -> None:
    with staged(preset, "none") as guest, nobody_dies(guest, "suspend"):
        figures = meminfo(guest)
        size = figures["MemAvailable"] - figures["MemTotal"] // 8
        unit(guest, "ballast", f"rest ballast {size}")
        wait_for(guest, INNOCENT + 1)
        pid = show(guest, "MainPID")
        # Shorter than its watchdog waits: systemd would start it anew.
        guest.run(f"kill -STOP {pid}; sleep 20; kill -CONT {pid}", timeout=120, check=True)
        time.sleep(5)
        with guest.paused():
            time.sleep(20)
        time.sleep(5)
        guest.run("date --set '+1 hour'; sleep 5; date --set '2001-01-01'; sleep 5", check=True)


def test_units_come_and_go(preset: Contender) -> None:
    script = f"""
    end=$((SECONDS + {CHURN}))
    while [ $SECONDS -lt $end ]; do
      systemd-run --quiet --collect --slice=churn.slice sleep 0.3
      systemd-run --quiet --collect --wait --slice=churn.slice \\
        sh -c 'head -c 40M /dev/zero > /dev/null'
    done
    """
    with staged(preset, "none") as guest, nobody_dies(guest, "churn"):
        guest.run(script, timeout=CHURN + 120, check=True)


def test_swap_comes_and_goes(preset: Contender) -> None:
    with staged(preset, "disk") as guest, nobody_dies(guest, "swap on and off"):
        for _ in range(5):
            guest.run("swapoff /swap; sleep 3; swapon /swap; sleep 3", check=True, timeout=60)


def test_the_boot(preset: Contender, tmp_path: Path) -> None:
    """It is there from the beginning of the boot, when units start all at once."""
    image, state = states.saved(OPTIONS)

    def enable(guest: Guest) -> None:
        for line in preset.start.splitlines()[:-1]:
            guest.run(line, check=True)
        guest.run("systemctl enable oomrules; sync", check=True, timeout=60)

    states.saves(image, state, OPTIONS, tmp_path, enable)
    with Guest(lambda: Machine(image, OPTIONS, tmp_path / "disk"), booting=True) as guest:
        wait(lambda: show(guest, "ActiveState") == "active", 240)
        time.sleep(20)
        assert acts(guest, "asked", "killed", "failed") == []
        assert guest.kills() == [] and show(guest, "NRestarts") == "0"
