"""Tests of guards: what a test file says of figures over time, and what has to come of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from oomrules.attributes import Type
from oomrules.errors import Failure
from oomrules.guard import replay
from oomrules.guard.model import HOST
from oomrules.guard.replay import Ending
from oomrules.language import quantities
from oomrules.testing.described import refuse_unknown

_SIZES = ("available", "free", "shmem", "swap", "swap_free")
_OF_SCOPE = ("memory", "swap", "footprint")
_COUNTS = ("oom_kills", "processes")
_SHARES = ("pressure", "stall")
_STEP = ("at", *_SIZES, *_SHARES, "scope", "ends", "suspend", "kernel_kill")
# How a victim ends that a test says something of.
_BEHAVIOURS = {
    "ignores_sigterm": replay.IGNORES_SIGTERM,
    "stuck": replay.STUCK,
    "keeps_memory": Ending(back=False),
}
_EXPECTED = ("kills", "terminates", "warns", "nobody", "nothing", "after", "before")
_CASE = ("name", "series", "until", *_BEHAVIOURS, *_EXPECTED)
_UNKNOWN = "unknown"

# A test goes on for so long after its last step, in seconds.
_AFTERWARDS = 10.0
_LONGEST = 24 * 3600.0


@dataclass(frozen=True)
class Change:
    """A figure that changes.

    Attributes:
        at: when, in seconds.
        value: to what: bytes, percent or a number; None for a figure that cannot be read.
        percent: whether the value is a share of the whole that the figure is a part of.
        over: how many seconds it takes, evenly.
    """

    at: float
    value: float | None
    percent: bool = False
    over: float = 0.0


@dataclass(frozen=True)
class Series:
    """A test of guards.

    Attributes:
        name: what it shows.
        changes: by place and figure, in the order of their times; ``HOST`` or the path of a
            control group.
        ends: processes that end by themselves, with the time.
        gaps: when the host sleeps, and for how many seconds.
        kernel_kills: when the kernel kills because the host is out of memory.
        until: when the test ends.
        endings: by the name of a process, how it ends if it is signalled.
        expected: by expectation, what a test says of it.
    """

    name: str
    changes: Mapping[tuple[str, str], tuple[Change, ...]]
    ends: tuple[tuple[float, str], ...]
    gaps: tuple[tuple[float, float], ...]
    kernel_kills: tuple[float, ...]
    until: float
    endings: Mapping[str, Ending]
    expected: Mapping[str, Any]

    @property
    def named(self) -> set[str]:
        """The processes that it says something of."""
        expected = (self.expected.get(key, ()) for key in ("kills", "terminates"))
        return {*self.endings, *(name for _, name in self.ends), *chain.from_iterable(expected)}

    @property
    def times(self) -> list[float]:
        """When something begins or ends to change."""
        changes = [change for found in self.changes.values() for change in found]
        edges = {change.at for change in changes} | {change.at + change.over for change in changes}
        return sorted(
            {
                *edges,
                *(at for at, _ in self.ends),
                *(at for at, _ in self.gaps),
                *self.kernel_kills,
            }
        )


@dataclass
class _Making:
    changes: dict[tuple[str, str], list[Change]] = field(default_factory=dict)
    ends: list[tuple[float, str]] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    kernel_kills: list[float] = field(default_factory=list)
    last: float = 0.0
    end: float = 0.0


def read(data: Any, where: str) -> tuple[Series, ...]:
    """Return the tests of guards that a file describes.

    Args:
        data: what stands under ``guard`` in the file.
        where: the file, for messages.

    Raises:
        Failure: something in them makes no sense; the message says what.
    """
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise Failure(f"{where}: a test of guards begins with [[guard]]", "see docs/testing.md")
    return tuple(_Reader(where).series(one) for one in data)


class _Reader:
    """Reads one file.

    Args:
        file: it, for messages.
    """

    def __init__(self, file: str) -> None:
        self._where = file

    def series(self, data: dict[str, Any]) -> Series:
        name = data.get("name", "")
        if not name or not isinstance(name, str):
            raise Failure(f"{self._where}: a test has no name", 'say what it shows: name = "…"')
        self._where = f"{self._where.split(': ')[0]}: {name}"
        refuse_unknown(data, _CASE, self._where)
        steps = data.get("series", [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise self._wrong("series", 'is a list of tables: [{ at = "5s", available = "1GiB" }]')
        making = _Making()
        for step in steps:
            self._step(step, making)
        until = making.end + _AFTERWARDS
        if "until" in data:
            until = self._seconds(data["until"], "until")
        if until > _LONGEST:
            raise self._wrong("until", "is a day at most")
        return Series(
            name=name,
            changes={key: tuple(found) for key, found in making.changes.items()},
            ends=tuple(making.ends),
            gaps=tuple(making.gaps),
            kernel_kills=tuple(making.kernel_kills),
            until=until,
            endings={
                process: ending
                for key, ending in _BEHAVIOURS.items()
                for process in self._names(data.get(key, []), key)
            },
            expected=self._expected(data),
        )

    def _step(self, step: dict[str, Any], making: _Making) -> None:
        refuse_unknown(step, _STEP, f"{self._where}: series")
        at = self._seconds(step.get("at", "0s"), "at")
        if at < making.last:
            raise self._wrong("series", f"the steps stand in the order of their times: {at:g} s")
        making.last = at
        making.end = max(making.end, at)
        self._changes(step, (*_SIZES, *_SHARES), HOST, at, making)
        scopes = step.get("scope", {})
        if not isinstance(scopes, dict) or not all(
            isinstance(said, dict) for said in scopes.values()
        ):
            raise self._wrong("scope", 'is like scope."/system.slice/x.service".memory = "1GiB"')
        for path, said in scopes.items():
            known = (*_OF_SCOPE, *_COUNTS, *_SHARES)
            refuse_unknown(said, known, f"{self._where}: scope.{path}")
            self._changes(said, known, path, at, making)
        making.ends += [(at, name) for name in self._names(step.get("ends", []), "ends")]
        if "suspend" in step:
            making.gaps.append((at, self._seconds(step["suspend"], "suspend")))
        if self._flag(step, "kernel_kill"):
            making.kernel_kills.append(at)

    def _changes(
        self, step: dict[str, Any], keys: Iterable[str], place: str, at: float, making: _Making
    ) -> None:
        for key in keys:
            if key in step:
                change = self._change(step[key], key, at, place)
                making.changes.setdefault((place, key), []).append(change)
                making.end = max(making.end, at + change.over)

    def _change(self, said: Any, key: str, at: float, place: str) -> Change:
        if said == _UNKNOWN:
            return Change(at, None)
        amount, _, over = str(said).partition(" over ")
        seconds = self._seconds(over, key) if over else 0.0
        if key in _SHARES:
            percent = self._quantity(amount.removesuffix("%"), key, Type.COUNT, "60 for 60 %")
            if percent > 100:
                raise self._wrong(key, "is 100 percent at most")
            return Change(at, percent, over=seconds)
        if key in _COUNTS:
            return Change(at, self._quantity(amount, key, Type.COUNT, "a number"), over=seconds)
        if amount.endswith("%") and place == HOST and key != "swap":
            share = self._quantity(amount, key, Type.PERCENTAGE, "a share")
            return Change(at, share, percent=True, over=seconds)
        what = "a size such as 300MiB"
        return Change(at, self._quantity(amount, key, Type.MEMORY, what), over=seconds)

    def _expected(self, data: dict[str, Any]) -> dict[str, Any]:
        expected: dict[str, Any] = {}
        for key in ("kills", "terminates"):
            if key in data:
                expected[key] = self._names(data[key], key)
        for key in ("warns", "nobody", "nothing"):
            if key in data:
                expected[key] = self._flag(data, key)
        for key in ("after", "before"):
            if key in data:
                expected[key] = self._seconds(data[key], key)
        if not expected:
            raise Failure(
                f"{self._where}: nothing is expected", f"add one of {', '.join(_EXPECTED)}"
            )
        if expected.get("nothing") is False:
            raise self._wrong("nothing", "is true or left out")
        if "nothing" in expected and len(expected.keys() - {"warns", "nobody"}) > 1:
            raise self._wrong("nothing", "says that no process is signalled: expect nothing else")
        return expected

    def _flag(self, data: dict[str, Any], key: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "is true or false")
        return value

    def _names(self, said: Any, key: str) -> tuple[str, ...]:
        names = said if isinstance(said, list) else [said]
        if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
            raise self._wrong(key, "gives names in quotes, in brackets if several")
        return tuple(map(str, names))

    def _seconds(self, said: Any, key: str) -> float:
        return self._quantity(str(said), key, Type.DURATION, "a time such as 10s") / 1000

    def _quantity(self, said: str, key: str, kind: Type, what: str) -> float:
        try:
            value = quantities.read(said)
        except quantities.BadQuantity as error:
            raise self._wrong(key, f"{error.message}; {error.help}") from error
        except ValueError:
            value = None
        if value is None or value.type is not kind:
            raise self._wrong(key, f"is {what}, not {said}")
        return float(value.amount)

    def _wrong(self, key: str, why: str) -> Failure:
        return Failure(f"{self._where}: {key}: {why}", "see docs/testing.md")
