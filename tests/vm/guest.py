"""The guest as tests see it: run a command, put and get files, read the journal and console."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.vm import host
from tests.vm.image import PATIENCE
from tests.vm.machine import GuestError, Machine
from tests.vm.wire import CHUNK, Header, Wire

# In seconds. The guest is emulated, on machines that have other things to do.
BOOT_LIMIT = 180.0
RESTORE_LIMIT = 30.0
# How much later than the command's own timeout an answer may come: one from a guest that is
# out of memory takes long.
SLACK = 60.0

_KILL = re.compile(r"(?P<memcg>Memory cgroup o|O)ut of memory: Killed process (\d+) \((.*?)\) ")


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
        status: the exit status, or the negative number of the signal that ended it.
        stdout: its output; bytes that are not UTF-8 are surrogates, see `stdout_bytes`.
        stderr: likewise.
        begun: the guest's clock when it started, in seconds since 1970.
        ended: and when it ended.
    """

    command: str
    status: int
    stdout: str
    stderr: str
    begun: float
    ended: float

    @property
    def stdout_bytes(self) -> bytes:
        """The output as it was."""
        return self.stdout.encode(errors="surrogateescape")

    @property
    def stderr_bytes(self) -> bytes:
        """The error output as it was."""
        return self.stderr.encode(errors="surrogateescape")

    def check(self) -> Result:
        """Raise GuestError unless the status is 0."""
        if self.status != 0:
            raise GuestError(f"{self.command!r} failed with {self.status}\n{self._outputs()}")
        return self

    def _outputs(self) -> str:
        return f"stdout:\n{self.stdout}\nstderr:\n{self.stderr}"


class CommandTimeout(GuestError):
    """A command took too long and was ended; `result` has what it said until then."""

    def __init__(self, result: Result, timeout: float) -> None:
        super().__init__(
            f"{result.command!r} did not end within {timeout:g} s\n{result._outputs()}"
        )
        self.result = result


@dataclass(frozen=True)
class Kill:
    """A process that the kernel's OOM killer killed."""

    pid: int
    comm: str
    memcg: bool  # because a cgroup reached its limit, not the whole guest


