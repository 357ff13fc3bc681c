"""A bare Debian machine: its packages from the cache, and a copy of it to be thrown away."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fresh import registries
from tests.fresh.registries import Registries
from tests.vm import cache
from tests.vm.host import (
    NoGuest,
    command,
    install_host_packages,
    require_root,
    require_space,
    say,
    step,
)
from tests.vm.image import apt_options, sources

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
TOOLS = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "git": "git", "tar": "tar"}
# What there must be before there is a checkout to type `make` in.
NEWCOMER = ["git", "make", "ca-certificates"]
# Debian 12 has to be told that /bin is a link; later ones know.
_HOOKS = {"bookworm": ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]}
JAIL = "unshare --mount --pid --ipc --uts --fork --kill-child".split()
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Done:
    """A command that has ended in the root: its exit code and all that it printed."""

    code: int
    output: str


@dataclass(frozen=True)
class Root:
    """A throw-away root.

    Attributes:
        lower: the packages as they were installed, which nobody changes.
        top: where the copy, or what is changed, lies.
    """

    lower: Path
    top: Path
    registries: Registries = field(default_factory=registries.of_this_machine)

    def put(self, path: str, content: bytes) -> None:
        """Write a file, readable by all."""
        target = self._own() / path.lstrip("/")
        for folder in reversed(target.relative_to(self.top).parents):
            with contextlib.suppress(FileExistsError):
                (self.top / folder).mkdir()
                (self.top / folder).chmod(0o755)
        target.write_bytes(content)
        target.chmod(0o644)

    def read(self, path: str) -> bytes:
        """What somebody has written there."""
        return (self._own() / path.lstrip("/")).read_bytes()

    def _own(self) -> Path:
        copy = self.top / "copy"
        return copy if copy.exists() else self.top / "upper"

    def run(
        self,
        line: str,
        *,
        user: str = "root",
        cwd: str = "/",
        env: Mapping[str, str | None] | None = None,
        terminal: bool = False,
        prefix: Sequence[str] = (),
    ) -> Done:
        """Run a line of shell as a user who has just logged in.

        Args:
            line: what is typed.
            user: who types it.
            cwd: where.
            env: changes to the environment of a login; None takes a variable out.
            terminal: whether there is one; without, standard input is empty and the command has
                a session of its own.
            prefix: a command that runs the shell, such as nice.
        """
        home = "/root" if user == "root" else f"/home/{user}"
        login = {"PATH": PATH, "HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/sh"}
        login |= {"LANG": "C.UTF-8", "TERM": "dumb", **self.registries.environment}
        for name, value in (env or {}).items():
            login.pop(name, None)
            if value is not None:
                login[name] = value
        words = [*prefix, "sh", "-c", f"cd {cwd} && {line}"]
        if terminal:
            words = ["script", "-qefc", shlex.join(words), "/dev/null"]
        else:
            words = ["setsid", "--wait", *words]
        if user != "root":
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *words]
        inside = ["env", "-i", *(f"{name}={value}" for name, value in login.items()), *words]
        enter = ["sh", str(HERE / "enter.sh"), str(self.lower), str(self.top)]
        # In a file, so that who waits can look how far it is.
        with self.log.open("wb") as log:
            done = subprocess.run(
                [*JAIL, *enter, "\n".join(self.registries.binds), "--", *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        output = self.log.read_bytes().decode(errors="replace")
        return Done(done.returncode, output.replace("\r\n", "\n"))

    @property
    def log(self) -> Path:
        """What the last command has printed so far."""
        return self.top / "log"


@contextlib.contextmanager
def fresh(suite: str) -> Iterator[Root]:
    """A root of a suite of Debian in which nothing has happened.

    Raises:
        NoGuest: it cannot be had here.
    """
    require_root("a root of one's own")
    install_host_packages(TOOLS)
    lower = base(suite)
    top = Path(tempfile.mkdtemp(prefix="fresh-", dir=cache.folder()))
    try:
        top.chmod(0o755)
        _prepare(lower, top)
        root = Root(lower, top)
        for path, content in root.registries.files.items():
            root.put(path, content)
        lines = "".join(f"{line}\n" for line in sources(suite))
        root.put("/etc/apt/sources.list", lines.encode())
        yield root
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _prepare(lower: Path, top: Path) -> None:
    """Lay an empty layer on the packages, or copy them where that is not permitted."""
    for name in ("upper", "work"):
        (top / name).mkdir()
    trial = [*JAIL, "sh", str(HERE / "enter.sh"), str(lower), str(top), "", "--", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        copy(lower, top)
        command(trial)


def copy(lower: Path, top: Path) -> None:
    """Take the packages themselves, in place of a layer on them."""
    command(["cp", "-a", "--reflink=auto", lower, top / "copy"])


def base(suite: str) -> Path:
    """The packages of a bare machine: from the cache, or fetched now; a week old at most."""
    week = "{}-{}".format(*datetime.date.today().isocalendar())
    inputs = [*_mmdebstrap(suite, Path("OUT"), []), week]
    return cache.layer(f"fresh-{suite}", inputs, lambda to: _make(suite, to)) / "root"


def _make(suite: str, to: Path) -> None:
    require_space(to, 2000)
    argv = _mmdebstrap(suite, to / "root", sources(suite))
    argv[1:1] = [f"--aptopt={line}" for line in apt_options()]
    jail = "unshare --mount --pid --mount-proc --fork --kill-child".split()
    with step(f"fetching and unpacking Debian {suite}"):
        command([*jail, *argv], env={**os.environ, "TMPDIR": str(to)})
    # It is put in at each use, as this machine then is.
    (to / "root/etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)


def _mmdebstrap(suite: str, to: Path, lines: list[str]) -> list[str]:
    options = ["--quiet", "--variant=minbase", "--mode=root", "--format=directory"]
    include = f"--include={','.join(NEWCOMER)}"
    return ["mmdebstrap", *options, *_HOOKS.get(suite, []), include, suite, str(to), *lines]


def checkout(top: Path = CHECKOUT) -> bytes:
    """The project as a newcomer gets it, as an archive: what is committed.

    Where there is no repository, such as in an unpacked release, it is what is there.

    Raises:
        NoGuest: it cannot be had.
    """
    if not (top / ".git").exists():
        made_here = [f"--exclude=./{name}" for name in (".v*", ".[hmpr]*_cache", "build", "dist")]
        return _output(["tar", "-C", str(top), *made_here, "-c", "."])
    git = ["git", "-c", f"safe.directory={top}", "-C", str(top)]
    left_out = _output([*git, "status", "--porcelain"]).decode().splitlines()
    if left_out:
        say(f"what is not committed is left out: {left_out[0].split()[-1]} … ({len(left_out)})")
    return _output([*git, "archive", "HEAD"])


def _output(argv: list[str]) -> bytes:
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()
        raise NoGuest(f"the project cannot be packed: {complaint}")
    return done.stdout
