"""The kernel module at the limit of a unit, often enough to see a chance of one in ten."""

from __future__ import annotations

from tests.vm import limits, module
from tests.vm.guest import Guest
from tests.vm.module import statistics

TIMES = 20


def test_the_listed_process_of_a_full_unit_dies_first_each_time(fresh_guest: Guest) -> None:
    guest = fresh_guest
    module.load(guest)
    first = [limits.grow(guest, listed=True) for _ in range(TIMES)]
    both = len(guest.kills()) - TIMES
    guest.run("echo 0 > /sys/module/oom/parameters/memcg", check=True)
    without = [limits.grow(guest, listed=True) for _ in range(TIMES)]
    print(
        f"\nthe listed one first: {first.count('small')} of {TIMES}, a second victim: {both}; "
        f"without the probe: {without.count('small')} of {TIMES}"
    )
    assert first == ["small"] * TIMES
    assert without == ["large"] * TIMES
    assert statistics(guest)["kills"] >= TIMES
