"""Neighbours that are hostile or broken: none of them stops the service, or learns from it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.state import State
from tests.children import CHECKOUT, Child
from tests.service.daemon import RULES, Service, wait

# Takes every lock that there is on whatever of a directory it can open, and says what that was.
_GREEDY = """
import errno, fcntl, os, signal, sys
folder, taken = sys.argv[1], []
for path in [folder, *(f"{folder}/{name}" for name in sys.argv[2:])]:
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY):
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except OSError:
            continue
        for take in (
            lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
            lambda: fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB),
            lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
            lambda: fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB),
            lambda: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK),
            lambda: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        ):
            try:
                take()
            except OSError:
                pass
        taken.append(os.path.basename(path))
print(*sorted(set(taken)), flush=True)
signal.pause()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that others may enter, as they may enter /run."""
    folder = Path(tempfile.mkdtemp(prefix="oomrules-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def greedy(nobody: dict[str, Any], state: Path) -> tuple[subprocess.Popen[str], set[str]]:
    """Start the greedy one, as somebody else; gives what it could open."""
    names = [*(entry.name for entry in state.iterdir()), "lock", "service.lock"]
    argv = [sys.executable, "-I", "-S", "-c", _GREEDY, str(state), *names]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd="/", **nobody)
    assert process.stdout
    return process, set(process.stdout.readline().split())


def test_nobody_elses_locks_keep_it_from_starting_and_nobody_else_reads_what_it_keeps(
    open_folder: Path, nobody: dict[str, Any]
) -> None:
    service = Service(open_folder)
    processes = []
    try:
        service.ask("refresh")
        # While it runs; then a directory as an earlier version made it, which all may list.
        process, opened = greedy(nobody, service.state)
        processes.append(process)
        assert opened == {"oomrules.prom"}
        service.state.chmod(0o755)
        service.end(signal.SIGKILL)
        process, opened = greedy(nobody, service.state)
        processes.append(process)
        assert opened == {"state", "oomrules.prom"}
        for _ in range(2):
            service.start()
            assert service.ask("refresh")["list"]["problem"] is None
            service.end(signal.SIGKILL)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        service.close()


def test_only_its_owner_can_connect(open_folder: Path, nobody: dict[str, Any]) -> None:
    service = Service(open_folder)
    try:
        code = (
            "import socket, sys\n"
            "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
            "except OSError as error: print(type(error).__name__)"
        )
        argv = [sys.executable, "-I", "-S", "-c", code, str(service.state / "status.sock")]
        for mode in (0o711, 0o755):
            service.state.chmod(mode)
            done = subprocess.run(argv, capture_output=True, text=True, cwd="/", **nobody)
            assert done.stdout == "PermissionError\n", done
    finally:
        service.close()


def test_the_figures_name_no_process(serve: Callable[..., Service], child: Child) -> None:
    child.do("comm(b'secretive')")
    service = serve(rules=f"{RULES}kill first pid {child.pid}\n")
    assert service.ask("refresh")["list"]["head"][0]["comm"] == "secretive"
    text = (service.state / "oomrules.prom").read_text()
    assert "secretive" not in text and str(child.pid) not in text.split()


# --- whoever starts it -----------------------------------------------------------------


def own_complaints(service: Service) -> list[str]:
    """Give what the service complains about, but for what this machine does not have."""
    missing = ("/dev/kmsg", "cannot be locked")
    told: list[str] = service.ask()["complaints"]
    return [one for one in told if not any(what in one for what in missing)]


class Careless(Service):
    """Started by somebody who has left nothing in order."""

    def start(self) -> None:
        self.told.clear()
        environment = {
            "PYTHONPATH": CHECKOUT,
            "OOMRULES_STATE": str(self.state),
            "OOMRULES_JOURNAL": str(self.folder / "journal"),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "-1e9",
            "COLUMNS": "x",
        }
        gone = self.folder / "gone"
        gone.mkdir()
        script = 'rmdir "$PWD"; umask 777; ulimit -n 64; exec "$@" 0<&- 1>&- 2>&-'
        argv = [sys.executable, "-m", "oomrules", "run", f"--rules={self.rules}"]
        argv.append(f"--to={self.state}/list")
        whole = ["sh", "-c", script, "sh", *argv]
        self.process = subprocess.Popen(whole, env=environment, cwd=gone)
        self.wait_for("READY=1")


def test_it_works_whatever_state_it_is_started_in(tmp_path: Path, child: Child) -> None:
    service = Careless(tmp_path)
    try:
        assert child.pid in service.listed()
        service.file.write_text(f"{RULES}never kill pid {child.pid}\n")
        service.reload()
        wait(lambda: child.pid not in service.listed())
        assert own_complaints(service) == []
        links = {os.readlink(f"/proc/{service.pid}/fd/{number}") for number in range(3)}
        assert links == {"/dev/null"}
    finally:
        service.close()


def test_too_few_files_for_it_are_a_sentence(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "oomrules", "run", f"--to={tmp_path}/state/list"]
    environment = {**os.environ, "OOMRULES_STATE": str(tmp_path / "state")}
    environment["OOMRULES_JOURNAL"] = str(tmp_path / "none")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 7; exec "$@"', "sh", *argv],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "oomrules: the system refused: too many open files" in done.stderr
    assert "is a limit of the unit too low?" in done.stderr and "Traceback" not in done.stderr


# --- memory ----------------------------------------------------------------------------

# Becomes the service, as `oomrules run` does, after a change.
_BECOME = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
SIGN = sys.argv[2]
CHANGE
from oomrules.service import main
sys.exit(main.main())
"""

