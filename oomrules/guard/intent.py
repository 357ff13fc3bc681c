"""What is written down before a signal: whom, by which guard, on which figures.

A service that is killed between the signal and the journal's entry loses nothing by that: what is
found at the next start, or by ``oomrules release``, becomes the entry. The file is made and touched
at the start and mapped into a memory that is locked, so that writing takes no memory, makes no call
and waits for nobody.

The guard's thread alone writes the slots, one after the other. The main loop alone writes how far
they are in the journal. So neither needs a lock.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from contextlib import suppress

from oomrules import state_directory
from oomrules.clock import boot, now
from oomrules.errors import reason
from oomrules.guard.model import Armed, Candidate, Sample
from oomrules.kills.guarded import Act
from oomrules.lean import Any, NamedTuple

NAME = "guard.intent"

# What is done to a victim.
KILL, TERMINATE = "kill", "terminate"

# What the file begins with; then the boot that it is of, and the number of the last slot that is in
# the journal.
_MAGIC = b"oomrules intent 1"
_HEAD = struct.Struct("<20s36sQ")
_RECORDED = struct.Struct("<Q")
_RECORDED_AT = 56
_AREA = 4096

# A slot: the checksum of the rest, its number, the length of what it says.
_SLOT = struct.Struct("<IQH")
_SLOTS, _ROOM = 8, 2048
_SIZE = _AREA + _SLOTS * _ROOM

# Characters of what may be long.
_TEXT, _NAME, _PATH, _SHORT = 400, 200, 300, 12

_FIGURES = ("memory", "available", "free", "swap", "swap_free", "stall", "pressure")

_NUMBERS = ("pid", "start", "uid", "rank", "points", "others", "expected")
_TEXTS = ("action", "text", "place", "at_unit", "at_manager", "comm", "cgroup", "unit", "manager")


class Noted(NamedTuple):
    """What was written down, and is not known to be in the journal.

    Attributes:
        number: of the slot; later ones have greater numbers.
        action: ``kill`` or ``terminate``.
        start: the victim's.
        act: what the entry says of it.
    """

    number: int
    action: str
    start: int
    act: Act


class Intent:
    """The file, for as long as a service runs.

    It never raises: a guard that cannot write down what it does still has to do it.

    Args:
        path: of the file, in the state directory.

    Attributes:
        problem: why nothing can be written down; empty if it can.
        left: what an earlier service wrote down, and nobody has put into the journal.
        dry: whether no signal follows, so that nothing is written down.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.dry = False
        self.problem = ""
        self.left: tuple[Noted, ...] = ()
        self._number = 0
        self._map: mmap.mmap | None = None
        self._descriptor = -1
        try:
            self._descriptor = state_directory.lock(path, wait=False)
            self._take_over()
        except BlockingIOError:
            self.problem = f"another oomrules writes to {path}"
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            self.problem = (
                f"cannot write to {path} whom a guard is about to take ({why}): the guards act all "
                "the same, but if oomrules is killed at that moment there is no record; make room "
                f"in {os.path.dirname(path)}, then `systemctl restart oomrules`"
            )
        if self.problem and self._map is None:
            self.close()

    def _take_over(self) -> None:
        """Read what is left, make room for all that may come, and map it."""
        self.left = _pending(_read(self._descriptor))
        self._number = max((noted.number for noted in self.left), default=0)
        if not self.left:
            # What is damaged, or of another boot, is not worth keeping.
            os.ftruncate(self._descriptor, 0)
        os.ftruncate(self._descriptor, _SIZE)
        # Else a full file system would be found by a signal, at the first touch (SIGBUS).
        os.posix_fallocate(self._descriptor, 0, _SIZE)
        made = mmap.mmap(self._descriptor, _SIZE)
        if not self.left:
            made[0 : _HEAD.size] = _HEAD.pack(_MAGIC, boot().encode(), 0)
        # Each page once: what is locked on the first touch is then never waited for.
        for start in range(0, _SIZE, mmap.PAGESIZE):
            made[start + mmap.PAGESIZE - 1] = made[start + mmap.PAGESIZE - 1]
        self._map = made

    def note(
        self,
        action: str,
        victim: Candidate,
        armed: Armed,
        sample: Sample,
        listed: int = 0,
        age: float = 0.0,
    ) -> None:
        """Write down that a victim is about to be signalled; for the guard's thread alone.

        Args:
            action: ``KILL`` if it is SIGKILL that it gets, else ``TERMINATE``.
            armed, sample: the guard, and the figures at the decision.
            listed, age: how long the list was, and how old, in seconds.
        """
        if self._map is None or self.dry:
            return
        said = _encode(action, victim, armed, sample, listed, age)
        self._number += 1
        number = self._number
        body = _SLOT.pack(0, number, len(said))[4:] + said
        at = _place(number)
        self._map[at + 4 : at + 4 + len(body)] = body
        # Last: what is torn has no valid checksum.
        self._map[at : at + 4] = struct.pack("<I", zlib.crc32(body))

    def withdraw(self) -> None:
        """Take back what was noted last: the signal was refused. For the guard's thread alone."""
        if self._map is not None and self._number and not self.dry:
            at = _place(self._number)
            self._map[at : at + 4] = bytes(4)

    def recorded(self, victim: Candidate, action: str) -> None:
        """Take note that the entry is in the journal; for the main loop alone.

        All that was noted before it is dealt with too: the guard's word of it came first.

        Args:
            action: ``kill`` if it was SIGKILL, else ``terminate``.
        """
        if self._map is None:
            return
        for noted in _pending(self._map[:]):
            if (noted.act.pid, noted.start, noted.action) == (victim.pid, victim.start, action):
                self._settle(noted.number)
                return

    def settle(self) -> None:
        """Take note that what was ``left`` is in the journal; for the main loop alone."""
        if self.left:
            self._settle(self.left[-1].number)
            self.left = ()

    def _settle(self, number: int) -> None:
        if self._map is not None:
            self._map[_RECORDED_AT : _RECORDED_AT + 8] = _RECORDED.pack(number)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def left(path: str) -> tuple[Noted, ...]:
    """Return what a service that is gone wrote down and did not record, and settle it.

    It is for a process that records it at once. Nothing is left where there is no such file, where
    a service holds it, or where it is damaged, another user's, or of another boot.
    """
    if not os.path.exists(path):
        return ()
    intent = Intent(path)
    found = intent.left
    intent.settle()
    intent.close()
    return found


