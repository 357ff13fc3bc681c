"""Measure the guard: what it costs at rest, and how soon after a sample it signals.

At rest it stands beside the service without guards and beside earlyoom, neither of which can kill
here. To see it signal, everything runs in a pid namespace of its own, where a file with made-up
figures stands for /proc/meminfo, and the victims are processes that do nothing but sleep.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import run
import service as services
from run import BUILD, CHECKOUT, Trouble

sys.path.insert(0, str(CHECKOUT))
from oomrules.guard.sampling import FIGURES

SECONDS, PROCESSES, ROUNDS = 120, 5000, 100
AIM = 0.020  # seconds from the sample to the signal
MEMORY_AIM = 0.5  # MiB
# So little that less is taken between two looks than a victim holds. Else the guard waits for a
# list that knows who has taken it.
RAM = 16 * 2**20
# Near the limit of 5 %, where both look ten times a second, and below it.
REST, NEAR, LOW = 0.5, 0.054, 0.04
INSIDE = "--inside"
NAME = "victim"
# What holds on no host that has room for this benchmark, besides being a dry run.
GUARDS = """
terminate when host.available < 10% and host.swap_free < 10% within 5s
kill when host.available < 5% and host.stall > 10%
warn when host.available < 12%
"""


class Figures:
    """The file that stands for /proc/meminfo, and one for PSI that never changes."""

    def __init__(self, root: Path) -> None:
        (root / "pressure").mkdir(parents=True)
        self.file = root / "meminfo"
        self.file.touch()
        self.set(REST)

    def set(self, share: float) -> None:
        """Set what is available; a reader never sees half of it."""
        sizes = {"MemTotal": RAM, "MemFree": int(RAM * share), "MemAvailable": int(RAM * share)}
        sizes |= dict.fromkeys(("SwapTotal", "SwapFree", "Shmem", "Hugetlb"), 0)
        text = "".join(f"{name}:{size >> 10:>16} kB\n" for name, size in sizes.items())
        descriptor = os.open(self.file, os.O_WRONLY)
        os.pwrite(descriptor, text.encode(), 0)
        os.close(descriptor)


@contextmanager
def victim(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that may be killed: nobody's, so that it has no capability."""

    with subprocess.Popen(
        [program, "1000"], user=65534, group=65534, extra_groups=[], stdin=subprocess.DEVNULL
    ) as process:
        try:
            # earlyoom takes the one with the greatest oom_score.
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
            yield process
        finally:
            process.kill()


