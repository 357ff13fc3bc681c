"""The command, the hook and the service put a list into force in one way, and leave the same."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oomrules import config, sinks, state_directory, targets
from oomrules.commands import hook, main
from oomrules.commands.parts import selection
from oomrules.config import Config
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.language.compiler import compile_rules, compile_texts
from oomrules.language.text import RuleText
from oomrules.processes.bpf import IteratorSource
from oomrules.processes.facts import Facts
from oomrules.processes.procfs import ProcSource
from oomrules.program.program import Program, dumps
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.sinks import see_originals
from oomrules.sinks.oom_score_adj import write
from oomrules.sinks.oom_score_adj.origins import CAP_SYS_RESOURCE
from oomrules.state import ADJUSTMENTS, LAST_LIST, LIST, State
from tests.children import CHECKOUT
from tests.fake_proc import FakeProc

RULES = """
score total_vm
never kill comm "safe"
kill first comm "first"
"""
NEVER = "never kill anything\n"

# What a process has that may write any value.
CAPABILITIES = 1 << CAP_SYS_RESOURCE
BEFORE = {10: 0, 11: 0, 12: -50, 13: 7}

# The command changes no oom_score_adj for anybody else.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Left(NamedTuple):
    """What one way left.

    Attributes:
        failed: the messages of what failed, without the paths of the test.
        state: the contents of the state directory, with the mode of each file, without what
            depends on when it was written.
        files: the contents of the targets.
        values: each oom_score_adj.
    """

    failed: list[str]
    state: dict[str, tuple[int, Any]]
    files: dict[str, str]
    values: dict[int, int]


class Host:
    """A fake host, with a state directory, a module and rules of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.state, self.root = folder, folder / "state", folder / "root"
        self.proc = FakeProc(folder / "proc")
        able = f"Name:\tx\nCapEff:\t{CAPABILITIES:016x}\n"
        (self.proc.root / "self" / "status").write_text(able)
        (self.proc.root / "self" / "uid_map").write_text("0 0 4294967295\n")
        names = (b"safe", b"last", b"first", b"x")
        for (pid, value), name in zip(BEFORE.items(), names, strict=True):
            self.proc.add(pid, name, adj=value, capabilities=CAPABILITIES, total_vm=1000 * pid)
        self.module = folder / "oom"
        self.module.touch()
        patch.setattr(targets, "KERNEL_LIST", str(self.module))
        patch.setenv("OOMRULES_STATE", str(self.state))
        patch.setenv("OOMRULES_JOURNAL", str(folder / "none"))
        patch.setattr(config, "load", lambda **_: Config(self.targets))
        patch.setattr(selection, "live", self._live)
        # What gives values back looks at its own host, and never at this machine.
        patch.setattr(write, "ProcSource", lambda made: ProcSource(made, root=str(self.proc.root)))
        self.targets: tuple[str, ...] = ()
        self.rules(RULES)

    def rules(self, text: str) -> None:
        directory = self.root / "etc" / "oomrules.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "10-mine.oom").write_text(text)
        for number in range(10, 100, 10):
            # The shipped ones are none of this test's.
            (directory / f"{number}-off.oom").write_text("")

    def source(self, program: Program) -> IteratorSource:
        return IteratorSource(program, root=str(self.proc.root), tasks=None)

    def module_says(self, text: str | None) -> None:
        """Load a module that says this of itself; None: unload it."""
        statistics = self.folder / "oom_stat"
        if text is None:
            self.module.unlink(missing_ok=True)
            statistics.unlink(missing_ok=True)
        else:
            self.module.touch()
            statistics.write_text(text)

    def limit(self, patch: pytest.MonkeyPatch, *pids: int) -> None:
        """Let these processes be in a control group with a limit, and no others."""
        for pid in BEFORE:
            group = "limited" if pid in pids else "free"
            (self.proc.root / str(pid) / "cgroup").write_text(f"0::/{group}.service\n")

        class Limit:
            def get(self, key: str) -> int | None:
                return {"memory_max": 256 * 2**20, "swap_max": 0}.get(key)

        patch.setattr(
            ProcSource, "scope", lambda _, path: Limit() if path == "/limited.service" else None
        )

    def _live(self, program: Program, *_: Any) -> IteratorSource:
        source = self.source(program)
        source.refresh()
        see_originals(source, str(self.state))
        return source

    def path(self, target: str) -> str:
        """Return a target by the word that the tests have for it."""
        paths = {"module": str(self.module), targets.OOM_SCORE_ADJ: targets.OOM_SCORE_ADJ}
        return paths.get(target) or str(self.folder / target)

    def left(self, failed: Sequence[str]) -> Left:
        files = {
            name: (self.folder / name).read_text()
            for name in ("oom", "one", "other")
            if (self.folder / name).exists()
        }
        values = {pid: self.value(pid) for pid in BEFORE}
        said = sorted(message.replace(str(self.folder), "") for message in failed)
        return Left(said, self._state(), files, values)

    def value(self, pid: int) -> int:
        return int((self.proc.root / str(pid) / "oom_score_adj").read_text())

    def _state(self) -> dict[str, tuple[int, Any]]:
        found: dict[str, tuple[int, Any]] = {}
        for path in sorted(self.state.glob("*")) if self.state.exists() else ():
            # The lock is there when it was needed, the program where it was compiled.
            if path.name in ("lock", "program.json"):
                continue
            content: Any = path.read_text()
            if path.suffix == ".json":
                content = json.loads(content)
                for key in ("time", "since", "seen", "boot"):
                    content.pop(key, None)
                for entry in content.get("processes", ()):
                    del entry["since"]
            found[path.name] = (path.stat().st_mode & 0o777, content)
        return found


