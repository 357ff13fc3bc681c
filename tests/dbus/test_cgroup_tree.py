"""The tree of control groups, as a directory that stands in for one."""

from __future__ import annotations

import os
from pathlib import Path

from oomrules.dbus import cgroup_tree
from oomrules.processes.units import placement


def test_a_group_whose_name_is_no_text_is_shown_with_its_figures(tmp_path: Path) -> None:
    group = os.fsencode(tmp_path) + b"/caf\xe9.service"
    os.mkdir(group)
    with open(group + b"/memory.max", "w") as file:
        file.write("4096\n")
    found = {
        path: controller.figure("max") for path, controller in cgroup_tree.groups(str(tmp_path))
    }
    assert found == {"/": None, "/caf\udce9.service": 4096}
    assert [placement(path).unit for path in found] == ["", "caf\\xe9.service"]
