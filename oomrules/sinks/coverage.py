"""What the kernel module covers: ``/proc/oom_stat``, and why it does not cover all.

The module follows the list for OOMs of the host by itself. At the limit of a memory control group
it needs a probe, which not every kernel has or allows.
"""

from __future__ import annotations

import errno
import os

from oomrules import __version__, targets
from oomrules.errors import reason
from oomrules.files import read_small
from oomrules.lean import NamedTuple

# What says why the probe is there and does not fire.
_PARAMETER = "/sys/module/oom/parameters/memcg"
_FTRACE = "/proc/sys/kernel/ftrace_enabled"
_KPROBES = "/sys/kernel/debug/kprobes/enabled"

_REFUSED = {
    errno.EOPNOTSUPP: "this kernel has no kprobes or no memory cgroups, or it is a real-time one",
    errno.ENOENT: "this kernel has no function `out_of_memory` where a probe can be placed",
}


class Coverage(NamedTuple):
    """What a loaded module says of itself.

    Attributes:
        follows: whether it follows the list at the limit of a control group now.
        error: the errno of registering the probe; 0 for none.
        ooms: how many OOMs of control groups it has seen; None if it does not say.
        unread: why its word could not be had; empty if it was.
    """

    follows: bool
    error: int = 0
    ooms: int | None = None
    unread: str = ""


def read() -> Coverage | None:
    """Read what the module covers; None where none is loaded."""
    if not os.path.exists(targets.KERNEL_LIST):
        return None
    path = stat_path()
    try:
        said = _numbers(read_small(path))
    except FileNotFoundError:
        # It was unloaded meanwhile, or its other file is hidden.
        if not os.path.exists(targets.KERNEL_LIST):
            return None
        return Coverage(follows=False, unread=f"there is no {path}")
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it holds no names and numbers"
        return Coverage(follows=False, unread=f"{path} cannot be read: {why}")
    return Coverage(
        follows=said.get("memcg") == 1,
        error=abs(said.get("memcg_error", 0)),
        ooms=said.get("memcg_ooms"),
    )


def stat_path() -> str:
    """Return the path of the module's statistics, beside its list."""
    return f"{targets.KERNEL_LIST}_stat"


def uncovered(coverage: Coverage) -> str:
    """Return, in a sentence without its end, why ``sinks.chosen`` adds oom_score_adj."""
    return (
        "the kernel module does not follow the list at the limit of a control group: "
        f"{why(coverage)}; oom_score_adj serves the groups with a limit"
    )


def why(coverage: Coverage) -> str:
    """Return why the module does not follow the list at the limit of a control group.

    Returns:
        a sentence without its end, with what to do about it; empty if the module follows the list.
    """
    if coverage.follows:
        return ""
    if coverage.unread:
        return coverage.unread
    if coverage.ooms is None:
        return (
            f"the module that is loaded is older than oomrules {__version__}: build and install "
            "this version's (docs/kernel.md), then `modprobe -r oom && modprobe oom`"
        )
    if _says(_PARAMETER, b"N"):
        return f"that is switched off; `echo 1 > {_PARAMETER}` switches it on"
    if coverage.error:
        code = coverage.error
        said = _REFUSED.get(code, f"the kernel refused the probe: {os.strerror(code).lower()}")
        return f"{said} (errno {code})"
    if not os.path.exists(_FTRACE):
        return "this kernel enters probes by a breakpoint, where the module may take no lock"
    return f"the probe does not fire; {_stopped()}"


def _stopped() -> str:
    """Return what stops a probe that was placed, and how to change it."""
    if _says(_FTRACE, b"0"):
        return "`sysctl kernel.ftrace_enabled=1` lets it"
    if _says(_KPROBES, b"0"):
        return f"`echo 1 > {_KPROBES}` lets it"
    return "`modprobe -r oom && modprobe oom` places it anew"


def _says(path: str, word: bytes) -> bool:
    """Return whether a file holds a word and nothing else; one that cannot be read does not."""
    try:
        return read_small(path).strip() == word
    except OSError:
        return False


def _numbers(text: bytes) -> dict[str, int]:
    """Return the numbers by their names.

    Raises:
        ValueError: a line is not a name and a number.
    """
    lines = (line.split() for line in text.splitlines())
    return {name.decode("ascii"): int(number) for name, number in lines}
