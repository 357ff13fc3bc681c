"""What the places are called that a list can go to, in oomrules.conf and after ``--to``.

``oomrules.sinks`` has a sink for each of them.
"""

from __future__ import annotations

import os

KERNEL_LIST = "/proc/oom"
OOM_SCORE_ADJ = "oom_score_adj"

# Those that are in force on this host, and no file of it.
IN_FORCE = (KERNEL_LIST, OOM_SCORE_ADJ)

CHOICES = f"{KERNEL_LIST}, {OOM_SCORE_ADJ} or the absolute path of a file"


def is_target(text: str) -> bool:
    """Return whether a text names a target: a word that is known, or an absolute path."""
    return text in IN_FORCE or os.path.isabs(text)
