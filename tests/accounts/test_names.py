"""Names of users and groups: whose they are, and what happens while nobody answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.accounts import mentions, nss, passwd
from oomrules.accounts.mentions import Mentions
from oomrules.accounts.names import Names
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import nodes
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker
from tests.children import CHECKOUT

# Whatever happens, no test waits for longer; what is asserted is what was answered.
GUARD = 60.0


def compiled(text: str) -> Program:
    return compiler.compile_texts([RuleText("mine.oom", text)])


# --- whose a name is -------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["root", "ann", "bob", "0", "7", "1000", "", "a:b", "a\nb", "\x1b[2J", "²"]),
    st.text(max_size=300),
)
IDS = st.one_of(st.sampled_from([0, 7, 1000, 2**32 - 1, -1]), st.integers(-5, 2**33))


@given(st.lists(st.tuples(NAMES, IDS), max_size=30))
def test_a_name_is_one_id_s_and_nobody_else_is_root(said: list[tuple[str, int]]) -> None:
    known = passwd.Accounts()
    for name, number in said:
        known.add(name, number)
    assert known.by_id[0] == "root"
    owners: dict[str, int] = {}
    for number, name in known.by_id.items():
        assert 0 <= number < 2**32 - 1
        for text in (name, *getattr(name, "aliases", ())):
            assert owners.setdefault(str(text), number) == number
            assert known.id_of(str(text)) == number
            assert 0 < len(text.encode()) <= passwd.MOST_BYTES
            assert ":" not in text and "\n" not in text
            # It would stand for another id that has no name.
            assert not text.isascii() or not text.isdigit() or len(text) > 10


def test_the_first_who_has_a_name_keeps_it_and_an_id_has_all_of_its_names() -> None:
    known = passwd.Accounts()
    for name, number in (("ann", 5), ("ann", 6), ("root", 6), ("bob", 5), ("toor", 0)):
        known.add(name, number)
    assert known.by_id == {0: "root", 5: "ann"}
    assert isinstance(known.by_id[5], nodes.Names) and known.by_id[5].aliases == ("bob",)
    assert nodes.glob(known.by_id[0], "toor")


def test_the_file_is_read_as_the_c_library_reads_it(accounts_of: Path) -> None:
    lines = [
        b"root:x:0:0::/:/bin/sh",
        b"root:x:1001:1001::/:/bin/sh",  # a second root
        b"#eve:x:5:5:::",
        b"+nis:x:6:6:::",
        b"half",
        b"nan:x:abc:0:::",
        b"big:x:99999999999999999999:0:::",
        b"12:x:34:0:::",
        b"caf\xe9:x:7:7:::",
        b"\x1b[2Jx:x:8:8:::",
        b"last:x:9:9:::",
    ]
    (accounts_of / "passwd").write_bytes(b"\n".join(lines))
    known, problem = passwd.read("user")
    assert known.by_id == {0: "root", 7: "caf\\xe9", 8: "\x1b[2Jx", 9: "last"}
    assert problem == ""


def test_a_file_that_is_none_is_said_and_waited_for_by_nobody(accounts_of: Path) -> None:
    (accounts_of / "passwd").unlink()
    known, problem = passwd.read("user")
    assert known.by_id == {0: "root"} and "passwd cannot be read" in problem
    os.mkfifo(accounts_of / "passwd")
    assert "no regular file" in passwd.read("user")[1]
    (accounts_of / "passwd").unlink()
    os.symlink("/dev/zero", accounts_of / "passwd")
    assert "no regular file" in passwd.read("user")[1]


def test_a_file_without_an_end_is_read_to_a_bound(
    accounts_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwd, "_LARGEST", 64)
    (accounts_of / "passwd").write_text("".join(f"u{n}:x:{n}:0:::\n" for n in range(1, 50)))
    known, problem = passwd.read("user")
    assert 3 < len(known.by_id) < 10 and "only the first" in problem


# --- which names rules mean ------------------------------------------------------------

RULES = (
    'never kill user "ann"',
    'never kill user "bob"',
    'never kill user "1000"',
    'never kill user "5*"',
    'never kill user "an?"',
    'list l = "ann", "x*"\nnever kill user @l',
    'never kill anything when user == "ann"',
    'never kill anything when user != "1000"',
    'never kill anything when not user == "eve"',
    'never kill anything when user ~ "^[0-9]+$"',
    "never kill anything when user == group",
    "never kill anything when user == comm",
    'define d = user == "ann" or group == "staff"\nnever kill anything when d',
    'prefer group "staff"',
    'never kill user "root"',
)


@pytest.mark.parametrize("text", RULES)
def test_the_names_that_are_chosen_decide_as_all_names_would(text: str, tmp_path: Path) -> None:
    users = {0: "root", 1000: "ann", 1001: "bob", 1002: "staff", 5000: "xeve", 7: "p"}
    known = passwd.Accounts()
    for number, name in users.items():
        known.add(name, number)
    made = compiled(text)
    chosen = {kind: known.chosen(mentions.mentioned(made, kind), [1000]) for kind in passwd.FILES}

    def verdicts(users: dict[int, str], groups: dict[int, str]) -> list[str]:
        host = {"kind": "host", "schema": recorded.SCHEMA, "page_size": 4096, "uptime": 9}
        host |= {"clock_ticks": 100, "mem_total": 1 << 30, "users": users, "groups": groups}
        lines = [host]
        for pid, uid in enumerate([0, 7, 1000, 1001, 1002, 5000, 5001, 165536], 10):
            one = {"kind": "process", "pid": pid, "comm": "p", "uid": uid, "gid": uid}
            more = {"flags": 0, "state": "S", "total_vm": 50, "rss": 9, "cgroup": "/"}
            lines.append({**one, **more, "capabilities": "0", "oom_score_adj": 0})
        (tmp_path / "host.jsonl").write_text("\n".join(map(json.dumps, lines)))
        snapshot = recorded.load(str(tmp_path / "host.jsonl"))
        ranking = Ranker(made, snapshot.host).rank(snapshot)
        said = []
        for process in snapshot.by_pid.values():
            verdict = ranking.verdict(process)
            said.append(f"{process.pid} {verdict.reason} {verdict.weight}")
        return said

    assert verdicts(chosen["user"], chosen["group"]) == verdicts(users, users)


def test_what_is_chosen_has_a_bound_and_those_present_come_first() -> None:
    known = passwd.Accounts()
    for number in range(1, 3 * passwd.MOST_NAMES):
        known.add(f"u{number}", number)
    last = 3 * passwd.MOST_NAMES - 1
    chosen = known.chosen(Mentions({}, frozenset(), True), [last])
    assert len(chosen) == passwd.MOST_NAMES and chosen[last] == f"u{last}"


def test_a_rule_without_names_asks_for_none(accounts_of: Path) -> None:
    names = Names(compiled("prefer uid 1000"), ask=["/bin/false"])
    names.settle([1, 2], [3])
    assert (names.needed, names.pids, names.problems()) == (False, (), [])


# --- a directory that answers ----------------------------------------------------------


def ask(library: str) -> list[str]:
    """The program that asks, with a directory service of the test's."""
    return ["env", f"LD_PRELOAD={library}", sys.executable, "-I", "-S", "-E", str(nss.__file__)]


