"""A recording in which names, command lines and users are replaced, for rules that are given.

Every condition of the rules has the value that it had, so the order and every verdict stay. That is
looked at before anything is written. What is no key that is known here is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.errors import Failure
from oomrules.fields import FIELDS, Unit
from oomrules.fleet.pseudonyms import Asked, Pseudonyms, asked, ids
from oomrules.processes import recorded
from oomrules.processes.cgroups import FIGURES
from oomrules.processes.containers import contained
from oomrules.processes.facts import RELATIONS
from oomrules.processes.snapshot import HOST_MEMORY, HOST_SHARES
from oomrules.processes.units import UNIT_SUFFIXES
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker
from oomrules.terminal import count

Line = dict[str, Any]

# What a line may have besides what is replaced below: figures, and words of the kernel's own.
_HOST = frozenset(
    (
        *("kind", "schema", "time", "kernel", "page_size", "clock_ticks", "uptime", "mem_total"),
        *("swap_total", "hidden", "swappiness", "totalpages", "unknown", *HOST_MEMORY),
        *HOST_SHARES,
    )
)
_SCOPE = frozenset(("kind", "swappiness", "unreadable", *FIGURES, "processes"))
_PROCESS = frozenset(
    (
        *("kind", "capabilities", "state", "self", "self_made"),
        *(name for name, field in FIELDS.items() if field.unit is not Unit.TEXT),
    )
)
_PATHS = ("cgroup", "memory_cgroup", "unit_root")
_IDS = ("uid", "euid", "gid", "egid")
# A word of systemd or logind, as "active" and "oom-kill".
_WORD = re.compile(r"[a-z0-9-]{0,16}")
# Control groups that many hosts have.
_COMMON = frozenset(
    (
        *("system.slice", "user.slice", "machine.slice", "init.scope", "-.slice", "app.slice"),
        *("session.slice", "background.slice", "payload", "supervisor", "docker", "ecs"),
        *("libpod_parent", "lxc", "lxc.payload", "kubepods", "burstable", "besteffort"),
        *("kubepods.slice", "kubepods-burstable.slice", "kubepods-besteffort.slice"),
    )
)
# What is known of a session.
_SESSION_SAYS = frozenset(
    one.field for one in ATTRIBUTES.values() if one.provider is Provider.LOGIND
)
# By which attribute rules ask for a property of systemd.
_ATTRIBUTES = {
    one.read: name for name, one in ATTRIBUTES.items() if one.provider is Provider.SYSTEMD
}
_LONG_ID = re.compile("[0-9a-f]{64}")
_WITH_UID = re.compile(r"(user-|user@|user-runtime-dir@)([0-9]{1,10})(\.slice|\.service)")
_SESSION = re.compile(r"session-c?[0-9]{1,10}\.scope")
_POD = re.compile(r"((?:kubepods(?:-burstable|-besteffort)?-)?pod)([0-9A-Za-z_-]+)(\.slice)?(:.*)?")
# Whose name is that of a container, as systemd escapes it (``processes.containers``).
_NAMED = tuple(
    re.compile(f"({before})(.+)({after})")
    for before, after in (
        (r"lxc[.]payload[.]", ""),
        (r"machine-(?:qemu\\x2d[0-9]+\\x2d|lxc\\x2d[0-9]+\\x2d)?", r"\.scope"),
        ("systemd-nspawn@", r"\.service"),
    )
)
_PODMAN_POD = re.compile(r"(machine-libpod_pod_)([0-9a-f]{64})(\.slice)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def redacted(lines: Iterable[Line], program: Program, key: bytes) -> list[Line]:
    """Return the lines of a recording with the names replaced.

    Args:
        program: the rules under which everything stays as it is.
        key: recordings that are made with the same key and rules have the same names.

    Raises:
        Failure: the rules ask for something that cannot be replaced.
    """
    before = list(lines)
    after = _Redaction(before, asked(program), key).lines()
    _compare(before, after, program)
    return after


def _compare(before: list[Line], after: list[Line], program: Program) -> None:
    """Raise a Failure unless the rules say the same of both recordings."""
    old, new = (
        recorded.parse(map(json.dumps, lines), "the recording") for lines in (before, after)
    )
    rankings = [Ranker(program, one.host).rank(one) for one in (old, new)]
    for pid, process in old.by_pid.items():
        if rankings[0].verdict(process) != rankings[1].verdict(new.by_pid[pid]):
            raise _not_the_same(pid, rankings[0].verdict(process).rule)
    if rankings[0].pids != rankings[1].pids:
        raise _not_the_same(None, None)


def _not_the_same(pid: int | None, rule: Any) -> Failure:
    what = f"process {pid}" if pid else "the order"
    by = f", for one by the rule at {rule.place}" if rule else ""
    return Failure(
        f"the rules would not judge {what} as before without its names{by}; nothing was written",
        "leave --redact out, or name other rules with --rules",
    )


class _Redaction:
    """One recording that is being redacted."""

    def __init__(self, lines: list[Line], wanted: Asked, key: bytes) -> None:
        self._lines, self._asked = lines, wanted
        self._names = Pseudonyms(key)
        self._numbers = set(wanted.numbers)
        self._ids = ids(self._all_ids(), self._numbers)
        self._units = wanted.of("unit", "slice", "user.unit", "user.slice")
        self._paths = wanted.of("cgroup")
        words = {word for _, text in self._paths for word in re.split(r"[/*?\[\]^$]+", text)}
        # Parts of paths that stay, since rules speak of them.
        self._kept = {*_COMMON, *words}
        self._settle()

    def _all_ids(self) -> set[int]:
        found: set[int] = set()
        for line in self._lines:
            found.update(line[key] for key in _IDS if isinstance(line.get(key), int))
            for key in ("users", "groups"):
                found.update(map(int, line.get(key) or ()))
            found.update(int(one[2]) for one in _WITH_UID.finditer(line.get("cgroup") or ""))
        return found

    def _settle(self) -> None:
        """Keep ids that rules know as texts, and parts of paths that rules about paths look at."""
        while fixed := set(self._told_by_text()) - self._numbers:
            self._numbers |= fixed
            self._ids = ids(self._all_ids(), self._numbers)
        paths = {line[key] for line in self._lines for key in _PATHS if line.get(key)}
        for path in sorted(paths):
            if self._names.alike(path, self.path(path), self._paths):
                continue
            for part in path.split("/"):
                self._kept.add(part)
                if self._names.alike(path, self.path(path), self._paths):
                    break

    def _told_by_text(self) -> Iterator[int]:
        """Yield the ids that rules would not take for those that stand for them."""
        host = self._lines[0]
        for key in ("users", "groups"):
            patterns = self._asked.of(key[:-1], f"parent.{key[:-1]}")
            named = host.get(key) or {}
            for old, new in self._ids.items():
                if str(old) not in named and not self._names.alike(str(old), str(new), patterns):
                    yield old
        for line in self._lines:
            for part in (line.get("cgroup") or "").split("/"):
                found = _WITH_UID.fullmatch(part)
                if found and not self._names.alike(part, self._with_uid(found), self._units):
                    yield int(found[2])

    def _with_uid(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self._id(int(found[2]))}{found[3]}"

    def lines(self) -> list[Line]:
        """Return the lines."""
        made = {"host": self._host, "scope": self._scope, "process": self._process}
        return [made[line["kind"]](line) for line in self._lines if line.get("kind") in made]

    def _text(self, text: str | None, *attributes: str) -> str | None:
        return None if text is None else self._names.replaced(text, self._asked.of(*attributes))

    def _id(self, number: Any) -> Any:
        return self._ids.get(number, number) if isinstance(number, int) else number

    def _host(self, line: Line) -> Line:
        made = _only(line, _HOST)
        for key in ("users", "groups"):
            if line.get(key) is not None:
                made[key] = {
                    str(self._id(int(number))): self._user(number, name, key[:-1])
                    for number, name in line[key].items()
                }
        if line.get("unit_root"):
            made["unit_root"] = self.path(line["unit_root"])
        if line.get("notes"):
            made["notes"] = [f"{count(len(line['notes']), 'note')} left out by --redact"]
        return made

    def _user(self, number: str, name: str, kind: str) -> str | None:
        # Root has this name where names are not known.
        root = int(number) == 0 and name == "root"
        return name if root else self._text(name, kind, f"parent.{kind}")

    def _scope(self, line: Line) -> Line:
        made = _only(line, _SCOPE) | {"cgroup": self.path(line["cgroup"])}
        made["unit"] = None if line.get("unit") is None else self._unit(line["unit"])
        if line.get("properties") is not None:
            known = _only(line["properties"], frozenset((*RELATIONS, *_ATTRIBUTES)))
            made["properties"] = {
                name: self._property(name, value) for name, value in known.items()
            }
        if line.get("session") is not None:
            session = _only(line["session"], _SESSION_SAYS)
            made["session"] = {
                name: self._said(f"session.{name}", value) for name, value in session.items()
            }
        return made

    def _property(self, name: str, value: Any) -> Any:
        if name in RELATIONS:
            return [self._unit(unit) for unit in value]
        return self._said(_ATTRIBUTES[name], value)

    def _said(self, attribute: str, value: Any) -> Any:
        """Return what stands for a word of systemd or logind; for any other text a name does."""
        word = attribute != "unit.description" and isinstance(value, str) and _WORD.fullmatch(value)
        return value if word or not isinstance(value, str) else self._text(value, attribute)

    def _process(self, line: Line) -> Line:
        made = _only(line, _PROCESS)
        made |= {key: self._id(line[key]) for key in _IDS if key in line}
        if "comm" in line:
            made["comm"] = self._text(line["comm"], "comm", "parent.comm")
        if "exe" in line:
            made["exe"] = line["exe"] and self._file(line["exe"])
        words = line.get("cmdline")
        if "cmdline" in line:
            # As rules see it; the whole is one word, which does not tell how many there were.
            whole = " ".join(words or ())
            made["cmdline"] = words and [self._text(whole, "cmdline", "parent.cmdline")]
        made |= {key: line[key] and self.path(line[key]) for key in _PATHS if key in line}
        return made | self._container(line)

    def _container(self, line: Line) -> Line:
        made: Line = {}
        if line.get("container"):
            place, made["container"] = line["container"], {}
            for key, name in (("name", "container.name"), ("image", "container.image")):
                if key in place:
                    made["container"][key] = self._text(place[key], name)
            if "runtime" in place:
                made["container"]["runtime"] = self._said("container.runtime", place["runtime"])
            if "id" in place:
                made["container"]["id"] = self._container_id(place["id"])
        if line.get("pod"):
            pod, made["pod"] = line["pod"], {}
            for key in ("name", "namespace"):
                if key in pod:
                    made["pod"][key] = self._text(pod[key], f"pod.{key}")
            made["pod"] |= {key: pod[key] for key in ("qos", "priority") if key in pod}
            if "uid" in pod:
                made["pod"]["uid"] = self._pod_id(pod["uid"])
        return made

    def _file(self, path: str) -> str:
        before = "/" if path.startswith("/") else ""
        return self._names.replaced(path, self._asked.of("exe", "parent.exe"), before)

    # --- control groups ---------------------------------------------------------------------

    def path(self, path: str) -> str:
        """Return what stands for the path of a control group, part by part."""
        parts = path.split("/")
        around = ["", *parts]
        return "/".join(map(self._part, parts, around))

    def _part(self, part: str, around: str) -> str:
        if not part or part in self._kept or _SESSION.fullmatch(part):
            return part
        if found := _WITH_UID.fullmatch(part):
            return self._with_uid(found)
        new = self._of_container(part, around)
        if new is not None:
            # A rule may ask for more of the name of its unit.
            return new if self._names.alike(part, new, self._units) else part
        suffix = next((one for one in UNIT_SUFFIXES if part.endswith(one)), "")
        return self._names.replaced(part, self._units, after=suffix)

    def _unit(self, name: str) -> str:
        return self._part(name, "")

    def _of_container(self, part: str, around: str) -> str | None:
        """Return what stands for the group of a container or a pod; None for any other group."""
        if found := _PODMAN_POD.fullmatch(part):
            return f"{found[1]}{self._pod_id(found[2])}{found[3]}"
        if around == "libpod_parent" and _LONG_ID.fullmatch(part):
            return self._pod_id(part)
        if found := _POD.fullmatch(part):
            rest = self._long_ids(found[4] or "")
            id_ = self._pod_id(found[2])
            # As the kubelet writes it into the name of a slice.
            id_ = id_.replace("-", "_") if found[3] else id_
            return f"{found[1]}{id_}{found[3] or ''}{rest}"
        if _LONG_ID.search(part) and contained(f"/{around}/{part}").id:
            return self._long_ids(part)
        if around in ("lxc", "lxc.payload"):
            return self._container_id(part)
        for pattern in _NAMED:
            found = pattern.fullmatch(part)
            if not found:
                continue
            name = _ESCAPED.sub(lambda one: chr(int(one[1], 16)), found[2])
            new = re.sub(r"[^A-Za-z0-9_.]", _escaped, self._container_id(name))
            return f"{found[1]}{new}{found[3]}"
        return None

    def _long_ids(self, text: str) -> str:
        return _LONG_ID.sub(lambda found: self._container_id(found[0]), text)

    def _container_id(self, id_: str) -> str:
        # Where the path has a name, it is the id too.
        patterns = self._asked.of("container.id", "container.name")
        whole = self._names.digest(id_).hex()[:64] if _LONG_ID.fullmatch(id_) else ""
        return self._names.replaced(id_, patterns, whole=whole)

    def _pod_id(self, id_: str) -> str:
        id_ = id_.replace("_", "-")
        whole = self._names.digest(id_).hex()[: 64 if _LONG_ID.fullmatch(id_) else 32]
        return self._names.replaced(id_, self._asked.of("pod.uid"), whole=whole)


def _only(line: Line, keys: frozenset[str]) -> Line:
    return {key: value for key, value in line.items() if key in keys}


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
