"""What the kernel module says that it covers, and where a list goes by that."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from oomrules import sinks, targets
from oomrules.sinks import Choice, coverage

OLDER = "writes 3\nwrites_refused 0\nkills 1\nterms 0\nrefusals 0\nfallbacks 0\nlisted 5\n"


def stat(memcg: int, error: int = 0, ooms: int = 0) -> str:
    """Return what the module says."""
    return f"{OLDER}memcg {memcg}\nmemcg_error {error}\nmemcg_ooms {ooms}\n"


class Module:
    """A module that is loaded, or not, with the switches of its kernel."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.list, self.stat = folder / "oom", folder / "oom_stat"
        self.switches = {name: folder / name for name in ("_PARAMETER", "_FTRACE", "_KPROBES")}
        patch.setattr(targets, "KERNEL_LIST", str(self.list))
        for name, path in self.switches.items():
            patch.setattr(coverage, name, str(path))

    def loaded(self, text: str) -> None:
        self.list.touch()
        self.stat.write_text(text)

    def unloaded(self) -> None:
        self.list.unlink()
        self.stat.unlink()

    def switched(self, name: str, text: str) -> None:
        self.switches[name].write_text(text)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    return Module(tmp_path, monkeypatch)


def why() -> str:
    found = coverage.read()
    assert found
    return coverage.why(found)


def test_the_file_is_beside_the_list_of_the_module() -> None:
    assert coverage.stat_path() == "/proc/oom_stat"


def test_without_a_module_nothing_is_covered(module: Module) -> None:
    assert coverage.read() is None
    module.stat.write_text(stat(1))
    assert coverage.read() is None


def test_where_the_module_follows_the_list_nothing_is_to_be_said(module: Module) -> None:
    module.loaded(stat(1, ooms=7))
    assert coverage.read() == (True, 0, 7, "")
    assert why() == ""


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.EOPNOTSUPP, "no kprobes"),
        (errno.ENOENT, "no function `out_of_memory`"),
        (errno.EINVAL, "invalid argument"),
        (4000, "unknown error 4000"),
    ],
)
def test_what_kept_the_probe_out_is_told_with_its_number(
    code: int, word: str, sign: int, module: Module
) -> None:
    module.loaded(stat(0, error=sign * code))
    assert word in why() and f"(errno {code})" in why()


def test_a_module_that_says_nothing_of_control_groups_is_an_old_one(module: Module) -> None:
    module.loaded(OLDER)
    assert "older than oomrules" in why() and "`modprobe -r oom && modprobe oom`" in why()
    found = coverage.read()
    assert found and not found.follows and found.ooms is None


def test_switches_that_stop_the_probe_are_named_with_what_turns_them(module: Module) -> None:
    module.loaded(stat(0))
    # Without ftrace there is nothing to turn.
    assert "breakpoint" in why() and "`" not in why()
    module.switched("_FTRACE", "1\n")
    assert "does not fire" in why() and "modprobe" in why()
    module.switched("_KPROBES", "0\n")
    assert f"`echo 1 > {module.switches['_KPROBES']}`" in why()
    module.switched("_FTRACE", "0\n")
    assert "`sysctl kernel.ftrace_enabled=1`" in why()
    # Nobody looks for what stops a probe that is not wanted.
    module.switched("_PARAMETER", "N\n")
    assert f"`echo 1 > {module.switches['_PARAMETER']}`" in why()
    for name in module.switches:
        module.switched(name, "1\n" if name != "_PARAMETER" else "Y\n")
    assert "does not fire" in why() and "modprobe" in why()


@pytest.mark.parametrize(
    "text", ["memcg", "memcg yes\n", "memcg 1 2\n", "\xff 1\n", "memcg\x001\n"]
)
def test_nonsense_is_told_and_covers_nothing(text: str, module: Module) -> None:
    module.list.touch()
    module.stat.write_bytes(text.encode("latin-1"))
    found = coverage.read()
    assert found and not found.follows and str(module.stat) in coverage.why(found)


# --- where a list goes -------------------------------------------------------------------


def test_where_a_list_goes_follows_what_the_module_covers(module: Module) -> None:
    here, values = targets.KERNEL_LIST, targets.OOM_SCORE_ADJ
    assert sinks.chosen() == Choice((values,))
    for text, choice in (
        (stat(1), Choice((here,))),
        (stat(0), Choice((here, values), limited=True)),
        (stat(0, error=errno.EOPNOTSUPP), Choice((here, values), limited=True)),
        (OLDER, Choice((here, values), limited=True)),
        ("", Choice((here, values), limited=True)),
    ):
        module.loaded(text)
        assert sinks.chosen() == choice
        # What is written in the configuration is meant.
        assert sinks.chosen([here, here]) == Choice((here,))
        assert sinks.chosen([values, here]) == Choice((values, here))
    module.unloaded()
    assert sinks.chosen() == Choice((values,))


def test_where_the_module_cannot_be_asked_the_last_choice_stays(module: Module) -> None:
    here, values = targets.KERNEL_LIST, targets.OOM_SCORE_ADJ
    alone, both = Choice((here,)), Choice((here, values), limited=True)
    module.loaded("nonsense")
    assert sinks.chosen(before=alone) == alone
    assert sinks.chosen(before=both) == both
    # In doubt, it protects; and what was configured, or without the module, says nothing.
    for before in (
        None,
        Choice(),
        Choice((values,)),
        Choice(("/file", here)),
        Choice((here, values)),
    ):
        assert sinks.chosen(before=before) == both
    # Only what is said counts once it is.
    module.loaded(stat(1))
    assert sinks.chosen(before=both) == alone


def test_asking_keeps_nothing_open(module: Module) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for text in (stat(1), OLDER, "nonsense"):
        module.loaded(text)
        why()
    assert sorted(os.listdir("/proc/self/fd")) == before
