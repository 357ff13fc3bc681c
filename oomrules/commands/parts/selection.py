"""Which processes a command is about, and where its list goes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from oomrules import config, sinks, state_directory, targets
from oomrules.accounts.names import Names
from oomrules.commands.parts import doubts, facts, recording, shared, wholes
from oomrules.dbus import gather
from oomrules.errors import Failure
from oomrules.processes import hidden, recorded
from oomrules.processes.bpf import PINNED, IteratorSource
from oomrules.processes.proc_status import MOST_LONG
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import Process, Snapshot
from oomrules.processes.values import GETTERS
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker, Ranking, fresh, within
from oomrules.terminal import count


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the list goes, whatever is configured."""
    parser.add_argument(
        "--to",
        action="append",
        type=_target,
        metavar="TARGET",
        help=f"{targets.CHOICES}, whatever {config.PATH} says; repeatable",
    )


def _target(text: str) -> str:
    if not targets.is_target(text):
        raise Failure(f"--to {text}: this is no target", f"write {targets.CHOICES}")
    return text


def settled(options: argparse.Namespace) -> config.Config:
    """Return what is configured, or what the options say instead.

    Raises:
        Failure: the configuration is wrong, and needed.
    """
    if not options.to:
        return config.load(root=options.root)
    # The option is about the list alone. Where the file is wrong, it may have said `Mode=off`.
    found = config.Config(guard=config.OFF)
    with suppress(Failure):
        found = config.load(root=options.root)
    return found._replace(to=tuple(options.to), head=None)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which of the candidates."""
    parser.add_argument(
        "--in",
        dest="within",
        type=shared.named("--in"),
        metavar="UNIT",
        help="only this unit (a glob) and what is below it",
    )
    parser.add_argument("--top", type=shared.number(int, 1), metavar="N", help="only the first N")


class Live(IteratorSource):
    """This host, with the names of its users and groups."""

    names: Names


class Ranked(NamedTuple):
    """A ranking, with the whole host that it was made from."""

    ranking: Ranking
    source: ProcSource | recorded.Recorded

    def notes(self) -> list[str]:
        """Return notes on what could not be seen, and what that means."""
        if isinstance(self.source, ProcSource):
            said = notes(self.source)
        else:
            said = []
            # What was noted then says it in more words.
            if self.source.hidden and not self.source.notes:
                number = count(self.source.hidden, "process")
                said.append(f"{number} could not be seen when this was recorded")
            said += doubts.of_recording(self.source, self.ranking.evaluator.program)
        return [*said, *self.ranking.evaluator.notes(self.source.by_pid)]


def live(
    made: Program,
    asked: gather.Questions | None = None,
    choice: str = "auto",
    most_long: int = 10 * MOST_LONG,
) -> Live:
    """Read this host's processes, and what others say of their units and containers.

    Args:
        made: the rules, which decide what is read.
        asked: what to ask systemd and the runtimes; else what the rules need.
        choice: auto, proc, or the path of a pinned iterator.
        most_long: how many long status files are read (``ProcSource.most_long``).
    """
    tasks = {"auto": PINNED, "proc": None}.get(choice, choice)
    # They are looked up while the processes are read.
    names = Names(made)
    source = Live(
        made,
        own=names.pids,
        names=(names.users, names.groups),
        tasks=tasks,
        expected=choice != "auto",
    )
    source.names, source.most_long = names, most_long
    source.refresh()
    settle_names(names, source)
    problems: list[str] = []
    try:
        sinks.see_originals(source, state_directory.standard())
    except Failure as error:
        problems.append(f"{error.message}; rules see every oom_score_adj as it is now")
    asked = gather.questions(made) if asked is None else asked
    gathered = facts.gathered(asked, source)
    source.facts = gathered._replace(problems=(*gathered.problems, *problems))
    return source


def settle_names(names: Names, source: ProcSource) -> None:
    """Wait for the names that rules ask for, those of running processes too if they need them."""
    if names.need_ids:
        # The oldest first: a user with subordinate ids can make many, but not before the others.
        oldest = sorted(source.by_pid.values(), key=lambda process: process.starttime or 0)
        names.settle(ids(oldest, source, "uid"), ids(oldest, source, "gid"))
    else:
        names.settle()


def ids(processes: Iterable[Process], snapshot: Snapshot, attribute: str) -> list[int]:
    """Return the user or group ids of processes that are known, each once."""
    found = dict.fromkeys(GETTERS[attribute](process, snapshot) for process in processes)
    return [number for number in found if isinstance(number, int)]


def show_names(processes: Iterable[Process], snapshot: Snapshot, groups_too: bool = False) -> None:
    """Look up the users of processes that are going to be shown, and their groups if asked."""
    if isinstance(snapshot, Live):
        groups = ids(processes, snapshot, "gid") if groups_too else ()
        snapshot.names.show(ids(processes, snapshot, "uid"), groups)


def ranked(options: argparse.Namespace, verified: bool = False, everything: bool = False) -> Ranked:
    """Rank the processes that the options name.

    Args:
        verified: read the head of the list once more before it is used.
        everything: rank those outside of the unit as well, for a caller that tells them apart.
    """
    made = shared.program(options)
    unit = getattr(options, "within", None)
    keep = within(unit) if unit and not everything else None
    source: ProcSource | recorded.Recorded
    if options.snapshot:
        source = recording.load(options.snapshot)
        ranking = Ranker(made, source.host).rank(source, keep)
    else:
        asked = gather.questions(made, [unit] if unit else [], wholes.properties(made))
        source = live(made, asked, options.source)
        ranker = Ranker(made, source.host)
        ranking = fresh(ranker, source, keep) if verified else ranker.rank(source, keep)
    candidates = ranking.candidates[: getattr(options, "top", None)]
    return Ranked(ranking._replace(candidates=candidates), source)


def notes(source: ProcSource) -> list[str]:
    """Return notes on what of this host could not be seen."""
    said = list(source.facts.problems)
    if isinstance(source, Live):
        said += source.names.problems()
    if isinstance(source, IteratorSource) and source.note:
        said.append(source.note)
    root = os.geteuid() == 0
    advice = "even root needs CAP_SYS_PTRACE for it" if root else "run as root to see it"
    for field, times in sorted(source.unreadable.items()):
        said.append(
            f"{field} of {count(times, 'process')} could not be read; rules that ask for it "
            f"protect them ({advice})"
        )
    outside = sum(bool(source.by_pid[pid].total_vm) for pid in source.out_of_sight)
    if outside:
        said.append(
            f"the control group of {count(outside, 'process')} lies outside of this namespace, so "
            "its units and limits are unknown, and rules that ask for them protect; join the "
            "host's namespace (`nsenter --target 1 --cgroup oomrules rank`), or start the "
            "container with --cgroupns=host"
        )
    return [*said, *hidden.notes(source.look_for_hidden(), source.hides_processes)]
