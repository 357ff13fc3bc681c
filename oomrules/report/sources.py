"""Where a log is: a file, plain or packed, the standard input, or this host's kernel log."""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib
import io
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

from oomrules.errors import Failure, reason
from oomrules.report.lines import Readable

STDIN = "-"
KMSG = "/dev/kmsg"

# A record of /dev/kmsg is shorter (PRINTK_MESSAGE_MAX), and is read whole or not at all.
_RECORD = 16 * 1024

# How packed files begin.
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
# The journal's own files.
_JOURNAL = b"LPKSHHRH"

_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)


class _Named:
    """A stream whose faults name it."""

    def __init__(
        self, stream: Readable, name: str, faults: tuple[type[BaseException], ...] = ()
    ) -> None:
        self._stream, self._name = stream, name
        self._faults: tuple[type[BaseException], ...] = (*_FAULTS, *faults)

    def readline(self, most: int, /) -> bytes:
        """Return the next line.

        Raises:
            Failure: it cannot be read.
        """
        try:
            return self._stream.readline(most)
        except self._faults as error:
            raise _failure(self._name, error) from None


@contextmanager
def opened(path: str) -> Iterator[Readable]:
    """Open a log; gzip, bzip2, xz and zstd are undone.

    Args:
        path: of a file or a pipe; ``-`` is the standard input.

    Raises:
        Failure: it cannot be opened, or it is nothing that can be read as a log.
    """
    try:
        raw = sys.stdin.buffer if path == STDIN else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise _failure(path, error) from None
    name = "standard input" if path == STDIN else path
    try:
        yield _plain(cast("io.BufferedReader", raw), name)
    finally:
        if path != STDIN:
            raw.close()


