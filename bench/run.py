"""Measure a full refresh of oomrules beside its peers, as ratios to a C loop.

Every contender is a process that makes one pass when it starts and one more for
each line it is sent, and answers each with one line of JSON: ``wall`` and
``cpu`` nanoseconds. So one run can interleave them all, and what disturbs the
machine disturbs everybody.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent
BUILD = BENCH / "build"
# The list goes where /proc/oom keeps it, in memory: a disk's pace is not ours.
MEMORY_DISK = Path("/dev/shm")
RESULTS = BENCH / "results.json"

YARDSTICK, OURS = "C loop", "oomrules"
WARM_UPS = 2
# No pass takes near this long; a contender that does is stuck.
PATIENCE = 120.0

RATIO_AIM = 1.0
MEMORY_AIM = 14 * 1024  # KiB resident
MEMORY_AIM_AT = 5000  # processes


class Trouble(Exception):
    """What keeps the benchmark from being run, in one sentence."""


@dataclass
class Contender:
    """How a contender is started.

    Attributes:
        promise: a line it must have written to standard error once started.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    promise: str = ""
    version: str = ""


@dataclass
class Running:
    """A contender at work."""

    name: str
    promise: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def said(self) -> str:
        """Return what it has written to standard error so far."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def answer(self) -> str:
        """Wait for its next line."""
        output = self.process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], PATIENCE)
        line = output.readline() if ready else b""
        if not line:
            why = self.said().splitlines()[-1:] or [f"no answer within {PATIENCE:.0f} s"]
            raise Trouble(f"{self.name} stopped: {why[0]}")
        return line.decode()

    def figures(self) -> dict[str, int]:
        result: dict[str, int] = json.loads(self.answer())
        return result

    def first(self) -> dict[str, int]:
        """Return the figures of the pass that it makes when it starts."""
        result = self.figures()
        if self.promise not in self.said():
            raise Trouble(f"{self.name} did not say: {self.promise}")
        return result

    def ask(self) -> None:
        """Ask for one more pass."""
        assert self.process.stdin is not None
        # If it is gone, the missing answer says so, with the reason.
        with suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")

    def finish(self) -> None:
        """Let it end by itself: there are no more lines."""
        assert self.process.stdin is not None
        self.process.stdin.close()


@contextmanager
def started(contender: Contender) -> Iterator[Running]:
    """Start a contender, and end it however the block ends."""
    # A file, unlike a pipe, never fills up and stops the contender.
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                contender.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **contender.environment},
                bufsize=0,
            )
        except OSError as error:
            raise Trouble(f"{contender.name} cannot be started: {error.strerror}") from error
        # Leaving this block closes the pipes and waits.
        with process:
            try:
                yield Running(contender.name, contender.promise, process, errors)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


def output(*command: str | Path) -> str:
    """Return what a command prints; it must succeed."""
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=BUILD)
    except OSError as error:
        raise Trouble(f"{command[0]} cannot be run: {error.strerror}") from error
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
        raise Trouble(f"{Path(command[0]).name} failed: {last[0]}")
    return result.stdout.strip()


def build() -> None:
    """Compile the C parts."""
    compiler = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra"]
    for name, options in (
        ("spawn", ["-static"]),
        ("statloop", []),
        ("earlyoom_gate.so", ["-shared", "-fPIC", "-ldl"]),
    ):
        source = BENCH / f"{Path(name).stem}.c"
        output(*compiler, "-o", BUILD / name, source, *options)


def packaged(package: str, *paths: str) -> tuple[str, list[str]]:
    """Find a Debian package's version and files: installed, or else unpacked beside the build.

    Unpacking needs no root, registers no service and starts nothing.
    """
    found = [Path("/") / path for path in paths]
    if all(path.exists() for path in found):
        version = output("dpkg-query", "-W", "-f", "${Version}", package)
        return f"{package} {version}", [str(path) for path in found]
    unpacked = BUILD / package
    found = [unpacked / path for path in paths]
    if not list(BUILD.glob(f"{package}_*.deb")):
        output("apt-get", "download", package)
    archive = max(BUILD.glob(f"{package}_*.deb"))
    output("dpkg-deb", "-x", archive, unpacked)
    if not all(path.exists() for path in found):
        raise Trouble(f"{archive.name} does not hold {' and '.join(paths)}")
    version = output("dpkg-deb", "-f", archive, "Version")
    return f"{package} {version}", [str(path) for path in found]


def meminfo(name: str) -> int:
    """Return a figure of /proc/meminfo in KiB."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def earlyoom() -> Contender:
    """earlyoom under ``--dryrun``, with thresholds that memory is always below.

    What is timed is its ``find_largest_process``: see earlyoom_gate.c.
    """
    version, (binary,) = packaged("earlyoom", "usr/bin/earlyoom")
    total, swap = meminfo("MemTotal"), meminfo("SwapTotal")
    # Percentages stop at 99, above which an idle machine may stay: sizes do not.
    # Without any swap, a size is refused and every percentage holds.
    below_swap = ["-S", f"{swap},{swap}"] if swap else ["-s", "99,99"]
    return Contender(
        "earlyoom",
        [binary, "--dryrun", "-r", "0", "-M", f"{total},{total}", *below_swap],
        {"LD_PRELOAD": str(BUILD / "earlyoom_gate.so")},
        promise="dryrun mode enabled, will not kill anything",
        version=version,
    )


