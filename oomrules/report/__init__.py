"""A kernel's OOM report: read, and its choice computed again.

``reading`` makes reports of text, ``total`` and ``choice`` say whom that kernel had to take and
why, ``hosts`` makes a snapshot of a report, so that rules can be asked.
"""
