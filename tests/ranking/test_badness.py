"""The shipped rules give the points of Linux 2.6.10, bit for bit.

``tests/oracle/badness.c`` is the C function, compiled here and asked about as many processes.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from oomrules import resources
from oomrules.language import rulefiles
from oomrules.language.compiler import compile_rules
from oomrules.processes import recorded
from oomrules.ranking.ranker import Ranker, Ranking
from tests.children import CHECKOUT

PROCESSES = 100_000

# /proc counts times in ticks of 1/100 s; the kernel of 2005 ran at 1000 jiffies a second.
TICKS_PER_SECOND = 100
JIFFIES_PER_TICK = 10

# The clock is read in whole seconds, so that the rest must not matter.
UPTIME = 2_000_000_000.75

# What a kernel on 64 bits can have, so that unsigned long never overflows: 57 bits of
# address space in pages of 4 KiB; times whose sum in jiffies fits 64 bits.
MOST_PAGES = 2**45
MOST_TICKS = 2**59

RAWIO, ADMIN = 1 << 17, 1 << 21

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


class Task(NamedTuple):
    """A process as ``/proc`` shows it: pages, and times in ticks."""

    pid: int
    total_vm: int
    utime: int
    stime: int
    starttime: int
    nice: int
    uid: int
    euid: int
    capabilities: int

    def for_c(self) -> str:
        """Write the line that ``badness.c`` reads."""
        jiffies = self.utime * JIFFIES_PER_TICK, self.stime * JIFFIES_PER_TICK
        start = self.starttime // TICKS_PER_SECOND
        who = f"{self.nice} {self.uid} {self.euid} {self.capabilities:x}"
        return f"{self.pid} {self.total_vm} {jiffies[0]} {jiffies[1]} {start} {who} {int(UPTIME)}"

    def for_snapshot(self) -> str:
        """Write the line of a snapshot; nothing in it but the badness is worth a rule."""
        return json.dumps(
            {
                "kind": "process",
                **self._asdict(),
                "capabilities": f"{self.capabilities:016x}",
                "ppid": 1,
                "comm": "task",
                "gid": 100,
                "egid": 100,
                "threads": 1,
                "state": "S",
                "flags": 0x0040_0000,
                "rss": 1,
                "swap": 0,
                "oom_score_adj": 0,
                "cgroup": "/user.slice/user-1000.slice/session-1.scope",
            }
        )


class Answer(NamedTuple):
    """What the C function says: points by pid, exactly too, and whom it takes in turn."""

    points: dict[int, int]
    sixteenths: dict[int, int]
    chosen: list[int]


def _any_size(rng: random.Random, most: int) -> int:
    """A number up to a power of two, each magnitude equally likely; often an edge."""
    if rng.random() < 0.1:
        return rng.choice((0, 1, 2, 3, 4, 15, 16, 17, most - 1, most))
    return rng.getrandbits(rng.randint(1, most.bit_length() - 1))


def _ticks_at_a_step(rng: random.Random) -> int:
    """CPU time where its root takes a step, give or take a tick."""
    root = _any_size(rng, 2**24)
    return max(0, root**2 * 8192 // JIFFIES_PER_TICK + rng.randint(-1, 2))


def _start(rng: random.Random) -> int:
    """A start in ticks: at a step of the fourth root of the age, long ago, or to come."""
    now = int(UPTIME)
    age = rng.choice((rng.randint(0, 36) ** 4 * 1024 + rng.randint(-1, 1), rng.randint(0, now)))
    if rng.random() < 0.05:
        age = -rng.randint(0, 10**9)  # the clock of another CPU, or another time namespace
    return max(0, (now - age) * TICKS_PER_SECOND + rng.randint(0, TICKS_PER_SECOND - 1))


def make_tasks() -> Iterator[Task]:
    """Make up the processes, the same ones each time."""
    rng = random.Random(2610)
    sets = [0, RAWIO, ADMIN, RAWIO | ADMIN, 2**41 - 1, 2**41 - 1 - RAWIO, 2**41 - 1 - ADMIN]
    sets += [rng.getrandbits(41) for _ in range(20)]
    # Pid 1 is never a candidate and has no place here.
    for pid in range(2, PROCESSES + 2):
        in_user_mode = rng.choice((_ticks_at_a_step(rng), _any_size(rng, MOST_TICKS)))
        in_kernel = rng.choice((0, _any_size(rng, MOST_TICKS)))
        yield Task(
            pid,
            _any_size(rng, MOST_PAGES),
            *((in_user_mode, in_kernel) if rng.random() < 0.5 else (in_kernel, in_user_mode)),
            _start(rng),
            rng.randint(-20, 19),
            rng.choice((0, 33, 1000, 65_534, 2**32 - 2)),
            rng.choice((0, 1000, 1000, 2**32 - 2)),
            rng.choice(sets),
        )


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return list(make_tasks())


@pytest.fixture(scope="module")
def answer(tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Ask the C function about all of them, oldest first as in the kernel's task list."""
    program = tmp_path_factory.mktemp("oracle") / "badness"
    source = Path(CHECKOUT, "tests", "oracle", "badness.c")
    options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *options, "-o", program, source], check=True)
    task_list = sorted(tasks, key=lambda task: (task.starttime, task.pid))
    asked = "".join(f"{task.for_c()}\n" for task in task_list)
    said = subprocess.run([program], input=asked, capture_output=True, text=True, check=True)
    each, chosen = said.stdout.split("\n\n")
    numbers = [tuple(map(int, line.split())) for line in each.splitlines()]
    assert len(numbers) == PROCESSES
    return Answer(
        {pid: points for pid, points, _ in numbers},
        {pid: sixteenths for pid, _, sixteenths in numbers},
        [int(pid) for pid in chosen.split()],
    )


