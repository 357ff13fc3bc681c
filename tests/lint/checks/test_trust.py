"""Of each attribute it is decided whether a process can give itself the value (OOM531)."""

from __future__ import annotations

from oomrules.attributes import ATTRIBUTES
from oomrules.lint.checks import trust

# What the check looks at in code of its own: what root grants, and the names of that.
GRANTED = {
    *("uid", "euid", "gid", "egid", "user", "group", "capabilities"),
    *("unit", "slice", "unit.oom_score_adjust", "session.remote"),
    *trust._OF_CONTAINER,
}
# What neither is granted nor counts as chosen: every process of a user has it, or can have it by
# being small.
ANY_PROCESS = {
    *("pid", "total_vm", "rss", "anon", "shmem", "locked", "swap", "pgtables"),
    *("footprint", "growth", "totalpages", "unit.memory_min", "unit.memory_low"),
    *("cgroup.memory", "cgroup.memory_max", "cgroup.processes"),
    # These are the same for every process.
    *(f"host.{name}" for name in ("memory", "available", "free", "shmem", "swap", "swap_free")),
    *("host.totalpages", "host.pressure", "host.stall"),
    *("unit.processes", "unit.memory", "unit.memory_max", "unit.memory_high", "unit.swap"),
    *("unit.pressure", "unit.oom_kills", "session.active", "session.idle"),
    *("scope.memory", "scope.memory_max", "scope.memory_high", "scope.swap", "scope.pressure"),
    *("scope.stall", "scope.oom_kills", "scope.processes", "scope.footprint"),
}


def test_it_is_decided_for_each_attribute_whether_a_process_can_give_it_to_itself() -> None:
    chosen = {*trust._OF_ITSELF, *trust._GROWS, *trust._OF_USER, *trust._SAID}
    # A new attribute: decide it in lint/checks/trust.py, and only then add it here.
    assert ATTRIBUTES.keys() == chosen | GRANTED | ANY_PROCESS
    assert not chosen & (GRANTED | ANY_PROCESS)
