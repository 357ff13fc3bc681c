"""``oomrules test``: what passes, what fails and why, and what nothing exercises."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from oomrules import resources
from oomrules.attributes import ATTRIBUTES
from oomrules.commands.main import main
from oomrules.errors import Failure
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes.values import GETTERS
from oomrules.program.program import make
from oomrules.ranking.ranker import Ranker
from oomrules.testing import cases, described, trial

HOST = Path(__file__).parent.parent / "data" / "host.jsonl"
RULES = """\
never kill uid 0 comm "sshd"
kill first comm "tab" when rss > 64MiB
spare user "anna"
in shop.service: prefer anything by 3
"""
PROCESSES = """\
[process.sshd]
uid = 0
[process.tab]
rss = "100MiB"
[process.other]
rss = "200MiB"
[process.ours]
user = "anna"
rss = "200MiB"
[process.shop]
uid = 500
unit = "shop.service"
rss = "200MiB"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "x.oom").write_text(RULES)

    def write(tests: str, processes: str = PROCESSES, rules: str = 'rules = "x.oom"') -> Path:
        path = tmp_path / "x.test.toml"
        path.write_text(f"{rules}\n{processes}\n{tests}")
        return path

    return write


def case(expected: str) -> str:
    return f'[[test]]\nname = "it"\n{expected}\n'


@pytest.mark.parametrize(
    "expected",
    [
        'first = "tab"',
        'last = "ours"',
        'protected = "sshd"',
        'protected = ["sshd"]',
        'candidates = ["tab", "ours"]',
        'order = ["tab", "shop", "other", "ours"]',
        'order = ["tab", "ours"]',
        'first = "shop"\nonly = ["shop", "ours", "sshd"]',
    ],
)
def test_what_is_true_passes(expected: str, write: Write) -> None:
    assert main(["test", str(write(case(expected)))]) == 0


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ('first = "shop"', "first is tab; shop is number 2, with 307200 points"),
        ('last = "tab"', "tab is number 1"),
        ('first = "sshd"', "never kill uid 0"),
        ('protected = "ours"', "ours is number 4"),
        ('candidates = "sshd"', "sshd is no candidate"),
        ('order = ["ours", "other"]', "ours is number 4, with 25600 points; other is number 3"),
        ('order = ["sshd", "other"]', "sshd is no candidate"),
        ('first = "tab"\nonly = ["shop"]', "first is shop"),
    ],
)
def test_what_is_not_true_fails_and_says_why(
    expected: str, why: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(write(case(expected)))]) == 1
    out = capsys.readouterr().out
    assert "failed" in out and why in out and "1 test, 1 failed" in out