# A reader of processes that takes all memory, once there is a sign.
_GREED = """
from oomrules.processes import procfs
sane = procfs.ProcSource.refresh
def refresh(self):
    if os.path.exists(SIGN):
        WHAT
    return sane(self)
procfs.ProcSource.refresh = refresh
"""
_AT_ONCE = "self.mad = bytearray(16 << 30)"
_BIT_BY_BIT = "self.mad = []\n        while True: self.mad.append([0] * 8)"

# A short-lived half that hangs for as long as there is a sign.
_HANG = """
from oomrules.service import child, compile_child
begin = compile_child.CompileChild.__init__
def begin_with_patience(self, *given):
    # One that is not to hang has all the time that a busy machine needs.
    compile_child.DEADLINE = SECONDS if os.path.exists(SIGN) else 600.0
    begin(self, *given)
compile_child.CompileChild.__init__ = begin_with_patience
waiting = f"import os, time\\nwhile os.path.exists({SIGN!r}): time.sleep(0.05)\\n"
child._CODE = waiting + child._CODE
"""


class Changed(Service):
    """A service that is not as it should be."""

    def __init__(self, folder: Path, change: str, ready: bool = True, given: bool = True) -> None:
        self.change, self.waits, self.given = change, ready, given
        self.sign = folder / "sign"
        super().__init__(folder)

    def start(self) -> None:
        """As `oomrules run`, with another program at its end."""
        self.told.clear()
        settings = {
            "path": [path for path in sys.path if path],
            "prepare": ["--root=/", f"--rules={self.rules}", f"--to={self.state}/list"],
            "directories": [str(self.rules)],
            "suffix": ".oom",
            "files": [],
            "heartbeat": 3600.0,
            "metrics": f"{self.state}/oomrules.prom",
            "given": self.given,
            "to": [f"{self.state}/list"],
            "head": None,
        }
        environment = {
            **os.environ,
            "OOMRULES_STATE": str(self.state),
            "OOMRULES_JOURNAL": str(self.folder / "journal"),
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "OOMRULES_RUN": json.dumps(settings),
        }
        code = _BECOME.replace("CHANGE", self.change)
        argv = [sys.executable, "-I", "-S", "-c", code, CHECKOUT, str(self.sign)]
        self.process = subprocess.Popen(argv, env=environment, cwd="/")
        if self.waits:
            self.wait_for("READY=1")


@pytest.mark.parametrize("what", [_AT_ONCE, _BIT_BY_BIT])
def test_a_mistake_that_takes_all_memory_ends_the_service_and_not_the_host(
    tmp_path: Path, what: str
) -> None:
    service = Changed(tmp_path, _GREED.replace("WHAT", what))
    try:
        limit, hard = resource.prlimit(service.pid, resource.RLIMIT_DATA)
        assert hard == resource.RLIM_INFINITY
        assert 64 << 20 <= limit <= (64 << 20) + max(64 << 20, host_memory() // 20)
        service.entries()
        service.sign.touch()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(service.state / "status.sock"))
            one.send(b"refresh\n")
            assert service.process and service.process.wait(60) == 2
        said = "".join(service.entries())
        assert "out of memory for a mistake of ours" in said and "PRIORITY=3" in said
        # As systemd does after a second.
        service.sign.unlink()
        service.start()
        assert service.ask("refresh")["list"]["problem"] is None
    finally:
        service.close()


