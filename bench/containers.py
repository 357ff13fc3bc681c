"""Show what rules about containers cost a ranking, as ratios to the same rules without them.

5,000 made-up processes in 200 containers are ranked again and again, each time as if every process
had changed. The reading of ``/proc`` is not in it: it is the same, since the place of a process is
read once.
"""

from __future__ import annotations

import time
from statistics import median

from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import ordinary
from oomrules.processes.recorded import Recorded
from oomrules.ranking.ranker import Ranker

PROCESSES, CONTAINERS, PASSES = 5000, 200, 25
PLAIN = "score rss + swap\nprefer niced\ndefine niced = nice > 0\n"
RULES = {
    "no rule about containers": PLAIN,
    'kill first container.name "batch*"': PLAIN + 'kill first container.name "batch*"\n',
    'never kill pod.namespace "kube-system"': PLAIN + 'never kill pod.namespace "kube-system"\n',
    'kill first pod.qos "BestEffort"': PLAIN + 'kill first pod.qos "BestEffort"\n',
    'kill first unit.description "x*" (for comparison)': PLAIN
    + 'kill first unit.description "x*"\n',
}


def host() -> Recorded:
    """Return a host whose processes are in containers of pods."""
    lines = []
    for number in range(PROCESSES):
        which = number % CONTAINERS
        id_, pod = f"{which:064x}", f"u-{which // 2}"
        group = ordinary.container_group(id_, "containerd", pod, "Burstable")
        said = {"name": f"app-{which}", "image": "example:1"}
        lines.append(
            ordinary.process_line(
                100 + number,
                starttime=number,
                rss=1000 + number,
                cgroup=group,
                container=said,
                pod={"name": pod, "namespace": "default", "priority": 0},
            )
        )
    described = {"clock_ticks": 100, "uptime": 10_000, "mem_total": 1 << 34, "swap_total": 0}
    return ordinary.snapshot("bench", described, lines)


def seconds(rules: str, snapshot: Recorded) -> float:
    """Return the median time of a ranking."""
    ranker = Ranker(compiler.compile_texts([RuleText("x.oom", rules)]), snapshot.host)
    ranker.rank(snapshot)
    taken = []
    for _ in range(PASSES):
        for process in snapshot.by_pid.values():
            process.changed()
        begun = time.process_time()
        ranker.rank(snapshot)
        taken.append(time.process_time() - begun)
    return median(taken)


def main() -> None:
    """Print a row for each rule."""
    snapshot = host()
    found = {name: seconds(rules, snapshot) for name, rules in RULES.items()}
    base = found["no rule about containers"]
    for name, took in found.items():
        print(f"{took / base:5.2f}  {name}")


if __name__ == "__main__":
    main()
