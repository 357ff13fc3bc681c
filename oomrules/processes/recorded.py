"""Recorded snapshots: JSON Lines, schema ``oomrules.snapshot/1``.

A value of ``null`` is one that could not be read; the limits of a scope are ``null``
where there is none, and named in ``unreadable`` where they could not be read. What a process
itself made unknown is ``null`` and named in its ``self_made``. ``container`` and ``pod`` of a
process have what its runtime said; the rest of them is also in the control group, which counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from oomrules import files
from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.errors import Failure, reason
from oomrules.fields import FIELDS, Field, Unit
from oomrules.json_lines import NoObject, read_object
from oomrules.lean import Any
from oomrules.processes.cgroups import LIMITS
from oomrules.processes.cmdlines import cut
from oomrules.processes.facts import CONTAINER_FACTS, RELATIONS
from oomrules.processes.snapshot import (
    DECISIVE,
    HOST_MEMORY,
    HOST_SHARES,
    NO_LIMIT,
    Host,
    Process,
)
from oomrules.processes.units import Placement
from oomrules.program.nodes import SELF_MADE

SCHEMA = "oomrules.snapshot/1"

_TYPES: dict[Type, type] = {Type.TEXT: str, Type.BOOLEAN: bool, Type.COUNT: int}
# What is known of a unit and of a session, and the type of each value.
_PROPERTIES, _SESSION = (
    {one.field: _TYPES[one.type] for one in ATTRIBUTES.values() if one.provider is provider}
    for provider in (Provider.SYSTEMD, Provider.LOGIND)
)
HINT = "record it again with `oomrules snapshot -o FILE`"

# What a process can make unknown by itself.
_SELF_MADE = [name for name, field in FIELDS.items() if field.self_made]
_PATHS = ("cgroup", "memory_cgroup", "unit_root")
_SCOPE_WHOLE = (
    *("memory", "memory_max", "memory_high", "memory_min", "memory_low"),
    *("swap", "swap_max", "swappiness", "oom_kills", "processes"),
)

# Wider than anything a kernel says.
_LARGEST = 2**64
_MOST_PRESSURE = 100
_LARGEST_PID = 2**31 - 1
_MOST_NOTES = 20
_LONGEST_NOTE = 1000
# The host's line names every user who has processes; others are far shorter.
_LONGEST_LINE = 16 * 2**20
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# include/linux/limits.h, PATH_MAX: /proc/PID/cgroup has no longer path.
LONGEST_PATH = 4096


class RecordedScope:
    """A control group as it was; ``data`` is its line, as far as it is known here."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self._unreadable = data.get("unreadable", ())

    def get(self, key: str) -> Any:
        """Return a figure or a property; None if it was not known."""
        value = self.data.get(key)
        if value is None and key in LIMITS and key not in self._unreadable:
            return NO_LIMIT
        return value


class Recorded:
    """A recorded snapshot, ready to be ranked.

    Attributes:
        hidden: how many processes could not be seen when it was recorded.
        notes: what else could not be seen then, in sentences.
    """

    tells_changes = False

    def __init__(
        self,
        host: Host,
        scopes: dict[str, RecordedScope],
        processes: dict[int, Process],
        own: Iterable[int],
        hidden: int,
        notes: tuple[str, ...],
        containers: dict[int, dict[str, Any]],
    ) -> None:
        self.host = host
        self.own_pids = frozenset(own)
        self.ranker: Any = None
        self.scopes = scopes
        self.hidden = hidden
        self.notes = notes
        self.by_pid = processes
        self._containers = containers

    def scope(self, cgroup: str) -> RecordedScope | None:
        """Find a control group."""
        return self.scopes.get(cgroup)

    def fact(self, place: Placement, name: str) -> Any:
        """Find what was recorded of a unit; what was not is unknown."""
        scope = self.scopes.get(place.path)
        data = {} if scope is None else scope.data
        return data.get(name) if name == "session" else (data.get("properties") or {}).get(name)

    def container_fact(self, process: Process, id_: str, name: str) -> Any:
        """Find what was recorded of the container of a process."""
        return self._containers.get(process.pid, {}).get(name)

    def read(self, process: Process, field: str) -> Any:
        """Return None: what was not recorded is unknown."""
        setattr(process, field, None)
        return None


class _Wrong(Exception):
    """A line that says something impossible."""


def _no(what: str, key: str, value: Any) -> _Wrong:
    return _Wrong(f"{key} is {json.dumps(value)[:40]}, not {what}")


