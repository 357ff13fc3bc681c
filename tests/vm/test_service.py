"""The service under a real systemd: it follows, it stays, and it says what the kernel did."""

from __future__ import annotations

import json

from oomrules.kills.entry import FACTS_ID
from oomrules.kills.facts import decode
from tests.vm.guest import Guest
from tests.vm.service import listed, show, status, wait


def test_the_list_follows_units_and_the_hook_leaves_the_work_to_the_service(served: Guest) -> None:
    assert show(served, "ActiveState") == "active"
    # Nobody but the service looks: the slice's directory tells it.
    served.run(["systemctl", "start", "served"], check=True)
    pid = show(served, "MainPID", "served")
    wait(lambda: listed(served)[:1] == [pid])
    served.run(["systemctl", "stop", "served"], check=True)
    wait(lambda: pid not in listed(served))
    before = status(served)
    # A list that is made for another reason at that moment is true as well.
    assert before["refreshes"]["units"] >= 1
    assert before["pressure"]["source"] == "trigger"
    assert before["memory"]["lock"] is None and before["memory"]["locked"] > 1 << 20
    assert show(served, "MainPID") not in listed(served)

    hook = served.run(["oomrules", "hook", "served.service"], check=True, timeout=60)
    assert "the service wrote" in hook.stderr
    assert status(served)["refreshes"]["request"] == before["refreshes"]["request"] + 1

    served.run(["systemctl", "stop", "oomrules"], check=True, timeout=60)
    assert show(served, "Result") == "success"
    left = served.run(["ls", "/run/oomrules"], check=True).stdout.split()
    # No adjustments.json: everybody has the own oom_score_adj again.
    assert left == ["list.json", "lock", "program.json", "service.lock"]


def test_broken_rules_leave_the_last_good_ones_in_force_until_they_are_mended(
    served: Guest,
) -> None:
    served.run(["systemctl", "start", "served"], check=True)
    pid = show(served, "MainPID", "served")
    since = served.cursor()
    served.put("nevr kill uid 0\n", "/etc/oomrules.d/60-broken.oom")
    served.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)
    # systemd before 253 is done with a reload when the signal is sent.
    wait(lambda: status(served)["rules"]["state"] == "broken", 90)
    said = status(served)
    assert "60-broken.oom:1:1: error[OOM101]" in said["rules"]["diagnostics"][0]
    assert wait(lambda: listed(served)[:1] == [pid])
    assert "the last good ones stay in force" in show(served, "StatusText")
    wait(lambda: "60-broken.oom:1:1: error[OOM101]" in served.journal(since=since))
    # Nobody asks for it this time.
    served.run(["rm", "/etc/oomrules.d/60-broken.oom"], check=True)
    wait(lambda: status(served)["rules"]["state"] == "good", 90)
    assert "errors" not in show(served, "StatusText")


def test_it_outlives_a_pause_and_what_kills_it_is_made_good(served: Guest) -> None:
    pid = show(served, "MainPID")
    served.run(f"kill -STOP {pid}; sleep 12; kill -CONT {pid}", check=True, timeout=60)
    served.run(["systemctl", "start", "served"], check=True)
    wait(lambda: listed(served)[:1] == [show(served, "MainPID", "served")])
    assert (show(served, "MainPID"), show(served, "NRestarts")) == (pid, "0")

    served.run(["kill", "-KILL", pid], check=True)
    assert listed(served)  # the list stays where it was
    wait(lambda: show(served, "NRestarts") == "1" and show(served, "ActiveState") == "active", 120)
    assert show(served, "MainPID") != pid
    assert status(served)["list"]["head"][0]["unit"] == "served.service"


def test_a_global_oom_is_seen_and_the_age_of_the_list_with_it(served: Guest) -> None:
    served.put('kill first unit "hog.service"\n', "/etc/oomrules.d/50-mine.oom")
    served.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)
    service = show(served, "MainPID")
    served.run(["systemd-run", "--unit=hog", "tail", "/dev/zero"], check=True, timeout=60)
    served.wait_console("Out of memory: Killed process", 120)
    said = wait(lambda: (s := status(served))["last_kill"] and s, 60)
    killed, kill = served.kills()[-1], said["last_kill"]
    assert (kill["pid"], kill["comm"], kill["unit"]) == (killed.pid, "tail", "hog.service")
    assert kill["constraint"] == "CONSTRAINT_NONE"
    # The list had it, first, and was made while memory became short.
    assert kill["rank"] == 1
    print(f"\nthe list was {kill['list_age']} s old when the kernel killed")
    assert kill["list_age"] < 15
    assert said["pressure"]["events"] > 0
    assert (show(served, "MainPID"), show(served, "NRestarts")) == (service, "0")
    history = served.run(["oomrules", "history", "--format", "json"], check=True, timeout=60)
    assert [one["pid"] for one in json.loads(history.stdout)["kills"]] == [killed.pid]
    # It was by far the largest, so the kernel alone would have taken it too. That is not said if
    # another process began between the last list and the kill.
    (alone,) = (one["kernel_alone"] for one in json.loads(history.stdout)["kills"])
    assert alone is None or alone["pid"] == killed.pid
    command = ["journalctl", "--all", "--output=cat", "--output-fields=OOMRULES_FACTS"]
    kept = served.run([*command, f"MESSAGE_ID={FACTS_ID}"], check=True, timeout=60)
    facts = decode(kept.stdout.strip())
    assert facts is not None and facts.processes[killed.pid]["cgroup"].endswith("/hog.service")
    print(f"{len(facts.processes)} processes were kept in {len(kept.stdout)} bytes")


