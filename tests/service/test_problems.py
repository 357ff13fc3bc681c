"""A problem is said once when it begins, when it changes, and when it ends."""

from __future__ import annotations

from oomrules.kills import journal
from oomrules.service.outbox import Outbox
from oomrules.service.problems import Problems


class Kept(Outbox):
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, int]] = []

    def send(
        self, message: str, priority: int = journal.INFO, fields: dict[str, str] | None = None
    ) -> bool:
        self.sent.append((message, priority))
        return True


def test_each_problem_is_said_when_it_begins_changes_and_ends() -> None:
    outbox = Kept()
    problems = Problems(outbox)
    for message in ("", "it is full", "it is full", "it is gone", "", ""):
        problems.report("disk", message, "look at it")
        assert problems.standing == ([message] if message else [])
    assert outbox.sent == [
        ("it is full; look at it", journal.WARNING),
        ("it is gone; look at it", journal.WARNING),
        ("no longer so: it is gone", journal.INFO),
    ]


def test_problems_of_other_topics_stay() -> None:
    problems = Problems(Kept())
    problems.report("b", "second")
    problems.report("a", "first")
    problems.clear("b")
    assert problems.standing == ["first"]
