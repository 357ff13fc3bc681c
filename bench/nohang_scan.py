"""Time nohang's own scan, unchanged, one scan per line on standard input.

Called with the paths of nohang's script and configuration, under the
interpreter that the script itself asks for. nohang has no dry run, and the
timing it logs has a resolution of a millisecond, so the script is loaded in its
``--check`` mode: it reads its configuration and exits before it monitors
anything. Then ``find_victim(print_proc_table)`` is called exactly as its
monitoring does: with the shipped configuration that walks ``/proc``, reads each
``oom_score``, sorts, and logs the top fifteen. The code that sends signals is
never reached.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, NoReturn


def refuse(*_: object) -> NoReturn:
    raise SystemExit("nohang tried to send a signal, which its scan never does")


def load(script: str, config: str) -> dict[str, Any]:
    """Return the globals of nohang after it has read ``config``."""
    # Nothing here should ever kill; with this, nothing can.
    for name in ("kill", "killpg"):
        setattr(os, name, refuse)
    sys.argv = [script, "--check", "-c", config]
    names: dict[str, Any] = {"__name__": "__main__", "__file__": script}
    with open(script, encoding="utf-8") as file:
        code = compile(file.read(), script, "exec")
    try:
        # This is the peer itself, as its own command would run it.
        exec(code, names)
    except SystemExit as end:
        # The check ends with a plain exit; anything else is an error of its own.
        if end.code:
            raise
    return names


def main() -> None:
    script, config = sys.argv[1:]
    # The figures take the place of standard output; what nohang logs goes.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
    names = load(script, config)
    find_victim, table = names["find_victim"], names["print_proc_table"]

    go = True
    while go:
        wall, cpu = time.monotonic_ns(), time.process_time_ns()
        victim = find_victim(table)
        wall, cpu = time.monotonic_ns() - wall, time.process_time_ns() - cpu
        if victim is None:
            raise SystemExit("nohang found no candidate at all")
        print(json.dumps({"wall": wall, "cpu": cpu}), file=report)
        go = bool(sys.stdin.readline())


main()
