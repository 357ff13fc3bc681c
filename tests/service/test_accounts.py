"""Users and groups that come, that nobody has looked up, and that nobody can look up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.processes.facts import Facts
from oomrules.program.nodes import Names
from oomrules.service.compile_child import Compiled
from oomrules.service.list import CurrentList
from oomrules.state import State
from tests.children import CHECKOUT, Child
from tests.service.daemon import Service, wait

Serve = Callable[..., Service]

PRCTL = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'systemd-oomd'); time.sleep(600)"


def subordinate(uid: int) -> dict[str, Any]:
    """Options that make a child somebody whom newuidmap(1) could make of any user."""
    return {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}


def test_an_id_that_nobody_has_looked_up_is_a_candidate_from_the_first_list_on(
    serve: Serve, accounts_of: Path
) -> None:
    (accounts_of / "passwd").write_text("root:x:0:0::/:\nsystemd-oom:x:990:990::/:\n")
    argv = [sys.executable, "-I", "-S", "-c", PRCTL]
    before = subprocess.Popen(argv, **subordinate(165536))
    after = None
    try:
        rules = 'score total_vm\nnever kill user "systemd-oom" comm "systemd-oomd"\n'
        service = serve(rules=rules)
        wait(lambda: before.pid in service.listed())
        # The first list after a restart is by the rules and names of before.
        service.end(signal.SIGKILL)
        after = subprocess.Popen(argv, **subordinate(165537))
        service.start()
        assert {before.pid, after.pid} <= set(service.listed())
        service.ask("refresh")
        assert {before.pid, after.pid} <= set(service.listed())
    finally:
        for process in (before, after):
            if process:
                process.kill()
                process.wait()


def test_a_new_user_is_known_as_soon_as_the_file_has_been_replaced(
    serve: Serve, accounts_of: Path, child: Child
) -> None:
    mine = os.getuid()
    name = "toor" if mine == 0 else "me"
    rules = f'score total_vm\nnever kill user "{name}" pid {child.pid}\n'
    service = serve(rules=rules)
    assert child.pid in service.listed()
    lines = (accounts_of / "passwd").read_text()
    new = accounts_of / "passwd.new"
    new.write_text(f"{lines}{name}:x:{mine}:{mine}::/:/bin/sh\n")
    new.rename(accounts_of / "passwd")
    # Between two compilations it waits 20 times what one took, which is long on a busy machine.
    wait(lambda: child.pid not in service.listed(), 240)
    new.write_text(lines)
    new.rename(accounts_of / "passwd")
    wait(lambda: child.pid in service.listed(), 240)


def test_a_directory_that_is_silent_keeps_no_service_from_its_list(
    serve: Serve,
    accounts_of: Path,
    directory_library: str,
    child: Child,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_PRELOAD", directory_library)
    rules = f'score total_vm\nnever kill user "slow"\nnever kill pid {child.pid}\n'
    service = serve(rules=rules)
    assert service.listed() and child.pid not in service.listed()
    said = service.ask()
    assert said["rules"]["state"] == "good"
    assert any("slow (" in one and "10-mine.oom:2" in one for one in said["complaints"])


def test_what_a_directory_said_last_holds_from_the_first_list_after_a_restart_on(
    accounts_of: Path, tmp_path: Path
) -> None:
    made = compile_texts(
        [RuleText("x.oom", 'never kill user "ann"\nnever kill user "build"\nspare user "root"\n')]
    )
    users = {0: "root", 1000: "build", 50001: "ann", 50002: Names("bob", ("ann",))}
    first = CurrentList(State(str(tmp_path)))
    first.adopt(
        Compiled(made, [], [["x", 1]], [], True, Facts({}, {}), users, {}, names_complete=True)
    )
    first.close()
    after = CurrentList(State(str(tmp_path)))
    after.resume()
    # A name is one id's, whatever is in the file.
    assert after._users == {0: "root", 1000: "build", 50001: "ann"}
    after.close()
    # The host's own files know better.
    with open(accounts_of / "passwd", "a") as file:
        file.write("ann:x:1001:1001::/:\n")
    after = CurrentList(State(str(tmp_path)))
    after.resume()
    assert after._users == {0: "root", 1000: "build", 1001: "ann"}
    after.close()
    for nonsense in ("", "[]", "[7, 8]", '[{"0": []}, {}]', "[" * 99999, '[{"x": "y"}, {}]'):
        (tmp_path / "names.json").write_text(nonsense)
        after = CurrentList(State(str(tmp_path)))
        after.resume()
        assert after._users == {0: "root", 1000: "build", 1001: "ann"}
        after.close()


def test_a_hook_does_not_wait_for_a_directory(
    accounts_of: Path, directory_library: str, tmp_path: Path
) -> None:
    folder = tmp_path / "root" / "etc" / "oomrules.d"
    folder.mkdir(parents=True)
    (folder / "10-mine.oom").write_text('never kill user "slow"\n')
    environment = {
        **os.environ,
        "LD_PRELOAD": directory_library,
        "OOMRULES_STATE": str(tmp_path / "state"),
        "OOMRULES_JOURNAL": str(tmp_path / "none"),
    }
    argv = [sys.executable, "-m", "oomrules", "hook", "x.service", f"--root={tmp_path / 'root'}"]
    argv.append(f"--to={tmp_path / 'list'}")
    done = subprocess.run(argv, env=environment, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the user slow" in done.stderr and (tmp_path / "list").read_text()
