"""Reports as they never should be: cut, mixed, doubled, and with names made to mislead."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.report.forms import FORMS, wrapped
from tests.report.oom_reports import NUMBERS, text
from tests.report.test_forms import WHOLE, messages_of

_FORMS = [form for form in FORMS if not form.startswith("json-pretty")]

# Lines that somebody may have put into a log, none of which is a message of the kernel's.
LURES = (
    b"May  9 14:52:38 h app[7]: Out of memory: Killed process 999999 (lure) total-vm:1kB",
    b"[    1.000000] lure: Out of memory: Killed process 999999 (lure)",
    b"Memory cgroup stats for /Out of memory: Killed process 999999 (lure):",
    b'[    1.000000] audit: comm="Killed process 999999 (lure)"',
    b"[    1.000000] x Killed process 999999 (lure) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
    b"[ 999999] 1 2",
    b'{"MESSAGE": "Killed process 999999 (lure)", "_TRANSPORT": "stdout"}',
    b"14,1,2,-;Killed process 999999 (lure)",
)
LURE = 999999


def _drop(lines: list[bytes], chance: random.Random) -> list[bytes]:
    start = chance.randrange(len(lines))
    return lines[:start] + lines[start + chance.choice((1, 2, 30)) :]


def _double(lines: list[bytes], chance: random.Random) -> list[bytes]:
    start = chance.randrange(len(lines))
    some = lines[start : start + chance.choice((1, 2, 30))]
    return lines[:start] + some + lines[start:]


def _swap(lines: list[bytes], chance: random.Random) -> list[bytes]:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _cut(lines: list[bytes], chance: random.Random) -> list[bytes]:
    return [line[: chance.randrange(80)] if chance.random() < 0.1 else line for line in lines]


def _noise(lines: list[bytes], chance: random.Random) -> list[bytes]:
    lines = list(lines)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(lines))
        line = bytearray(lines[place])
        for _ in range(chance.randrange(1, 9)):
            line.insert(
                chance.randrange(len(line) + 1), chance.choice(b"\0\r\t\x1b()[]:=,#\\\xff>{ a")
            )
        lines[place] = bytes(line)
    return lines


def _lure(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = chance.randrange(len(lines) + 1)
    return [*lines[:place], chance.choice(LURES), *lines[place:]]


def _splice(lines: list[bytes], chance: random.Random) -> list[bytes]:
    other = text(chance.choice(NUMBERS)).split(b"\n")
    start = chance.randrange(len(other))
    return lines[: chance.randrange(len(lines))] + other[start:]


def _mix(lines: list[bytes], chance: random.Random) -> list[bytes]:
    other = text(chance.choice(NUMBERS)).split(b"\n")[:200]
    mixed = list(lines)
    for line in other:
        mixed.insert(chance.randrange(len(mixed) + 1), line)
    return mixed


def _wrap(lines: list[bytes], chance: random.Random) -> list[bytes]:
    return wrapped(b"\n".join(lines), chance.choice((40, 60, 76, 100))).split(b"\n")


def _grep(lines: list[bytes], chance: random.Random) -> list[bytes]:
    word = chance.choice((b"ill", b"oom", b"memory", b"[", b"Kill"))
    return [line for line in lines if word in line] or lines


_WAYS: tuple[Callable[[list[bytes], random.Random], list[bytes]], ...] = (
    *(_drop, _double, _swap, _cut, _noise, _splice, _mix, _wrap, _grep),
)


def mutated(seed: int) -> bytes:
    """Return a report that is no longer as it was; the same one for the same seed."""
    chance = random.Random(seed)
    if chance.random() < 0.4:
        log = FORMS[chance.choice(_FORMS)](messages_of(chance.choice(WHOLE)))
    else:
        log = text(chance.choice(NUMBERS))
    lines = log.split(b"\n")
    for _ in range(chance.randrange(1, 4)):
        lines = chance.choice(_WAYS)(lines, chance) or [b""]
    # Last: a lure that is broken in the right place is a message of the kernel's, to the letter.
    if chance.random() < 0.3:
        lines = _lure(lines, chance)
    return b"\n".join(lines)


def mentioned(log: bytes) -> set[int]:
    """Return every number that the text has, also where a line end is in it."""
    # The journal's numbers for a text, a tab or so among them.
    arrays = re.findall(rb"\[([\d,\s\0]{20,})\]", log)
    numbers = [re.findall(rb"\d+", array.replace(b"\0", b"")) for array in arrays]
    texts = [bytes(int(each) % 256 for each in some) for some in numbers]
    joined = re.sub(rb"=?\r?\n", b"", log)
    found = (re.findall(rb"\d{1,10}", part) for part in (log, joined, *texts))
    return {int(each) for some in found for each in some}
