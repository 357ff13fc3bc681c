"""Where the resident process begins, in a bare interpreter of its own."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress

from oomrules.errors import Failure, reason
from oomrules.kills import journal
from oomrules.service import memory
from oomrules.service.loop import Options, Service

# Where ``oomrules run`` leaves ``loop.Options`` as JSON.
OPTIONS = "OOMRULES_RUN"

# What the limits of setrlimit(2) lead to.
_LIMITS = (errno.EMFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG)

_OUT_OF_MEMORY = "out of memory for a mistake of ours; systemd starts the service anew"


def main() -> int:
    """Run the service.

    Returns:
        the exit code.
    """
    _have_streams()
    os.umask(0o077)
    _be_called_oomrules()
    try:
        problem = _run()
    except MemoryError:
        problem = _OUT_OF_MEMORY
    if not problem:
        return 0
    memory.unbound()
    journal.say(problem, journal.ERROR)
    return 2


def _run() -> str:
    """Run until the end; return what went wrong, or an empty text.

    The caller says it: by then nothing is left of what took the memory.
    """
    given = os.environ.pop(OPTIONS, "")
    if not given:
        return "this is a part of the service; `oomrules run` starts it"
    memory.bound(memory.START)
    try:
        Service(Options(**json.loads(given))).run()
    except Failure as error:
        return error.full
    except MemoryError as error:
        return f"{_OUT_OF_MEMORY} ({_place(error)})"
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        limits = "; is a limit of the unit too low?" if error.errno in _LIMITS else ""
        return f"the system refused{where}: {reason(error)} ({_place(error)}){limits}"
    except Exception as error:
        place = _place(error)
        return f"a mistake in oomrules itself: {type(error).__name__}: {error} ({place})"
    return ""


def _have_streams() -> None:
    """Open the standard streams that are closed: else the first files take their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one; the child has it, too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _be_called_oomrules() -> None:
    """Take this name, for ps and for what the kernel says of a lack of memory."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("oomrules")


def _place(error: BaseException) -> str:
    """Return where an error happened: the innermost file and line."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
