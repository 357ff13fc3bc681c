"""The service, running: what it does when something happens, and when something fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_families

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program import program
from tests.children import CHECKOUT, Child
from tests.service.daemon import RULES, Service, wait

Serve = Callable[..., Service]


def descriptors(pid: int) -> int:
    """How many files it has open, but for those of processes, which come and go."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return sum(not link.startswith("/proc/") or "pressure" in link for link in links)


def ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def compiled(text: str) -> program.Program:
    return compiler.compile_texts([RuleText("mine.oom", text)])


# --- the wall --------------------------------------------------------------------------


def test_the_resident_half_imports_nothing_of_the_other_and_no_typing() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import oomrules.service.main; "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", code, CHECKOUT],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stdout.split())
    assert "oomrules.service.loop" in modules and "typing" not in modules
    foreign = {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(("oomrules", "__main__"))} == set()
    halves = {name.split(".")[1] for name in foreign if name.startswith("oomrules.")}
    ground = {
        "attributes",
        "capabilities",
        "clock",
        "errors",
        "fields",
        "files",
        "lean",
        "plain",
        "state_directory",
        "targets",
    }
    stages = {"program", "accounts", "processes", "ranking", "state", "sinks", "kills", "guard"}
    stages |= {"service"}
    assert halves == ground | stages


def test_the_process_is_a_bare_interpreter(serve: Serve) -> None:
    service = serve()
    with open(f"/proc/{service.pid}/cmdline") as file:
        words = file.read().split("\0")
    assert words[1:4] == ["-I", "-S", "-E"]
    with open(f"/proc/{service.pid}/comm") as file:
        assert file.read() == "oomrules\n"
    with open(f"/proc/{service.pid}/maps") as file:
        assert "site-packages" not in file.read()
    assert service.ask()["memory"]["rss"] < 24 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lock as much memory as he likes")
def test_its_memory_is_locked(serve: Serve) -> None:
    sizes = serve().ask()["memory"]
    assert sizes["lock"] is None and sizes["locked"] > 1 << 20


# --- those who listen ------------------------------------------------------------------


def test_a_journal_that_takes_nothing_is_not_waited_for(serve: Serve) -> None:
    service = serve()
    for number in range(40):
        # Each has something to say, and nobody reads it.
        service.file.write_text(f"{RULES}prefer uid {number}\n")
        service.reload()
    said: list[str] = []

    def all_told() -> bool:
        said.extend(service.entries())
        return sum("are in force" in one for one in said) == 41

    wait(all_told)
    assert "are lost" not in "".join(said)


# --- the list --------------------------------------------------------------------------


def test_the_list_is_there_when_it_is_ready_and_gone_when_it_has_stopped(
    serve: Serve, child: Child
) -> None:
    service = serve()
    assert child.pid in service.listed()
    assert service.pid not in service.listed()
    assert service.end() == 0
    assert "STOPPING=1" in service.notifications()
    left = ["list.json", "program.json", "service.lock"]
    assert sorted(os.listdir(service.state)) == left


def test_a_refresh_that_is_asked_for_is_there_when_it_is_answered(
    serve: Serve, spawn: Callable[..., Child]
) -> None:
    service = serve()
    for _ in range(3):
        new = spawn()
        said = service.ask("refresh")
        assert new.pid in service.listed()
        assert said["list"]["age"] < 5
        assert said["list"]["candidates"] == len(service.listed())
    assert said["refreshes"]["request"] == 3


def test_many_who_ask_at_once_are_all_answered(serve: Serve) -> None:
    service = serve()
    clients = []
    for _ in range(100):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(120)
        one.connect(str(service.state / "status.sock"))
        one.send(b"refresh\n")
        clients.append(one)
    for one in clients:
        data = b""
        while piece := one.recv(65536):
            data += piece
        assert data.startswith(b'{"schema": "oomrules.status/1"')
        one.close()
    # Those who wait at the same time share a list.
    assert service.ask()["refreshes"]["request"] <= 20


def test_whoever_connects_and_says_nothing_or_nonsense_is_no_trouble(serve: Serve) -> None:
    service = serve()
    before = descriptors(service.pid)
    for said in (b"", b"\n", b"x" * 500, b"\xff\xfe\n", b"status"):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(service.state / "status.sock"))
            one.send(said)
    quiet = []
    for _ in range(20):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(service.state / "status.sock"))
        quiet.append(one)
    assert service.ask()["schema"] == "oomrules.status/1"
    for one in quiet:
        one.close()
    wait(lambda: descriptors(service.pid) <= before)


def test_the_heartbeat_refreshes_and_a_quiet_host_costs_nothing(serve: Serve) -> None:
    service = serve("--heartbeat=1")
    wait(lambda: (s := service.ask())["refreshes"]["heartbeat"] + s["quiet_heartbeats"] >= 3)
    used, begun = ticks(service.pid), time.monotonic()
    time.sleep(3)
    assert ticks(service.pid) - used <= 30 * (time.monotonic() - begun)


# --- the rules -------------------------------------------------------------------------


