"""Ten thousand damaged reports, seeded: MUTATIONS is how many, MUTATIONS_FROM the first."""

from __future__ import annotations

import os

from tests.report.mutations import mutated
from tests.report.test_mutations import look_at

MANY = int(os.environ.get("MUTATIONS", "10000"))
FIRST = int(os.environ.get("MUTATIONS_FROM", "1000"))


def test_no_damage_makes_a_fault_or_a_victim() -> None:
    for seed in range(FIRST, FIRST + MANY):
        try:
            look_at(mutated(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
