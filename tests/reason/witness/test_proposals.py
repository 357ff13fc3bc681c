"""Of each attribute a process can be made up that has a value which no ordinary process has.

A check of meaning says nothing where no witness is confirmed. So an attribute without a way back
from its value to the raw fields would leave these checks silent about it.
"""

from __future__ import annotations

import pytest

from oomrules.attributes import ATTRIBUTES, Attribute, Type
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.ranking.verdict import Why
from oomrules.reason.effects import Effects
from oomrules.reason.witness import proposals
from oomrules.reason.witness import witness as witnesses

# Values of each type that are unusual, and of the attributes that cannot have every text or number.
UNUSUAL = {
    Type.ID: "7654",
    Type.COUNT: "17",
    Type.MEMORY: "3MiB",
    Type.DURATION: "17s",
    Type.PERCENTAGE: "17%",
    Type.TEXT: '"qzx"',
}
POSSIBLE = {
    "state": '"D"',
    "tty": '"ttyS3"',
    "cgroup": '"/system.slice/qzx.service"',
    "unit": '"qzx.service"',
    "slice": '"qzx.slice"',
    "user.unit": '"qzx.service"',
    "user.slice": '"qzx.slice"',
    "container.runtime": '"podman"',
    "pod.qos": '"Burstable"',
}


# Shares of what the host has, and figures that hang together.
MORE = (
    "never kill anything when host.available < 15%",
    "never kill anything when host.available < 5% and host.memory == 2GiB and host.free > 4%",
    "never kill anything when host.swap_free < 10% and host.shmem > 12.5%",
    "never kill anything when host.swap_free < 10% and host.swap > 5GiB",
    "never kill anything when host.totalpages > 20GiB and host.memory < 10GiB",
    "never kill anything when footprint > totalpages / 2 and host.totalpages > 32GiB",
    "never kill uid 1000 when user.footprint > 5GiB and rss < 1MiB and user.processes > 3",
    "never kill anything when cgroup.processes > 9 and cgroup.memory > 5GiB and rss > 1GiB",
    "never kill anything when growth > 20MiB and unit.memory_low > rss",
)


def rules(attribute: Attribute) -> list[str]:
    """Return rules that hold for unusual values of an attribute."""
    if attribute.type is Type.BOOLEAN:
        return [f"never kill anything when {no}{attribute.name}" for no in ("", "not ")]
    if attribute.type is Type.CAPABILITIES:
        return ["never kill anything with SYS_RAWIO"]
    value = POSSIBLE.get(attribute.name, UNUSUAL[attribute.type])
    block = "in user.slice: " if attribute.name.startswith("scope.") else ""
    return [f"{block}never kill anything when {attribute.name} == {value}"]


@pytest.mark.parametrize(
    "rule", [*(rule for attribute in ATTRIBUTES.values() for rule in rules(attribute)), *MORE]
)
def test_a_process_with_an_unusual_value_can_be_made_up(rule: str) -> None:
    program = compiler.compile_texts([RuleText("x.oom", f"{rule}\nscore rss\n")])
    (effect,) = Effects(program).all
    assert effect.sure
    judge = witnesses.judge_of(program)
    made = [witness for box in effect.sure for witness in proposals.proposals(box)]
    assert any(witness.judge(judge).why is Why.NEVER for witness in made)
