"""A desktop that never answers, and a system bus that stands still, delay no guard."""

from __future__ import annotations

from tests.vm.guest import Guest
from tests.vm.service import show, wait
from tests.vm.test_guard_told import HOG, LISTENER, RULES


def test_a_bus_that_hangs_or_is_gone_delays_no_kill(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put(LISTENER.read_bytes(), "/usr/local/lib/listener.py", 0o644)
    guest.put(HOG, "/etc/systemd/system/hog.service")
    guest.put(RULES.replace(" then stop", ""), "/etc/oomrules.d/60-guard.oom")
    desktop = "exec /usr/bin/python3 /usr/local/lib/listener.py silent > /tmp/alice"
    guest.start(desktop, user="alice")
    wait(lambda: "ready" in guest.run(["cat", "/tmp/alice"]).stdout, 60)
    since = guest.cursor()
    guest.run(["systemctl", "daemon-reload"], check=True, timeout=60)
    guest.run(["systemctl", "start", "oomrules", "hog"], check=True, timeout=180)
    # The system's bus stands still from now on.
    guest.run(["systemctl", "kill", "--signal=STOP", "dbus"], check=True)
    try:
        wait(lambda: guest.journal(since=since).count("killed `tail`") >= 4, 120)
        silent = "no notice could be shown at the desktop of user 1001"
        wait(lambda: silent in guest.journal(since=since), 90)
    finally:
        guest.run(["systemctl", "kill", "--signal=CONT", "dbus"], check=True)
    assert show(guest, "NRestarts") == "0"
