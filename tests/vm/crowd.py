"""Starts processes of every kind that the sources have to agree about, and stops them.

Writes their names and pids as JSON, into the file that it is given, once all have stopped.
They end when it ends.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pty
import signal
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
# Memory that is held as long as the process lives.
kept: mmap.mmap


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        # Some of it in the kernel.
        os.stat("/")


def named(name: bytes) -> None:
    libc.prctl(15, name, 0, 0, 0)


def rest() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def newline() -> None:
    named(b"x y) R\n1 2")


def bytes_of_no_text() -> None:
    named(b"\xff\xfe(\x01")


def niced() -> None:
    os.nice(7)


def other_user() -> None:
    os.setgroups([])
    os.setresgid(1000, 1001, 1001)
    os.setresuid(1000, 1001, 1001)


def almighty() -> None:
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
    # CLONE_NEWUSER: all capabilities, and none that counts outside.
    libc.unshare(0x10000000)


def adjusted() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("321")


def worked() -> None:
    work(0.4)


def threads() -> None:
    """Three that still live, and two that are dead: their times count too."""
    for seconds in (0.1, 0.15):
        thread = threading.Thread(target=work, args=(seconds,))
        thread.start()
        thread.join()

    def stay() -> None:
        work(0.1)
        time.sleep(10000)

    for _ in range(3):
        threading.Thread(target=stay, daemon=True).start()
    time.sleep(1.5)


def big() -> None:
    global kept
    kept = mmap.mmap(-1, 24 << 20)
    for page in range(0, len(kept) - (4 << 20), 4096):
        kept[page] = 1
    address = ctypes.addressof(ctypes.c_char.from_buffer(kept))
    libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(1 << 20))


def on_a_terminal() -> None:
    os.setsid()
    _, terminal = pty.openpty()
    # Opening it anew makes it the controlling one.
    os.close(os.open(os.ttyname(terminal), os.O_RDWR))


def plain() -> None:
    pass


def headless() -> None:
    """The first thread ends, another lives on with the memory."""

    def stay() -> None:
        time.sleep(10000)

    threading.Thread(target=stay).start()
    time.sleep(0.2)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    # exit(2) of this thread alone, which Python knows nothing of.
    libc.syscall(60, 0)


def headless_twice() -> None:
    """The first thread has ended, then two more; those between them go on, with more memory."""
    global kept
    kept = mmap.mmap(-1, 40 << 20)
    for page in range(0, len(kept), 4096):
        kept[page] = 1

    def end() -> None:
        libc.syscall(60, 0)

    def stay() -> None:
        time.sleep(10000)

    for target in (end, end, stay, end, stay):
        threading.Thread(target=target).start()
        time.sleep(0.1)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    libc.syscall(60, 0)


def renamed() -> None:
    """A thread has another name and works as another user; the first one has not."""

    def rename() -> None:
        named(b"systemd")
        libc.syscall(105, 1001)  # setuid(2), of this thread alone
        time.sleep(10000)

    threading.Thread(target=rename).start()
    time.sleep(0.2)


def zombie() -> None:
    os._exit(0)


KINDS = (
    *(newline, bytes_of_no_text, niced, other_user, almighty, adjusted, worked, threads),
    *(big, on_a_terminal, plain, headless, headless_twice, renamed, zombie),
)
UNSTOPPED = (headless, headless_twice, zombie)


def main() -> None:
    pids = {}
    for kind in KINDS:
        pid = os.fork()
        if pid == 0:
            kind()
            # Afterwards, since a change of the user undoes it.
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            rest()
            os._exit(0)
        pids[kind.__name__] = pid
    for kind in KINDS:
        if kind not in UNSTOPPED:
            os.waitpid(pids[kind.__name__], os.WUNTRACED)
    os.waitid(os.P_PID, pids["zombie"], os.WEXITED | os.WNOWAIT)
    time.sleep(1)
    with open(sys.argv[1], "w") as file:
        json.dump(pids, file)
    signal.pause()


main()
