"""The guest is what the tests take it for: a real systemd, a real kernel, a faithful agent."""

from __future__ import annotations

import json
import time

import pytest

from tests.vm.guest import CommandTimeout, Guest
from tests.vm.machine import GuestError

# Keeps a line that never ends.
SMALL_HOG = ["tail", "/dev/zero"]
# Slow to start, but quicker to fill a whole guest. Piece by piece: what can never be had, the
# kernel refuses at once.
LARGE_HOG = ["python3", "-c", "x = []\nwhile True: x.append(b'x' * (4 << 20))"]


# The machine


def test_systemd_is_pid_1_and_all_is_well(guest: Guest) -> None:
    assert guest.get("/proc/1/comm") == b"systemd\n"
    state = guest.run(["systemctl", "is-system-running"])
    assert state.stdout == "running\n", guest.run(["systemctl", "--failed"]).stdout


def test_cgroups_are_v2_with_the_memory_controller(guest: Guest) -> None:
    assert guest.run(["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    assert b"memory" in guest.get("/sys/fs/cgroup/cgroup.controllers").split()
    assert int(guest.get("/sys/fs/cgroup/system.slice/memory.current")) > 0


def test_pressure_is_measured(guest: Guest) -> None:
    assert guest.get("/proc/pressure/memory").startswith(b"some avg10=")
    assert guest.get("/sys/fs/cgroup/system.slice/memory.pressure").startswith(b"some avg10=")


def test_the_system_bus_answers(guest: Guest) -> None:
    argv = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    answer = guest.run([*argv, "org.freedesktop.systemd1.Manager", "Version"], check=True)
    assert answer.stdout.startswith('s "')


def test_a_login_is_a_session_of_logind(guest: Guest) -> None:
    script = "echo $USER $PWD $A; cat /proc/self/cgroup; loginctl --no-legend"
    login = guest.run(script, user="alice", env={"A": "b c"}, cwd="/usr", check=True)
    where, cgroup, *sessions = login.stdout.splitlines()
    assert where == "alice /usr b c"
    assert cgroup.startswith("0::/user.slice/user-1001.slice/session-")
    assert any("alice" in line for line in sessions)


def test_a_lingering_user_has_a_manager_with_units(guest: Guest) -> None:
    login = ["runuser", "--user", "alice", "--", "env", "XDG_RUNTIME_DIR=/run/user/1001"]
    units = guest.run([*login, "systemctl", "--user", "--no-legend", "list-units"], check=True)
    assert "app.slice" in units.stdout
    manager = "/sys/fs/cgroup/user.slice/user-1001.slice/user@1001.service"
    assert guest.get(f"{manager}/init.scope/cgroup.procs") != b""


def test_the_guests_clock_is_this_machines(guest: Guest) -> None:
    assert float(guest.run(["date", "+%s.%N"]).stdout) == pytest.approx(time.time(), abs=5)


# Running out of memory


def test_a_unit_over_its_limit_dies_of_a_real_oom(guest: Guest) -> None:
    before = len(guest.kills())
    limits = ["--property=MemoryMax=16M", "--property=MemorySwapMax=0"]
    result = guest.run(["systemd-run", "--wait", "--unit=hog", *limits, *SMALL_HOG])
    assert "Finished with result: oom-kill" in result.stderr
    (kill,) = guest.kills()[before:]
    assert (kill.comm, kill.memcg) == ("tail", True)
    journal = guest.journal(unit="hog", since=result)
    assert "A process of this unit has been killed by the OOM killer." in journal
    guest.run(["systemctl", "reset-failed"], check=True)


def test_the_agent_outlives_what_it_starts_when_the_guest_is_out_of_memory(
    fresh_guest: Guest,
) -> None:
    result = fresh_guest.run(LARGE_HOG, timeout=120)
    assert result.status == -9
    assert result.stdout == ""
    (kill,) = fresh_guest.kills()
    assert (kill.comm, kill.memcg) == ("python3", False)


# The agent


def test_status_and_outputs_come_back_apart(guest: Guest) -> None:
    result = guest.run("echo out; echo err >&2; exit 7")
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_a_signal_is_a_negative_status(guest: Guest) -> None:
    assert guest.run("kill -TERM $$").status == -15


def test_output_that_is_not_text_comes_back_exactly(guest: Guest) -> None:
    data = bytes(range(256)) * 3
    assert guest.run(["cat"], input=data).stdout_bytes == data


def test_large_output_comes_back_whole(guest: Guest) -> None:
    result = guest.run(["head", "-c", "5000000", "/dev/zero"])
    assert result.stdout_bytes == bytes(5_000_000)


def test_a_process_left_behind_does_not_hold_up_the_answer(guest: Guest) -> None:
    result = guest.run("sleep 1000 & echo $!")
    assert result.ended - result.begun < 30
    guest.run(["kill", result.stdout.strip()], check=True)


def test_commands_have_words_or_are_scripts(guest: Guest) -> None:
    assert guest.run(["echo", "$HOME  *"]).stdout == "$HOME  *\n"
    assert guest.run("for i in 1 2; do\n  echo $i\ndone").stdout == "1\n2\n"


def test_commands_have_an_environment_and_a_place(guest: Guest) -> None:
    result = guest.run("echo $PWD $A $HOME", env={"A": "b c"}, cwd="/usr")
    assert result.stdout == "/usr b c /root\n"


def test_commands_do_not_inherit_the_agents_protection(guest: Guest) -> None:
    assert guest.run(["cat", "/proc/self/oom_score_adj"]).stdout == "0\n"


def test_a_command_that_takes_too_long_is_ended(guest: Guest) -> None:
    with pytest.raises(CommandTimeout) as caught:
        guest.run("echo begun; sleep 1234 & sleep 1234", timeout=1)
    assert caught.value.result.stdout == "begun\n"
    assert guest.run(["pgrep", "-f", "sleep 1234"]).status == 1


def test_a_command_in_the_background_is_collected_later(guest: Guest) -> None:
    script = "read line; echo got $line; touch /run/got; sleep 1000"
    background = guest.start(script, input="it\n")
    guest.run("until test -e /run/got; do sleep 0.1; done", check=True)
    background.kill("TERM")
    result = background.wait()
    assert (result.status, result.stdout) == (-15, "got it\n")


def test_a_command_that_is_not_there_is_an_error(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"FileNotFoundError.*no-such-command"):
        guest.run(["no-such-command"])


def test_check_raises_with_what_the_command_said(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"(?s)failed with 3.*complaint"):
        guest.run("echo complaint >&2; exit 3", check=True)


def test_files_go_in_and_come_out(guest: Guest) -> None:
    data = bytes(range(256)) * 1000
    guest.put(data, "/tmp/made/for/it", mode=0o750)
    assert guest.get("/tmp/made/for/it") == data
    assert guest.run(["stat", "-c", "%a", "/tmp/made/for/it"]).stdout == "750\n"
    with pytest.raises(GuestError, match=r"FileNotFoundError"):
        guest.get("/nowhere")


def test_the_journal_comes_back(guest: Guest) -> None:
    cursor = guest.cursor()
    guest.run(["systemd-run", "--wait", "--unit=said", "echo", "said by a unit"], check=True)
    entries = guest.journal_entries(unit="said", since=cursor)
    assert "said by a unit" in [entry["MESSAGE"] for entry in entries]


def test_the_console_has_what_the_kernel_says(guest: Guest) -> None:
    guest.run("echo said by the kernel > /dev/kmsg", check=True)
    guest.wait_console(r"said by the kernel")


def test_a_panic_is_told_and_the_guest_comes_back(fresh_guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"(?s)kernel panicked.*sysrq triggered crash"):
        fresh_guest.run("echo c > /proc/sysrq-trigger")
    assert not fresh_guest.machine.running
    fresh_guest.fresh()
    assert fresh_guest.run(["true"]).status == 0


def test_a_killed_agent_is_told_and_comes_back(fresh_guest: Guest) -> None:
    with pytest.raises(GuestError, match="the guest's agent was killed"):
        fresh_guest.run("kill -KILL $PPID; sleep 1000")
    assert fresh_guest.run(["true"]).status == 0


def test_a_fresh_guest_knows_nothing_of_the_other(guest: Guest, fresh_guest: Guest) -> None:
    fresh_guest.put("here", "/root/mark")
    fresh_guest.fresh()
    assert fresh_guest.run(["test", "-e", "/root/mark"]).status == 1


# What is tested


def test_oomrules_is_there(guest: Guest) -> None:
    assert guest.run(["oomrules", "--version"], check=True).stdout.startswith("oomrules ")


def test_oomrules_ranks_the_guests_processes(guest: Guest) -> None:
    guest.run(["systemd-run", "--unit=ranked", "sleep", "1000"], check=True)
    result = guest.run(["oomrules", "rank", "--format", "json"], check=True)
    ranking = json.loads(result.stdout)
    assert ranking["schema"] == "oomrules.ranking/1"
    assert "ranked.service" in {entry["unit"] for entry in ranking["candidates"]}
    guest.run(["systemctl", "stop", "ranked"], check=True)
