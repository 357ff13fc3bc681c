"""The rules in force: which they are, and what is wrong with those on disk."""

from __future__ import annotations

from oomrules.errors import Failure
from oomrules.kills import journal
from oomrules.service.compile_child import Compiled
from oomrules.service.list import Keeper
from oomrules.service.problems import Problems
from oomrules.service.rules_state import BROKEN, GOOD, MISSING, UNKNOWN, WORDS, RulesState
from oomrules.state import now

# Entries of the journal about the rules (docs/service.md).
RULES_ID = "7f2d5b1a8c3e4d0f9a6b4c2e1d8f7035"
BROKEN_ID = "c4a90e6b52d74f8fb3d1e07a6c95284d"


class Rules:
    """Hands rules to the keeper, and says what becomes of them.

    Attributes:
        state: as ``oomrules status`` has it.
    """

    def __init__(self, keeper: Keeper, problems: Problems) -> None:
        self._keeper, self._problems = keeper, problems
        self.state = RulesState(UNKNOWN, now(), ["they are being compiled"])

    def adopt(self, compiled: Compiled) -> None:
        """Put rules in force, or say what is wrong with them."""
        before = self._keeper.changed_at
        try:
            self._keeper.adopt(compiled)
            self._problems.clear("program")
        except Failure as error:
            self._problems.report("program", error.message, "the rules are in force all the same")
        self._keeper.direct(compiled.to, compiled.head)
        self._problems.report("config", compiled.problem)
        self._problems.report("names", *compiled.names_problems[:1])
        self._problems.report("facts", *compiled.facts.problems[:1])
        if compiled.program is None:
            self._refuse(compiled.diagnostics)
            return
        if self.state.state != GOOD or self._keeper.changed_at != before:
            count = sum(len(scope.rules) for scope in compiled.program.scopes)
            self._problems.say(
                f"{count} rules of {len(compiled.files)} files are in force",
                journal.INFO,
                {"MESSAGE_ID": RULES_ID, "OOMRULES_FILES": "\n".join(compiled.files)},
            )
        self._problems.clear("compile")
        self.state = RulesState(GOOD, now(), [])

    def fail(self, error: Failure) -> None:
        """Take note that the rules could not be compiled, for a reason that is not theirs."""
        self._problems.report("compile", error.message, error.hint)
        self.state = RulesState(UNKNOWN, now(), [error.message])

    @property
    def line(self) -> str:
        """How the rules are, in one line."""
        words = WORDS.get(self.state.state)
        if not words:
            return f"the rules of {len(self._keeper.files)} files are in force"
        return f"{words} ({self.state.details[0]})" if self.state.details else words

    def _refuse(self, diagnostics: list[str]) -> None:
        state = MISSING if self._keeper.program is None else BROKEN
        if diagnostics != self.state.details:
            text = "\n".join((f"{WORDS[state]}:", *diagnostics))
            self._problems.say(text, journal.ERROR, {"MESSAGE_ID": BROKEN_ID})
        self.state = RulesState(state, now(), diagnostics)
