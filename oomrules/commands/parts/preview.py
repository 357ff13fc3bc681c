"""What rules would do that are not in force yet: who goes first, guards, findings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from oomrules.commands.parts import armed, findings, recording, shared, wholes
from oomrules.commands.parts.armed import Seen, Standing
from oomrules.commands.parts.verdicts import Row, no_candidate, why, within_block
from oomrules.dbus import gather
from oomrules.errors import Failure
from oomrules.language import compiler, rulefiles
from oomrules.language.diagnostics import Diagnostic, Level, Rejected
from oomrules.processes.values import innermost_unit
from oomrules.program.program import Program
from oomrules.roots import Root
from oomrules.terminal import Column, aligned, called, count, layout, legible, middle

if TYPE_CHECKING:
    from oomrules.lint.host_facts import HostFacts

# Seconds over which stalls are measured, if a guard asks for them.
_WAIT = 1.0
_COLUMNS = (
    Column("RANK", right=True),
    Column("PID", right=True),
    Column("UNIT", least=12, enough=20, turn=2, cut=middle),
    Column("RSS", right=True),
    Column("COMMAND", least=10, enough=15, turn=3),
    Column("WHY", least=16, turn=1),
)
# Processes, guards and findings that are shown.
FIRST = 5
_MOST = 4


class Preview(NamedTuple):
    """What rules would do.

    Attributes:
        seen: the host; None if its processes are not here, as those of an image.
        standings: how each guard stands at each place.
        diagnostics: what the linter finds, without mere notes.
        remarks: how many of those there are.
    """

    seen: Seen | None
    standings: tuple[Standing, ...]
    diagnostics: tuple[Diagnostic, ...]
    remarks: int


def program(found: rulefiles.Found, which: str) -> Program:
    """Return the program of some rules.

    Args:
        which: what these rules are, for the message.

    Raises:
        Failure: they have errors, which have been printed.
    """
    try:
        return compiler.compile_rules(found)
    except Rejected as error:
        findings.print_full(error.diagnostics, sys.stderr)
        raise Failure(
            f"{which} have {count(len(error.diagnostics), 'error')}, so none of them would be used",
            "mend the errors above; `oomrules check` shows them again",
        ) from error


def preview(
    found: rulefiles.Found, made: Program, options: argparse.Namespace, tree: Root
) -> Preview:
    """Look at what rules would do.

    Args:
        found: the rules.
        made: their program.
        options: with ``snapshot`` and ``source``.
        tree: the system that the rules are for.
    """
    from oomrules.lint import figures, host_facts, linter

    seen: Seen | None = None
    host: HostFacts | None = None
    asking = figures.asking_for_guards(made)
    if options.snapshot:
        seen = armed.of_snapshot(asking, recording.load(options.snapshot))
        host = host_facts.recorded(seen.ranking, _LEAST_FREEABLE)
    elif tree.whole:
        live = armed.Live(asking, options.source)
        seen = live.look(_WAIT)
        host = host_facts.live(
            seen.ranking,
            tree,
            exists=live.source.names.exists,
            least_freeable=_LEAST_FREEABLE,
            booted=gather.booted_with_systemd(),
        )
        live.close()
    directories = tuple(path for path in rulefiles.directories(tree.path) if tree.is_dir(path))
    _, diagnostics = linter.lint(found, directories, host)
    told = tuple(one for one in diagnostics if one.level is not Level.INFO)
    return Preview(
        seen=seen,
        standings=tuple(armed.standings(asking, seen)) if seen else (),
        diagnostics=told,
        remarks=len(diagnostics) - len(told),
    )


# The default of ``oomrules check --host``.
_LEAST_FREEABLE = 25


# --- for people -----------------------------------------------------------------------------------


def first(shown: Preview, columns: int) -> Iterator[str]:
    """Yield lines on who would be killed first.

    Args:
        columns: the width of the longest line.
    """
    seen = shown.seen
    if seen is None:
        yield "the processes here are not those of that system; try it there"
        return
    ranking = seen.ranking
    if not ranking.candidates:
        yield no_candidate(ranking)
        return
    rows = []
    for row in wholes.rows(ranking._replace(candidates=ranking.candidates[:FIRST])):
        cells = dict(zip(_ROW, row.texts(), strict=True))
        rows.append([legible(cells[column.name]) for column in _COLUMNS])
    where = layout(_COLUMNS, rows, columns)
    for cells_of in [[column.name for column in _COLUMNS], *rows]:
        yield (" " * where.gap).join(aligned(_COLUMNS, cells_of, where)).rstrip()
    yield f"{count(len(ranking.candidates), 'candidate')} in all; `oomrules rank` shows them"


_ROW = ("RANK", "PID", "USER", "UNIT", "RSS", "POINTS", "COMMAND", "WHY")
assert len(_ROW) == len(Row._fields) - 1  # all but the style


def guards(shown: Preview) -> Iterator[str]:
    """Yield sentences on what the guards would do now."""
    if shown.seen is None:
        return
    standings = [one for one in shown.standings if not one.never]
    holding = [one for one in standings if one.holds]
    for one in holding[:_MOST]:
        yield f"HOLDS NOW: `{_text(one)}` at {one.armed.guard.place}{_whom(one)}"
    if holding[_MOST:]:
        yield f"and {count(len(holding) - _MOST, 'more guard')} that hold now"
    if not shown.standings:
        yield "no guard: nothing is done before memory has run out"
    elif not holding:
        taking = next((one for one in standings if one.victim), None)
        whom = f"; the first that they would take is{_name(taking)}" if taking else ""
        yield f"{count(len(standings), 'guard')}, and no condition holds now{whom}"
    dead = {one.never for one in shown.standings if one.never}
    for never in sorted(dead)[:_MOST]:
        yield f"a guard can never act here: {never}"


def _text(one: Standing) -> str:
    return within_block((), one.armed.guard.text)


def _whom(one: Standing) -> str:
    if one.armed.guard.kind == "warn":
        return ", which warns"
    if one.victim is None:
        return ", and has nobody to take"
    verb = "end" if one.armed.guard.kind == "terminate" else "kill"
    return f", which would {verb}{_name(one)}"


def _name(one: Standing) -> str:
    victim = one.victim
    return f" {called(victim.comm)} ({victim.pid})" if victim else ""


def found(shown: Preview) -> Iterator[str]:
    """Yield what the linter finds, each finding in one line."""
    for one in shown.diagnostics[:_MOST]:
        yield findings.concise(one)
    more = len(shown.diagnostics) - _MOST
    if more > 0:
        yield f"and {count(more, 'more finding')}; `oomrules check --host` shows all"
    if not shown.diagnostics:
        yield "nothing to complain about"


def notes(shown: Preview) -> None:
    """Print notes on what could not be seen."""
    if shown.seen is not None:
        shared.print_notes(shown.seen.notes)


# --- for programs ---------------------------------------------------------------------------------


def as_data(shown: Preview) -> dict[str, Any]:
    """Return it for ``oomrules.init/1``."""
    return {
        "first": None if shown.seen is None else list(_first(shown.seen)),
        "guards": [_standing(one) for one in shown.standings],
        "findings": [findings.as_data(one) for one in shown.diagnostics],
    }


def _first(seen: Seen) -> Iterable[dict[str, Any]]:
    ranking = seen.ranking
    for rank, process in enumerate(ranking.candidates[:FIRST], 1):
        verdict = ranking.verdict(process)
        yield {
            "rank": rank,
            "pid": process.pid,
            "comm": process.comm,
            "unit": innermost_unit(process, ranking.snapshot),
            "points": verdict.points,
            "why": why(verdict),
        }


def _standing(one: Standing) -> dict[str, Any]:
    victim = one.victim
    return {
        "rule": one.armed.guard.text,
        "place": one.armed.guard.place,
        "action": one.armed.guard.kind,
        "unit": one.armed.name,
        "holds": one.holds,
        "never": one.never or None,
        "victim": victim and {"pid": victim.pid, "comm": victim.comm, "rank": victim.rank},
    }