def test_in_its_sandbox_it_sees_what_it_needs_and_nobody_stops_it(served: Guest) -> None:
    user = ["systemd-run", "--user", "--unit=mine", "--description=of alice"]
    served.run([*user, "sleep", "10000"], user="alice", check=True, timeout=60)
    # What another user's process runs, and what her own manager says of its unit.
    rule = 'kill first exe "/usr/bin/sleep" when unit.description == "of alice"\n'
    served.put(rule, "/etc/oomrules.d/50-mine.oom")
    since = served.cursor()
    served.run(["systemctl", "reload", "oomrules"], check=True, timeout=120)
    find = "cat /sys/fs/cgroup/user.slice/user-*.slice/user@*.service/app.slice/mine.service/"
    (pid,) = served.run(f"{find}cgroup.procs", check=True).stdout.split()
    wait(lambda: listed(served)[:1] == [pid], 180)
    said = status(served)
    assert (said["problems"], said["complaints"], said["list"]["problem"]) == ([], [], None)
    assert "EPERM" not in served.journal(unit="oomrules", since=since)

    # What is below /run is for everybody to try.
    greedy = "cd /run/oomrules; flock -x . true; cat list list.json program.json; ls"
    tried = served.run(greedy, user="alice", timeout=60)
    assert tried.stderr.count("Permission denied") == 5, tried.stderr
    assert tried.stdout == ""
    served.run("chmod 755 /run/oomrules", check=True)
    holder = served.start(["flock", "-x", "/run/oomrules", "sleep", "1000"], user="alice")
    try:
        wait(lambda: served.run(["flock", "-n", "/run/oomrules", "true"]).status == 1)
        served.run(["systemctl", "restart", "oomrules"], check=True, timeout=180)
        assert status(served)["list"]["head"][0]["pid"] == int(pid)
    finally:
        holder.kill()
        holder.wait()
    assert served.run(["stat", "--format=%a", "/run/oomrules"]).stdout == "711\n"


def test_out_of_memory_for_itself_it_starts_anew_and_all_get_their_values_back(
    served: Guest,
) -> None:
    pid = show(served, "MainPID")
    # It remembers a command line of 4 KiB for each process then, more than it has free memory for.
    served.put('spare cmdline "*-of-mine"\n', "/etc/oomrules.d/60-mine.oom")
    wait(lambda: status(served)["refreshes"]["rules"], 120)
    assert wait(lambda: status(served)["list"], 120)["to"] == "oom_score_adj"
    adjusted = json.loads(served.get("/run/oomrules/adjustments.json"))
    assert adjusted["processes"]
    since = served.cursor()
    # Less than it has: the next piece of memory is refused.
    served.run(["prlimit", f"--pid={pid}", "--data=1048576:"], check=True)
    many = "for i in $(seq 400); do (exec -a $(printf %04000d $i) sleep 1000) & done; wait"
    served.run(["systemd-run", "--unit=many", "bash", "-c", many], check=True)
    wait(lambda: "values restored" in served.journal(unit="oomrules", since=since), 120)
    # Not by its unit: journald may look for that when the process is gone.
    assert "out of memory for a mistake of ours" in served.journal(since=since)
    served.run(["systemctl", "stop", "many"], check=True, timeout=120)
    wait(lambda: show(served, "NRestarts") == "1" and show(served, "ActiveState") == "active", 120)
    assert show(served, "MainPID") != pid


def test_the_unit_verifies_and_states_its_exposure(guest: Guest) -> None:
    unit = "/usr/lib/systemd/system/oomrules.service"
    verified = guest.run(["systemd-analyze", "verify", "--man=no", unit], timeout=120)
    assert (verified.status, verified.stderr.strip()) == (0, "")
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=28", unit]
    scored = guest.run(argv, timeout=120)
    assert scored.status == 0, scored.stdout[-600:]
