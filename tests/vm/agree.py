"""Runs on a host with oomrules: compares what its two sources say of stopped processes.

Called with the directory that holds the package, the pinned iterator and pids. Prints, as
JSON, each field of each process in which the sources differ, and the rankings of both by
several rules. Standard library and oomrules only, so it runs in the guest as it is.
"""

from __future__ import annotations

import json
import sys
import tempfile

RULES = {
    "the default": "",
    "times": "score cpu_time / 1ms\n",
    "memory": "score rss + swap + pgtables + locked\nprefer anything when total_vm > 20MiB by 3\n",
    "who": (
        "score 1000 * threads\nspare uid 1001\nprefer niced by 3\nspare anything when tty ~ 'pts'\n"
        "prefer anything when oom_score_adj > 100 by 7\nspare anything with NET_ADMIN by 11\n"
        "kill first comm 'x*'\nprefer anything when ppid == 1 by 13\n"
        "prefer unit '*.service' by 17\nspare gid 1001 by 19\nprefer egid 1001 by 23\n"
        "spare session 1 by 29\n"
    ).replace("'", '"'),
}


def main() -> None:
    where, pinned, *pids = sys.argv[1:]
    sys.path.insert(0, where)
    from oomrules import resources
    from oomrules.attributes import ATTRIBUTES
    from oomrules.fields import FIELDS
    from oomrules.language import compiler, rulefiles
    from oomrules.processes.bpf import IteratorSource
    from oomrules.processes.procfs import ProcSource
    from oomrules.processes.snapshot import UNREAD
    from oomrules.program.program import Program, make
    from oomrules.ranking.ranker import Ranker

    wanted = {int(pid) for pid in pids}
    # What only /proc has is read from it by both.
    fields = [name for name, field in FIELDS.items() if field.row or name == "memory_cgroup"]
    problems: list[str] = []

    def both(program: Program) -> tuple[IteratorSource, ProcSource]:
        # The iterator first: reading stat changes what the kernel shows of times.
        by_iterator = IteratorSource(program, tasks=pinned, expected=True).refresh()
        by_proc = ProcSource(program).refresh()
        if not by_iterator.by_iterator:
            problems.append(by_iterator.note)
        # One clock for both: only the processes are compared.
        by_iterator.host = by_proc.host
        return by_iterator, by_proc

    everything = make((), {})._replace(attributes=frozenset(ATTRIBUTES))
    sources = both(everything)
    differences = []
    for pid in sorted(wanted):
        for field in fields:
            values = []
            for source in sources:
                process = source.by_pid[pid]
                value = getattr(process, field)
                # Where there is no group of its own for the memory, it stays unread.
                unread = value is UNREAD and field != "memory_cgroup"
                values.append(source.read(process, field) if unread else value)
            if values[0] != values[1]:
                differences.append([pid, field, *values])
    seen = {pid: sources[0].by_pid[pid] for pid in wanted}
    rankings = {}
    for name, text in RULES.items():
        with tempfile.NamedTemporaryFile("w", suffix=".oom") as file:
            file.write(text)
            file.flush()
            path = file.name if text else str(resources.rules())
            program = compiler.compile_rules(rulefiles.given([path]))
        rankings[name] = [
            [
                [process.pid, ranking.verdict(process).points]
                for process in ranking.candidates
                if process.pid in wanted
            ]
            for source in both(program)
            for ranking in [Ranker(program, source.host).rank(source)]
        ]
    result = {
        "problems": problems,
        "differences": differences,
        "rankings": rankings,
        "processes": {
            pid: {field: getattr(process, field) for field in fields}
            for pid, process in seen.items()
        },
        "everybody": sorted(sources[0].by_pid),
    }
    print(json.dumps(result, default=str))


main()
