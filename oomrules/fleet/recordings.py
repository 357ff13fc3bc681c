"""Recordings of many hosts: where they are, and how one is read, whatever it holds.

A recording may come from a host that somebody else owns. Each is read up to a bound, packed or
not, and one that cannot be read is a ``Failure`` that names it.
"""

from __future__ import annotations

import glob
import importlib
import io
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO

from oomrules import extras, files
from oomrules.errors import Failure, reason
from oomrules.processes import recorded
from oomrules.processes.recorded import Recorded

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
# The time in the name of a recording, as `oomrules snapshot --to` writes it.
# Servers write %40 into their pages.
_TIME = re.compile(r"(?:@|%40)[0-9]{8}T[0-9]{6}Z(?:\.jsonl(?:\.gz|\.zst)?)$", re.ASCII)
HINT = "record it again with `oomrules snapshot --to DIR`, or leave it out"

# A hundred thousand processes are some 60 MB; what says more is made to fill memory.
MOST = 128 * 2**20
MOST_LINES = 500_000
# Packed text of that size is far smaller. Behind it there may be nothing to unpack without end: a
# hole in the file, or frames that are empty.
_MOST_PACKED = 32 * 2**20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# These unpack to at most 16 MiB. A block of zstd unpacks to at most 128 KiB and can be 4 bytes long
# (RFC 8878, 3.1.1.2); zlib's text is at most 1032 times as long (zlib's Technical Details).
_GZIP_PIECE, _ZSTD_PIECE = 16384, 512
# What unpacking may keep of the text before. `zstd -19` needs 8 MiB.
_WINDOW = 32 * 2**20
# Libraries that print tracebacks of what they try again.
_TALKATIVE = ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "s3fs", "urllib3")
# How many hosts may be named in all.
_MOST_NAMES = 10_000_000
# What an address may say that others must not read: a password, and the signature or the key of one
# that was made for somebody.
_USER = re.compile(r"(\w://)[^/\s]*@")
_SECRET = re.compile(
    r"(?i)([?&][^=&#\s]*(?:sig|token|key|secret|cred|pass|auth)[^=&#\s]*=)[^&#\s]+"
)


def named(words: Iterable[str], latest: bool = False) -> list[str]:
    """Return the names of all recordings that some words mean, sorted, each once.

    Args:
        words: files, patterns, directories, or addresses of these (``s3://bucket/hosts/``). In a
            directory the files count that end as recordings do.
        latest: of several recordings of a host (``HOST@TIME.jsonl.zst``) in one place, only the
            last one.

    Raises:
        Failure: a word means none.
    """
    found: set[str] = set()
    for word in words:
        one = _remote(word) if _is_remote(word) else _local(word.removeprefix("file://"))
        if not one:
            raise Failure(
                f"{shown(word)}: there is no recording",
                f"name files, or a directory of files that end in {', '.join(ENDINGS)}",
            )
        found.update(one)
        if len(found) > _MOST_NAMES:
            raise Failure(f"more than {_MOST_NAMES} recordings", "name a part of them")
    names = sorted(found)
    if latest:
        # Times are written so that the text's order is theirs.
        names = sorted({_TIME.sub("", name): name for name in names}.values())
    return names


def shown(text: str) -> str:
    """Return a name, or what a library says of it, without the secrets that addresses have."""
    return _SECRET.sub(r"\1…", _USER.sub(r"\1…@", text))


def _is_remote(name: str) -> bool:
    scheme, separator, _ = name.partition("://")
    return bool(separator) and scheme.isalnum() and scheme != "file"


def _local(word: str) -> list[str]:
    if os.path.isdir(word):
        try:
            inside = os.listdir(word)
        except OSError as error:
            raise Failure(f"cannot read {word}: {reason(error)}") from error
        return [os.path.join(word, name) for name in inside if name.endswith(ENDINGS)]
    if os.path.lexists(word):
        return [word]
    return [name for name in glob.glob(word) if not os.path.isdir(name)]


def _remote(word: str) -> list[str]:
    module = _fsspec(word)
    # In addresses of servers the question mark has another meaning.
    pattern = "*[" if word.startswith("http") else "*?["
    try:
        system, path = module.core.url_to_fs(word)
        if any(char in word for char in pattern):
            found = system.glob(path)
        elif word.endswith("/"):
            found = [name for name in system.find(path, maxdepth=1) if name.endswith(ENDINGS)]
        else:
            return [word]
        return [system.unstrip_protocol(name) for name in found]
    except ImportError as error:
        raise _missing(word, error) from error
    # Each kind of storage has errors of its own.
    except Exception as error:
        raise Failure(
            f"{shown(word)} cannot be listed: {_words(error)}", "see that it can be reached"
        ) from error


def _fsspec(name: str) -> Any:
    # What these have to say is in the errors that they raise.
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    try:
        module = importlib.import_module("fsspec")
        importlib.import_module("fsspec.core")
    except ImportError as error:
        said = f"{shown(name)}: addresses need the Python library fsspec"
        raise Failure(said, extras.install("fsspec")) from error
    return module


