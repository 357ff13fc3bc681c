"""Witnesses: a process on a small host, for the real evaluator to judge."""

from __future__ import annotations

from typing import Any, NamedTuple

from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.processes import recorded
from oomrules.processes.snapshot import NO_LIMIT, Host, Process
from oomrules.processes.values import GETTERS, of_block
from oomrules.program import nodes
from oomrules.program.nodes import SELF_MADE, Definitions
from oomrules.program.program import Program
from oomrules.ranking import blocks
from oomrules.ranking.ancestors import above
from oomrules.ranking.local import Local
from oomrules.ranking.verdict import Verdict
from oomrules.reason.arithmetic import GRANULE, unbound
from oomrules.reason.index import Judge
from oomrules.reason.regions import Region
from oomrules.terminal import duration

# The host of all witnesses: bytes of memory, and ticks of a millisecond.
MEMORY = 2**33
TICKS = 1000


class Witness(NamedTuple):
    """A process on a host of its own.

    Attributes:
        snapshot: the host, as a recorded one.
        process: the process in it.
    """

    snapshot: recorded.Recorded
    process: Process

    def about(self, region: Region) -> dict[str, Any]:
        """Return the attributes that a region asks for, in the words of the language."""
        asked = {name for box in region for variable in box for name in variable.attributes}
        found: dict[str, Any] = {"pid": self.process.pid, "comm": self.process.comm}
        for name in ATTRIBUTES:
            for one in sorted(one for one in asked if unbound(one)[0] == name):
                found[name] = _said(name, _value(self, one))
        if any(variable.kind == "kin" for box in region for variable in box):
            line = [f"{one.pid} {one.comm}" for one in above(self.process, self.snapshot)]
            found["ancestors"] = ", ".join(line) or "none"
        if "capabilities" in asked:
            bits = self.process.capabilities
            held = [name for name, bit in CAPABILITIES.items() if bits and bits >> bit & 1]
            found["capabilities"] = "unknown" if bits is None else ", ".join(held) or "none"
        return found

    def judge(self, judge: Judge) -> Verdict:
        """Return the verdict of the real evaluator about the process."""
        return judge.judge(self.process, self.snapshot)

    def rule_holds(self, program: Program, node: Any) -> bool | None:
        """Return the answer of the real evaluator to a condition; None if that is unknown."""
        needed = nodes.needed([node], program.definitions)
        local = Local(needed, self.snapshot.host.page_size)

        def get(name: str) -> Any:
            getter = local.getters.plain.get(name)
            value = getter(self.process, self.snapshot) if getter else _value(self, name)
            return None if value is SELF_MADE else value

        found = nodes.reduce(local.localise(node), get, Definitions(local.definitions, get))
        return None if found is None else bool(found)


def judge_of(program: Program) -> Judge:
    """Return a judge by a program for the hosts of witnesses, which all have one page size."""
    return Judge(program, Host("", "", GRANULE, TICKS, 0, MEMORY, 0))


def _value(witness: Witness, name: str) -> Any:
    """Return the value of an attribute, which may be bound to the unit of a block."""
    own, target = unbound(name)
    process, snapshot = witness.process, witness.snapshot
    if not target:
        return GETTERS[own](process, snapshot)
    level = blocks.level(target, process, snapshot)
    return None if level is None else of_block(own, level)(process, snapshot)


# --- for people ------------------------------------------------------------------------------


def _said(name: str, value: Any) -> Any:
    if value is None:
        return "unknown"
    kind = ATTRIBUTES[name].type.value
    if kind == "memory":
        return in_words(value * GRANULE)
    if kind == "duration":
        # As a rule has it: ``1h30min``.
        return duration(value).replace(" ", "") if value else "0s"
    if kind == "percentage":
        return f"{value / 100:g}%"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f'"{value}"' if name != "comm" else str(value)
    return value


def in_words(size: int) -> str:
    """Return an amount of memory, in bytes, as the language writes it."""
    if size >= NO_LIMIT // GRANULE * GRANULE:
        return "unlimited"
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"
