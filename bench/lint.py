"""How long the linter takes for a rule set of a given size, and `diff` for a change of it.

    python3 bench/lint.py [RULES]

Prints CPU seconds (user and system): of each part in this process, and of the whole command
``oomrules check FILE`` in processes of its own, the least of three. The rules are made up,
alike on every run. Half of them name programs, the rest are globs, sizes, capabilities,
blocks and the like; one in fifty is made pointless by another.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from oomrules.language import compiler
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import linter
from oomrules.reason import diff


def rules(count: int) -> Iterator[str]:
    """Make up rules."""
    pick = random.Random(7)
    for number in range(count):
        name = f"prog{number}"[:15]
        kind = pick.choice(["never kill", "kill first", "kill last", "prefer", "spare"])
        yield pick.choice(
            [
                f'{kind} uid {pick.randint(0, 60_000)} comm "{name}"',
                f'{kind} user "user{number}" comm "{name}" when rss < {pick.randint(1, 999)}MiB',
                f'{kind} comm "{name[:6]}{number}*" when rss + swap > {pick.randint(1, 99)}%',
                f'in "app-{number}.slice": {kind} anything when nice > {pick.randint(0, 15)}',
                f'in "svc{number}-*.scope": {kind} comm "{name}" with RAWIO',
                f'{kind} unit "unit{number}*.service" when not uid == {number}',
                f'{kind} cmdline "*--id={number}*" when total_vm > {pick.randint(1, 9)}GiB',
            ]
        )
        if number % 50 == 0:
            yield f'never kill uid {number} comm "{name}"\nprefer uid {number} comm "{name}" by 3'


def _cpu(start: float) -> str:
    return f"{time.process_time() - start:.2f} s"


def whole_command(text: str, rounds: int = 3) -> float:
    """Run ``oomrules check`` on a file of rules.

    Returns:
        the least CPU seconds of a few runs, with the start of Python and all imports.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.oom"
        path.write_text(text, encoding="utf-8")
        # As when it is installed, the bytecode is there; a checkout may not be written to.
        kept = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        taken = []
        for _ in range(rounds + 1):
            before = _of_children()
            subprocess.run(
                [sys.executable, "-m", "oomrules", "check", "--format", "concise", path],
                env=kept,
                stdout=subprocess.DEVNULL,
                check=False,
            )
            taken.append(_of_children() - before)
    # The first run compiles.
    return min(taken[1:])


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    lines = list(rules(count))
    text = "\n".join(lines) + "\n"
    start = time.process_time()
    old = compiler.compile_texts([RuleText("old.oom", text)])
    print(f"{len(text.splitlines())} rules; parsing and types: {_cpu(start)} of CPU")
    start = time.process_time()
    found = linter.lint(Found((RuleText("bench.oom", text),)))[1]
    print(f"check: {_cpu(start)} of CPU, {len(found)} findings")
    print(f"oomrules check FILE: {whole_command(text):.2f} s of CPU")
    new = compiler.compile_texts([RuleText("new.oom", "\n".join(lines[:-3]) + "\n")])
    start = time.process_time()
    compared = diff.compare(old, new)
    print(
        f"diff: {_cpu(start)} of CPU, {len(compared.differences)} differences, "
        f"{compared.undecided} undecided"
    )


if __name__ == "__main__":
    main()
