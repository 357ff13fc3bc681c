"""Calls that may wait in the kernel, made by threads that nobody waits for longer than he likes.

Giving back the memory of a dying process (process_mrelease(2), Linux 5.15) takes a lock of its
address space, which the process itself may hold. Killing a control group (``cgroup.kill``) takes
the kernel's lock of all control groups, which a process that makes one holds while it waits for
memory. The threads are there before they are needed: to start one takes memory.
"""

from __future__ import annotations

import ctypes
import os
from _thread import allocate_lock, stack_size, start_new_thread
from collections.abc import Callable
from signal import SIG_BLOCK, pthread_sigmask, valid_signals

from oomrules.clock import now
from oomrules.guard import realtime

# PROCESS_MRELEASE_REAP_KILL: it kills, too, so that the process cannot have let go of its memory
# before the call, where another one that looks into it keeps it.
REAP_KILL = 1

# arch/*/entry/syscalls: calls since Linux 5.1 have one number on all architectures, with an offset
# on these.
_MRELEASE = 448
_OFFSETS = {"alpha": 110, "mips": 4000, "mips64": 5000}

_THREADS = 2
_STACK = 128 << 10
# A kill of a whole group that comes later than this could be of others than were meant.
_LATE = 1.0


class Reaper:
    """Threads for calls that may wait. Only one thread may hand over work."""

    def __init__(self) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long]
        self._syscall.restype = ctypes.c_long
        self._number = _MRELEASE + _OFFSETS.get(os.uname().machine, 0)
        self._threads: list[_Thread] = []

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: there can be no more threads.
        """
        before = stack_size(_STACK)
        try:
            while len(self._threads) < _THREADS:
                self._threads.append(_Thread())
        finally:
            stack_size(before)

    def stop(self) -> None:
        """End the threads, each when its call is over."""
        for thread in self._threads:
            thread.leave()
        self._threads = []

    def release(self, pidfd: int, flags: int = 0) -> int:
        """Give back the memory of a dying process; return 0 or the number of the error.

        It waits as long as that takes.
        """
        if self._syscall(self._number, pidfd, flags) == 0:
            return 0
        return ctypes.get_errno()

    def release_soon(self, pidfd: int, flags: int = 0, patience: float = 0.0) -> bool:
        """Have a thread give back the memory of a process.

        Args:
            pidfd: stays the caller's.
            flags: ``REAP_KILL``: the process and all that share its memory are killed, too.
            patience: how many seconds to wait for it.

        Returns:
            whether the call was over within that time.
        """
        thread = self._idle()
        if thread is None:
            return False
        try:
            own = os.dup(pidfd)
        except OSError:
            return False

        def work() -> None:
            try:
                self.release(own, flags)
            finally:
                os.close(own)

        return thread.do(work, patience)

    def kill_soon(self, file: int, patience: float) -> bool:
        """Have a thread kill a control group.

        Args:
            file: its ``cgroup.kill``, open for writing; it stays the caller's.
            patience: how many seconds to wait for it.

        Returns:
            whether it was killed within that time.
        """
        thread = self._idle()
        if thread is None:
            return False
        try:
            own = os.dup(file)
        except OSError:
            return False
        since, done = now(), list[bool]()

        def work() -> None:
            try:
                if now() - since < _LATE:
                    os.write(own, b"1")
                    done.append(True)
            finally:
                os.close(own)

        return thread.do(work, patience) and bool(done)

    def _idle(self) -> _Thread | None:
        return next((thread for thread in self._threads if thread.work is None), None)


class _Thread:
    """One thread, and the work that it has: None while it waits for some."""

    def __init__(self) -> None:
        self.work: Callable[[], None] | None = None
        self._leaving = False
        self._wake, self._done = allocate_lock(), allocate_lock()
        self._wake.acquire()
        self._done.acquire()
        start_new_thread(self._go_round, ())

    def do(self, work: Callable[[], None], patience: float) -> bool:
        """Hand over work; return whether it was done within so many seconds."""
        # What was done after its time was up has left this open.
        self._done.acquire(False)
        self.work = work
        self._wake.release()
        return self._done.acquire(True, patience)

    def leave(self) -> None:
        """End the thread when its work is done."""
        self._leaving = True
        if self.work is None:
            self._wake.release()

    def _go_round(self) -> None:
        # They are for the main thread.
        pthread_sigmask(SIG_BLOCK, valid_signals())
        realtime.enter()
        while not self._leaving:
            self._wake.acquire()
            if self.work is None:
                return
            try:
                self.work()
            except Exception:  # noqa: S110 - the next one still has to be done
                pass
            self._done.release()
            self.work = None
