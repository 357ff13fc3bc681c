"""Measure a full refresh of oomrules beside its peers, as ratios to a C loop.

Every contender is a process that makes one pass when it starts and one more for
each line it is sent, and answers each with one line of JSON: ``wall`` and
``cpu`` nanoseconds. So one run can interleave them all, and what disturbs the
machine disturbs all of them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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
BPFFS = BUILD / "bpffs"

YARDSTICK, PORTABLE, FAST = "C loop", "oomrules", "oomrules, BPF"
WARM_UPS = 2
# No pass takes near this long; a contender that does is stuck.
PATIENCE = 120.0

# Ratios to earlyoom's scan.
AIMS = {PORTABLE: 0.8, FAST: 0.25}
MEMORY_AIM = 12 * 1024  # KiB, with the kernel's part
MEMORY_AIM_AT = 5000  # processes
# What the kernel keeps for an open stat file: descriptors.py shows it.
DESCRIPTOR = 4.5  # KiB
# How many rules, and beside how many processes.
RULES, RULES_AT = (10, 100, 1000), 1000
# A rule of each family of attributes, beside the shipped ones and so many processes.
SHIPPED, FAMILIES_AT = "the shipped rules", 5000
FAMILIES = {
    "score rss": "score rss",
    "score footprint": "score footprint",
    "footprint": "prefer anything when footprint > 1GiB",
    "totalpages": "prefer anything when footprint > totalpages / 4",
    "sums of users": "prefer anything when user.footprint > 1GiB",
    "numbers of groups": "prefer anything when cgroup.processes > 100",
    "growth": "prefer anything when growth > 10MiB",
    "the host": "prefer anything when host.available < 15% and host.stall > 10%",
    "parents": 'prefer anything child of comm "spawn"',
    "ancestors": 'prefer anything under comm "spawn"',
    "containers": 'prefer container.name "web*"',
}
CLONE_NEWNS = 0x00020000  # sched.h


class Trouble(Exception):
    """What keeps the benchmark from being run, in one sentence."""


@dataclass
class Contender:
    """How a contender is started.

    Attributes:
        promise: a line it must have written to standard error once started.
        reports: at its end it prints its memory and descriptors.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    promise: str = ""
    version: str = ""
    reports: bool = False


