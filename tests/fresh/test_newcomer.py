"""`make run` and `make test` on bare machines, by people of all kinds."""

from __future__ import annotations

import re
import resource
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.fresh.root import Done, Root, checkout

Say = Callable[[str], None]
Machine = Callable[[str], Root]

WHERE = "/usr/local/src/oomrules"
REPORT = "/var/tmp/report.xml"
# What the root of a bare machine cannot run, and why; all else he can. CI runs these outside.
NOT_IN_A_ROOT = {
    "tests.processes.test_psutil::test_kernel_threads_have_their_mark_and_no_memory": (
        "a container shows no kernel threads"
    ),
}
# Why a test may be passed over for a user who is not root.
NOT_FOR_A_USER = re.compile(r"needs root|only root may|a container shows no kernel threads")
# All at once, what people's machines, cron jobs and build servers do to a command.
ODD = {
    "LANG": None,
    "LC_ALL": "C",
    "HOME": None,
    "USER": None,
    "LOGNAME": None,
    "TERM": None,
    "TZ": "<+1345>-13:45<+1445>,M9.5.0/2:45,M4.1.0/3:45",
    "PYTHONUNBUFFERED": "1",
}


# All tests run once on each Python: by root on Debian 12, by a user on Debian 13. The other one of
# both runs what depends on rights most.
OF_RIGHTS = (
    "tests/accounts tests/guard tests/processes tests/sinks tests/test_files.py tests/test_state.py"
)


class Newcomer:
    """Somebody who types the README's commands in his checkout."""

    def __init__(self, root: Root, say: Say, name: str, where: str, **options: Any) -> None:
        self.root, self.say, self.name, self.where, self.options = root, say, name, where, options
        say(f"  a new machine for {name}; {root.log} grows while a command runs")
        root.put(f"{where}.tar", checkout())
        root.run(f"mkdir -p {where} && tar -xf {where}.tar -C {where} && chown -R {name}: {where}")

    def types(self, line: str, **options: Any) -> Done:
        """Run a line, and say how long it took, how much of a processor, and how it ended."""
        begun, used = time.monotonic(), processor_time()
        done = self.root.run(
            line, **{"user": self.name, "cwd": self.where, **self.options, **options}
        )
        last = (done.output.strip().splitlines() or [""])[-1].strip("= ")
        took = f"{time.monotonic() - begun:.0f} s ({processor_time() - used:.0f} s of a processor)"
        self.say(f"  {self.name}: {line}: {took}, exit code {done.code}: {last}")
        return done

    def ranks_this_host(self, **options: Any) -> None:
        done = self.types("make run", **options)
        assert done.code == 0, told(done)
        assert re.search(r"^RANK +PID +USER", done.output, re.MULTILINE), told(done)
        listed = self.root.read(f"{self.where}/oom.list").decode()
        assert re.fullmatch(r"\d+( \d+)*\n", listed), listed

    def passes_the_tests(self, line: str = "make test", **options: Any) -> dict[str, str]:
        """Run the tests; what fails, once more.

        Two whole suites and a guest share the processors of a small machine. What fails is printed,
        and fails if it does so when it is tried again.

        Returns:
            those that were passed over, with the reason.
        """
        env = {**options.pop("env", {}), "PYTEST_ADDOPTS": f"--junitxml={REPORT}"}
        done = self.types(line, env=env, **options)
        if done.code != 0:
            self.say(f"RETRIED: what failed of `{line}`, once more.\n{told(done)}")
            env["PYTEST_ADDOPTS"] = "--last-failed --last-failed-no-failures=none"
            again = self.types(line, env=env, **options)
            assert again.code == 0, told(again)
        cases = list(ElementTree.fromstring(self.root.read(REPORT)).iter("testcase"))
        skipped = {
            f"{case.get('classname')}::{case.get('name')}": why.get("message", "")
            for case in cases
            for why in case.iter("skipped")
        }
        for reason, number in sorted(Counter(skipped.values()).items()):
            self.say(f"    passed over: {number} of {len(cases)}: {reason}")
        return skipped


def processor_time() -> float:
    """Seconds that the processes started from here, and ended, have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(done: Done) -> str:
    """What a command said, from where it matters."""
    lines = done.output.splitlines()
    begin = next(
        (n for n, line in enumerate(lines) if "= FAILURES" in line or "= ERRORS" in line), 0
    )
    return f"exit code {done.code}\n" + "\n".join(lines[max(begin, len(lines) - 400) :])


def test_both_commands_work_on_debian_12(machine: Machine, say: Say) -> None:
    """By root, at a terminal, with nothing set."""
    newcomer = Newcomer(machine("bookworm"), say, "root", WHERE, terminal=True)
    newcomer.ranks_this_host()
    assert newcomer.passes_the_tests() == NOT_IN_A_ROOT


def test_both_commands_work_on_debian_13_whatever_they_are_run_by(
    machine: Machine, say: Say
) -> None:
    """By root: below nice and ionice, with a strict umask, no terminal and an odd environment."""
    newcomer = Newcomer(machine("trixie"), say, "root", WHERE)
    odd = {"env": ODD, "prefix": ["nice", "-n", "13", "ionice", "-c", "3"]}
    newcomer.ranks_this_host(**odd)
    skipped = newcomer.passes_the_tests(f"umask 077 && make test TESTS='{OF_RIGHTS}'", **odd)
    assert skipped.items() <= NOT_IN_A_ROOT.items()


def told_to_ask_for(refused: Done) -> str:
    """The command that an administrator has to run, by what make said."""
    assert refused.code != 0
    (line,) = re.findall(r"as root:\n  (apt-get install .*)\n", refused.output)
    return str(line)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"], ids=["debian_12", "debian_13"])
def test_a_user_is_told_what_to_ask_for_and_it_is_enough(
    suite: str, machine: Machine, say: Say
) -> None:
    """There is no sudo on a bare machine, and who has one may not be allowed to use it."""
    root = machine(suite)
    root.run("useradd --create-home --shell /bin/bash anna")
    anna = Newcomer(root, say, "anna", "/home/anna/oomrules")
    asked = told_to_ask_for(anna.types("make run"))
    root.run("mkdir bin && ln -s /bin/false bin/sudo", user="anna", cwd="/home/anna")
    assert told_to_ask_for(anna.types("PATH=$HOME/bin:$PATH make run")) == asked
    done = Newcomer.types(anna, f"apt-get -qq update && {asked} -y -qq", user="root")
    assert done.code == 0, told(done)
    anna.ranks_this_host()
    tests = f" TESTS='{OF_RIGHTS}'" if suite == "bookworm" else ""
    skipped = anna.passes_the_tests(f"make test{tests}")
    assert [why for why in skipped.values() if not NOT_FOR_A_USER.search(why)] == []
