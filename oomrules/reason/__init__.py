"""Reasoning over all possible processes: what rules mean, not how they are written.

A condition becomes a *region*, a union of boxes; a box gives each variable the set of the
values that it may have. Emptiness and inclusion of regions decide what the linter and
``oomrules diff`` claim. Short-lived, like the language; nothing here is resident.
"""


class Undecided(Exception):
    """A question that is too large, or of a form that is not decided."""
