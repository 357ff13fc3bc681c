"""The short-lived commands of the service: started, ended and collected, and none left behind."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from oomrules.errors import Failure
from oomrules.service.child import Child


@pytest.fixture
def path(tmp_path: Path) -> list[str]:
    """Return where an ``oomrules`` is that does what its first argument says."""
    commands, service = tmp_path / "oomrules" / "commands", tmp_path / "oomrules" / "service"
    commands.mkdir(parents=True)
    service.mkdir()
    (commands / "main.py").write_text("def main(arguments):\n    return eval(arguments[0])\n")
    (service / "memory.py").write_text("START = 0\ndef bound(room):\n    pass\n")
    return [str(tmp_path)]


def ended(child: Child) -> Child:
    """Wait until a child has ended by itself."""
    poll = select.poll()
    poll.register(child.descriptor, select.POLLIN)
    poll.poll()
    return child


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_it_reads_and_writes_and_how_it_ends(path: list[str]) -> None:
    code = "print(sys.stdin.read()[::-1], end='') or 7"
    before = descriptors()
    child = ended(Child(path, [f"(sys := __import__('sys')) and ({code})"], 9.0, request=b"abc"))
    status = child.end()
    assert status is not None and os.waitstatus_to_exitcode(status) == 7
    assert (child.size, child.read(2), child.read(9, 1)) == (3, b"cb", b"ba")
    assert child.deadline == 9.0
    child.close()
    child.close()
    assert descriptors() == before


@pytest.mark.parametrize("group", [False, True])
def test_one_that_goes_on_is_killed_and_collected(path: list[str], group: bool) -> None:
    child = Child(path, ["__import__('time').sleep(600)"], 0.0, group=group)
    assert child.end() is None
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_one_whose_end_nobody_would_see_is_not_left_behind(
    path: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors may run out between the start of a process and the look at it."""
    opened: list[int] = []

    def full(pid: int) -> int:
        opened.append(pid)
        raise OSError(24, "Too many open files")

    before = descriptors()
    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(Failure, match=r"cannot start .*: too many open files") as found:
        Child(path, ["__import__('time').sleep(600)"], 0.0, hint="all stays")
    assert found.value.hint == "all stays"
    assert descriptors() == before
    with pytest.raises(ProcessLookupError):
        os.kill(opened[0], 0)
