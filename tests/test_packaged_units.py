"""The units of systemd, as far as they can be looked at without it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = ROOT / "systemd"
SNAPSHOTS = "/var/lib/oomrules/snapshots"
# What the list needs and a recording does not: the kernel's log, /run/oomrules, bounded memory.
OF_THE_LIST = {
    *("DeviceAllow", "LimitDATA", "OOMScoreAdjust", "RemainAfterExit", "TimeoutStartSec"),
    *("RuntimeDirectory", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve"),
}


def settings(name: str) -> dict[str, list[str]]:
    """Read the section [Service] of a unit."""
    found: dict[str, list[str]] = {}
    service = (UNITS / name).read_text().partition("[Service]")[2].partition("\n[")[0]
    for key, value in re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_a_recording_is_made_in_no_wider_sandbox_than_a_list() -> None:
    ours, others = settings("oomrules-snapshot.service"), settings("oomrules-apply.service")
    wider = {key: values for key, values in others.items() if ours.get(key) != values}
    assert {key for key in wider if not key.startswith("Exec")} - OF_THE_LIST == {
        # It writes no control group and no oom_score_adj.
        *("CapabilityBoundingSet", "ProtectControlGroups"),
    }
    assert ours["ProtectControlGroups"] == ["yes"]


def test_old_recordings_are_removed_before_a_new_one_and_young_ones_stay(tmp_path: Path) -> None:
    (before,) = settings("oomrules-snapshot.service")["ExecStartPre"]
    words = shlex.split(before.replace(SNAPSHOTS, str(tmp_path)))
    days = {"old@20260101T000000Z.jsonl.zst": 32, "old.new": 32, "young@x.jsonl.zst": 29}
    for name, age in days.items():
        (tmp_path / name).touch()
        then = time.time() - age * 86400
        os.utime(tmp_path / name, (then, then))
    subprocess.run(words, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["young@x.jsonl.zst"]
    assert (
        SNAPSHOTS in before and SNAPSHOTS in settings("oomrules-snapshot.service")["ExecStart"][0]
    )


def test_the_packages_know_every_unit() -> None:
    names = sorted(path.name for path in UNITS.iterdir())
    enabled = [name for name in names if "[Install]" in (UNITS / name).read_text()]
    texts = {
        name: (ROOT / "packaging" / name).read_text()
        for name in ("debian/oomrules.postinst", "rpm/oomrules.spec", "arch/oomrules.install")
    }
    for name in names:
        for folder in ("/usr/local/lib/systemd/system", "/etc/systemd/system"):
            assert f"{folder}/{name}" in texts["debian/oomrules.postinst"], name
        assert f"\n/usr/lib/systemd/system/{name}\n" in texts["rpm/oomrules.spec"], name
    for name in enabled:
        for file in ("rpm/oomrules.spec", "arch/oomrules.install"):
            (line,) = re.findall("disable --now (.*) [|]", texts[file])
            assert name in line.split(), (file, name)