@dataclass(frozen=True)
class Background:
    """A command that was started and not waited for."""

    guest: Guest
    command: str
    pid: int

    def wait(self, timeout: float = 60) -> Result:
        """Wait for it, once; as for `Guest.run`, it is ended after so many seconds."""
        return self.guest._wait(self, timeout)

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to it and all it started in its process group."""
        self.guest.run(["kill", "-s", signal, "--", f"-{self.pid}"])


class Guest:
    """A guest, as a context manager: booted or restored on entering, gone on leaving.

    Args:
        start: starts QEMU.
        booting: it boots, so the agent is yet to come; else it goes on from a saved state.
    """

    def __init__(self, start: Callable[[], Machine], *, booting: bool = False) -> None:
        self._start = start
        self._booting = booting
        self._ids = itertools.count(1)
        self._machine: Machine | None = None
        self._deadline = 0.0

    def __enter__(self) -> Guest:
        self.fresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def machine(self) -> Machine:
        """The QEMU process.

        Raises:
            GuestError: there never was one.
        """
        if self._machine is None:
            raise GuestError("the guest was not started")
        return self._machine

    # Starting over and ending

    def fresh(self) -> None:
        """Throw away all that happened in the guest and start it again.

        Tried twice, which is told: an emulated guest crashes while booting once in a while.
        """
        self.close()
        try:
            self._begin()
        except GuestError as error:
            host.say(f"starting the guest failed, trying once more: {error}")
            self.close()
            self._begin()

    def close(self) -> None:
        """End the guest; may be called again. What was on its console can still be read."""
        if self._machine is not None:
            self._machine.kill()

    def another(self) -> Guest:
        """A second guest like this one, to be entered."""
        return Guest(self._start, booting=self._booting)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The guest stands still within the block, so that another one has the processors."""
        self.machine.qmp("stop")
        try:
            yield
        finally:
            self.machine.qmp("cont")
            self._set_clock(RESTORE_LIMIT)

    def _begin(self) -> None:
        try:
            self._machine = self._start()
            self._wire = Wire(self._read, self._write)
            if self._booting:
                self._deadline = time.monotonic() + BOOT_LIMIT * PATIENCE
                self._wire.receive()  # the agent says so when it is there
            self._set_clock(RESTORE_LIMIT)
        except BaseException:
            self.close()
            raise

    def _set_clock(self, limit: float) -> None:
        self._ask({"do": "hello", "time": time.time()}, limit)

    # Commands

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 60,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        check: bool = False,
    ) -> Result:
        """Run a command and wait for it.

        Args:
            command: the words of a command, or the text of a bash script.
            timeout: after so many seconds it and its process group are ended.
            input: its standard input.
            env: environment variables to add.
            cwd: where it runs, else in /root.
            user: who runs it: in a login session of that user's own, with PAM and logind.
            check: raise GuestError when the status is not 0.

        Raises:
            CommandTimeout: it took too long.
            GuestError: it could not be started, or the guest is gone.
        """
        background = self.start(command, input=input, env=env, cwd=cwd, user=user)
        result = background.wait(timeout)
        return result.check() if check else result

    def start(
        self,
        command: str | Sequence[str],
        *,
        input: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
    ) -> Background:
        """Start a command and go on; `Background.wait` collects it. Arguments as for `run`."""
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        shown = shlex.join(argv[2:] if isinstance(command, str) else argv)
        if user is not None:
            # A login starts from a clean environment and the home directory.
            words = [f"{name}={value}" for name, value in (env or {}).items()]
            inner = shlex.join(["env", *words, *argv])
            if cwd is not None:
                inner = f"cd {shlex.quote(cwd)} && {inner}"
            argv = ["runuser", "--login", user, "--command", inner]
        request = {"do": "start", "argv": argv, "env": dict(env or {}), "cwd": cwd}
        data = input.encode() if isinstance(input, str) else input
        header, _ = self._ask(request, SLACK, data)
        return Background(self, shown, header["pid"])

    def _wait(self, background: Background, timeout: float) -> Result:
        request = {"do": "wait", "pid": background.pid, "timeout": timeout * PATIENCE}
        header, bodies = self._ask(request, timeout + SLACK)
        stdout, stderr = (body.decode(errors="surrogateescape") for body in bodies)
        result = Result(
            background.command, header["status"], stdout, stderr, header["begun"], header["ended"]
        )
        if not header["in_time"]:
            raise CommandTimeout(result, timeout)
        return result

    # Files

    def put(self, content: str | bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file in the guest, with the directories it needs.

        Args:
            content: what is in it, or a file of this machine's to copy.
            path: where it goes.
            mode: its permission bits.
        """
        if isinstance(content, Path):
            content = content.read_bytes()
        data = content.encode() if isinstance(content, str) else content
        self._ask({"do": "put", "path": path, "mode": mode}, SLACK, data)

    def get(self, path: str) -> bytes:
        """What is in a file of the guest's, those of /proc and /sys too."""
        _, (data,) = self._ask({"do": "get", "path": path}, SLACK)
        return data

    # What it says

    def journal(
        self, *arguments: str, unit: str | None = None, since: Result | str | None = None
    ) -> str:
        """The journal, as text.

        Args:
            arguments: more arguments for journalctl, such as "--user-unit=NAME".
            unit: only of this system unit.
            since: a result, for what came since its command began; or a `cursor`.
        """
        argv = ["journalctl", "--no-pager", "--quiet", *arguments]
        if unit is not None:
            argv.append(f"--unit={unit}")
        if isinstance(since, Result):
            argv.append(f"--since=@{since.begun:.6f}")
        elif since is not None:
            argv.append(f"--after-cursor={since}")
        self.run(["journalctl", "--sync"], check=True)
        return self.run(argv, check=True).stdout

    def journal_entries(
        self, *arguments: str, unit: str | None = None, since: Result | str | None = None
    ) -> list[dict[str, Any]]:
        """The journal, as entries with all their fields."""
        lines = self.journal("--output=json", *arguments, unit=unit, since=since)
        return [json.loads(line) for line in lines.splitlines()]

    def cursor(self) -> str:
        """The place in the journal where it ends now."""
        return str(self.journal_entries("--lines=1")[-1]["__CURSOR"])

    @property
    def console(self) -> str:
        """What the kernel wrote to the console since the guest was started or restored."""
        return self.machine.console

    def kills(self) -> list[Kill]:
        """Whom the kernel's OOM killer has killed, in order, by the console."""
        found = _KILL.finditer(self.console)
        return [Kill(int(kill[2]), kill[3], kill["memcg"] != "O") for kill in found]

    def wait_console(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the console has a match of the pattern.

        Raises:
            GuestError: it has none in so many seconds.
        """
        end = time.monotonic() + timeout * PATIENCE
        while True:
            running = self.machine.running  # asked first: what it wrote before it ended counts
            if match := re.search(pattern, self.console):
                return match
            if not running or time.monotonic() > end:
                raise GuestError(f"no {pattern!r} on the console\n{self.machine.last_words()}")
            time.sleep(0.05)

    # The agent

    def _ask(self, request: Header, limit: float, data: bytes = b"") -> tuple[Header, list[bytes]]:
        """Send a request; the answer and its bodies, to come within so many seconds."""
        self._deadline = time.monotonic() + limit * PATIENCE
        number = next(self._ids)
        self._wire.send({"id": number, **request}, data)
        while True:
            header = self._wire.receive()
            bodies = [b"".join(self._wire.body(size)) for size in header["sizes"]]
            if header["id"] == 0:
                raise GuestError(f"the guest's agent was killed\n{self.machine.last_words()}")
            if header["id"] == number:
                break
            # Else it is the answer to a request that was given up.
        if "error" in header:
            raise GuestError(header["error"])
        return header, bodies

    def _read(self) -> bytes:
        agent = self.machine.agent
        try:
            agent.settimeout(max(self._deadline - time.monotonic(), 0.001))
            if data := agent.recv(CHUNK):
                return data
        except TimeoutError:
            raise self._stuck("answer") from None
        except OSError:
            pass
        raise self._gone()

    def _write(self, data: bytes) -> None:
        agent = self.machine.agent
        try:
            agent.settimeout(max(self._deadline - time.monotonic(), 0.001))
            agent.sendall(data)
        except TimeoutError:
            raise self._stuck("listen") from None
        except OSError:
            raise self._gone() from None

    def _stuck(self, verb: str) -> GuestError:
        # Ended, so that whoever uses it next does not wait as long for the same.
        self.close()
        return GuestError(f"the guest does not {verb}; its console:\n{self.machine.last_words()}")

    def _gone(self) -> GuestError:
        self.close()  # QEMU closes its sockets a moment before it is gone
        why = "the guest's kernel panicked" if "Kernel panic" in self.console else "the guest ended"
        return GuestError(f"{why}; last words:\n{self.machine.last_words()}")
