"""The tree of control groups, as a directory that stands in for one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from oomrules.host import tree
from oomrules.runtime.units import placement


def test_a_group_whose_name_is_no_text_is_shown_with_its_figures(tmp_path: Path) -> None:
    group = os.fsencode(tmp_path) + b"/caf\xe9.service"
    os.mkdir(group)
    with open(group + b"/memory.max", "w") as file:
        file.write("4096\n")
    found = {path: controller.figure("max") for path, controller in tree.groups(str(tmp_path))}
    assert found == {"/": None, "/caf\udce9.service": 4096}
    assert [placement(path).unit for path in found] == ["", "caf\\xe9.service"]


def test_groups_of_any_depth_are_walked_as_far_as_there_can_be_units(tmp_path: Path) -> None:
    """Below a group that is delegated to him anybody goes as deep as the kernel lets him."""
    (tmp_path / "x.slice").mkdir()
    path = tmp_path
    for _ in range(1200):
        path = Path(f"{path}/a")
        path.mkdir()
    try:
        found = [where for where, _ in tree.groups(str(tmp_path))]
        assert "/x.slice" in found and "/a/a/a" in found
        assert len(found) < 100
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "a")], check=True)
