"""A thousand reloads on this host, by the service as it is: nothing grows, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.service.daemon import Service
from tests.service.test_service import descriptors

RELOADS = 20 if os.environ.get("STORM") == "short" else 1000


def _size(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def test_a_thousand_reloads_cost_nothing_that_stays(serve: Callable[..., Service]) -> None:
    service = serve()
    sizes, opened = [], []
    for number in range(RELOADS):
        # Every tenth has an error, so that it is the one before that is in force.
        broken = number % 10 == 9
        text = "nevr kill uid 0\n" if broken else f"score total_vm\nprefer uid {number} by 3\n"
        service.file.write_text(text)
        service.reload()
        assert service.ask()["rules"]["state"] == ("broken" if broken else "good")
        sizes.append(_size(service.pid))
        opened.append(descriptors(service.pid))
    said = service.ask()
    first, last = sizes[RELOADS // 10], sizes[-1]
    print(
        f"\n{RELOADS} reloads: {first} KiB after the first tenth, {last} at the end, "
        f"{max(sizes)} at most"
    )
    assert said["preparations"] >= RELOADS
    assert last - first < 512
    assert opened[-1] <= opened[0]
    assert service.listed()
    assert service.end() == 0