def host_memory() -> int:
    """The memory of this host in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_child_may_take_what_it_needs(serve: Callable[..., Service]) -> None:
    service = serve()
    before = resource.prlimit(service.pid, resource.RLIMIT_DATA)
    # What the resident process has of its own would not do for lark and a bus.
    resource.prlimit(service.pid, resource.RLIMIT_DATA, (24 << 20, before[1]))
    service.file.write_text(f"{RULES}prefer uid 7\n")
    service.reload()
    said = service.ask()
    assert (said["rules"]["state"], said["rules"]["count"]) == ("good", 2), said["complaints"]


# --- what hangs ------------------------------------------------------------------------


def test_a_first_start_without_rules_waits_for_them_and_does_not_end(
    tmp_path: Path, child: Child
) -> None:
    (tmp_path / "sign").touch()
    service = Changed(tmp_path, _HANG.replace("SECONDS", "1.0"))
    try:
        said = service.ask()
        assert (said["rules"]["state"], said["list"], said["ready"]) == ("unknown", None, True)
        assert any("took longer than 1 s" in one for one in said["complaints"])
        assert any("could not be compiled" in told for told in service.notifications())
        service.sign.unlink()
        # By itself, after a while.
        wait(lambda: service.ask()["rules"]["state"] == "good", 90)
        assert child.pid in service.listed()
        assert own_complaints(service) == []
    finally:
        service.close()


def test_the_last_good_rules_make_a_list_before_anything_that_may_hang(
    tmp_path: Path, child: Child
) -> None:
    made = compiler.compile_texts([RuleText("mine.oom", RULES)])
    State(str(tmp_path / "state")).save_program(made, [["oomrules", "1"]])
    (tmp_path / "sign").touch()
    change = _HANG.replace("SECONDS", "600.0")
    service = Changed(tmp_path, change, ready=False, given=False)
    try:
        wait(lambda: (service.state / "list").exists())
        assert child.pid in service.listed()
        assert "READY=1" not in service.notifications()
        service.sign.unlink()
        service.wait_for("READY=1")
    finally:
        service.close()


# --- noise -----------------------------------------------------------------------------

# A tree of units of the test's own, and a mark for each time that the service listens to it.
_NOISE = """
import types
from oomrules.service import loop, watch
tree = types.SimpleNamespace(directory=lambda group: os.path.dirname(SIGN) + "/units")
loop.Hierarchy = lambda: types.SimpleNamespace(units=tree, unit_root=lambda: "")
heard = watch.UnitWatch.changed
def changed(self):
    matters = heard(self)
    with open(SIGN, "ab") as file:
        file.write(b"!" if matters else b".")
    return matters
watch.UnitWatch.changed = changed
"""


def test_directories_that_come_and_go_by_the_thousand_are_not_listened_to_one_by_one(
    tmp_path: Path,
) -> None:
    noisy = tmp_path / "units" / "user.slice"
    noisy.mkdir(parents=True)
    service = Changed(tmp_path, _NOISE)
    try:

        def heard_and_listed(happen: Callable[[], None]) -> None:
            """Wait for a list after a change; its reason is another where memory is short."""
            total, heard = service.ask()["refreshes"]["total"], marks().count(b"!")
            happen()
            wait(lambda: marks().count(b"!") > heard)
            wait(lambda: service.ask()["refreshes"]["total"] > total)

        def marks() -> bytes:
            return service.sign.read_bytes() if service.sign.exists() else b""

        def be_noisy() -> None:
            while time.monotonic() < begun + 3:
                for number in range(100):
                    (noisy / f"{number}.slice").mkdir()
                    (noisy / f"{number}.slice").rmdir()

        begun = time.monotonic()
        heard_and_listed(be_noisy)
        assert 1 <= len(marks()) <= 5 * (time.monotonic() - begun) + 2
        # And what comes then is heard all the same.
        heard_and_listed((noisy / "late.slice").mkdir)
        heard_and_listed((noisy / "late.slice" / "late.service").mkdir)
    finally:
        service.close()
