"""What was known of processes when the kernel killed: what its own report does not tell.

The report has each process with its memory. Its unit, its times, its rights and the oom_score_adj
that it had before oomrules changed it are only here. ``service/kept.py`` collects them, the entry
about a kill carries them (``OOMRULES_FACTS``), and ``oomrules replay`` puts both together.
"""

from __future__ import annotations

import json

from oomrules.fields import FIELDS
from oomrules.lean import Any, NamedTuple

SCHEMA = "oomrules.facts/1"

# The fields of a process that are kept, by the keys of a recorded snapshot, in their order.
KEPT = (
    *("pid", "uid", "comm", "starttime", "cgroup", "memory_cgroup", "nice", "utime", "stime"),
    *("capabilities", "oom_score_adj", "ppid", "gid", "pid_depth"),
)

# How many processes there are at the most, and how many bytes: a user chooses how long the paths
# of his control groups are.
MOST, LONGEST = 128, 48 << 10
_LONGEST_PATH, _LONGEST_NAME = 400, 40
# How much of it is for the originals of other processes: they take 12 bytes each.
_FOR_ORIGINALS = 12 << 10
_MOST_VALUES = 2001


class Facts(NamedTuple):
    """What was known of processes at one time.

    Attributes:
        read: when they were read, in seconds since the boot; ``at`` when the kernel killed. Both
            are None where that is not known.
        ticks: clock ticks in a second.
        adjusted: whether oomrules had changed oom_score_adj: then a value in the report may be
            from oomrules.
        originals: by pid, the value that a process had before; of those in ``processes`` it is
            there.
        written: the values that oomrules wrote; None if not all of them are known.
        unit_root: as in ``Host``.
        users: names by id.
        processes: by pid, what is known of each, as in the line of a snapshot.
        scopes: lines of control groups.
        of: what they are from, for people.
    """

    read: float | None
    at: float | None
    ticks: int
    adjusted: bool
    processes: dict[int, dict[str, Any]]
    unit_root: str = ""
    users: dict[int, str] | None = None
    groups: dict[int, str] | None = None
    scopes: tuple[dict[str, Any], ...] = ()
    of: str = ""
    originals: dict[int, int] | None = None
    written: frozenset[int] | None = None

    def own(self, pid: int, value: int) -> int | None:
        """Return the oom_score_adj that a process had without oomrules; None if it is unknown.

        Args:
            value: the one in the report.
        """
        if not self.adjusted:
            return value
        if self.written is not None and value >= 0 and value not in self.written:
            return value
        # Else children inherit what oomrules wrote, and may have lowered themselves down to that.
        return (self.originals or {}).get(pid)


def encode(facts: Facts) -> str:
    """Return facts as one line of text, of ``LONGEST`` bytes at the most.

    The last processes are left out where there is no room, and a control group whose path is
    longer than any that systemd makes.
    """
    rows: list[str] = []
    head = _dumped(
        {
            "schema": SCHEMA,
            "read": facts.read,
            "at": facts.at,
            "clock_ticks": facts.ticks,
            "adjusted": facts.adjusted,
            "unit_root": facts.unit_root,
            "users": _names(facts),
            "written": None if facts.written is None else sorted(facts.written)[:_MOST_VALUES],
            "keys": KEPT,
        }
    )
    left = LONGEST - _FOR_ORIGINALS if facts.originals else LONGEST
    left -= len(head) + len(_dumped({"originals": [], "rows": []}))
    for process in facts.processes.values():
        row = _dumped([_short(name, process.get(name)) for name in KEPT])
        if len(row) >= left or len(rows) == MOST:
            break
        left -= len(row) + 1
        rows.append(row)
    left += _FOR_ORIGINALS if facts.originals else 0
    pairs = []
    for pair in (facts.originals or {}).items():
        text = _dumped(pair)
        if len(text) >= left:
            break
        left -= len(text) + 1
        pairs.append(text)
    return f'{head[:-1]},"rows":[{",".join(rows)}],"originals":[{",".join(pairs)}]}}'


def _names(facts: Facts) -> dict[int, str] | None:
    """Return the names of the users of processes; None if no names are known."""
    if facts.users is None:
        return None
    uids = {process.get("uid") for process in facts.processes.values()}
    names = {uid: facts.users[uid] for uid in uids if uid in facts.users}
    return {uid: name for uid, name in names.items() if len(name) <= _LONGEST_NAME}


def _dumped(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _short(name: str, value: Any) -> Any:
    too_long = isinstance(value, str) and len(value) > _LONGEST_PATH
    return None if too_long else value


def decode(text: str) -> Facts | None:
    """Return the facts in a text; None if it is none.

    Their values are checked where they are used: by ``recorded.parse``.
    """
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            return None
        keys, rows, users = data["keys"], data["rows"][:MOST], data["users"]
        written = data["written"]
        processes: dict[int, dict[str, Any]] = {}
        for row in rows:
            known = {
                key: value
                for key, value in zip(keys, row, strict=True)
                if key in FIELDS and value is not None
            }
            processes.setdefault(int(known["pid"]), known)
        return Facts(
            read=_seconds(data["read"]),
            at=_seconds(data["at"]),
            ticks=max(1, int(data["clock_ticks"])),
            adjusted=bool(data["adjusted"]),
            unit_root=str(data["unit_root"]),
            users=users and {int(uid): str(name) for uid, name in users.items()},
            originals={int(pid): int(value) for pid, value in data["originals"]},
            written=None if written is None else frozenset(map(int, written)),
            processes=processes,
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
        return None


def _seconds(value: Any) -> float | None:
    return None if value is None else max(0.0, float(value))
