"""Neighbours that are hostile or broken: none of them stops the service, or learns from it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import Child
from tests.service.conftest import RULES, Service

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
