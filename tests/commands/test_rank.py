"""``oomrules rank``: the list, for people and for programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oomrules import terminal
from oomrules.commands.parts import selection
from oomrules.processes.facts import Facts
from oomrules.processes.hidden import Hidden

Run = Callable[..., Any]
Write = Callable[..., Path]

# The recorded host in the order of the 2.6.10 formula, worked out by hand:
# 300000 pages / root(4) for 40 s of CPU; 800000 / root(73); 20000 x 2 for nice 10;
# 100000 / root(488) / 1; 5000 / 4 / 4 for root with raw I/O; 10.
SHIPPED = [907, 902, 901, 900, 903, 908]
POINTS = [150000, 100000, 40000, 4545, 312, 10]


@pytest.fixture
def rank(oomrules: Run, recorded: Path, root: Path) -> Run:
    """Rank the recorded host by the shipped rules."""
    return lambda *arguments: oomrules("rank", "--snapshot", recorded, "--root", root, *arguments)


# --- formats -------------------------------------------------------------------------


def test_pids_are_exactly_what_the_kernel_takes(rank: Run) -> None:
    done = rank("--format", "pids")
    assert (done.code, done.out) == (0, "907 902 901 900 903 908\n")
    # What the recording lacks is told apart from the list.
    (note,) = done.err.splitlines()
    assert note.startswith("note: pid_depth of 8 processes, ")


def test_json_follows_its_schema(rank: Run) -> None:
    done = rank("--format", "json")
    assert done.code == 0
    assert list(done.data) == ["schema", "candidates", "excluded", "wholes", "first"]
    assert done.data["schema"] == "oomrules.ranking/1"
    keys = "rank pid comm uid unit cgroup tier degree whole base weight points".split()
    keys += ["rules", "doubts"]
    for candidate in done.data["candidates"]:
        assert list(candidate) == keys
    for excluded in done.data["excluded"]:
        assert list(excluded) == ["pid", "comm", "reason", "rule", "doubts"]


def test_json_gives_the_order_the_points_and_where_they_come_from(rank: Run) -> None:
    candidates = rank("--format", "json").data["candidates"]
    assert [c["rank"] for c in candidates] == [1, 2, 3, 4, 5, 6]
    assert [c["pid"] for c in candidates] == SHIPPED
    assert [c["points"] for c in candidates] == POINTS
    assert {c["tier"] for c in candidates} == {"normal"}
    by_pid = {c["pid"]: c for c in candidates}
    assert (by_pid[901]["base"], by_pid[901]["weight"]) == (20000, "2")
    assert (by_pid[903]["base"], by_pid[903]["weight"]) == (5000, "1/16")
    assert by_pid[902]["unit"] == "app-firefox-1.scope"
    assert by_pid[907]["unit"] == "docker-0a1b.scope"
    assert by_pid[907]["cgroup"] == "/system.slice/docker-0a1b.scope/system.slice/mysql.service"
    assert by_pid[908]["comm"] == "evil\x1b[31m\nname"
    places = [place.rpartition("/")[2] for place in by_pid[903]["rules"]]
    assert [place.partition(":")[0] for place in places] == ["10-badness-2.6.10.oom"] * 3
    assert all(place.partition(":")[2].isdigit() for place in places)


def test_json_gives_a_reason_for_everybody_else(rank: Run) -> None:
    excluded = {one["pid"]: one for one in rank("--format", "json").data["excluded"]}
    assert {pid: one["reason"] for pid, one in excluded.items()} == {
        1: "the init process",
        2: "a kernel thread",
        812: "never killed",
        904: "a zombie",
        905: "exiting already",
        906: "oomrules itself",
        909: "never killed, in doubt",
    }
    assert {pid for pid, one in excluded.items() if one["rule"]} == {812, 909}
    assert "20-protect.oom:" in excluded[812]["rule"]


def test_a_weight_is_a_fraction_in_lowest_terms(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    path = rules(
        "score total_vm\nprefer uid 1000 by 1.5\nspare uid 1000 by 4\nspare uid 999 by 3\n"
    )
    done = oomrules("rank", "--snapshot", recorded, "--rules", path, "--format", "json")
    weights = {c["pid"]: (c["weight"], c["points"]) for c in done.data["candidates"]}
    assert weights[902] == ("3/8", 300000)
    assert weights[907] == ("1/3", 100000)
    assert weights[900] == ("1", 100000)


def test_tiers_go_before_points(oomrules: Run, recorded: Path, rules: Write) -> None:
    path = rules('score total_vm\nkill first comm "nginx"\nkill last user "anna"\n')
    done = oomrules("rank", "--snapshot", recorded, "--rules", path, "--format", "json")
    tiers = [(c["pid"], c["tier"]) for c in done.data["candidates"]]
    assert tiers == [
        (903, "first"),
        *((pid, "normal") for pid in (907, 900, 812)),
        *((pid, "last") for pid in (902, 901, 909, 908)),
    ]


def test_the_table_is_aligned_and_says_why(rank: Run) -> None:
    done = rank()
    assert done.code == 0
    heading, *rows = done.out.splitlines()
    assert heading.split() == "RANK PID USER UNIT RSS POINTS COMMAND WHY".split()
    assert [row.split()[:2] for row in rows[:6]] == [
        [str(n), str(pid)] for n, pid in enumerate(SHIPPED, 1)
    ]
    why = heading.index("WHY")
    assert all(row[why - 1] == " " and row[why] != " " for row in rows[:6])
    make = rows[2]
    for word in ("anna", "session-2.scope", "19.5 MiB", "40000", "make", "x2 niced"):
        assert word in make
    assert "/4 superuser" in rows[4] and "/4 anything with RAWIO" in rows[4]
    assert "2.7 GiB" in rows[1]
    assert rows[-2] == "6 candidates, 6 excluded (--all shows them), 1 kernel thread"
    assert rows[-1].startswith("measure: address space, as in Linux 2.6.10; ")


def test_a_name_cannot_break_the_table_or_the_terminal(rank: Run) -> None:
    done = rank("--all")
    assert "\x1b" not in done.out and "\x07" not in done.out
    assert len([line for line in done.out.splitlines() if "evil" in line]) == 1


def test_all_shows_who_is_protected_and_by_which_rule(rank: Run) -> None:
    lines = rank("--all").out.splitlines()
    (sshd,) = (line for line in lines if " sshd " in line)
    assert "never killed" in sshd and "never kill oom_score_adj -1000" in sshd
    assert "20-protect.oom:" in sshd
    (hidden,) = (line for line in lines if " hidden " in line)
    assert "in doubt" in hidden
    (zombie,) = (line for line in lines if " 904 " in line)
    assert "a zombie" in zombie
    assert not any("kthreadd" in line for line in lines)
    assert lines[-2] == "6 candidates, 6 excluded, 1 kernel thread"


def test_the_measure_is_said_with_its_place_or_with_the_way_to_another(
    rank: Run, root: Path
) -> None:
    *_, default = rank().out.splitlines()
    advised = re.search("put `(.*)` into (/etc/.*)$", default)
    assert advised
    own = root / advised[2].lstrip("/")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"{advised[1]}\n")
    *_, other = rank().out.splitlines()
    assert other == f"measure: {advised[1]} ({own}:1)"


def test_without_all_the_excluded_are_only_counted(rank: Run) -> None:
    assert "sshd" not in rank().out


def test_there_are_no_colours_where_nobody_looks(rank: Run) -> None:
    assert "\x1b" not in rank("--all").out


def test_a_person_sees_colours_but_not_against_their_will(
    rank: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = rank().out
    assert "\x1b[1m" in out and "\x1b[0m" in out
    plain = out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines()[:7])) <= 60
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert "\x1b" not in rank().out


# --- selection -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "pids"), [(1, "907"), (3, "907 902 901"), (100, "907 902 901 900 903 908")]
)
def test_top_keeps_the_first(count: int, pids: str, rank: Run) -> None:
    assert rank("--top", count, "--format", "pids").out == pids + "\n"


def test_top_does_not_turn_the_rest_into_excluded(rank: Run) -> None:
    done = rank("--top", 2, "--format", "json")
    assert [c["pid"] for c in done.data["candidates"]] == SHIPPED[:2]
    assert not {one["pid"] for one in done.data["excluded"]} & set(SHIPPED)
    assert "2 of 6 candidates" in rank("--top", 2).out


@pytest.mark.parametrize(
    ("unit", "pids"),
    [
        ("-.slice", "907 902 901 900 903 908"),
        ("system.slice", "907 900 903"),
        ("user.slice", "902 901 908"),
        ("user@1000.service", "902"),
        ("app.slice", "902"),
        ("session-2.scope", "901 908"),
        ("*.service", "902 900 903"),
        ("postgresql@*.service", "900"),
        ("[np]*.service", "900 903"),
    ],
)
def test_in_keeps_a_unit_and_everything_below_it(unit: str, pids: str, rank: Run) -> None:
    done = rank(f"--in={unit}", "--format", "pids")
    assert (done.code, done.out) == (0, pids + "\n")


def test_in_ranks_as_in_the_whole_list(rank: Run) -> None:
    done = rank("--in", "user.slice", "--format", "json")
    assert [(c["rank"], c["points"]) for c in done.data["candidates"]] == [
        (1, 100000),
        (2, 40000),
        (3, 10),
    ]
    assert {one["pid"] for one in done.data["excluded"]} == {904, 905, 906}


def test_in_a_unit_that_holds_nobody_says_so_with_its_name(rank: Run) -> None:
    done = rank("--in", "nginx.servce")
    assert done.code == 1
    assert "nginx.servce" in done.err


def test_by_unit_each_candidate_stands_in_the_list_of_its_own_unit(rank: Run) -> None:
    done = rank("--by", "unit")
    assert done.code == 0
    lists = [part.splitlines() for part in done.out.strip().split("\n\n")]
    listed = [int(row.split()[1]) for _, _, *rows in lists for row in rows]
    assert sorted(listed) == sorted(SHIPPED)
    everyone = rank("--format", "json").data["candidates"]
    units = {str(one["pid"]): one["unit"] for one in everyone}
    for head, _, *rows in lists:
        for row in rows:
            unit = units[row.split()[1]]
            assert unit is None or head.split(":")[0].endswith(unit or "-.slice")


def test_by_unit_json_keeps_the_order_in_each_list(rank: Run) -> None:
    data = rank("--by", "unit", "--format", "json").data
    order = [one["pid"] for one in data["candidates"]]
    of = {one["pid"]: one["unit"] for one in data["candidates"]}
    for one in data["by_unit"]:
        assert one["pids"] == [pid for pid in order if pid in one["pids"]]
        units = {of[pid] for pid in one["pids"]}
        assert units in ({None}, {one["units"] and one["units"][-1]}, {""})
    assert sorted(pid for one in data["by_unit"] for pid in one["pids"]) == sorted(order)


def test_the_kernel_takes_no_list_for_each_unit(rank: Run) -> None:
    done = rank("--by", "unit", "--format", "pids")
    assert done.code == 2 and "--in UNIT" in done.err


# --- nobody --------------------------------------------------------------------------


def test_nobody_may_be_killed_is_a_result_of_its_own(
    oomrules: Run, recorded: Path, rules: Write
) -> None:
    given = ("rank", "--snapshot", recorded, "--rules", rules("never kill anything\n"))
    done = oomrules(*given, "--format", "json")
    assert done.code == 1
    assert done.data["candidates"] == []
    assert len(done.data["excluded"]) == 13
    assert "no process may be killed" in done.err
    pids = oomrules(*given, "--format", "pids")
    assert (pids.code, pids.out) == (1, "\n")
    table = oomrules(*given)
    assert table.code == 1
    assert "0 candidates, 12 excluded" in table.out and "no process may be killed" in table.err


# --- this host -----------------------------------------------------------------------


def test_this_host_is_ranked_without_options_of_a_snapshot(
    oomrules: Run, child: Any, root: Path
) -> None:
    done = oomrules("rank", "--root", root, "--format", "json")
    assert done.code == 0
    pids = {c["pid"] for c in done.data["candidates"]}
    assert child.pid in pids
    assert os.getpid() not in pids and 1 not in pids
    reasons = {one["pid"]: one["reason"] for one in done.data["excluded"]}
    assert reasons[os.getpid()] == "oomrules itself"
    assert reasons[1] == "the init process"


def test_a_snapshot_ranks_as_the_host_did(
    oomrules: Run, spawn: Run, rules: Write, tmp_path: Path
) -> None:
    children = [spawn() for _ in range(4)]
    for number, child in enumerate(children):
        child.do(f"ballast = b'x' * {number % 3 * 40_000_000}; os.nice({number % 2})")
        child.stop()
    path = rules(
        f"only kill anything when ppid == {os.getpid()}\nprefer niced\nspare superuser\n"
        "score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))\n"
    )
    live = oomrules("rank", "--rules", path, "--format", "json")
    assert oomrules("snapshot", "-o", tmp_path / "snap").code == 0
    after = oomrules("rank", "--rules", path, "--format", "json", "--snapshot", tmp_path / "snap")
    assert {c["pid"] for c in live.data["candidates"]} == {child.pid for child in children}
    assert after.data["candidates"] == live.data["candidates"]
    assert live.data["candidates"][0]["pid"] in (children[1].pid, children[2].pid)


def test_what_could_not_be_seen_is_said_with_advice_that_helps() -> None:
    source: Any = SimpleNamespace(
        unreadable={"exe": 3},
        hides_processes=False,
        facts=Facts(),
        look_for_hidden=Hidden,
        out_of_sight=set(),
    )
    (note,) = selection.notes(source)
    assert "exe of 3 processes could not be read" in note
    assert ("as root" in note) == (os.geteuid() != 0)


def test_rules_in_error_rank_nobody(oomrules: Run, recorded: Path, rules: Write) -> None:
    path = rules("never kil uid 0\nscore rss\n")
    done = oomrules("rank", "--snapshot", recorded, "--rules", path)
    assert (done.code, done.out) == (2, "")
    assert "error[OOM101]" in done.err and f"{path}:1:7" in done.err
    assert "none of them is used" in done.err


def test_an_iterator_that_was_asked_for_and_is_not_there_is_a_note(
    oomrules: Run, tmp_path: Path, child: Any
) -> None:
    child.stop()
    asked = oomrules("rank", "--format", "pids", "--source", tmp_path / "tasks")
    assert asked.code == 0
    assert f"note: {tmp_path}/tasks: " in asked.err and "/proc is read instead" in asked.err
    assert str(child.pid) in asked.out.split()
    by_proc = oomrules("rank", "--format", "pids", "--source", "proc")
    assert str(child.pid) in by_proc.out.split()
    assert "is read instead" not in by_proc.err


def test_an_empty_source_is_refused(oomrules: Run) -> None:
    done = oomrules("rank", "--source", "")
    assert (done.code, done.out) == (2, "")
    assert "--source is empty" in done.err


# --- names of units --------------------------------------------------------------------


@pytest.fixture
def aliased(recorded: Path, tmp_path: Path) -> Path:
    """The recorded host, whose nginx has a second name."""
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    for line in lines:
        if line.get("unit") == "nginx.service":
            line["properties"] = {"Names": ["nginx.service", "web.service"]}
    path = tmp_path / "aliased.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_an_alias_is_the_unit_and_a_glob_means_none(
    aliased: Path, oomrules: Run, root: Path
) -> None:
    def pids(unit: str) -> str:
        known = ("--snapshot", aliased, "--root", root, "--format", "pids")
        return str(oomrules("rank", "--in", unit, *known).out)

    assert pids("web.service") == pids("nginx.service")
    assert pids("we?.service").strip() == ""


@pytest.mark.parametrize("written", ["nginx.servce", "nginx", "Nginx.service"])
def test_a_name_that_matches_nothing_gets_the_one_that_was_meant(written: str, rank: Run) -> None:
    done = rank("--in", written)
    assert done.code == 1
    assert f"`{written}` matches; did you mean `nginx.service`" in done.err
