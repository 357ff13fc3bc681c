"""Hosts that a test describes: a few words a process, the rest as on any host.

The description becomes the lines of a recorded snapshot, and is checked as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oomrules import capabilities
from oomrules.attributes import ATTRIBUTES, Provider, Type
from oomrules.errors import Failure
from oomrules.fields import FIELDS, Unit
from oomrules.language import quantities
from oomrules.language.diagnostics import did_you_mean
from oomrules.processes import recorded
from oomrules.processes.containers import NAMED_BY_PATH, QOS_CLASSES, RUNTIMES
from oomrules.processes.ordinary import (
    ALL_CAPABILITIES,
    FIRST_USER,
    PAGE_SIZE,
    UPTIME,
    assumed,
    container_group,
    process_line,
    snapshot,
    terminal,
    usual_group,
)
from oomrules.processes.snapshot import HOST_MEMORY, HOST_SHARES

TICKS = 100
INIT = 1

# The first of the ids that names without one are given.
_FIRST_ID = 20_000

_HOST_SIZES = ("memory", "swap", *HOST_MEMORY)
_HOST = ("uptime", *_HOST_SIZES, *HOST_SHARES)
# What a host has that is at rest, as a part of its memory or of its swap.
_AT_REST = {
    "available": ("memory", 3, 4),
    "free": ("memory", 1, 2),
    "shmem": ("memory", 0, 1),
    "hugetlb": ("memory", 0, 1),
    "swap_free": ("swap", 1, 1),
}
# What is said in other words than the field's own, with the field.
_WORDS = {
    "user": "uid",
    "group": "gid",
    "cmdline": "cmdline",
    "capabilities": "capabilities",
    "cpu_time": "utime",
    "run_time": "starttime",
    "tty": "tty_nr",
    # Worked out from several; this is the one that ``unknown`` takes away.
    "footprint": "pgtables",
    "unit": "cgroup",
    "parent": "ppid",
}
_PLAIN = {
    name: field
    for name, field in FIELDS.items()
    if name not in ("cmdline", "capabilities", "tty_nr", "memory_cgroup")
    and field.unit is not Unit.TICKS
}
_SIZES = [name for name, field in _PLAIN.items() if field.unit.is_memory]
_TEXTS = [name for name, field in _PLAIN.items() if field.unit is Unit.TEXT]
_NUMBERS = [name for name in _PLAIN if name not in (*_SIZES, *_TEXTS)]
# What a process has beside its fields: the names of ``attributes`` without their first word.
_TABLES = {
    table: {
        name.partition(".")[2]: attribute
        for name, attribute in ATTRIBUTES.items()
        if name.startswith(f"{table}.")
    }
    for table in ("container", "pod")
}
KEYS = (*_PLAIN, *_WORDS, *_TABLES, "unknown")
_OF_RUNTIME = frozenset(a.name for a in ATTRIBUTES.values() if a.provider is Provider.RUNTIME)
# Of a container that is given no id.
_CONTAINER = "0123456789abcdef" * 4
_POD = "01234567-89ab-cdef-0123-456789abcdef"
_SCOPE_BYTES = (
    *("memory", "memory_max", "memory_high", "memory_min", "memory_low"),
    *("swap", "swap_max"),
)
_SCOPE = (*_SCOPE_BYTES, *HOST_SHARES, "oom_kills", "properties", "session")


def refuse_unknown(data: Iterable[str], known: tuple[str, ...], where: str) -> None:
    """Raise Failure for a key that is not known."""
    for key in data:
        if key not in known:
            raise Failure(
                f"{where}: there is no {key}",
                did_you_mean(key, known, f"there are {', '.join(known)}"),
            )


class Described:
    """A host in the making.

    Args:
        file: the test file, for messages.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.uptime = UPTIME
        self.users: dict[str, int] = {"root": 0}
        self.groups: dict[str, int] = {"root": 0}

    def snapshot(self, data: Mapping[str, Any]) -> tuple[recorded.Recorded, dict[str, int]]:
        """Make the host that a test file describes.

        Returns:
            the host, and the pid of each process by its name in the file.

        Raises:
            Failure: something in the description makes no sense; the message says what.
        """
        given = self._table(data.get("host", {}), "host", _HOST)
        self.uptime = self._seconds(given.get("uptime", "1d"), "host.uptime")
        memory = self._memory(given)
        processes: list[dict[str, Any]] = []
        pids: dict[str, int] = {}
        described = list(self._tables(data, "process", KEYS))
        for number, (name, said) in enumerate(described, 1000):
            process = self._process(name, said, number)
            if process["pid"] in pids.values():
                raise self._wrong(f"process.{name}.pid", f"{process['pid']} is taken already")
            pids[name] = process["pid"]
            processes.append(process)
        for process, (name, said) in zip(processes, described, strict=True):
            if "parent" in said:
                process["ppid"] = self._parent(said["parent"], name, pids)
        if INIT not in pids.values():
            processes.append(_init())
        scopes = [self._scope(cgroup, said) for cgroup, said in self._tables(data, "scope", _SCOPE)]
        host = {
            "clock_ticks": TICKS,
            "uptime": self.uptime,
            "mem_total": memory.pop("memory"),
            "swap_total": memory.pop("swap"),
            **memory,
            **{key: given.get(key, 0) for key in HOST_SHARES},
            "users": {str(number): name for name, number in self.users.items()},
            "groups": {str(number): name for name, number in self.groups.items()},
        }
        return snapshot(self.file, host, [*scopes, *processes]), pids

    def _memory(self, given: dict[str, Any]) -> dict[str, int]:
        """Return the sizes of a host: what is said, and the others as on one that is at rest."""
        said = {"memory": "8GiB", "swap": "0B", **given}
        sizes = {key: self._bytes(said[key], f"host.{key}") for key in _HOST_SIZES if key in said}
        for key, (whole, above, below) in _AT_REST.items():
            sizes.setdefault(key, sizes[whole] * above // below)
        return sizes

    # --- processes ---------------------------------------------------------------------

    def _process(self, name: str, said: dict[str, Any], pid: int) -> dict[str, Any]:
        where = f"process.{name}"
        self._typed(said, where)
        comm = said.get("comm", name.encode()[:15].decode("utf-8", "ignore"))
        uid = self._id(said, "uid", "user", self.users, 1000)
        gid = self._id(said, "gid", "group", self.groups, uid)
        rss = self._rss(said, where)
        values: dict[str, Any] = {
            **assumed(comm, uid),
            "comm": comm,
            "cmdline": "\0".join(self._words(said.get("cmdline", [comm]), where)),
            "uid": uid,
            "gid": gid,
            "egid": gid,
            "capabilities": self._capabilities(said, uid, where),
            "utime": self._seconds(said.get("cpu_time", "0s"), f"{where}.cpu_time", TICKS),
            "starttime": self._start(said.get("run_time", "1h"), f"{where}.run_time"),
            "total_vm": 2 * rss // PAGE_SIZE,
            "rss": rss // PAGE_SIZE,
            "anon": rss,
            "tty_nr": self._tty(said.get("tty", ""), where),
            "cgroup": self._cgroup(said, comm, uid, where),
        }
        values |= self._container(said, name, where)
        values |= {name: said[name] for name in (*_NUMBERS, *_TEXTS) if name in said}
        for name in _SIZES:
            if name in said:
                size = self._bytes(said[name], f"{where}.{name}")
                values[name] = size // PAGE_SIZE if FIELDS[name].unit is Unit.PAGES else size
        for key in said.get("unknown", []):
            name = _WORDS.get(key, key)
            if key in _OF_RUNTIME:
                continue
            if name not in FIELDS:
                raise self._wrong(f"{where}.unknown", did_you_mean(key, KEYS, f"there is no {key}"))
            values[name] = None
        return process_line(values.pop("pid", pid), **values)

    def _parent(self, said: str, name: str, pids: Mapping[str, int]) -> int:
        """Return the pid of the process that another one names as its parent."""
        if said == name or said not in pids:
            others = [other for other in pids if other != name]
            known = did_you_mean(said, others, "it is the name of another process in this file")
            raise self._wrong(f"process.{name}.parent", f"there is no {said}; {known}")
        return pids[said]

    def _typed(self, said: dict[str, Any], where: str) -> None:
        for keys, kind, what in (
            (_NUMBERS, int, "a whole number"),
            ((*_TEXTS, "user", "group", "tty", "parent"), str, "a text in quotes"),
            (("capabilities", "unknown"), list, "a list, in brackets"),
        ):
            for key in keys:
                if key in said and type(said[key]) is not kind:
                    raise self._wrong(f"{where}.{key}", f"is {what}, not {said[key]!r}")

    def _id(
        self, said: dict[str, Any], key: str, name_key: str, names: dict[str, int], default: int
    ) -> int:
        """Find an id by its number or name; a name without a number gets one."""
        if name_key not in said:
            return int(said.get(key, default))
        name = str(said[name_key])
        return names.setdefault(name, said.get(key, _FIRST_ID + len(names)))

    def _words(self, said: Any, where: str) -> list[str]:
        if isinstance(said, str):
            return said.split(" ")
        if isinstance(said, list):
            return [str(word) for word in said]
        raise self._wrong(f"{where}.cmdline", "is a text or a list of texts")

    def _capabilities(self, said: dict[str, Any], uid: int, where: str) -> int:
        """Return the set as bits: what is listed, else all for root and none for others."""
        if "capabilities" not in said:
            return ALL_CAPABILITIES if uid == 0 else 0
        bits = 0
        for name in said["capabilities"]:
            meant = capabilities.matches(name)
            if len(meant) != 1:
                raise self._wrong(f"{where}.capabilities", f"there is no single {name}")
            bits |= 1 << capabilities.CAPABILITIES[meant[0]]
        return bits

    def _rss(self, said: dict[str, Any], where: str) -> int:
        """Return the resident memory, which is what swap and page tables leave of a footprint."""
        if "footprint" not in said:
            return self._bytes(said.get("rss", "16MiB"), f"{where}.rss")
        if "rss" in said:
            raise self._wrong(f"{where}.footprint", "is rss + swap + pgtables; leave out the rss")
        usual = {"swap": "0B", "pgtables": f"{FIELDS['pgtables'].ordinary}B"}
        # Each of them counts in whole pages.
        others = sum(
            self._bytes(said.get(key, usual[key]), f"{where}.{key}") // PAGE_SIZE * PAGE_SIZE
            for key in usual
        )
        rss = self._bytes(said["footprint"], f"{where}.footprint") - others
        if rss < 0:
            why = f"is less than swap and pgtables together, {others >> 10}KiB"
            raise self._wrong(f"{where}.footprint", why)
        return rss

    def _start(self, said: Any, where: str) -> int:
        seconds = self._seconds(said, where)
        if seconds > self.uptime:
            raise self._wrong(where, "is longer than the host is up; give it another host.uptime")
        return (self.uptime - seconds) * TICKS

    def _tty(self, said: str, where: str) -> int:
        number = terminal(said)
        if number is None:
            raise self._wrong(f"{where}.tty", "is like pts/3 or tty1")
        return number

    def _cgroup(self, said: dict[str, Any], comm: str, uid: int, where: str) -> str:
        """Put a process into its unit; without one, users are in a session, others a service."""
        unit = said.get("unit")
        if unit is None:
            return usual_group(comm, uid)
        if not isinstance(unit, str) or "." not in unit:
            raise self._wrong(f"{where}.unit", "is the full name of a unit, as in nginx.service")
        if unit.endswith(".slice"):
            return _slice(unit)
        if unit.endswith(".scope") and uid >= FIRST_USER:
            return f"/user.slice/user-{uid}.slice/{unit}"
        return f"/system.slice/{unit}"

    def _container(self, said: dict[str, Any], name: str, where: str) -> dict[str, Any]:
        """Put a process into a container and a pod, and let the runtime say what is given."""
        tables = {}
        for table, known in _TABLES.items():
            given = self._table(said.get(table, {}), f"{where}.{table}", tuple(known))
            for key, value in given.items():
                if type(value) is not type(known[key].empty):
                    what = "a text in quotes" if known[key].type is Type.TEXT else "a whole number"
                    raise self._wrong(f"{where}.{table}.{key}", f"is {what}, not {value!r}")
            tables[table] = given
        container, pod = tables["container"], tables["pod"]
        if "container" not in said and "pod" not in said:
            return {}
        runtime = container.get("runtime", "containerd" if pod else "docker")
        by_path = runtime in NAMED_BY_PATH
        id_ = container.get("id", container.get("name", name) if by_path else _CONTAINER)
        uid = pod.get("uid", _POD) if "pod" in said else ""
        qos = pod.get("qos", QOS_CLASSES[1]) if "pod" in said else ""
        group = container_group(id_, runtime, uid, qos)
        if group is None and "cgroup" not in said:
            raise self._wrong(
                f"{where}.container",
                f"cannot be: an id has 64 digits, 0 to f, a runtime is one of "
                f"{', '.join(RUNTIMES)}, a qos one of {', '.join(QOS_CLASSES)}",
            )
        usual = {"name": name, "image": "example:latest", "namespace": "default", "priority": 0}
        of_runtime = {
            attribute.field: tables[table].get(key, usual[key])
            for table, known in _TABLES.items()
            for key, attribute in known.items()
            if attribute.provider is Provider.RUNTIME
            and attribute.name not in said.get("unknown", [])
        }
        lines = recorded.container_lines(id_, runtime, uid, qos, of_runtime)
        return {**lines, "cgroup": group}

    # --- control groups ------------------------------------------------------------------

    def _scope(self, cgroup: str, said: dict[str, Any]) -> dict[str, Any]:
        sizes = {
            key: self._bytes(said[key], f"scope.{cgroup}.{key}")
            for key in _SCOPE_BYTES
            if key in said
        }
        return {"kind": "scope", "cgroup": cgroup, **said, **sizes}

    # --- values --------------------------------------------------------------------------

    def _bytes(self, said: Any, where: str) -> int:
        return self._quantity(said, where, Type.MEMORY, "a size such as 300MiB")

    def _seconds(self, said: Any, where: str, parts: int = 1) -> int:
        milliseconds = self._quantity(said, where, Type.DURATION, "a time such as 10min")
        return milliseconds * parts // 1000

    def _quantity(self, said: Any, where: str, kind: Type, what: str) -> int:
        try:
            value = quantities.read(str(said))
        except quantities.BadQuantity as error:
            raise self._wrong(where, f"{error.message}; {error.help}") from error
        except ValueError:
            value = None
        if value is None or value.type is not kind:
            raise self._wrong(where, f"is {what}, not {said!r}")
        return int(value.amount)

    def _tables(
        self, data: Mapping[str, Any], kind: str, known: tuple[str, ...]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return the tables of a kind by name, such as ``[process.NAME]``."""
        for name, said in self._table(data.get(kind, {}), kind).items():
            yield name, self._table(said, f"{kind}.{name}", known)

    def _table(self, said: Any, where: str, known: tuple[str, ...] | None = None) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise self._wrong(where, f"is a table, [{where}]")
        if known is not None:
            refuse_unknown(said, known, f"{self.file}: {where}")
        return said

    def _wrong(self, where: str, why: str) -> Failure:
        return Failure(f"{self.file}: {where}: {why}", "see docs/testing.md")


def _init() -> dict[str, Any]:
    """Return the line of the init process, which each host has; it counts in no sum."""
    ids = dict.fromkeys(("ppid", "uid", "euid", "gid", "egid", "starttime"), 0)
    sizes = dict.fromkeys(("total_vm", "rss", "anon", "pgtables"), 0)
    texts = {"comm": "systemd", "cmdline": "/sbin/init", "exe": "/usr/lib/systemd/systemd"}
    return process_line(INIT, cgroup="/init.scope", growth=0, **ids, **sizes, **texts)


def _slice(name: str) -> str:
    """Return the path of a slice: ``a-b.slice`` is inside ``a.slice`` (systemd.slice(5))."""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[:number])}.slice" for number in range(1, len(parts) + 1))
