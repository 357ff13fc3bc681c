"""The kernel's list: its format, one write, and what a refusal of the kernel means."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules import targets
from oomrules.errors import Failure
from oomrules.sinks import kernel_list

# --- the format ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pids", "text"),
    [([], "\n"), ([5], "5\n"), ([11, 22, 33], "11 22 33\n"), ([3, 1, 2], "3 1 2\n")],
)
def test_pids_stand_in_their_order_with_single_spaces_and_one_newline(
    pids: list[int], text: str
) -> None:
    assert kernel_list.format_pids(pids) == text


@given(st.lists(st.integers(1, 2**22), max_size=1500))
def test_the_format_is_the_same_for_lists_of_any_length(pids: list[int]) -> None:
    text = kernel_list.format_pids(pids)
    assert re.fullmatch(r"(\d+( \d+)*)?\n", text)
    assert [int(word) for word in text.split()] == pids


# --- the kernel ----------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Stands in for /proc/oom."""
    path = tmp_path / "oom"
    path.touch()
    return path


class Writes:
    """Counts writes and answers them as the module might."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Any = None) -> None:
        self.seen: list[bytes] = []
        self.answer = answer
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.seen.append(bytes(data))
        if isinstance(self.answer, OSError):
            raise self.answer
        return len(data) if self.answer is None else self.answer


@pytest.mark.parametrize("pids", [[], [5], list(range(1, 4000))])
def test_the_kernel_gets_the_whole_list_in_one_write(
    pids: list[int], kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    kernel_list.KernelList(str(kernel)).write(pids)
    assert writes.seen == [kernel_list.format_pids(pids).encode()]


def test_the_kernel_s_file_is_neither_made_nor_emptied_nor_replaced(kernel: Path) -> None:
    kernel.write_text("9" * 20)
    before = kernel.stat().st_ino
    kernel_list.KernelList(str(kernel)).write([5])
    # A regular file keeps what a shorter write does not reach; the module takes the write.
    assert (kernel.read_text(), kernel.stat().st_ino) == ("5\n" + "9" * 18, before)
    with pytest.raises(Failure):
        kernel_list.KernelList(str(kernel.parent / "missing")).write([5])
    assert os.listdir(kernel.parent) == ["oom"]


def test_a_list_that_was_taken_only_in_part_is_a_failure_and_not_written_on(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch, answer=4)
    with pytest.raises(Failure, match="took 4 of 9 bytes") as failure:
        kernel_list.KernelList(str(kernel)).write([1234, 567])
    assert len(writes.seen) == 1
    assert failure.value.hint


REFUSALS = {
    errno.EINVAL: "decimal pids",
    errno.EPERM: "root",
    errno.EACCES: "root",
    errno.ENOMEM: "old one",
    errno.EFBIG: "longer",
    errno.EIO: "kernel log",
}


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_a_refusal_is_told_with_what_it_means(
    code: int, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = set(os.listdir("/proc/self/fd"))
    writes = Writes(monkeypatch, answer=OSError(code, os.strerror(code)))
    with pytest.raises(Failure) as failure:
        kernel_list.KernelList(str(kernel)).write([1, 2, 3])
    monkeypatch.undo()
    assert len(writes.seen) == 1
    assert str(kernel) in failure.value.message
    assert "3 pids" in failure.value.message
    assert os.strerror(code).lower() in failure.value.message
    assert failure.value.hint and REFUSALS[code] in failure.value.hint
    assert set(os.listdir("/proc/self/fd")) == opened


def test_without_the_module_it_says_how_to_load_it(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        kernel_list.KernelList(str(tmp_path / "oom")).write([1])
    assert failure.value.hint and "modprobe" in failure.value.hint


def test_the_kernel_s_file_has_the_name_of_2005() -> None:
    assert targets.KERNEL_LIST == "/proc/oom"
