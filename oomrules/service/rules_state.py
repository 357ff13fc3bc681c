"""The states of the rules on disk, and what each means for the rules in force."""

# ``good``, or with errors (``broken``: the last good ones stay; ``missing``: there are none yet),
# or not compiled for a reason that is not theirs (``unknown``).
GOOD, BROKEN, MISSING, UNKNOWN = "good", "broken", "missing", "unknown"

# Nothing is to be said of good ones.
WORDS = {
    BROKEN: "the rules on disk have errors; the last good ones stay in force",
    MISSING: "the rules on disk have errors, and there are no earlier ones",
    UNKNOWN: "the rules on disk could not be compiled; what was in force stays",
}
