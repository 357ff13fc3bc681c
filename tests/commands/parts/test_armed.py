"""What `oomrules guard` notes of the places where guards look."""

from __future__ import annotations

import subprocess
from pathlib import Path

from oomrules.commands.parts import armed


def test_the_command_that_is_proposed_switches_pressure_on(tmp_path: Path) -> None:
    group = tmp_path / "it's a.scope"
    group.mkdir()
    switch = group / "cgroup.pressure"
    switch.write_text("0\n")
    (note,) = armed.switched_off((str(switch),))
    assert note.startswith(f"{switch} is 0, so guards that ask for scope.stall")
    subprocess.run(["sh", "-c", note.split("`")[1]], check=True)
    assert switch.read_text() == "1\n"


def test_a_user_with_many_groups_fills_no_page() -> None:
    said = armed.switched_off(tuple(f"/sys/fs/cgroup/{n}/cgroup.pressure" for n in range(500)))
    assert len(said) < 10 and "495 more units" in said[-1]
    (note,) = armed.switched_off(("/sys/fs/cgroup/\x1b[2J/cgroup.pressure",))
    assert "`" not in note
