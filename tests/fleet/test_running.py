"""Workers that die cost time and no answer."""

from __future__ import annotations

import os
import signal
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
            workers = [
                child
                for child in psutil.Process().children(recursive=True)
                if "spawn_main" in " ".join(child.cmdline())
            ]
            victim = workers[0].pid
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
    assert killed and found == expected
    # Nothing of ours is left running.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _spawned():
        time.sleep(0.1)
    assert not _spawned()
    assert threading.active_count() < 50


def _spawned() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
