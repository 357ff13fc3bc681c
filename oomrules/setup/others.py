"""Other programs that kill when memory is short, or that set oom_score_adj."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oomrules.roots import Root
from oomrules.setup.evidence import Evidence


class Other(NamedTuple):
    """Such a program.

    Attributes:
        name: what it is called.
        units: its services.
        program: the name of the file that it runs.
        settings: where its settings may be, for ``oomrules import``.
        kills: whether it kills by itself; two that do are one too many.
    """

    name: str
    units: tuple[str, ...]
    program: str
    settings: tuple[str, ...]
    kills: bool = True


OTHERS = (
    Other(
        name="earlyoom",
        units=("earlyoom.service",),
        program="earlyoom",
        settings=("/etc/default/earlyoom", "/etc/sysconfig/earlyoom"),
    ),
    Other(
        name="nohang",
        units=("nohang.service", "nohang-desktop.service"),
        program="nohang",
        settings=("/etc/nohang/nohang-desktop.conf", "/etc/nohang/nohang.conf"),
    ),
    Other(
        name="systemd-oomd",
        units=("systemd-oomd.service", "systemd-oomd.socket"),
        program="systemd-oomd",
        settings=("/etc/systemd/oomd.conf", "/etc/systemd/oomd.conf.d"),
    ),
    Other(name="oomd", units=("oomd.service",), program="oomd", settings=()),
    Other(
        name="ananicy",
        units=("ananicy.service", "ananicy-cpp.service"),
        program="ananicy-cpp",
        settings=("/etc/ananicy.d",),
        kills=False,
    ),
)


class Running(NamedTuple):
    """One that runs, or starts at boot.

    Attributes:
        other: which.
        why: how that is known, in a sentence without its end.
        units: those of its services that run or start at boot.
        settings: those of its settings that are there.
    """

    other: Other
    why: str
    units: tuple[str, ...]
    settings: tuple[str, ...]

    @property
    def command(self) -> str:
        """What root types to switch it off; empty if that is not known."""
        return f"systemctl disable --now {' '.join(self.units)}" if self.units else ""


def running(evidence: Evidence, tree: Root) -> list[Running]:
    """Return those that run on a host, or start when it boots."""
    found = []
    for other in OTHERS:
        units = tuple(unit for unit in other.units if unit in evidence.units)
        reasons = [evidence.units[unit] for unit in units]
        reasons += [
            evidence.programs[name] for name in (other.program,) if name in evidence.programs
        ]
        if reasons:
            there = tuple(path for path in other.settings if _is_there(path, tree))
            found.append(Running(other=other, why=reasons[0], units=units, settings=there))
    return found


def killers(found: Sequence[Running]) -> list[str]:
    """Return the names of those that kill."""
    return [one.other.name for one in found if one.other.kills]


def _is_there(path: str, tree: Root) -> bool:
    try:
        tree.stat(tree.path / path[1:])
    except OSError:
        return False
    return True
