"""``oomrules guard``: how far each guard is from acting, on this host and on a recorded one."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules.service import client
from tests.children import CHECKOUT
from tests.commands.done import DATA, Done
from tests.commands.test_harmless import EVIL, harmless, on_terminal

Run = Callable[..., Done]
Write = Callable[..., Path]

GIB = 1 << 30
# Figures of a host with 16 GiB, as the files of proc have them.
MEMINFO = {
    "MemTotal": 16 * GIB,
    "MemFree": GIB,
    "MemAvailable": 8 * GIB,
    "Shmem": GIB,
    "SwapTotal": 0,
    "SwapFree": 0,
    "Hugetlb": 0,
}
PSI = "some avg10=0.00 avg60=0.00 avg300=0.00 total={0}\nfull avg10=0.00 avg60=0.00 total={0}\n"


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no service of this host answer."""
    monkeypatch.setattr(client, "ask", lambda word, timeout: None)


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put figures in the place of this host's."""

    def put(psi: bool = True, **changed: int) -> Path:
        path = tmp_path / "figures"
        (path / "pressure").mkdir(parents=True, exist_ok=True)
        sizes = {**MEMINFO, **changed}
        lines = "".join(f"{name}: {size // 1024} kB\n" for name, size in sizes.items())
        (path / "meminfo").write_text(lines)
        (path / "vmstat").write_text("pswpin 0\n")
        if psi:
            (path / "pressure" / "memory").write_text(PSI.format(5))
        monkeypatch.setenv("OOMRULES_FIGURES", str(path))
        return path

    return put


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[..., Path]:
    """Record a host with these figures."""

    def write(host: dict[str, Any] | None = None, scopes: dict[str, Any] | None = None) -> Path:
        lines = [json.loads(line) for line in (DATA / "host.jsonl").read_text().splitlines()]
        for line in lines:
            if line["kind"] == "host":
                line |= {"available": 4 * GIB, "free": GIB, "hugetlb": 0, "shmem": 0}
                line |= {"swap_free": 0, **(host or {})}
            elif line["kind"] == "scope" and line["unit"] in (scopes or {}):
                line |= (scopes or {})[line["unit"]]
        path = tmp_path / "figures.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


# --- this host ------------------------------------------------------------------------------------


def test_a_guard_that_is_far_from_acting_says_how_far(
    oomrules: Run, rules: Write, root: Path, figures: Any
) -> None:
    figures()
    path = rules("kill when host.available < 5% and host.stall > 10%\n")
    done = oomrules("guard", "--rules", path, "--rules", "rules.d", "--root", root)
    assert done.code == 0
    text = re.sub(" +", " ", done.out)
    assert "does not run, or does not answer: nothing will be done" in text
    assert "host.available < 5% 8.0 GiB of 16.0 GiB = 50.0 % 7.2 GiB to go (at 819 MiB)" in text
    assert "host.stall > 10% 0.0 % 10.0 % to go" in text
    assert "host: does not hold" in text and "held by no process: " in text


