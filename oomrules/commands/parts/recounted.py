"""What ``oomrules picture --of`` draws, taken from a recording by the replay of ``guard``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from oomrules import files
from oomrules.commands.parts import acts, replaying
from oomrules.commands.parts.verdicts import within_block
from oomrules.errors import Failure, reason
from oomrules.guard import decision, levels, recording
from oomrules.guard.model import Ready, Sample
from oomrules.guard.recording import Start
from oomrules.picture.course import Course, Curve, Gathered, Mark, Panel, Worst, kept, thinned
from oomrules.program.program import Program
from oomrules.terminal import clip, count

# Guards whose distances are drawn, and how a curve of each looks.
_LINES = ("first", "second", "third", "fourth")
_LONGEST_NAME = 60
# Bytes of a history; an entry has some thousand at most.
_MOST_HISTORY = 1 << 26
_HINT = "write it again with `oomrules history --format json > FILE`"
_KILLS = ("asked", "killed", "kernel")


class _Watch:
    """Gathers curves, sample by sample."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._begun: float | None = None
        self._gap = 0.0
        self._before: Sample | None = None
        self.total = self.swap = 0
        self.curves: dict[str, Gathered] = {}
        # By the guard and its place.
        self.distances: dict[tuple[int, str], tuple[str, levels.ToGo, Gathered]] = {}
        self.left_out = 0

    def __call__(self, start: Start, sample: Sample, ready: Ready) -> None:
        """Take a sample."""
        self._gap = max(decision.GAP, 2.5 * start.every)
        at, host = sample.at - start.at, sample.host
        self.total = max(self.total, host.get("memory") or 0)
        self.swap = max(self.swap, host.get("swap") or 0)
        self._add("available", min, at, host.get("available"))
        swap, free = host.get("swap"), host.get("swap_free")
        used = swap - free if swap is not None and free is not None else None
        self._add("swap", max, at, used if swap else None)
        for key in ("full", "some"):
            self._add(key, max, at, _share(key, self._before, sample))
        for armed in ready.armed:
            if armed.key not in self.distances:
                if len(self.distances) == len(_LINES):
                    self.left_out += 1
                    continue
                name = within_block((armed.name,) if armed.name else (), armed.guard.text)
                to_go = levels.to_go(armed, self._program.definitions)
                self.distances[armed.key] = (name, to_go, Gathered(min, self._gap))
            _, to_go, found = self.distances[armed.key]
            left = to_go(sample)
            found.add(at, None if left == levels.FAR else left)
        self._before = sample

    def _add(self, key: str, worst: Worst, at: float, value: float | None) -> None:
        self.curves.setdefault(key, Gathered(worst, self._gap)).add(at, value)


def _share(key: str, before: Sample | None, sample: Sample) -> float | None:
    """Return in how much of the time since the last sample tasks waited, in percent."""
    was, is_ = before and before.host.get(key), sample.host.get(key)
    if before is None or was is None or is_ is None or is_ < was or sample.at <= before.at:
        return None
    return min(100.0, (is_ - was) / 1e4 / (sample.at - before.at))


def of(program: Program, path: str) -> Course:
    """Return what went on in a recording.

    Args:
        program: the guards that are tried on it.
        path: of the recording; ``-`` is standard input.

    Raises:
        Failure: it cannot be read, or a line of it is wrong.
    """
    watch = _Watch(program)
    found = replaying.replay(program, path, watch)
    panels = [
        _panel("memory", "bytes", watch.total, [("available", "available", "first")], watch),
        _panel("swap in use", "bytes", watch.swap, [("swap", "in use", "first")], watch),
        _panel(
            "tasks that wait for memory, share of the time",
            "percent",
            100,
            [("full", "all of them", "first"), ("some", "some of them", "second")],
            watch,
        ),
        _distances(watch),
    ]
    notes = ["each point is the worst of its part of the time"]
    if found.rows:
        notes.append(
            "a line across is an event, with its number in the table; thick ones are kills"
        )
    if any(row.replayed for row in found.rows):
        notes.append("dashed ones are what the given rules would have done, not what happened")
    marks, left_out = kept(
        [
            Mark(
                at=min(max(0.0, row.at - found.start.at), max(0.0, found.end - found.start.at)),
                real=not row.replayed,
                kill=row.kind in _KILLS,
                cells=tuple(replaying.texts(row, found.start)),
            )
            for row in found.rows
        ]
    )
    notes += _left_out(left_out + found.left_out)
    if watch.left_out:
        notes.append(f"the distances of {len(_LINES)} guards are drawn, those of others are not")
    return Course(
        what="standard input" if path == "-" else path,
        begun=found.start.time,
        seconds=max(0.0, found.end - found.start.at),
        panels=tuple(panel for panel in panels if panel),
        marks=marks,
        columns=tuple(column.name.capitalize() for column in replaying.COLUMNS),
        notes=tuple(notes),
    )


