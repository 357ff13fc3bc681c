"""What a guard did is heard: in a user's session, on the system's bus, by hooks, in the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vm.guest import Guest
from tests.vm.service import show, status, wait

LISTENER = Path(__file__).parent.parent / "dbus" / "listener.py"

# A leak that is started anew each time, and a guard that has had enough of it.
HOG = """[Service]
User=alice
ExecStart=/bin/bash -c 'exec tail -c 60000000 < <(head -c 60000000 /dev/zero; exec sleep 600)'
Restart=always
RestartSec=1
[Unit]
StartLimitIntervalSec=0
"""
RULES = "in hog.service: kill when scope.memory > 40MiB then stop\n"

GOOD = """#!/bin/sh
{ env | grep ^OOMRULES_; ls /home; } >> /run/heard
cat >> /run/heard.json
"""
HANGS = '#!/bin/sh\n[ "$OOMRULES_EVENT" = stopped ] || exit 0\nexec sleep 600\n'


def lines(guest: Guest, path: str) -> list[Any]:
    """What a listener has printed, besides that it is ready."""
    said = guest.run(["cat", path]).stdout.splitlines()
    return [json.loads(line) for line in said if line != "ready"]


def test_a_unit_that_dies_again_and_again_is_stopped_and_all_who_should_hear_of_it(
    fresh_guest: Guest,
) -> None:
    guest = fresh_guest
    guest.put(LISTENER.read_bytes(), "/usr/local/lib/listener.py", 0o644)
    guest.put(HOG, "/etc/systemd/system/hog.service")
    guest.put(RULES, "/etc/oomrules.d/60-guard.oom")
    guest.run(["mkdir", "-p", "/etc/oomrules/hooks.d"], check=True)
    guest.put(GOOD, "/etc/oomrules/hooks.d/10-good", 0o755)
    guest.put(HANGS, "/etc/oomrules/hooks.d/20-hangs", 0o755)
    guest.put("#!/bin/sh\n", "/etc/oomrules/hooks.d/30-open", 0o777)
    # Programs of a desktop: one shows notices, and build's takes them and never answers.
    desktop = "exec /usr/bin/python3 /usr/local/lib/listener.py {} > /tmp/{}"
    guest.start(desktop.format("desktop", "alice"), user="alice")
    guest.start(["sh", "-c", desktop.format("signal", "system")])
    ready = "cat /tmp/alice /tmp/system"
    wait(lambda: guest.run(ready).stdout.count("ready") == 2, 60)

    since = guest.cursor()
    guest.run(["systemctl", "daemon-reload"], check=True, timeout=60)
    guest.run(["systemctl", "start", "oomrules", "hog"], check=True, timeout=180)
    wait(lambda: "`then stop` by" in guest.journal(since=since), 120)
    assert show(guest, "ActiveState", "hog") == "inactive"

    entries = [entry for entry in guest.journal_entries(since=since) if entry.get("OOMRULES_ACT")]
    acts = [entry["OOMRULES_ACT"] for entry in entries]
    # systemd takes its time here, so it may be started once more.
    assert acts.count("killed") >= 3 and acts.count("again") == acts.count("stopped") == 1
    killed = next(entry for entry in entries if entry["OOMRULES_ACT"] == "killed")
    assert (killed["OOMRULES_COMM"], killed["OOMRULES_UID"]) == ("tail", "1001")
    assert killed["OOMRULES_FILE"] == "/etc/oomrules.d/60-guard.oom"
    assert int(killed["OOMRULES_SCOPE_MEMORY"]) > 40 << 20
    stopped = next(entry for entry in entries if entry["OOMRULES_ACT"] == "stopped")
    assert "systemd has stopped it" in stopped["OOMRULES_PROBLEM"]
    # By the unit, as administrators look for it.
    of_unit = guest.run("journalctl --quiet --no-pager -u hog", check=True).stdout
    assert "killed `tail`" in of_unit and "then stop" in of_unit
    history = json.loads(guest.run(["oomrules", "history", "--format", "json"], timeout=60).stdout)
    assert [kill["by"] for kill in history["kills"]] == ["guard"] * acts.count("killed")
    assert history["kills"][0]["guard"]["line"] == 1

    # Her desktop shows it, and names the process, since it is hers.
    wait(lambda: lines(guest, "/tmp/alice"), 120)
    name, _, _, summary, body, *_ = lines(guest, "/tmp/alice")[0]
    assert (name, summary) == ("oomrules", "Memory ran short")
    assert body.startswith("tail (") and "was killed" in body
    # Everybody may listen to this one.
    wait(lambda: lines(guest, "/tmp/system"), 120)
    path, interface, member, summary, body = lines(guest, "/tmp/system")[0]
    assert (path, interface, member) == ("/", "net.nuetzlich.SystemNotifications", "Notify")
    assert body.startswith("A process was killed") and "tail" not in body

    # Hooks are out of the sandbox: the service itself sees no homes.
    wait(lambda: "OOMRULES_EVENT=stopped" in guest.run(["cat", "/run/heard"]).stdout, 90)
    heard = guest.run(["cat", "/run/heard"]).stdout
    assert "OOMRULES_EVENT=killed" in heard and "OOMRULES_COMM=tail" in heard
    assert "\nalice\n" in heard
    events = [
        json.loads(line) for line in guest.run(["cat", "/run/heard.json"]).stdout.splitlines()
    ]
    assert events[0]["schema"] == "oomrules.event/1" and events[0]["unit"] == "hog.service"

    def complaints() -> str:
        return " ".join(status(guest)["complaints"])

    wait(lambda: "20-hangs took longer than 10 s" in complaints(), 60)
    assert "30-open is not run: others may write to it" in complaints()
    assert "no notice could be shown" not in complaints()
    assert show(guest, "NRestarts") == "0"
