"""What only others know of this host: systemd, logind and the runtimes of containers."""

from __future__ import annotations

from oomrules.dbus import gather
from oomrules.processes.facts import Facts
from oomrules.processes.snapshot import Snapshot
from oomrules.processes.values import containers, places
from oomrules.runtimes.ask import ask


def gathered(asked: gather.Questions, snapshot: Snapshot) -> Facts:
    """Return what they say of the units and the containers that processes are in.

    What could not be asked is unknown, and among the problems.
    """
    facts = gather.gather(asked, places(snapshot) if asked.properties else ())
    if not asked.containers:
        return facts
    answers = ask(asked.containers, containers(snapshot))
    return facts._replace(
        containers=answers.containers,
        problems=(*facts.problems, *answers.problems),
        whole=facts.whole and answers.whole,
    )
