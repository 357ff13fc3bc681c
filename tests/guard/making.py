"""Guards, samples and lists for tests: what is not said is as on a host at rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import HealthCheck, settings

from oomrules.guard.model import HOST, Armed, Candidate, Figures, Flight, Ready, Sample
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program.program import Program

# For examples that take long to make on a busy machine.
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])
GIB = 2**30
MIB = 2**20
# 8 GiB of RAM and 4 GiB of swap at rest.
AT_REST = {
    "memory": 8 * GIB,
    "available": 6 * GIB,
    "free": 4 * GIB,
    "shmem": 0,
    "swap": 4 * GIB,
    "swap_free": 4 * GIB,
    "totalpages": 12 * GIB,
    "some": 0,
    "full": 0,
}


def program(*sentences: str) -> Program:
    """Return the program of one rule file."""
    return compiler.compile_texts([RuleText("g.oom", "".join(f"{line}\n" for line in sentences))])


def armed(made: Program, places: Mapping[str, str] | None = None) -> tuple[Armed, ...]:
    """Return the guards of a program, at the host or at the unit that a target names."""
    found = []
    for number, (targets, guard) in enumerate(made.guards):
        unit = (places or {}).get(targets[-1], f"/{targets[-1]}") if targets else HOST
        found.append(Armed(guard=guard, number=number, unit=unit, name=unit.rpartition("/")[2]))
    return tuple(found)


def candidate(rank: int, held: int = GIB, cgroup: str = "/a.service", **more: object) -> Candidate:
    """Return a candidate whose pid is a thousand and its rank."""
    said = {"pid": 1000 + rank, "start": 10 * rank, "comm": f"c{rank}", "held": held, **more}
    return Candidate(rank=rank, cgroup=cgroup, **said)  # type: ignore[arg-type]


def ready(
    guards: Iterable[Armed], candidates: Iterable[Candidate], made: Program | None = None
) -> Ready:
    """Return a ready list: each place has the candidates that are inside of it."""
    guards, listed = tuple(guards), tuple(candidates)
    places = {one.unit for one in guards} | {HOST}
    return Ready(
        at=0.0,
        armed=guards,
        candidates={
            place: tuple(one for one in listed if f"{one.cgroup}/".startswith(f"{place}/"))
            for place in places
        },
        length=len(listed),
        definitions=made.definitions if made else {},
    )


def sample(
    at: float,
    units: Mapping[str, Figures] | None = None,
    killed: float = float("-inf"),
    **host: int | None,
) -> Sample:
    """Return a sample of a host at rest but for what is said."""
    return Sample(at=at, host={**AT_REST, **host}, units=units or {}, killed=killed)


def flight(
    victim: Candidate, by: Armed, since: float, killed: float | None = None, **more: object
) -> Flight:
    """Return a victim in flight, as the one who signals makes it."""
    said = {
        "escalate": since + by.guard.within / 1000,
        "expected": victim.expected,
        "available": 0,
        **more,
    }
    return Flight(victim=victim, armed=by, since=since, killed=killed, **said)  # type: ignore[arg-type]
