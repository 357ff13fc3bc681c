"""What ``oomrules picture --of`` draws, taken from a recording by the replay of ``guard``."""

from __future__ import annotations

from oomrules.commands.parts import replaying
from oomrules.commands.parts.verdicts import within_block
from oomrules.guard import decision, levels
from oomrules.guard.model import Ready, Sample
from oomrules.guard.recording import Start
from oomrules.picture.course import Course, Curve, Gathered, Mark, Panel, Worst
from oomrules.program.program import Program
from oomrules.terminal import clip, count

# Guards whose distances are drawn, and how a curve of each looks.
_LINES = ("first", "second", "third", "fourth")
_LONGEST_NAME = 60
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
    if any(row.replayed for row in found.rows):
        notes.append("dashed marks are what the given rules would have done, not what happened")
    notes += [f"{count(found.left_out, 'event')} more are left out"] if found.left_out else []
    if watch.left_out:
        notes.append(f"the distances of {len(_LINES)} guards are drawn, those of others are not")
    return Course(
        what="standard input" if path == "-" else path,
        begun=found.start.time,
        seconds=max(0.0, found.end - found.start.at),
        panels=tuple(panel for panel in panels if panel),
        marks=tuple(
            Mark(
                at=min(max(0.0, row.at - found.start.at), max(0.0, found.end - found.start.at)),
                real=not row.replayed,
                kill=row.kind in _KILLS,
                cells=tuple(replaying.texts(row, found.start)),
            )
            for row in found.rows
        ),
        columns=tuple(column.name.capitalize() for column in replaying.COLUMNS),
        notes=tuple(notes),
    )


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
