"""The rules in force: which they are, and what is wrong with those on disk."""

from __future__ import annotations

from oomrules.errors import Failure
from oomrules.kills import journal
from oomrules.service import status
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.service.problems import Problems
from oomrules.state import now

# Entries of the journal about the rules (docs/service.md).
RULES_ID = "7f2d5b1a8c3e4d0f9a6b4c2e1d8f7035"
BROKEN_ID = "c4a90e6b52d74f8fb3d1e07a6c95284d"

_LINES = {
    "broken": "the rules on disk have errors, the last good ones stay in force",
    "missing": "the rules have errors, and there are no earlier ones",
    "unknown": "the rules on disk could not be compiled, what was in force stays",
}


class Rules:
    """Hands rules to the keeper, and says what becomes of them.

    Attributes:
        state: as ``oomrules status`` has it.
    """

    def __init__(self, keeper: CurrentList, problems: Problems) -> None:
        self._keeper, self._problems = keeper, problems
        self.state = status.RulesState("unknown", now(), ["they are being compiled"])

    def judge(self, compiled: Compiled) -> None:
        """Put rules in force, or say what is wrong with them."""
        before = self._keeper.changed_at
        try:
            self._keeper.adopt(compiled)
            self._problems.clear("program")
        except Failure as error:
            self._problems.report("program", error.message, "the rules are in force all the same")
        self._keeper.direct(compiled.to, compiled.head)
        self._found("config", compiled.problem)
        self._found("names", *compiled.names_problems[:1])
        self._found("facts", *compiled.facts.problems[:1])
        if compiled.program is None:
            self._broken(compiled.diagnostics)
            return
        if self.state.state != "good" or self._keeper.changed_at != before:
            count = sum(len(scope.rules) for scope in compiled.program.scopes)
            self._problems.say(
                f"{count} rules of {len(compiled.files)} files are in force",
                journal.INFO,
                {"MESSAGE_ID": RULES_ID, "OOMRULES_FILES": "\n".join(compiled.files)},
            )
        self._problems.clear("prepare")
        self.state = status.RulesState("good", now(), [])

    def unknown(self, error: Failure) -> None:
        """The rules could not be compiled, for a reason that is not theirs."""
        self._problems.report("prepare", error.message, error.hint)
        self.state = status.RulesState("unknown", now(), [error.message])

    @property
    def line(self) -> str:
        """How the rules are, in one line."""
        said = _LINES.get(self.state.state)
        if not said:
            return f"the rules of {len(self._keeper.files)} files are in force"
        return f"{said} ({self.state.said[0]})" if self.state.said else said

    def _broken(self, said: list[str]) -> None:
        kept = self._keeper.program is not None
        if said != self.state.said:
            what = "the last good rules stay in force" if kept else "there are no earlier ones"
            text = "\n".join((f"the rules have errors, {what}:", *said))
            self._problems.say(text, journal.ERROR, {"MESSAGE_ID": BROKEN_ID})
        self.state = status.RulesState("broken" if kept else "missing", now(), said)

    def _found(self, topic: str, problem: str = "") -> None:
        if problem:
            self._problems.report(topic, problem)
        else:
            self._problems.clear(topic)
