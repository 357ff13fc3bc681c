"""Recordings: figures and lists over time, as JSON Lines, schema ``oomrules.recording/1``.

The first line is the start; the others follow in the order of their times. ``at`` is in seconds
since the boot, memory in bytes, ``some`` and ``full`` in microseconds since the boot.

    {"schema":"oomrules.recording/1","kind":"start","at":…,"time":"…","every":1.0}
    {"kind":"sample","at":…,"host":{"available":…,…},"units":{"/a.slice":{"memory":…,…}}}
    {"kind":"list","at":…,"length":…,"candidates":[{"pid":…,"start":…,"rank":…,…},…]}
    {"kind":"snapshot","at":…,"lines":[…]}
    {"kind":"event","at":…,"event":"killed","guard":"kill when …","pid":…,"comm":"…",…}

``host`` and ``units`` have the figures of ``model.Sample``; null, and what is missing, is unknown.
``killed`` of a sample says when the kernel killed. A list is of the host's first candidates and of
those of each unit that a guard is at; a unit's own list follows from their control groups. A
snapshot has the lines of an ``oomrules.snapshot/1``, for ranking by other rules. Unknown kinds and
keys belong to a later version and are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from oomrules.errors import Failure
from oomrules.guard.model import HOST, Candidate, Event, Figures, Ready, Sample, Whole, inside
from oomrules.json_lines import NoObject, read_object
from oomrules.lean import Any, NamedTuple

SCHEMA = "oomrules.recording/1"
HINT = "record it again with `oomrules record -o FILE`"

# A snapshot of many thousand processes is a long line.
LONGEST_LINE = 64 * 2**20
# Candidates of a list, units of a sample, processes that go with a unit.
MOST = 100_000
_LONGEST_TEXT = 4096
_LARGEST = 2**64
_LARGEST_PID = 2**31 - 1
_NEVER = float("-inf")


class Start(NamedTuple):
    """The start of a recording.

    Attributes:
        at: seconds since the boot.
        time: the same as people write it; proves nothing.
        every: seconds between two samples, as it was planned.
    """

    at: float
    time: str
    every: float


class Listed(NamedTuple):
    """A list of candidates, worst first.

    Attributes:
        at: when the processes were read.
        length: how many candidates the whole list had.
    """

    at: float
    candidates: tuple[Candidate, ...]
    length: int


class Snapshot(NamedTuple):
    """All processes, as lines of a recorded snapshot that ``recorded.parse`` has still to check."""

    at: float
    lines: tuple[str, ...]


class Happened(NamedTuple):
    """What the guard did or saw when it was recorded; ``kind`` is that of ``model.Event``."""

    at: float
    kind: str
    guard: str
    place: str
    unit: str
    pid: int | None
    start: int | None
    comm: str
    problem: str


Line = Start | Sample | Listed | Snapshot | Happened


# --- writing ---------------------------------------------------------------------------------


def start_line(at: float, time: str, every: float) -> str:
    """Return the first line of a recording."""
    return _line("start", at, time=time, every=every, schema=SCHEMA)


def sample_line(sample: Sample) -> str:
    """Return the line of a sample."""
    said: dict[str, Any] = {"host": dict(sample.host)}
    if sample.units:
        said["units"] = {path: dict(raw) for path, raw in sample.units.items()}
    if sample.killed > _NEVER:
        said["killed"] = sample.killed
    return _line("sample", sample.at, **said)


def list_line(at: float, candidates: Iterable[Candidate], length: int) -> str:
    """Return the line of a list."""
    listed = sorted(set(candidates), key=lambda one: one.rank)
    return _line("list", at, length=length, candidates=[_said(one) for one in listed])


def ready_line(ready: Ready) -> str:
    """Return the line of the candidates in a ready list."""
    known = {one.rank: one for found in ready.candidates.values() for one in found}
    return list_line(ready.at, known.values(), ready.length)


def snapshot_line(at: float, lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the line of a snapshot, of which each line is given as data."""
    return _line("snapshot", at, lines=list(lines))


