"""The names of users and groups that rules ask for, and that tables show.

/etc/passwd and /etc/group are read first, without waiting. What they do not have is asked
of the C library, which may wait for a directory service: in a child that is given a few seconds
in all. An answer that came before its end counts.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from oomrules.accounts import nss, passwd
from oomrules.accounts.mentions import mentioned
from oomrules.child_lines import Child
from oomrules.files import read_small
from oomrules.program.program import Program

# In all, however often it is asked.
PATIENCE = 2.5

# Of the ids of running processes; a user who has subordinate ids can make 65,536.
_MOST_IDS = 8192
_LARGEST_ANSWER = 4 << 20
_SWITCH = "nsswitch.conf"

Question = tuple[str, str, str]


class Names:
    """Users' and groups' names, as far as they are needed.

    Args:
        program: the rules; its names are asked for at once, and waited for in ``settle``.
        patience: seconds for everything that the C library is asked.
        ask: the program that answers, with its arguments; as ``accounts/nss.py`` does.

    Attributes:
        users, groups: what is known by id. They grow.
        asked: what the rules say of each kind.
    """

    def __init__(
        self, program: Program, patience: float = PATIENCE, ask: list[str] | None = None
    ) -> None:
        self._left = patience
        self._patience = patience
        self._command = ask or [sys.executable, "-I", "-S", "-E", str(nss.__file__)]
        self._problems: list[str] = []
        self._known: dict[str, passwd.Accounts] = {}
        self._elsewhere = {kind: _asks_elsewhere(kind) for kind in passwd.FILES}
        self.asked = {kind: mentioned(program, kind) for kind in passwd.FILES}
        # What was asked, and what came of it: None is no answer.
        self._answers: dict[Question, bool | None] = {}
        self._running: Child | None = None
        for kind in passwd.FILES:
            self._known[kind], problem = passwd.read(kind)
            if problem:
                self._problems.append(problem)
        self.users, self.groups = (self._known[kind].by_id for kind in passwd.FILES)
        self._begin(self._named())

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the child that is at work, which is no candidate."""
        return (self._running.pid,) if self._running else ()

    # --- for rules ---------------------------------------------------------------------

    @property
    def needed(self) -> bool:
        """Return whether rules ask for any name."""
        return not all(asked.nothing for asked in self.asked.values())

    @property
    def need_ids(self) -> bool:
        """Return whether rules may hold for names that they do not write out."""
        return any(asked.open for asked in self.asked.values())

    def settle(self, users: Iterable[int] = (), groups: Iterable[int] = ()) -> None:
        """Wait for what rules ask for.

        Args:
            users, groups: the ids of processes, which count where ``need_ids`` is true; the
                first are asked for first.
        """
        self._collect()
        wanted: list[Question] = []
        for kind, numbers in (("user", users), ("group", groups)):
            if self.asked[kind].open and self._elsewhere[kind]:
                wanted += self._nameless(kind, numbers)
                wanted.append((kind, "all", "-"))
        self._begin(wanted)
        self._collect()

    def exists(self, kind: str, name: str) -> bool:
        """Return whether there is a user or group of this name; in doubt there is."""
        question = (kind, "name", name.encode("utf-8", "replace").hex())
        if self._known[kind].id_of(name) is not None:
            return True
        if not self._elsewhere[kind] or not passwd.acceptable(name):
            return False
        self._begin([question])
        self._collect()
        return self._answers.get(question) is not False

    def chosen(self, kind: str, present: Iterable[int]) -> dict[int, str]:
        """Return the names that can matter to the rules."""
        return self._known[kind].chosen(self.asked[kind], present)

    # --- for people --------------------------------------------------------------------

    def show(self, users: Iterable[int] = (), groups: Iterable[int] = ()) -> None:
        """Ask for the names of ids that are shown; a number stands where none comes in time."""
        self._begin(self._nameless("user", users) + self._nameless("group", groups))
        self._collect()

    @property
    def complete(self) -> bool:
        """Return whether everything that was asked has been answered."""
        return None not in self._answers.values()

    def problems(self) -> list[str]:
        """Return notes about names that could not be looked up, and what follows for the rules."""
        found = list(self._problems)
        unanswered = [question for question, answer in self._answers.items() if answer is None]
        for kind, database in passwd.FILES.items():
            late = [(how, key) for asked, how, key in unanswered if asked == kind]
            names = [bytes.fromhex(key).decode() for how, key in late if how == "name"]
            ids = [key for how, key in late if how == "id"]
            within = f"within {self._patience:g} s, so"
            query = " ".join(("getent", database, *(*names, *ids)[:1]))
            see = f"see `{query}`, and {_SWITCH}(5) says whom it asks"
            if names:
                place = self.asked[kind].names.get(names[0])
                said = f"{names[0]} ({place})" if place else names[0]
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                effect = "rules that name it are about nobody"
                problem = f"the {kind} {said}{more} could not be looked up {within} {effect}"
            elif late:
                too = ", in rules too" if self.asked[kind].open else ""
                effect = f"numbers stand for their names{too}"
                problem = f"not all {kind}s could be looked up {within} {effect}"
            else:
                continue
            found.append(f"{problem}; {see}")
        return found

    # --- asking ------------------------------------------------------------------------

    def _named(self) -> list[Question]:
        wanted: list[Question] = []
        for kind, asked in self.asked.items():
            known = self._known[kind]
            wanted += [
                (kind, "name", name.encode().hex())
                for name in sorted(asked.names)
                if self._elsewhere[kind] and known.id_of(name) is None and passwd.acceptable(name)
            ]
            wanted += self._nameless(kind, asked.ids)
        return wanted

    def _nameless(self, kind: str, numbers: Iterable[int]) -> list[Question]:
        if not self._elsewhere[kind]:
            return []
        known = self._known[kind].by_id
        missing = [number for number in dict.fromkeys(numbers) if number not in known]
        return [(kind, "id", str(number)) for number in missing[:_MOST_IDS]]

    def _begin(self, wanted: list[Question]) -> None:
        new = [question for question in wanted if question not in self._answers]
        if not new:
            return
        self._collect()
        self._answers |= dict.fromkeys(new)
        if self._left > 0:
            request = "".join(" ".join(question) + "\n" for question in new)
            with suppress(OSError):
                self._running = Child(self._command, request.encode())

    def _collect(self) -> None:
        """Wait for the child, as long as patience lasts, and take what it says."""
        running, self._running = self._running, None
        if running is None:
            return
        begun = time.monotonic()
        for line in running.lines(begun + self._left, _LARGEST_ANSWER):
            answer = _answer(line)
            if answer:
                self._take(*answer)
        self._left -= time.monotonic() - begun

    def _take(self, question: Question, number: int | None, name: str) -> None:
        if question not in self._answers:
            return
        kind, how, key = question
        known = self._known[kind]
        if number is None:
            # A list has an end; the others are answered.
            if how == "all" or self._answers[question] is None:
                self._answers[question] = how == "all"
            return
        if how == "name":
            # What the directory calls it may be spelt otherwise; both stand for this id.
            wanted = bytes.fromhex(key).decode()
            self._answers[question] = known.add(wanted, number)
        elif how == "id":
            self._answers[question] = number == int(key)
            if number != int(key):
                return
        known.add(name, number)


