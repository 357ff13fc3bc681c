"""Plays a storm under a contender in a guest, and says what came of it."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.vm import cache, module, states
from tests.vm.duel.contenders import PEERS, Contender
from tests.vm.duel.storms import (
    ACTOR,
    DESKTOP,
    FILES,
    INNOCENT,
    MEMORY,
    READER,
    SERVICES,
    SWAPS,
    USER,
    Storm,
    starts,
)
from tests.vm.guest import Guest, Result
from tests.vm.host import say, step
from tests.vm.machine import GuestError, Options
from tests.vm.payload import payload

HERE = Path(__file__).resolve().parent
OPTIONS = Options(memory=MEMORY, packages=PEERS)

# In seconds: a storm at most; nothing has happened for so long, so it is over.
_LIMIT, _QUIET = 110, 4
# A run in which the guest stood still for so long is played again, and how often at most.
_STOOD, _TRIES = 0.3, 3
# What the guest's own commands are, and what comes and goes.
_FLEETING = {"ps", "bash", "sh", "storm", "actor", "systemd-run", "(udev-worker)", "systemctl"}
_PROCESSES = "ps --ppid 2 -p 2 --deselect -o pid=,comm="

Died = tuple[str, int, int, float]


@dataclass(frozen=True)
class Outcome:
    """What came of a storm. Times are seconds; memory is KiB.

    Attributes:
        lost: by which an interactive program was late, beyond 0.2 s each time.
        worst: how late it was at worst.
        ended: from the beginning of the storm to the last death.
        right: how many of the storm's own processes died.
        wrong: the names of others that died.
        kernel: whom the kernel's OOM killer killed.
        stuck: why the guest had to be given up.
        stood: for how long the guest itself stood still, since this machine was busy.
        least: the least of MemAvailable; `stalled` the share of the worst second that was lost.
        died: name, pid, whether of the storm, and when, of each.
        said: what the contender wrote to the journal.
        reactions: of ours, from each sample to its signal.
    """

    lost: float = 0.0
    worst: float = 0.0
    ended: float = 0.0
    right: int = 0
    wrong: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    over: bool = True
    stuck: str = ""
    stood: float = 0.0
    least: int = 0
    stalled: float = 0.0
    said: tuple[str, ...] = ()
    reactions: tuple[float, ...] = ()
    died: tuple[Died, ...] = ()


def actor_program() -> bytes:
    """Compile actor.c: static, since a library's pages would be thrashed with the rest."""

    def make(to: Path) -> None:
        flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *flags, "-o", to / "actor", HERE / "actor.c"], check=True)

    made = cache.layer("duel-actor", [(HERE / "actor.c").read_bytes()], make)
    return (made / "actor").read_bytes()


def inputs(contender: Contender) -> list[str | bytes]:
    """Return all that a contender's result depends on, but for the guest."""
    parts: list[str | bytes] = [(HERE / "actor.c").read_bytes(), repr(contender)]
    if contender.ours:
        parts += _program(payload(states.CHECKOUT))
    return parts