def test_a_rule_file_that_changes_is_in_force_by_itself(serve: Serve, child: Child) -> None:
    service = serve()
    assert child.pid in service.listed()
    service.file.write_text(RULES + f"never kill pid {child.pid}\n")
    wait(lambda: child.pid not in service.listed())
    assert service.ask()["rules"]["count"] == 2
    (service.rules / "20-more.oom").write_text("only kill pid 1\n")
    wait(lambda: not service.listed())
    (service.rules / "20-more.oom").unlink()
    service.file.write_text(RULES)
    wait(lambda: child.pid in service.listed())


def test_broken_rules_leave_the_last_good_ones_and_are_said_once(
    serve: Serve, child: Child
) -> None:
    service = serve(rules=RULES + f"never kill pid {child.pid}\n")
    service.entries()
    service.file.write_text("nevr kill uid 0\n")
    service.reload()
    said = service.ask()
    assert said["rules"]["state"] == "broken"
    assert "10-mine.oom:1:1: error[OOM101]" in said["rules"]["diagnostics"][0]
    assert child.pid not in service.listed() and service.listed()
    wait(lambda: any("last good" in told for told in service.notifications()))
    service.reload()
    entries = [entry for entry in service.entries() if "have errors" in entry]
    assert len(entries) == 1 and "PRIORITY=3" in entries[0] and "MESSAGE_ID=" in entries[0]
    service.file.write_text(RULES)
    wait(lambda: service.ask()["rules"]["state"] == "good")
    assert child.pid in service.listed()


def test_a_service_without_any_good_rules_waits_for_them(serve: Serve, child: Child) -> None:
    service = serve(rules="nevr\n")
    said = service.ask()
    assert (said["rules"]["state"], said["list"]) == ("missing", None)
    assert service.ask("refresh")["list"] is None
    service.file.write_text(RULES)
    wait(lambda: service.ask()["rules"]["state"] == "good")
    assert child.pid in service.listed()


def test_a_reload_is_told_to_systemd_from_its_begin_to_its_end(serve: Serve) -> None:
    service = serve()
    service.reload()
    words = [told.split("\n")[0] for told in service.notifications()]
    words = [word for word in words if word in ("READY=1", "RELOADING=1")]
    assert words == ["RELOADING=1", "READY=1"]


def test_a_reload_whose_child_is_lost_says_that_the_rules_are_not_in_force(
    serve: Serve, child: Child
) -> None:
    service = serve()
    service.notifications()
    service.told.clear()
    service.file.write_text(RULES + f"never kill pid {child.pid}\n")
    service.send(signal.SIGHUP)
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children")
    os.kill(int(wait(children.read_text).split()[0]), signal.SIGKILL)
    service.wait_for("READY=1")
    said = service.ask()
    assert said["rules"]["state"] == "unknown" and said["rules"]["count"] == 1
    assert "killed by signal 9" in said["rules"]["diagnostics"][0]
    assert child.pid in service.listed()
    assert any("STATUS=the rules on disk could not be compiled" in t for t in service.told)
    # It is tried again by itself.
    wait(lambda: service.ask()["rules"]["state"] == "good", 90)
    assert child.pid not in service.listed()


def test_a_reload_leaves_nothing_behind(serve: Serve) -> None:
    service = serve()
    before = descriptors(service.pid)
    for number in range(2, 5):
        service.file.write_text(RULES + f"prefer pid {number} by {number}\n")
        service.reload()
        assert service.ask()["rules"]["count"] == 2
    assert descriptors(service.pid) == before


KEEPER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from oomrules.program import program
from oomrules.processes.facts import Facts
from oomrules.state import State
from oomrules.service.list import CurrentList
from oomrules.service.compile_child import Compiled

programs = [program.from_data(one) for one in json.load(open(sys.argv[2]))]
keeper = CurrentList(State(sys.argv[3]))

def size():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

sizes = []
for number in range(160):
    made = programs[number % len(programs)]
    keeper.adopt(Compiled(made, [], [["x", number]], [], False, Facts(), {}, {}))
    keeper.refresh()
    if number % 40 == 39:
        sizes.append(size())
