"""What holds for every test."""

from hypothesis import settings

from tests.children import child, nobody, spawn
from tests.fake_proc import proc

__all__ = ["child", "nobody", "proc", "spawn"]

# A property is tried on the same examples each time, and takes as long as a busy machine needs.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")
