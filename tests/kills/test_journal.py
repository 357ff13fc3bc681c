"""What the journal gets: a message for people, and fields that keep the truth."""

from __future__ import annotations

import pytest

from oomrules.kills import journal
from oomrules.kills.entry import Listing, record
from oomrules.kills.kernel_log import Kill

EVIL = "x\x1b]0;PWNED\x07\x9b31m\u202e\r\x00\u2028"


def test_a_message_is_text_in_lines_and_the_fields_stay_as_they_are() -> None:
    data = journal.entry(f"one {EVIL}\ntwo", journal.INFO, {"OOMRULES_COMM": EVIL})
    assert EVIL.encode() in data
    message = data.replace(EVIL.encode(), b"").decode("utf-8", "replace")
    assert "two" in message and "\x1b" not in message and "\u202e" not in message


def test_a_kill_by_any_name_is_one_line() -> None:
    said: list[tuple[str, dict[str, str]]] = []

    def send(message: str, priority: int, fields: dict[str, str] | None) -> bool:
        said.append((journal.entry(message, priority, {}).decode(), fields or {}))
        return True

    comm = "a\nMESSAGE=forged"
    kill = Kill(1, "CONSTRAINT_NONE", f"/{EVIL}.service", comm, 7, 1000, 1.0)
    record(f"{EVIL}.service", kill, Listing(1, 2, 3, 4.0), send=send)
    ((entry, fields),) = said
    first, *rest = entry.split("\n")
    assert first.startswith("MESSAGE=") and first.isprintable() and "forged" in first
    assert not any(line.startswith("MESSAGE") for line in rest)
    assert fields["OOMRULES_COMM"] == comm


def test_what_is_said_on_standard_error_is_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    journal.say(f"one {EVIL}", send=lambda *_: False)
    said = capsys.readouterr().err
    assert said.startswith("oomrules: one x") and said.rstrip("\n").isprintable()