def test_names_come_from_the_directory_and_stand_for_one_id(
    accounts_of: Path, directory_library: str
) -> None:
    made = compiled('prefer user "Ann"\nprefer user "nobody-such"\nprefer user "x*"')
    names = Names(made, GUARD, ask(directory_library))
    names.settle([50001, 50002, 50003, 165536])
    assert names.complete and names.problems() == []
    assert {50002, 50003, 165536} & names.users.keys() == set()
    # As the rule writes it and as the directory does.
    assert all(nodes.glob(names.users[50001], name) for name in ("ann", "Ann"))
    assert names.exists("user", "Ann") and not names.exists("user", "nobody-such")


def test_this_host_s_own_c_library_is_asked(accounts_of: Path) -> None:
    # The files of the test are empty, so that everything is asked.
    (accounts_of / "passwd").write_text("")
    names = Names(compiled('prefer user "daemon"\nprefer user "no*"'), GUARD)
    names.settle([1])
    assert names.complete
    names.show([2])
    assert names.users[1] == "daemon" and names.users[2] == "bin"
    assert "nobody" in names.users.values()  # of the list of all


def test_only_the_files_are_asked_where_nothing_else_is_configured(accounts_of: Path) -> None:
    text = "passwd: files [NOTFOUND=return] # ldap\nhosts: files dns\ngroup: files\n"
    (accounts_of / "nsswitch.conf").write_text(text)
    names = Names(compiled('prefer user "slow"\nprefer user "x*"'), ask=["/bin/false"])
    names.settle([77])
    names.show([78], [79])
    assert names.complete and names.pids == () and not names.exists("user", "slow")


