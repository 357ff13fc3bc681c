"""Containers of a real Docker and a real Podman: known by name, killed by name, and said if not.

`make trials` runs this, in an image of its own. The images of the containers come from a local
directory, so that no registry is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm import states
from tests.vm.guest import Guest
from tests.vm.host import NoGuest
from tests.vm.long.test_odd_hosts import OWN, PACKAGES, PODMAN, asked
from tests.vm.machine import Options
from tests.vm.service import status, wait

WITH_DOCKER = Options(memory=1024, packages=(*PACKAGES, "docker.io"))

# Without a network, and so that containers outlive the daemon.
DOCKER = """
set -e
echo '{"bridge": "none", "iptables": false, "storage-driver": "vfs", "live-restore": true}' \
  > /etc/docker/daemon.json
systemctl restart docker
tar -C /tmp/root -c . | docker import - tiny
"""
RUN = {
    "docker": "docker run -d --network=none --security-opt apparmor=unconfined --name {} tiny",
    "podman": "podman run -d --network=none --name {} localhost/tiny",
}
RULES = """
score footprint
kill first container.name "batch*"
never kill container.name "keep*"
"""
UNKNOWN = "e" * 64
# Any user may call a scope of his own as he likes.
POSE = "systemd-run --user --scope --unit=docker-{}.scope sleep 100000"
HANG = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('/run/docker.sock')"

Pids = dict[str, int]


@pytest.fixture(scope="module")
def with_docker() -> Iterator[tuple[Guest, Pids]]:
    """A guest with two containers of each, and the pids of what is in them."""
    try:
        new = states.guest(WITH_DOCKER)
    except NoGuest as why:
        pytest.fail(f"no guest can be had here: {why}", pytrace=False)
    with new as guest:
        guest.run(PODMAN, check=True, timeout=600)
        guest.run(DOCKER, check=True, timeout=600)
        pids = {}
        for runtime, run in RUN.items():
            for kind in ("batch", "keep"):
                name = f"{kind}-{runtime}"
                guest.run(f"{run.format(name)} sleep 100000", check=True, timeout=600)
                inspect = [runtime, "inspect", "-f", "{{.State.Pid}}", name]
                pids[name] = int(guest.run(inspect, check=True, timeout=300).stdout)
        guest.put(RULES, OWN)
        yield guest, pids


def ranked(guest: Guest, *options: str) -> tuple[dict[int, Any], str]:
    """Return the candidates by pid, in order, and the notes."""
    result = guest.run(["oomrules", "rank", "--all", "--format", "json", *options], timeout=600)
    assert result.status == 0 and "Traceback" not in result.stderr, result.stderr
    listed = json.loads(result.stdout)["candidates"]
    return {one["pid"]: one for one in listed if one["rank"] is not None}, result.stderr


def firsts(candidates: dict[int, Any]) -> set[int]:
    return {pid for pid, one in candidates.items() if one["tier"] == "first"}


def test_containers_are_known_by_name_live_and_recorded(with_docker: tuple[Guest, Pids]) -> None:
    guest, pids = with_docker
    for options in ((), ("--snapshot", "/root/recorded")):
        candidates, notes = ranked(guest, *options)
        assert firsts(candidates) == {pids["batch-docker"], pids["batch-podman"]}, notes
        assert not candidates.keys() & {pids["keep-docker"], pids["keep-podman"]}
        guest.run(["oomrules", "snapshot", "-o", "/root/recorded"], check=True, timeout=600)
    lines = map(json.loads, guest.get("/root/recorded").splitlines())
    said = {line["pid"]: line["container"] for line in lines if "container" in line}
    assert {pid: one["name"] for pid, one in said.items()} == {pid: n for n, pid in pids.items()}
    assert said[pids["keep-docker"]]["image"] == "tiny"
    assert said[pids["keep-podman"]]["image"] == "localhost/tiny:latest"
    guest.run("podman rename batch-podman work && docker rename batch-docker work", check=True)
    assert not firsts(ranked(guest)[0])
    guest.run("podman rename work batch-podman && docker rename work batch-docker", check=True)


def test_a_user_s_scope_of_that_name_is_no_container(with_docker: tuple[Guest, Pids]) -> None:
    guest, pids = with_docker
    inspect = ["docker", "inspect", "-f", "{{.Id}}", "keep-docker"]
    identifier = guest.run(inspect, check=True, timeout=60).stdout.strip()
    posing = guest.start(POSE.format(identifier), user="alice")
    try:
        find = ["pgrep", "-u", "alice", "-x", "sleep"]
        theirs = int(wait(lambda: guest.run(find).stdout, 120))
        candidates, notes = ranked(guest)
        assert theirs in candidates and pids["keep-docker"] not in candidates, notes
    finally:
        guest.run(["pkill", "-u", "alice", "-x", "sleep"])
        posing.wait(120)


def test_a_runtime_that_is_silent_or_does_not_know_is_said(
    with_docker: tuple[Guest, Pids],
) -> None:
    guest, pids = with_docker
    unknown = ["systemd-run", "--scope", f"--unit=docker-{UNKNOWN}.scope", "sleep", "7777"]
    strange = guest.start(unknown)
    group = f"/sys/fs/cgroup/system.slice/docker-{UNKNOWN}.scope/cgroup.procs"
    pid = int(wait(lambda: guest.run(["cat", group]).stdout, 120))
    candidates, notes = ranked(guest)
    assert pid not in candidates
    assert f"Docker does not know 1 container ({UNKNOWN[:12]})" in notes
    guest.run(["kill", str(pid)], check=True)
    strange.wait(120)

    guest.run("systemctl stop docker.socket docker", check=True, timeout=300)
    try:
        _silent(guest, pids)
    finally:
        guest.run("systemctl stop hang; rm -f /run/docker.sock", timeout=60)
        guest.run("systemctl start docker.socket docker", check=True, timeout=600)


def _silent(guest: Guest, pids: Pids) -> None:
    candidates, notes = ranked(guest)
    # In doubt they are protected; Podman's are known as before.
    assert firsts(candidates) == {pids["batch-podman"]}
    assert not candidates.keys() & {pids["batch-docker"], pids["keep-docker"]}
    assert "/run/docker.sock: " in notes and "systemctl status docker" in notes

    guest.run(["rm", "-f", "/run/docker.sock"])
    code = f"{HANG}; s.listen(); time.sleep(10**6)"
    guest.run(["systemd-run", "--unit=hang", "python3", "-c", code], check=True, timeout=60)
    wait(lambda: guest.run(["test", "-S", "/run/docker.sock"]).status == 0, 60)
    candidates, notes = ranked(guest)
    assert firsts(candidates) == {pids["batch-podman"]}
    assert "/run/docker.sock: it did not answer in time" in notes


def test_the_service_kills_by_name_and_learns_of_new_containers(
    with_docker: tuple[Guest, Pids],
) -> None:
    guest, pids = with_docker
    guest.run(["systemctl", "start", "oomrules"], check=True, timeout=600)

    def adjusted(pid: int) -> int:
        return int(guest.get(f"/proc/{pid}/oom_score_adj"))

    wait(lambda: adjusted(pids["batch-docker"]) > 0 and adjusted(pids["keep-docker"]) < 0, 300)
    # The sandbox of the unit is in the way of no question.
    assert not any("Docker" in one or "Podman" in one for one in status(guest)["problems"])
    run = RUN["docker"].format("batch-new")
    guest.run(f"{run} sleep 100000", check=True, timeout=300)
    inspect = ["docker", "inspect", "-f", "{{.State.Pid}}", "batch-new"]
    new = int(guest.run(inspect, check=True, timeout=60).stdout)
    wait(lambda: adjusted(new) > 0, 300)

    before = len(guest.kills())
    guest.start(["systemd-run", "--wait", "--unit=hog", "tail", "/dev/zero"])
    wait(lambda: len(guest.kills()) > before, 600)
    batch = {new, pids["batch-docker"], pids["batch-podman"]}
    assert guest.kills()[before].pid in batch
    kill = wait(lambda: asked(guest, "history")["kills"], 600)[0]
    assert kill["comm"] == "sleep" and kill["rank"] in (1, 2, 3)
    assert all(
        guest.run(["test", "-d", f"/proc/{pids[name]}"]).status == 0
        for name in pids
        if name.startswith("keep")
    )