@pytest.fixture(scope="module")
def snapshot(tasks: list[Task]) -> recorded.Recorded:
    host = {
        "kind": "host",
        "schema": "oomrules.snapshot/1",
        "page_size": 4096,
        "clock_ticks": TICKS_PER_SECOND,
        "uptime": UPTIME,
        "mem_total": 2**33,
        "users": {"0": "root"},
    }
    return recorded.parse([json.dumps(host), *(task.for_snapshot() for task in tasks)], "tasks")


def rank_by(snapshot: recorded.Recorded, *names: str) -> Ranking:
    """Rank by shipped rules; by all of them, if no file is named."""
    directory = resources.rules()
    paths = [str(directory / name) for name in names] or [str(directory)]
    return Ranker(compile_rules(rulefiles.given(paths)), snapshot.host).rank(snapshot)


def assert_chosen_as_in_c(ranking: Ranking, answer: Answer) -> None:
    """Check that the order is the kernel's, and finer only where the kernel's rounding ties.

    The kernel passes over a process of 0 points. Where only the weights have made them 0, it is a
    candidate here, after all that the kernel takes.
    """
    points = answer.points
    taken = ranking.pids[: len(answer.chosen)]
    assert [points[pid] for pid in taken] == [points[pid] for pid in answer.chosen]
    exactly = sorted(answer.chosen, key=lambda pid: -answer.sixteenths[pid])
    assert taken == exactly
    spared = ranking.pids[len(taken) :]
    assert not any(points[pid] for pid in spared)
    finer = [answer.sixteenths[pid] for pid in spared]
    assert finer == sorted(finer, reverse=True)
    verdicts = [ranking.verdict(process) for process in ranking.candidates[len(taken) :: 100]]
    assert all((verdict.base or 0) > 0 and verdict.fraction != "1" for verdict in verdicts)


def test_the_shipped_badness_gives_the_points_and_the_order_of_the_c_function(
    snapshot: recorded.Recorded, answer: Answer
) -> None:
    ranking = rank_by(snapshot, "00-vocabulary.oom", "10-badness-2.6.10.oom")
    wrong = [
        (pid, verdict.points, answer.points[pid])
        for pid, process in snapshot.by_pid.items()
        for verdict in [ranking.verdict(process)]
        if verdict.points != answer.points[pid]
    ]
    assert not wrong
    assert_chosen_as_in_c(ranking, answer)


def test_the_other_shipped_rules_leave_the_badness_of_ordinary_processes_alone(
    snapshot: recorded.Recorded, answer: Answer
) -> None:
    ranking = rank_by(snapshot)
    assert_chosen_as_in_c(ranking, answer)
    for pid in range(2, PROCESSES + 2, 50):
        assert ranking.verdict(snapshot.by_pid[pid]).points == answer.points[pid]


def test_the_made_up_processes_reach_every_branch(tasks: list[Task], answer: Answer) -> None:
    assert any(task.starttime // TICKS_PER_SECOND > UPTIME for task in tasks)
    assert {task.nice for task in tasks} == set(range(-20, 20))
    assert 0 in answer.points.values()
    assert max(answer.points.values()) > MOST_PAGES
    tied = len(answer.chosen) - len({answer.sixteenths[pid] for pid in answer.chosen})
    assert tied > PROCESSES // 10
