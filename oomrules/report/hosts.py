"""A host made of a report: a recorded snapshot in which what the report does not hold is unknown.

The kernel prints each process with its memory, its user and its oom_score_adj. Units (but the
victim's), times, rights and names are unknown, unless ``facts`` has them or they are assumed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oomrules.fields import FIELDS
from oomrules.kills.facts import KEPT, Facts
from oomrules.processes import ordinary
from oomrules.processes import recorded as snapshots
from oomrules.processes.cgroups import LIMITS, enclosing
from oomrules.processes.containers import contained
from oomrules.processes.facts import CONTAINER_FACTS
from oomrules.processes.snapshot import HOST_MEMORY, NO_LIMIT, UNREAD, Process, Snapshot
from oomrules.processes.units import placement
from oomrules.processes.values import container_of
from oomrules.report.model import HOST, LIMIT, SYSRQ, Choice, Killed, Report, Row

KIB = 1024
TICKS = 100
INIT = 1

# What is worked out from all processes and their places.
_OF_PLACES = ("unit.processes", "cgroup.processes", "scope.processes", "scope.footprint")
_OF_USERS = ("user.footprint", "user.processes")
_HOST_WIDE = (HOST, SYSRQ)

_GROUPS = ("cgroup", "memory_cgroup")

# The attribute that people know a raw field by, where it has another name; None for no attribute.
_ATTRIBUTE = {
    "utime": "cpu_time",
    "stime": None,
    "starttime": "run_time",
    "tty_nr": "tty",
    "cgroup": "unit",
    "flags": None,
    "memory_cgroup": None,
}

# What the report itself says of a process at the moment that counts; no other source may say it.
_OF_REPORT = frozenset(
    {"pid", "uid", "comm", "total_vm", "rss", "anon", "shmem", "swap", "pgtables"}
)


@dataclass(frozen=True)
class Made:
    """A host made of a report.

    Attributes:
        lines: of the snapshot, the host first.
        snapshot: what is read from them.
        assumed: by attribute, of how many processes it was assumed.
        joined: of how many processes other facts than the report's were known.
        strange: of how many processes such facts were not taken, because another process had the
            pid then.
    """

    lines: tuple[dict[str, Any], ...]
    snapshot: snapshots.Recorded
    assumed: Mapping[str, int] = field(default_factory=dict)
    joined: int = 0
    strange: int = 0

    @property
    def text(self) -> str:
        """The lines as a file has them."""
        return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in self.lines)


def recorded(
    report: Report, choice: Choice, facts: Facts | None = None, assume: bool = False
) -> snapshots.Recorded:
    """Return the snapshot that ``made`` makes."""
    return made(report, choice, facts, assume).snapshot


def made(report: Report, choice: Choice, facts: Facts | None = None, assume: bool = False) -> Made:
    """Return the host that a report is of, as far as it tells.

    Args:
        choice: has the total and the page size.
        facts: what else was known of the processes, at about that time.
        assume: whether the rest is taken to be as on any host (``ordinary.assumed``).

    Raises:
        Failure: ``facts`` says something impossible.
    """
    making = _Making(report, choice, facts, assume)
    processes = list(making.processes())
    lines = (making.host(processes), *making.scopes(processes), *processes)
    return Made(
        lines=lines,
        snapshot=snapshots.parse(map(json.dumps, lines), report.source),
        assumed={name: making.assumed[name] for name in sorted(making.assumed)},
        joined=making.joined,
        strange=making.strange,
    )


def pids(report: Report) -> dict[int, int]:
    """Return the process of each pid in a report, which may be that of a thread."""
    found: dict[int, int] = {}
    for row in report.table.rows if report.table else ():
        process = row.values.get("tgid", row.pid)
        found.setdefault(row.pid, process)
        found.setdefault(process, process)
    for killed in report.killed:
        found.setdefault(killed.pid, killed.pid)
    return found


class _Making:
    """The lines of one host, and what was assumed for them."""

    def __init__(self, report: Report, choice: Choice, facts: Facts | None, assume: bool) -> None:
        self._report, self._choice, self._facts, self._assume = report, choice, facts, assume
        self.assumed: Counter[str] = Counter()
        self.joined = self.strange = 0
        self._page = choice.page_size
        self._ticks = facts.ticks if facts else TICKS
        self._at = self._time()
        self._uptime = self._at or (float(ordinary.UPTIME) if assume else 0.0)
        self._is_wide = report.kind in _HOST_WIDE
        self._is_complete = report.table is not None and report.table.complete

    def _time(self) -> float | None:
        """Return when the report was, in seconds since the boot; None where that is not known."""
        if self._facts and self._facts.at is not None:
            return self._facts.at
        try:
            seconds = float(self._report.time)
        except ValueError:
            return None
        return seconds if 0 <= seconds < 2**53 else None

    # --- processes -----------------------------------------------------------------------

    def processes(self) -> Iterator[dict[str, Any]]:
        """Yield the line of each process: threads of one count once."""
        found: dict[int, dict[str, Any]] = {}
        leaders = set()
        for row in self._report.table.rows if self._report.table else ():
            pid = row.values.get("tgid", row.pid)
            if pid < 1 or pid in leaders or (pid in found and pid != row.pid):
                continue
            if pid == row.pid:
                leaders.add(pid)
            found[pid] = self._of_row(pid, row)
        process_of = pids(self._report)
        for killed in self._report.killed:
            # The row may be cut off, and another row have the pid of a thread.
            if killed.pid > 0 and process_of[killed.pid] not in found:
                found[killed.pid] = self._of_killed(killed)
        victim = self._report.killed[0].pid if self._report.killed else None
        for pid, line in found.items():
            place = self._place(victim is not None and process_of[victim] == pid)
            if place is not None:
                line["cgroup"] = place
            line |= self._known_besides(line)
            if self._assume:
                self._fill(line)
            yield line
        if self._is_wide and INIT not in found:
            # The kernel never takes it, so it is not in the table; its memory is not told.
            yield {"kind": "process", "pid": INIT, "ppid": 0, "uid": 0}

    def _of_row(self, pid: int, row: Row) -> dict[str, Any]:
        values = row.values
        rss = [values[key] for key in ("rss_anon", "rss_file", "rss_shmem") if key in values]
        line: dict[str, Any] = {"kind": "process", "pid": pid, "comm": row.name}
        known = {
            "uid": values.get("uid"),
            "total_vm": values.get("total_vm"),
            "rss": values.get("rss", sum(rss) if len(rss) == 3 else None),
            "anon": self._bytes(values.get("rss_anon")),
            "shmem": self._bytes(values.get("rss_shmem")),
            "swap": values.get("swapents", self._no_swap()),
            "pgtables": self._tables(values),
            "oom_score_adj": self._adjustment(pid, values.get("oom_score_adj")),
        }
        # A negative number is none that a kernel means.
        return line | {
            key: value
            for key, value in known.items()
            if value is not None and (value >= 0 or key == "oom_score_adj")
        }

    def _of_killed(self, killed: Killed) -> dict[str, Any]:
        """Return what the message about a kill tells of a process without a row, in KiB."""
        rss = (killed.anon_rss, killed.file_rss, killed.shmem_rss or 0)
        known = {
            "uid": killed.uid,
            "total_vm": self._pages(killed.total_vm),
            "rss": None if None in rss else self._pages(sum(filter(None, rss))),
            "swap": self._no_swap(),
            "pgtables": None if killed.page_tables is None else killed.page_tables * KIB,
            "oom_score_adj": self._adjustment(killed.pid, killed.oom_score_adj),
        }
        line = {"kind": "process", "pid": killed.pid, "comm": killed.name}
        return line | {key: value for key, value in known.items() if value is not None}

    def _bytes(self, pages: int | None) -> int | None:
        return None if pages is None else pages * self._page

    def _pages(self, kib: int | None) -> int | None:
        return None if kib is None else kib * KIB // self._page

    def _no_swap(self) -> int | None:
        """Return 0 for a host without swap: no process has any."""
        return 0 if self._report.figures.swap_total == 0 else None

    def _tables(self, values: Mapping[str, int]) -> int | None:
        if "pgtables_bytes" in values:
            return values["pgtables_bytes"]
        if "nr_ptes" not in values:
            return None
        pages = sum(values.get(key, 0) for key in ("nr_ptes", "nr_pmds", "nr_puds"))
        return self._bytes(pages)

    def _adjustment(self, pid: int, value: int | None) -> int | None:
        """Return a process's own oom_score_adj; None where it may be one that oomrules wrote."""
        if value is None or abs(value) > 1000:
            return None
        return self._facts.own(pid, value) if self._facts else value

    def _place(self, is_victim: bool) -> str | None:
        """Return the control group of a process as far as the report tells it.

        Every process of a report about a limit is in the group that is at its limit, or below it.
        That tells the unit, unless the group can have other units below.
        """
        group = self._report.victim_group
        if is_victim and group and self._tells_unit(group):
            return group
        return self._around

    @property
    def _around(self) -> str | None:
        """The group that is at its limit, where it tells the unit of each process in it."""
        group = self._report.group if self._report.kind == LIMIT else ""
        return group if group and self._tells_unit(group) else None

    def _tells_unit(self, group: str) -> bool:
        root = self._facts.unit_root if self._facts else ""
        printed = self._report.figures.printed
        # mem_cgroup_print_oom_meminfo(), mm/memcontrol.c: v2 has swap apart from memory.
        unified = "swap usage" in printed and "memory+swap usage" not in printed
        return _tells_unit(group, root, unified)

    def _known_besides(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return what is known of a process besides, if the facts are about the same process."""
        facts = self._facts
        said = facts.processes.get(line["pid"]) if facts else None
        if facts is None or said is None:
            return {}
        if not self._is_same(said, line):
            self.strange += 1
            return {}
        self.joined += 1
        taken = {
            key: value
            for key, value in said.items()
            if key not in _OF_REPORT and key not in ("kind", "unreadable") and value is not None
        }
        group = self._report.group if self._report.kind == LIMIT else ""
        for key in _GROUPS:
            # It may be further down than the group at its limit, but not elsewhere.
            if group and group not in enclosing(str(taken.get(key, group))):
                del taken[key]
        return taken

    def _is_same(self, said: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
        """Return whether facts are about the process of a line, and not an earlier or later one.

        A user may call a process as he likes, but it has his user id, and a pid of his own.
        """
        for key in ("uid", "comm"):
            if key in line and said.get(key) not in (None, line[key]):
                return False
        start = said.get("starttime")
        # It cannot have begun after it was printed. The kernel's clock stands still in a suspend,
        # and that of start times does not: then less is taken than could be.
        if self._at is not None and type(start) is int:
            return start <= (self._at + 1) * self._ticks
        return True

    def _fill(self, line: dict[str, Any]) -> None:
        """Assume what is not known of a process."""
        usual = {
            name: one.ordinary
            for name, one in FIELDS.items()
            if one.ordinary is not None and name not in _OF_REPORT and not one.optional
        }
        usual |= ordinary.assumed(line.get("comm", ""), line.get("uid", ordinary.FIRST_USER))
        usual["session"] = line["pid"]
        usual["starttime"] = max(0, int((self._uptime - ordinary.RUN_TIME) * self._ticks))
        if "rss" in line:
            usual["anon"] = self._bytes(line["rss"])
        for name in ("swap", "pgtables", "shmem"):
            usual[name] = FIELDS[name].ordinary
        missing = {name: value for name, value in usual.items() if name not in line}
        for name in missing:
            attribute = _ATTRIBUTE.get(name, name)
            if attribute is not None:
                self.assumed[attribute] += 1
        if "capabilities" in missing:
            missing["capabilities"] = f"{missing['capabilities']:016x}"
        if "cmdline" in missing:
            missing["cmdline"] = missing["cmdline"].split("\0")
        line |= missing

    # --- the host ------------------------------------------------------------------------

    def host(self, processes: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the line of the host."""
        report, facts, figures = self._report, self._facts, self._report.figures
        memory, swap = self._memory()
        line: dict[str, Any] = {
            "kind": "host",
            "schema": snapshots.SCHEMA,
            "time": report.time,
            "kernel": report.kernel,
            "page_size": self._page,
            "clock_ticks": self._ticks,
            "uptime": self._uptime,
            "mem_total": memory or 0,
            "swap_total": swap or 0,
        }
        if figures.swap_free is not None:
            line["swap_free"] = figures.swap_free * KIB
        if self._is_wide:
            for key in HOST_MEMORY:
                pages = figures.printed.get(key) if key in ("free", "shmem") else None
                if pages is not None and pages >= 0:
                    line[key] = pages * self._page
        total = self._choice.total
        if total.exact and total.least >= 0:
            line["totalpages"] = total.least
        users = dict(facts.users or {}) if facts else {}
        groups = dict(facts.groups or {}) if facts else {}
        if self._assume:
            line["hugetlb"] = 0
            self.assumed["user"] += sum(
                line.get("uid", 0) != 0 and line["uid"] not in users
                for line in processes
                if line["pid"] != INIT
            )
        if self._assume or users:
            line["users"] = {str(uid): name for uid, name in ({0: "root"} | users).items()}
        if self._assume or groups:
            line["groups"] = {str(gid): name for gid, name in ({0: "root"} | groups).items()}
        if facts and facts.unit_root:
            line["unit_root"] = facts.unit_root
        line["unknown"] = sorted(self._unknown(processes, memory, swap))
        line["notes"] = list(self._notes())
        return line

    def _memory(self) -> tuple[int | None, int | None]:
        """Return the host's RAM and swap in bytes, as far as they are known."""
        figures, total = self._report.figures, self._choice.total
        swap = None if figures.swap_total is None else figures.swap_total * KIB
        if self._is_wide and total.exact and swap is not None:
            return max(0, total.least * self._page - swap), swap
        if figures.ram is not None and figures.reserved is not None:
            return max(0, figures.ram - figures.reserved) * self._page, swap
        return None, swap

    def _notes(self) -> Iterator[str]:
        what = f"made of the kernel's report at line {self._report.first} of {self._report.source}"
        yield f"{what}: what that does not tell is unknown"
        if self._report.table is None:
            yield "the report has no table of processes"
        elif not self._is_complete:
            yield "the table of processes is not complete"
        if self._facts and self._facts.of and self.joined:
            yield f"{self.joined} processes are known better by {self._facts.of}"
        if self.assumed:
            yield "assumed, as `oomrules test` does: " + ", ".join(sorted(self.assumed))

    def _unknown(
        self, processes: list[dict[str, Any]], memory: int | None, swap: int | None
    ) -> Iterator[str]:
        """Yield the attributes that are unknown, whatever could be worked out."""
        everyone = [line for line in processes if line["pid"] != INIT]
        if not (self._is_wide and self._is_complete):
            yield from _OF_USERS
        if not (self._is_wide and self._is_complete and all("cgroup" in one for one in everyone)):
            yield from _OF_PLACES
        if not self._choice.total.exact:
            yield "totalpages"
        if memory is None:
            yield "host.memory"
        if swap is None:
            yield "host.swap"
        if memory is None or swap is None:
            yield "host.totalpages"
        directly = sum(one.get("cgroup") == self._around for one in everyone)
        if self._around is not None and directly:
            # It may be in a group further down, with a container of its own.
            if self._assume:
                self.assumed["cgroup"] += directly
                return
            inside = contained(self._around)
            yield "cgroup"
            if not inside.id:
                yield "container.id"
            if not inside.pod:
                yield "pod.uid"

    # --- control groups ------------------------------------------------------------------

    def scopes(self, processes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the control groups of processes: no limit is known but one."""
        given = {line["cgroup"]: line for line in self._facts.scopes} if self._facts else {}
        paths = {line[key] for line in processes for key in _GROUPS if line.get(key)}
        if self._report.kind == LIMIT and self._report.group:
            paths.add(self._report.group)
        around = {group for one in paths for group in enclosing(one)}
        for path in sorted(around):
            line = given.get(path) or self._unknown_scope(path)
            if line is not None:
                yield {**line, **self._limit(path)}

    def _unknown_scope(self, path: str) -> dict[str, Any] | None:
        """Return the line of a group of which nothing is known; None if it is assumed to be so."""
        if self._assume and path != self._report.group:
            # It has no limit.
            return None
        line = {"kind": "scope", "cgroup": path, "unit": placement(path).unit or None}
        return line if self._assume else {**line, "unreadable": list(LIMITS)}

    def _limit(self, path: str) -> dict[str, Any]:
        """Return what the report says of the group that is at its limit."""
        figures = self._report.figures
        if self._report.kind != LIMIT or path != self._report.group or figures.limit is None:
            return {}
        bytes_ = figures.limit * KIB
        found: dict[str, Any] = {"memory_max": bytes_ if bytes_ < NO_LIMIT // 2 else None}
        unreadable = ["memory_high"]
        if figures.usage is not None:
            found["memory"] = figures.usage * KIB
        if figures.swap_limit is None:
            unreadable.append("swap_max")
        else:
            swap = figures.swap_limit * KIB
            found["swap_max"] = swap if swap < NO_LIMIT // 2 else None
        return found if self._assume else {**found, "unreadable": unreadable}


def _tells_unit(group: str, root: str, unified: bool) -> bool:
    """Return whether a control group tells the unit of each process in it and below it.

    A slice has others below it, and so has a user's manager. Outside every unit there are none
    further down; but in v1 units are counted in another hierarchy than memory. There a container's
    group alone tells that it is in none.

    Args:
        root: as ``Host.unit_root``.
        unified: whether there is one hierarchy, that of v2.
    """
    if len(group) > snapshots.LONGEST_PATH or not group.startswith("/") or "/.." in group:
        return False
    place = placement(group, root)
    # A slice may be wherever a unit may be.
    if placement(f"{group.rstrip('/')}/x.slice", root) != place:
        return False
    return bool(place.unit or unified or contained(group).id)


# --- facts of a snapshot -------------------------------------------------------------------


def facts_of(snapshot: Snapshot, of: str, at: float | None = None, adjusted: bool = False) -> Facts:
    """Return what a snapshot says of processes besides their memory.

    Args:
        snapshot: a recorded one, or this host as it is now.
        of: what that is, for people.
        at: when the report was, in seconds since the boot of that host; None if the snapshot may
            be of another boot.
        adjusted: whether oomrules had changed oom_score_adj when the report was made.
    """
    processes = {pid: _line(process, snapshot) for pid, process in snapshot.by_pid.items()}
    host = snapshot.host
    scopes = getattr(snapshot, "scopes", {})
    return Facts(
        read=host.uptime,
        at=at,
        ticks=host.clock_ticks,
        adjusted=adjusted,
        processes=processes,
        unit_root=host.unit_root,
        users=None if host.users is None else dict(host.users),
        groups=None if host.groups is None else dict(host.groups),
        scopes=tuple(scope.data for scope in scopes.values()),
        of=of,
    )


def _line(process: Process, snapshot: Snapshot) -> dict[str, Any]:
    names = [name for name in (*FIELDS,) if name not in _OF_REPORT or name in KEPT]
    values = {name: getattr(process, name) for name in names}
    values = {
        name: snapshot.read(process, name) if value is UNREAD else value
        for name, value in values.items()
        if name not in ("growth", "flags", "state")
    }
    known = {name: value for name, value in values.items() if value is not None}
    line = snapshots.process_line({"cmdline": None, "capabilities": None, **known})
    place = container_of(process, snapshot)
    if place is not None:
        facts = {name: snapshot.container_fact(process, place.id, name) for name in CONTAINER_FACTS}
        said = {name: fact for name, fact in facts.items() if fact is not None}
        line |= snapshots.container_lines(place.id, place.runtime, place.pod, place.qos, said)
    if process.pid in snapshot.own_pids:
        line["self"] = True
    return {key: value for key, value in line.items() if value is not None}
