"""Candidates that have grown since the list was made: what they hold now decides between them."""

from __future__ import annotations

import os

from oomrules.guard.model import Candidate

_PAGE = os.sysconf("SC_PAGE_SIZE")
# A line of seven numbers.
_LARGEST = 256


def grown(candidates: tuple[Candidate, ...], proc: str = "/proc") -> tuple[Candidate, ...]:
    """Return candidates by what they hold now, as far as the rules leave that open.

    Scores go with size: the address space where they measure that, else what is held. So the points
    of each are scaled by how that has changed since the list. Only neighbours of the same level
    (tier and degree) change places, and a unit that is killed whole keeps its own. Read is
    ``/proc/PID/statm``, which waits for nobody.

    Args:
        candidates: in the order of the list.
    """
    found: list[Candidate] = []
    run: list[tuple[int, Candidate]] = []

    def close() -> None:
        run.sort(key=lambda one: -one[0])
        found.extend(one for _, one in run)
        run.clear()

    for one in candidates:
        if run and run[-1][1].level != one.level:
            close()
        was = one.mapped or one.held
        if one.whole is not None or not one.points or was <= 0:
            close()
            found.append(one)
            continue
        points, sizes = one.points, _sizes(one.pid, proc)
        if sizes is not None:
            mapped, resident = sizes
            one = one._replace(held=resident + one.swap)
            points = points * (mapped if one.mapped else one.held) // was
        run.append((points, one))
    close()
    return tuple(found)


def _sizes(pid: int, proc: str) -> tuple[int, int] | None:
    """Return the bytes that a process has mapped, and those in memory; None: it is not known."""
    try:
        file = os.open(f"{proc}/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mapped, resident, *_ = os.read(file, _LARGEST).split()
        return int(mapped) * _PAGE, int(resident) * _PAGE
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)