def command(host: Host) -> list[str]:
    """Run ``oomrules emit`` as it is configured; return what failed."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def fail(message: str, _: str) -> int:
            said.append(message)
            return 2

        patch.setattr(main, "_fail", fail)
        from oomrules.commands import emit

        patch.setattr(emit, "say", lambda text, *_: said.append(text))
        code = main.main(["emit", "--root", str(host.root)])
    failed = [text.removeprefix("oomrules: ") for text in said if "cannot write" in text]
    assert code == (2 if failed else 1 if _is_empty(host) else 0), said
    return [message.partition(";")[0] for message in failed]


def unit_hook(host: Host) -> list[str]:
    """Do what ``oomrules hook`` does; return what failed."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hook, "_say", lambda text, *_: said.append(text))
        try:
            code = hook._apply(Namespace(unit=None, to=None, root=host.root))
            assert code == 0
        except Failure as failure:
            said.append(failure.message)
    return [text.partition(";")[0] for text in said if "cannot write" in text]


def compiled(program: Program) -> Compiled:
    return Compiled(
        program=program,
        diagnostics=[],
        fingerprint=[["x", 1]],
        files=[],
        asks=False,
        facts=Facts(),
        users={},
        groups={},
    )


def service(host: Host) -> list[str]:
    """Make a list as the service does; return what failed."""
    current = CurrentList(State(str(host.state), wait=False))
    refresh(host, current)
    current.close()
    return current.problem.split("; ") if current.problem else []


def refresh(host: Host, current: CurrentList) -> None:
    """Make a list of a host's processes by its rules."""
    program = compile_rules(rulefiles.system(host.root))
    current.direct(list(host.targets), None)
    current.adopt(compiled(program))
    assert current.source
    current.source.close()
    current.source = host.source(program)
    see_originals(current.source, str(host.state))
    assert current.refresh()


WAYS: dict[str, Callable[[Host], list[str]]] = {
    "command": command,
    "hook": unit_hook,
    "service": service,
}