def _answer(line: bytes) -> tuple[Question, int | None, str] | None:
    """Read one line of ``accounts/nss.py``; None if it is none."""
    try:
        words = line.decode("ascii").split(" ")
        kind, how, key = words[:3]
        if kind not in passwd.FILES:
            return None
        if len(words) == 3:
            return (kind, how, key), None, ""
        number, name = words[3:]
        text = bytes.fromhex(name).decode("utf-8", "backslashreplace")
        return (kind, how, key), int(number), text
    except ValueError:
        return None


def _asks_elsewhere(kind: str) -> bool:
    """Return whether the C library looks anywhere else than in the file."""
    try:
        return asks_elsewhere(kind, read_small(f"{passwd.directory()}/{_SWITCH}"), ())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def asks_elsewhere(kind: str, switch: bytes, besides: Iterable[str] = ("systemd",)) -> bool:
    """Return whether a system's users or groups are looked for beyond its own files.

    Args:
        kind: ``user`` or ``group``.
        switch: its nsswitch.conf(5).
        besides: services that do not count; systemd's has only those that units make.
    """
    for line in switch.decode("utf-8", "replace").splitlines():
        database, colon, services = line.partition("#")[0].partition(":")
        if colon and database.strip() == passwd.FILES[kind]:
            # What is in brackets is what to do with an answer.
            asked = set(re.sub(r"\[[^]]*\]", " ", services).split())
            return asked - set(besides) != {"files"}
    return False
