"""Where logs are: files, packed or not, pipes, the kernel's buffer and the journal."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules.errors import Failure
from oomrules.report import sources
from oomrules.report.lines import lines
from oomrules.report.model import Report
from oomrules.report.reading import reports
from tests.report.made import Task, report
from tests.report.oom_reports import text
from tests.report.test_forms import bare, read

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip, two members": lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def found_in(path: Path | str) -> list[Report]:
    with sources.opened(str(path)) as log:
        return list(reports(lines(log), str(path)))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_log_is_the_same_as_a_plain_one(packer: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(PACKERS[packer](text(2)))
    assert [bare(each) for each in found_in(tmp_path / "log")] == [
        bare(each) for each in read(text(2))
    ]


def zstd(data: bytes) -> bytes:
    """Return data as zstd has it, in blocks that are not packed (RFC 8878, 3.1.1)."""
    blocks = [data[start : start + 60_000] for start in range(0, len(data), 60_000)]
    frame = b"\x28\xb5\x2f\xfd" + b"\0" + b"\x58"
    for number, block in enumerate(blocks, 1):
        header = len(block) << 3 | (number == len(blocks))
        frame += header.to_bytes(3, "little") + block
    return frame


def test_zstd_is_undone_or_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "log.zst").write_bytes(zstd(text(3)))
    if any(map(_is_there, ("compression.zstd", "zstandard"))):
        assert len(found_in(tmp_path / "log.zst")) == 1
        return
    with pytest.raises(Failure) as error:
        found_in(tmp_path / "log.zst")
    assert f"`zstd -dc {tmp_path / 'log.zst'} | oomrules replay -`" in (error.value.hint or "")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(text(6)),))
    writer.start()
    assert len(found_in(path)) == 1
    writer.join()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(gzip.compress(text(2))[:3000]), "damaged or cut"),
        (lambda path: path.write_bytes(gzip.compress(text(2))[:300] + b"x" * 99), "damaged"),
        (lambda path: path.write_bytes(lzma.compress(text(2))[:1000]), "damaged or cut"),
        (lambda path: path.write_bytes(b"LPKSHHRH" + bytes(200)), "journalctl --file"),
    ],
)
def test_what_cannot_be_read_is_named(
    make: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    make(tmp_path / "log")
    with pytest.raises(Failure) as error:
        found_in(tmp_path / "log")
    assert str(tmp_path / "log") in error.value.message
    assert said in error.value.full.lower()


def test_a_binary_file_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(bytes(range(256)) * 4096)
    assert found_in(tmp_path / "log") == []


def entries(messages: list[bytes]) -> str:
    return "".join(
        json.dumps({"MESSAGE": each.decode(), "_TRANSPORT": "kernel", "_BOOT_ID": "ab" * 16}) + "\n"
        for each in messages
    )


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a journalctl in front of others; return where it writes what it was asked."""

    def put(script: str) -> Path:
        programs = tmp_path / "bin"
        programs.mkdir()
        asked = tmp_path / "asked"
        program = programs / "journalctl"
        program.write_text(f'#!/bin/sh\necho "$@" >{asked}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        return asked

    return put


TASKS = (Task(7, b"java"), Task(8, b"make"))


def test_the_journal_is_read_where_the_kernels_buffer_is_not(
    journal: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "entries").write_text(entries(report("5.4", TASKS, TASKS[0])))
    asked = journal(f"cat {tmp_path}/entries")
    with sources.kernel_log(path=str(tmp_path / "none")) as (log, name):
        (found,) = reports(lines(log), name)
    assert [each.pid for each in found.killed] == [7]
    assert found.boot == "ab" * 16
    assert "journal" in name
    assert "--boot=0" in asked.read_text()


def test_another_boot_and_a_time_are_asked_of_the_journal(
    journal: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = journal("true")
    with sources.kernel_log("-1", "yesterday", str(tmp_path / "none")) as (log, name):
        assert list(reports(lines(log), name)) == []
    assert "--boot=-1" in asked.read_text()
    assert "--since=yesterday" in asked.read_text()


def test_what_the_journal_says_is_said(journal: Callable[[str], Path], tmp_path: Path) -> None:
    journal("echo 'No such boot ID in journal' >&2; exit 1")
    with (
        pytest.raises(Failure, match="No such boot ID in journal"),
        sources.kernel_log("-9", "", str(tmp_path / "none")) as (log, name),
    ):
        list(reports(lines(log), name))


def test_what_the_kernels_buffer_still_holds_is_read_where_the_journal_has_nothing(
    journal: Callable[[str], Path], tmp_path: Path
) -> None:
    journal("exit 1")
    messages = report("5.4", TASKS, TASKS[0])
    # Not from the first record on.
    (tmp_path / "kmsg").write_bytes(
        b"\n".join(b"6,%d,%d,-;%s" % (900 + at, at, each) for at, each in enumerate(messages))
    )
    with sources.kernel_log(path=str(tmp_path / "kmsg")) as (log, name):
        (found,) = reports(lines(log), name)
    assert name == str(tmp_path / "kmsg")
    assert [each.pid for each in found.killed] == [7]
