"""Looks users and groups up in a process of its own, which can be killed.

The C library may wait for a directory service for ever, and nothing in the same process can end
that. Each line of standard input is a question, each line of standard output an answer, written
as soon as it is known:

    user name 616e6e        ->  user name 616e6e 1000 616e6e
    user id 1000            ->  user id 1000 1000 616e6e
    group id 5              ->  group id 5
    user all -              ->  user all - 1000 616e6e, for each, and then user all -

Names are bytes in hexadecimal; a line with nothing behind the question says that there is none.
It is run by its path, with the standard library alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
import sys
from collections.abc import Iterator

# Of those that a directory lists.
_MOST = 4096
# What a directory answers must not take the host's memory.
_MEMORY = 256 << 20
_LONGEST = 30


def _by_name(kind: str, name: str) -> tuple[int, str]:
    called, _, number, *_ = pwd.getpwnam(name) if kind == "user" else grp.getgrnam(name)
    return number, called


def _by_id(kind: str, number: int) -> tuple[int, str]:
    name = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    # Two ids may say that they are called so; the name stands for one of them.
    if _by_name(kind, name)[0] != number:
        raise KeyError(name)
    return number, name


def _all(kind: str) -> Iterator[tuple[int, str]]:
    # One by one: the standard library makes a list of all of them first. Loaded only here,
    # since that takes as long as all the rest.
    import ctypes

    class Entry(ctypes.Structure):
        """What struct passwd and struct group (getpwent(3), getgrent(3)) begin with."""

        _fields_ = (
            ("name", ctypes.c_char_p),
            ("password", ctypes.c_char_p),
            ("number", ctypes.c_uint32),
        )

    libc = ctypes.CDLL(None)
    following = libc.getpwent if kind == "user" else libc.getgrent
    following.restype = ctypes.POINTER(Entry)
    (libc.setpwent if kind == "user" else libc.setgrent)()
    for _ in range(_MOST):
        entry = following()
        if not entry:
            break
        yield entry.contents.number, os.fsdecode(entry.contents.name)


def _answer(kind: str, how: str, key: str) -> Iterator[tuple[int, str]]:
    try:
        if how == "name":
            yield _by_name(kind, os.fsdecode(bytes.fromhex(key)))
        elif how == "id":
            yield _by_id(kind, int(key))
        else:
            yield from _all(kind)
    except (KeyError, ValueError, OverflowError, OSError, MemoryError):
        return


def main() -> None:
    """Answer every question, in the order in which they are asked."""
    # If its parent is gone and cannot kill it, it ends by itself.
    signal.alarm(_LONGEST)
    for limit, most in ((resource.RLIMIT_DATA, _MEMORY), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, least))
    for question in sys.stdin.read().splitlines():
        kind, how, key = question.split(" ")
        for number, name in _answer(kind, how, key):
            print(question, number, os.fsencode(name).hex(), flush=True)
            if how != "all":
                break
        else:
            print(question, flush=True)


if __name__ == "__main__":
    main()