def gone(process: subprocess.Popen[bytes], since: float) -> float:
    """Wait for the end of a process; return the seconds until then."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([descriptor], [], [], 30)
        if not ready:
            raise Trouble(f"{NAME} was not killed within 30 s")
        return time.monotonic() - since
    finally:
        os.close(descriptor)


def rounds(
    figures: Figures, program: Path, number: int, prepare: Callable[[], object]
) -> list[float]:
    """Let memory run short again and again; return the seconds until each victim was gone."""
    found = []
    for _ in range(number):
        with victim(program) as process:
            prepare()
            figures.set(NEAR)
            time.sleep(1 + random.random() / 5)
            figures.set(LOW)
            found.append(gone(process, time.monotonic()))
            figures.set(REST)
        time.sleep(0.7)
    return found


def shown(name: str, seconds: list[float], ends: list[float]) -> None:
    """Print a distribution, in ms."""
    seconds, ends = sorted(seconds), sorted(ends)
    late = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    print(
        f"  {name:<28} {median(seconds) * 1e3:6.1f} {late * 1e3:6.1f} {seconds[-1] * 1e3:6.1f}"
        f"   {median(ends) * 1e3:6.1f} {ends[-1] * 1e3:6.1f}   of {len(seconds)}"
    )


def ours(scratch: Path, figures: Figures, program: Path, number: int, busy: bool) -> list[float]:
    """Run the service with a guard; return the seconds from each sample to its signal."""
    rules = scratch / "guard.oom"
    rules.write_text(f'only kill comm "{NAME}"\nkill when host.available < 5%\n')
    name = f"oomrules, {'lists all the time' if busy else 'at rest'}"
    os.environ |= {FIGURES: str(figures.file.parent), "OOMRULES_JOURNAL": "/dev/null"}
    found: list[float] = []
    with services.service(name, scratch / f"state{busy}", f"--rules={rules}") as (daemon, _):
        state = daemon.ask("status")["guard"]
        if state["state"] != "on":
            raise Trouble(f"the guard is {state['state']}: {state['why']}")
        stop = threading.Event()

        def refresh() -> None:
            while not stop.is_set():
                daemon.ask("refresh")

        def prepare() -> None:
            """Take the time of the last kill, and have the next victim listed."""
            reaction = daemon.ask("refresh")["guard"]["reaction"]
            if reaction:
                found.append(reaction["last"])

        beside = threading.Thread(target=refresh)
        if busy:
            beside.start()
        try:
            ends = rounds(figures, program, number, prepare)
            prepare()
        finally:
            stop.set()
            if busy:
                beside.join()
    shown(name, found, ends)
    return found


def earlyoom(scratch: Path, figures: Figures, program: Path, number: int) -> list[float]:
    """Run earlyoom, which sees the same figures; return the same of it."""
    version, (binary,) = run.packaged("earlyoom", "usr/bin/earlyoom")
    run.output("mount", "--bind", figures.file, "/proc/meminfo")
    times = scratch / "times"
    times.touch()
    environment = {"LD_PRELOAD": str(BUILD / "earlyoom_time.so"), "EARLYOOM_TIMES": str(times)}
    command = [binary, "-m", "5,1", "-r", "0", "--prefer", f"^{NAME}$"]
    try:
        with services.daemon("earlyoom", command, **environment):
            time.sleep(1)
            ends = rounds(figures, program, number, lambda: None)
    finally:
        run.output("umount", "/proc/meminfo")
    found = [int(line) / 1e9 for line in times.read_text().split()]
    shown(version, found, ends)
    return found


def inside(options: argparse.Namespace) -> None:
    """Measure reactions: to be called as the first process of a pid namespace."""
    if os.getpid() != 1 or len([name for name in os.listdir("/proc") if name.isdigit()]) > 3:
        raise Trouble("this is no pid namespace of its own")
    with tempfile.TemporaryDirectory(dir=run.MEMORY_DISK) as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        program = BUILD / NAME
        program.write_bytes(Path("/bin/sleep").read_bytes())
        program.chmod(0o755)
        figures = Figures(scratch / "figures")
        spawner = run.Contender("the spawner", [str(BUILD / "spawn"), str(options.processes), "10"])
        with run.started(spawner) as spawn:
            spawn.answer()
            print(f"From the sample to the signal, beside {options.processes:,} processes, in ms:")
            print(f"  {'':<28} median   99 %    max   the end: median and max")
            found = ours(scratch, figures, program, options.rounds, busy=False)
            found += ours(scratch, figures, program, options.rounds, busy=True)
            try:
                theirs = earlyoom(scratch, figures, program, options.rounds)
            except Trouble as why:
                theirs = []
                print(f"  NOT measured: earlyoom: {why}")
            spawn.finish()
        if theirs:
            print(f"  {median(found) / median(theirs):.2f} times earlyoom's, by the medians")
        late = sorted(found)[int(len(found) * 0.99)]
        print(run.verdict(late < AIM, f"signals within {AIM * 1e3:.0f} ms, 99 in 100"))


def reactions(options: argparse.Namespace) -> None:
    """Measure reactions in a pid namespace, where no other process can be signalled."""
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command += [sys.executable, __file__, INSIDE]
    command += [f"--processes={options.processes}", f"--rounds={options.rounds}"]
    sys.stdout.flush()
    if subprocess.run(command, check=False).returncode:
        raise Trouble("the reactions could not be measured: is it root?")


def beside_the_first(pid: int) -> float:
    """Return the processor time of all threads of a process but the first, in ms."""
    threads = [thread for thread in os.listdir(f"/proc/{pid}/task") if thread != str(pid)]
    times = (Path(f"/proc/{pid}/task/{thread}/schedstat").read_text() for thread in threads)
    return sum(int(time.split()[0]) for time in times) / 1e6


def rest(options: argparse.Namespace) -> None:
    """Measure what it costs at rest, and how much memory it takes."""
    with tempfile.TemporaryDirectory(dir=run.MEMORY_DISK) as name, ExitStack() as stack:
        scratch = Path(name)
        rules = scratch / "guards.oom"
        rules.write_text(GUARDS)
        shipped = f"--rules={CHECKOUT / 'rules.d'}"
        plain = stack.enter_context(services.service("no guards", scratch / "plain", shipped))[0]
        guards = ("--dry-run", shipped, f"--rules={rules}")
        armed = stack.enter_context(services.service("guards armed", scratch / "armed", *guards))[0]
        peers = [one for one in services.peers(stack) if one.name == "earlyoom"]
        time.sleep(services.SETTLED)
        before = beside_the_first(armed.process.pid)
        samples, begun = armed.ask("status")["guard"]["rounds"], armed.ask("status")
        used = services.idle([plain, armed, *peers], options.seconds, settled=0)
        thread = beside_the_first(armed.process.pid) - before
        print(f"  of it {thread:.1f} ms in the guard's thread")
        sizes = {}
        for one in (plain, armed):
            said = one.ask("status")
            sizes[one.name] = said["memory"]["rss"] / 2**20
            if "guard" in said and said["guard"]["armed"]:
                guard = said["guard"]
                print(f"  {guard['rounds'] - samples} samples, woken by {guard['source']}")
        lists = armed.ask("status")["refreshes"]["total"] - begun["refreshes"]["total"]
        if lists:
            print(f"  the host was not quiet: it took {lists} lists, which no guard asked for")
        more = sizes[armed.name] - sizes[plain.name]
        print(f"Memory: {sizes[armed.name]:.2f} MiB with guards, {more:+.2f} MiB by them")
        print(run.verdict(more <= MEMORY_AIM, f"guards take no more than {MEMORY_AIM} MiB"))
        for peer in peers:
            ratio, of_guard = used[armed.name] / used[peer.name], thread / used[peer.name]
            print(f"  the guard's thread: {of_guard:.2f} times earlyoom; the service: {ratio:.2f}")
            print(run.verdict(of_guard <= 1, "the guard takes no more than earlyoom"))
            print(run.verdict(ratio <= 1, "the service with guards takes no more than earlyoom"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=SECONDS, help="at rest (%(default)s)")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="kills (%(default)s)")
    parser.add_argument("--only", choices=("rest", "reactions"), help="one of the two")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def benchmark() -> None:
    """Measure everything and print it."""
    options = arguments()
    if options.inside:
        inside(options)
        return
    run.build()
    if options.only != "reactions":
        rest(options)
    if options.only != "rest":
        reactions(options)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.exit(run.conclude(benchmark))