def _left_out(number: int) -> list[str]:
    return [f"{count(number, 'event')} more are left out, kills last"] if number else []


# --- kills over days ------------------------------------------------------------------------------


def _history(path: str) -> dict[str, Any] | None:
    """Return what ``oomrules history --format json`` has written; None for another file."""
    try:
        # A recording has an object in each line, and may be much larger. So has a history that
        # another program has written again.
        first = next(files.lines(path, recording.LONGEST_LINE), "").strip()
        if first != "{" and f'"{acts.SCHEMA}"' not in first[:100]:
            return None
    except UnicodeDecodeError:
        return None
    try:
        found: dict[str, Any] = json.loads(files.read(path, _MOST_HISTORY))
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path} is no JSON: {error}", _HINT) from error
    if found.get("schema") != acts.SCHEMA:
        raise Failure(f"{path}: the schema is not {acts.SCHEMA}", _HINT)
    return found


def of_history(path: str) -> Course | None:
    """Return the kills that ``oomrules history --format json`` has written; None for another file.

    Raises:
        Failure: it cannot be read, or is damaged.
    """
    try:
        found = _history(path)
        return None if found is None else _acts(found, path)
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from error
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise Failure(f"{path}: an entry is not as `oomrules history` writes it", _HINT) from error


def _acts(found: dict[str, Any], path: str) -> Course:
    listed = [
        *((one, True, acts.row(one)) for one in found["kills"]),
        *((one, True, acts.row(one, acts.ASKED)) for one in found["terminated"]),
        *((one, False, acts.note_row(one)) for one in found["warnings"]),
    ]
    times = [datetime.fromisoformat(one["time"]).timestamp() for one, _, _ in listed]
    begin, end = min(times, default=0.0), max(times, default=0.0)
    ordered = sorted(zip(times, listed, strict=True), key=lambda timed: timed[0])
    points: dict[str, list[tuple[float, float]]] = {"kernel": [], "guard": []}
    numbers = dict.fromkeys(points, 0)
    for moment, (one, kill, _) in ordered:
        by = "guard" if one["by"] == "guard" else "kernel"
        points[by].append((moment - begin, numbers[by]))
        numbers[by] += kill
        points[by].append((moment - begin, numbers[by]))
    curves = [
        Curve(name, line, (*thinned(points[by], end - begin), (end - begin, numbers[by])))
        for by, name, line in (
            ("kernel", "by the kernel", "first"),
            ("guard", "by a guard", "second"),
        )
        if numbers[by]
    ]
    marks, left_out = kept(
        [
            Mark(at=moment - begin, real=True, kill=kill, cells=tuple(cells))
            for moment, (_, kill, cells) in ordered
        ]
    )
    most = max(1, *numbers.values())
    return Course(
        what=path,
        begun=ordered[0][1][0]["time"] if ordered else "",
        seconds=end - begin,
        panels=(Panel("processes taken so far", "number", most, tuple(curves)),),
        marks=marks,
        columns=tuple(column.name.capitalize() for column in acts.COLUMNS),
        notes=("the axis ends with the last entry", *_left_out(left_out)),
    )


# --- panels ---------------------------------------------------------------------------------------


def _panel(
    title: str, unit: str, most: float, wanted: list[tuple[str, str, str]], watch: _Watch
) -> Panel | None:
    curves = [
        watch.curves[key].curve(name, line) for key, name, line in wanted if key in watch.curves
    ]
    return _shown(title, unit, most, [curve for curve in curves if curve])


def _distances(watch: _Watch) -> Panel | None:
    curves = [
        gathered.curve(clip(name, _LONGEST_NAME), line)
        for (name, _, gathered), line in zip(watch.distances.values(), _LINES, strict=False)
    ]
    title = "what has to be used up until a guard can act"
    return _shown(title, "bytes", 0, [curve for curve in curves if curve])


def _shown(title: str, unit: str, most: float, curves: list[Curve]) -> Panel | None:
    if not curves:
        return None
    top = max((value or 0 for curve in curves for _, value in curve.points), default=0)
    return Panel(title, unit, max(most, top, 1), tuple(curves))
