"""What holds for every test."""

from hypothesis import settings

# A property is tried on the same examples each time, and takes as long as a busy machine needs.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")