def _program(tar: bytes) -> Iterator[str | bytes]:
    """Yield the files of oomrules, but for its documentation: the table is part of that."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as files:
        for member in files:
            file = files.extractfile(member)
            if file is not None and not member.name.startswith("usr/share/doc/"):
                yield member.name
                yield file.read()


def play(storm: Storm, contender: Contender, swap: str) -> Outcome:
    """Play a storm, in a guest of its own.

    Args:
        swap: a key of SWAPS.
    """
    for _ in range(_TRIES):
        with staged(contender, swap) as guest:
            try:
                outcome = _play(guest, storm, contender)
            except GuestError as error:
                return Outcome(stuck=str(error).splitlines()[0], over=False)
        if outcome.stood < _STOOD:
            break
        say(f"the guest stood still for {outcome.stood:.1f} s: played again")
    return outcome


def _play(guest: Guest, storm: Storm, contender: Contender) -> Outcome:
    if storm.reader:
        start(guest, READER, desktop=False)
        wait_for(guest, INNOCENT + 1)
    unit = "app-storm" if storm.desktop else "storm"
    start(guest, {unit: [storm.does]}, desktop=storm.desktop, properties=storm.properties)
    # Whoever keeps a list has to learn of it.
    time.sleep(3)
    before, own = processes(guest), _children(guest, contender)
    watched = guest.run([ACTOR, "watch", str(_LIMIT), str(_QUIET)], timeout=_LIMIT + 60, check=True)
    seen = json.loads(watched.stdout)
    died: list[Died] = [tuple(one) for one in seen["died"]]
    after = processes(guest)
    storms = {pid for _, pid, own, _ in died if own}
    wrong = {pid: name for pid, name in before.items() if pid not in after and pid not in storms}
    wrong = {pid: n for pid, n in wrong.items() if n not in _FLEETING and pid not in own}
    return Outcome(
        lost=seen["lost"],
        worst=seen["worst"],
        ended=max((when for *_, when in died), default=seen["took"]),
        right=len(storms),
        wrong=tuple(sorted(wrong.values())),
        kernel=tuple(kill.comm for kill in guest.kills()),
        over=bool(seen["over"]),
        stood=seen["stood"],
        least=seen["least_kib"],
        stalled=seen["worst_second_ms"] / 1000,
        died=tuple(died),
        said=tuple(_said(guest, contender, watched)),
        reactions=tuple(_reactions(guest)) if contender.ours else (),
    )


def _children(guest: Guest, contender: Contender) -> set[int]:
    """Return the processes that a contender has besides its main one: they come and go."""
    if not contender.unit:
        return set()
    main, group = (
        guest.run(
            ["systemctl", "show", "--value", f"--property={name}", contender.unit], check=True
        )
        for name in ("MainPID", "ControlGroup")
    )
    pids = guest.get(f"/sys/fs/cgroup{group.stdout.strip()}/cgroup.procs").split()
    return {int(pid) for pid in pids} - {int(main.stdout)}


def _said(guest: Guest, contender: Contender, since: Result) -> Iterable[str]:
    if not contender.unit:
        return []
    words = ["--lines=60", "--output=short-monotonic"]
    return guest.journal(*words, unit=contender.unit, since=since).splitlines()


def _reactions(guest: Guest) -> Iterator[float]:
    for entry in guest.journal_entries(unit="oomrules"):
        if said := entry.get("OOMRULES_REACTION"):
            yield float(said)


def processes(guest: Guest) -> dict[int, str]:
    lines = guest.run(_PROCESSES, check=True, timeout=120).stdout.splitlines()
    return {int(pid): name for pid, name in (line.split(None, 1) for line in lines)}


# The guest as it is before a storm


def staged(contender: Contender, swap: str, options: Options = OPTIONS) -> Guest:
    """A guest in which the contender and everybody but the storm is there, to be entered."""
    image, state = states.saved(options, states.CHECKOUT if contender.ours else None)

    def prepare(guest: Guest) -> None:
        _prepare(guest, contender, swap)

    def make(to: Path) -> None:
        with step(f"preparing {contender.name}, swap: {swap}"):
            states.saves(image, state, options, to, prepare)

    parts = [cache.identity(state), repr(contender), SWAPS[swap], repr((DESKTOP, SERVICES))]
    parts += [inspect.getsource(_prepare), (HERE / "actor.c").read_text()]
    return states.goes_on(image, cache.layer("duel", parts, make, keep=24), options)


def _prepare(guest: Guest, contender: Contender, swap: str) -> None:
    guest.put(actor_program(), ACTOR, 0o755)
    if contender.module:
        guest.put(module.built() / "oom.ko", module.PATH)
    # Debian starts them when they are installed.
    units = "earlyoom nohang nohang-desktop systemd-oomd.socket systemd-oomd"
    guest.run(f"systemctl stop {units}; systemctl disable --quiet {units}", timeout=120)
    for path, size in FILES.items():
        guest.run(f"dd if=/dev/urandom of={path} bs=1M count={size} status=none", check=True)
    # The table of all tasks in each report is what takes longest.
    guest.run("echo 0 > /proc/sys/vm/oom_dump_tasks", check=True)
    guest.run(SWAPS[swap] or "true", check=True, timeout=120)
    guest.run(f"mkdir -m 755 /run/duel; chmod 755 /opt/duel; {ACTOR} init", check=True)
    start(guest, DESKTOP, desktop=True)
    start(guest, SERVICES, desktop=False)
    wait_for(guest, INNOCENT)
    guest.run(contender.start or "true", check=True, timeout=240)
    if contender.unit:
        guest.run(["systemctl", "is-active", contender.unit], check=True)
    guest.run("sync; sleep 5; echo 1 > /proc/sys/vm/drop_caches; sleep 5", check=True)


def start(
    guest: Guest, units: dict[str, list[str]], *, desktop: bool, properties: tuple[str, ...] = ()
) -> None:
    lines = [starts(*one, desktop=desktop, properties=properties) for one in units.items()]
    script = "\n".join(["set -e", *lines])
    guest.run(script, user=USER if desktop else None, check=True, timeout=120)


def wait_for(guest: Guest, number: int) -> None:
    """Wait until so many have what they hold: the table's first word counts them."""
    script = f"until [ $(od -An -td4 -N4 /run/duel/table) -ge {number} ]; do sleep 0.2; done"
    guest.run(script, check=True, timeout=120)


# What was played already


def results(storm: Storm, contender: Contender, swap: str) -> Path:
    """The folder of the results, named after all that they depend on."""
    digest = hashlib.sha256()
    for part in [*inputs(contender), repr(storm), SWAPS[swap], repr(DESKTOP | SERVICES)]:
        digest.update(part.encode() if isinstance(part, str) else part)
    return cache.folder() / "duels" / digest.hexdigest()[:16]


def played(storm: Storm, contender: Contender, swap: str) -> list[Outcome]:
    """Return the outcomes that are known."""
    files = sorted(results(storm, contender, swap).glob("*.json"))
    return [Outcome(**json.loads(path.read_text())) for path in files]


def keep(storm: Storm, contender: Contender, swap: str, outcome: Outcome) -> None:
    """Keep an outcome."""
    folder = results(storm, contender, swap)
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.json"))) + 1
    (folder / f"{number}.json").write_text(json.dumps(asdict(outcome)))
