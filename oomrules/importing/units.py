"""The units of this host, as systemd says, or of another system, from its unit files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.gather import PATIENCE, booted_with_systemd
from oomrules.dbus.systemd import Manager
from oomrules.errors import Failure
from oomrules.importing import oomd, sources
from oomrules.importing.settings import Unit
from oomrules.importing.translation import Line, Piece, Translation, Untranslatable
from oomrules.roots import Root

# The kinds of units that have processes, or properties about memory.
_KINDS = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
_PROPERTIES = (
    "OOMScoreAdjust",
    "OOMPolicy",
    "ManagedOOMPreference",
    "ManagedOOMMemoryPressure",
)
# What systemd says of units where nothing is set.
_ORDINARY = {
    "OOMScoreAdjust": (0,),
    "OOMPolicy": ("stop", "continue", ""),
    "ManagedOOMPreference": ("none", ""),
    "ManagedOOMMemoryPressure": ("auto", ""),
}
_LIMITS_IN_FILES = (
    "When systemd-oomd acts. Its limits stand in files, and `oomrules import /etc/systemd "
    "/usr/lib/systemd` makes guards of them."
)
_MOST_SAID = 8 << 20
_INPUT = "the units of this host, from systemd"

# Where unit files are, the highest precedence first (systemd.unit(5)).
_DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
# What systemd-oomd reads beside them: its limits, and its rulesets.
_OOMD = ("oomd.conf", "oomd.conf.d", "oomd")


def of_host() -> Translation:
    """Return what systemd says of this host's units, in rules.

    Raises:
        Failure: systemd cannot be asked.
    """
    hint = "name unit files, or `--root DIR` to read those of another system"
    if not booted_with_systemd():
        raise Failure("systemd is not the init system here, so it cannot be asked of units", hint)
    described: dict[str, dict[str, Any]] = {}
    try:
        with closing(Connection(deadline=time.monotonic() + PATIENCE)) as bus:
            manager = Manager(bus)
            names = sorted(name for name in manager.known() if name.endswith(_KINDS))
            for _, some in manager.described(names, _PROPERTIES, _MOST_SAID):
                described.update(some)
    except BusError as error:
        raise Failure(f"systemd cannot be asked of units: {error}", hint) from error
    return of_properties(described)


def of_properties(described: Mapping[str, Mapping[str, Any]]) -> Translation:
    """Return the rules for what units have.

    Args:
        described: properties by unit; those without a value are left out.
    """
    pieces = []
    for unit in sorted(described):
        for name in _PROPERTIES:
            value = described[unit].get(name)
            if value is not None and value not in _ORDINARY[name]:
                pieces.append(_piece(unit, name, str(value)))
    silent = len(described) - len({piece.place for piece in pieces})
    return Translation(
        tool=oomd.TOOL,
        inputs=(_INPUT,),
        pieces=tuple(pieces),
        differences=(
            *(oomd.DIFFERENCES[name] for name in _PROPERTIES if name in oomd.DIFFERENCES),
            f"{silent} other units have systemd's defaults, and no rule.",
        ),
    )


def _piece(unit: str, name: str, value: str) -> Piece:
    said = f"{name}={value}"
    if name == "ManagedOOMMemoryPressure":
        return Piece(unit, said, reason=_LIMITS_IN_FILES)
    try:
        return oomd.piece_of_unit(Line(unit, said), Unit(unit, user=False), name, value)
    except Untranslatable as error:
        return Piece(unit, said, reason=error.reason)


def of_files(tree: Root) -> Translation:
    """Return what the unit files below a root mean.

    Raises:
        Failure: there are none, or too many.
    """
    directories = _directories(tree)
    if not directories:
        raise Failure(
            f"there are no unit files below {tree.path}",
            f"they are looked for in {', '.join(_DIRECTORIES)}",
        )
    own = [path for directory in directories for path in _of_oomd(directory, tree)]
    found = sources.read([*directories, *own], tree.path, lenient=True)
    whole = oomd.of_files((source.name, source.lines) for source in found)
    return replace(oomd.about_memory(whole), inputs=(*directories, *own))


def _of_oomd(directory: str, tree: Root) -> list[str]:
    """Return systemd-oomd's own files beside a directory of units (oomd.conf(5))."""
    above = os.path.dirname(directory)
    return [os.path.join(above, name) for name in _OOMD if name in tree.names(above)]


def _directories(tree: Root) -> list[str]:
    """Return the directories of unit files that there are below a root."""
    found: dict[str, str] = {}
    for directory in _DIRECTORIES:
        path = tree.path / directory
        if tree.is_dir(path):
            # On most systems /lib is a link to /usr/lib.
            found.setdefault(str(tree.real(path)), str(path))
    return list(found.values())
