"""What several tests of the readers use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes.procfs import ProcSource
from oomrules.processes.snapshot import UNREAD, Process
from oomrules.processes.values import GETTERS
from oomrules.program.program import Program, make
from tests.children import CHECKOUT

PAGE = os.sysconf("SC_PAGE_SIZE")


TICKS = os.sysconf("SC_CLK_TCK")


NOTHING = make((), {})


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change ids")


Spawn = Callable[..., Any]


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


def value(source: ProcSource, pid: int, name: str) -> Any:
    process = source.by_pid.get(pid)
    assert process is not None
    return GETTERS[name](process, source)


def field(source: ProcSource, pid: int, name: str) -> Any:
    process = source.by_pid.get(pid)
    assert process is not None
    found = getattr(process, name)
    return source.read(process, name) if found is UNREAD else found


def renice(child: Any) -> int:
    """Give the child another nice value than it has, whatever this process was started with."""
    own = os.getpriority(os.PRIO_PROCESS, child.pid)
    if own == 19 and os.geteuid() != 0:
        pytest.skip("only root may lower a nice value, and 19 is the highest")
    other = own + 1 if own < 19 else 0
    child.do(f"os.setpriority(os.PRIO_PROCESS, 0, {other})")
    return other


# --- one stopped child, to the last unit ---------------------------------------------


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def grandchild(child: Any) -> int:
    """Let a child have a child; it sleeps until it is killed."""
    child.do("pid = os.fork() or time.sleep(60) or os._exit(0)")
    return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])


# --- the head of the list is looked at again -----------------------------------------


def watched(source: ProcSource, pid: int) -> Process:
    """A process of which every attribute was asked for."""
    process = source.by_pid.get(pid)
    assert process is not None
    for name, attribute in ATTRIBUTES.items():
        if attribute.provider not in (Provider.SCOPE, Provider.SYSTEMD, Provider.LOGIND):
            GETTERS[name](process, source)
    return process


# --- a fake proc: processes that vanish ----------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


RUN = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
exec(sys.argv[2])
"""


def run(code: str, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, CHECKOUT, code],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
