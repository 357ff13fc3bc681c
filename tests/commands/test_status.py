"""What ``status`` says beyond what the service knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules.commands.status import overruling


@pytest.mark.parametrize(
    ("panic", "allocating", "names"),
    [
        ("0", "0", []),
        ("1", "0", ["panic_on_oom"]),
        ("2", "0", ["panic_on_oom"]),
        ("0", "-1", ["oom_kill_allocating_task"]),
        ("2", "1", ["panic_on_oom", "oom_kill_allocating_task"]),
    ],
)
def test_settings_that_overrule_the_list_are_told(
    tmp_path: Path, panic: str, allocating: str, names: list[str]
) -> None:
    values = {"panic_on_oom": panic, "oom_kill_allocating_task": allocating}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    found = overruling(tmp_path)
    assert len(found) == len(names)
    for text, name in zip(found, names, strict=True):
        assert text.startswith(f"vm.{name} is {values[name]}: ")
        assert f"`sysctl vm.{name}=0`" in text


def test_a_kernel_without_these_settings_is_not_complained_of(tmp_path: Path) -> None:
    assert overruling(tmp_path) == []
