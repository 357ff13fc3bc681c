"""What the reader of proc says, against the kernel, psutil and a fake proc."""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import psutil
import pytest

from oomrules.attributes import ATTRIBUTES, Source
from oomrules.errors import Failure
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import procfs
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.cmdlines import READER
from oomrules.processes.procfs import ProcSource, read_status
from oomrules.processes.snapshot import PF_KTHREAD, UNREAD, Process
from oomrules.processes.values import GETTERS
from oomrules.program.nodes import SELF_MADE
from oomrules.program.program import Program, make
from oomrules.ranking.evaluator import Evaluator
from oomrules.ranking.ranker import Ranker
from tests.children import CHECKOUT, FakeProc

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
NOTHING = make((), {})
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change ids")

Spawn = Callable[..., Any]


def program(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


def value(source: ProcSource, pid: int, name: str) -> Any:
    process = source.by_pid.get(pid)
    assert process is not None
    return GETTERS[name](process, source)


def field(source: ProcSource, pid: int, name: str) -> Any:
    process = source.by_pid.get(pid)
    assert process is not None
    found = getattr(process, name)
    return source.read(process, name) if found is UNREAD else found


def renice(child: Any) -> int:
    """Give the child another nice value than it has, whatever this process was started with."""
    own = os.getpriority(os.PRIO_PROCESS, child.pid)
    if own == 19 and os.geteuid() != 0:
        pytest.skip("only root may lower a nice value, and 19 is the highest")
    other = own + 1 if own < 19 else 0
    child.do(f"os.setpriority(os.PRIO_PROCESS, 0, {other})")
    return other


@pytest.fixture
def open_source() -> Iterator[Callable[..., ProcSource]]:
    """Open sources that are closed when the test is over."""
    sources: list[ProcSource] = []

    def opened(made: Program = NOTHING, **options: Any) -> ProcSource:
        sources.append(ProcSource(made, **options))
        return sources[-1].refresh()

    yield opened
    for source in sources:
        source.close()


# --- every process of this host, beside psutil ---------------------------------------

ASKED = (
    "name ppid uids gids nice num_threads cpu_times create_time memory_info cmdline exe terminal "
    "num_ctx_switches"
).split()


class Host(NamedTuple):
    """One refresh of this host with psutil's readings before and after it."""

    before: dict[int, dict[str, Any]]
    source: ProcSource
    after: dict[int, dict[str, Any]]

    def survivors(self) -> Iterator[tuple[dict[str, Any], Process, dict[str, Any]]]:
        """Each process that lived through all three, and changed its program in none."""
        for pid, before in self.before.items():
            after = self.after.get(pid)
            same = ("create_time", "name", "cmdline", "exe", "ppid")
            if after and all(before[key] == after[key] for key in same):
                process = self.source.by_pid.get(pid)
                assert process is not None, f"process {pid} was not seen"
                yield before, process, after


def _by_psutil() -> dict[int, dict[str, Any]]:
    return {p.pid: p.info for p in psutil.process_iter(ASKED, ad_value=None)}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    before = _by_psutil()
    source = ProcSource(NOTHING).refresh()
    # What is read on demand is read now, between the two readings of psutil.
    for process in list(source.by_pid.values()):
        for name in ("ppid", "session", "gid", "anon", "cgroup", "oom_score_adj", "exe", "cmdline"):
            source.read(process, name)
    yield Host(before, source, _by_psutil())
    source.close()


def test_psutil_and_the_source_see_the_same_processes(host: Host) -> None:
    seen = set(host.source.by_pid)
    assert host.before.keys() & host.after.keys() <= seen
    assert len(list(host.survivors())) > 2
    assert os.getpid() in seen


def test_names_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        name = os.fsencode(before["name"]).decode("utf-8", "backslashreplace")
        if name.startswith("kworker/"):
            # The kernel calls these by what they do at the moment.
            assert (process.comm or "").startswith("kworker/")
            continue
        # psutil completes a name that the kernel cut.
        comm = process.comm or ""
        assert name == comm or (len(comm) >= 15 and name.startswith(comm))


def test_parents_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        assert before["ppid"] == process.ppid


def test_user_and_group_ids_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        if (before["uids"], before["gids"]) == (after["uids"], after["gids"]):
            assert before["uids"][:2] == (process.uid, process.euid)
            assert before["gids"][0] == process.gid


def test_nice_values_and_threads_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        assert process.nice in (before["nice"], after["nice"])
        if before["num_threads"] == after["num_threads"]:
            assert process.threads == before["num_threads"]


def test_start_times_agree_with_psutil(host: Host) -> None:
    booted = psutil.boot_time()
    for before, process, _ in host.survivors():
        assert process.starttime is not None
        assert abs((before["create_time"] - booted) * TICKS - process.starttime) <= 1


def test_cpu_times_lie_between_psutil_s_two_readings(host: Host) -> None:
    for before, process, after in host.survivors():
        least, most = (sum(one["cpu_times"][:2]) * TICKS for one in (before, after))
        assert process.utime is not None and process.stime is not None
        # The kernel scales the two parts anew at each reading, so their sum may lose a tick.
        assert round(least) - 1 <= process.utime + process.stime <= round(most) + 1


def test_address_spaces_agree_with_psutil(host: Host) -> None:
    asleep = 0
    for before, process, after in host.survivors():
        # Who was not on a processor in between cannot have mapped and unmapped anything.
        if before["num_ctx_switches"] == after["num_ctx_switches"]:
            asleep += 1
            assert process.total_vm == before["memory_info"].vms // PAGE
    assert asleep


def test_resident_memory_lies_near_psutil_s(host: Host) -> None:
    # stat gives what each processor has not yet added to the common counters as missing;
    # statm, which psutil reads, sums them up (Linux 6.16).
    cpus = os.cpu_count() or 1
    slack = 4 * max(32, 2 * cpus) * cpus
    for before, process, after in host.survivors():
        first, second = before["memory_info"].rss // PAGE, after["memory_info"].rss // PAGE
        if first == second:
            assert process.rss is not None
            assert abs(process.rss - first) <= slack


def test_command_lines_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        if before["cmdline"] is not None and process.cmdline is not None:
            theirs = os.fsencode(" ".join(before["cmdline"])).decode("utf-8", "backslashreplace")
            ours = process.cmdline.replace("\0", " ").strip()
            assert ours == theirs.strip() or (len(ours) > 4000 and theirs.startswith(ours))


def test_executables_agree_with_psutil(host: Host) -> None:
    for before, process, _ in host.survivors():
        if before["exe"] and process.exe:
            assert process.exe == before["exe"].removesuffix(" (deleted)")
        elif before["exe"]:
            assert host.source.unreadable.get("exe")


def test_terminals_agree_with_psutil(host: Host) -> None:
    for before, process, after in host.survivors():
        if before["terminal"] == after["terminal"] and before["terminal"]:
            assert f"/dev/{GETTERS['tty'](process, host.source)}" == before["terminal"]


def test_sessions_agree_with_the_kernel(host: Host) -> None:
    for _, process, _ in host.survivors():
        try:
            assert process.session == os.getsid(process.pid)
        except OSError:
            continue


def test_control_groups_and_adjustments_agree_with_the_kernel(host: Host) -> None:
    for _, process, _ in host.survivors():
        try:
            lines = Path(f"/proc/{process.pid}/cgroup").read_bytes().split(b"\n")
            adjustment = int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
        except OSError:
            continue
        paths = [line.split(b":", 2)[2].decode() for line in lines if line]
        assert process.cgroup in paths or (process.cgroup is None and not paths)
        assert process.oom_score_adj == adjustment


def test_kernel_threads_have_their_mark_and_no_memory(host: Host) -> None:
    theirs = [p for _, p, _ in host.survivors() if p.ppid == 2 or p.comm == "kthreadd"]
    if not theirs:
        pytest.skip("a container shows no kernel threads")
    for process in theirs:
        assert process.flags is not None and process.flags & PF_KTHREAD
        assert (process.total_vm, process.rss) == (0, 0)
        assert (process.exe, process.cmdline, process.anon) == (None, "", None)
    for _, process, _ in host.survivors():
        if process.flags is not None and process.flags & PF_KTHREAD:
            assert process.pid == 2 or process.ppid in (0, 2)


def test_the_host_itself_is_described(host: Host) -> None:
    found = host.source.host
    assert found.page_size == PAGE
    assert found.clock_ticks == TICKS
    assert found.mem_total == psutil.virtual_memory().total
    assert found.swap_total == psutil.swap_memory().total
    assert found.kernel == os.uname().release
    assert 0 < found.uptime <= time.clock_gettime(time.CLOCK_BOOTTIME)


# --- one stopped child, to the last unit ---------------------------------------------


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_every_figure_of_a_stopped_process_is_the_kernel_s(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do("ballast = b'x' * 10_000_000")
    nice = renice(child)
    child.stop()
    source = open_source()
    status = _status(child.pid)
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
    ranker = Ranker(Evaluator(made, source.host))
    assert child.pid in ranker.rank(source).pids
    child.become("/bin/sh", "-c", "echo ready; read line")
    assert child.pid not in ranker.rank(source.refresh()).pids


def test_a_process_whose_parent_died_has_its_new_parent(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    orphan = _grandchild(child)
    source = open_source(program("score rss\nspare anything when ppid == 1"))
    assert field(source, orphan, "ppid") == child.pid
    child.die()
    source.refresh()
    try:
        assert field(source, orphan, "ppid") == psutil.Process(orphan).ppid() != child.pid
    finally:
        os.kill(orphan, 9)


def _grandchild(child: Any) -> int:
    """Let a child have a child; it sleeps until it is killed."""
    child.do("pid = os.fork() or time.sleep(60) or os._exit(0)")
    return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])


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
    ranker = Ranker(Evaluator(made, source.host))
    assert child.pid in ranker.rank(source).pids
    child.rot()
    source.refresh()
    assert field(source, child.pid, "state") == "Z"
    assert field(source, child.pid, "total_vm") == 0
    assert child.pid not in ranker.rank(source).pids


# --- the head of the list is looked at again -----------------------------------------


def watched(source: ProcSource, pid: int) -> Process:
    """A process of which every attribute was asked for."""
    process = source.by_pid.get(pid)
    assert process is not None
    for name, attribute in ATTRIBUTES.items():
        if attribute.source not in (Source.SCOPE, Source.SYSTEMD, Source.LOGIND):
            GETTERS[name](process, source)
    return process


def test_verify_is_content_with_a_process_that_stays_what_it_is(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.do("ballast = b'x' * 10_000_000")
    assert source.verify([process]) is True
    assert source.by_pid.get(child.pid) is process


CHANGES = {
    "user id": ("os.setresuid(65534, 65534, 65534)", "uid", 65534),
    "effective user id": ("os.seteuid(65534)", "euid", 65534),
    "group id": ("os.setresgid(65534, 65534, 65534)", "gid", 65534),
    "capabilities": ("os.seteuid(65534)", "capabilities", 0),
}


@needs_root
@pytest.mark.parametrize("what", CHANGES)
def test_verify_notices_a_changed(
    what: str, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    statement, name, expected = CHANGES[what]
    source = open_source()
    process = watched(source, child.pid)
    child.do(statement)
    assert source.verify([process]) is False
    assert value(source, child.pid, name) == expected
    assert source.verify([process]) is True


def test_verify_notices_a_changed_adjustment(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.do("open('/proc/self/oom_score_adj', 'w').write('500')")
    assert source.verify([process]) is False
    assert value(source, child.pid, "oom_score_adj") == 500


def test_verify_notices_a_changed_nice_value(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    other = renice(child)
    assert source.verify([process]) is False
    assert value(source, child.pid, "nice") == other


def test_verify_notices_an_exec(child: Any, open_source: Callable[..., ProcSource]) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.become("/bin/sh", "-c", "echo ready; read line")
    assert source.verify([process]) is False
    assert value(source, child.pid, "cmdline") == "/bin/sh -c echo ready; read line"


def test_verify_notices_an_exec_that_keeps_the_name(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    again = "print('ready', flush=True); input()"
    child.become(sys.executable, "-I", "-S", "-c", again)
    assert source.verify([process]) is False
    assert value(source, child.pid, "cmdline").endswith(again)


def test_verify_notices_a_new_parent(child: Any, open_source: Callable[..., ProcSource]) -> None:
    orphan = _grandchild(child)
    source = open_source()
    process = watched(source, orphan)
    child.die()
    try:
        assert source.verify([process]) is False
        assert value(source, orphan, "ppid") == psutil.Process(orphan).ppid()
    finally:
        os.kill(orphan, 9)


@pytest.mark.parametrize("kept", [0, 4096])
def test_verify_drops_a_process_that_is_gone(
    kept: int, child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source(descriptors=kept)
    process = watched(source, child.pid)
    child.die()
    assert source.verify([process]) is False
    assert source.by_pid.get(child.pid) is None
    assert child.pid not in source.by_pid


def test_verify_notices_that_a_process_became_a_zombie(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    process = watched(source, child.pid)
    child.rot()
    assert source.verify([process]) is False


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


@needs_root
def test_who_is_almighty_in_a_namespace_of_his_own_has_nothing_here(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do("os.setresuid(65534, 65534, 65534)")
    source = open_source()
    assert value(source, child.pid, "capabilities") == 0
    # CLONE_NEWUSER; where the kernel refuses it, there is nothing to be seen through.
    child.do("ctypes.CDLL(None).unshare(0x10000000)")
    source.verify([source.by_pid[child.pid]])
    assert value(source, child.pid, "capabilities") == 0


@pytest.mark.parametrize(
    ("uid", "theirs", "ours", "counts"),
    [
        (1001, "0 1001 1", "0 0 4294967295", False),
        (1001, "", "0 0 4294967295", False),
        (1001, "0 1001 1\n1 165536 65536", "0 0 4294967295", False),
        # A daemon to which root left a capability.
        (101, "0 0 4294967295", "0 0 4294967295", True),
        # The same in a container with a namespace, where oomrules is, too; and below that.
        (101, "0 100000 65536", "0 100000 65536", True),
        (101, "0 1001 1", "0 100000 65536", False),
        # A kernel without user namespaces.
        (101, None, None, True),
    ],
)
def test_capabilities_count_in_the_user_namespace_of_the_reader(
    proc: Any, uid: int, theirs: str | None, ours: str | None, counts: bool
) -> None:
    directory = proc.add(7, uid=uid, capabilities=1 << 17)
    for where, ids in ((directory, theirs), (proc.root / "self", ours)):
        if ids is not None:
            (where / "uid_map").write_text(f"{ids}\n")
    made = program("never kill anything with RAWIO\nscore total_vm")
    source = ProcSource(made, root=str(proc.root)).refresh()
    assert field(source, 7, "capabilities") == (1 << 17 if counts else 0)
    ranked = Ranker(Evaluator(made, source.host)).rank(source).pids
    assert ranked == ([] if counts else [7])
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
    read = procfs.read_file

    def too_deep(path: str, *size: int) -> bytes:
        if path.endswith("7/cgroup"):
            raise OSError(errno.ENAMETOOLONG, "File name too long", path)
        return read(path, *size)

    monkeypatch.setattr(procfs, "read_file", too_deep)
    made = program('score total_vm\nonly kill slice "user-*.slice"')
    source = ProcSource(made, root=str(proc.root))
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"26 1 0:22 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n")
    source.hierarchy = Hierarchy(str(mounts))
    ranked = Ranker(Evaluator(made, source.host)).rank(source.refresh()).pids
    assert field(source, 7, "cgroup") == expected
    assert ranked == ([7] if expected != "/" else [])
    source.close()


def _in_namespace(proc: Any, pid: str, name: str) -> None:
    (proc.root / pid / "ns").mkdir()
    for kind in ("user", "pid"):
        (proc.root / pid / "ns" / kind).symlink_to(f"{kind}:[{name}]")


@pytest.mark.parametrize("rules", ["score total_vm", "score rss + swap"])
def test_who_is_in_very_many_groups_does_not_hold_up_the_others(proc: Any, rules: str) -> None:
    """The kernel writes a thousand times as long at such a status as at another one."""
    _in_namespace(proc, "self", "4026531837")
    many = range(10, 40)
    for pid in (5, *many, 90, 91):
        directory = proc.add(pid, uid=0 if pid in (5, 91) else 1001, swap=8 * pid)
        _in_namespace(proc, str(pid), "7" if pid in many else "4026531837")
        if pid in many or pid == 91:
            status = directory / "status"
            groups = b"Groups:\t" + b"1048576 " * 2048 + b"\n"
            status.write_bytes(status.read_bytes().replace(b"Gid:", groups + b"Gid:"))
    made = program(f"never kill uid 0\n{rules}")
    source = ProcSource(made, root=str(proc.root))
    source.most_long = 20
    ranker = Ranker(Evaluator(made, source.host))
    for turn in range(1, 7):
        ranking = ranker.rank(source.refresh())
        # Nobody is protected by what he hides; nor is root's own forgotten, be it as long.
        assert sorted(ranking.pids) == [*many, 90]
        assert source.by_pid[90].uid == 1001
        known = [pid for pid in many if type(source.by_pid[pid].uid) is int]
        assert turn * 10 - 2 <= len(known) <= turn * 10 or len(known) == len(many)
        # Root's own is read in any case.
        assert max(source._long) <= 10 + 1
    # All of them have had their turn, also at what changes.
    assert len(known) == len(many)
    if "swap" in rules:
        for pid in many:
            status = proc.root / str(pid) / "status"
            status.write_bytes(status.read_bytes().replace(b"VmSwap:\t", b"VmSwap:\t9999"))
        seen = set()
        for turn in range(8):
            # However many new ones come.
            for pid in range(1000 + 20 * turn, 1020 + 20 * turn):
                directory = proc.add(pid, uid=1001)
                _in_namespace(proc, str(pid), "7")
                (directory / "status").write_bytes((proc.root / "10/status").read_bytes())
            source.refresh()
            seen |= {pid for pid in many if source.by_pid[pid].swap > 999_900 * 1024 // PAGE}
        assert seen == set(many)
    source.close()


@pytest.mark.parametrize("namespace", ["4026531837", "7"])
def test_as_many_as_there_are_are_read_where_nobody_waits_for_it(namespace: str, proc: Any) -> None:
    _in_namespace(proc, "self", "4026531837")
    for pid in range(10, 140):
        status = proc.add(pid, uid=1001, swap=8) / "status"
        _in_namespace(proc, str(pid), namespace)
        status.write_bytes(b"Groups:\t" + b"5 " * 9000 + b"\n" + status.read_bytes())
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert {field(source, pid, "uid") for pid in range(10, 140)} == {1001}
    # One after the other, as a recording asks.
    for name in ("gid", "anon", "swap", "capabilities", "pid_depth"):
        assert {type(field(source, pid, name)) for pid in range(10, 140)} == {int}, name
    source.close()


@pytest.mark.parametrize("same_name", [True, False])
def test_a_recycled_pid_is_another_process(same_name: bool, proc: Any) -> None:
    proc.add(7, b"old", uid=0, adj=-1000, cgroup=b"0::/old.service\n", cmdline=b"old\0", exe="/old")
    made = program("never kill oom_score_adj -1000\nscore total_vm")
    source = ProcSource(made, root=str(proc.root)).refresh()
    ranker = Ranker(Evaluator(made, source.host))
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


def let_go(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a kept descriptor answer as the kernel does once the process behind it is gone."""
    stale, real = process.descriptor, os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if descriptor == stale:
            raise ProcessLookupError(3, "No such process")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)


def test_a_kept_descriptor_never_speaks_for_a_recycled_pid(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(7, b"old")
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=8).refresh()
    process = source.by_pid[7]
    let_go(process, monkeypatch)
    proc.add(7, b"new", start=2000)
    source.refresh()
    assert source.by_pid[7] is not process
    assert field(source, 7, "comm") == "new"
    assert source.kept_descriptors == 1
    source.close()


# --- a fake proc: processes that vanish ----------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


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
    assert source.kept_descriptors == 1
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
    assert source.kept_descriptors == 1
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


# --- descriptors ---------------------------------------------------------------------


def test_no_more_descriptors_are_kept_than_are_wanted(proc: Any) -> None:
    before = open_files()
    for pid in range(10, 20):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=3)
    for _ in range(3):
        source.refresh()
        assert source.kept_descriptors == 3
        assert open_files() == before + 3 + 1  # and meminfo
        assert len(source.by_pid) == 10
    source.close()
    assert open_files() == before


def test_a_descriptor_that_comes_free_is_used_again(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10)
    source = ProcSource(NOTHING, root=str(proc.root), descriptors=1).refresh()
    let_go(source.by_pid[10], monkeypatch)
    proc.remove(10)
    source.refresh()
    assert (list(source.by_pid), source.kept_descriptors) == ([], 0)
    monkeypatch.undo()
    proc.add(11)
    proc.add(12)
    source.refresh()
    assert (sorted(source.by_pid), source.kept_descriptors) == ([11, 12], 1)
    source.close()


@pytest.mark.parametrize("kept", [0, 2])
def test_every_descriptor_is_closed_in_the_end(kept: int, proc: Any) -> None:
    before = open_files()
    for pid in range(10, 15):
        proc.add(pid)
    source = ProcSource(program("score rss + swap"), root=str(proc.root), descriptors=kept)
    for _ in range(5):
        source.refresh()
        for process in list(source.by_pid.values()):
            watched(source, process.pid)
    source.close()
    source.close()
    assert open_files() == before


RUN = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import make
exec(sys.argv[2])
"""


def run(code: str, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, CHECKOUT, code],
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_low_limit_of_open_files_costs_speed_and_no_process(spawn: Spawn) -> None:
    children = [spawn() for _ in range(8)]
    out = run(
        "resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70))\n"
        "source = ProcSource(make((), {}), descriptors=4096).refresh().refresh()\n"
        "print(source.kept_descriptors)\n"
        "print(*source.by_pid)\n"
    )
    kept, pids = out.splitlines()
    assert 0 < int(kept) < 70
    assert {str(child.pid) for child in children} <= set(pids.split())


def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    out = run(
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))\n"
        "ProcSource(make((), {}), descriptors=500)\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE), hard)\n"
    )
    soft, hard, before = map(int, out.split())
    assert 500 < soft < 1000 or soft == hard
    assert hard == before


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
    assert {1234, os.getpid()} == open_source(own=[1234]).own_pids - {READER.pid}


def sizes_in_churn(root: str) -> dict[int, int]:
    """How many bytes are in use after so many units have come and gone."""
    proc = FakeProc(Path(root))
    made = program('score total_vm\nin "churn-*.service": prefer anything when rss > 1MiB\n')
    source = ProcSource(made, root=str(proc.root))
    ranker = Ranker(Evaluator(made, source.host))
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


# --- what changes without a new process ----------------------------------------------


def advance(proc: Any, seconds: float) -> None:
    uptime = float((proc.root / "uptime").read_text().split()[0])
    (proc.root / "uptime").write_text(f"{uptime + seconds:.2f} 1.0\n")


def changed(proc: Any, pid: int) -> None:
    """Let a process become another user's, in another group, with another adjustment."""
    proc.add(pid, uid=77, adj=500, cgroup=b"0::/new.scope\n", capabilities=7, exe="/new")


def told(source: ProcSource, pid: int) -> list[Any]:
    return [field(source, pid, name) for name in ("uid", "oom_score_adj", "cgroup", "capabilities")]


OLD, NEW = [0, 0, "/x.service", 0], [77, 500, "/new.scope", 7]


@pytest.mark.parametrize(
    ("number", "seconds", "refreshes"), [(20, 30, 1), (20, 1, 2), (600, 30, 10), (600, 300, 1)]
)
def test_everybody_s_identity_is_read_anew_within_five_minutes(
    number: int, seconds: int, refreshes: int, proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number > 20:
        # What is read of a few in any case would be enough for these.
        monkeypatch.setattr(procfs, "_ANEW_LEAST", 0.0)
    pids = range(1000, 1000 + number)
    for pid in pids:
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    assert all(told(source, pid) == OLD for pid in pids)
    for pid in pids:
        changed(proc, pid)
    for _ in range(refreshes):
        advance(proc, seconds)
        source.refresh()
    assert all(told(source, pid) == NEW for pid in pids)
    source.close()


def test_refreshes_one_after_the_other_read_hardly_anybody_anew(
    proc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(1000, 2000):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    for pid in range(1000, 2000):
        told(source, pid)
    read = Mock(wraps=source.read)
    monkeypatch.setattr(source, "read", read)
    for _ in range(100):
        advance(proc, 0.02)
        source.refresh()
    # Two seconds have passed: ten processes each, of three files.
    assert 10 * 3 <= read.call_count <= 2 * 10 * 3
    source.close()


def test_at_a_reload_everybody_is_looked_at(proc: Any) -> None:
    for pid in range(1000, 2000):
        proc.add(pid)
    source = ProcSource(NOTHING, root=str(proc.root)).refresh()
    for pid in range(1000, 2000):
        assert told(source, pid) == OLD
        changed(proc, pid)
    source.refresh()
    assert told(source, 1999) == OLD
    source.look_anew()
    source.refresh()
    assert all(told(source, pid) == NEW for pid in range(1000, 2000))
    source.close()


def test_a_change_makes_the_rules_decide_anew(proc: Any) -> None:
    made = program("never kill uid 0\nscore total_vm")
    proc.add(7)
    source = ProcSource(made, root=str(proc.root)).refresh()
    ranker = Ranker(Evaluator(made, source.host))
    assert ranker.rank(source).pids == []
    changed(proc, 7)
    advance(proc, 1)
    assert ranker.rank(source.refresh()).pids == [7]
    source.close()


@needs_root
def test_a_process_that_becomes_another_user_s_is_seen_as_his(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    source = open_source()
    assert field(source, child.pid, "uid") == 0
    child.do("os.setresuid(65534, 65534, 65534)")
    source.look_anew()
    source.refresh()
    assert field(source, child.pid, "uid") == 65534
    assert field(source, child.pid, "capabilities") == 0


# --- what a process can make long ----------------------------------------------------


@needs_root
def test_a_process_in_65536_groups_hides_nothing_behind_them(
    child: Any, open_source: Callable[..., ProcSource]
) -> None:
    child.do("os.setgroups([4294900000 + n for n in range(65536)])")
    child.do("ballast = b'x' * 5_000_000")
    status = Path(f"/proc/{child.pid}/status").read_bytes()
    assert len(status) > 700_000
    source = open_source(program("score rss + swap + anon + pgtables"))
    tracemalloc.start()
    try:
        source.refresh()
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()
    said = _status(child.pid)
    assert field(source, child.pid, "anon") == int(said["RssAnon"].split()[0]) * 1024 > 5_000_000
    assert field(source, child.pid, "swap") == 0
    assert field(source, child.pid, "pgtables") > 0
    assert field(source, child.pid, "capabilities") == int(said["CapEff"], 16)
    assert field(source, child.pid, "uid") == 0
    assert field(source, child.pid, "egid") == os.getegid()


@pytest.mark.parametrize("length", [*range(8100, 8300, 13), 8192, 65536 + 8192, 70000, 700000])
def test_a_long_status_has_all_its_lines_wherever_a_piece_ends(length: int, tmp_path: Path) -> None:
    path = tmp_path / "status"
    lines = b"Name:\tx\nUid:\t1\t2\t3\t4\nGroups:\t%s\nVmSwap:\t 5 kB\nCapEff:\tff\n"
    path.write_bytes(lines % (b"7 " * (length // 2)))
    found, whole = read_status(str(path))
    assert whole == (len(path.read_bytes()) < 8192)
    for line in (b"\nUid:\t1\t2\t3\t4\n", b"\nVmSwap:\t 5 kB\n", b"\nCapEff:\tff\n"):
        assert line in found
    assert len(found) < 10_000


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
