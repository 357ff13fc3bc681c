"""A login node with three users: the one who holds the most loses a process first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm.guest import Guest

# Holds as many MiB as it is told; as `grower` ever more, in small steps.
HOLD = """
import sys, time
held = [b'x' * (int(sys.argv[1]) << 20)]
while sys.argv[0] == "/run/grow.py":
    held.append(b'x' * (1 << 20))
    time.sleep(0.03)
time.sleep(10000)
"""
# Anna has one program of medium size, bert five that are each smaller, carl hardly anything.
USERS = r"""
set -e
useradd --uid 1101 anna; useradd --uid 1102 bert; useradd --uid 1103 carl
ln -s /usr/lib/oomrules.d/presets/login-node.oom /etc/oomrules.d/50-login-node.oom
for name in medium worker idle; do cp /usr/bin/python3 /usr/local/bin/$name; done
run() { setpriv --reuid $1 --regid $1 --clear-groups -- $2 -S /run/hold.py $3 > /dev/null 2>&1 & }
run anna /usr/local/bin/medium 24
for size in 12 13 14 15 16; do run bert /usr/local/bin/worker $size; done
run carl /usr/local/bin/idle 2
"""
# It is protected by a value that only root can give, and takes what is left.
GROW = ["systemd-run", "--quiet", "--unit=grower", "-p", "OOMScoreAdjust=-1000", "-p"]
GROW += ["OOMPolicy=continue", "python3", "-S", "/run/grow.py", "1"]


@pytest.fixture
def login_node(fresh_guest: Guest) -> Guest:
    fresh_guest.put(HOLD, "/run/hold.py")
    fresh_guest.put(HOLD, "/run/grow.py")
    fresh_guest.run(USERS + "sleep 5", timeout=120, check=True)
    return fresh_guest


def ranked(guest: Guest) -> list[dict[str, Any]]:
    done = guest.run(["oomrules", "rank", "--format", "json"], timeout=120, check=True)
    candidates: list[dict[str, Any]] = json.loads(done.stdout)["candidates"]
    return candidates


def test_the_user_who_holds_the_most_loses_the_largest_process_first(login_node: Guest) -> None:
    people = [one for one in ranked(login_node) if one["comm"] in ("medium", "worker", "idle")]
    names = [one["comm"] for one in people]
    assert names == ["worker"] * 5 + ["medium", "idle"]
    assert [one["uid"] for one in people] == [1102] * 5 + [1101, 1103]
    bases = [one["base"] for one in people[:5]]
    assert bases == sorted(bases, reverse=True)
    largest = people[0]["pid"]
    login_node.run(["oomrules", "emit", "--to", "oom_score_adj"], timeout=120, check=True)
    login_node.run(GROW, check=True)
    login_node.wait_console(r"Killed process \d+ \(\w+\) ", 240)
    login_node.run(["systemctl", "stop", "grower"], timeout=120)
    first = login_node.kills()[0]
    assert (first.comm, first.pid) == ("worker", largest)
    # Nobody who holds less was taken while bert had a process left.
    assert {kill.comm for kill in login_node.kills()} == {"worker"}