def tidy(path: str) -> None:
    """Remove the file of a service that has ended, if all that is in it is in the journal."""
    with suppress(OSError):
        with open(path, "rb") as file:
            data = file.read(_SIZE + 1)
        if not _pending(data):
            os.unlink(path)


# --- what is in the file ----------------------------------------------------------------------


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, _SIZE, 0)


def _place(number: int) -> int:
    return _AREA + number % _SLOTS * _ROOM


def _pending(data: bytes) -> tuple[Noted, ...]:
    """Return what in the file is not known to be in the journal, the first first."""
    if len(data) != _SIZE:
        return ()
    magic, of, recorded = _HEAD.unpack_from(data)
    if magic.rstrip(b"\0") != _MAGIC or of.rstrip(b"\0") != boot().encode():
        return ()
    found = []
    for start in range(_AREA, _SIZE, _ROOM):
        noted = _noted(data[start : start + _ROOM])
        if noted and noted.number > recorded and _place(noted.number) == start:
            found.append(noted)
    return tuple(sorted(found, key=lambda noted: noted.number))


def _noted(slot: bytes) -> Noted | None:
    """Return what a slot says; None if it is empty or torn."""
    checksum, number, length = _SLOT.unpack_from(slot)
    end = _SLOT.size + length
    if not checksum or end > len(slot) or zlib.crc32(slot[4:end]) != checksum:
        return None
    try:
        return _decode(number, json.loads(slot[_SLOT.size : end]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _encode(
    action: str, victim: Candidate, armed: Armed, sample: Sample, listed: int, age: float
) -> bytes:
    said = {
        "action": action,
        "at": sample.at,
        "pid": victim.pid,
        "start": victim.start,
        "uid": victim.uid,
        "comm": victim.comm[:_NAME],
        "cgroup": victim.cgroup[:_PATH],
        "unit": victim.unit[:_NAME],
        "manager": victim.manager[:_NAME],
        "rank": victim.rank,
        "points": victim.points,
        "expected": victim.expected,
        "others": len(victim.whole.others) if victim.whole else 0,
        "listed": listed,
        "age": age,
        "text": armed.guard.text[:_TEXT],
        "place": armed.guard.place[-_NAME:],
        "at_unit": armed.name[:_NAME],
        "at_manager": armed.manager[:_NAME],
        "host": {name: sample.host.get(name) for name in _FIGURES},
    }
    data = json.dumps(said).encode()
    if len(data) > _ROOM - _SLOT.size:
        # Only long names in other scripts come to that: a character takes up to twelve bytes then.
        short = {name: str(said[name])[:_SHORT] for name in _TEXTS}
        data = json.dumps({**said, **short}).encode()
    return data if len(data) <= _ROOM - _SLOT.size else b""


def _decode(number: int, said: dict[str, Any]) -> Noted:
    """Return what a slot says, checked; raise ValueError, KeyError or TypeError."""
    if any(type(said[name]) is not str for name in _TEXTS):
        raise ValueError("no text")
    if any(said[name] is not None and type(said[name]) is not int for name in _NUMBERS):
        raise ValueError("no number")
    host = said["host"]
    if any(host[name] is not None and type(host[name]) is not int for name in _FIGURES):
        raise ValueError("no figure")
    at, listed, age = float(said["at"]), int(said["listed"]), float(said["age"])
    names = ("text", "place", "at_unit", "at_manager", "comm", "cgroup", "unit", "manager")
    act = Act(
        kind="unsure",
        host=host,
        listed=listed,
        age=age,
        ago=max(0.0, now() - at),
        **{name: said[name] for name in names},
        **{name: said[name] for name in _NUMBERS if name != "start"},
    )
    return Noted(number=number, action=said["action"], start=said["start"], act=act)
