"""The head of the list is looked at again: what has changed there is noticed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from oomrules.processes.procfs import ProcSource
from tests.processes.support import (
    grandchild,
    needs_root,
    renice,
    value,
    watched,
)


def test_verify_is_content_with_a_process_that_stays_what_it_is(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.do("ballast = b'x' * 10_000_000")
    assert source.verify([process]) is True
    assert source.by_pid.get(child.pid) is process


CHANGES = {
    "user id": ("os.setresuid(65534, 65534, 65534)", "uid", 65534),
    "effective user id": ("os.seteuid(65534)", "euid", 65534),
    "group id": ("os.setresgid(65534, 65534, 65534)", "gid", 65534),
    "capabilities": ("os.seteuid(65534)", "capabilities", 0),
}


@needs_root
@pytest.mark.parametrize("what", CHANGES)
def test_verify_notices_a_changed(
    what: str, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    statement, name, expected = CHANGES[what]
    source = open_source()
    process = watched(source, child.pid)
    child.do(statement)
    assert source.verify([process]) is False
    assert value(source, child.pid, name) == expected
    assert source.verify([process]) is True


def test_verify_notices_a_changed_adjustment(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.do("open('/proc/self/oom_score_adj', 'w').write('500')")
    assert source.verify([process]) is False
    assert value(source, child.pid, "oom_score_adj") == 500


def test_verify_notices_a_changed_nice_value(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    other = renice(child)
    assert source.verify([process]) is False
    assert value(source, child.pid, "nice") == other


def test_verify_notices_an_exec(child: Any, open_source: Callable[..., ProcSource]) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.become("/bin/sh", "-c", "echo ready; read line")
    assert source.verify([process]) is False
    assert value(source, child.pid, "cmdline") == "/bin/sh -c echo ready; read line"


def test_verify_notices_an_exec_that_keeps_the_name(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    again = "print('ready', flush=True); input()"
    child.become(sys.executable, "-I", "-S", "-c", again)
    assert source.verify([process]) is False
    assert value(source, child.pid, "cmdline").endswith(again)


def test_verify_notices_a_new_parent(child: Any, open_source: Callable[..., ProcSource]) -> None:
    orphan = grandchild(child)
    source = open_source()
    process = watched(source, orphan)
    child.die()
    try:
        assert source.verify([process]) is False
        assert value(source, orphan, "ppid") == psutil.Process(orphan).ppid()
    finally:
        os.kill(orphan, 9)


@pytest.mark.parametrize("kept", [0, 4096])
def test_verify_drops_a_process_that_is_gone(
    kept: int, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source(descriptors=kept)
    process = watched(source, child.pid)
    child.die()
    assert source.verify([process]) is False
    assert source.by_pid.get(child.pid) is None
    assert child.pid not in source.by_pid


def test_verify_notices_that_a_process_became_a_zombie(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.rot()
    assert source.verify([process]) is False
