"""Samples of a host, and how often they are taken."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest

from oomrules.guard import sampling
from oomrules.guard.model import Decision, Ready, Sample
from oomrules.guard.sampling import HOT, IN_FLIGHT, STILL, Places, Sampler
from oomrules.service import pressure
from tests.guard.making import armed, candidate, flight, program, ready
from tests.processes.test_cgroups import V2, Tree
from tests.service.figures import GIB, Figures

MIB = 2**20
UNIT = "/a.slice/b.service"
CALM, NEAR = Decision(), Decision(hot=True)


@pytest.fixture
def host(tmp_path: Path) -> Figures:
    return Figures(tmp_path / "figures")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path, V2)


def listed(*sentences: str) -> Ready:
    made = program(*sentences)
    return ready(armed(made, {"b.service": UNIT}), [], made)


def sampler(host: Figures, tree: Tree) -> Sampler:
    return Sampler(str(host.root), tree.open())


def test_the_figures_of_this_host_are_those_of_the_kernel() -> None:
    found = Sampler()
    host = found.read(Places()).host
    said = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {name: int(value.split()[0]) << 10 for name, value in said.items()}
    if not found.contained:
        assert host["memory"] == kib["MemTotal"] - kib.get("Hugetlb", 0)
        assert host["totalpages"] == kib["MemTotal"] + kib["SwapTotal"]
    assert host["available"] is not None and 0 < host["available"] <= (host["memory"] or 0)
    found.close()


def test_the_kernel_of_this_machine_wakes_the_guard() -> None:
    found = Sampler()
    assert found.source == "trigger" and not found.problem
    poll = select.poll()
    poll.register(found.descriptor, select.POLLPRI)
    assert poll.poll(0) == []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        found.open()
    assert len(os.listdir("/proc/self/fd")) == before
    found.close()


def test_a_sample_has_all_that_conditions_ask_for(host: Figures, tree: Tree) -> None:
    tree.put(UNIT, memory__current="1000\n", memory__max="max\n", memory__high="max\n")
    host.set(Shmem=MIB, Hugetlb=GIB)
    host.wait(700, 500)
    found = sampler(host, tree)
    made = listed(
        "kill when host.stall > 10%",
        "in b.service { kill when scope.memory > 50% and scope.processes > 3 }",
    )
    places = found.prepare(made, {UNIT: {"processes": 4}}, Places())
    got = found.read(places, killed=3.0)
    assert got.host == {
        "memory": 7 * GIB,
        "available": 6 * GIB,
        "free": 4 * GIB,
        "shmem": MIB,
        "swap": 2 * GIB,
        "swap_free": 2 * GIB,
        "totalpages": 10 * GIB,
        "some": 700,
        "full": 500,
    }
    # Without a limit on the way the RAM is the limit.
    assert got.units == {UNIT: {"memory": 1000, "limit": 8 * GIB, "processes": 4}}
    assert got.killed == 3.0
    found.close()


def test_swap_that_comes_and_goes_is_seen(host: Figures, tree: Tree) -> None:
    found = sampler(host, tree)
    host.set(SwapTotal=0, SwapFree=0)
    assert found.read(Places()).host["swap"] == 0
    host.set(SwapTotal=GIB, SwapFree=GIB)
    assert found.read(Places()).host["swap_free"] == GIB
    found.close()


def test_a_file_of_psi_that_cannot_be_read_is_unknown_and_said(
    host: Figures, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pread

    def refuse(descriptor: int, length: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("pressure/memory"):
            raise OSError(95, "Operation not supported")
        return real(descriptor, length, offset)

    # As with psi=0: the file is there and tells nothing.
    monkeypatch.setattr(os, "pread", refuse)
    found = sampler(host, tree)
    assert found.source == "none" and "psi=1" in found.problem
    assert found.read(Places()).host.get("full") is None
    found.close()


def test_figures_that_are_gone_are_unknown(host: Figures, tree: Tree) -> None:
    found = sampler(host, tree)
    os.truncate(host.root / "meminfo", 0)
    os.truncate(host.root / "pressure" / "memory", 0)
    got = found.read(Places()).host
    assert [got.get(key) for key in ("available", "swap_free", "full")] == [None] * 3
    found.close()


# --- in a container ----------------------------------------------------------------------


def contained(tree: Tree, **files: str) -> None:
    given = {
        "memory__max": f"{2 * GIB}\n",
        "memory__current": f"{GIB}\n",
        "memory__stat": f"anon 1\nshmem {MIB}\nactive_file {MIB}\ninactive_file {2 * MIB}\n"
        f"slab_reclaimable {MIB}\n",
        "memory__pressure": "some avg10=0.00 total=9\nfull avg10=0.00 total=8\n",
        "memory.swap.max": f"{GIB}\n",
        "memory.swap.current": f"{MIB}\n",
    }
    tree.put("/", **{**given, **files})


def test_in_a_container_with_a_limit_the_host_is_what_the_limit_allows(
    host: Figures, tree: Tree
) -> None:
    contained(tree)
    found = sampler(host, tree)
    assert found.contained == f"{tree.directory}/cg"
    assert found.read(Places()).host == {
        "memory": 2 * GIB,
        "available": GIB + 4 * MIB,
        "free": GIB,
        "shmem": MIB,
        "swap": GIB,
        "swap_free": GIB - MIB,
        "totalpages": 3 * GIB,
        "some": 9,
        "full": 8,
    }
    # The machine may run out before the container does.
    host.set(MemAvailable=MIB, MemFree=MIB, SwapFree=0)
    got = found.read(Places()).host
    assert (got["available"], got["free"], got["swap_free"]) == (MIB, MIB, 0)
    found.close()


@pytest.mark.parametrize("limit", ["max\n", f"{8 * GIB}\n", "nonsense\n"])
def test_without_a_limit_below_the_ram_a_container_is_as_the_host(
    limit: str, host: Figures, tree: Tree
) -> None:
    contained(tree, memory__max=limit)
    found = sampler(host, tree)
    assert found.contained == "" and found.read(Places()).host["memory"] == 8 * GIB
    found.close()


def test_what_a_container_is_not_told_is_unknown(host: Figures, tree: Tree) -> None:
    contained(tree, memory__stat="anon 1\n")
    found = sampler(host, tree)
    got = found.read(Places()).host
    assert (got["available"], got["shmem"], got["free"]) == (None, None, GIB)
    found.close()


# --- how often ---------------------------------------------------------------------------


@pytest.fixture
def woken(host: Figures, tree: Tree) -> Sampler:
    """One that the kernel wakes."""
    found = sampler(host, tree)
    found.source = "trigger"
    return found


@pytest.fixture
def alone(host: Figures, tree: Tree) -> Sampler:
    """One that has neither a trigger nor PSI."""
    found = sampler(host, tree)
    found.source = "none"
    return found


def at(seconds: float, available: int = 6 * GIB, **more: Any) -> Sample:
    figures = {"memory": 8 * GIB, "swap": 0, "swap_free": 0, **more}
    return Sample(seconds, {"available": available, **figures}, {})


def pauses(
    found: Sampler, sentence: str, *samples: Sample, decided: Decision = CALM
) -> list[float]:
    places = found.prepare(listed(sentence), {}, Places())
    return [found.pause(decided, sample, places, None) for sample in samples]


LEVEL = "kill when host.available < 1GiB"


def test_at_rest_it_sleeps_for_as_long_as_the_level_is_far(woken: Sampler) -> None:
    assert pauses(woken, LEVEL, at(1), at(2, 3 * GIB), at(3, GIB + MIB)) == [2.5, 1.0, 0.1]


def test_without_a_trigger_it_sleeps_for_as_long_as_memory_cannot_be_gone(alone: Sampler) -> None:
    assert pauses(alone, LEVEL, at(1, 8 * GIB), at(2, 4 * GIB), at(3, GIB + MIB)) == [1.0, 0.5, 0.1]


def test_a_guard_on_stalls_leaves_it_to_the_kernel_to_wake_it(woken: Sampler) -> None:
    assert pauses(woken, "kill when host.stall > 10%", at(1)) == [10.0]


def test_while_something_holds_or_is_near_it_looks_often(woken: Sampler) -> None:
    for decided in (NEAR, Decision(counting=True), Decision(action="kill")):
        assert pauses(woken, LEVEL, at(1), decided=decided) == [HOT]


def test_what_stands_still_is_looked_at_less_often_but_never_so_that_it_is_a_gap(
    woken: Sampler,
) -> None:
    still = [at(n / 10) for n in range(1, 60)]
    found = pauses(woken, LEVEL, *still, decided=NEAR)
    assert found[0] == HOT and found[-1] == STILL < 1
    moved = [at(10.0, 5 * GIB), at(10.5, 5 * GIB)]
    assert pauses(woken, LEVEL, *moved, decided=NEAR) == [HOT, HOT]


def test_when_the_kernel_has_said_that_tasks_wait_it_looks_often(woken: Sampler) -> None:
    woken.stir(1.0)
    assert pauses(woken, LEVEL, at(1.1), at(2.9), at(3.1)) == [HOT, HOT, 2.5]


def test_without_a_trigger_waiting_makes_it_look_often(alone: Sampler) -> None:
    found = pauses(alone, LEVEL, at(1, 8 * GIB, some=0), at(2, 8 * GIB, some=60_000))
    assert found == [1.0, HOT]


def test_without_psi_pages_that_come_back_make_it_look_often(host: Figures, tree: Tree) -> None:
    (host.root / "pressure" / "memory").unlink()
    (host.root / "vmstat").write_text("nr_free_pages 5\nworkingset_refault_file 10000\npswpin 7\n")
    found = sampler(host, tree)
    assert found.source == "vmstat"
    assert pauses(found, LEVEL, at(1, 8 * GIB), at(2, 8 * GIB)) == [1.0, 1.0]
    (host.root / "vmstat").write_text("nr_free_pages 5\nworkingset_refault_file 10900\npswpin 7\n")
    assert pauses(found, LEVEL, at(3, 8 * GIB)) == [HOT]
    assert pauses(found, LEVEL, at(4, 8 * GIB)) == [1.0]
    found.close()


def test_a_victim_in_flight_is_looked_at_more_often_still(woken: Sampler) -> None:
    made = listed("terminate when host.available < 1GiB within 5s")
    places = woken.prepare(made, {}, Places())
    asked = flight(candidate(1), made.armed[0], since=1.0)
    killed = flight(candidate(1), made.armed[0], since=1.0, killed=1.0)
    assert woken.pause(CALM, at(2.0), places, killed) == IN_FLIGHT
    assert woken.pause(CALM, at(2.0), places, asked) == HOT
    # It is there when the time is over in which the victim may end by itself.
    assert woken.pause(CALM, at(5.95), places, asked) == pytest.approx(0.05)
    assert woken.pause(CALM, at(6.1), places, asked) == IN_FLIGHT


def test_the_trigger_is_harder_than_that_of_the_list() -> None:
    def share(one: bytes) -> float:
        _, stalled, window = one.rstrip(b"\0").split()
        return int(stalled) / int(window)

    ours, theirs = sampling._TRIGGERS, pressure._TRIGGERS
    assert [share(one) for one in ours] == [2 * share(one) for one in theirs]
