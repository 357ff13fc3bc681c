"""What is proposed for a host: presets, a guard, and where the list goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from oomrules.language import rulefiles
from oomrules.plain import some
from oomrules.program.program import Program
from oomrules.roots import Root
from oomrules.setup import kinds, others
from oomrules.setup.evidence import Evidence
from oomrules.setup.kinds import Recognized
from oomrules.setup.links import Links, State
from oomrules.setup.others import Running
from oomrules.setup.presets import preset

AUTO, NONE = "auto", "none"
# The presets of guards, by what ``--guard`` takes, each with why it is the one.
GUARDS = {
    "desktop": "it asks a program to end, so that work can be saved, before it kills",
    "server": "it acts late and kills, since a service that is killed is started again",
}
CHOICES = (AUTO, *GUARDS, NONE)
_GUARD = "guard-"


class Proposal(NamedTuple):
    """What is proposed.

    Attributes:
        kinds: what the host is.
        presets: how each preset for that stands.
        guard: how the preset of the guard stands; None if none is proposed.
        guard_why: why that guard, or why none.
        others: other programs that act when memory is short.
        again: whether links are to be made that an earlier run began to make.
        notes: what could not be found out.
    """

    kinds: tuple[Recognized, ...]
    presets: tuple[State, ...]
    guard: State | None
    guard_why: str
    others: tuple[Running, ...]
    again: bool
    notes: tuple[str, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """All presets, that of the guard last."""
        return (*self.presets, *([self.guard] if self.guard else []))

    @property
    def pending(self) -> tuple[State, ...]:
        """Those whose links are still to be made."""
        return tuple(state for state in self.states if state.pending)

    @property
    def links(self) -> dict[str, Path]:
        """The files of the links that are still to be made, by the links' names."""
        return {state.preset.link: state.preset.path for state in self.pending}


class Asked(NamedTuple):
    """What the administrator has decided.

    Attributes:
        kinds: names of kinds, in place of what is found; empty to find out.
        guard: one of ``CHOICES``.
    """

    kinds: tuple[str, ...] = ()
    guard: str = AUTO


def proposed(
    evidence: Evidence, links: Links, tree: Root, program: Program, asked: Asked
) -> Proposal:
    """Return what is proposed for a host.

    What is linked already is the administrator's choice, or that of an earlier run: it stays, and
    no other preset comes beside it unless a kind is asked for.

    Args:
        evidence: what is known of the host.
        links: what is linked already.
        tree: the system.
        program: the rules in force.
        asked: what the administrator has decided.

    Raises:
        Failure: a preset is missing, or the record of an earlier run cannot be used.
    """
    record, linked = links.record(), links.presets()
    begun = [Path(target).stem for target in record.begun]
    mine = [stem for stem in (*linked, *begun) if not stem.startswith(_GUARD)]
    found = kinds.named(asked.kinds) if asked.kinds else kinds.recognized(evidence)
    if mine and not asked.kinds:
        stems = list(dict.fromkeys(mine))
    else:
        stems = [one.kind.preset for one in found if one.linked]
    running = others.running(evidence, tree)
    guard, why = _guard(stems, [*linked, *begun], running, program, asked.guard)
    return Proposal(
        kinds=tuple(found),
        presets=tuple(_state(stem, links, tree) for stem in stems),
        guard=_state(guard, links, tree) if guard else None,
        guard_why=why,
        others=tuple(running),
        again=not record.whole,
        notes=evidence.notes,
    )


def _state(stem: str, links: Links, tree: Root) -> State:
    return links.state(preset(stem, tree))


def _guard(
    stems: Sequence[str],
    linked: Sequence[str],
    running: Sequence[Running],
    program: Program,
    asked: str,
) -> tuple[str, str]:
    """Return the preset of the guard, empty for none, and why."""
    if asked == NONE:
        return "", "--guard none"
    if asked != AUTO:
        return f"{_GUARD}{asked}", GUARDS[asked]
    there = next((stem for stem in linked if stem.startswith(_GUARD)), "")
    if there:
        return there, "it is linked"
    if program.guards:
        places = list(dict.fromkeys(guard.place.rpartition(":")[0] for _, guard in program.guards))
        return "", f"there are guards already, in {some(places)}"
    name = "desktop" if kinds.BY_NAME[kinds.DESKTOP].preset in stems else "server"
    killers = others.killers(running)
    if killers:
        return "", (
            f"{some(killers)} acts already, and one guard is enough; switch it off, and run "
            f"`oomrules init` again, or take both with `oomrules init --guard {name}`"
        )
    return f"{_GUARD}{name}", GUARDS[name]


def with_links(root: Path, proposal: Proposal) -> rulefiles.Found:
    """Return the rules as they would be with the proposal in force."""
    return rulefiles.system(root, proposal.links)