# --- a directory that does not ---------------------------------------------------------


def test_what_came_before_the_deadline_counts_and_the_rest_is_said(
    accounts_of: Path, directory_library: str
) -> None:
    made = compiled('prefer user "ann"\nnever kill user "slow-svc"\nnever kill group "slow-grp"')
    names = Names(made, 2.0, ask(directory_library))
    (child,) = names.pids
    names.settle()
    assert names.users[50001] == "ann"
    assert not os.path.exists(f"/proc/{child}")
    said = "\n".join(names.problems())
    assert "slow-svc (mine.oom:2)" in said and "slow-grp (mine.oom:3)" in said
    assert "getent passwd slow-svc" in said and "about nobody" in said
    # In doubt there is such a user: the linter complains of none that nobody has looked up.
    assert names.exists("user", "slow-svc")
    # Patience is used up: nobody is asked any more, and nothing waits.
    names.show([60000])
    assert names.pids == () and 60000 not in names.users


def test_the_first_ids_are_asked_for_first(accounts_of: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    code = f"import sys; open({str(asked)!r}, 'a').write(sys.stdin.read())"
    names = Names(compiled('prefer user "x*"'), 5.0, [sys.executable, "-c", code])
    names.settle([70000, 60000, 70000, 1000, 80000])
    assert asked.read_text().split("\n")[:4] == [
        *("user id 70000", "user id 60000", "user id 80000", "user all -")
    ]


ODD = {
    "silence": "import time; time.sleep(600)",
    "the end": "pass",
    "a crash": "import os; os.abort()",
    "a flood": "import sys\nwhile True: sys.stdout.write('user name 616e6e 1 616e6e x y\\n' * 99)",
    "one long line": "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    "bytes": "import os\nos.write(1, bytes(range(256)) * 9)",
    "others' names": "print('user id 7 8 616e6e')\nprint('user name 616e6e 0 726f6f74')\n"
    "print('user id 9 9 726f6f74')\nprint('shadow id 9 9 726f6f74')\nprint('user id x 9 zz')\n"
    "print('user name 616e6e 99999999999999999999 616e6e')\nprint('user all - 9 30')",
}


@pytest.mark.parametrize("what", ODD)
def test_whatever_answers_nobody_becomes_root_and_it_ends(what: str, accounts_of: Path) -> None:
    begun = time.monotonic()
    made = compiled('never kill user "ann"\nprefer user "x*"')
    names = Names(made, 1.5, [sys.executable, "-I", "-S", "-c", ODD[what]])
    names.settle([7, 9])
    assert time.monotonic() - begun < GUARD
    assert [number for number, name in names.users.items() if name == "root"] == [0]
    assert {7, 8, 9} & names.users.keys() == set()
    assert names.problems() or what == "others' names"


def test_rank_goes_on_without_a_directory_and_says_so(
    accounts_of: Path, directory_library: str, tmp_path: Path
) -> None:
    rules = tmp_path / "mine.oom"
    rules.write_text('never kill user "slow-svc"\nprefer user "build"\n')
    environment = {**os.environ, "LD_PRELOAD": directory_library}
    argv = [sys.executable, "-m", "oomrules", "rank", "--format", "pids", "--rules", str(rules)]
    done = subprocess.run(
        argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=GUARD
    )
    assert done.returncode == 0 and done.stdout.split()
    assert f"the user slow-svc ({rules}:1) could not be looked up within 2.5 s" in done.stderr
