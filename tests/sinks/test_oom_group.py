"""memory.oom.group is armed where rules say so, for nobody that a rule protects, and given back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from oomrules import sinks, targets
from oomrules.clock import boot
from oomrules.errors import Failure
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes.cgroups import Hierarchy
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker, Ranking
from oomrules.sinks import oom_group
from oomrules.state import GROUPS, State
from tests.fake_proc import FakeProc

RULES = 'score total_vm\nkill whole "a-*.service"\nnever kill comm "safe"\n'


class Host:
    """A host with control groups."""

    def __init__(self, folder: Path) -> None:
        self.proc = FakeProc(folder / "proc")
        self.groups = folder / "cgroup"
        self.groups.mkdir()
        mounts = folder / "mounts"
        mounts.write_text(
            f"27 1 0:27 / / rw - ext4 x rw\n28 27 0:28 / {self.groups} rw - cgroup2 cgroup2 rw\n"
        )
        self.hierarchy = Hierarchy(str(mounts), own=str(mounts))
        self.record = str(folder / GROUPS)
        self._pid = 100

    def add(self, group: str, comm: bytes = b"demo", adj: int = 0, value: str = "0") -> None:
        """Add a process in a control group, which is made if there is none."""
        directory = self.groups / group
        if not directory.exists():
            directory.mkdir(parents=True)
            (directory / "memory.oom.group").write_text(f"{value}\n")
        self._pid += 1
        self.proc.add(self._pid, comm, cgroup=f"0::/{group}\n".encode(), adj=adj)

    def ranking(self, rules: str = RULES) -> tuple[Ranking, ProcSource]:
        made = compile_texts([RuleText("rules", rules)])
        source = ProcSource(made, root=str(self.proc.root))
        source.hierarchy = self.hierarchy
        source.refresh()
        return Ranker(made, source.host).rank(source), source

    def arm(self, rules: str = RULES) -> oom_group.Armed:
        return oom_group.arm(*self.ranking(rules), self.record)

    def release(self) -> list[str]:
        return oom_group.release(self.record, self.hierarchy)

    def value(self, group: str) -> str:
        return (self.groups / group / "memory.oom.group").read_text().strip()

    def recorded(self) -> list[str]:
        try:
            return [one["path"] for one in json.loads(Path(self.record).read_text())["groups"]]
        except FileNotFoundError:
            return []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_unit_is_armed_and_given_back(host: Host) -> None:
    host.add("a-1.service")
    host.add("a-1.service/below")
    host.add("b.service")
    assert host.arm() == oom_group.Armed(("/a-1.service",), ())
    assert (host.value("a-1.service"), host.value("b.service")) == ("1", "0")
    assert host.value("a-1.service/below") == "0"
    assert host.recorded() == ["/a-1.service"]
    # Once more changes nothing.
    assert host.arm().paths == ("/a-1.service",)
    assert host.release() == ["/a-1.service"]
    assert host.value("a-1.service") == "0" and not host.recorded()


def test_nobody_that_is_protected_is_inside(host: Host) -> None:
    host.add("a-1.service")
    host.add("a-1.service", b"safe")
    armed = host.arm()
    assert not armed.paths and host.value("a-1.service") == "0" and not host.recorded()
    (said,) = armed.said
    assert "a-1.service is killed one process at a time" in said
    assert "safe (102), protected: rules:3" in said


def test_whoever_comes_later_and_is_protected_disarms_it(host: Host) -> None:
    host.add("a-1.service")
    assert host.arm().paths
    host.add("a-1.service/below", b"safe")
    assert not host.arm().paths
    assert host.value("a-1.service") == "0" and not host.recorded()


def test_the_kernel_spares_a_protected_process_at_its_lowest_value(host: Host) -> None:
    host.add("a-1.service")
    host.add("a-1.service", b"safe", adj=-1000)
    assert host.arm().paths == ("/a-1.service",)
    host.add("a-1.service", b"safe", adj=-999)
    assert not host.arm().paths and host.value("a-1.service") == "0"


def test_a_unit_that_is_no_longer_meant_is_given_back(host: Host) -> None:
    host.add("a-1.service")
    host.add("a-2.service")
    assert host.arm().paths == ("/a-1.service", "/a-2.service")
    assert host.arm("score total_vm\nkill whole a-2.service\n").paths == ("/a-2.service",)
    assert (host.value("a-1.service"), host.value("a-2.service")) == ("0", "1")
    assert host.arm("score total_vm\n").paths == ()
    assert host.value("a-2.service") == "0" and not host.recorded()


def test_what_was_1_before_stays_1(host: Host) -> None:
    host.add("a-1.service", value="1")
    assert host.arm().paths == ("/a-1.service",)
    assert not host.recorded()
    assert host.release() == [] and host.value("a-1.service") == "1"


def test_whoever_has_changed_it_since_keeps_his_value(host: Host) -> None:
    host.add("a-1.service")
    host.arm()
    (host.groups / "a-1.service" / "memory.oom.group").write_text("0\n")
    armed = host.arm()
    assert not armed.paths and host.value("a-1.service") == "0"
    assert "was set back to 0 by another program" in armed.said[0]
    # It stays that way, also if that program sets it once more.
    (host.groups / "a-1.service" / "memory.oom.group").write_text("1\n")
    assert host.release() == [] and host.value("a-1.service") == "1" and not host.recorded()


def test_a_new_unit_of_the_same_name_gets_nothing_back(host: Host) -> None:
    host.add("a-1.service")
    host.arm()
    directory = host.groups / "a-1.service"
    directory.rename(host.groups / "gone")
    directory.mkdir()
    (directory / "memory.oom.group").write_text("1\n")
    assert host.release() == []
    assert host.value("a-1.service") == "1" and not host.recorded()


def test_without_the_file_it_is_said_and_nothing_fails(host: Host) -> None:
    host.add("a-1.service")
    (host.groups / "a-1.service" / "memory.oom.group").unlink()
    armed = host.arm()
    assert not armed.paths and not host.recorded()
    assert "a-1.service: killed one process at a time" in armed.said[0]


def test_the_record_is_there_before_the_first_write(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add("a-1.service")
    seen = []

    def dies(*_: object) -> str | None:
        seen.extend(host.recorded())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(oom_group, "_write", dies)
        with pytest.raises(KeyboardInterrupt):
            host.arm()
    assert seen == ["/a-1.service"]
    # Whether it was written or not, it is given back what it had.
    assert host.release() == [] and host.value("a-1.service") == "0"
    host.arm()
    with monkeypatch.context() as patch:
        patch.setattr(oom_group, "_write", dies)
        with pytest.raises(KeyboardInterrupt):
            host.release()
    assert host.recorded() == ["/a-1.service"]
    assert host.release() == ["/a-1.service"] and host.value("a-1.service") == "0"


@pytest.mark.parametrize("error", (errno.ENOENT, errno.ENODEV))
def test_a_group_that_is_removed_meanwhile_is_no_fault(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    host.add("a-1.service")
    host.arm()
    written = os.write

    def removed(descriptor: int, data: bytes) -> int:
        if data in (b"1\n", b"0\n"):
            raise OSError(error, os.strerror(error))
        return written(descriptor, data)

    monkeypatch.setattr(os, "write", removed)
    assert host.release() == [] and host.recorded() == []
    assert not host.arm().said and host.recorded() == []


def test_no_link_is_followed(host: Host, tmp_path: Path) -> None:
    host.add("a-1.service")
    other = tmp_path / "other"
    other.write_text("0\n")
    file = host.groups / "a-1.service" / "memory.oom.group"
    file.unlink()
    file.symlink_to(other)
    assert not host.arm().paths
    assert other.read_text() == "0\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "oomrules.groups/1", "boot": "", "groups": 1}',
        '{"schema": "oomrules.groups/1", "boot": "BOOT", "groups": [{"path": "/../x"}]}',
        '{"schema": "oomrules.groups/1", "boot": "BOOT", '
        '"groups": [{"path": "/../x", "inode": 1, "left": false}]}',
        '{"schema": "oomrules.groups/2", "boot": "BOOT", "groups": []}',
    ],
)
def test_a_damaged_record_is_never_taken_for_one(host: Host, text: str) -> None:
    Path(host.record).write_text(text.replace("BOOT", boot()))
    host.add("a-1.service")
    if '"groups": 1' in text:
        assert oom_group.load(host.record) == {}  # of another boot
        return
    with pytest.raises(Failure, match="no record"):
        host.arm()
    assert host.value("a-1.service") == "0"


def test_the_list_of_one_unit_arms_no_other(host: Host) -> None:
    host.add("a-1.service")
    host.add("a-2.service")
    ranking, source = host.ranking()
    kept = [one for one in ranking.candidates if one.cgroup == "/a-2.service"]
    armed = oom_group.arm(ranking._replace(candidates=kept), source, host.record)
    assert armed.paths == ("/a-2.service",)


def test_a_copy_arms_nothing_and_a_list_in_force_does(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add("a-1.service")
    ranking, source = host.ranking()
    state = State(str(tmp_path / "state"))
    module = tmp_path / "oom"
    module.touch()
    copy = [sinks.named(str(tmp_path / "copy"))]
    sinks.put_all(copy, ranking, source, state)
    assert host.value("a-1.service") == "0"
    monkeypatch.setattr(targets, "KERNEL_LIST", str(module))
    monkeypatch.setattr(targets, "IN_FORCE", (str(module), "oom_score_adj"))
    put = sinks.put_all([sinks.named(str(module))], ranking, source, state)
    assert not put.failures and "1 unit to be killed as a whole" in put.done
    assert host.value("a-1.service") == "1" and state.is_grouped
    # A list that is in force nowhere any more takes it back, and so does the end.
    monkeypatch.setattr(oom_group, "Hierarchy", lambda: host.hierarchy)
    sinks.put_all(copy, ranking, source, state)
    assert host.value("a-1.service") == "1"
    sinks.put_all(copy, ranking, source, state, only=True)
    assert host.value("a-1.service") == "0" and not state.is_grouped
    sinks.put_all([sinks.named(str(module))], ranking, source, state)
    assert sinks.take_back_all(state) == []
    assert host.value("a-1.service") == "0" and not state.is_grouped
