"""Whom the rules would have taken of the processes in a report."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from oomrules.attributes import ATTRIBUTES
from oomrules.commands.parts import recording, shared
from oomrules.commands.parts.replayed import (
    CERTAIN,
    NOBODY,
    OPEN,
    UNASKED,
    Answer,
    Assumed,
    Replayed,
    Taken,
    Unknown,
    row_of,
    victim,
)
from oomrules.kills.facts import Facts
from oomrules.processes import ordinary
from oomrules.processes.recorded import Recorded
from oomrules.program.program import Program
from oomrules.ranking import possible
from oomrules.ranking.possible import Candidate, Possible
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.report import choice, hosts
from oomrules.report.model import LIMIT, Choice, Report, Total
from oomrules.terminal import count

# Reasons of a choice with nothing else to say of it.
_PLAIN = ("RPL101", "RPL102")

# Attributes that memory held is made of: by a score of these alone there is no second answer.
_HELD = frozenset({"footprint", "rss", "swap", "pgtables", "totalpages", "oom_score_adj"})


@dataclass(frozen=True)
class Asked:
    """What a report is asked with.

    Attributes:
        program: the rules; None: the kernel's choice alone.
        facts: what is known of the processes besides the report; None for nothing.
        kept: finds what this host's service knew when the process was killed; used without facts.
        assume: whether what is not known is taken to be as on ordinary processes.
        total: of memory in bytes; ``linux`` and ``page_size`` as for ``choice.choose``.
    """

    program: Program | None
    facts: Facts | None = None
    kept: Callable[[Report], Facts | None] = lambda report: None
    assume: bool = False
    total: int | None = None
    linux: str = ""
    page_size: int | None = None

    def choose(self, report: Report) -> Choice:
        """Return the kernel's choice."""
        found = choice.choose(report, linux=self.linux, page_size=self.page_size)
        if self.total is None:
            return found
        pages = self.total // found.page_size
        given = Total(least=pages, most=pages, known="as --total says")
        return choice.choose(report, total=given, linux=self.linux, page_size=self.page_size)

    def made(self, report: Report, chosen: Choice) -> hosts.Made:
        """Return the host of a report."""
        return hosts.made(report, chosen, self._known(report), self.assume)

    def _known(self, report: Report) -> Facts | None:
        return self.facts or self.kept(report)

    def replay(self, report: Report) -> Replayed:
        """Return both choices."""
        chosen = self.choose(report)
        if self.program is None or report.table is None or not report.table.rows:
            return Replayed(report=report, choice=chosen, answer=Answer(UNASKED))
        known = self._known(report)
        chosen = _adjusted(report, chosen, known)
        made = hosts.made(report, chosen, known, self.assume)
        answer = _answer(report, made.snapshot, self.program)
        by_memory = None
        if answer.result != CERTAIN and not _counts_memory(self.program):
            measured = possible.measured_by(self.program, possible.FOOTPRINT)
            by_memory = _answer(report, made.snapshot, measured)
        return Replayed(
            report=report,
            choice=chosen,
            answer=answer,
            by_memory=by_memory,
            measure=_measure(self.program),
            assumed=tuple(
                Assumed(name, number, ordinary.said(name))
                for name, number in made.assumed.items()
                if name in self.program.attributes
            ),
            notes=tuple(_notes(made, known)),
        )


def _adjusted(report: Report, chosen: Choice, known: Facts | None) -> Choice:
    """Return the kernel's choice with the reason that oomrules had set what counted for it."""
    killed = victim(report)
    row = row_of(report, killed.pid) if killed else None
    value = row.values.get("oom_score_adj") if row else None
    if row is None or value is None or known is None or chosen.code not in _PLAIN:
        return chosen
    own = known.own(row.values.get("tgid", row.pid), value)
    if own is None or own == value:
        return chosen
    why = f"{chosen.why}; its oom_score_adj was {own} before oomrules set {value}"
    return replace(chosen, code="RPL109", why=why)


def _answer(report: Report, snapshot: Recorded, program: Program) -> Answer:
    """Return whom a program takes of the processes of a snapshot."""
    places = dict.fromkeys(snapshot.by_pid, report.group) if _is_below(report) else None
    found = possible.possible(snapshot, program, places=places)
    ranking = Ranker(program, snapshot.host).rank(snapshot)
    unknown = tuple(Unknown(one.name, one.processes, one.rules) for one in found.unknown)
    if found.certain:
        return Answer(CERTAIN, (_taken(found.certain, ranking),), unknown=unknown)
    if found.open:
        taken = tuple(_taken(one, ranking) for one in found.open)
        return Answer(
            result=OPEN, possible=taken, nobody=found.nobody, unknown=unknown, why=_why(found)
        )
    return Answer(result=NOBODY, nobody=True, unknown=unknown, why=_protected(ranking))


