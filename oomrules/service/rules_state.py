"""The states of the rules on disk, and the words for them."""

from __future__ import annotations

from oomrules.lean import NamedTuple

GOOD, BROKEN, MISSING, UNKNOWN = "good", "broken", "missing", "unknown"

# What each means for the rules in force; nothing is to be said of good ones.
WORDS = {
    BROKEN: "the rules on disk have errors; the last good ones stay in force",
    MISSING: "the rules on disk have errors, and there are no earlier ones",
    UNKNOWN: "the rules on disk could not be compiled; what was in force stays",
}


class RulesState(NamedTuple):
    """Whether the rules on disk are those in force.

    Attributes:
        state: ``good``, ``broken`` (the last good ones stay), ``missing`` (there are none yet)
            or ``unknown`` (they could not be compiled, for a reason that is not theirs).
        since: when that was found out, in seconds since the boot.
        details: the diagnostics, or the reason.
    """

    state: str
    since: float
    details: list[str]