@dataclass
class Running:
    """A contender at work."""

    name: str
    promise: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    reports: bool = False

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

    def resident(self) -> int:
        """Return its resident memory in KiB, as /proc has it."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

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
                yield Running(contender.name, contender.promise, process, errors, contender.reports)
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
        ("earlyoom_time.so", ["-shared", "-fPIC", "-ldl"]),
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


def pinned(bpffs: Path, path: Path) -> str:
    """Build the BPF iterator and pin it where nobody else sees it; return the path.

    Everything happens in a mount namespace of the benchmark's own, and ends with it.

    Args:
        bpffs: an existing directory, where a BPF file system is mounted.
        path: of the iterator, below it.
    """
    if os.geteuid() != 0:
        raise Trouble("pinning a BPF iterator needs root")
    output("make", "--no-print-directory", "-C", CHECKOUT, "bpf")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise Trouble(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    output("mount", "--make-rprivate", "/")
    output("mount", "-t", "bpf", "bpf", bpffs)
    path.parent.mkdir(exist_ok=True)
    output("bpftool", "iter", "pin", CHECKOUT / "build/oom_iter.bpf.o", path)
    return str(path)


def rule_file(scratch: Path, count: int) -> Path:
    """Write so many rules: of identity and of changing values, for some and for many."""
    kinds = (
        'prefer comm "worker{n}" by 3',
        "spare uid {uid} by 5",
        'spare comm "nginx{n}" when rss > {n}MiB',
        'kill last comm "postgres{n}"',
        'in "batch-{number}.slice": prefer anything when cpu_time > {n}s',
        'prefer user "build{number}" with SYS_ADMIN',
        'never kill comm "daemon{number}-*"',
        "prefer uid {uid} when nice > {nice} and total_vm < {n}GiB by 2",
    )
    path = scratch / f"{count}.oom"
    with open(path, "w") as file:
        file.write("score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))\n")
        for number in range(count):
            places = {"n": 1 + number % 97, "uid": 1000 + number % 500, "nice": number % 20}
            rule = kinds[number % len(kinds)].format(number=number, **places)
            file.write(f"{rule}\n")
    return path


def ours(name: str, scratch: Path, source: str, *given: Path) -> Contender:
    """oomrules, reading from a source, by the shipped rules or others."""
    program = scratch / f"{name}.json"
    output(sys.executable, "-I", BENCH / "compile_rules.py", CHECKOUT, program, *given)
    return Contender(
        name,
        [
            *(sys.executable, "-I", "-S", "-E", str(BENCH / "ours.py")),
            *(str(CHECKOUT), str(program), str(scratch / f"{name}.list"), source),
        ],
        reports=True,
    )


def contenders(scratch: Path) -> tuple[list[Contender], dict[str, str]]:
    """Return who takes part, and why the others do not."""
    taking_part = [
        Contender(YARDSTICK, [str(BUILD / "statloop")]),
        ours(PORTABLE, scratch, "proc"),
    ]
    missing = {}

    def fast() -> Contender:
        BPFFS.mkdir(exist_ok=True)
        return ours(FAST, scratch, pinned(BPFFS, BPFFS / "tasks"))

    for name, make in ((FAST, fast), ("earlyoom", earlyoom), ("nohang", nohang)):
        try:
            contender = make()
            with started(contender) as trial:
                trial.first()
            taking_part.append(contender)
        except Trouble as why:
            missing[name] = str(why)
    return taking_part, missing


def with_rules(scratch: Path, taking_part: list[Contender]) -> list[Contender]:
    """Return the yardstick, and oomrules with ever more rules by its fastest source."""
    names = [one.name for one in taking_part]
    source = str(BPFFS / "tasks") if FAST in names else "proc"
    more = [ours(f"{count:,} rules", scratch, source, rule_file(scratch, count)) for count in RULES]
    return [one for one in taking_part if one.name == YARDSTICK] + more


def with_families(scratch: Path, taking_part: list[Contender]) -> list[Contender]:
    """Return the yardstick, the shipped rules, and those with one more rule of each family."""
    names = [one.name for one in taking_part]
    source = str(BPFFS / "tasks") if FAST in names else "proc"
    shipped = CHECKOUT / "rules.d"
    more = [ours(SHIPPED, scratch, source)]
    for number, (name, rule) in enumerate(FAMILIES.items()):
        path = scratch / f"50-family{number}.oom"
        path.write_text(f"{rule}\n")
        more.append(ours(name, scratch, source, shipped, path))
    return [one for one in taking_part if one.name == YARDSTICK] + more


def families(stage: dict[str, Any]) -> str:
    """Show what each family costs, as a ratio to the shipped rules alone."""
    lines = [
        f"{stage['processes']:,} processes, {stage['rounds']} interleaved rounds: ratio to the "
        "shipped rules, median (min to max)",
        f"  {'':<24} {'wall':<23} cpu",
    ]
    for name in FAMILIES:
        each = [ratios(stage["nanoseconds"], name, SHIPPED, clock) for clock in ("wall", "cpu")]
        cells = [f"{one['median']:5.2f} ({one['min']:.2f} to {one['max']:.2f})" for one in each]
        lines.append(f"  {name:<24} {cells[0]:<23} {cells[1]}")
    return "\n".join(lines)


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
        memory = {}
        for one in running:
            memory[one.name] = {"VmRSS": one.resident()}
            if one.reports:
                one.finish()
                memory[one.name] = one.figures()
        spawn.finish()
        if spawn.process.wait():
            raise Trouble(spawn.said())
    return {
        "processes": count,
        "busy": busy,
        "present": present,
        "rounds": rounds,
        "ratios": {
            name: {clock: ratios(passes, name, YARDSTICK, clock) for clock in ("wall", "cpu")}
            for name in passes
        },
        "to earlyoom": {
            name: {clock: ratios(passes, name, "earlyoom", clock) for clock in ("wall", "cpu")}
            for name in passes
            if "earlyoom" in passes
        },
        "cold": {
            name: {
                clock: cold[name][clock] / median(one[clock] for one in passes[YARDSTICK])
                for clock in ("wall", "cpu")
            }
            for name in memory
            if "descriptors" in memory[name]
        },
        "memory": memory,
        "nanoseconds": passes,
    }


def ratios(
    passes: dict[str, list[dict[str, int]]], name: str, other: str, clock: str
) -> dict[str, float]:
    """Divide each pass by another's of the same round, which met the same machine."""
    each = [one[clock] / two[clock] for one, two in zip(passes[name], passes[other], strict=True)]
    return {"median": median(each), "min": min(each), "max": max(each)}


def worse(clocks: dict[str, dict[str, float]]) -> float:
    """Return the greater median of the two clocks: of an aim, that decides."""
    return max(one["median"] for one in clocks.values())


def whole(memory: dict[str, int]) -> float:
    """Return resident memory in KiB with what the kernel keeps for open descriptors."""
    return memory["VmRSS"] + memory.get("descriptors", 0) * DESCRIPTOR