def _missing(name: str, error: ImportError) -> Failure:
    scheme = name.partition("://")[0]
    library = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
    install = extras.install(library[scheme]) if scheme in library else None
    said = f"{shown(name)}: {scheme}:// needs one more Python library: {_words(error)}"
    return Failure(said, install)


def _words(error: BaseException) -> str:
    # fsspec says of all that is wrong with an address that it is not there, and why below.
    if isinstance(error, FileNotFoundError) and not error.strerror:
        below = error.__cause__ or error.__context__
        return _words(below) if below else "there is no such file"
    said = reason(error) if isinstance(error, OSError) else str(error)
    return shown(said or type(error).__name__)[:300]


def load(name: str) -> Recorded:
    """Read a recording.

    Raises:
        Failure: it cannot be read, is larger than any, or a line of it is wrong.
    """
    said = shown(name)
    try:
        with closing(_opened(name)) as raw:
            return recorded.load(said, partial(_lines, raw))
    except Failure:
        raise
    except ImportError as error:
        raise _missing(name, error) from error
    except (EOFError, zlib.error) as error:
        raise Failure(f"{said} is packed, and damaged or cut: {error}", HINT) from error
    except MemoryError as error:
        raise Failure(f"{said}: there is not enough memory to read it", HINT) from error
    # Storage and unpacking have errors of their own, and one file must not end the whole.
    except Exception as error:
        raise Failure(f"{said} cannot be read: {_words(error)}", HINT) from error


def _opened(name: str) -> io.BufferedReader:
    if _is_remote(name):
        if "::" in name:
            # For fsspec it would be an address inside another one: who names a recording in a
            # store would decide what is asked, and of whom.
            raise Failure(f"{shown(name)}: there is :: in the name of a recording", "rename it")
        system, path = _fsspec(name).core.url_to_fs(name)
        return io.BufferedReader(system.open(path, "rb"))
    try:
        # Refuses what is no file: a pipe could let it wait for ever.
        descriptor = files.open_found(name.removeprefix("file://"))
    except OSError as error:
        raise Failure(f"cannot read {name}: {reason(error)}", HINT) from error
    return os.fdopen(descriptor, "rb")


def _lines(raw: io.BufferedReader, name: str, longest: int) -> Iterator[str]:
    """Yield the lines of a recording, unpacked, each up to so many bytes, and all up to MOST."""
    stream: BinaryIO = raw
    start, packed = raw.peek(4)[:4], _Packed(raw, name)
    if start.startswith(_GZIP):
        stream = io.BufferedReader(_Unpacked(packed, _gzip, _GZIP_PIECE), 2**20)
    elif start == _ZSTD:
        stream = io.BufferedReader(_Unpacked(packed, _zstd(name), _ZSTD_PIECE), 2**20)
    left, number = MOST, 0
    while line := stream.readline(longest + 1):
        number, left = number + 1, left - len(line)
        if len(line) > longest:
            raise Failure(f"{name}:{number}: the line is longer than {longest >> 20} MiB", HINT)
        if left < 0 or number > MOST_LINES:
            most = f"{MOST >> 20} MiB" if left < 0 else f"{MOST_LINES} lines"
            raise Failure(f"{name} has more than {most}", HINT)
        yield line.decode("utf-8")


class _Packed:
    """A packed file, read up to a bound."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw, self._name, self._left = raw, name, _MOST_PACKED

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes.

        Raises:
            Failure: the file is larger than any.
        """
        data = self._raw.read(size if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            most = _MOST_PACKED >> 20
            raise Failure(f"{self._name} is packed, and has more than {most} MiB", HINT)
        return data


class _Unpacked(io.RawIOBase):
    """What packed frames hold that follow one another; a cut one ends in EOFError, not in silence.

    Args:
        start: makes what unpacks the next frame.
        piece: how many packed bytes are unpacked at a time, and in memory.
    """

    def __init__(self, raw: _Packed, start: Callable[[], Any], piece: int) -> None:
        self._raw, self._start, self._piece = raw, start, piece
        self._ready, self._packed = memoryview(b""), b""
        self._frame: Any = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put the next bytes into a buffer."""
        while not self._ready:
            self._packed = self._packed or self._raw.read(self._piece)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle")
                return 0
            if self._frame is None:
                self._frame = self._start()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        size = min(len(self._ready), len(buffer))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _gzip() -> Any:
    # 15 bits of window, and 16 for the header of gzip (zlib.h, inflateInit2).
    return zlib.decompressobj(15 + 16)


def _zstd(name: str) -> Callable[[], Any]:
    try:
        module = importlib.import_module("zstandard")
    except ImportError as error:
        said = f"{name}: zstd needs the Python library zstandard"
        raise Failure(said, extras.install("zstandard")) from error
    return lambda: module.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
