"""What the runtimes know of the containers that have processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from oomrules.processes.containers import NAMED_BY_PATH, Contained
from oomrules.runtimes import cri, engines
from oomrules.runtimes.answers import PRIORITY, Said, Unanswered
from oomrules.terminal import count

# Seconds for each runtime.
EACH = 5.0

# Containers whose facts are kept; each takes up to 2 KiB.
MOST = 2048

_CALLED = {"docker": "Docker", "podman": "Podman", "cri": "the runtime of Kubernetes"}
_OF = {"docker": "docker", "podman": "podman", "cri-o": "cri", "containerd": "cri"}
_WORDS = {
    "runtime": "the runtime",
    "name": "the name",
    "image": "the image",
    "pod_name": "the pod's name",
    "pod_namespace": "the pod's namespace",
    "pod_priority": "the pod's priority",
}
_UNKNOWN = "so what only it knows of them is unknown, and rules that ask for that protect"


@dataclass(frozen=True)
class Places:
    """Where runtimes are asked: sockets, directories of storage, and directories of programs."""

    docker: str = engines.DOCKER
    podman: str = engines.PODMAN
    storage: tuple[str, ...] | None = None
    programs: str = cri.PATH


STANDARD = Places()


@dataclass
class Answers:
    """What runtimes said.

    Attributes:
        containers: by full id, by ``facts.CONTAINER_FACTS``; those that were asked about.
        problems: what could not be found out, each in one sentence.
        whole: whether the runtimes answered about every container; else it is worth asking again.
    """

    containers: dict[str, Said] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    whole: bool = True


# The facts that are wanted of containers, by their id.
Wanted = dict[str, frozenset[str]]


def ask(
    facts: Collection[str],
    found: Collection[Contained],
    places: Places = STANDARD,
    each: float = EACH,
) -> Answers:
    """Return what the runtimes say of containers; what they do not is among the problems.

    Root's runtimes are asked alone: what listens on a user's socket is that user's choice.

    Args:
        facts: what is wanted, by ``facts.CONTAINER_FACTS``.
        found: the containers that have processes.
        places: where the runtimes are asked.
        each: seconds for each runtime.
    """
    answers = Answers()
    claimed = {one.id for one in found if one.claimed}
    asked: dict[str, Wanted] = {}
    for one in sorted(found, key=lambda one: (one.claimed, one.id))[:MOST]:
        if wanted := _wanted(facts, one):
            asked.setdefault(_OF.get(one.runtime, ""), {}).setdefault(one.id, wanted)
    # Of some the place does not tell the runtime: any may have them.
    unnamed = asked.pop("", {})
    others = dict.fromkeys(_listening(places) if unnamed else [], Wanted())
    for runtime, wanted_of in {**others, **asked}.items():
        why: Unanswered | None = None
        said: dict[str, Said] = {}
        try:
            said = _ASK[runtime](wanted_of, places, time.monotonic() + each)
        except Unanswered as error:
            why = error
        for id_ in said.keys() & {**wanted_of, **unnamed}.keys():
            answers.containers[id_] = said[id_]
        # In a user's own groups a container may have any id.
        proved = {id_: facts_ for id_, facts_ in wanted_of.items() if id_ not in claimed}
        _note(answers, runtime, proved, why)
    _note(answers, "", {id_: unnamed[id_] for id_ in unnamed if id_ not in claimed}, None)
    return answers


def _wanted(facts: Collection[str], one: Contained) -> frozenset[str]:
    """Return which facts a runtime has to be asked for, of one container."""
    if not one.id or one.runtime in NAMED_BY_PATH:
        return frozenset()
    without = {"runtime"} if one.runtime else set()
    if not one.qos:
        # Podman's pods have no more than a name.
        without |= {"pod_namespace", "pod_priority"} | (set() if one.pod else {"pod_name"})
    return frozenset(facts) - without


def _listening(places: Places) -> list[str]:
    """Return the runtimes that could be asked about a container of which only the id is known."""
    there = {"docker": engines.is_socket(places.docker), "cri": cri.program(places.programs)}
    return [runtime for runtime, is_there in there.items() if is_there]


def _note(answers: Answers, runtime: str, wanted: Wanted, why: Unanswered | None) -> None:
    """Add what stayed unknown of containers to the problems."""
    lacking = [id_ for id_ in wanted if id_ not in answers.containers]
    if lacking:
        answers.whole = False
        which, called = _which(lacking), _CALLED.get(runtime, "")
        words = _listed({name for id_ in lacking for name in wanted[id_]})
        if why is not None:
            said = f"{called} does not tell {words} of {which} ({why.why})"
            advice = f"; {why.advice}"
        else:
            whom = called or "no runtime that can be asked here"
            knows = "does not know" if called else "knows"
            said = f"{whom} {knows} {which}, gone or just begun: {words}"
            advice = ""
        answers.problems.append(f"{said}, {_UNKNOWN}{advice}")
    untold = {
        id_: names - answers.containers[id_].keys()
        for id_, names in wanted.items()
        if id_ in answers.containers and not names <= answers.containers[id_].keys()
    }
    if untold:
        names = {name for some in untold.values() for name in some}
        advice = (
            f"; Kubernetes tells a pod's priority to no runtime, so state it in the pod's "
            f"annotation {PRIORITY}"
            if "pod_priority" in names
            else ""
        )
        answers.problems.append(
            f"{_CALLED.get(runtime, 'the runtime')} does not tell {_listed(names)} of "
            f"{_which([*untold])}, {_UNKNOWN}{advice}"
        )


def _which(ids: list[str]) -> str:
    """Return a few containers for people, by as much of their ids as runtimes show."""
    shown = ", ".join(id_[:12] for id_ in sorted(ids)[:3]) + (", …" if ids[3:] else "")
    return f"{count(len(ids), 'container')} ({shown})"


def _listed(names: Collection[str]) -> str:
    words = [_WORDS[name] for name in _WORDS if name in names]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _docker(wanted: Wanted, places: Places, deadline: float) -> dict[str, Said]:
    try:
        return engines.docker(places.docker, deadline)
    except Unanswered as error:
        raise Unanswered(f"{places.docker}: {error.why}", error.advice) from error


def _podman(wanted: Wanted, places: Places, deadline: float) -> dict[str, Said]:
    """Ask Podman: its own file, and its service for what the file does not have.

    The service need not run, and to ask it would start it.
    """
    directories = places.storage or engines.storage_directories()
    why: Unanswered | None = None
    stored: dict[str, Said] = {}
    try:
        stored = engines.storage(list(directories))
    except Unanswered as error:
        why = error
    if all(names <= stored.get(id_, {}).keys() for id_, names in wanted.items()):
        return stored
    try:
        told = engines.podman(places.podman, deadline)
        return {id_: {**stored.get(id_, {}), **told.get(id_, {})} for id_ in {**stored, **told}}
    except Unanswered as error:
        if why is not None:
            both = f"{why.why}; {places.podman}: {error.why}"
            raise Unanswered(both, why.advice) from error
    return stored


def _cri(wanted: Wanted, places: Places, deadline: float) -> dict[str, Said]:
    return cri.containers(deadline, places.programs)


_ASK: dict[str, Callable[[Wanted, Places, float], dict[str, Said]]] = {
    "docker": _docker,
    "podman": _podman,
    "cri": _cri,
}
