"""`check --host` beside a real systemd: silent about what is right, and only about that."""

from __future__ import annotations

import json
import shlex

from tests.vm.guest import Guest

SHIPPED = "/usr/lib/oomrules.d"
MINE = """\
in "nosuch.service": prefer anything
in "systemd-journald.service": spare anything
never kill user "nobodyatall"
kill first unit "systemd-udevd.service"
"""


def test_the_shipped_rules_and_presets_are_clean_on_a_host(guest: Guest) -> None:
    # A host without any work on it has little that could be freed, and is told so.
    work = "import time; held = b'x' * (80 << 20); time.sleep(1000)"
    guest.run(["systemd-run", "--quiet", "--unit=work", "python3", "-c", work], check=True)
    argv = ["oomrules", "check", "--host", SHIPPED]
    # The kernel's own measure takes the place of any other.
    presets = f"$(ls {SHIPPED}/presets/*.oom | grep -v /kernel.oom)"
    result = guest.run(f"sleep 3; {shlex.join(argv)} {presets}", timeout=120)
    alone = guest.run([*argv, f"{SHIPPED}/presets/kernel.oom"], timeout=120)
    guest.run(["systemctl", "stop", "work"], check=True)
    for done in (result, alone):
        assert done.status == 0, done.stdout
        assert "nothing to complain" in done.stdout
    # All of them run on bare machines; that they find the rules where these are installed is here.
    tests = guest.run(["oomrules", "test", f"{SHIPPED}/tests/default.test.toml"], timeout=120)
    assert tests.status == 0, tests.stdout


def test_rules_that_do_not_fit_the_host_are_found(guest: Guest) -> None:
    guest.put(MINE, "/root/mine.oom")
    argv = ["oomrules", "check", "--host", "--format", "json", "/root/mine.oom"]
    result = guest.run(argv, timeout=120)
    found = {(one["line"], one["code"]) for one in json.loads(result.stdout)["findings"]}
    # No such unit, no such user, and what systemd itself protects by OOMScoreAdjust=.
    assert {(1, "OOM701"), (3, "OOM702"), (4, "OOM705")} <= found
    assert not [code for line, code in found if line == 2]