def load(path: str, lines: Callable[[str, int], Iterable[str]] = files.lines) -> Recorded:
    """Read a snapshot file.

    Raises:
        Failure: it cannot be read, or a line of it is wrong; the message names the line.
    """
    try:
        return parse(lines(path, _LONGEST_LINE), path)
    except OSError as error:
        raise Failure(f"cannot read the snapshot {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"the snapshot {path} is no UTF-8 text", HINT) from error


def parse(lines: Iterable[str], name: str) -> Recorded:
    """Read a snapshot from its lines, or raise a Failure that names the wrong one."""
    host: Host | None = None
    notes: tuple[str, ...] = ()
    scopes: dict[str, RecordedScope] = {}
    processes: dict[int, Process] = {}
    containers: dict[int, dict[str, Any]] = {}
    own = set()
    number = hidden = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = read_object(line)
            kind = data.get("kind")
            if host is None:
                host, notes = _host(data), _notes(data)
                hidden = _whole(data, "hidden", least=0) or 0
            elif not isinstance(kind, str):
                raise _Wrong("a line without its kind")
            elif kind == "host":
                raise _Wrong("a second host")
            elif kind == "scope":
                scope = _scope(data)
                if scopes.setdefault(data["cgroup"], scope) is not scope:
                    raise _Wrong(f"the control group {data['cgroup']} a second time")
            elif kind == "process":
                process = _process(data)
                if processes.setdefault(process.pid, process) is not process:
                    raise _Wrong(f"process {process.pid} a second time")
                if said := _container(data):
                    containers[process.pid] = said
                if _flag(data, "self"):
                    own.add(process.pid)
            # Other kinds belong to a later version, which says so by the schema if it must.
        except (_Wrong, NoObject) as error:
            raise Failure(f"{name}:{number}: {error}", HINT) from error
    if host is None:
        raise Failure(f"{name}:{number or 1}: the snapshot is empty", HINT)
    return Recorded(host, scopes, processes, own, hidden, notes, containers)


def _whole(data: dict[str, Any], key: str, least: int = -_LARGEST) -> int | None:
    value = data.get(key)
    if value is None:
        return None
    if type(value) is not int or abs(value) >= _LARGEST:
        raise _no("a whole number", key, value)
    if value < least:
        raise _Wrong(f"{key} is {value}")
    return value


def _number(data: dict[str, Any], key: str, most: int, what: str) -> float:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _no(what, key, value)
    return value


def _shares(data: dict[str, Any]) -> dict[str, Any]:
    """Return the percentages of a host or of a control group; None is one that is unknown."""
    for key in HOST_SHARES:
        if data.get(key) is not None:
            _number(data, key, _MOST_PRESSURE, "a percentage")
    return {key: data.get(key) for key in HOST_SHARES}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _texts(data: dict[str, Any], key: str) -> Sequence[str]:
    """Return a list of texts; an empty one if it is missing."""
    value = data.get(key)
    if value is None:
        return ()
    if not _are_texts(value):
        raise _no("a list of texts", key, value)
    texts: list[str] = value
    return texts


def _flag(data: dict[str, Any], key: str) -> bool:
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise _no("true or false", key, value)
    return bool(value)


def _text(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise _no("a text", key, value)
    if key in _PATHS and value is not None and len(value) > LONGEST_PATH:
        raise _Wrong(f"{key} is longer than {LONGEST_PATH} characters")
    return value


def _needed(data: dict[str, Any], key: str, least: int) -> int:
    value = _whole(data, key, least)
    if value is None:
        raise _Wrong(f"{key} is missing")
    return value


def _host(data: dict[str, Any]) -> Host:
    if data.get("kind") == "start":
        raise _Wrong("this is a recording over time, and no snapshot of a host")
    if data.get("kind") != "host":
        raise _Wrong('the first line is not the host ("kind":"host")')
    if data.get("schema") != SCHEMA:
        raise _Wrong(f"the schema is {json.dumps(data.get('schema'))}, not {SCHEMA}")
    return Host(
        time=_text(data, "time") or "",
        kernel=_text(data, "kernel") or "",
        page_size=_needed(data, "page_size", 1),
        clock_ticks=_needed(data, "clock_ticks", 1),
        uptime=_number(data, "uptime", _LARGEST - 1, "a number of seconds"),
        mem_total=_needed(data, "mem_total", 0),
        swap_total=_whole(data, "swap_total", 0) or 0,
        users=_names(data, "users"),
        groups=_names(data, "groups"),
        unit_root=_text(data, "unit_root") or "",
        **{key: _whole(data, key, 0) for key in (*HOST_MEMORY, "swappiness", "totalpages")},
        **_shares(data),
        unknown=_unknown(data),
    )


def _unknown(data: dict[str, Any]) -> frozenset[str]:
    return frozenset(_texts(data, "unknown"))


def _notes(data: dict[str, Any]) -> tuple[str, ...]:
    return tuple(note[:_LONGEST_NOTE] for note in _texts(data, "notes")[:_MOST_NOTES])


def _names(data: dict[str, Any], key: str) -> dict[int, str] | None:
    if data.get(key) is None:
        return None
    found: dict[int, str] = {}
    for id_, name in _items(data, key):
        # Python takes other spellings of a number, and so two of the same one.
        if not isinstance(name, str) or not _is_id(id_):
            raise _no("an object of names by id", key, {id_: name})
        found[int(id_)] = name
    return found


def _is_id(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(text) <= 20 and str(int(text)) == text


def _scope(data: dict[str, Any]) -> RecordedScope:
    if _text(data, "cgroup") is None:
        raise _Wrong("a scope without its cgroup")
    # What is not known here is not kept: the recording may be another user's.
    kept: dict[str, Any] = {"kind": "scope", "cgroup": data["cgroup"], "unit": _text(data, "unit")}
    kept |= {key: _whole(data, key, least=0) for key in _SCOPE_WHOLE if key in data}
    kept |= _shares(data)
    given = _given(data, "properties", str | int)
    relations = {key: _texts(given, key) for key in RELATIONS if given.get(key) is not None}
    kept["properties"] = relations | _typed(given, _PROPERTIES)
    if data.get("session") is not None:
        kept["session"] = _typed(_given(data, "session", str | bool), _SESSION)
    if unreadable := _texts(data, "unreadable"):
        kept["unreadable"] = unreadable
    return RecordedScope(kept)


def _typed(given: dict[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """Return what is known here of an object of systemd's or logind's.

    A value of another type, as another version of them may have, is as good as unknown, which
    protects.
    """
    return {
        key: given[key] if _is_a(given[key], wanted) else None
        for key, wanted in types.items()
        if key in given
    }


def _is_a(value: Any, wanted: type) -> bool:
    if type(value) is int:
        return wanted is int and abs(value) < _LARGEST
    return type(value) is wanted


def _given(data: dict[str, Any], key: str, kinds: Any) -> dict[str, Any]:
    """Return an object; what a later version adds to it is of these kinds, too."""
    given = dict(_items(data, key))
    for name, value in given.items():
        if name not in RELATIONS and not isinstance(value, kinds | None):
            raise _no("a value of such an object", f"{name} of the {key}", value)
    return given


def _items(data: dict[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    value = data.get(key)
    if not isinstance(value, dict | None):
        raise _Wrong(f"{key} is not an object")
    return (value or {}).items()


def _process(data: dict[str, Any]) -> Process:
    pid = _needed(data, "pid", 1)
    if pid > _LARGEST_PID:
        raise _Wrong(f"pid is {pid}")
    process = Process(pid)
    for field in FIELDS.values():
        if not field.optional or field.name in data:
            setattr(process, field.name, _value(data, field))
    self_made = _texts(data, "self_made")
    if not all(key in _SELF_MADE for key in self_made):
        raise _no(f"a list of {', '.join(_SELF_MADE)}", "self_made", list(self_made))
    for key in self_made:
        setattr(process, key, SELF_MADE)
    # A key may be missing because no rule needs it; a null says that it could not be read.
    unreadable = [key for key in DECISIVE if key in data and data[key] is None]
    if unreadable:
        process.unreadable = " and ".join(unreadable)
    return process


def _container(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a line says of a container that its place does not, by ``CONTAINER_FACTS``."""
    found: dict[str, Any] = {}
    for kind, before in (("container", ""), ("pod", "pod_")):
        given = dict(_items(data, kind))
        for key in ("id", "uid", "runtime", "qos"):
            _text(given, key)
        for key in given:
            # Other keys belong to the place, or to a later version.
            wanted = CONTAINER_FACTS.get(before + key)
            if wanted is not None:
                value = _text(given, key) if wanted is str else _whole(given, key)
                found |= {} if value is None else {before + key: value}
    return found


def _value(data: dict[str, Any], field: Field) -> Any:
    key = field.name
    if key == "cmdline":
        words = data.get(key)
        if words is not None and not _are_texts(words):
            raise _Wrong("cmdline is not a list of texts")
        return None if words is None else cut("\0".join(words))
    if key == "capabilities":
        return _capabilities(_text(data, key))
    if field.unit is Unit.TEXT:
        return _text(data, key)
    return _whole(data, key, -_LARGEST if field.unit.is_signed else 0)


def _capabilities(text: str | None) -> int | None:
    if text is None:
        return None
    # Python takes more for a number, such as blanks around it.
    if not 0 < len(text) <= 16 or not _HEXADECIMAL.issuperset(text):
        raise _no("a hexadecimal number", "capabilities", text)
    return int(text, 16)


def container_lines(
    id_: str, runtime: str, pod: str, qos: str, said: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the keys ``container`` and ``pod`` of the line of a process.

    Args:
        said: the values that are known, by ``CONTAINER_FACTS``.
    """
    of_pod = {name.removeprefix("pod_"): said[name] for name in said if name.startswith("pod_")}
    rest = {name: said[name] for name in said if not name.startswith("pod_")}
    parts = {
        "container": {"id": id_, "runtime": runtime or None, **rest} if id_ else {},
        "pod": {"uid": pod, "qos": qos or None, **of_pod} if pod else {},
    }
    return {
        kind: {key: value for key, value in part.items() if value is not None}
        for kind, part in parts.items()
        if part
    }


def process_line(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of a process, of values by the name of the field: all but optional ones."""
    line = {"kind": "process", **values}
    self_made = [name for name, value in values.items() if value is SELF_MADE]
    if self_made:
        line |= {**dict.fromkeys(self_made), "self_made": self_made}
    if line["cmdline"] is not None:
        line["cmdline"] = line["cmdline"].split("\0") if line["cmdline"] else []
    if line["capabilities"] is not None:
        line["capabilities"] = f"{line['capabilities']:016x}"
    return line
