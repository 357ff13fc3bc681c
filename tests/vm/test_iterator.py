"""The pinned BPF iterator in a real kernel: it says what /proc says, or is not used."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.processes.snapshot import PF_EXITING
from tests.vm import module
from tests.vm.guest import Guest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
PINNED = "/sys/fs/bpf/oomrules/tasks"
INSTALLED = "/usr/lib/oomrules/bpf/oom_iter.bpf.o"
# The service's own rights do not matter: it may do nothing but read.
SERVICE = """[Service]
Type=oneshot
CapabilityBoundingSet=
ProtectKernelTunables=yes
{lines}
ExecStart=/usr/bin/cat {pinned}
StandardOutput=file:/root/rows
"""


@pytest.fixture(scope="module")
def bpf_object() -> bytes:
    return built_iterator()


def built_iterator() -> bytes:
    """The object file, built anew if need be."""
    built = subprocess.run(
        ["make", "--no-print-directory", "bpf"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert built.returncode == 0, f"make bpf failed: {built.stderr or built.stdout}"
    return (CHECKOUT / "build/oom_iter.bpf.o").read_bytes()


@pytest.fixture
def pinned(fresh_guest: Guest, bpf_object: bytes) -> Iterator[Guest]:
    yield pin(fresh_guest, bpf_object)


def pin(guest: Guest, bpf_object: bytes) -> Guest:
    """Pin the iterator in a guest, by the very lines that the docs give."""
    lines = re.findall(r"^ {4}(ExecStartPre=.*)$", (CHECKOUT / "docs/bpf.md").read_text(), re.M)
    assert len(lines) == 3
    guest.put(bpf_object, INSTALLED)
    unit = SERVICE.format(lines="\n".join(lines), pinned=PINNED)
    guest.put(unit, "/run/systemd/system/pin.service")
    for _ in range(2):
        # A second start finds the first one's.
        guest.run(["systemctl", "start", "pin"], check=True)
        journal = guest.journal(unit="pin.service")
        assert guest.run(["test", "-s", "/root/rows"]).status == 0, journal
    return guest


def _crowd(guest: Guest) -> dict[str, int]:
    guest.put(HERE / "crowd.py", "/root/crowd.py")
    guest.run(
        ["systemd-run", "--unit=crowd", "/usr/bin/python3", "/root/crowd.py", "/root/crowd"],
        check=True,
    )
    guest.run("until [ -s /root/crowd ]; do sleep 0.5; done", timeout=180)
    pids: dict[str, int] = json.loads(guest.get("/root/crowd"))
    return pids


def compared(guest: Guest, pids: dict[str, int]) -> dict[str, Any]:
    """What both sources say, and in what they differ."""
    guest.put(HERE / "agree.py", "/root/agree.py")
    argv = ["python3", "/root/agree.py", "/usr/lib/oomrules", PINNED, *map(str, pids.values())]
    found: dict[str, Any] = json.loads(guest.run(argv, check=True, timeout=300).stdout)
    assert found["problems"] == []
    return found


def test_both_sources_say_the_same_of_every_kind_of_process(pinned: Guest) -> None:
    pids = _crowd(pinned)
    pinned.put(module.built() / "victim", "/root/victim", mode=0o755)
    hog, (parent, child) = module.start(
        pinned, "hog plain leaderless hold=80", "vforked plain vfork hold=8"
    )
    pids |= {"hog": hog[0], "parent": parent, "child": child}
    # Some of it swapped out.
    pinned.run(
        "set -e; dd if=/dev/zero of=/swap bs=1M count=96 status=none; chmod 600 /swap\n"
        "mkswap --quiet /swap; swapon /swap\n"
        "echo 16M > /sys/fs/cgroup/system.slice/crowd.service/memory.reclaim || true",
        check=True,
        timeout=120,
    )
    found = compared(pinned, pids)
    assert found["differences"] == []
    for name, (by_iterator, by_proc) in found["rankings"].items():
        assert by_iterator == by_proc, name
        assert by_proc, name
    assert {1, *pids.values()} <= set(found["everybody"])
    # The crowd is what it was meant to be.
    seen = {name: found["processes"][str(pid)] for name, pid in pids.items()}
    assert seen["big"]["swap"] > 0 and seen["big"]["locked"] > 0
    assert seen["threads"]["threads"] == 4
    assert seen["threads"]["utime"] + seen["threads"]["stime"] > 0
    assert seen["newline"]["comm"] == "x y) R\n1 2"
    assert seen["zombie"]["state"] == "Z"
    for name in ("headless", "headless_twice", "hog"):
        assert seen[name]["state"] == "S" and not seen[name]["flags"] & PF_EXITING, name
        assert seen[name]["threads"] >= 2
    assert seen["hog"]["total_vm"] > 80 << 8 and seen["headless_twice"]["total_vm"] > 40 << 8
    assert seen["hog"]["uid"] == 1000 and seen["hog"]["comm"] == "hog"
    assert (seen["renamed"]["uid"], seen["renamed"]["comm"]) == (0, seen["plain"]["comm"])
    # The child has its parent's memory on loan.
    assert seen["parent"]["total_vm"] == seen["child"]["total_vm"]
    # Both sources find the biggest, which has no first thread any more.
    assert found["rankings"]["memory"][0][0][0] == pids["hog"]
    assert seen["on_a_terminal"]["tty_nr"] > 0
    assert (seen["other_user"]["uid"], seen["other_user"]["euid"]) == (1000, 1001)
    assert seen["plain"]["cgroup"] == "/system.slice/crowd.service"
    assert seen["adjusted"]["oom_score_adj"] == 321


def _ranked(guest: Guest, *options: str, before: str = "") -> tuple[list[int], str]:
    """The pids of a ranking that takes no time into account, and what it noted."""
    guest.put("score total_vm\nspare uid 0\n", "/root/rules.oom")
    command = f"{before} oomrules rank --rules /root/rules.oom --format pids {' '.join(options)}"
    # Its own parents come and go.
    result = guest.run(command, timeout=120)
    assert result.status == 0, result.stderr
    return [int(pid) for pid in result.stdout.split()], result.stderr


def test_it_is_chosen_by_itself_and_damage_is_noted(pinned: Guest) -> None:
    chosen, notes = _ranked(pinned)
    assert chosen and PINNED not in notes
    by_proc, _ = _ranked(pinned, "--source", "proc")
    shared = set(chosen) & set(by_proc)
    assert len(shared) > 5
    assert [pid for pid in chosen if pid in shared] == [pid for pid in by_proc if pid in shared]
    pinned.run("head -c 1000 /root/rows > /root/damaged", check=True)
    by_damaged, notes = _ranked(pinned, "--source", "/root/damaged")
    assert "/root/damaged: " in notes and "/proc is read instead" in notes
    assert [pid for pid in by_damaged if pid in shared] == [pid for pid in by_proc if pid in shared]


def test_in_a_pid_namespace_its_numbers_count(pinned: Guest) -> None:
    inside = "unshare --pid --fork --mount-proc --kill-child bash -c 'sleep 1000 & sleep 1001 & "
    rank = "oomrules rank --format pids --source"
    pids, notes = pinned.run(
        f"{inside} {rank} {PINNED}; echo; {rank} proc; true'", check=True, timeout=120
    ).stdout.split("\n\n")
    assert sorted(pids.split()) == sorted(notes.split())
    # bash is 1 and no candidate; the sleepers are 2 and 3.
    assert {"2", "3"} <= set(pids.split())
