"""What capabilities are worth in another user namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker
from tests.processes.support import (
    field,
    needs_root,
    program,
    value,
)


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
    ranked = Ranker(made, source.host).rank(source).pids
    assert ranked == ([] if counts else [7])
    source.close()
