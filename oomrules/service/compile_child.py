"""The child that compiles the rules and asks systemd: a running ``oomrules prepare``."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from oomrules.accounts import passwd
from oomrules.errors import Failure
from oomrules.lean import Any, NamedTuple
from oomrules.processes.facts import Facts
from oomrules.program import program
from oomrules.service.child import Child

SCHEMA = "oomrules.prepared/2"

# The parts that it writes, a line each, in this order, and how many bytes each may have: 10,000
# rules are 3 MiB, and all that is asked of 5,000 units is 2 MiB. To read a line takes ten times as
# much memory. Each part is also bounded where it is gathered.
PARTS = {"program": 4 << 20, "names": 1 << 20, "facts": 4 << 20}

# After this many seconds the child is considered hung: what it asks systemd and directories has
# deadlines of a few seconds. systemd waits for the first child (TimeoutStartSec= in
# oomrules.service).
DEADLINE = 90.0

# What reading a result can raise that another version wrote.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Compiled(NamedTuple):
    """What the child found out.

    Attributes:
        program: the rules; None if they have errors.
        diagnostics: those errors, one line each.
        fingerprint: what tells whether a rule file has changed.
        files: the rule files.
        asks: whether systemd and runtimes are to be asked again when units come or go.
        facts: what systemd, logind and runtimes said; if they were not asked, a problem says why.
        users, groups: names by id, those that matter to the rules.
        to, head: where the list goes, and how much of it, by oomrules.conf; None if that is
            wrong, and then ``problem`` says why.
        guard: what the guard does by oomrules.conf; empty if that is wrong.
        names_problems: what could not be looked up, and what that means.
        names_complete: whether these are all names; if not, those known before stay.
    """

    program: program.Program | None
    diagnostics: list[str]
    fingerprint: list[Any]
    files: list[str]
    asks: bool
    facts: Facts
    users: dict[int, str]
    groups: dict[int, str]
    to: list[str] | None = None
    head: int | None = None
    problem: str = ""
    guard: str = ""
    names_problems: tuple[str, ...] = ()
    names_complete: bool = True


class CompileChild(Child):
    """A running ``oomrules prepare``.

    Args:
        path: what it may import from.
        arguments: its options.
        now: in seconds of the clock that ``deadline`` is compared with.

    Raises:
        Failure: it cannot be started.
    """

    def __init__(self, path: list[str], arguments: list[str], now: float) -> None:
        command = ["prepare", *arguments]
        super().__init__(path, command, now + DEADLINE, hint="the rules stay as they are")

    def finish(self) -> Compiled:
        """Collect the process and what it wrote.

        What it wrote before it failed counts: above all the rules, which come first.

        Raises:
            Failure: it failed before it had written the rules.
        """
        try:
            why = _failed(self.end())
            size, parts = self.size, self._parts()
        finally:
            self.close()
        if "program" not in parts:
            if size >= PARTS["program"]:
                raise Failure(
                    f"`oomrules prepare` wrote {size} bytes, {PARTS['program']} are allowed",
                    "are these files rules?",
                )
            raise why or _other_result()
        compiled = _compiled(parts)
        if why is None:
            return compiled
        lost = f"{why.message}, so what only systemd and directories know is as it was before"
        facts = compiled.facts._replace(problems=(lost, *compiled.facts.problems))
        return compiled._replace(facts=facts)

    def _parts(self) -> dict[str, Any]:
        """Read what it wrote, up to the first part that is not whole, or too long."""
        parts: dict[str, Any] = {}
        at, size = 0, self.size
        for part, longest in PARTS.items():
            written = self.read(min(longest, size - at), at)
            line, newline, _ = written.partition(b"\n")
            if not newline:
                break
            at += len(line) + 1
            try:
                data = json.loads(line)
                if (data["schema"], data["part"]) != (SCHEMA, part):
                    break
            except _MALFORMED:
                break
            parts[part] = data
        return parts

    def abandon(self) -> None:
        """Kill it, and drop what it wrote."""
        with suppress(Failure, OSError):
            self.finish()


def _failed(status: int | None) -> Failure | None:
    """Return what was wrong with the process, by what ``Child.end`` returned."""
    if status is None:
        return Failure(
            f"`oomrules prepare` took longer than {DEADLINE:.0f} s and was killed",
            "see how long `oomrules rank` takes",
        )
    if not status:
        return None
    code = os.waitstatus_to_exitcode(status)
    how = f"was killed by signal {-code}" if code < 0 else f"failed (status {code})"
    return Failure(f"`oomrules prepare` {how}", "it has printed why above, if it could")


def _compiled(parts: dict[str, Any]) -> Compiled:
    try:
        compiled = _rules(parts["program"])
    except _MALFORMED as error:
        raise _other_result() from error
    # A part that is missing or malformed is as good as none: what was known before stays.
    with suppress(*_MALFORMED):
        compiled = _with_names(compiled, parts["names"])
    with suppress(*_MALFORMED):
        compiled = compiled._replace(facts=_facts(parts["facts"]))
    return compiled


def _rules(data: Any) -> Compiled:
    made, settled = data["program"], data["emit"]
    return Compiled(
        program=None if made is None else program.from_data(made),
        diagnostics=data["diagnostics"],
        fingerprint=data["fingerprint"],
        files=data["files"],
        asks=data["asks"],
        facts=Facts(),
        users=passwd.from_data(data["users"]),
        groups=passwd.from_data(data["groups"]),
        to=None if settled is None else list(settled["to"]),
        head=None if settled is None else settled["head"],
        problem=data["emit_problem"],
        guard="" if settled is None else str(settled.get("guard", "")),
        names_complete=False,
    )


def _with_names(compiled: Compiled, data: Any) -> Compiled:
    return compiled._replace(
        users=passwd.from_data(data["users"]),
        groups=passwd.from_data(data["groups"]),
        names_problems=tuple(map(str, data["problems"])),
        names_complete=bool(data["complete"]),
    )


def _facts(data: Any) -> Facts:
    places = data["places"]
    return Facts(
        units=data["units"],
        sessions=data["sessions"],
        problems=tuple(map(str, data["problems"])),
        places=None if places is None else frozenset(places),
        whole=bool(data["whole"]),
        containers=data.get("containers"),
    )


def _other_result() -> Failure:
    return Failure(
        "`oomrules prepare` wrote something else than its result",
        "is it of another version? restart the service",
    )