def test_one_that_holds_makes_it_end_with_1_and_a_warning_does_not(
    oomrules: Run, rules: Write, figures: Any
) -> None:
    figures(MemAvailable=GIB // 4)
    kill = rules("kill when host.available < 5%\n", "kill.oom")
    assert oomrules("guard", "--rules", kill).code == 1
    warn = rules("warn when host.available < 5%\n", "warn.oom")
    done = oomrules("guard", "--rules", warn)
    assert done.code == 0 and "host: HOLDS" in done.out


def test_json_follows_its_schema(oomrules: Run, rules: Write, figures: Any) -> None:
    figures()
    text = (
        "terminate when host.available < 10% for 5s within 20s then stop\n"
        'in "nowhere.slice": kill when scope.memory > 1GiB\n'
    )
    done = oomrules("guard", "--json", "--rules", rules(text))
    assert done.code == 0
    assert list(done.data) == ["schema", "service", "guards", "memory"]
    assert done.data["schema"] == "oomrules.guard/1" and done.data["service"] is None
    first, second = done.data["guards"]
    page = (Path(CHECKOUT) / "docs" / "guard.md").read_text(encoding="utf-8")
    for key in (*done.data, *first, *first["comparisons"][0], *done.data["memory"]):
        assert f"`{key}`" in page, key
    assert list(first) == list(second)
    assert (first["for"], first["within"], first["stop"]) == (5.0, 20.0, True)
    (compared,) = first["comparisons"]
    assert (compared["value"], compared["whole"]) == (8 * GIB, 16 * GIB)
    assert compared["limit"] - compared["value"] == -compared["distance"]
    assert second["unit"] is None and second["never"] == "no unit is what its block is about"
    assert second["rule"] == "in nowhere.slice: kill when scope.memory > 1GiB"
    assert sum(done.data["memory"][key] for key in ("free", "cache", "anon")) > 0
    if first["victim"]:
        assert all(f"`{key}`" in page for key in first["victim"])


def test_without_psi_a_guard_that_needs_it_says_that_it_can_never_act(
    oomrules: Run, rules: Write, figures: Any
) -> None:
    figures(psi=False)
    done = oomrules("guard", "--rules", rules("kill when host.stall > 10%\n"))
    assert done.code == 0
    assert "can never act here: this kernel does not measure pressure (PSI)" in done.out
    assert "psi=1" in done.err


def test_without_swap_a_share_of_it_says_that_it_can_never_act(
    oomrules: Run, rules: Write, figures: Any
) -> None:
    figures()
    done = oomrules("guard", "--rules", rules("kill when host.swap_free < 10%\n"))
    assert "can never act here: there is no swap to be a share of" in done.out


def test_nobody_may_be_killed(oomrules: Run, rules: Write, figures: Any) -> None:
    figures()
    path = rules("never kill anything\nkill when host.available < 10%\n")
    done = oomrules("guard", "--rules", path)
    assert done.code == 0 and "can never act here: no process there may be killed" in done.out


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with a name that no other has."""
    link = tmp_path / "guardedoddly"
    link.symlink_to(os.path.realpath(sys.executable))
    words = ["-I", "-S", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen([str(link), *words]) as child:
        # What runs before the exec has another name.
        while Path(f"/proc/{child.pid}/comm").read_text() != "guardedoddly\n":
            time.sleep(0.01)
        yield child
        child.kill()


def test_the_first_of_the_list_is_whom_a_guard_takes(
    oomrules: Run, rules: Write, figures: Any, odd: subprocess.Popen[bytes]
) -> None:
    figures()
    path = rules(
        'score rss\nonly kill comm "guardedoddly"\nprefer comm "guarded*"\n'
        "kill when host.available < 10%\n"
    )
    (guard,) = oomrules("guard", "--json", "--rules", path).data["guards"]
    victim = guard["victim"]
    assert (victim["pid"], victim["rank"]) == (odd.pid, 1)
    assert victim["wins"] > 0 and victim["rules"]
    text = oomrules("guard", "--rules", path).out
    assert re.search(r"would .* rank 1 of 1.*: gives back .*\n      because: x2 comm", text)


def test_no_guard_is_said_with_the_way_to_one(oomrules: Run, rules: Write) -> None:
    done = oomrules("guard", "--rules", rules("prefer niced\n"))
    assert done.code == 0
    assert "no rule file has a guard" in done.out
    # What is proposed is there.
    (preset,) = re.findall(r"`ln -s (\S+guard-server\.oom) ", done.out)
    assert Path(preset).is_file()
    assert "held by no process" in done.out
    assert oomrules("guard", "--json", "--rules", rules("prefer niced\n")).data["guards"] == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"guard": {"state": "on", "why": None}}, "the guard is on"),
        ({"guard": {"state": "dry-run"}}, "without signals (dry run)"),
        (
            {"guard": {"state": "off", "why": "no right to signal"}},
            "the guard is off: nothing is done before memory has run out; no right to signal",
        ),
        # A service of before, or one that says something else.
        ({}, "the guard is off"),
        ({"guard": 5}, "the guard is off"),
    ],
)
def test_what_the_service_says_stands_above_all(
    oomrules: Run,
    rules: Write,
    figures: Any,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    words: str,
) -> None:
    figures()
    monkeypatch.setattr(client, "ask", lambda word, timeout: said)
    path = rules("kill when host.available < 5%\n")
    assert words in oomrules("guard", "--rules", path).out.splitlines()[0]
    assert oomrules("guard", "--json", "--rules", path).data["service"]["state"]


def test_a_user_may_look_though_the_socket_is_root_s(
    oomrules: Run, rules: Write, figures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(word: str, timeout: float) -> None:
        raise PermissionError

    figures()
    monkeypatch.setattr(client, "ask", refuse)
    assert oomrules("guard", "--rules", rules("warn when host.available < 5%\n")).code == 0


# --- a recorded host ------------------------------------------------------------------------------


def recorded(oomrules: Run, path: Path, *more: object) -> Any:
    done = oomrules("guard", "--json", "--snapshot", path, *more)
    assert done.code in (0, 1), done.err
    return done.data["guards"]


def test_a_recorded_host_is_judged_by_its_figures(
    oomrules: Run, rules: Write, snapshot: Any
) -> None:
    path = rules("kill when host.available < 60% and host.stall > 10% and host.pressure > 40%\n")
    for stall, pressure, holds in (
        (11, 41, True),
        (10, 41, False),
        (11, 40, False),
        (None, 41, None),
    ):
        host = snapshot({"stall": stall, "pressure": pressure})
        (guard,) = recorded(oomrules, host, "--rules", path)
        assert guard["holds"] is holds
        assert guard["never"] == ""
        assert (guard["comparisons"][0]["value"], guard["cgroup"]) == (4 * GIB, "")


def test_a_guard_in_a_block_stands_at_each_unit_that_it_is_about(
    oomrules: Run, rules: Write, snapshot: Any
) -> None:
    path = rules(
        'in "*.slice": kill when scope.memory > 40% and scope.stall > 20%\n'
        'in "*.slice": kill first anything\n'
    )
    host = snapshot(scopes={"user.slice": {"stall": 30.0, "memory_max": 8 * GIB}})
    guards = {one["unit"]: one for one in recorded(oomrules, host, "--rules", path)}
    assert {"user.slice", "system.slice", "user-1000.slice"} <= set(guards)
    assert guards["user.slice"]["holds"] is True
    assert guards["user.slice"]["cgroup"] == "/user.slice"
    # Nearest limit: the slice above.
    assert guards["user-1000.slice"]["comparisons"][0]["whole"] == 8 * GIB
    assert guards["user-1000.slice"]["holds"] is None
    (alone,) = recorded(oomrules, host, "--rules", path, "--in", "user.slice")
    assert alone == guards["user.slice"]


def test_of_many_places_those_at_which_it_holds_come_first(
    oomrules: Run, rules: Write, snapshot: Any
) -> None:
    path = rules('in "*.slice": kill when scope.memory > 1B and scope.stall > 1%\n')
    host = snapshot()
    lines = [json.loads(line) for line in host.read_text().splitlines()]
    process = next(line for line in lines if line.get("pid") == 902)
    scope = next(line for line in lines if line.get("unit") == "user.slice")
    for number in range(30):
        name = f"/x{number:02}.slice"
        stall = 50.0 if number == 29 else 0.0
        lines.append({**scope, "cgroup": name, "unit": name[1:], "stall": stall})
        lines.append({**process, "pid": 5000 + number, "cgroup": name})
    scopes = [line for line in lines if line["kind"] != "process"]
    lines = scopes + [line for line in lines if line["kind"] == "process"]
    host.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = oomrules("guard", "--snapshot", host, "--rules", path)
    assert done.out.splitlines()[2] == "  x29.slice: HOLDS"
    assert "units more; `oomrules guard --in UNIT`" in done.out and "x20.slice" not in done.out
    alone = oomrules("guard", "--snapshot", host, "--rules", path, "--in", "x*.slice").out
    assert all(f"  x{number:02}.slice: " in alone for number in range(30))


def test_in_names_a_place_that_has_a_guard(oomrules: Run, rules: Write, snapshot: Any) -> None:
    path = rules("kill when host.available < 5%\nin user.slice: warn when scope.memory > 1GiB\n")
    host = snapshot()
    assert [one["unit"] for one in recorded(oomrules, host, "--rules", path, "--in", "-")] == [""]
    done = oomrules("guard", "--snapshot", host, "--rules", path, "--in", "x.slice")
    assert done.code == 2 and "no guard is at a unit that `x.slice` matches" in done.err


def test_what_goes_along_with_a_unit_is_named(oomrules: Run, rules: Write, snapshot: Any) -> None:
    path = rules(
        'kill whole "postgresql@*.service"\nkill first comm "postgres"\n'
        "kill when host.available < 60%\n"
    )
    host = snapshot()
    (guard,) = recorded(oomrules, host, "--rules", path)
    done = oomrules("guard", "--snapshot", host, "--rules", path)
    if guard["victim"]["others"]:
        assert "more process" in done.out
    assert "with its unit /system.slice/postgresql@15.service" in done.out


def test_the_units_of_the_recording_have_names_that_reach_no_terminal(
    rules: Write, snapshot: Any
) -> None:
    path = rules('kill when host.available < 60%\nin "*.slice": kill when scope.memory > 1B\n')
    lines = [json.loads(line) for line in snapshot().read_text().splitlines()]
    for line in lines:
        if "comm" in line:
            line["comm"] += EVIL
        if line["kind"] == "scope" and line["cgroup"].endswith(".slice"):
            continue
        if line.get("cgroup"):
            line["cgroup"] += EVIL
    host = path.parent / "evil.jsonl"
    host.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for more in ((), ("--json",)):
        code, said = on_terminal("guard", "--snapshot", host, "--rules", path, *more)
        assert code == 1 and b"Traceback" not in said
        assert harmless(said) == []


@pytest.mark.parametrize("damage", [b"", b"\0", b"{}", b"nonsense\n", b'{"kind":"host"}\n'])
def test_a_damaged_snapshot_is_said_in_a_sentence(
    oomrules: Run, rules: Write, tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(damage)
    rule = rules("kill when host.available < 5%\n")
    done = oomrules("guard", "--snapshot", path, "--rules", rule)
    assert done.code == 2 and done.err and "mistake in oomrules" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--wait", "0s"),
        ("--wait", "5"),
        ("--wait", "x"),
        ("--wait", "-1s"),
        ("--wait", "1GiB"),
        ("--wait", ""),
        ("--snapshot", "a", "--replay", "b"),
        ("--snapshot", "/nowhere"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(
    oomrules: Run, rules: Write, arguments: tuple[str, ...]
) -> None:
    rule = rules("kill when host.available < 5%\n")
    done = oomrules("guard", "--rules", rule, *arguments)
    assert done.code == 2 and done.err and "mistake in oomrules" not in done.err


def test_a_narrow_terminal_wraps_no_table(rules: Write, figures: Any) -> None:
    figures()
    path = rules("kill when host.available < 5% and host.stall > 10%\n")
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": CHECKOUT, "COLUMNS": "60", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "oomrules", "guard", "--rules", str(path)]
    with subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL, env=environment):
        os.close(slave)
        said = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            said += piece
    os.close(master)
    lines = said.decode().replace("\r\n", "\n").splitlines()
    table = [line for line in lines if line.startswith(("    host.", "RAM", "free", "processes"))]
    assert len(table) >= 4 and max(map(len, table)) <= 60