def test_rules_that_no_test_exercises_are_counted_and_listed(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(case('only = ["tab", "sshd"]\nfirst = "tab"'))
    assert main(["test", "--untested", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = path.parent / "x.oom"
    assert lines[-3:] == [
        "2 rules exercised by no test",
        f'  {place}:3: spare user "anna"',
        f"  {place}:4: in shop.service: prefer anything by 3",
    ]
    assert main(["test", str(write(case('first = "tab"')))]) == 0
    assert "exercised" not in capsys.readouterr().out


def test_a_snapshot_can_be_named_in_place_of_a_description(write: Write) -> None:
    given = f'rules = "x.oom"\nsnapshot = "{HOST}"'
    assert main(["test", str(write(case('candidates = "mysqld"'), "", given))]) == 0
    assert main(["test", str(write(case('candidates = "907"'), "", given))]) == 0
    assert main(["test", str(write(case("candidates = 907"), "", given))]) == 0
    assert main(["test", str(write(case('candidates = "no one"'), "", given))]) == 2


# --- forms ---------------------------------------------------------------------------------

TWO = case('first = "tab"') + case('first = "other"').replace('"it"', '"a <b> & \\"c\\" # d"')


def test_tap(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(TWO)
    assert main(["test", "--format", "tap", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["TAP version 13", "1..2"]
    assert lines[2] == f"ok 1 - {path}: it"
    assert lines[3] == f'not ok 2 - {path}: a <b> & "c" \\# d'
    assert lines[4].startswith("# first is tab")


def test_junit(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(TWO)
    assert main(["test", "--format", "junit", str(path)]) == 1
    suite = ElementTree.fromstring(capsys.readouterr().out.encode())
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "2", "1")
    names = [one.get("name") for one in suite]
    assert names == ["it", 'a <b> & "c" # d']
    (failure,) = suite[1]
    assert "first is tab" in (failure.get("message") or "")


# --- descriptions ----------------------------------------------------------------------------

# What a test file says, a condition that holds then, and one that does not.
DESCRIBED = {
    'comm = "a b"': ('comm == "a b"', 'comm == "p"'),
    "": (
        'comm == "p" and uid == 1000 and gid == 1000 and rss == 16MiB and run_time == 1h and '
        'cpu_time == 0s and nice == 0 and threads == 1 and unit == "session-1.scope" and '
        'tty == "" and state == "S" and not cap(KILL)',
        "uid == 0",
    ),
    "uid = 0": ('user == "root" and cap(SYS_ADMIN) and euid == 0', "gid != 0"),
    'user = "anna"': ('user == "anna" and uid != 0', 'user == "root"'),
    'user = "anna"\nuid = 7': ('uid == 7 and user == "anna"', "uid == 1000"),
    'group = "staff"': ('group == "staff"', 'group == "1000"'),
    "euid = 0": ("euid == 0 and uid == 1000", "euid != 0"),
    'cmdline = "a --b=c"': ('cmdline == "a --b=c"', 'cmdline == "p"'),
    'cmdline = ["a", "b c"]': ('cmdline == "a b c"', 'cmdline == "a"'),
    'exe = "/x"': ('exe == "/x"', 'exe == "/usr/bin/p"'),
    'capabilities = ["RAWIO", "CAP_BPF"]': ("cap(SYS_RAWIO) and cap(BPF)", "cap(KILL)"),
    "uid = 0\ncapabilities = []": ("not cap(KILL)", "cap(KILL)"),
    'cpu_time = "90s"': ("cpu_time == 90s", "cpu_time > 90s"),
    'run_time = "10min"': ("run_time == 10min", "run_time > 10min"),
    'rss = "100MiB"': ("rss == 100MiB and total_vm == 200MiB and anon == 100MiB", "rss < 1MiB"),
    'swap = "1GiB"\ntotal_vm = "3GiB"': ("swap == 1GiB and total_vm == 3GiB", "swap == 0B"),
    'shmem = "1MiB"\nlocked = "2MiB"\npgtables = "3MiB"\nanon = "4MiB"': (
        "shmem == 1MiB and locked == 2MiB and pgtables == 3MiB and anon == 4MiB",
        "anon == 16MiB",
    ),
    'footprint = "100MiB"': ("footprint == 100MiB and rss < 100MiB", "swap > 0B"),
    'footprint = "100MiB"\nswap = "60MiB"\npgtables = "5000B"': (
        "footprint == 100MiB and swap == 60MiB and rss < 40MiB",
        "pgtables > 5000B",
    ),
    'tty = "pts/3"': ('tty == "pts/3"', 'tty == ""'),
    'tty = "pts/300"': ('tty == "pts/300"', 'tty == "pts/44"'),
    'tty = "tty2"': ('tty == "tty2"', 'tty == "pts/2"'),
    'unit = "a.service"': ('unit == "a.service" and slice == "system.slice"', 'unit == ""'),
    'unit = "a-b.slice"': ('cgroup == "/a.slice/a-b.slice"', 'cgroup == "/a-b.slice"'),
    'unit = "a.scope"': ('cgroup == "/user.slice/user-1000.slice/a.scope"', 'unit == ""'),
    "uid = 33": ('unit == "p.service"', 'unit == "session-1.scope"'),
    'cgroup = "/x.slice/y.service"': ('unit == "y.service"', 'unit == ""'),
    "oom_score_adj = -1000": ("oom_score_adj == -1000", "oom_score_adj == 0"),
    "nice = 19\nthreads = 8\npid = 77\nppid = 5": (
        "nice == 19 and threads == 8 and pid == 77 and ppid == 5",
        "ppid == 1",
    ),
}


@pytest.mark.parametrize("said", DESCRIBED)
def test_a_described_process_has_what_is_said_and_is_like_any_other_else(
    said: str, write: Write
) -> None:
    holds, fails = DESCRIBED[said]
    file = cases.read(write(case('candidates = "p"'), f"[process.p]\n{said}\n"))
    for condition, expected in ((holds, True), (fails, False)):
        made = compiler.compile_texts([RuleText("x", f"never kill anything when {condition}")])
        ranking = Ranker(made, file.snapshot.host).rank(file.snapshot)
        assert (ranking.candidates == []) is expected, condition


@pytest.mark.parametrize(
    "name", ["uid", "user", "cmdline", "rss", "unit", "tty", "run_time", "footprint"]
)
def test_what_is_unknown_is_unknown(name: str, write: Write) -> None:
    file = cases.read(write(case('protected = "p"'), f'[process.p]\nunknown = ["{name}"]\n'))
    (process,) = (one for one in file.snapshot.by_pid.values() if one.pid != described.INIT)
    assert GETTERS[name](process, file.snapshot) is None


def test_a_process_is_described_by_every_attribute_that_is_its_own() -> None:
    # What follows from the control group is described by that.
    own = {name for name in ATTRIBUTES if "." not in name} - {"slice", "totalpages"}
    assert own <= set(described.KEYS)


def test_hosts_and_control_groups_can_be_described(write: Write) -> None:
    text = """
[host]
memory = "1GiB"
uptime = "2h"
[scope."/system.slice/a.service"]
memory_max = "100MiB"
properties = { OOMPolicy = "stop" }
[process.p]
unit = "a.service"
rss = "60MiB"
run_time = "90min"
"""
    file = cases.read(write(case('protected = "p"'), text))
    for condition in ("rss > 50%", 'unit.oom_policy == "stop"', "unit.memory_max == 100MiB"):
        made = compiler.compile_texts([RuleText("x", f"never kill anything when {condition}")])
        assert not Ranker(made, file.snapshot.host).rank(file.snapshot).candidates


def test_the_host_s_own_figures_can_be_described_and_are_else_those_of_one_at_rest(
    write: Write,
) -> None:
    text = """
[host]
memory = "1GiB"
swap = "2GiB"
available = "90MiB"
swap_free = "1GiB"
pressure = 12.5
stall = 40
[scope."/system.slice/a.service"]
memory = "20MiB"
memory_low = "30MiB"
stall = 7
[process.p]
unit = "a.service"
user = "anna"
growth = "3MiB"
footprint = "60MiB"
[process.q]
user = "anna"
"""
    file = cases.read(write(case('protected = "p"'), text))
    for condition in (
        "host.available < 10% and host.swap_free == 50% and host.swap == 2GiB",
        "host.free == 512MiB and host.shmem == 0B and host.memory == 1GiB",
        "host.totalpages == 3GiB and totalpages == 3GiB",
        "host.pressure == 12.5% and host.stall == 40%",
        "unit.memory_low == 30MiB and cgroup.memory == 20MiB and cgroup.processes == 1",
        "growth == 3MiB and user.processes == 2 and user.footprint > 70MiB",
    ):
        made = compiler.compile_texts([RuleText("x", f'never kill comm "p" when {condition}')])
        ranking = Ranker(made, file.snapshot.host).rank(file.snapshot)
        assert [one.comm for one in ranking.candidates] == ["q"], condition


WRONG = {
    "a host's share": ("[host]\nstall = 101\n" + case('first = "p"'), "a percentage"),
    "a host's size": ("[host]\nfree = 5\n" + case('first = "p"'), "300MiB"),
    "no TOML": ("[process.p", "not TOML"),
    "no test": ("[process.p]", "no test"),
    "no name": ('[[test]]\nfirst = "p"', "has no name"),
    "nothing expected": ('[process.p]\n[[test]]\nname = "a"', "nothing is expected"),
    "unknown key": ("[proces.p]\n" + case('first = "p"'), "did you mean `process`"),
    "unknown expectation": ("[process.p]\n" + case('frist = "p"'), "did you mean `first`"),
    "unknown attribute": ("[process.p]\nrsss = 1\n" + case('first = "p"'), "did you mean `rss`"),
    "unknown process": ("[process.p]\n" + case('first = "q"'), "no process q"),
    "size without unit": ("[process.p]\nrss = 5\n" + case('first = "p"'), "300MiB"),
    "wrong unit": ('[process.p]\nrss = "5MB"\n' + case('first = "p"'), "5MiB"),
    "not a size": ('[process.p]\nrss = "big"\n' + case('first = "p"'), "300MiB"),
    "a time": ('[process.p]\nrun_time = "2d"\n' + case('first = "p"'), "host is up"),
    "not a number": ('[process.p]\nuid = "x"\n' + case('first = "p"'), "whole number"),
    "not a text": ("[process.p]\ncomm = 5\n" + case('first = "p"'), "text"),
    "not a list": ('[process.p]\nunknown = "rss"\n' + case('first = "p"'), "list"),
    "a capability": ('[process.p]\ncapabilities = ["X"]\n' + case('first = "p"'), "no single X"),
    "the same pid": ("[process.p]\npid = 5\n[process.q]\npid = 5\n" + case('first = "p"'), "taken"),
    "a terminal": ('[process.p]\ntty = "x"\n' + case('first = "p"'), "pts/3"),
    "a unit": ('[process.p]\nunit = "x"\n' + case('first = "p"'), "nginx.service"),
    "not a table": ("process = 5\n" + case('first = "p"'), "table"),
    "a small footprint": (
        '[process.p]\nfootprint = "1MiB"\nswap = "2MiB"\n' + case('first = "p"'),
        "less than swap and pgtables together",
    ),
    "two footprints": (
        '[process.p]\nfootprint = "1MiB"\nrss = "1MiB"\n' + case('first = "p"'),
        "leave out the rss",
    ),
    "unknown of nothing": ('[process.p]\nunknown = ["x"]\n' + case('first = "p"'), "unknown"),
    "no rules": ('rules = "nothing.oom"\n[process.p]\n' + case('first = "p"'), "nothing.oom"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_a_test_file_is_a_failure_that_names_the_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, why = WRONG[name]
    path = tmp_path / "bad.test.toml"
    path.write_text(text)
    assert main(["test", str(path)]) == 2
    err = capsys.readouterr().err
    assert why in err and (str(path) in err or name == "no rules")


def test_a_name_of_several_processes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.test.toml"
    path.write_text('[process.a]\ncomm = "x"\n[process.b]\ncomm = "x"\n' + case('first = "x"'))
    with pytest.raises(Failure, match="2 processes are called x"):
        cases.read(path).pid("x")


def test_no_tests_are_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(tmp_path)]) == 2
    assert main(["test", str(tmp_path / "x")]) == 2
    assert "docs/testing.md" in capsys.readouterr().err


# --- what ships ------------------------------------------------------------------------------


def test_every_preset_has_tests_and_they_pass(capsys: pytest.CaptureFixture[str]) -> None:
    folder = resources.rules()
    tested: set[str] = set()
    for path in (folder / "tests").glob("*.test.toml"):
        tested |= {Path(one).name for one in cases.read(path).rules or ()}
    assert {path.name for path in (folder / "presets").glob("*.oom")} <= tested
    assert main(["test", "--root", str(folder), str(folder / "tests")]) == 0


def test_no_shipped_rule_is_without_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    folder = resources.rules()
    main(["test", "--untested", "--root", str(folder), str(folder / "tests")])
    assert "exercised by no test" not in capsys.readouterr().out


def test_a_test_fails_for_each_shipped_rule_that_is_taken_away() -> None:
    needed: set[str] = set()
    rules: dict[str, str] = {}
    for path in sorted((resources.rules() / "tests").glob("*.test.toml")):
        # Whom a guard takes says less of a rule than the tests of the ranking, and takes longer.
        file = cases.read(path)._replace(series=())
        program = compiler.compile_rules(rulefiles.given(file.rules or ()))
        for number, scope in enumerate(program.scopes):
            for rule in scope.rules:
                rules[rule.place] = rule.text
                scopes = list(program.scopes)
                left = tuple(other for other in scope.rules if other is not rule)
                scopes[number] = scope._replace(rules=left)
                less = make(tuple(scopes), program.definitions)
                if any(outcome.problems for outcome in trial.run(file, less, set())):
                    needed.add(rule.place)
    assert len(rules) > 100
    assert {place: text for place, text in rules.items() if place not in needed} == {}


def test_without_a_path_the_tests_beside_the_rules_are_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "etc" / "oomrules.d"
    (folder / "tests").mkdir(parents=True)
    (folder / "50-x.oom").write_text('never kill uid 1000 comm "mine"\n')
    (folder / "tests" / "x.test.toml").write_text("[process.mine]\n" + case('protected = "mine"'))
    assert main(["test", "--format", "tap", "--root", str(tmp_path)]) == 0
    assert "x.test.toml" in capsys.readouterr().out


def test_the_rules_of_the_command_line_take_the_place_of_those_of_the_file(write: Write) -> None:
    path = write(case('first = "other"'))
    other = path.parent / "y.oom"
    other.write_text('kill first comm "other"\n')
    assert main(["test", str(path)]) == 1
    assert main(["test", "--rules", str(other), str(path)]) == 0


FAMILY = """\
[process.hub]
uid = 0
[process.shell]
parent = "hub"
[process.kernel]
parent = "shell"
[process.other]
"""


def test_a_process_has_the_parent_that_it_is_given(write: Write) -> None:
    tests = case('protected = ["shell", "kernel"]\norder = ["other", "hub"]\nfirst = "other"')
    path = write(tests, FAMILY)
    (path.parent / "x.oom").write_text(
        'never kill anything under uid 0 comm "hub"\n'
        'kill first anything child of comm "systemd" uid 0 when uid > 0\n'
    )
    assert main(["test", str(path)]) == 0


@pytest.mark.parametrize("parent", ["nobody", "shell"])
def test_a_parent_that_is_not_described_is_refused(
    write: Write, parent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    family = FAMILY.replace('parent = "hub"', f'parent = "{parent}"')
    assert main(["test", str(write(case('first = "hub"'), family))]) == 2
    assert "process.shell.parent" in capsys.readouterr().err