def _plain(raw: io.BufferedReader, name: str) -> _Named:
    """Return a stream of what is packed in another."""
    try:
        mode = os.fstat(raw.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        start = raw.peek(16)[:16]
    except OSError as error:
        raise _failure(name, error) from None
    if start.startswith(_JOURNAL):
        raise Failure(
            f"{name} is a file of the journal, not its text",
            f"try `journalctl --file {name} -k -o json | oomrules replay -`",
        )
    if start.startswith(_GZIP):
        return _Named(cast("BinaryIO", gzip.open(raw)), name)
    if start.startswith(_BZIP2):
        return _Named(bz2.open(raw), name)
    if start.startswith(_XZ):
        return _Named(lzma.open(raw), name)
    if start.startswith(_ZSTD):
        return _unpacked(raw, name)
    return _Named(raw, name)


def _unpacked(raw: io.BufferedReader, name: str) -> _Named:
    """Undo zstd, by Python itself (from 3.14 on) or by the library zstandard."""
    try:
        module = importlib.import_module("compression.zstd")
        return _Named(module.open(raw), name, (module.ZstdError,))
    except ImportError:
        pass
    try:
        module = importlib.import_module("zstandard")
    except ImportError:
        raise Failure(
            f"{name} is packed with zstd, and this Python cannot unpack that",
            "install the package python3-zstandard, or try "
            f"`zstd -dc {'FILE' if name == 'standard input' else name} | oomrules replay -`",
        ) from None
    reader = module.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return _Named(io.BufferedReader(reader), name, (module.ZstdError,))


def _failure(name: str, error: BaseException) -> Failure:
    if isinstance(error, IsADirectoryError):
        return Failure(f"{name} is a directory", "name the file of a log that is in it")
    if isinstance(error, PermissionError):
        return Failure(f"{name}: {reason(error)}", "run this as root")
    if isinstance(error, FileNotFoundError):
        return Failure(
            f"{name}: {reason(error)}",
            "name a log, as in /var/log; without a name, this host's own log is read",
        )
    if isinstance(error, (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)):
        return Failure(f"{name} is packed, and damaged or cut: {error}", "take another copy of it")
    if isinstance(error, OSError):
        return Failure(f"{name}: {reason(error)}")
    return Failure(f"{name} cannot be unpacked: {error}", "take another copy of it")


@contextmanager
def kernel_log(
    boot: str = "0", since: str = "", path: str = KMSG
) -> Iterator[tuple[Readable, str]]:
    """Open this host's kernel log, and say what it is.

    The kernel's own buffer, if that still holds all of the current boot; else the journal.

    Args:
        boot: as ``journalctl --boot`` takes it: ``0`` for this one, ``-1`` for the one before.
        since: as ``journalctl --since`` takes it; empty for all.

    Raises:
        Failure: neither can be read.
    """
    with ExitStack() as stack:
        records, refused = None, None
        if boot in ("", "0") and not since:
            try:
                records = _Records(path)
                stack.callback(records.close)
            except OSError as error:
                refused = error
        if refused and shutil.which("journalctl") is None:
            raise _refused(path, refused)
        if records and (records.whole or shutil.which("journalctl") is None):
            yield _Named(records, path), path
        else:
            yield _of_journal(stack, records, path, boot or "0", since)


def _of_journal(
    stack: ExitStack, records: _Records | None, path: str, boot: str, since: str
) -> tuple[Readable, str]:
    """Return the journal; what the kernel's buffer still holds if the journal has nothing."""
    first = b""
    try:
        stream, name = stack.enter_context(_journal(boot, since))
        first = stream.readline(_LONGEST_ENTRY)
    except Failure:
        if records is None:
            raise
    if records and not first:
        return _Named(records, path), path
    return _Again(first, stream), name


_LONGEST_ENTRY = 256 * 1024


def _refused(path: str, error: OSError) -> Failure:
    hint = "run this as root" if isinstance(error, PermissionError) else None
    return Failure(
        f"the kernel's log cannot be read: {path}: {reason(error)}",
        hint or "save it where that works with `dmesg > FILE`, and replay that file",
    )


class _Again:
    """A stream of which one line has been read."""

    def __init__(self, first: bytes, stream: Readable) -> None:
        self._first, self._stream = first, stream

    def readline(self, most: int, /) -> bytes:
        """Return the next line."""
        first, self._first = self._first, b""
        return first or self._stream.readline(most)


class _Records:
    """What the kernel's buffer holds now.

    Attributes:
        whole: whether nothing was overwritten before it was read.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lines: list[bytes] = []
        try:
            self._lines = self._next()
        except OSError:
            self.close()
            raise
        # Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;message".
        first = self._lines[-1].split(b",", 2) if self._lines else []
        self.whole = len(first) == 3 and first[1] == b"0"

    def readline(self, _: int, /) -> bytes:
        """Return the next line of a record."""
        if not self._lines:
            self._lines = self._next()
        return self._lines.pop() if self._lines else b""

    def _next(self) -> list[bytes]:
        """Return the lines of the next record, the last one first."""
        while True:
            try:
                record = os.read(self._descriptor, _RECORD)
            except BlockingIOError:
                return []
            except BrokenPipeError:
                # Messages were overwritten while this was read; the next read goes on.
                continue
            return record.splitlines(keepends=True)[::-1]

    def close(self) -> None:
        """Close the buffer."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def _journal(boot: str, since: str) -> Iterator[tuple[Readable, str]]:
    """Open the kernel's messages in the journal."""
    command = ["journalctl", "--dmesg", f"--boot={boot}", "--output=json", "--quiet", "--no-pager"]
    if since:
        command.append(f"--since={since}")
    name = f"the journal of boot {boot}"
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603
        except OSError as error:
            raise Failure(
                f"journalctl cannot be run: {reason(error)}",
                "save the kernel's log with `dmesg > FILE` as root, and replay that file",
            ) from None
        assert child.stdout
        log = _Child(child, errors, name)
        try:
            yield log, name
        finally:
            child.stdout.close()
            child.wait()


class _Child:
    """What a program writes; it fails at the end if that does."""

    def __init__(self, child: subprocess.Popen[bytes], errors: BinaryIO, name: str) -> None:
        self._child, self._errors, self._name = child, errors, name

    def readline(self, most: int, /) -> bytes:
        """Return the next line.

        Raises:
            Failure: the program failed.
        """
        assert self._child.stdout
        line = self._child.stdout.readline(most)
        if not line and self._child.wait():
            self._errors.seek(0)
            why = self._errors.read(2000).decode("utf-8", "replace").strip().splitlines()
            raise Failure(
                f"{self._name}: {why[-1] if why else 'journalctl failed'}",
                "run this as root; `journalctl --list-boots` shows which boots there are",
            )
        return line
