"""The rules in force: which they are, and what is wrong with those on disk."""

from __future__ import annotations

from oomrules.clock import now
from oomrules.errors import Failure
from oomrules.kills import journal
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.service.listener import BROKEN, GOOD, MISSING, UNKNOWN, WORDS
from oomrules.service.problems import Problems

# Entries of the journal about the rules (docs/service.md).
RULES_ID = "7f2d5b1a8c3e4d0f9a6b4c2e1d8f7035"
BROKEN_ID = "c4a90e6b52d74f8fb3d1e07a6c95284d"


class Rules:
    """Hands rules to the list, and says what becomes of them.

    Attributes:
        state: of the rules on disk (``listener``).
        since: when that was found out, in seconds since the boot.
        details: the diagnostics, or why they could not be compiled.
    """

    def __init__(self, current_list: CurrentList, problems: Problems) -> None:
        self._list, self._problems = current_list, problems
        self._set(UNKNOWN, ["they are being compiled"])

    def _set(self, state: str, details: list[str]) -> None:
        self.state, self.since, self.details = state, now(), details

    def adopt(self, compiled: Compiled) -> None:
        """Put rules in force, or say what is wrong with them."""
        before = self._list.changed_at
        try:
            self._list.adopt(compiled)
            self._problems.clear("program")
        except Failure as error:
            self._problems.report("program", error.message, "the rules are in force all the same")
        self._list.direct(compiled.to, compiled.head)
        self._problems.report("config", compiled.problem)
        self._problems.report("names", *compiled.names_problems[:1])
        self._problems.report("facts", *compiled.facts.problems[:1])
        if compiled.program is None:
            self._refuse(compiled.diagnostics)
            return
        if self.state != GOOD or self._list.changed_at != before:
            count = compiled.program.size
            self._problems.say(
                f"{count} rules of {len(compiled.files)} files are in force",
                journal.INFO,
                {"MESSAGE_ID": RULES_ID, "OOMRULES_FILES": "\n".join(compiled.files)},
            )
        self._problems.clear("compile")
        self._set(GOOD, [])

    def fail(self, error: Failure) -> None:
        """Take note that the rules could not be compiled, for a reason that is not theirs."""
        self._problems.report("compile", error.message, error.hint)
        self._set(UNKNOWN, [error.message])

    @property
    def line(self) -> str:
        """How the rules are, in one line."""
        words = WORDS.get(self.state)
        if not words:
            return f"the rules of {len(self._list.files)} files are in force"
        return f"{words} ({self.details[0]})" if self.details else words

    def _refuse(self, diagnostics: list[str]) -> None:
        state = MISSING if self._list.program is None else BROKEN
        if diagnostics != self.details:
            text = "\n".join((f"{WORDS[state]}:", *diagnostics))
            self._problems.say(text, journal.ERROR, {"MESSAGE_ID": BROKEN_ID})
        self._set(state, diagnostics)
