"""The child that compiles the rules and asks systemd: a running ``oomrules prepare``."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress

from oomrules.accounts import passwd
from oomrules.errors import Failure
from oomrules.lean import Any, NamedTuple
from oomrules.processes.facts import Facts
from oomrules.program import program

SCHEMA = "oomrules.prepared/2"

# The parts that it writes, a line each, in this order, and how many bytes each may have: 10,000
# rules are 3 MiB, and all that is asked of 5,000 units is 2 MiB. To read a line takes ten times as
# much memory. Each part is also bounded where it is gathered.
PARTS = {"program": 4 << 20, "names": 1 << 20, "facts": 4 << 20}

# After this many seconds the child is considered hung: what it asks systemd and directories has
# deadlines of a few seconds. systemd waits for the first child (TimeoutStartSec= in
# oomrules.service).
DEADLINE = 90.0

# A child that was killed may still be in the kernel, waiting for memory of another process.
_LAST_WAIT = 1.0

# -I keeps the environment out; what it may import is handed over. It has a bound of its own, since
# compiling rules takes more memory than applying them.
_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from oomrules.service import memory; memory.bound(memory.START); "
    "from oomrules.commands.main import main; sys.exit(main(sys.argv[1:]))"
)
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

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
    names_problems: tuple[str, ...] = ()
    names_complete: bool = True


class CompileChild:
    """A running ``oomrules prepare``.

    Args:
        path: what it may import from.
        arguments: its options.
        now: in seconds of the clock that ``deadline`` is compared with.

    Attributes:
        pid: the process.
        descriptor: readable when it has ended.
        deadline: when it has to be.

    Raises:
        Failure: it cannot be started.
    """

    def __init__(self, path: list[str], arguments: list[str], now: float) -> None:
        argv = [sys.executable, "-I", "-c", _CODE, json.dumps(path), "prepare", *arguments]
        environment = {key: value for key, value in os.environ.items() if key not in _OURS}
        self.deadline = now + DEADLINE
        self._output = self.descriptor = -1
        try:
            # In memory: it needs no room in /run, and no reader while it is written.
            self._output = os.memfd_create("oomrules-prepared", os.MFD_CLOEXEC)
            # By vfork, so that nothing of a locked memory is copied.
            self.pid = os.posix_spawn(
                sys.executable,
                argv,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, self._output, 1)],
                setsigdef=[signal.SIGPIPE],
            )
            self.descriptor = os.pidfd_open(self.pid)
        except OSError as error:
            self._close()
            raise Failure(
                f"cannot start {sys.executable}: {error.strerror}", "the rules stay as they are"
            ) from error

    def finish(self) -> Compiled:
        """Collect the process and what it wrote.

        What it wrote before it failed counts: above all the rules, which come first.

        Raises:
            Failure: it failed before it had written the rules.
        """
        try:
            why = self._end()
            size = os.fstat(self._output).st_size
            parts = self._parts()
        finally:
            self._close()
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

    def _end(self) -> Failure | None:
        """Collect the process; return what was wrong with it."""
        if not self._ended(0):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
            if self._ended(_LAST_WAIT):
                os.waitpid(self.pid, 0)
            return Failure(
                f"`oomrules prepare` took longer than {DEADLINE:.0f} s and was killed",
                "see how long `oomrules rank` takes",
            )
        _, status = os.waitpid(self.pid, 0)
        if not status:
            return None
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by signal {-code}" if code < 0 else f"failed (status {code})"
        return Failure(f"`oomrules prepare` {how}", "it has printed why above, if it could")

    def _parts(self) -> dict[str, Any]:
        """Read what it wrote, up to the first part that is not whole, or too long."""
        parts: dict[str, Any] = {}
        at, size = 0, os.fstat(self._output).st_size
        for part, longest in PARTS.items():
            written = os.pread(self._output, min(longest, size - at), at)
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

    def _ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _close(self) -> None:
        for descriptor in (self._output, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self.descriptor = -1


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
