"""The hook ends in time, whatever hangs, and says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.children import CHECKOUT

# Waits for ever in C, as a directory service may: no handler of a signal runs meanwhile, and the
# alarm of a process is not heeded either.
_HANG_C = """
#include <signal.h>
#include <unistd.h>
void hang(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, 0);
    for (;;)
        pause();
}
void *getpwuid(unsigned id) { hang(); return 0; }
void *getpwnam(const char *name) { hang(); return 0; }
int getpwuid_r(unsigned id, void *to, char *in, unsigned long size, void *at) { hang(); return 0; }
int getpwnam_r(const char *name, void *to, char *in, unsigned long size, void *at)
{
    hang();
    return 0;
}
void *getpwent(void) { hang(); return 0; }
"""

_RUN = """
import ctypes, os, subprocess, sys
from oomrules.commands import hook, main
hook._DEADLINE = 2
def work(options):
    WORK
hook._work = work
sys.exit(main.main(["hook", "shop.service"]))
"""


class Hook:
    """Runs hooks whose work is another one, with a journal of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hang.c").write_text(_HANG_C)
        made = ["gcc", "-shared", "-fPIC", "-o", "hang.so", "hang.c"]
        subprocess.run(made, cwd=folder, check=True)
        self.journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.journal.bind(str(folder / "journal"))
        self.journal.setblocking(False)

    def run(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": CHECKOUT,
            # Without it Python asks for the user's before it runs a line of anybody's; the command
            # that is installed is isolated (-I), and does not.
            "HOME": str(self.folder),
            "OOMRULES_STATE": str(self.folder / "state"),
            "OOMRULES_JOURNAL": str(self.folder / "journal"),
            **more,
        }
        return subprocess.run(
            [sys.executable, *argv], env=environment, capture_output=True, text=True, timeout=120
        )

    def work(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("-c", _RUN.replace("WORK", code))

    def entries(self) -> str:
        found = []
        while True:
            try:
                found.append(self.journal.recv(1 << 16).decode())
            except BlockingIOError:
                return "".join(found)


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    made = Hook(tmp_path)
    yield made
    made.journal.close()


def test_a_hook_that_hangs_in_c_is_given_up_with_all_that_it_started(hook: Hook) -> None:
    started = "pid = subprocess.Popen(['sleep', '1000'], stdout=2).pid; print(pid, flush=True)"
    done = hook.work(f"{started}; ctypes.PyDLL({str(hook.folder / 'hang.so')!r}).hang()")
    assert done.returncode == 2
    assert "oomrules: the hook took longer than 2 s and gave up; the list is as it was" in (
        done.stderr
    )
    assert "hook of shop.service: the hook took longer" in hook.entries()
    # Nobody is left to hold the pipe, or the lock.
    status = Path(f"/proc/{int(done.stdout)}/stat")
    assert not status.exists() or ") Z " in status.read_text()


def test_a_directory_service_that_never_answers_keeps_no_hook(hook: Hook) -> None:
    rules = hook.folder / "root/etc/oomrules.d"
    rules.mkdir(parents=True)
    (rules / "10-names.oom").write_text('score rss\nnever kill user "postgres"\n')
    code = (
        "import sys; from oomrules.commands import hook, main; hook._DEADLINE = 20; "
        f"sys.exit(main.main(['hook', 'shop.service', '--root={hook.folder}/root', "
        f"'--to={hook.folder}/list']))"
    )
    done = hook.run("-c", code, LD_PRELOAD=str(hook.folder / "hang.so"))
    # Whether it can do without the name or has to give up: it ends, and says what was.
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr
    assert (hook.folder / "list").exists() or "gave up" in hook.entries()


def test_neither_the_hook_nor_who_waits_for_it_is_a_candidate(hook: Hook) -> None:
    rules = hook.folder / "root/etc/oomrules.d"
    rules.mkdir(parents=True)
    (rules / "10-all.oom").write_text("score total_vm\n")
    # Those that the hook has when it ranks: itself, and who waits for it.
    code = (
        "import os, sys; from oomrules.commands import hook, main; fresh = hook.fresh\n"
        "def ranked(*given):\n"
        "    found = fresh(*given)\n"
        "    print(os.getpid(), os.getppid(), *found.pids, flush=True)\n"
        "    return found\n"
        "hook.fresh = ranked\n"
        f"sys.exit(main.main(['hook', '--root={hook.folder}/root', '--to={hook.folder}/list']))"
    )
    done = hook.run("-c", code)
    assert done.returncode == 0, done.stderr
    child, parent, *pids = map(int, done.stdout.split())
    assert os.getpid() in pids and not {child, parent} & set(pids)


def test_a_hook_that_is_killed_says_so(hook: Hook) -> None:
    done = hook.work("os.kill(os.getpid(), 9)")
    assert done.returncode == 2
    assert "the hook was killed by signal 9; the list is as it was" in done.stderr
    assert "killed by signal 9" in hook.entries()


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("return 0", 0, ""),
        ("return 2", 2, ""),
        ("raise main.Failure('a sentence', 'a hint')", 2, "oomrules: a sentence\n  a hint\n"),
        ("raise MemoryError", 2, "out of memory"),
        ("raise ValueError(3)", 2, "a mistake in oomrules itself: ValueError: 3"),
    ],
)
def test_what_the_work_comes_to_is_what_the_hook_comes_to(
    hook: Hook, work: str, code: int, said: str
) -> None:
    done = hook.work(work)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr
    assert bool(done.stderr) == bool(said)
