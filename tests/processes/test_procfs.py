"""What the reader of proc says of processes, real ones and those of a fake proc."""

from __future__ import annotations

import ast
import errno
import gc
import os
import pty
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from oomrules.errors import Failure
from oomrules.files import read_small
from oomrules.processes import procfs
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.cmdlines import READER
from oomrules.processes.procfs import ProcSource
from oomrules.program.nodes import SELF_MADE
from oomrules.ranking.ranker import Ranker
from tests.children import CHECKOUT
from tests.fake_proc import FakeProc
from tests.processes.support import (
    NOTHING,
    PAGE,
    Spawn,
    field,
    grandchild,
    open_files,
    program,
    renice,
    run,
    status_of,
    value,
    watched,
)


def test_every_figure_of_a_stopped_process_is_the_kernel_s(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do("ballast = b'x' * 10_000_000")
    nice = renice(child)
    child.stop()
    source = open_source()
    status = status_of(child.pid)
    kib = {key: int(text.split()[0]) for key, text in status.items() if text.endswith(" kB")}
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    expected = {
        "pid": child.pid,
        "ppid": os.getpid(),
        "state": "T",
        "nice": nice,
        "threads": 1,
        "utime": int(stat[11]),
        "stime": int(stat[12]),
        "starttime": int(stat[19]),
        "total_vm": kib["VmSize"] * 1024 // PAGE,
        "rss": int(stat[21]),
        "anon": kib["RssAnon"] * 1024,
        "shmem": kib["RssShmem"] * 1024,
        "locked": kib["VmLck"] * 1024,
        "pgtables": kib["VmPTE"] * 1024,
        "swap": kib["VmSwap"] * 1024 // PAGE,
        "capabilities": int(status["CapEff"], 16),
        "exe": os.readlink(f"/proc/{child.pid}/exe"),
        "session": os.getsid(child.pid),
    }
    assert {name: field(source, child.pid, name) for name in expected} == expected
    assert field(source, child.pid, "anon") >= 10_000_000
    held = expected["rss"] + expected["swap"] + expected["pgtables"] // PAGE
    assert value(source, child.pid, "footprint") == held


def test_arguments_are_kept_apart_and_shown_joined(
    spawn: Spawn, open_source: Callable[..., ProcSource]
) -> None:
    child = spawn("a b", "", "c\nd", "\udcff")
    source = open_source()
    assert field(source, child.pid, "cmdline").endswith("\0a b\0\0c\nd\0\\xff")
    assert value(source, child.pid, "cmdline").endswith(" a b  c\nd \\xff")


@pytest.mark.parametrize("argument", ["x", "\udcff", "\u65e5", "x\u00e4"], ids=ascii)
def test_of_a_command_line_only_the_first_4096_bytes_count(
    argument: str, spawn: Spawn, open_source: Callable[..., ProcSource]
) -> None:
    child = spawn(*[argument * (100_000 // len(os.fsencode(argument)))] * 3)
    raw = Path(f"/proc/{child.pid}/cmdline").read_bytes()
    assert len(raw) > 300_000
    found = field(open_source(), child.pid, "cmdline")
    assert 4000 < len(found.encode()) <= 4096
    assert raw[:4096].decode("utf-8", "backslashreplace").startswith(found)


@pytest.mark.parametrize(
    "name",
    [
        b"two words",
        b"(sd-pam)",
        b") S 1 1 1 (",
        b"a) R 0 0 0 0",
        b"line\nend",
        b"\rUid:\t77 77 77",
        b"\nUid:\t77 77 77",
        b"caf\xe9",
        b"\xff\xfe\x01",
        "日本語".encode(),
        b"fifteen-letters",
        b" ",
        b"",
    ],
)
def test_a_process_may_call_itself_what_it_likes(
    name: bytes, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do(f"comm({name!r})")
    source = open_source()
    assert field(source, child.pid, "comm") == name[:15].decode("utf-8", "backslashreplace")
    assert field(source, child.pid, "ppid") == os.getpid()
    assert field(source, child.pid, "uid") == os.getuid()
    assert field(source, child.pid, "threads") == 1


def test_a_program_that_an_upgrade_replaced_is_still_that_program(
    spawn: Spawn, tmp_path: Path, open_source: Callable[..., ProcSource]
) -> None:
    copy = tmp_path / "python"
    shutil.copy(os.path.realpath(sys.executable), copy)
    child = spawn(executable=str(copy))
    copy.unlink()
    assert os.readlink(f"/proc/{child.pid}/exe").endswith(" (deleted)")
    assert field(open_source(), child.pid, "exe") == str(copy)


def test_bytes_that_are_no_text_look_the_same_in_every_attribute(
    spawn: Spawn, tmp_path: Path, open_source: Callable[..., ProcSource]
) -> None:
    copy = os.fsencode(tmp_path) + b"/p\xff"
    shutil.copy(os.fsencode(os.path.realpath(sys.executable)), copy)
    child = spawn(executable=os.fsdecode(copy))
    source = open_source()
    assert field(source, child.pid, "comm") == "p\\xff"
    assert field(source, child.pid, "cmdline").split("\0")[0].endswith("/p\\xff")
    assert field(source, child.pid, "exe").endswith("/p\\xff")


def test_a_terminal_is_known_by_its_name(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    assert value(open_source(), os.getpid(), "tty") is not None
    try:
        controlling, terminal = pty.openpty()
    except OSError:
        pytest.skip("there are no pseudoterminals here")
    name = os.ttyname(terminal)
    child.do("os.setsid()")
    child.do(f"os.open({name!r}, os.O_RDWR)")  # the first terminal of a session controls it
    assert value(open_source(), child.pid, "tty") == name.removeprefix("/dev/")
    assert value(open_source(), child.pid, "session") == child.pid
    os.close(controlling)
    os.close(terminal)


# --- what changes --------------------------------------------------------------------


def test_a_refresh_brings_new_processes_and_drops_dead_ones(
    spawn: Spawn, open_source: Callable[..., ProcSource]
) -> None:
    first = spawn()
    source = open_source(descriptors=64)
    second = spawn()
    first.die()
    source.refresh()
    assert source.by_pid.get(first.pid) is None
    assert source.by_pid.get(second.pid) is not None


def test_a_refresh_sees_what_a_process_did(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    names = ("nice", "total_vm", "utime", "stime")
    before = [field(source, child.pid, name) for name in names]
    other = renice(child)
    child.do("ballast = b'x' * 50_000_000")
    child.do("begin = time.process_time()")
    child.do("exec('while time.process_time() < begin + 0.1: pass')")
    source.refresh()
    nice, total_vm, utime, stime = (field(source, child.pid, name) for name in names)
    assert nice == other != before[0]
    assert total_vm >= before[1] + 50_000_000 // PAGE
    # The kernel splits them by where its ticks fell; only their sum is measured.
    assert utime + stime >= before[2] + before[3] + 9


@pytest.mark.parametrize("kept", [0, 4096])
def test_an_exec_changes_who_a_process_is(
    kept: int, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source(descriptors=kept)
    for name in ("cmdline", "exe", "uid"):
        assert field(source, child.pid, name) is not None
    child.become("/bin/sh", "-c", "echo ready; read line")
    source.refresh()
    assert field(source, child.pid, "comm") == "sh"
    assert field(source, child.pid, "cmdline").startswith("/bin/sh\0")
    assert os.path.samefile(field(source, child.pid, "exe"), "/bin/sh")


def test_an_exec_makes_the_rules_decide_anew(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    made = program('never kill comm "sh"\nscore total_vm')
    source = open_source(made)
    ranker = Ranker(made, source.host)
    assert child.pid in ranker.rank(source).pids
    child.become("/bin/sh", "-c", "echo ready; read line")
    assert child.pid not in ranker.rank(source.refresh()).pids


def test_a_process_whose_parent_died_has_its_new_parent(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    orphan = grandchild(child)
    source = open_source(program("score rss\nspare anything when ppid == 1"))
    assert field(source, orphan, "ppid") == child.pid
    child.die()
    source.refresh()
    try:
        assert field(source, orphan, "ppid") == psutil.Process(orphan).ppid() != child.pid
    finally:
        os.kill(orphan, 9)


def test_a_process_that_leaves_its_session_is_seen_in_its_own(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source(program("score rss\nspare anything when session == 1"))
    assert field(source, child.pid, "session") == os.getsid(0)
    child.do("os.setsid()")
    source.refresh()
    assert field(source, child.pid, "session") == child.pid


def test_a_zombie_is_seen_as_one(child: Any, open_source: Callable[..., ProcSource]) -> None:
    made = program("score total_vm")
    source = open_source(made)
    ranker = Ranker(made, source.host)
    assert child.pid in ranker.rank(source).pids
    child.rot()
    source.refresh()
    assert field(source, child.pid, "state") == "Z"
    assert field(source, child.pid, "total_vm") == 0
    assert child.pid not in ranker.rank(source).pids


# --- a fake proc: pids that come again -------------------------------------------------


def test_a_fake_process_is_read_as_a_real_one(proc: Any) -> None:
    proc.add(7, b"a (b) c", nice=-5, uid=100, adj=-17, swap=40, capabilities=1 << 21)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    names = (
        "comm ppid state nice threads starttime total_vm rss uid euid gid egid capabilities anon "
        "shmem locked pgtables swap oom_score_adj cgroup exe cmdline"
    ).split()
    assert [field(source, 7, name) for name in names] == [
        *("a (b) c", 1, "S", -5, 3, 1000, 40960000 // PAGE, 2000, 100, 101, 5, 6, 1 << 21),
        *(800 * 1024, 12 * 1024, 4 * 1024, 68 * 1024, 40 * 1024 // PAGE, -17),
        *("/x.service", "/usr/bin/demo", "demo"),
    ]
    assert (source.host.uptime, source.host.mem_total) == (5000.25, 8 * 2**30)
    assert source.host.swap_total == 2**20
    source.close()


@pytest.mark.parametrize(
    ("uid", "login", "there", "expected"),
    [
        (1001, "1001", "1001", "/user.slice/user-1001.slice/user@1001.service"),
        # As a user of his own user namespace, or where nobody keeps who has logged in.
        (165537, "1001", "1001", "/user.slice/user-1001.slice/user@1001.service"),
        (1001, "4294967295", "1001", "/user.slice/user-1001.slice/user@1001.service"),
        (1001, None, "1001", "/user.slice/user-1001.slice/user@1001.service"),
        # A container's root.
        (0, "4294967295", "1001", "/"),
    ],
)
def test_who_goes_too_deep_among_the_control_groups_stays_with_his_user(
    proc: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    login: str | None,
    there: str,
    expected: str,
) -> None:
    directory = proc.add(7, uid=uid)
    if login is not None:
        (directory / "loginuid").write_text(login)
    (tmp_path / f"cgroup/user.slice/user-{there}.slice/user@{there}.service").mkdir(parents=True)
    read = read_small

    def too_deep(path: str, *size: int) -> bytes:
        if path.endswith("7/cgroup"):
            raise OSError(errno.ENAMETOOLONG, "File name too long", path)
        return read(path, *size)

    monkeypatch.setattr(procfs, "read_small", too_deep)
    made = program('score total_vm\nonly kill slice "user-*.slice"')
    source = ProcSource(made, root=str(proc.root))
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"26 1 0:22 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n")
    source.hierarchy = Hierarchy(str(mounts))
    ranked = Ranker(made, source.host).rank(source.refresh()).pids
    assert field(source, 7, "cgroup") == expected
    assert ranked == ([7] if expected != "/" else [])
    source.close()


@pytest.mark.parametrize("same_name", [True, False])
def test_a_recycled_pid_is_another_process(same_name: bool, proc: Any) -> None:
    proc.add(7, b"old", uid=0, adj=-1000, cgroup=b"0::/old.service\n", cmdline=b"old\0", exe="/old")
    made = program("never kill oom_score_adj -1000\nscore total_vm")
    source = ProcSource(made, root=str(proc.root)).refresh()
    ranker = Ranker(made, source.host)
    assert ranker.rank(source).pids == []
    watched(source, 7)
    proc.add(
        *(7, b"old" if same_name else b"new"),
        ppid=9,
        session=9,
        start=2000,
        uid=50,
        cgroup=b"0::/new.service\n",
        cmdline=b"new\0",
        exe="/new",
    )
    source.refresh()
    assert ranker.rank(source).pids == [7]
    names = "ppid session uid oom_score_adj cgroup cmdline exe starttime".split()
    assert [field(source, 7, name) for name in names] == [
        *(9, 9, 50, 0, "/new.service", "new", "/new", 2000)
    ]
    source.close()


def test_verify_notices_a_recycled_pid(proc: Any) -> None:
    proc.add(7)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    process = watched(source, 7)
    proc.add(7, start=2000)
    assert source.verify([process]) is False
    source.close()


FILES = ["stat", "status", "cgroup", "cmdline", "oom_score_adj", "exe"]


@pytest.mark.parametrize("missing", FILES)
def test_what_vanished_in_mid_read_is_unknown_and_no_error(missing: str, proc: Any) -> None:
    before = open_files()
    proc.add(7)
    proc.add(8)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=8).refresh()
    (proc.root / "7" / missing).unlink()
    process = source.by_pid.get(7)
    assert process is not None
    unknown = {
        "status": ["uid", "capabilities", "swap"],
        "cgroup": ["cgroup"],
        "cmdline": ["cmdline"],
        "oom_score_adj": ["oom_score_adj"],
        "exe": ["exe"],
    }.get(missing, [])
    for name in ("uid", "capabilities", "swap", "cgroup", "cmdline", "oom_score_adj", "exe"):
        assert (field(source, 7, name) is None) == (name in unknown)
        assert field(source, 8, name) is not None
    assert source.unreadable == {}
    source.close()
    assert open_files() == before


@pytest.mark.parametrize("content", [b"", b"7 (x", b"7 (x) S 1", b"7 (x) S a b c", b"\xff" * 2000])
@pytest.mark.parametrize("when", ["first", "later"])
def test_a_stat_that_makes_no_sense_is_a_process_that_is_not_there(
    content: bytes, when: str, proc: Any
) -> None:
    before = open_files()
    proc.add(7)
    proc.add(8)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=8)
    if when == "later":
        source.refresh()
    (proc.root / "7" / "stat").write_bytes(content)
    source.refresh()
    assert list(source.by_pid) == [8]
    assert source.descriptors.kept == 1
    proc.add(7)
    source.refresh()
    assert sorted(source.by_pid) == [7, 8]
    source.close()
    assert open_files() == before


def test_a_process_without_status_is_dropped_where_status_is_read_each_time(proc: Any) -> None:
    before = open_files()
    proc.add(7)
    proc.add(8)
    source = ProcSource(program("score swap"), root=str(proc.root), descriptors=8)
    (proc.root / "7" / "status").unlink()
    source.refresh()
    assert list(source.by_pid) == [8]
    assert source.descriptors.kept == 1
    source.close()
    assert open_files() == before


def test_status_is_read_each_time_only_where_a_rule_needs_it(proc: Any) -> None:
    proc.add(7, swap=40)
    for text, expected in (("score swap", 80), ("score rss", 40)):
        proc.add(7, swap=40)
        source = ProcSource(program(text), root=str(proc.root)).refresh()
        assert field(source, 7, "swap") == 40 * 1024 // PAGE
        proc.add(7, swap=80)
        source.refresh()
        assert field(source, 7, "swap") == expected * 1024 // PAGE
        source.close()


def test_a_process_that_sleeps_is_decided_about_anew_when_its_status_changes(proc: Any) -> None:
    """Its memory is swapped out, or another process of its user's gives it another id."""
    made = program("score footprint\nprefer uid 7 by 100")
    source = ProcSource(made, root=str(proc.root))
    ranker = Ranker(made, source.host)
    for pid in (7, 8):
        proc.add(pid, uid=5, swap=400)
    assert ranker.rank(source.refresh()).pids == [7, 8]
    assert {source.by_pid[pid].until for pid in (7, 8)} == {2**62}
    for swap, uid, expected in ((800, 5, [8, 7]), (400, 5, [7, 8]), (400, 7, [8, 7])):
        proc.add(8, uid=uid, swap=swap)
        assert ranker.rank(source.refresh()).pids == expected
    source.close()


def test_other_entries_of_proc_are_not_taken_for_processes(proc: Any) -> None:
    for name in ("sys", "-7", "acpi", "thread-self"):
        (proc.root / name).mkdir()
    (proc.root / "9").write_text("a file")
    (proc.root / "10").mkdir()
    proc.add(8)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert list(source.by_pid) == [8]
    source.close()


def test_without_proc_there_is_one_sentence_and_no_traceback(
    tmp_path: Path, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failure, match="meminfo") as failure:
        ProcSource(NOTHING, root=str(tmp_path / "nothing"))
    assert failure.value.hint and "/proc" in failure.value.hint
    source = ProcSource(NOTHING, root=str(proc.root))
    monkeypatch.undo()
    shutil.rmtree(proc.root)
    with pytest.raises(Failure, match="cannot list"):
        source.refresh()
    source.close()


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ("rw,hidepid=2", True),
        ("rw,hidepid=invisible", True),
        ("rw,gid=4,hidepid=noaccess", True),
        ("rw,relatime", False),
        # Who is in the group sees them, but not where that takes the right to trace them.
        ("rw,gid=77,hidepid=invisible", False),
        ("rw,gid=77,hidepid=ptraceable", True),
    ],
)
def test_a_mount_that_hides_processes_is_noticed(
    options: str, hidden: bool, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getegid", lambda: 5)
    monkeypatch.setattr(os, "getgroups", lambda: [6, 77])
    elsewhere = "proc /srv/proc proc rw,hidepid=ptraceable 0 0\n"
    mounts = f"{elsewhere}proc {proc.root} proc {options} 0 0\n"
    (proc.root / "self" / "mounts").write_text(mounts)
    source = ProcSource(NOTHING, root=str(proc.root))
    assert source.hides_processes is hidden
    source.close()


# --- rights --------------------------------------------------------------------------


def test_what_rights_do_not_allow_is_unknown_and_counted(
    child: Any, nobody: dict[str, Any]
) -> None:
    out = run(
        "source = ProcSource(make((), {})).refresh()\n"
        f"process = source.by_pid.get({child.pid})\n"
        "print([source.read(process, name) for name in ('exe', 'uid', 'comm')])\n"
        "print(source.unreadable)\n",
        **nobody,
    )
    comm = Path(f"/proc/{child.pid}/comm").read_text().strip()
    assert out == f"[None, 0, {comm!r}]\n{{'exe': 1}}\n"


def test_the_reader_s_own_process_is_known_as_such(
    open_source: Callable[..., ProcSource],
) -> None:
    assert os.getpid() in open_source().own_pids
    assert {1234, os.getpid()} == open_source(own=[1234]).own_pids - READER.pids


def sizes_in_churn(root: str) -> dict[int, int]:
    """How many bytes are in use after so many units have come and gone."""
    proc = FakeProc(Path(root))
    made = program('score total_vm\nin "churn-*.service": prefer anything when rss > 1MiB\n')
    source = ProcSource(made, root=str(proc.root))
    ranker = Ranker(made, source.host)
    sizes = {}
    # Above every pid that there can be: this process and its parents are no candidates.
    first = 1 << 22
    tracemalloc.start()
    for number in range(1, 1501):
        # Each has a process of its own name in a unit of its own.
        group = b"0::/system.slice/churn-%d.service\n" % number
        proc.add(first + number, b"churn-%d" % number, cgroup=group, start=number)
        if number > 3:
            proc.remove(first + number - 3)
        assert first + number in ranker.rank(source.refresh()).pids
        if number % 50 == 0:
            gc.collect()
            sizes[number], _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    return sizes


def test_of_units_that_are_gone_only_so_much_is_remembered(tmp_path: Path) -> None:
    # In a process of its own: what thousands of tests have left makes Python's own tables so large
    # that it is millions of bytes when one of them grows.
    code = (
        "import sys; from tests.processes.test_procfs import sizes_in_churn; "
        "print(sizes_in_churn(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "proc"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    sizes = ast.literal_eval(done.stdout)
    assert len(sizes) == 30
    # In an hour of churn the service sees less than 500 units: an end at 512 would be none.
    assert max(sizes.values()) - sizes[150] < 250_000


def test_a_program_that_lies_too_deep_for_its_path_is_unknown_by_its_own_doing(
    tmp_path: Path, open_source: Callable[..., ProcSource]
) -> None:
    script = (
        "import os, shutil, sys\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "for _ in range(25):\n"
        "    os.mkdir('d' * 200)\n"
        "    os.chdir('d' * 200)\n"
        "shutil.copy(os.path.realpath('/bin/sleep'), 'sleep')\n"
        "os.execv('./sleep', ['sleep', '1000'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            assert process.poll() is None
            time.sleep(0.01)
        source = open_source()
        assert field(source, process.pid, "exe") is SELF_MADE
        assert field(source, process.pid, "cmdline") == "sleep\x001000"
    finally:
        process.kill()
        process.wait()
        subprocess.run(["rm", "-rf", *map(str, tmp_path.iterdir())], check=True)


def test_who_is_too_deep_among_the_control_groups_is_in_no_unit(proc: Any) -> None:
    proc.add(7)
    (proc.root / "7/cgroup").unlink()
    # As the kernel answers where a path would be longer than 4096 bytes.
    (proc.root / "7/cgroup").symlink_to("x" * 300)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert field(source, 7, "cgroup") == "/"
    assert value(source, 7, "unit") == ""
    source.close()
