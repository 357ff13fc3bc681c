"""Where the resident process begins, in a bare interpreter of its own."""

from __future__ import annotations

import json
import os

from oomrules.errors import Failure
from oomrules.runtime import journal
from oomrules.service.loop import Options, Service

# Where ``oomrules run`` leaves ``loop.Options`` as JSON.
OPTIONS = "OOMRULES_RUN"


def main() -> int:
    """Run the service.

    Returns:
        the exit code.
    """
    _be_called_oomrules()
    try:
        Service(Options(**json.loads(os.environ.pop(OPTIONS)))).run()
    except Failure as error:
        journal.say(
            f"{error.message}; {error.hint}" if error.hint else error.message, journal.ERROR
        )
        return 2
    except MemoryError:
        journal.say("out of memory; systemd starts the service anew", journal.ERROR)
        return 2
    except Exception as error:
        place = _place(error)
        journal.say(
            f"a mistake in oomrules itself: {type(error).__name__}: {error} ({place})",
            journal.ERROR,
        )
        return 2
    return 0


def _be_called_oomrules() -> None:
    """Be found under this name by ps, and in what the kernel says of a lack of memory."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write("oomrules")
    except OSError:
        pass


def _place(error: BaseException) -> str:
    """Say where an error happened: the innermost line of this package."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
