"""Workers that die cost time and no answer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil

from oomrules.fleet import questions, running
from oomrules.fleet.questions import Question, text_of
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from tests.fleet import hosts


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