def nohang() -> Contender:
    """nohang's ``find_victim`` with the configuration it ships: see nohang_scan.py."""
    version, (script, config) = packaged(
        "nohang", "usr/sbin/nohang", "usr/share/nohang/nohang.conf"
    )
    with open(script) as file:
        interpreter = file.readline().removeprefix("#!").split()
    return Contender(
        "nohang",
        # Its imports warn about a deprecated name of the standard library.
        [*interpreter, "-W", "ignore", str(BENCH / "nohang_scan.py"), script, config],
        version=version,
    )


def contenders(scratch: Path) -> tuple[list[Contender], dict[str, str]]:
    """Return who takes part, and why the others do not."""
    program = scratch / "program.json"
    output(sys.executable, "-I", BENCH / "default_program.py", CHECKOUT, program)
    taking_part = [
        Contender(YARDSTICK, [str(BUILD / "statloop")]),
        Contender(
            OURS,
            [
                *(sys.executable, "-I", "-S", "-E", str(BENCH / "ours.py")),
                *(str(CHECKOUT), str(program), str(scratch / "oom")),
            ],
        ),
    ]
    missing = {}
    for peer in (earlyoom, nohang):
        try:
            contender = peer()
            with started(contender) as trial:
                trial.first()
            taking_part.append(contender)
        except Trouble as why:
            missing[peer.__name__] = str(why)
    return taking_part, missing


def measure(count: int, busy: int, rounds: int, taking_part: list[Contender]) -> dict[str, Any]:
    """Measure everybody in turn, ``rounds`` times, beside ``count`` other processes.

    Between the rounds, ``busy`` percent of the processes do something.
    """
    with ExitStack() as stack:
        spawn = stack.enter_context(
            started(Contender("the spawner", [str(BUILD / "spawn"), str(count), str(busy)]))
        )
        spawn.answer()
        present = sum(name.isdigit() for name in os.listdir("/proc"))
        running = [stack.enter_context(started(contender)) for contender in taking_part]
        cold = {one.name: one.first() for one in running}
        passes: dict[str, list[dict[str, int]]] = {one.name: [] for one in running}
        # Whoever goes second finds what the first has left in the processor's caches.
        # In a fixed order that would favour the same one every time.
        order = random.Random(0)
        for number in range(WARM_UPS + rounds):
            order.shuffle(running)
            spawn.ask()
            spawn.answer()
            for one in running:
                one.ask()
                figures = one.figures()
                if number >= WARM_UPS:
                    passes[one.name].append(figures)
        ours = next(one for one in running if one.name == OURS)
        ours.finish()
        memory = ours.figures()
        spawn.finish()
        if spawn.process.wait():
            raise Trouble(spawn.said())
    return {
        "processes": count,
        "busy": busy,
        "present": present,
        "rounds": rounds,
        "ratios": {
            name: {clock: ratios(passes, name, clock) for clock in ("wall", "cpu")}
            for name in passes
        },
        "cold": {
            clock: cold[OURS][clock] / median(figures[clock] for figures in passes[YARDSTICK])
            for clock in ("wall", "cpu")
        },
        "memory": memory,
        "nanoseconds": passes,
    }


