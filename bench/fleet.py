"""How many recorded hosts `oomrules fleet rank` judges in a second, and what a worker holds.

    python bench/fleet.py [HOSTS]

One process, two, and a cluster of two workers, beside a loop that calls ``rank`` for each file in
this process. Ratios to the loop are what counts; hosts per second are of this machine. The memory
of a worker is its largest resident set (VmHWM), from a hundred hosts to HOSTS.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import fleet_hosts
import psutil

from oomrules.fleet import running
from oomrules.fleet.questions import Question, text_of
from oomrules.language.compiler import compile_rules
from oomrules.language.rulefiles import given
from oomrules.processes import recorded
from oomrules.ranking.ranker import Ranker

RULES = Path(__file__).resolve().parent.parent / "rules.d"
TIMED = 1000
PROCESSES = 100


def loop(files: list[Path]) -> None:
    """Do it without oomrules' own fleet: read, rank, take the first."""
    made = compile_rules(given([str(RULES)], Path("/")))
    for path in files:
        snapshot = recorded.load(str(path))
        Ranker(made, snapshot.host).rank(snapshot).candidates[:1]


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def asked(files: list[Path], processes: int, scheduler: str = "") -> int:
    made = compile_rules(given([str(RULES)], Path("/")))
    question = Question("rank", (text_of(made),))
    names = [str(path) for path in files]
    bad = sum("error" in one for one in running.ask(question, names, processes, scheduler))
    assert not bad, f"{bad} recordings were not judged"
    return len(names)


def largest(work: Callable[[], object]) -> int:
    """Return the largest resident set of any worker while some work is done, in KiB."""
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.2):
            for child in psutil.Process().children(recursive=True):
                try:
                    status = Path(f"/proc/{child.pid}/status").read_text()
                except OSError:
                    continue
                peak = [line.split()[1] for line in status.splitlines() if "VmHWM" in line]
                most = max(most, *map(int, peak), 0) if peak else most

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most


def cluster(folder: Path) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """Start a scheduler and two workers as an administrator would, and return the address."""
    python = [sys.executable, "-m", "distributed.cli."]
    address = "tcp://127.0.0.1:48786"
    commands = [
        ["dask_scheduler", "--host", "127.0.0.1", "--port", "48786", "--no-dashboard"],
        *[["dask_worker", address, "--nthreads", "1", "--no-dashboard"]] * 2,
    ]
    started = []
    for command, *options in commands:
        argv = [*python[:2], python[2] + command, *options]
        with (folder / "cluster.log").open("ab") as log:
            started.append(subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder))
        time.sleep(3)
    return address, started


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="oomrules-bench-") as name:
        folder = Path(name)
        files = fleet_hosts.write(folder / "hosts", most, PROCESSES, lambda _: "")
        few = files[:TIMED]
        alone = timed(lambda: loop(few))
        print(f"{len(few)} hosts of {PROCESSES} processes; start of the workers included")
        _row("a plain loop", len(few), alone, alone)
        _row("fleet, one process", len(few), timed(lambda: asked(few, 1)), alone)
        _row("fleet, two processes", len(few), timed(lambda: asked(few, 2)), alone)
        address, started = cluster(folder)
        try:
            _row("a cluster of two workers", len(few), timed(lambda: asked(few, 0, address)), alone)
        finally:
            for one in started[::-1]:
                one.terminate()
                one.wait()
        number = 100
        while number <= most:
            some = files[:number]
            peak = largest(lambda some=some: asked(some, 2))  # type: ignore[misc]
            print(f"largest worker, {number:6} hosts: {peak / 1024:.0f} MiB")
            number *= 10


def _row(what: str, hosts: int, seconds: float, alone: float) -> None:
    print(f"{what:26} {hosts / seconds:8.1f} hosts/s   {alone / seconds:5.2f} × the loop")


if __name__ == "__main__":
    main()
