"""What is known of a host: its services, packages, sessions, and programs of the system.

Only what root or a package decides is evidence. What a process calls itself is not looked at, and a
process of an ordinary user is no evidence, whatever it runs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from oomrules import files
from oomrules.dbus import logind
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.gather import booted_with_systemd
from oomrules.dbus.systemd import Manager
from oomrules.errors import Failure
from oomrules.roots import Root

# Seconds for all questions to the bus.
_PATIENCE = 10.0

# Users from this id on are people, or ids of containers (login.defs(5)).
_FIRST_PERSON = 1000
# Where packages and administrators put programs. What is elsewhere a user may have put there.
_PROGRAMS = ("/usr/", "/opt/", "/bin/", "/sbin/", "/lib/", "/snap/")
_GRAPHICAL = ("x11", "wayland", "mir")
_RUNNING = ("active", "activating", "reloading")

_LARGEST = 64 << 20
_ENABLED = "etc/systemd/system"
# Where other init systems name what starts at boot: SysV, OpenRC, runit.
_AT_BOOT = ("etc/rc2.d", "etc/runlevels/default", "etc/service", "var/service")
_SYSV = re.compile(r"S[0-9]{2}(.+)")


class Evidence(NamedTuple):
    """What is known of a host.

    Attributes:
        units: the system's services that run or start at boot, each with a phrase that says so.
        has_units: whether the services are known by systemd or its files.
        packages: the names of installed packages.
        programs: names of programs that the system runs, each with a phrase that says so.
        users: how many users are logged in, the same user counted once.
        seat: a phrase about a graphical session at a seat; empty if there is none.
        notes: what could not be found out, in sentences.
    """

    units: Mapping[str, str] = MappingProxyType({})
    has_units: bool = False
    packages: frozenset[str] = frozenset()
    programs: Mapping[str, str] = MappingProxyType({})
    users: int = 0
    seat: str = ""
    notes: tuple[str, ...] = ()


def of_host(tree: Root, proc: str = "/proc") -> Evidence:
    """Return what is known of this host, or of the system below a root.

    Args:
        tree: if it is not this host's ``/``, only its files are looked at.
        proc: where this host's processes are.
    """
    found = Evidence(
        units=_at_boot(tree),
        has_units=tree.is_dir(tree.path / _ENABLED),
        packages=frozenset(_packages(tree)),
    )
    if not tree.whole:
        return found
    found = found._replace(programs=programs(proc), has_units=booted_with_systemd())
    if found.has_units:
        return asked(found)
    if os.geteuid():
        note = "what the system's processes run is hidden from users; run it as root to see more"
        return found._replace(notes=(note,))
    return found


def of_units(names: Iterable[str]) -> Evidence:
    """Return what is known of a recorded host: the units of the system that hold processes."""
    return Evidence(
        units={name: f"{name} has processes" for name in names if name.endswith(".service")},
        has_units=True,
    )


def asked(found: Evidence) -> Evidence:
    """Return the evidence with what systemd and logind say beside it."""
    units, notes, users, seat = dict(found.units), list(found.notes), 0, ""
    try:
        with closing(Connection(deadline=time.monotonic() + _PATIENCE)) as bus:
            for name, facts in Manager(bus).known().items():
                # Users have sessions and mounts among the system's units, and no services.
                if name.endswith((".service", ".socket")) and facts["ActiveState"] in _RUNNING:
                    units[name] = f"{name} is active"
            users, seat = _sessions(logind.everyone(bus))
    except BusError as error:
        notes.append(f"systemd or logind cannot be asked of services and sessions: {error}")
    except Failure as error:
        notes.append(f"{error.message}, so systemd cannot be asked of services; {error.hint}")
    return found._replace(units=units, users=users, seat=seat, notes=tuple(notes))


def _sessions(sessions: Iterable[logind.Session]) -> tuple[int, str]:
    """Return how many people are logged in, and a phrase about a graphical session at a seat."""
    users, seat = set(), ""
    for one in sessions:
        if one.kind == "user" and one.uid >= _FIRST_PERSON:
            users.add(one.uid)
        at_seat = one.seat and not one.remote and one.kind in ("user", "greeter")
        if at_seat and one.type in _GRAPHICAL:
            seat = f"{one.seat} has a session of type {one.type}"
    return len(users), seat


# --- processes ------------------------------------------------------------------------------------


def programs(proc: str) -> dict[str, str]:
    """Return the programs that root and the system's services run, each with a phrase.

    It is the file that a process runs that counts, not its name, and only of processes that no
    ordinary user has started: all ids are root's or of a system user, outside of containers. A
    system user's process must be in a unit of the system besides, if it is in any.
    """
    found: dict[str, str] = {}
    for pid in sorted((name for name in os.listdir(proc) if name.isdigit()), key=int):
        said = _program(os.path.join(proc, pid), pid)
        if said:
            found.setdefault(*said)
    return found


def _program(directory: str, pid: str) -> tuple[str, str] | None:
    try:
        status = files.read_small(f"{directory}/status").decode("utf-8", "replace")
        group = files.read_small(f"{directory}/cgroup").decode("utf-8", "replace")
        path = os.readlink(f"{directory}/exe").removesuffix(" (deleted)")
    except OSError:
        return None  # it has ended, is a thread of the kernel, or must not be looked at
    fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
    ids = [int(word) for word in fields.get("Uid", "").split()]
    if not ids or max(ids) >= _FIRST_PERSON or len(fields.get("NSpid", "").split()) > 1:
        return None
    paths = [line.split(":", 2)[-1] for line in group.splitlines()]
    if max(ids) and any(one.startswith("/user.slice") for one in paths):
        return None
    if not path.startswith(_PROGRAMS):
        return None
    return os.path.basename(path), f"{path} runs as {'root' if not max(ids) else 'a system user'}"


# --- files ----------------------------------------------------------------------------------------


def _at_boot(tree: Root) -> dict[str, str]:
    """Return the services that start at boot, by the links of systemd or of another init."""
    found = {}
    for name in _names(tree, _ENABLED):
        if name.endswith((".wants", ".requires")):
            for unit in _names(tree, f"{_ENABLED}/{name}"):
                # The link of a package that was removed may be left.
                if _is_there(tree, f"{_ENABLED}/{name}/{unit}"):
                    found[unit] = f"{unit} is enabled"
        elif name == "display-manager.service" and _is_there(tree, f"{_ENABLED}/{name}"):
            found[name] = f"{name} is enabled"
    masked = {unit for unit in found if tree.is_null(tree.path / _ENABLED / unit)}
    found = {unit: said for unit, said in found.items() if unit not in masked}
    if not found:
        for directory in _AT_BOOT:
            for name in _names(tree, directory):
                started = _SYSV.fullmatch(name)
                script = started[1] if started else name
                if started or directory != _AT_BOOT[0]:
                    found[f"{script}.service"] = f"{script} starts at boot (/{directory})"
    return found


def _packages(tree: Root) -> Iterator[str]:
    """Yield the names of installed packages, of dpkg, pacman and apk."""
    name = ""
    for line in _lines(tree, "var/lib/dpkg/status"):
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line.startswith("Status: ") and line.endswith(" installed"):
            yield name
    for entry in _names(tree, "var/lib/pacman/local"):
        if entry.count("-") >= 2:
            yield entry.rsplit("-", 2)[0]
    for line in _lines(tree, "lib/apk/db/installed"):
        if line.startswith("P:"):
            yield line.removeprefix("P:")


def _is_there(tree: Root, path: str) -> bool:
    try:
        tree.stat(tree.path / path)
    except OSError:
        return False
    return True


def _names(tree: Root, directory: str) -> list[str]:
    try:
        return sorted(tree.names(tree.path / directory))
    except OSError:
        return []  # not every host has it


def _lines(tree: Root, path: str | Path) -> list[str]:
    try:
        return tree.read(tree.path / path, _LARGEST).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
