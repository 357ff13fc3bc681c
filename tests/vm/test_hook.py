"""The unit hook: the list follows the units, and a kill leaves its record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest

UNIT = "[Service]\nExecStart=/usr/bin/sleep 10000\n"
HOG = """[Service]
ExecStart=/usr/bin/python3 /root/hog.py
MemoryMax=64M
MemorySwapMax=0
"""
# Once it is told to: the hook of its start counts in its unit, and has to have seen it.
HOG_PY = """
import os, time
while not os.path.exists("/run/grow"): time.sleep(0.2)
held = []
while True: held.append(b"x" * (1 << 20)); time.sleep(0.2)
"""


@pytest.fixture
def hooked(fresh_guest: Guest) -> Iterator[Guest]:
    guest = fresh_guest
    guest.put(UNIT, "/etc/systemd/system/served.service")
    guest.run(["oomrules", "hook", "--install", "served.service"], check=True, timeout=120)
    yield guest


def _list(guest: Guest) -> list[int]:
    return [int(pid) for pid in guest.get("/run/oomrules/list").split()]


def _pid(guest: Guest, unit: str) -> int:
    shown = guest.run(["systemctl", "show", "--value", "--property=MainPID", unit], check=True)
    return int(shown.stdout)


def test_the_list_follows_a_unit_that_starts_and_stops(hooked: Guest) -> None:
    hooked.run(["systemctl", "start", "served"], check=True, timeout=120)
    pid = _pid(hooked, "served")
    assert pid in _list(hooked)
    hooked.run(["systemctl", "stop", "served"], check=True, timeout=120)
    assert pid not in _list(hooked)
    hooked.run(["oomrules", "hook", "--remove", "served.service"], check=True, timeout=120)
    hooked.run(["systemctl", "start", "served"], check=True, timeout=120)
    assert _pid(hooked, "served") not in _list(hooked)


def test_broken_rules_keep_no_unit_from_starting_and_the_last_good_ones_stay(
    hooked: Guest,
) -> None:
    hooked.put('kill first unit "served.service"\n', "/etc/oomrules.d/50-mine.oom")
    hooked.run(["systemctl", "start", "served"], check=True, timeout=120)
    assert _list(hooked)[0] == _pid(hooked, "served")
    hooked.put("nevr kill uid 0\n", "/etc/oomrules.d/60-broken.oom")
    since = hooked.cursor()
    hooked.run(["systemctl", "restart", "served"], check=True, timeout=120)
    assert hooked.run(["systemctl", "is-active", "served"]).stdout == "active\n"
    # By the last good rules it is still the first, under its new pid.
    assert _list(hooked)[0] == _pid(hooked, "served")
    said = hooked.journal(since=since)
    assert "/etc/oomrules.d/60-broken.oom:1:1: error[OOM101]" in said
    assert "the last good ones stay in force" in said


def test_a_reload_with_broken_rules_fails_and_says_why(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.run(["systemctl", "start", "oomrules-apply"], check=True, timeout=120)
    before = _list(guest)
    assert before
    guest.put("score rss\nscore swap\n", "/etc/oomrules.d/60-broken.oom")
    since = guest.cursor()
    assert guest.run(["systemctl", "reload", "oomrules-apply"], timeout=120).status != 0
    assert "error[OOM209]" in guest.journal(since=since)
    assert _list(guest)
    guest.run(["rm", "/etc/oomrules.d/60-broken.oom"], check=True)
    guest.run(["systemctl", "reload", "oomrules-apply"], check=True, timeout=120)


def test_a_unit_killed_at_its_limit_leaves_its_record(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put(HOG, "/etc/systemd/system/hog.service")
    guest.put(HOG_PY, "/root/hog.py")
    guest.put('prefer unit "hog.service" by 3\n', "/etc/oomrules.d/50-hog.oom")
    guest.run(["oomrules", "hook", "--install", "hog.service"], check=True, timeout=120)
    guest.run(["systemctl", "start", "hog"], check=True, timeout=120)
    pid = _pid(guest, "hog")
    guest.run(["touch", "/run/grow"], check=True)
    ended = "until systemctl is-active hog | grep -qE '^(inactive|failed)'; do sleep 0.5; done"
    guest.run(ended, timeout=180)
    shown = guest.run(["systemctl", "show", "--value", "--property=Result", "hog"])
    assert shown.stdout == "oom-kill\n"
    history = guest.run(["oomrules", "history", "--format", "json"], check=True, timeout=120)
    (kill,) = json.loads(history.stdout)["kills"]
    killed = guest.kills()[-1]
    assert (kill["pid"], kill["comm"]) == (killed.pid, killed.comm)
    assert kill["unit"] == "hog.service"
    assert kill["cgroup"] == "/system.slice/hog.service"
    assert kill["constraint"] == "CONSTRAINT_MEMCG"
    if kill["pid"] == pid:
        assert 1 <= kill["rank"] <= kill["listed"]
    table = guest.run(["oomrules", "history"], check=True, timeout=120).stdout
    assert "hog.service" in table


FORGED = """
import socket
fields = {
    "MESSAGE_ID": "1956813c936b4d7b9acf2a8cbea1f060", "_UID": "0",
    "OOMRULES_UNIT": "forged.service",
    "OOMRULES_PID": "1", "OOMRULES_UID": "0", "OOMRULES_COMM": "init", "OOMRULES_LIST_AGE": "abc",
}
data = "".join(f"{name}={value}\\n" for name, value in fields.items()).encode()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.sendto(data, "/run/systemd/journal/socket")
"""


def test_a_kill_that_a_user_made_up_is_not_history(guest: Guest) -> None:
    argv = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", "python3", "-c", FORGED]
    guest.run(argv, check=True)
    (entry,) = guest.journal_entries("OOMRULES_UNIT=forged.service")
    # journald does not take a user's word for who he is.
    assert entry["_UID"] == "1001"
    done = guest.run(["oomrules", "history", "--unit", "forged.service"], check=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "no kill has been recorded\n")


def test_the_units_that_are_shipped_verify_and_state_their_exposure(guest: Guest) -> None:
    unit = "/usr/lib/systemd/system/oomrules-apply.service"
    verified = guest.run(["systemd-analyze", "verify", "--man=no", unit], timeout=120)
    assert (verified.status, verified.stderr.strip()) == (0, "")
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=26", unit]
    scored = guest.run(argv, timeout=120)
    assert scored.status == 0, scored.stdout[-600:]