def event_line(event: Event) -> str:
    """Return the line of an event."""
    said: dict[str, Any] = {"event": event.kind}
    if event.armed:
        guard = event.armed.guard
        said |= {"guard": guard.text, "place": guard.place, "unit": event.armed.unit}
    if event.victim:
        said |= {"pid": event.victim.pid, "start": event.victim.start, "comm": event.victim.comm}
    if event.problem:
        said["problem"] = event.problem
    return _line("event", event.at, **said)


def _line(kind: str, at: float, schema: str = "", **said: Any) -> str:
    first = {"schema": schema} if schema else {}
    return json.dumps({**first, "kind": kind, "at": at, **said}, separators=(",", ":")) + "\n"


def _said(candidate: Candidate) -> dict[str, Any]:
    said = {
        key: value
        for key, value in candidate._asdict().items()
        if value is not None and value is not False and value != ""
    }
    if candidate.whole:
        said["whole"] = candidate.whole._asdict()
    return said


# --- reading ---------------------------------------------------------------------------------


class _Wrong(Exception):
    """A line that says something impossible."""


def read(lines: Iterable[str], name: str) -> Iterator[Line]:
    """Yield what the lines of a recording say, trusting nothing.

    A last line without its end is what a recorder leaves that was killed: it is passed over.

    Args:
        lines: with their ends; no longer than ``LONGEST_LINE``.
        name: of the file, for messages.

    Raises:
        Failure: a line is wrong; the message names it.
    """
    begun, last, number = False, _NEVER, 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or (begun and not line.endswith("\n") and not _whole_line(line)):
            continue
        try:
            data = read_object(line)
            found = _read(data, begun)
            if found is not None:
                begun, last = True, _in_order(found, last)
        except (_Wrong, NoObject) as error:
            raise Failure(f"{name}:{number}: {error}", HINT) from error
        if found is not None:
            yield found
    if not begun:
        raise Failure(f"{name}:{number or 1}: the recording is empty", HINT)


def places(listed: Listed, units: Iterable[str], most: int) -> dict[str, tuple[Candidate, ...]]:
    """Return the first candidates of the host and of each unit, as a ready list has them."""
    found = {}
    for place in {HOST, *units}:
        there = (one for one in listed.candidates if inside(one.cgroup, place))
        found[place] = tuple(one for one, _ in zip(there, range(most), strict=False))
    return found


def _in_order(found: Line, last: float) -> float:
    """Return when the last sample was; what else is written may be about an earlier time."""
    if not isinstance(found, Start | Sample):
        return last
    if found.at < last:
        raise _Wrong(f"at is {found.at}, before the sample above it")
    return found.at