print(json.dumps([sizes, len(os.listdir("/proc/self/fd")), keeper.source.descriptors.kept]))
"""


def test_rules_that_change_again_and_again_take_no_more_memory(tmp_path: Path) -> None:
    rules = [f"prefer anything when rss > {n}MiB by 3\n" for n in range(150)]
    made = [program.to_data(compiled("".join(rules[:count]))) for count in (1, 40, 150)]
    (tmp_path / "programs").write_text(json.dumps(made))
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c", KEEPER, CHECKOUT),
            *(str(tmp_path / "programs"), str(tmp_path / "state")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sizes, opened, kept = json.loads(done.stdout)
    assert sizes[-1] - sizes[0] < 500, sizes
    assert opened - kept < 12


# --- faults ----------------------------------------------------------------------------


def test_it_goes_on_where_the_last_one_was_killed(serve: Serve, child: Child) -> None:
    service = serve()
    before = service.listed()
    service.end(signal.SIGKILL)
    assert service.listed() == before
    # As if it had been in the middle of writing.
    (service.state / f"list.{service.pid}.new").write_text("1 2")
    (service.state / f"list.{os.getpid()}.new").write_text("1 2")
    service.start()
    left = {name for name in os.listdir(service.state) if name.endswith(".new")}
    assert left == {f"list.{os.getpid()}.new"}
    assert child.pid in service.listed()
    assert service.ask()["pid"] == service.pid


def test_there_is_one_service_for_a_state_directory(serve: Serve) -> None:
    service = serve()
    environment = {**os.environ, "OOMRULES_STATE": str(service.state)}
    environment["OOMRULES_JOURNAL"] = str(service.folder / "none")
    argv = [sys.executable, "-m", "oomrules", "run", f"--to={service.state}/list"]
    second = subprocess.run(
        argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert "a service runs already" in second.stderr and "Traceback" not in second.stderr
    assert service.ask()["pid"] == service.pid


def test_a_pause_is_made_good_at_once(serve: Serve, spawn: Callable[..., Child]) -> None:
    service = serve("--heartbeat=2")
    service.send(signal.SIGSTOP)
    time.sleep(2.5)
    new = spawn()
    service.send(signal.SIGCONT)
    wait(lambda: new.pid in service.listed())
    service.told.clear()
    service.wait_for("WATCHDOG=1")


def test_a_state_directory_that_is_lost_is_said_once_and_it_goes_on(serve: Serve) -> None:
    service = serve()
    service.entries()
    moved = service.folder / "moved"
    service.state.rename(moved)
    service.state.write_text("not a directory")
    # The socket has moved along.
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(120)
            one.connect(str(moved / "status.sock"))
            one.send(b"refresh\n")
            while one.recv(65536):
                pass
    assert len([entry for entry in service.entries() if "cannot write" in entry]) <= 2
    service.state.unlink()
    moved.rename(service.state)
    assert service.ask("refresh")["list"]["problem"] is None


def test_the_watchdog_hears_from_it_in_time(serve: Serve) -> None:
    service = serve()
    heard: list[float] = []

    def soon() -> bool:
        service.told.clear()
        heard.extend([time.monotonic()] * service.notifications().count("WATCHDOG=1"))
        # A busy machine may hold any of them up, but not each.
        return any(later - one < 3 for one, later in pairwise(heard))

    wait(soon)


def test_a_service_for_somebody_without_rights_works(nobody: dict[str, Any]) -> None:
    # pytest's own directories are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody["user"], -1)
        environment = {"OOMRULES_STATE": f"{folder}/state", "OOMRULES_JOURNAL": f"{folder}/none"}
        environment |= {"PYTHONPATH": CHECKOUT, "PYTHONDONTWRITEBYTECODE": "1"}
        options: dict[str, Any] = {"env": environment, "cwd": folder, "text": True, **nobody}
        argv = [sys.executable, "-m", "oomrules"]
        to = f"--to={folder}/state/list"
        with subprocess.Popen([*argv, "run", to], stderr=subprocess.PIPE, **options) as process:
            wait(lambda: process.poll() is not None or os.path.exists(f"{folder}/state/list"))
            asked = subprocess.run([*argv, "status"], capture_output=True, **options)
            process.terminate()
            assert process.wait(120) == 0, process.communicate()[1]
    assert asked.returncode == 0, asked.stderr
    assert "in force" in asked.stdout


# --- what others read ------------------------------------------------------------------


def test_the_figures_are_openmetrics_and_what_node_exporter_reads(serve: Serve) -> None:
    service = serve()
    text = (service.state / "oomrules.prom").read_text()
    # The parser has no annotations.
    families = {f.name: f for f in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    candidates = families["oomrules_list_candidates"].samples[0].value
    assert abs(candidates - service.ask()["list"]["candidates"]) < 200 and candidates > 0
    reasons = families["oomrules_refreshes"].samples
    assert {sample.labels["reason"] for sample in reasons} >= {"start", "pressure", "heartbeat"}
    assert all(family.type in ("gauge", "counter") for family in families.values())
    older = {sample.name for family in older_families(text) for sample in family.samples}
    assert {s.name for family in families.values() for s in family.samples} == older


def test_the_status_document_has_the_keys_that_the_docs_name(serve: Serve) -> None:
    text = Path(CHECKOUT, "docs", "service.md").read_text()
    said = serve().ask()
    inner = {key for name in ("list", "rules", "memory", "pressure") for key in said[name]}
    for key in {*said, *inner} - {"schema"}:
        assert f"`{key}`" in text, key


def test_the_status_command_says_it_for_people(serve: Serve) -> None:
    service = serve()
    environment = {**os.environ, "OOMRULES_STATE": str(service.state)}
    argv = [sys.executable, "-m", "oomrules", "status"]
    done = subprocess.run(argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "1 rule in force" in done.stdout and "candidates in" in done.stdout
    service.file.write_text("nevr\n")
    service.reload()
    done = subprocess.run(argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the last good ones stay in force" in done.stdout
    service.end()
    done = subprocess.run(argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "does not run" in done.stderr