def _is_empty(host: Host) -> bool:
    listed = host.state / LIST
    return listed.exists() and not listed.read_text().strip()


@pytest.fixture
def by_each_way(tmp_path: Path) -> Callable[..., dict[str, Left]]:
    """Put a list into force in each way, on hosts that are alike; return what each left."""

    def put(*rounds: Sequence[str], rules: str = RULES) -> dict[str, Left]:
        found = {}
        for name, way in WAYS.items():
            with pytest.MonkeyPatch.context() as patch:
                host = Host(tmp_path / name, patch)
                host.rules(rules)
                for wanted in rounds:
                    host.targets = tuple(map(host.path, wanted))
                    failed = way(host)
                found[name] = host.left(failed)
        return found

    return put


@needs_root
@pytest.mark.parametrize(
    "wanted",
    [
        ["module"],
        ["one"],
        [targets.OOM_SCORE_ADJ],
        ["module", targets.OOM_SCORE_ADJ],
        ["one", "other", "module"],
        [targets.OOM_SCORE_ADJ, "one", "module", "other"],
        ["missing/list", "one"],
        ["module", "missing/list", targets.OOM_SCORE_ADJ, "none/list", "other"],
    ],
    ids=" ".join,
)
def test_the_three_leave_the_same_in_each_target_and_in_the_state_directory(
    wanted: list[str], by_each_way: Callable[..., dict[str, Left]]
) -> None:
    found = by_each_way(wanted)
    assert found["command"] == found["hook"] == found["service"]
    left = found["command"]
    # And that is what they are to leave: a failure of one target stops no other.
    missing = [name for name in wanted if "/" in name]
    assert left.failed == sorted(
        f"cannot write /{name}: no such file or directory" for name in missing
    )
    order = "12 13 11\n"
    taken = {"oom" if name == "module" else name for name in wanted if name not in missing}
    taken.discard(targets.OOM_SCORE_ADJ)
    assert left.files == {"oom": ""} | dict.fromkeys(taken, order)
    adjusted = targets.OOM_SCORE_ADJ in wanted
    assert left.state.keys() == {LIST, LAST_LIST, *([ADJUSTMENTS] if adjusted else ())}
    assert left.state[LIST] == (0o600, order)
    mode, last = left.state[LAST_LIST]
    assert mode == 0o600 and [entry["pid"] for entry in last["candidates"]] == [12, 13, 11]
    assert (left.values != BEFORE) == adjusted
    assert not adjusted or left.values[10] == -1000


@needs_root
def test_values_are_given_back_where_oom_score_adj_is_a_target_no_more(
    by_each_way: Callable[..., dict[str, Left]],
) -> None:
    found = by_each_way(["module", targets.OOM_SCORE_ADJ], ["one"])
    assert found["command"] == found["hook"] == found["service"]
    left = found["command"]
    assert left.values == BEFORE and ADJUSTMENTS not in left.state and not left.failed


@needs_root
def test_where_no_process_may_be_killed_lists_are_empty_and_values_stay(
    by_each_way: Callable[..., dict[str, Left]],
) -> None:
    found = by_each_way(["one", "module", targets.OOM_SCORE_ADJ], rules=NEVER)
    assert found["command"] == found["hook"] == found["service"]
    left = found["command"]
    # With every process at -1000 the kernel panics when memory runs out.
    assert left.values == BEFORE and ADJUSTMENTS not in left.state
    assert left.files == {"one": "\n", "oom": "\n"}
    assert left.state[LIST] == (0o600, "\n") and left.state[LAST_LIST][1]["candidates"] == []


@needs_root
def test_a_list_is_put_into_force_where_its_traces_cannot_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.targets = (host.path("module"),)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("OOMRULES_STATE", str(tmp_path / "a file" / "state"))
    with pytest.MonkeyPatch.context() as patch:
        failed: list[str] = []
        patch.setattr(main, "_fail", lambda message, _: failed.append(message))
        main.main(["emit", "--root", str(host.root)])
    assert len(failed) == 1 and "a file/state" in failed[0]
    assert host.left(()).files == {"oom": "12 13 11\n"}