def _whole_line(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read(data: dict[str, Any], begun: bool) -> Line | None:
    kind = data.get("kind")
    if not begun:
        if kind == "host":
            raise _Wrong("this is a snapshot of a host, and no recording over time")
        if kind != "start":
            raise _Wrong('the first line is not the start ("kind":"start")')
        if data.get("schema") != SCHEMA:
            raise _Wrong(f"the schema is {json.dumps(data.get('schema'))[:60]}, not {SCHEMA}")
        every = _time(data, "every", 1.0)
        return Start(at=_time(data, "at"), time=_text(data, "time"), every=every)
    if not isinstance(kind, str):
        raise _Wrong("a line without its kind")
    if kind == "start":
        raise _Wrong("a second start")
    if kind == "sample":
        return _sample(data)
    if kind == "list":
        return _listed(data)
    if kind == "snapshot":
        lines = tuple(
            json.dumps(_dict(line, "a line of the snapshot")) for line in _list(data, "lines")
        )
        return Snapshot(at=_time(data, "at"), lines=lines)
    return _happened(data) if kind == "event" else None


def _sample(data: dict[str, Any]) -> Sample:
    units = _dict(data.get("units", {}), "units")
    if len(units) > MOST:
        raise _Wrong(f"more than {MOST} units")
    return Sample(
        at=_time(data, "at"),
        host=_figures(data.get("host"), "host"),
        units={path: _figures(raw, f"the unit {path[:80]}") for path, raw in units.items()},
        killed=_time(data, "killed", _NEVER),
    )


def _figures(said: Any, what: str) -> Figures:
    raw = _dict(said, what)
    return {key: _number(raw, key) for key in raw}


def _listed(data: dict[str, Any]) -> Listed:
    candidates = [_candidate(_dict(one, "a candidate")) for one in _list(data, "candidates")]
    if len({one.rank for one in candidates}) < len(candidates):
        raise _Wrong("two candidates of the same rank")
    return Listed(
        at=_time(data, "at"),
        candidates=tuple(sorted(candidates, key=lambda one: one.rank)),
        length=max(len(candidates), _number(data, "length") or 0),
    )


def _candidate(data: dict[str, Any]) -> Candidate:
    whole = data.get("whole")
    return Candidate(
        pid=_needed(data, "pid", 1, _LARGEST_PID),
        start=_needed(data, "start"),
        rank=_needed(data, "rank", 1),
        points=_number(data, "points"),
        uid=_number(data, "uid"),
        comm=_text(data, "comm"),
        cgroup=_text(data, "cgroup"),
        unit=_text(data, "unit"),
        manager=_text(data, "manager"),
        held=_number(data, "held") or 0,
        swap=_number(data, "swap") or 0,
        polite=data.get("polite") is True,
        whole=None if whole is None else _whole(_dict(whole, "whole")),
        level=_signed(data, "level"),
        mapped=_number(data, "mapped") or 0,
    )


def _whole(data: dict[str, Any]) -> Whole:
    others = []
    for pair in _list(data, "others"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise _Wrong("others are pairs of pid and start")
        said = {"pid": pair[0], "start": pair[1]}
        others.append((_needed(said, "pid", 1, _LARGEST_PID), _needed(said, "start")))
    return Whole(
        path=_text(data, "path"),
        at_once=data.get("at_once") is True,
        others=tuple(others),
        held=_number(data, "held") or 0,
    )


def _happened(data: dict[str, Any]) -> Happened:
    return Happened(
        at=_time(data, "at"),
        kind=_text(data, "event"),
        guard=_text(data, "guard"),
        place=_text(data, "place"),
        unit=_text(data, "unit"),
        pid=_number(data, "pid"),
        start=_number(data, "start"),
        comm=_text(data, "comm"),
        problem=_text(data, "problem"),
    )


def _time(data: dict[str, Any], key: str, default: float | None = None) -> float:
    if default is not None and key not in data:
        return default
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        raise _Wrong(f"{key} is {json.dumps(value)[:40]}, not a number of seconds")
    return float(value)


def _number(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    if value is not None and (type(value) is not int or not 0 <= value < _LARGEST):
        raise _Wrong(f"{key[:80]} is {json.dumps(value)[:40]}, not a whole number from 0")
    return value


def _signed(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key, 0)
    if type(value) is not int or abs(value) >= _LARGEST:
        raise _Wrong(f"{key} is {json.dumps(value)[:40]}, not a whole number")
    return value


def _needed(data: Mapping[str, Any], key: str, least: int = 0, most: int = _LARGEST) -> int:
    value = _number(data, key)
    if value is None or not least <= value <= most:
        raise _Wrong(f"{key} is {value}")
    return value


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise _Wrong(f"{key} is {json.dumps(value)[:40]}, not a text of at most {_LONGEST_TEXT}")
    return value


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list) or len(value) > MOST:
        raise _Wrong(f"{key} is not a list of at most {MOST}")
    return value


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is not an object")
    return value
