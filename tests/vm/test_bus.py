"""Without a bus that answers: a message, and what is unknown protects."""

from __future__ import annotations

from tests.vm.guest import Guest
from tests.vm.ranking import RULES

PROPERTY = 'score 1\nnever kill anything when unit.oom_policy == "kill"\n'
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
    assert "nobody may be killed" in result.stderr


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
