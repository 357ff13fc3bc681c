"""Measure the service as it stays: how long it takes to start, and what it costs when idle.

Everything is the real thing: `oomrules run` with a stand-in for systemd's notification socket, and
the peers' own daemons, which cannot kill here. The list goes to a file in memory.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import run
from run import BENCH, BUILD, CHECKOUT, DESCRIPTOR, FAST, PORTABLE, Trouble

sys.path.insert(0, str(CHECKOUT))
from oomrules.processes.bpf import PINNED
from oomrules.service import client

START_AIM = 1.0  # seconds, on an idle host
STARTS = 5
# What a start has left to do is done by then: the first heartbeat comes after 30 s.
SETTLED = 40
SECONDS = 120
PROCESSES = 5000


@dataclass
class Daemon:
    """One that stays: its process, and the directory of its state if it is ours."""

    name: str
    process: subprocess.Popen[bytes]
    state: str = ""

    def used(self) -> tuple[int, float]:
        """Return its processor time so far: in ticks of 1/100 s, and in ms as the scheduler says.

        Its children's are in the ticks.
        """
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            running = int(file.read().split()[0])
        return sum(map(int, fields[11:15])), running / 1e6

    def ask(self, word: str) -> dict[str, Any]:
        """Ask ours for its status, or for a list first."""
        os.environ["OOMRULES_STATE"] = self.state
        found = client.ask(word, run.PATIENCE)
        if found is None:
            raise Trouble(f"{self.name} does not answer")
        return found

    def resident(self) -> float:
        """Return its memory in MiB, with the kernel's for the descriptors that it keeps."""
        with open(f"/proc/{self.process.pid}/status") as file:
            size = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
        kept: int = self.ask("status")["descriptors"] if self.state else 0
        return (size + kept * DESCRIPTOR) / 1024


@contextmanager
def daemon(name: str, command: list[str], state: str = "", **environment: str) -> Iterator[Daemon]:
    """Run one, and end it however the block ends."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Daemon(name, process, state)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def service(name: str, state: Path, *options: str) -> Iterator[tuple[Daemon, float]]:
    """Run ours, and say after how many seconds it was ready."""
    state.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{state}.notify")
        systemd.settimeout(run.PATIENCE)
        command = [sys.executable, "-m", "oomrules", "run", f"--to={state}/list", *options]
        begun = time.monotonic()
        with daemon(
            name, command, str(state), OOMRULES_STATE=str(state), NOTIFY_SOCKET=f"{state}.notify"
        ) as ours:
            while b"READY=1" not in systemd.recv(4096):
                pass
            yield ours, time.monotonic() - begun
    os.unlink(f"{state}.notify")


def starts(scratch: Path) -> None:
    """Print how long a start takes, with nothing compiled before."""
    took = []
    for number in range(STARTS):
        with service("oomrules", scratch / f"start{number}") as (_, seconds):
            took.append(seconds)
    bare = []
    for _ in range(STARTS):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-I", "-S", "-E", "-c", ""], check=True)
        bare.append(time.monotonic() - begun)
    load = os.getloadavg()[0]
    print(
        f"Start: ready after {median(took):.2f} s ({min(took):.2f} to {max(took):.2f}), rules "
        f"compiled; {median(took) / median(bare):.0f} times a bare interpreter's start; load "
        f"average {load:.1f}"
    )
    print(run.verdict(median(took) < START_AIM, f"starts in less than {START_AIM:.0f} s"))


def peers(stack: ExitStack) -> list[Daemon]:
    """Start the peers that can be had."""
    found = []
    for name in ("earlyoom", "nohang"):
        try:
            contender = {"earlyoom": run.earlyoom, "nohang": run.nohang}[name]()
        except Trouble as why:
            print(f"  NOT measured: {name}: {why}")
            continue
        command = contender.command
        if name == "earlyoom":
            # Its own thresholds, which an idle host is far from.
            command = [command[0], "--dryrun"]
        else:
            watch = str(BENCH / "nohang_watch.py")
            command = [watch if word.endswith("nohang_scan.py") else word for word in command]
        found.append(stack.enter_context(daemon(name, command)))
    return found


def idle(daemons: list[Daemon], seconds: int, settled: int = SETTLED) -> dict[str, float]:
    """Print what each costs while nothing happens, and return it, in ms of processor time."""
    used = {}
    time.sleep(settled)
    before = {one.name: one.used() for one in daemons}
    lists = {one.name: one.ask("status") for one in daemons if one.state}
    time.sleep(seconds)
    print(f"Idle for {seconds} s, load average {os.getloadavg()[0]:.1f}:")
    for one in daemons:
        if one.process.poll() is not None:
            raise Trouble(f"{one.name} has ended by itself")
        ticks, running = (
            now - then for now, then in zip(one.used(), before[one.name], strict=True)
        )
        told = ""
        used[one.name] = running
        if one.state:
            then, now = lists[one.name], one.ask("status")
            made = now["refreshes"]["total"] - then["refreshes"]["total"]
            quiet = now["quiet_heartbeats"] - then["quiet_heartbeats"]
            told = f", {made} lists made and {quiet} left as they were"
        print(f"  {one.name:<16} {ticks:.0f} ticks, {running:.1f} ms{told}")
    return used


def memory(daemons: list[Daemon], count: int) -> None:
    """Print how much each holds beside many processes."""
    spawner = run.Contender("the spawner", [str(BUILD / "spawn"), str(count), "10"])
    with run.started(spawner) as spawn:
        spawn.answer()
        for one in daemons:
            for _ in range(3 if one.state else 0):
                one.ask("refresh")
        print(f"Memory beside {count:,} processes:")
        for one in daemons:
            told = ""
            if one.state:
                said = one.ask("status")
                told = (
                    f", {said['memory']['rss'] / 2**20:.1f} of its own with "
                    f"{said['memory']['locked'] / 2**20:.1f} locked, and the kernel's for "
                    f"{said['descriptors']:,} descriptors"
                )
            print(f"  {one.name:<16} {one.resident():.1f} MiB{told}")
        spawn.finish()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=SECONDS, help="idle (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="(default: %(default)s)")
    return parser.parse_args()


def benchmark() -> None:
    """Measure everything and print it."""
    options = arguments()
    run.build()
    with tempfile.TemporaryDirectory(dir=run.MEMORY_DISK) as name, ExitStack() as stack:
        scratch = Path(name)
        starts(scratch)
        # Before the iterator is pinned, in a mount namespace that this one does not see.
        daemons = [stack.enter_context(service(PORTABLE, scratch / "portable"))[0]]
        try:
            run.pinned(Path("/sys/fs/bpf"), Path(PINNED))
            daemons.append(stack.enter_context(service(FAST, scratch / "bpf"))[0])
        except Trouble as why:
            print(f"  NOT measured: {FAST}: {why}")
        daemons += peers(stack)
        idle(daemons, options.seconds)
        memory(daemons, options.processes)


if __name__ == "__main__":
    sys.exit(run.conclude(benchmark))
