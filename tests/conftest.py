"""What holds for every test."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.children import child, nobody, spawn
from tests.fake_proc import proc

__all__ = ["child", "nobody", "proc", "spawn"]

# A property is tried on the same examples each time, and takes as long as a busy machine needs.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def no_tracker_is_left() -> Iterator[None]:
    """Python's own helper of processes ends with the test that has started it.

    Else it is a child of the tests' process as long as that lives, and some tests rank children.
    """
    yield
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        tracker._resource_tracker._stop()
