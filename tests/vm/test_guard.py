"""The guard under a real kernel and a real systemd: its rights, and victims that are hard to kill.

What it decides, and how it signals ordinary processes, is tested without a guest.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.vm import cache as layers
from tests.vm import host, module
from tests.vm.guest import Guest
from tests.vm.service import listed, serving, show, status, wait

HERE = Path(__file__).parent
UNIT = "/usr/lib/systemd/system/oomrules.service"
SELF_TEST = """
from oomrules.guard.killing import Killer
killer = Killer()
killer.start()
print(killer.self_test() or "fine", killer.remark)
"""
# The unit's sandbox, changed by sed, around the self-test.
TRIAL = r"""
sed -e 's,^ExecStart=.*,ExecStart=/usr/bin/python3 /opt/self.py,' -e 's/^Type=.*/Type=oneshot/' \
  -e '/^ExecStop\|^ExecStartPre\|^Restart\|^Watchdog\|^Conflicts/d' \
  -e 's,^\[Service\],&\nEnvironment=PYTHONPATH=/usr/lib/oomrules,' \
  -e 's,^\[Service\],&\nStandardOutput=truncate:/run/trial.said,' \
  -e "$0" %s > /etc/systemd/system/trial.service
systemctl daemon-reload && systemctl start trial && cat /run/trial.said
"""


def test_in_its_sandbox_it_may_kill_and_says_what_is_missing(fresh_guest: Guest) -> None:
    fresh_guest.put(SELF_TEST, "/opt/self.py")

    def tried(change: str) -> str:
        return fresh_guest.run(["bash", "-c", TRIAL % UNIT, change], check=True, timeout=60).stdout

    assert tried("") == "fine \n"
    assert "needs CAP_KILL" in tried("s/^CapabilityBoundingSet=CAP_KILL$//")
    assert "has to allow pidfd_open" in tried(
        "s/^SystemCallFilter=pidfd_open.*/SystemCallFilter=~pidfd_open/"
    )
    # It can kill without these, though not as well.
    assert tried("/^SystemCallFilter=pidfd_open/d") == "fine \n"
    said = tried("s/^ProtectControlGroups=no/ProtectControlGroups=yes/")
    assert said.startswith("fine ") and "ProtectControlGroups=no" in said


def test_victims_that_are_hard_to_kill(fresh_guest: Guest) -> None:
    for name in ("victim", "odd"):
        to = Path(layers.folder()) / name
        source = HERE / f"{name}.c"
        host.command(["gcc", "-static", "-pthread", "-O1", "-Wall", "-o", to, source])
        fresh_guest.put(to, f"/root/{name}", 0o755)
    fresh_guest.put(HERE / "strike.py", "/root/strike.py")
    run = "PYTHONPATH=/usr/lib/oomrules python3 -B /root/strike.py"
    done = fresh_guest.run(run, timeout=240, check=True)
    print(done.stdout, done.stderr)
    for line in done.stdout.splitlines()[1:]:
        said = json.loads(line)
        assert isinstance(said["found"], dict) and all(said["found"].values()), said


# The bombs come first by the measure; what holds almost as much may not be taken, or comes next.
GUARDING = """
score footprint
kill when host.available < 25%
never kill unit "keeper.service"
kill whole "storm.service"
"""
HOLD = "import time; held = b'x' * (50 << 20); time.sleep(10000)"
# With the right over hardware it would be asked first; systemd itself kills no member of its unit.
BOMB = [
    *("-p", "CapabilityBoundingSet=~CAP_SYS_RAWIO", "-p", "KillMode=process"),
    *("-p", "OOMPolicy=continue", "python3", "-S", "/root/bomb.py"),
]

# The scheduling of each thread of a process, the main one first.
POLICIES = """
import os, sys
for thread in sorted(map(int, os.listdir(f"/proc/{sys.argv[1]}/task"))):
    print(os.sched_getscheduler(thread))
"""


def armed(guest: Guest) -> Guest:
    """Start the service with a guard and the module beneath it, and two that are not to die."""
    module.load(guest)
    guest.put(HERE / "bomb.py", "/root/bomb.py")
    guest.put(GUARDING, "/etc/oomrules.d/60-guard.oom")
    for unit in ("keeper", "next"):
        guest.run(["systemd-run", f"--unit={unit}", "python3", "-S", "-c", HOLD], check=True)
    return serving(guest)


def history(guest: Guest, pid: str) -> list[dict[str, object]]:
    """Return what history knows of the end of a process."""
    told = guest.run(["oomrules", "history", "--format", "json"], check=True, timeout=60)
    return [one for one in json.loads(told.stdout)["kills"] if one["pid"] == int(pid)]


def test_before_the_kernel_must_it_takes_the_right_one_and_nobody_else(fresh_guest: Guest) -> None:
    guest = armed(fresh_guest)
    others = {unit: show(guest, "MainPID", unit) for unit in ("keeper", "next")}
    guest.run("touch /run/go", check=True)
    for way in ("malloc", "mmap", "file", "thread"):
        argv = ["systemd-run", "--wait", f"--unit={way}", *BOMB, way, "0.05"]
        guest.run(argv, timeout=120)
        assert show(guest, "Result", way) == "signal", guest.journal(unit="oomrules")
    assert guest.kills() == []
    assert {unit: show(guest, "MainPID", unit) for unit in others} == others
    guard = status(guest)["guard"]
    assert [one["kills"] for one in guard["guards"]] == [4]
    print(f"\nfrom the sample to the signal: {guard['reaction']}")
    # The guard's thread, and the two that give memory back: those, and never the main loop.
    assert guard["realtime"] is True
    main = int(show(guest, "MainPID"))
    policies = guest.run(["python3", "-c", POLICIES, str(main)], check=True).stdout.split()
    assert policies[0] == str(os.SCHED_OTHER)
    assert policies.count(str(os.SCHED_RR | os.SCHED_RESET_ON_FORK)) == 3

    # A unit that is killed whole: by the kernel through one file, by the guard through another.
    guest.run(["rm", "/run/go"], check=True)
    guest.run(["systemd-run", "--unit=storm", *BOMB, "storm", "0.02"], check=True, timeout=60)
    pid = show(guest, "MainPID", "storm")
    wait(lambda: listed(guest)[:1] == [pid], 60)
    group = "/sys/fs/cgroup/system.slice/storm.service"
    assert guest.get(f"{group}/memory.oom.group") == b"1\n"
    members = guest.get(f"{group}/cgroup.procs").decode().split()
    assert len(members) == 3
    service = show(guest, "MainPID")
    # The service is killed as soon as the victim is gone.
    race = f"touch /run/go; while kill -0 {pid}; do sleep 0.01; done; kill -9 {service}"
    guest.run(race, timeout=120)
    living = guest.run(f"for pid in {' '.join(members)}; do kill -0 $pid && echo $pid; done; true")
    assert living.stdout == ""
    # What was written down before the signal is told after a start, if it was not told before.
    wait(lambda: show(guest, "MainPID") not in ("0", service), 60)
    wait(lambda: history(guest, pid), 120)
    assert len(history(guest, pid)) == 1
    assert {unit: show(guest, "MainPID", unit) for unit in others} == others
