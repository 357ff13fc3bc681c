"""The short-lived half, at work: ``oomrules prepare`` compiles the rules and asks systemd."""

from __future__ import annotations

import json
import os
import select
import signal
import sys

from oomrules.errors import Failure
from oomrules.lean import Any, NamedTuple
from oomrules.runtime import program
from oomrules.runtime.facts import Facts

SCHEMA = "oomrules.prepared/1"

# Beyond this it hangs: what it asks of others has deadlines of some seconds itself. systemd waits
# for the first one (TimeoutStartSec in oomrules.service).
DEADLINE = 90.0

# 10,000 rules are 3 MiB, and all that is asked of 5,000 units is 2 MiB; it takes ten times as much.
_LARGEST = 4 << 20

# -I, so that nothing of the environment gets in; what it may import is handed over. What it may
# take is its own, since it takes more to compile rules than to keep to them.
_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from oomrules.runtime import resident; resident.bound(resident.START); "
    "from oomrules.commands.main import main; sys.exit(main(sys.argv[1:]))"
)
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Prepared(NamedTuple):
    """What the short-lived half found out.

    Attributes:
        program: the rules; None if they have errors.
        diagnostics: those errors, one line each.
        fingerprint: what tells whether a rule file has changed.
        files: the rule files.
        asks: whether units that come or go call for asking systemd again.
        facts: what systemd and logind said.
        users, groups: names by id.
        to, head: where the list goes, and how much of it, by oomrules.conf; None if that is
            wrong, and then ``problem`` says why.
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


class Preparation:
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
            # In memory: it needs no room in /run, and nobody has to read along.
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

    def finish(self) -> Prepared:
        """Collect the process and what it wrote.

        Raises:
            Failure: it failed, or has not ended and is killed now.
        """
        try:
            if not self._ended():
                signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise Failure(
                    f"`oomrules prepare` took longer than {DEADLINE:.0f} s and was killed",
                    "see how long `oomrules rank` takes",
                )
            _, status = os.waitpid(self.pid, 0)
            if status:
                code = os.waitstatus_to_exitcode(status)
                how = f"was killed by signal {-code}" if code < 0 else f"failed (status {code})"
                raise Failure(f"`oomrules prepare` {how}", "it has said why above, if it could")
            size = os.fstat(self._output).st_size
            if size > _LARGEST:
                raise Failure(f"`oomrules prepare` wrote {size >> 20} MiB", "are these rules?")
            return _prepared(os.pread(self._output, size, 0))
        finally:
            self._close()

    def abandon(self) -> None:
        """Kill it, whatever it was about to say."""
        try:
            self.finish()
        except (Failure, OSError):
            pass

    def _ended(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _close(self) -> None:
        for descriptor in (self._output, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self.descriptor = -1


def _prepared(data: bytes) -> Prepared:
    try:
        given = json.loads(data)
        if given["schema"] != SCHEMA:
            raise ValueError(given["schema"])
        made, facts, settled = given["program"], given["facts"], given["emit"]
        return Prepared(
            None if made is None else program.from_data(made),
            given["diagnostics"],
            given["fingerprint"],
            given["files"],
            given["asks"],
            Facts(
                facts["units"],
                facts["sessions"],
                tuple(facts["problems"]),
                frozenset(facts["places"]) if facts["places"] is not None else None,
            ),
            {int(number): name for number, name in given["users"].items()},
            {int(number): name for number, name in given["groups"].items()},
            None if settled is None else list(settled["to"]),
            None if settled is None else settled["head"],
            given["emit_problem"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Failure(
            "`oomrules prepare` wrote something else than its result",
            "is it of another version? restart the service",
        ) from error
