"""Where the resident process begins, in a bare interpreter of its own."""

from __future__ import annotations

import json

from oomrules.errors import Failure
from oomrules.runtime import journal
from oomrules.service.loop import Options, Service

# What ``oomrules run`` becomes: nothing is imported but the standard library and this.
BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from oomrules.service.resident import main; sys.exit(main(sys.argv[1]))"
)


def main(options: str) -> int:
    """Run the service.

    Args:
        options: ``loop.Options`` as JSON.

    Returns:
        the exit code.
    """
    try:
        Service(Options(**json.loads(options))).run()
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


def _place(error: BaseException) -> str:
    """Say where an error happened: the innermost line of this package."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
