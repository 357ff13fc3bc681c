"""Where each check draws its line; the pages have one example of each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.language.diagnostics import Diagnostic
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import linter
from oomrules.lint.checks import patterns
from oomrules.program import nodes, program
from tests.oracle import strategies
from tests.oracle.strategies import thorough


def lint(text: str) -> list[Diagnostic]:
    return linter.lint(Found((RuleText("50-test.oom", text.rstrip("\n") + "\n"),)))[1]


def found(*texts: str) -> list[str]:
    files = tuple(RuleText(f"{number}.oom", text) for number, text in enumerate(texts))
    return [one.code for one in linter.lint(Found(files))[1]]


WRONG = {
    "OOM111": ['spare comm "a\u202eb"', "# \u2066"],
    "OOM112": [
        'spare comm "ssh\u0501"',
        'list l = "p\u043estgres"',
        'spare anything when comm == "a\u2013b"',
        'in "p\u0430th.slice": spare uid 0',
        "define h\u0435avy = rss > 1GiB",
        'spare comm "\uff53shd"',
    ],
    "OOM113": ['spare comm "a\u200bb"', 'spare comm "a\u00a0b"', 'spare comm "\ufeffx"'],
    "OOM501": [
        f'spare comm "{"x" * 16}"',
        f'spare comm "{"ü" * 8}"',  # 16 bytes in 8 letters
        f'spare anything when comm == "{"x" * 16}"',
        f'spare anything when comm ~ "{"x" * 16}"',
        f'spare comm "*{"x" * 16}*"',
        f'spare comm "{"?" * 16}"',
        f'spare comm "[a-z]{"x" * 15}"',
        f'list l = "a", "{"x" * 16}"\nspare comm @l',
        f'list l = "a", "{"x" * 16}"\ndefine d = comm in @l',
    ],
    "OOM502": [
        'spare comm "*"',
        'spare comm "***"',
        'list l = "a", "*"\nspare user @l',
        'spare anything when comm ~ ""',
        'spare anything when comm ~ ".*"',
        'spare anything when comm ~ "^.*$"',
        'spare anything when comm ~ "^(a|b*)?"',
        'spare anything when comm ~ "x{0,3}"',
    ],
    "OOM503": [
        'spare unit "nginx"',
        'spare slice "user"',
        'spare unit "*nginx"',
        'spare unit "nginx.timer"',
        'spare anything when unit == "nginx"',
        'spare exe "nginx"',
        'spare exe "bin/*"',
        'spare cgroup "system.slice/*"',
        'spare anything when exe ~ "^nginx"',
        'spare anything when comm ~ "a^b"',
        'spare anything when comm ~ "a$b"',
        'spare comm "[z-a]"',
        'spare state "Running"',
        'spare tty "/dev/pts/1"',
        'spare tty "/dev/tty*"',
        'spare session.type "X11"',
        'spare anything when session.class == "User"',
        'spare unit.oom_policy "Stop"',
        'list l = "nginx", "a.service"\nspare unit @l',
    ],
    "OOM504": [
        'spare anything when comm ~ "ssh*"',
        'spare anything when exe ~ "/usr/bin/*"',
        'spare comm "^ssh"',
        'spare comm "ssh$"',
        'spare comm "a|b"',
        'spare comm "(a|b)"',
        'spare user "build\\d"',
        'spare anything when comm == "chrome*"',
        'spare anything when comm != "chrome?"',
        'spare anything when unit == "docker-*.scope"',
        'spare anything when cmdline == "java*"',
    ],
    "OOM505": [
        'in "docker/*": spare uid 0',
        'in "a.slice": in "kubepods/burstable*": spare uid 0',
        'in user unit "app/*": spare uid 0',
        'in "*.timer": spare uid 0',
        'kill whole "docker/*"',
        'in "machine-qemu-3-scratch.scope": spare uid 0',
        'spare unit "machine-my-box.scope"',
        'spare unit "machine-qemu-3*"',
        'spare anything when unit == "machine-a-b.scope"',
        'list l = "a.service", "b/*"\nspare unit @l',
        'spare slice "system.slice/a.slice"',
    ],
    "OOM506": [
        'never kill unit "system.slice"',
        'spare unit "user-*.slice"',
        'spare anything when unit == "a.slice"',
        'spare user.unit "background.slice"',
        'spare slice "user.slice"',
        'list l = "a.service", "b.slice"\nspare unit @l',
    ],
    "OOM507": [
        "in user-1000.slice: prefer anything when unit.memory > 10GiB",
        'in "user-*.slice": spare anything when unit.pressure > 50%',
    ],
    "OOM508": [
        'spare user "1000"',
        'spare group "27"',
        'spare anything when user == "1000"',
        'list l = "anna", "1001"\nspare user @l',
    ],
    "OOM509": ['spare cmdline "minecraft.jar"', 'spare not cmdline "/usr/bin/a"'],
    "OOM511": ["spare uid 0 by 1", "prefer uid 0 by 1.0", "in a.slice: prefer uid 0 by 1"],
    "OOM512": ['list l = "a", "a"', 'list l = "a*", "ab"', 'list l = "a*", "a*"'],
    "OOM513": ["spare anything with KILL, BPF, KILL", "spare anything without KILL, KILL"],
    "OOM514": [
        "spare uid 5\nspare uid 5",
        "spare uid 5\nspare uid 5 by 4",  # 4 is the default
        "in a.slice: never kill uid 5\nin a.slice { never kill uid 5 }",
    ],
    "OOM515": ["in a.slice { }", "in a.slice { in b.slice { } }"],
    "OOM521": [
        "score 0",
        "score 5",
        "score -1",
        "score 3 / 0",
        "score rss / 0",
        "score 1MiB",
        "score root(16)",
        "score rss * 0",
        "in a.slice: score 1",
        "score host.available",
    ],
    "OOM537": [
        "kill first anything when host.available < 5%",
        "kill first anything when host.available < 5% and not host.stall < 10% by 3",
        "define tight = host.available < 5%\nkill first anything when tight",
        "define tight = host.available < 5%\nkill first tight",
        "kill last anything when host.swap_free < 1GiB",
        "prefer anything when host.memory > 8GiB by 2",
        "spare anything when (host.stall > 3% or host.free < 1GiB) by 2",
    ],
    "OOM531": [
        'never kill comm "a"',
        'never kill cmdline "*a*"',
        "never kill anything when nice > 5",
        'define d = comm == "a"\nnever kill d',
        'never kill anything when not comm == "a"',
        'never kill anything when uid == 0 or comm == "a"',
        'list l = "a"\nnever kill comm @l',
        # A bound is on each of them, and not on how many there are.
        'never kill comm "a" when rss < 64MiB',
        'kill last comm "a"',
        'in user.slice: kill last comm "a"',
        'in "session-*.scope": never kill comm "a"',
        'in "user@*.service": never kill comm "a"',
        "in user unit app.slice: never kill anything",
        'in "user@*.service": in user unit "*.service": kill last anything',
        'never kill user.unit "a.service"',
        'never kill anything when user.slice == "a.slice"',
        'never kill unit "*.service" comm "a"',
        'never kill ppid 1 comm "a"',
        'never kill anything under comm "a"',
        'never kill anything child of comm "a" exe "/usr/bin/a"',
        'never kill anything not under comm "a" uid 0',
        'kill last anything under (uid 0 or comm "a")',
        'never kill parent.comm "a"',
        "never kill parent.uid 0",
        'kill last exe "/usr/bin/a"',
        'never kill state "T"',
        "kill last anything when pid_depth > 0",
        'kill last anything when tty ~ "^pts"',
        "kill last oom_score_adj 500",
        'never kill cgroup "*/a.service"',
        'never kill comm "a" when cgroup ~ "a[.]service"',
        'never kill comm "a" when cgroup ~ "^/user[.]slice/"',
        'never kill comm "a" when uid >= 1000',
        'never kill comm "a" when uid != 0',
        'kill last user "*" comm "a"',
        'never kill comm "a" without SYS_ADMIN',
        'never kill comm "a" when pid_depth == 0',
        # Whoever may log in can do so from afar, and wait, before he takes the memory.
        "never kill anything when session.remote",
        'kill last anything when session.remote and session.class == "user"',
        "kill last anything when run_time > 10min",
        "never kill anything when cpu_time >= 1h and rss < 64MiB",
        # Every session without a seat is active, and a user may give it any type.
        'kill last comm "a" when session.active and session.type == "wayland"',
        'never kill comm "a" when unit.active_state == "active"',
        # What `only kill` leaves out is protected.
        'only kill comm "a"',
        'in user.slice: only kill comm "a"',
        'only kill user "a"\nonly kill exe "/a"',
        "only kill anything when run_time < 1h",
        'only kill anything when not comm == "a"',
        'only kill user.unit "app-*"',
        'spare comm "a" by 256',
        'spare comm "a" when uid >= 1000 by 1000',
        # Any number of units has these names, and any number of slices.
        'in user unit "*.scope": never kill comm "a" '
        'when user.slice == "" and unit.processes < 5 and rss < 1MiB',
        'in user unit a.scope: never kill comm "a" when unit.processes < 5 and rss < 1MiB',
        "in user unit a.scope: never kill anything "
        'when user.slice == "" and unit.processes < 500 and rss < 1MiB',
        'in user unit a.scope: never kill anything when user.slice == "" and unit.processes < 5',
    ],
    "OOM532": [
        "in app.slice: spare uid 0",
        'in "app-*": spare uid 0',
        'in user.slice: in "app-x.scope": spare uid 0',
        'spare unit "app-x.scope"',
        'spare slice "session.slice"',
        'spare anything when unit == "gnome-shell@wayland.service"',
        'list l = "a.service", "app-*.scope"\nspare unit @l',
        'in "user@*.service": in a.service: spare uid 0',
        'in "user@1000.service": spare unit "init.scope"',
        "in user unit a.slice: in b.service: spare uid 0",
    ],
    "OOM601": [
        # It is the sum of what the process holds.
        "never kill anything when footprint < rss",
        "spare anything when footprint > 1GiB and rss + swap + pgtables < 1GiB",
    ],
    "OOM612": [
        # Of two degrees the more protective one counts.
        "kill last uid 5\nkill last uid 5 by 3",
        "kill last uid 5 by 2\nkill last anything when uid == 5 or uid == 6 by 2",
        "kill first uid 5 by 3\nkill first uid 5 by 2",
        "kill first uid 5 when rss > 1GiB by 2\nkill first uid 5",
        # The wider rule holds in doubt too, and so has a part that only the unknown is in.
        "never kill anything when (nice == -20) == (rss == 0B)\n"
        "never kill anything when nice == -20 and rss == 0B",
    ],
    "OOM617": [
        "only kill uid 1\nin a.slice: only kill uid 2",
        'in "a*.slice": only kill uid 1\nin a.slice: only kill uid 2',
        # The first of the rules can hold for nobody, and the other is left to nobody.
        "only kill anything when nice > 20\nonly kill uid 1\nnever kill uid 1",
    ],
    "OOM618": [
        "never kill anything",
        'never kill user "*"',
        "never kill anything when nice >= 0 or nice < 0",
        "never kill anything when rss >= 0B",
        "in -.slice: never kill anything",
        'in "*": never kill anything',
    ],
    "OOM623": [
        "score (rss + swap) * (run_time / 1min)",
        "score rss * (run_time / 1s)",
        "score swap",
        "score shmem",
        "score locked",
        "score cpu_time",
        "score nice + 20",
        "score rss * (19 - nice)",
        "score rss * unit.oom_kills",
        "score rss / 1GiB",
        "score (rss + swap) / 1GiB",
        "score total_vm - 1GiB",
        "score rss / (run_time / 1h)",
        "score rss - 10%",
        "score growth",
        "score min(rss, swap)",
        "score footprint + oom_score_adj * (totalpages / 1000)",
        "score footprint - user.footprint",
        "score (rss + swap) * oom_score_adj",
        "in a.slice: score swap",
        'in "user@1.service": in user unit a.scope: score swap',
    ],
}
RIGHT = {
    "OOM111": ['spare comm "\u05d0"'],
    "OOM112": [
        'spare comm "\u0441\u0435\u0440\u0432\u0435\u0440"',
        'spare comm "\u0441\u0435\u0440\u0432\u0435\u0440-web1"',
        'spare comm "na\u00efve"',
        'spare comm "\u65e5\u672c"',
        'spare comm "Stra\u00dfe"',
        "# \u2013 a dash in a comment\nspare uid 0",
        'spare unit.description "A \u2013 b"',
    ],
    "OOM113": ['spare comm "a b"', "# a\u00a0b"],
    "OOM501": [
        f'spare comm "{"x" * 15}"',
        f'spare comm "{"x" * 15}*"',
        f'spare cmdline "{"x" * 16}"',
        f'spare anything when comm ~ "{"x" * 15}y?"',
        f'list l = "{"x" * 16}"\nspare cmdline @l',
    ],
    "OOM502": [
        'spare comm "?*"',
        'spare comm "[*]"',
        'spare anything when comm ~ "$"',
        'spare anything when comm ~ "a|b"',
        'spare anything when comm ~ ".+"',
        'spare anything when comm ~ "\\b"',
    ],
    "OOM503": [
        'spare unit "nginx*"',
        'spare unit "*.service"',
        'spare unit "*service"',
        'spare unit ""',
        'spare unit "nginx.serv?ce"',
        'spare exe "*/nginx"',
        'spare exe "(unreachable)*"',
        'spare anything when exe ~ "nginx"',
        'spare anything when comm ~ "^a|^b"',
        'spare anything when comm ~ "a$|b"',
        'spare anything when comm ~ "(?m)a$b"',
        'spare state "[RS]"',
        'spare comm "[a-z]"',
        'spare comm "a["',
        'spare anything when unit.oom_policy == "stop"',
        'spare anything when session.class == "new-in-systemd-999"',
    ],
    "OOM504": [
        'spare anything when comm ~ "ssh.*"',
        'spare anything when comm ~ "ss+h"',
        'spare anything when cmdline ~ "a*"',
        'spare comm "actions.runner.*"',
        'spare comm "(sd-pam)"',
        'spare cmdline "^a"',
        'spare anything when cmdline == "what?"',
        'spare comm "chrome*"',
        'spare anything when comm == "a[1]"',
    ],
    "OOM505": [
        'in "docker-*.scope": spare uid 0',
        'in "*": spare uid 0',
        'in "a.s*": spare uid 0',
        'in "[a-c].service": spare uid 0',
        'in "*ice": spare uid 0',
        'spare unit "machine-box.scope"',
        'spare unit "machine-*.scope"',
        r'spare unit "machine-qemu\x2d3\x2da.scope"',
        'spare unit "machine-setup-a.service"',
        'spare cgroup "*/docker/*"',
        'in units wanted by "multi-user.target": spare uid 0',
    ],
    "OOM506": [
        "in system.slice: spare anything",
        'spare slice "system.slice"',
        'spare slice "user-1000.slice"',
        'spare user.slice "app.slice"',
        'spare unit "*"',
        'spare anything when unit ~ "slice$"',
    ],
    "OOM507": [
        "in user-1000.slice: prefer anything when scope.memory > 10GiB",
        "in system.slice: prefer anything when unit.memory > 1GiB",
        "in a.service: prefer anything when unit.memory > 1GiB",
        "prefer anything when unit.memory > 1GiB",
    ],
    "OOM508": ["spare uid 1000", 'spare user "anna1"', 'spare comm "1000"'],
    "OOM509": ['spare cmdline "*a*"', 'spare cmdline "a b"', 'spare anything when cmdline == "a"'],
    "OOM511": [
        "spare uid 0 by 1.5",
        "spare uid 0",
        "kill last uid 0 by 1",
        "kill first uid 0 by 3",
    ],
    "OOM512": ['list l = "a", "A"', 'list l = "a", "a?"', 'list l = "a*", "*a"'],
    "OOM513": ["spare anything with KILL without BPF", "spare anything with KILL with BPF"],
    "OOM514": [
        "kill last uid 5\nkill last uid 5 by 2",
        "spare uid 5\nspare uid 5 by 2",
        "spare uid 5\nprefer uid 5",
        "spare uid 5\nin a.slice: spare uid 5",
        "kill first uid 5\nkill last uid 5",
    ],
    "OOM515": ["in a.slice { spare uid 0 }"],
    "OOM537": [
        # In a block it tells processes from others; so does anything about the process.
        "in user.slice: kill first anything when host.available < 5%",
        "kill first uid 5 when host.available < 5%",
        "kill first anything when host.available < 5% and rss > 1GiB",
        "kill first anything with SYS_ADMIN when host.available < 5%",
        "kill first anything under uid 5 when host.available < 5%",
        "define tight = host.available < 5%\nkill first uid 5 when tight",
        # Whether a process may be killed at all is more than a place.
        "never kill anything when host.available > 50%",
        "kill when host.available < 5%",
    ],
    "OOM521": ["score rss", "score root(nice)", "score 5 - nice"],
    "OOM601": [
        "spare anything when footprint > rss",
        "spare anything when footprint > 1GiB and rss + swap < 1GiB",
        "never kill anything when footprint > totalpages",
    ],
    "OOM612": [
        "kill last uid 5\nkill last uid 5 when rss > 1GiB by 3",
        "kill first uid 5 by 3\nkill first uid 5 when rss > 1GiB",
        "never kill anything when (nice == -20) == (rss == 0B)\n"
        "never kill anything when nice == -20",
    ],
    "OOM617": [
        "only kill uid 1\nin a.slice: only kill uid 1 when rss > 1GiB",
        "only kill uid 1\nin a.slice { only kill uid 1\nonly kill uid 2 }",
        "in a.slice: only kill uid 1\nin b.slice: only kill uid 2",
        "only kill uid 1\nnever kill uid 1 when nice < 0",
    ],
    "OOM618": [
        "in system.slice: never kill anything",
        "never kill anything when nice >= 0",
        "never kill uid 0",
        # Several rules together are OOM617.
        "never kill anything when nice >= 0\nnever kill anything when nice < 0",
    ],
    "OOM623": [
        program.DEFAULT_SCORE,
        "score rss",
        "score anon + swap",
        "score footprint",
        "score max(footprint, user.footprint / 4)",
        "score max(1MiB, swap)",
        "score rss / max(1, run_time / 1h) + swap",
        "score footprint + (oom_score_adj + 1000) * (host.totalpages / 1000)",
        "score rss + swap + pgtables",
        "score (rss + swap) * (1 + run_time / 1min)",
        "score (rss + swap) / (1 + run_time / 1h)",
        "score rss / root(run_time / 1h)",
        "score nice + 21",
        "score threads",
        "score unit.memory",
        "in a.slice: score total_vm",
    ],
    "OOM531": [
        'never kill uid 0 comm "a"',
        "never kill anything when nice < 0",
        'never kill comm "a" with RAWIO',
        "never kill anything when pid_depth == 0 and rss < 1MiB",
        'never kill anything when state != "D"',
        'never kill state "D" when uid == 0',
        'never kill anything under uid 0 comm "a"',
        'never kill anything child of user "b" comm "a"',
        'never kill anything under comm "a" with RAWIO',
        "never kill parent.uid 7",
        'in a.slice: never kill anything under comm "a"',
        'in a.slice: never kill comm "a"',
        'in user-1000.slice: never kill comm "a"',
        'in units part of "a.service": never kill comm "a"',
        'never kill unit "a.service" comm "a"',
        'spare comm "a"',
        'spare comm "a" by 255',
        'spare user "b" comm "a" by 1000',
        "in user unit app.slice: spare anything",
        'only kill user "a"',
        'only kill user "a" comm "b"',
        'in a.slice: only kill comm "a"',
        'only kill unit "a.service" comm "b"',
        "only kill anything when rss > 1GiB",
        # Every process has a nice value of 0, and none can take back a greater one.
        "only kill anything when nice > 0",
        "in user unit app.slice: never kill uid 1000",
        'never kill user "anna" comm "a"',
        'list l = "ann", "bob"\nkill last user @l comm "a"',
        'never kill comm "a" when uid < 1000',
        'never kill gid 27 comm "a"',
        'never kill comm "a" when not cgroup ~ "^/user[.]slice/"',
        'never kill cgroup "/system.slice/*"',
        'never kill comm "a" when session.class == "greeter"',
        'never kill comm "a" when unit.oom_policy == "kill"',
        # A rule about all that are small is about nobody in particular.
        "never kill anything when rss < 16MiB",
        "in user.slice: kill last anything when rss < 16MiB",
        "in user unit a.scope: never kill anything "
        'when user.slice == "" and unit.processes < 5 and rss < 1MiB',
        'define d = comm == "a" and user == "b"\nnever kill d',
        "never kill oom_score_adj -1000",
        "never kill anything",
        "never kill uid 0 when run_time > 10min",
        "kill last anything when run_time < 10s",
        "kill last anything when not session.remote",
    ],
    "OOM532": [
        'in user unit "app-*": spare uid 0',
        "in init.scope: spare uid 0",
        'in "*.scope": spare uid 0',
        'in "user@*.service": in "user-*.slice": spare uid 0',
        'in "user@*.service": in user unit a.service: spare uid 0',
        'in "user@*.service": spare unit "user@*.service"',
        'in "user@*.service": spare user.unit "init.scope"',
        'in "app-build.slice": spare uid 0',
    ],
}


@pytest.mark.parametrize(
    ("code", "text"), [(code, text) for code, texts in WRONG.items() for text in texts]
)
def test_a_mistake_is_found(code: str, text: str) -> None:
    assert code in found(text)


@pytest.mark.parametrize(
    ("code", "text"), [(code, text) for code, texts in RIGHT.items() for text in texts]
)
def test_a_near_miss_is_not(code: str, text: str) -> None:
    codes = found(text)
    assert code not in codes
    assert not [one for one in codes if one < "OOM5"], "the example itself is in error"


UNUSED = """\
define one = nice > 0
define two = one and comm in @names
list names = "a"
list other = "b"
prefer uid 5
"""


@pytest.mark.parametrize(
    ("rule", "unused"),
    [
        ("", ["one", "two", "@names", "@other"]),
        ("prefer one", ["two", "@names", "@other"]),
        ("prefer two", ["@other"]),
        ("define three = two\nprefer three", ["@other"]),
        ("define three = two", ["one", "two", "@names", "@other", "three"]),
        ("prefer anything when not one and comm in @other", ["two", "@names"]),
        ("spare comm @names\nspare comm @other", ["one", "two"]),
        ("in a.slice { in b.slice: kill last two }", ["@other"]),
    ],
)
def test_what_nothing_uses_is_found_in_a_whole_directory_only(rule: str, unused: list[str]) -> None:
    files = Found((RuleText("1.oom", UNUSED), RuleText("2.oom", f"{rule}\n")))
    said = [one.message for one in linter.lint(files, (Path("/etc/oomrules.d"),))[1]]
    assert len(said) == len(unused)
    assert {message.split("`")[1] for message in said} == set(unused)
    assert "OOM222" not in [one.code for one in linter.lint(files)[1]]


# --- several files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        ("OOM206", "define d = nice > 0", "define d = nice > 1"),
        ("OOM206", 'list d = "a"', 'list d = "b"'),
        ("OOM209", "score rss", "score swap"),
        ("OOM514", "spare uid 5", "spare uid 5"),
        ("OOM501", f'list l = "{"x" * 16}"', "spare comm @l"),
        ("OOM502", 'list l = "*"', "spare comm @l"),
        ("OOM503", 'list l = "nginx"', "spare unit @l"),
    ],
)
def test_a_finding_that_depends_on_two_files_names_both(code: str, first: str, second: str) -> None:
    files = (RuleText("/etc/one.oom", first), RuleText("/etc/two.oom", second))
    (one,) = linter.lint(Found(files))[1]
    assert one.code == code
    (other,) = one.related
    assert {one.source.name, other.source.name} == {"/etc/one.oom", "/etc/two.oom"}
    assert f"{other.source.name}:1" in one.message


def test_a_definition_that_replaces_another_names_both() -> None:
    files = (
        RuleText("/etc/one.oom", "define d = nice > 0", 0),
        RuleText("/run/two.oom", "define d = nice > 1\nspare d", 3),
    )
    (one,) = linter.lint(Found(files))[1]
    assert (one.code, one.source.name) == ("OOM221", "/etc/one.oom")
    assert "/run/two.oom:1" in one.message


def test_a_statement_in_error_is_blamed_for_that_alone() -> None:
    assert found(f'spare comm "{"x" * 16}" usr 0\nspare comm "*"') == ["OOM201", "OOM502"]


# --- against what patterns really match -----------------------------------------------------

_GLOBS = st.text("ab*?[]!-.", max_size=7)
_REGEXES = st.text("ab.*?$^()|+[]", max_size=7)
_TEXTS = ["", *(a + b + c for a in "ab.-" for b in ["", *"ab.]["] for c in ["", *"ab!*"])]


@thorough
@given(_GLOBS)
def test_a_glob_that_is_said_to_match_everything_or_nothing_does(glob: str) -> None:
    taken = patterns._Glob(glob)
    matched = [text for text in _TEXTS if nodes.glob(text, glob)]
    if taken.everything:
        assert matched == _TEXTS
    if taken.empty_class:
        assert not matched
    for text in matched:
        assert len(text) >= taken.least
        assert text.startswith(taken.beginning) and text.endswith(taken.ending)
        assert text == taken.beginning or not taken.plain


@thorough
@given(_REGEXES)
def test_an_expression_that_is_said_to_match_everything_or_nothing_does(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            re.compile(pattern)
        except re.error:
            return
    matched = [text for text in _TEXTS if re.search(pattern, text)]
    if patterns._matches_all(pattern):
        assert matched == _TEXTS
    if patterns._contradicts_itself(pattern):
        assert not matched
    first = patterns._anchored(pattern)
    for text in matched:
        assert len(text) >= patterns._width(pattern)
        assert text.startswith(first)


_VALUES = {
    "unit": ("nginx.service", "a-b.scope", "x.slice", "", "tmp.mount", "getty@tty1.service"),
    "slice": ("-.slice", "user-1000.slice", "system.slice"),
    "exe": ("/usr/sbin/nginx", "/", "(unreachable)/bin/x", "/memfd:x (deleted)"),
    "cgroup": ("/", "/system.slice/nginx.service", "/a/b"),
    "state": tuple("RSDTtI"),
    "unit.oom_policy": ("stop", "continue", "kill"),
    "comm": ("sshd", "x" * 15, "\u00fc" * 7, "(sd-pam)", ""),
}
_PIECES = st.lists(
    st.sampled_from([*"*?[]ab/.-^$", "nginx", ".service", "slice", "[a-z]", "/usr", "x" * 8]),
    max_size=4,
).map("".join)


@thorough
@given(st.sampled_from(sorted(_VALUES)), _PIECES, st.sampled_from(["term", "regex", "text"]))
def test_what_is_said_to_match_nothing_matches_no_real_value(
    attribute: str, pattern: str, how: str
) -> None:
    match: Callable[[str], bool]
    if how == "term":
        text = f'spare {attribute} "{pattern}"'
        match = partial(nodes.glob, pattern=pattern)
    elif how == "text":
        text = f'spare anything when {attribute} == "{pattern}"'
        match = pattern.__eq__
    else:
        text = f'spare anything when {attribute} ~ "{pattern}"'
        match = partial(nodes.search, pattern=pattern)
    codes = found(text)
    if {"OOM501", "OOM503"} & set(codes):
        assert not any(map(match, _VALUES[attribute]))
    if "OOM502" in codes:
        assert all(map(match, _VALUES[attribute]))


@settings(thorough, max_examples=60)
@given(strategies.rule_sets(guards=True))
def test_right_rules_are_never_in_error(rules: strategies.RuleSet) -> None:
    findings = linter.lint(Found(tuple(strategies.texts(rules))))[1]
    assert not [one for one in findings if one.code < "OOM5" and one.level.value == "error"]


@pytest.mark.parametrize("text", WRONG["OOM531"])
def test_what_is_proposed_for_a_self_made_protection_compiles_and_is_none(text: str) -> None:
    (finding,) = [one for one in lint(text) if one.code == "OOM531"]
    also, spare = re.findall(r"`([^`]*)`", finding.help)
    words = [text.rpartition("\n")[2].partition(word)[1] for word in ("only kill", "spare")]
    if "only kill" in words:
        assert also == 'only kill user "anna"' and spare.startswith("kill first ")
    else:
        kinds = ("spare ",) if "spare" in words else ("never kill ", "kill last ")
        assert also.startswith(kinds) and spare.startswith("spare ")
    names = "\n".join(line for line in text.split("\n")[:-1] if line.startswith(("list", "define")))
    for better in (also, spare):
        codes = {one.code for one in lint(f"{names}\n{better}\n")}
        assert not {code for code in codes if code[3] in "1234"} | codes & {"OOM531"}, better


@pytest.mark.parametrize("text", WRONG["OOM623"])
def test_what_is_proposed_for_a_score_of_0_compiles_and_is_above_0(text: str) -> None:
    (finding,) = [one for one in lint(text) if one.code == "OOM623"]
    around, _, score = text.rpartition("score ")
    for better in re.findall(r"`([^`]*)`", finding.help):
        if better.startswith("/"):
            divided, _, _ = score.rpartition(" / (")
            better = f"score {divided} {better}"
        codes = {one.code for one in lint(around + better)}
        assert not {code for code in codes if code[3] in "1234"}, better
        # A divisor of 1 or more leaves a quotient that may still be rounded down to 0.
        assert "OOM623" not in codes or " / max(" in better


@pytest.mark.parametrize("text", WRONG["OOM532"])
def test_what_is_proposed_for_a_unit_of_users_compiles_and_is_about_it(text: str) -> None:
    (finding,) = [one for one in lint(text) if one.code == "OOM532"]
    *_, better = re.findall(r"`([^`]*)`", finding.help)
    if better == "user.unit":
        assert "where the list is used" in finding.help
        return
    block = better.startswith("in ")
    rule = f"{better}: spare uid 0" if block else f"spare anything when {better}"
    if not block and " == " not in better:
        rule = f"spare {better}"
    assert not {one.code for one in lint(f"{rule}\n")} & {"OOM101", "OOM211", "OOM532"}


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ('never kill comm "a#b" # why', 'never kill uid 0 comm "a#b"'),
        ('never kill comm "a" \\\n    when nice > 0 or # why\n    rss > 1GiB',
         'never kill uid 0 comm "a" when nice > 0 or rss > 1GiB'),
        ("never kill anything when nice > 5", "never kill uid 0 when nice > 5"),
        ('never kill comm "a" when uid > 5', 'never kill user "anna" comm "a" when uid > 5'),
        ('kill last user.unit "a.service"', 'kill last user "anna" user.unit "a.service"'),
    ],
)  # fmt: skip
def test_what_is_proposed_keeps_what_was_asked(text: str, better: str) -> None:
    (finding,) = [one for one in lint(text) if one.code == "OOM531"]
    assert f"`{better}`" in finding.help


@pytest.mark.parametrize(
    "text", ["kill first anything when host.available < 5%", "prefer anything when host.stall > 3%"]
)
def test_what_is_proposed_for_a_rule_about_the_host_alone_is_a_statement(text: str) -> None:
    (one,) = lint(text)
    assert one.code == "OOM537"
    assert found(one.help.split("`")[1] + "\n") == []
