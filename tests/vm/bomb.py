"""Takes memory in the guest, ever more: by malloc, mmap, a file, in a thread, as one of three.

It begins with 60 MiB, and goes on once there is /run/go, with a pause after each 4 MiB.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
import time

PIECE, FIRST = 4 << 20, 15
held: list[object] = []


def piece(way: str, number: int) -> object:
    """Take a piece of memory and touch all of it."""
    if way == "mmap":
        taken = mmap.mmap(-1, PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    elif way == "file":
        file = os.open("/usr/bin/python3", os.O_RDONLY)
        taken = mmap.mmap(file, PIECE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(file)
    else:
        return b"x" * (PIECE + number)
    taken[:] = bytes(PIECE)
    return taken


def grow() -> None:
    for number in range(1000):
        held.append(piece(sys.argv[1], number))
        while number == FIRST and not os.path.exists("/run/go"):
            time.sleep(0.1)
        time.sleep(float(sys.argv[2]))


if sys.argv[1] == "storm":
    for _ in range(2):
        if not os.fork():
            time.sleep(10000)
if sys.argv[1] == "thread":
    threading.Thread(target=grow).start()
    # SYS_exit, of this thread alone.
    ctypes.CDLL(None).syscall(60, 0)
grow()
