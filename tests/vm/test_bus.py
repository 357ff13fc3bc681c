"""Without a bus that answers: a message, and what is unknown protects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.ranking import RULES

ASKS = 'score 1\nnever kill anything when unit.oom_policy == "kill"\n'
# What users' managers say, or do not say, protects nobody.
PROPERTY = f'{ASKS}never kill slice "user-*.slice"\n'
HANG = """
import socket, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/hang")
listener.listen()
time.sleep(600)
"""
DENY = """<busconfig><policy user="alice">
<deny send_destination="org.freedesktop.systemd1"/></policy></busconfig>"""

GHOST = """
mkdir /sys/fs/cgroup/system.slice/ghost.service
sleep 12345 > /dev/null 2>&1 &
echo $! > /sys/fs/cgroup/system.slice/ghost.service/cgroup.procs
"""


def test_no_bus_is_said_and_what_only_it_knows_protects(guest: Guest) -> None:
    guest.put(PROPERTY, RULES)
    nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/nowhere"}
    result = guest.run(["oomrules", "rank", "--rules", RULES], env=nowhere, timeout=120)
    assert result.status == 1
    assert "note: the system bus cannot be asked" in result.stderr
    assert "in doubt, which protects, no process is on the list" in result.stderr
    guest.put(ASKS, RULES)
    listed = guest.run(["oomrules", "rank", "--rules", RULES], env=nowhere, timeout=120).stdout
    assert "init.scope" in listed and "systemd-journald.service" not in listed


def test_units_come_from_the_cgroup_tree_where_there_is_no_bus(guest: Guest) -> None:
    guest.put('score 1\nin system.slice: only kill anything\nonly kill unit "*.service"\n', RULES)
    nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/nowhere"}
    result = guest.run(["oomrules", "rank", "--rules", RULES], env=nowhere, timeout=120)
    assert result.status == 0
    assert "systemd-journald.service" in result.stdout


def test_a_bus_that_hangs_is_not_waited_for(guest: Guest) -> None:
    guest.put(PROPERTY, RULES)
    listener = guest.start(["/usr/bin/python3", "-c", HANG])
    try:
        guest.run(["sleep", "1"])
        hanging = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/hang"}
        result = guest.run(["oomrules", "rank", "--rules", RULES], env=hanging, timeout=60)
        assert result.status == 1
        assert "no answer within 2 s" in result.stderr
        assert result.ended - result.begun < 40
    finally:
        listener.kill()
        listener.wait()
        guest.run(["rm", "-f", "/run/hang"])


def test_a_bus_that_denies_access_is_said_to(guest: Guest) -> None:
    guest.put(PROPERTY, "/tmp/rules.oom")
    guest.put(DENY, "/etc/dbus-1/system.d/deny.conf")
    guest.run(["systemctl", "reload", "dbus"], check=True)
    try:
        result = guest.run(
            ["oomrules", "rank", "--rules", "/tmp/rules.oom"], user="alice", timeout=120
        )
        assert result.status == 1
        assert "cannot be asked" in result.stderr and "Traceback" not in result.stderr
    finally:
        guest.run("rm /etc/dbus-1/system.d/deny.conf; systemctl reload dbus", check=True)


def test_of_a_unit_that_has_vanished_nothing_is_known(guest: Guest) -> None:
    # A control group and a process are left, but systemd knows no such unit. What it says of one
    # all the same are the defaults, by which the process could be killed.
    guest.run(GHOST, check=True)
    guest.put('score 1\nonly kill unit "ghost.service"\n', RULES)
    argv = ["oomrules", "rank", "--all", "--rules"]
    try:
        assert guest.run([*argv, RULES], timeout=120).status == 0
        guest.put('score 1\nnever kill anything when unit.oom_policy == "kill"\n', RULES)
        result = guest.run([*argv, RULES, "--in", "ghost.service"], timeout=120)
        assert result.status == 1
        assert "never killed, in doubt" in result.stdout
        assert "Traceback" not in result.stderr
    finally:
        guest.run(["pkill", "--full", "sleep 12345"])
        guest.run("sleep 1; rmdir /sys/fs/cgroup/system.slice/ghost.service")


PEER = Path(__file__).parent.parent / "dbus" / "peer.py"
BUS = "/run/user/1001/bus"


@pytest.mark.parametrize("mode", ["mute", "escapes", "types", "big"])
def test_a_bus_that_a_user_made_costs_nobody_but_its_user(mode: str, guest: Guest) -> None:
    guest.put(PROPERTY, RULES)
    guest.put(PEER.read_bytes(), "/tmp/peer.py", 0o644)
    login = guest.start("exec sleep 10000", user="alice")
    listener = None
    try:
        script = f"""
            until test -S {BUS}; do sleep 0.2; done
            mv {BUS} {BUS}.real
            runuser --user alice -- /usr/bin/python3 /tmp/peer.py {BUS} {mode}"""
        listener = guest.start(script)
        guest.run(f"until test -S {BUS}; do sleep 0.2; done; sleep 1", timeout=60)
        result = guest.run(["oomrules", "rank", "--rules", RULES], timeout=120)
        # The system's units are known, whatever she does, and what is hers protects nobody.
        assert result.status == 0, result.stderr
        assert "systemd-journald.service" in result.stdout
        assert "\x1b" not in result.stderr and "PWNED" not in result.stderr
        assert "Traceback" not in result.stderr and "mistake" not in result.stderr
        if mode != "escapes":
            assert "the manager of user 1001" in result.stderr
        prepared = guest.run(["oomrules", "prepare", "--rules", RULES], timeout=120)
        assert prepared.status == 0
        parts = prepared.stdout.splitlines()
        assert len(parts) == 3 and '"part": "facts"' in parts[2] and "init.scope" in parts[2]
    finally:
        # In brackets, so that the shell that says it is not among those that are found.
        guest.run(f"kill $(pgrep --full [p]eer.py); mv --force {BUS}.real {BUS}", check=True)
        if listener:
            listener.wait()
        login.kill()
        login.wait()