def ratios(passes: dict[str, list[dict[str, int]]], name: str, clock: str) -> dict[str, float]:
    """Divide each pass by the yardstick's of the same round, which met the same machine."""
    each = [
        one[clock] / yardstick[clock]
        for one, yardstick in zip(passes[name], passes[YARDSTICK], strict=True)
    ]
    return {"median": median(each), "min": min(each), "max": max(each)}


def table(stage: dict[str, Any]) -> str:
    """Show one stage."""
    memory = stage["memory"]
    title = (
        f"{stage['processes']:,} processes ({stage['present']:,} with the machine's own), "
        f"{stage['busy']} % of them busy, {stage['rounds']} interleaved rounds: "
        f"ratio to the C loop, median (min to max)"
    )
    lines = [title, f"  {'':<20} {'wall':<23} cpu"]
    for name, clocks in stage["ratios"].items():
        cells = [
            f"{one['median']:5.2f} ({one['min']:.2f} to {one['max']:.2f})"
            for one in clocks.values()
        ]
        lines.append(f"  {name:<20} {cells[0]:<23} {cells[1]:<23}".rstrip())
    cold = stage["cold"]
    lines.append(f"  {OURS + ', first':<20} {cold['wall']:5.2f} {'':<17} {cold['cpu']:5.2f}")
    lines.append(
        f"  {OURS} resident: {memory['VmRSS'] / 1024:.1f} MiB, at its peak "
        f"{memory['VmHWM'] / 1024:.1f} MiB; {memory['descriptors']:,} descriptors kept, "
        f"{memory['listed']:,} processes listed"
    )
    return "\n".join(lines)


def aims(stage: dict[str, Any], missing: dict[str, str]) -> list[str]:
    """Say of each aim whether this stage reached it. The worse of the two clocks counts."""

    def worse(name: str) -> float:
        return float(max(one["median"] for one in stage["ratios"][name].values()))

    def verdict(reached: bool, aim: str) -> str:
        return f"  {'reached' if reached else 'NOT reached'}: {aim}"

    ours = worse(OURS)
    lines = [verdict(ours <= RATIO_AIM, f"at most {RATIO_AIM} of the C loop: {ours:.2f}")]
    for peer in (name for name in stage["ratios"] if name not in (YARDSTICK, OURS)):
        theirs = min(one["median"] for one in stage["ratios"][peer].values())
        lines.append(verdict(ours < theirs, f"below {peer}: {ours:.2f} to {theirs:.2f}"))
    lines += [f"  NOT measured: below {peer}: {why}" for peer, why in missing.items()]
    if stage["processes"] == MEMORY_AIM_AT:
        resident = stage["memory"]["VmRSS"]
        lines.append(
            verdict(
                resident < MEMORY_AIM,
                f"below {MEMORY_AIM // 1024} MiB resident: {resident / 1024:.1f} MiB",
            )
        )
    return lines


def arguments() -> argparse.Namespace:
    def counts(text: str) -> list[int]:
        return [positive(part) for part in text.split(",")]

    def positive(text: str) -> int:
        number = int(text)
        if number < 1:
            raise ValueError
        return number

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--processes", type=counts, default=[1000, 5000], metavar="N,…",
        help="numbers of idle processes (default: 1000,5000)",
    )  # fmt: skip
    parser.add_argument(
        "--busy", type=int, choices=range(101), default=10, metavar="PERCENT",
        help="how many of them do something between the rounds (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=positive, default=30, metavar="N",
        help="measured passes of each (default: 30)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    options = arguments()
    # Ending by a signal runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    BUILD.mkdir(exist_ok=True)
    try:
        build()
        with tempfile.TemporaryDirectory(
            dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None
        ) as scratch:
            taking_part, missing = contenders(Path(scratch))
            peers = [one.version for one in taking_part if one.version]
            about = {
                "kernel": platform.release(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "peers": peers,
            }
            print(f"Linux {about['kernel']}, {about['cpus']} CPUs, Python {about['python']}")
            print(f"Peers: {', '.join(peers) or 'none'}")
            for peer, why in missing.items():
                print(f"{peer} is NOT measured: {why}")
            stages = []
            for count in options.processes:
                stage = measure(count, options.busy, options.rounds, taking_part)
                stages.append(stage)
                print("", table(stage), *aims(stage, missing), sep="\n", flush=True)
        RESULTS.write_text(json.dumps({**about, "missing": missing, "stages": stages}) + "\n")
    except Trouble as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted, nothing was recorded", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
