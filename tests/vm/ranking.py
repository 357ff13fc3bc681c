"""What the tests ask of oomrules in the guest, and of systemd to compare it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.vm.guest import Guest

RULES = "/root/rules.oom"


def rank(guest: Guest, rules: str, *options: str) -> dict[str, Any]:
    """Rank the guest's processes by these rules alone."""
    guest.put(rules, RULES)
    argv = ["oomrules", "rank", "--rules", RULES, "--format", "json", *options]
    result = guest.run(argv, timeout=120)
    assert result.status in (0, 1), result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def holding(guest: Guest, heads: Sequence[str], *options: str) -> dict[str, set[int]]:
    """Find the pids for which each of several statements holds, in one ranking.

    Args:
        heads: statements, such as `in user.slice: prefer anything`, each without its factor.
        options: of the ranking.
    """
    rules = "".join(f"{head}\n" for head in ("score 1000", *heads))
    found: dict[str, set[int]] = {head: set() for head in heads}
    for candidate in rank(guest, rules, *options)["candidates"]:
        for place in candidate["rules"]:
            line = int(place.rpartition(":")[2])
            if line > 1:
                found[heads[line - 2]].add(candidate["pid"])
    return found


def procs(guest: Guest, unit: str, *options: str, user: str | None = None) -> set[int]:
    """The pids in a unit and below it, by systemd's own word."""
    argv = ["systemctl", *options, "show", "--value", "--property=ControlGroup", unit]
    if user:
        argv = ["runuser", "--user", user, "--", "env", "XDG_RUNTIME_DIR=/run/user/1001", *argv]
    group = guest.run(argv, check=True).stdout.strip()
    assert group, f"{unit} has no control group"
    found = guest.run(f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +", check=True)
    return {int(pid) for pid in found.stdout.split()}
