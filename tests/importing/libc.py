"""regcomp(3) and regexec(3) of the C library: what earlyoom asks about a name."""

from __future__ import annotations

import ctypes

_LIBC = ctypes.CDLL(None)
_EXTENDED, _NOSUB = 1, 8
# A regex_t of glibc or musl has fewer bytes.
_SIZE = 256


def found(pattern: str, text: str) -> bool | None:
    """Return whether an extended regular expression is found; None if it does not compile."""
    compiled = ctypes.create_string_buffer(_SIZE)
    if _LIBC.regcomp(compiled, pattern.encode(), _EXTENDED | _NOSUB):
        return None
    try:
        return not _LIBC.regexec(compiled, text.encode(), ctypes.c_size_t(0), None, 0)
    finally:
        _LIBC.regfree(compiled)
