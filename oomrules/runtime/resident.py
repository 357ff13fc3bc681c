"""What a process does that stays: small, and the same size for as long as it runs."""

from __future__ import annotations

import gc


def settle() -> None:
    """Stop looking for reference cycles, once everything is loaded.

    The run-time half makes none, and at each look the collector would walk over every
    process that is known. What is loaded by now stays for good.
    """
    # What was settled before may be out of use by now.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.disable()