def _is_below(report: Report) -> bool:
    """Return whether all processes of a report are in or below a group that it names."""
    return report.kind == LIMIT and bool(report.group)


def _taken(one: Candidate, ranking: Ranking) -> Taken:
    """Return a process with the rules that certainly put it where it is."""
    process = one.process
    verdict = ranking.verdict(process)
    held = [each for each in verdict.held if each.surely]
    # What decides most comes first: a level before a factor.
    held.sort(key=lambda each: each.rule.kind not in ("first", "last"))
    comm = process.comm if isinstance(process.comm, str) else "?"
    if not held:
        return Taken(process.pid, comm, place=verdict.score.place if verdict.score else "")
    return Taken(process.pid, comm, held[0].rule.text, held[0].rule.place)


def _why(found: Possible) -> str:
    """Return what keeps an answer open."""
    if not found.unknown:
        return "who would be first among equal ones is not known"
    first = found.unknown[0].name
    pids = [str(one.process.pid) for one in found.open if first in one.unknown]
    whose = " and ".join(pids) if pids and not pids[2:] else count(len(pids), "process")
    more = f" and {count(len(found.unknown) - 1, 'more attribute')}" if found.unknown[1:] else ""
    return f"{first} of {whose}{more} {'are' if more else 'is'} not known"


def _protected(ranking: Ranking) -> str:
    reasons = [verdict for _, verdict in ranking.excluded() if verdict.eligible and verdict.rule]
    return f"a rule protects each of {count(len(reasons), 'process')}" if reasons else ""


def _counts_memory(program: Program) -> bool:
    """Return whether the scores ask for nothing but memory that a table has."""
    scores = [scope.score for scope in program.scopes if scope.score]
    return all(_asks(score.value) <= _HELD for score in scores)


def _asks(node: object) -> frozenset[str]:
    """Return the attributes that an expression asks for."""
    if not isinstance(node, list | tuple):
        return frozenset()
    own = {node[1]} if len(node) == 2 and node[0] == "attr" and node[1] in ATTRIBUTES else set()
    return frozenset(own).union(*map(_asks, node))


def _measure(program: Program) -> str:
    scores = (scope.score for scope in program.scopes if scope.score and not scope.targets)
    return next((score.text for score in scores), "")


def _notes(made: hosts.Made, facts: Facts | None) -> Iterator[str]:
    if facts is None:
        return
    of = facts.of or "what was kept"
    if made.joined:
        yield f"of {count(made.joined, 'process')} more is known, by {of}"
    if made.strange:
        yield f"{count(made.strange, 'process')} there had the same pid and another name or user"


def facts_of(options: argparse.Namespace) -> Facts | None:
    """Return what is known of the processes besides the report, as the options say."""
    if options.snapshot:
        return hosts.facts_of(recording.load(options.snapshot), options.snapshot)
    if options.live:
        from oomrules.commands.parts import kept, selection
        from oomrules.dbus.gather import EVERYTHING
        from oomrules.program.program import make

        live = selection.live(make((), {}), EVERYTHING)
        return hosts.facts_of(live, "this host as it is now", adjusted=kept.adjusted())
    return None


def _kept(options: argparse.Namespace, report: Report) -> Facts | None:
    """Return what this host's service knew at a kill, if the report is certainly of this host."""
    from oomrules.commands.parts import kept

    if options.file is None:
        return kept.of_own(report, options.boot or 0)
    # Of other logs it is so if the journal's own number of the boot is one of this host's.
    return kept.kept(report, report.boot) if re.fullmatch("[0-9a-f]{32}", report.boot) else None


def asked(options: argparse.Namespace, with_rules: bool = True) -> Asked:
    """Return what the options say.

    Raises:
        Failure: the rules have errors, or the snapshot cannot be read.
    """
    return Asked(
        program=shared.program(options) if with_rules else None,
        facts=facts_of(options),
        kept=lambda report: _kept(options, report),
        assume=options.assume,
        total=options.total,
        linux=options.linux or "",
        page_size=options.page_size,
    )
