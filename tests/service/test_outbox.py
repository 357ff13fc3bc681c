"""Entries for a journald that takes them, takes none for a while, or is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomrules.kills import journal
from oomrules.service.outbox import Outbox


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A journald that reads when the test says so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.setblocking(False)
        monkeypatch.setenv("OOMRULES_JOURNAL", str(tmp_path / "journal"))
        yield listener


def read(journald: socket.socket) -> list[str]:
    """All that has arrived: the messages."""
    found: list[str] = []
    while True:
        try:
            entry = journald.recv(1 << 16).decode()
        except BlockingIOError:
            return found
        found.append(entry.partition("\n")[0].removeprefix("MESSAGE="))


def test_an_entry_is_there_at_once(journald: socket.socket) -> None:
    outbox = Outbox()
    assert outbox.send("one", journal.INFO, {"OOMRULES_PID": "7"})
    assert journald.recv(1000) == (
        b"MESSAGE=one\nPRIORITY=6\nSYSLOG_IDENTIFIER=oomrules\nOOMRULES_PID=7\n"
    )
    assert not outbox.waiting


def test_what_journald_does_not_take_waits_and_arrives_in_order(journald: socket.socket) -> None:
    outbox = Outbox()
    said = [f"entry {number}" for number in range(200)]
    for one in said:
        # More than the kernel queues, and nobody reads: this would block for ever.
        assert outbox.send(one)
    assert outbox.waiting
    found: list[str] = []
    for _ in range(200):
        found += read(journald)
        outbox.flush()
    assert found + read(journald) == said
    assert not outbox.waiting


def test_there_is_an_end_to_what_waits_and_the_journal_tells_of_it(
    journald: socket.socket,
) -> None:
    outbox = Outbox()
    said = [f"entry {number}" for number in range(1000)]
    for one in said:
        outbox.send(one)
    found: list[str] = []
    while outbox.waiting:
        found += read(journald)
        outbox.flush()
    found += read(journald)
    # The first were in the kernel's queue, the last are the newest.
    *kept, last = found
    assert kept[0] == "entry 0" and kept[-1] == "entry 999"
    assert (
        last == f"{1000 - len(kept)} entries are lost: too long, or journald took none for too long"
    )


def test_whoever_sends_what_is_too_long_is_told_and_may_print_it(
    journald: socket.socket,
) -> None:
    outbox = Outbox()
    assert outbox.send("x" * (64 << 20)) is False
    assert outbox.send("short") is True
    assert read(journald) == ["short"]


def test_an_entry_that_is_too_long_takes_no_other_with_it(journald: socket.socket) -> None:
    outbox = Outbox()
    for number in range(100):
        outbox.send(f"entry {number}")
    outbox.send("x" * (64 << 20))
    outbox.send("the last")
    found: list[str] = []
    while outbox.waiting:
        found += read(journald)
        outbox.flush()
    found += read(journald)
    assert [one for one in found if one.startswith("entry")] == [f"entry {n}" for n in range(100)]
    assert "the last" in found and found[-1].startswith("1 entries are lost")


def test_without_a_journal_nothing_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OOMRULES_JOURNAL", str(tmp_path / "none"))
    outbox = Outbox()
    assert outbox.send("one") is False
    assert not outbox.waiting


def test_whoever_does_not_stay_waits_for_journald_but_not_for_ever(
    journald: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_PATIENCE", 0.05)
    assert journal.send("one")
    # Until its socket is full, which each one after that would wait for.
    assert not all(journal.send("one") for _ in range(500))