def test_a_target_that_fails_for_long_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service collects no circles: see ``service.memory.settle``."""
    host = Host(tmp_path, monkeypatch)
    host.targets = (host.path("missing/list"),)
    current = CurrentList(State(str(host.state), wait=False))
    refresh(host, current)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            current.refresh()
            assert "cannot write" in current.problem
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- where the host decides ------------------------------------------------------------

FOLLOWED = "kills 0\nmemcg 1\nmemcg_error 0\nmemcg_ooms 0\n"
REFUSED = "kills 0\nmemcg 0\nmemcg_error 95\nmemcg_ooms 0\n"
STOPPED = "kills 0\nmemcg 0\nmemcg_error 0\nmemcg_ooms 4\n"
OLDER = "kills 0\n"
UNLOADED = None

# Who is in a control group with a limit; all others are outside.
LIMITED, ALL = 11, set(BEFORE)


@pytest.fixture
def by_coverage(tmp_path: Path) -> Callable[..., dict[str, Left]]:
    """Put a list into force for each thing that the module says, one after the other."""

    def put(*rounds: str | None, rules: str = RULES) -> dict[str, Left]:
        found = {}
        for name, way in WAYS.items():
            with pytest.MonkeyPatch.context() as patch:
                host = Host(tmp_path / name, patch)
                host.rules(rules)
                host.limit(patch, LIMITED)
                for said in rounds:
                    host.module_says(said)
                    failed = way(host)
                found[name] = host.left(failed)
        return found

    return put


@needs_root
@pytest.mark.parametrize("before", [None, FOLLOWED, REFUSED], ids=["no module", "1", "95"])
@pytest.mark.parametrize(
    ("said", "changed"),
    [
        (FOLLOWED, set()),
        (REFUSED, {LIMITED}),
        (STOPPED, {LIMITED}),
        (OLDER, {LIMITED}),
        (None, ALL),
    ],
    ids=["1", "95", "stopped", "older", "no module"],
)
def test_the_host_decides_the_same_for_the_three(
    before: str | None,
    said: str | None,
    changed: set[int],
    by_coverage: Callable[..., dict[str, Left]],
) -> None:
    found = by_coverage(before, said, rules=f'{RULES}never kill comm "last"\n')
    assert found["command"] == found["hook"] == found["service"]
    left = found["command"]
    assert not left.failed
    assert {pid for pid in BEFORE if left.values[pid] != BEFORE[pid]} <= changed
    assert (left.values[LIMITED] == -1000) == (LIMITED in changed)
    assert (left.values[10] == -1000) == (10 in changed)
    assert (ADJUSTMENTS in left.state) == bool(changed)
    # Where it is loaded the module has the whole list in any case.
    assert left.files.get("oom") == (None if said is None else "12 13\n")


@needs_root
def test_of_values_for_groups_nothing_is_left_where_none_has_a_limit_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.module_says(REFUSED)
    host.limit(monkeypatch, 10)
    assert command(host) == [] and host.value(10) == -1000
    host.limit(monkeypatch)
    assert command(host) == [] and host.left(()).values == BEFORE
    assert not (host.state / ADJUSTMENTS).exists()


@needs_root
def test_a_list_of_some_processes_sets_no_values_for_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.module_says(REFUSED)
    host.limit(monkeypatch, 10)
    assert main.main(["emit", "--root", str(host.root), "--top", "1"]) == 0
    left = host.left(())
    assert left.values == BEFORE and left.files["oom"] == "12\n"


@needs_root
def test_the_module_gets_its_list_where_values_for_groups_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.module_says(REFUSED)
    host.limit(monkeypatch, 10)
    (tmp_path / "a file").touch()
    monkeypatch.setenv("OOMRULES_STATE", str(tmp_path / "a file" / "state"))
    assert main.main(["emit", "--root", str(host.root)]) == 2
    left = host.left(())
    assert left.values == BEFORE and left.files["oom"] == "12 13 11\n"


@needs_root
def test_the_command_says_why_there_are_values_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(tmp_path, monkeypatch)
    emit = ["emit", "--root", str(host.root)]
    host.module_says(REFUSED)
    host.limit(monkeypatch, 10, 12)
    assert main.main([*emit, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "1 value to write" in said.out and "protected by a rule" in said.out
    # What the host does is the module's.
    assert "limited.service: 1 candidate in order" in said.out and "the host" not in said.out
    assert "(errno 95); oom_score_adj serves the groups" in said.err
    assert host.left(()).values == BEFORE and host.module.read_text() == ""
    assert main.main(emit) == 0
    said = capsys.readouterr()
    assert "(errno 95); oom_score_adj serves the groups" in said.err
    assert "1 oom_score_adj value written for 1 control group with a limit" in said.err
    assert "cannot" not in said.err.replace("cannot be seen", "")
    # The groups have heads of their own.
    assert main.main([*emit, "--head", "3"]) == 2
    assert "--head goes with --to oom_score_adj only" in capsys.readouterr().err
    # Where no group has a limit there is nothing to say.
    host.limit(monkeypatch)
    assert main.main(emit) == 0
    assert "errno" not in capsys.readouterr().err


def test_the_command_tells_a_user_that_root_writes_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.module_says(REFUSED)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.main(["emit", "--root", str(host.root)]) == 2
    said = capsys.readouterr().err
    assert "only root writes it" in said and "there is no" not in said


@needs_root
def test_the_service_follows_the_module_from_list_to_list_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.limit(monkeypatch, 10)
    host.module_says(FOLLOWED)
    current = CurrentList(State(str(host.state), wait=False))
    refresh(host, current)

    def put() -> tuple[bool, int, tuple[str, ...]]:
        """Make a list; return whether one was due at once, a value, and where the list is."""
        due = current.misplaced
        assert current.refresh() and not current.problem and current.listed
        assert not current.misplaced
        return due, host.value(10), current.listed.to

    here, values = str(host.module), targets.OOM_SCORE_ADJ
    assert put() == (False, 0, (here,)) and not current.uncovered
    for said, word in ((REFUSED, "no kprobes"), (STOPPED, "does not fire"), (OLDER, "older")):
        host.module_says(said)
        # One way of not covering is as good as another.
        assert put() == (said is REFUSED, -1000, (here, values))
        if said is REFUSED:
            assert word in current.uncovered
    # Where it cannot be asked all stays.
    (tmp_path / "oom_stat").write_text("nonsense")
    assert put() == (False, -1000, (here, values))
    host.module_says(FOLLOWED)
    assert put() == (True, 0, (here,)) and not current.uncovered
    assert not (host.state / ADJUSTMENTS).exists()
    # Soon after: what is due is done, however short a time ago it was done last.
    host.module_says(STOPPED)
    assert put() == (True, -1000, (here, values)) and host.value(11) == BEFORE[11]
    host.module_says(UNLOADED)
    assert put() == (True, -1000, (values,)) and not current.uncovered
    assert host.value(11) != BEFORE[11] or host.value(12) != BEFORE[12]
    host.module_says(STOPPED)
    assert put() == (True, -1000, (here, values))
    assert {pid: host.value(pid) for pid in (11, 12, 13)} == {11: 0, 12: -50, 13: 7}
    current.release()
    assert host.left(()).values == BEFORE
    current.close()


# --- who waits for whom ----------------------------------------------------------------


def test_the_service_waits_for_no_lock_and_only_oom_score_adj_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.targets = (host.path("module"), targets.OOM_SCORE_ADJ)
    with State(str(host.state)).lock():
        (failed,) = service(host)
    assert "another oomrules holds it" in failed
    left = host.left(())
    assert left.files == {"oom": "12 13 11\n"} and left.values == BEFORE
    assert left.state.keys() == {LIST, LAST_LIST}
    # The next one has it.
    assert service(host) == [] and host.value(10) == -1000


@pytest.mark.parametrize("way", [command, unit_hook])
def test_the_command_and_the_hook_hold_the_lock_from_before_they_read_the_processes(
    way: Callable[[Host], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.targets = (host.path("module"),)
    held = []

    def live(*given: Any) -> IteratorSource:
        with pytest.raises(Failure, match="is locked"), State(str(host.state)).lock(wait=False):
            pass
        held.append(True)
        return host._live(*given)

    monkeypatch.setattr(selection, "live", live)
    assert way(host) == [] and held


# --- what is loaded --------------------------------------------------------------------

LISTS = """
import sys
sys.path.insert(0, sys.argv[1])
from oomrules.processes.facts import Facts
from oomrules.program.program import load
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.state import State
current = CurrentList(State(sys.argv[2], wait=False))
current.direct([sys.argv[2] + "/mine"], None)
current.adopt(Compiled(load(sys.argv[3]), [], [["x", 1]], [], False, Facts(), {}, {}))
assert current.refresh() and not current.problem
print(*sys.modules)
"""


def test_the_service_loads_oom_score_adj_only_where_it_is_the_sink(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(dumps(compile_texts([RuleText("x.oom", RULES)])))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", LISTS, CHECKOUT, str(tmp_path), str(rules)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert "oomrules.sinks.file" in modules
    assert not any(name.startswith("oomrules.sinks.oom_score_adj") for name in modules)


# --- a copy ----------------------------------------------------------------------------


@needs_root
def test_a_file_that_is_named_to_the_command_gets_a_copy_which_leaves_no_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.targets = (host.path("module"), targets.OOM_SCORE_ADJ)
    assert command(host) == []
    before = host.left(())
    host.rules("score total_vm\n")
    root = ["--root", str(host.root)]
    assert main.main(["emit", "--to", host.path("one"), *root]) == 0
    assert main.main(["emit", "--to", "-", *root]) == 0
    after = host.left(())
    assert after.files.pop("one") == "13 12 11 10\n"
    assert after == before


@needs_root
def test_the_kernels_list_by_hand_is_in_force_and_nothing_is_given_back_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    host.targets = (targets.OOM_SCORE_ADJ,)
    assert command(host) == []
    host.rules(RULES + 'kill last comm "x"\n')
    assert main.main(["emit", "--to", str(host.module), "--root", str(host.root)]) == 0
    left = host.left(())
    assert left.state[LIST][1] == left.files["oom"] == "12 11 13\n"
    assert left.values[10] == -1000 and ADJUSTMENTS in left.state


def test_a_user_without_a_state_directory_writes_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    monkeypatch.delenv("OOMRULES_STATE")
    monkeypatch.setattr(state_directory, "STANDARD", str(host.state))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    host.targets = (host.path("one"),)
    assert main.main(["emit", "--root", str(host.root)]) == 0
    assert main.main(["emit", "--to", host.path("other"), "--root", str(host.root)]) == 0
    assert host.left(()).files == {"oom": "", "one": "12 13 11\n", "other": "12 13 11\n"}
    assert not host.state.exists()


def test_each_target_that_stays_in_force_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Noted:
        def __init__(self, target: str) -> None:
            self.target = target

        def take_back(self) -> None:
            asked.append(self.target)

    monkeypatch.setattr(sinks, "named", lambda target, *_: Noted(target))
    state = State(str(tmp_path))
    Path(state.path(ADJUSTMENTS)).touch()
    assert sinks.take_back_all(state) == []
    assert asked == list(targets.IN_FORCE)
