"""`oomrules release` records what a service that was killed had no time to say."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules.guard.intent import NAME, Intent
from oomrules.guard.model import Armed, Candidate, Sample
from oomrules.kills import guarded
from oomrules.program.program import Guard
from tests.commands.done import Done

GUARD = Guard("kill", ["true"], "/etc/oomrules.d/60-guard.oom:3", "kill when host.available < 5%")


def test_an_intent_that_was_left_becomes_an_entry_once(
    oomrules: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOMRULES_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("OOMRULES_JOURNAL", str(tmp_path / "journal"))
    (tmp_path / "state").mkdir(mode=0o711)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.setblocking(False)
        assert oomrules("release").err == "nothing is adjusted\n"
        intent = Intent(str(tmp_path / "state" / NAME))
        victim = Candidate(pid=4711, start=9, rank=1, comm="hog", unit="shop.service")
        intent.note("kill", victim, Armed(guard=GUARD, number=0), Sample(1.0, {}, {}))
        intent.close()
        # To look is not to record.
        oomrules("release", "--dry-run")
        done = oomrules("release")
        assert done.code == 0 and "`hog` (4711) of shop.service was being signalled" in done.err
        entry = journal.recv(1 << 20).decode()
        assert f"MESSAGE_ID={guarded.UNSURE_ID}\n" in entry and "OOMRULES_PID=4711\n" in entry
        oomrules("release")
        with pytest.raises(BlockingIOError):
            journal.recv(1 << 20)
