"""The unit of oomrules-snapshot.timer records a host, closed off as it is."""

from __future__ import annotations

import gzip
import json

from tests.vm.guest import Guest

FOLDER = "/var/lib/oomrules/snapshots"
OLD = f"{FOLDER}/vm@20200101T000000Z.jsonl.gz"


def test_the_timer_starts_what_records_the_host_with_its_units_and_removes_what_is_old(
    guest: Guest,
) -> None:
    sleep = "/usr/bin/sleep 10000"
    as_alice = "runuser --user alice -- env XDG_RUNTIME_DIR=/run/user/1001"
    guest.run(f"systemd-run --quiet --unit=recorded {sleep}", check=True, timeout=60)
    tool = f"{as_alice} systemd-run --quiet --user --unit=app-recorded {sleep}"
    guest.run(tool, check=True, timeout=60)
    guest.run("systemctl start oomrules-snapshot.timer", check=True, timeout=60)
    timers = guest.run("systemctl list-timers --plain --no-legend", check=True, timeout=60).stdout
    assert "oomrules-snapshot.timer oomrules-snapshot.service" in " ".join(timers.split())
    guest.run(f"mkdir -p -m 700 {FOLDER} && touch -d '31 days ago' {OLD}", check=True)
    guest.run("systemctl start oomrules-snapshot.service", check=True, timeout=300)
    listed = f"stat -c '%a %U %n' {FOLDER} {FOLDER}/*"
    folder, recording = guest.run(listed, check=True, timeout=60).stdout.splitlines()
    assert folder == f"700 root {FOLDER}" and recording.startswith("600 root ")
    lines = [
        json.loads(line)
        for line in gzip.decompress(guest.get(recording.split()[2])).decode().splitlines()
    ]
    # Neither the bus of the system nor that of a user is out of reach for it.
    known = {line["unit"]: line["properties"] for line in lines if line["kind"] == "scope"}
    assert known["recorded.service"]["Description"] == sleep
    assert known["app-recorded.service"]["Description"] == sleep
    guest.run("systemctl stop oomrules-snapshot.timer recorded", check=True, timeout=60)
    guest.run(f"{as_alice} systemctl --user stop app-recorded; rm -r {FOLDER}", timeout=60)