def table(stage: dict[str, Any]) -> str:
    """Show one stage."""
    title = (
        f"{stage['processes']:,} processes ({stage['present']:,} with the machine's own), "
        f"{stage['busy']} % of them busy, {stage['rounds']} interleaved rounds: "
        f"ratio to the C loop, median (min to max)"
    )
    lines = [title, f"  {'':<22} {'wall':<23} {'cpu':<23} memory"]
    for name, clocks in stage["ratios"].items():
        cells = [
            f"{one['median']:5.2f} ({one['min']:.2f} to {one['max']:.2f})"
            for one in clocks.values()
        ]
        memory = stage["memory"][name]
        shown = f"{whole(memory) / 1024:5.1f} MiB"
        if memory.get("descriptors"):
            shown += (
                f", {memory['VmRSS'] / 1024:.1f} of its own and the kernel's for "
                f"{memory['descriptors']:,} descriptors"
            )
        lines.append(f"  {name:<22} {cells[0]:<23} {cells[1]:<23} {shown}".rstrip())
    for name, cold in stage["cold"].items():
        lines.append(f"  {name + ', first':<22} {cold['wall']:5.2f} {'':<17} {cold['cpu']:5.2f}")
    return "\n".join(lines)


def verdict(reached: bool, aim: str) -> str:
    """Say of an aim whether it was reached."""
    return f"  {'reached' if reached else 'NOT reached'}: {aim}"


def aims(stage: dict[str, Any], missing: dict[str, str]) -> list[str]:
    """Say of each aim whether this stage reached it."""
    lines = []
    for name, aim in AIMS.items():
        text = f"{name} at most {aim} of earlyoom"
        if name in stage["to earlyoom"]:
            figure = worse(stage["to earlyoom"][name])
            lines.append(verdict(figure <= aim, f"{text}: {figure:.2f}"))
    for name, why in missing.items():
        lines.append(f"  NOT measured: {name}: {why}")
    if stage["processes"] == MEMORY_AIM_AT:
        nohang = stage["memory"].get("nohang")
        for name in (name for name in AIMS if name in stage["memory"]):
            used = whole(stage["memory"][name])
            text = f"{name} uses at most {MEMORY_AIM // 1024} MiB: {used / 1024:.1f} MiB"
            lines.append(verdict(used <= MEMORY_AIM, text))
            if nohang:
                text = f"{name} uses less memory than nohang's {whole(nohang) / 1024:.1f} MiB"
                lines.append(verdict(used < whole(nohang), text))
    return lines


def linear(stages: list[dict[str, Any]]) -> list[str]:
    """Show what a process costs, for every number of them, in units of the first."""
    lines = []
    for name in (name for name in AIMS if name in stages[0]["ratios"]):
        each = [
            median(one["cpu"] for one in stage["nanoseconds"][name]) / stage["present"]
            for stage in stages
        ]
        figures = ", ".join(
            f"{cost / each[0]:.2f} at {stage['processes']:,}"
            for cost, stage in zip(each, stages, strict=True)
        )
        lines.append(f"  {name}: CPU time for each process: {figures}")
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
        "--processes", type=counts, default=[1000, 5000, 20000], metavar="N,…",
        help="numbers of other processes (default: 1000,5000,20000)",
    )  # fmt: skip
    parser.add_argument(
        "--busy", type=int, choices=range(101), default=10, metavar="PERCENT",
        help="how many of them do something between the rounds (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=positive, default=30, metavar="N",
        help="measured passes of each (default: 30)",
    )  # fmt: skip
    parser.add_argument(
        "--families-at", type=positive, default=FAMILIES_AT, metavar="N",
        help="beside how many processes the families of attributes are measured "
        f"(default: {FAMILIES_AT})",
    )  # fmt: skip
    return parser.parse_args()


def benchmark() -> None:
    """Measure everything, print it and record it."""
    options = arguments()
    build()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as scratch:
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
        print("", "The cost of more processes:", *linear(stages), sep="\n")
        ruled = with_rules(Path(scratch), taking_part)
        stages.append(measure(RULES_AT, options.busy, options.rounds, ruled))
        print("", "The cost of more rules:", table(stages[-1]), sep="\n")
        asking = with_families(Path(scratch), taking_part)
        stages.append(measure(options.families_at, options.busy, options.rounds, asking))
        print("", "The cost of each family of attributes:", families(stages[-1]), sep="\n")
    RESULTS.write_text(json.dumps({**about, "missing": missing, "stages": stages}) + "\n")


def conclude(work: Callable[[], None]) -> int:
    """Do a benchmark's work; where it comes to no end, say why in one line.

    Returns:
        the exit status.
    """
    # Ending by a signal runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        BUILD.mkdir(exist_ok=True)
        work()
    except (Trouble, OSError) as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted before the end", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(conclude(benchmark))
