"""What the tests ask of oomrules in the guest, and of systemd to compare it with."""

from __future__ import annotations

import json
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


def listed(guest: Guest, rules: str) -> set[int]:
    """The pids of the candidates."""
    return {candidate["pid"] for candidate in rank(guest, rules)["candidates"]}


def held_by(guest: Guest, target: str) -> set[int]:
    """The pids for which a block with this target holds."""
    ranking = rank(guest, f"score 1\nin {target}: never kill anything\n")
    return {one["pid"] for one in ranking["excluded"] if one["reason"] == "never killed"}


def procs(guest: Guest, unit: str, *options: str, user: str | None = None) -> set[int]:
    """The pids in a unit and below it, by systemd's own word."""
    argv = ["systemctl", *options, "show", "--value", "--property=ControlGroup", unit]
    if user:
        argv = ["runuser", "--user", user, "--", "env", "XDG_RUNTIME_DIR=/run/user/1001", *argv]
    group = guest.run(argv, check=True).stdout.strip()
    assert group, f"{unit} has no control group"
    found = guest.run(f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +", check=True)
    return {int(pid) for pid in found.stdout.split()}
