"""Workers that die cost time and no answer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from oomrules import __version__
from oomrules.errors import Failure
from oomrules.fleet import questions, running
from oomrules.fleet.questions import Question, text_of
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from tests.fleet import hosts

CHECKOUT = Path(__file__).resolve().parents[2]

# Starts a scheduler and a worker that has oomrules from a directory; returns the address and both.
Cluster = Callable[[Path], tuple[str, list[subprocess.Popen[bytes]]]]


def test_a_worker_that_is_killed_in_the_middle_costs_no_answer(tmp_path: Path) -> None:
    names = [str(path) for path in hosts.write(tmp_path, 120, 60)]
    program = text_of(
        compile_texts([RuleText("a.oom", "score footprint\nprefer anything when nice > 0\n")])
    )
    question = Question("rank", (program,))
    expected = {name: questions.answer(question, name) for name in names}
    found, killed = {}, list[int]()
    for answer in running.ask(question, names, processes=2):
        found[answer["host"]] = answer
        if len(found) == 10:
            victim = _spawned()[0]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
    assert killed and found == expected
    # Nothing of ours is left running.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _spawned():
        time.sleep(0.1)
    assert not _spawned()
    assert threading.active_count() < 50


def test_the_port_of_another_cluster_is_no_hindrance_and_no_page_is_served(tmp_path: Path) -> None:
    names = [str(path) for path in hosts.write(tmp_path, 4, 5)]
    question = Question("rank", (text_of(compile_texts([RuleText("a.oom", "score footprint\n")])),))
    with socket.socket() as other:
        with contextlib.suppress(OSError):
            # Dask's usual one; where it is taken already, that is as good.
            other.bind(("127.0.0.1", 8787))
            other.listen()
        answers = running.ask(question, names, processes=2)
        next(answers)
        status = set()
        for one in psutil.Process().net_connections():
            if one.status == "LISTEN" and one.laddr.port != 8787:
                status.add(_asked_for_info(one.laddr.port))
        assert len(list(answers)) == 3
    assert status <= {"", "HTTP/1.1 404 Not Found"} and len(status) == 2


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Start a scheduler and a worker that has oomrules from a directory."""
    started = []

    def start(checkout: Path) -> tuple[str, list[subprocess.Popen[bytes]]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        listening = ("--host", "127.0.0.1", "--port", address.rpartition(":")[2])
        for command, *options in (
            ("dask_scheduler", *listening),
            ("dask_worker", address, "--nthreads", "1", "--no-nanny"),
        ):
            argv = [sys.executable, "-m", f"distributed.cli.{command}", *options, "--no-dashboard"]
            environment = {**os.environ, "PYTHONPATH": str(checkout)}
            with (tmp_path / f"{command}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(argv, stdout=log, stderr=log, cwd=tmp_path, env=environment)
                )
            _wait_for(int(address.rpartition(":")[2]))
        return address, started

    yield start
    for one in started[::-1]:
        one.kill()
        one.wait()


def test_ctrl_c_ends_it_and_its_workers_without_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "hosts"
    hosts.write(folder, 300, 60)
    argv = [sys.executable, "-m", "oomrules", "fleet", "rank", str(folder), "--processes", "2"]
    asked = subprocess.Popen(
        [*argv, "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        start_new_session=True,
        # Who runs tests in the background of a shell script has Ctrl+C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert asked.stdout is not None
    # So that it waits for its reader, and has not ended before it is told to.
    fcntl.fcntl(asked.stdout, fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(10):
        assert asked.stdout.readline()
    workers = psutil.Process(asked.pid).children(recursive=True)
    # As a terminal does: everybody gets it.
    os.killpg(asked.pid, signal.SIGINT)
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 130 and not said
    assert not psutil.wait_procs(workers, timeout=10)[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), 1).close()
        time.sleep(0.1)


def test_a_scheduler_that_is_lost_in_the_middle_is_said_in_a_sentence(
    tmp_path: Path, cluster: Cluster
) -> None:
    names = [str(path) for path in hosts.write(tmp_path / "hosts", 200, 5)]
    question = Question("rank", (text_of(compile_texts([RuleText("a.oom", "score footprint\n")])),))
    address, (scheduler, _) = cluster(CHECKOUT)
    answers = running.ask(question, names, scheduler=address)
    assert "error" not in next(answers)
    scheduler.kill()
    with pytest.raises(Failure, match="the scheduler was lost"):
        list(answers)


def test_nobody_waits_for_ever_for_a_worker(
    tmp_path: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [str(path) for path in hosts.write(tmp_path / "hosts", 200, 5)]
    question = Question("rank", (text_of(compile_texts([RuleText("a.oom", "score footprint\n")])),))
    address, (_, worker) = cluster(CHECKOUT)
    answers = running.ask(question, names, scheduler=address)
    assert "error" not in next(answers)
    monkeypatch.setattr(running, "_PATIENCE", 2.0)
    monkeypatch.setattr(running, "_ASKED_AGAIN", 0.1)
    worker.kill()
    with pytest.raises(Failure, match="no worker is left since 2 s"):
        list(answers)


def test_a_worker_with_another_version_is_named_with_it(tmp_path: Path, cluster: Cluster) -> None:
    shutil.copytree(CHECKOUT / "oomrules", tmp_path / "other" / "oomrules")
    init = tmp_path / "other" / "oomrules" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{__version__}"', '"0.0.7"'))
    question = Question("rank", (text_of(compile_texts([RuleText("a.oom", "score footprint\n")])),))
    address, _ = cluster(tmp_path / "other")
    with pytest.raises(
        Failure, match=r"the worker tcp://.* has oomrules 0\.0\.7; this is oomrules"
    ):
        list(running.ask(question, ["x", "y"], scheduler=address))


def _asked_for_info(port: int) -> str:
    """Ask a port for a page of Dask's; what does not speak HTTP answers nothing."""
    with socket.create_connection(("127.0.0.1", port), 5) as asking:
        asking.settimeout(2)
        asking.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        with contextlib.suppress(OSError):
            return asking.recv(100).decode("latin-1").partition("\r\n")[0]
    return ""


def _spawned() -> list[int]:
    found = []
    for child in psutil.Process().children(recursive=True):
        # One that has just ended has no command line.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found
