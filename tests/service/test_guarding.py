"""The service with guards: real processes of the test's own, made-up figures of a host."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules.guard.sampling import FIGURES
from tests.children import Child
from tests.service.daemon import Service, wait
from tests.service.figures import GIB, Figures

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may signal processes of others, as a guard does"
)

Serve = Callable[..., Service]
Spawn = Callable[..., Child]

LOW = GIB // 4
GUARD = "kill when host.available < 5%"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figures:
    """The figures that the service's guard sees."""
    monkeypatch.setenv(FIGURES, str(tmp_path / "figures"))
    return Figures(tmp_path / "figures")


@pytest.fixture
def victim(spawn: Spawn) -> Spawn:
    """Start children that have no rights on the host: who has CAP_SYS_RAWIO is asked first."""

    def start() -> Child:
        child = spawn()
        if os.geteuid() == 0:
            child.do("os.setuid(65534)")
        return child

    return start


def rules(victims: list[Child], *guards: str) -> str:
    """Rules by which no other process of this machine can be taken, nor be on the list."""
    pids = " or ".join(f"pid == {victim.pid}" for victim in victims)
    return "\n".join((f"only kill anything when {pids}", *guards, ""))


def guard_of(service: Service) -> dict[str, Any]:
    """How the guard is, once it has gone round with the guards that are armed."""
    found: dict[str, Any] = wait(lambda: _current(service.ask()["guard"]))
    return found


def _current(guard: dict[str, Any]) -> dict[str, Any] | None:
    return guard if guard["state"] == "off" or guard["current"] else None


def rounds(service: Service) -> int:
    number: int = guard_of(service)["rounds"]
    return number


def gone(child: Child) -> bool:
    return child.process.poll() is not None


def test_without_a_guard_there_is_none(serve: Serve) -> None:
    found = guard_of(serve())
    assert found["state"] == "off" and "no rule says when" in found["why"]


def test_the_right_one_is_taken_once_and_it_is_told(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    victims = [victim(), victim()]
    first = f"kill first pid {victims[1].pid}"
    service = serve(rules=rules(victims, GUARD, first))
    found = guard_of(service)
    assert (found["state"], found["armed"], found["source"]) == ("on", 1, "psi")
    (shown,) = found["guards"]
    assert shown["text"] == GUARD and shown["holds"] is False and shown["never"] is None
    assert shown["would_take"]["pid"] == victims[1].pid and shown["kills"] == 0
    (compared,) = shown["comparisons"]
    assert compared["value"] == 6 * GIB and compared["whole"] == 8 * GIB
    host.set(MemAvailable=LOW)
    assert victims[1].process.wait(120) == -signal.SIGKILL
    # The memory is back, so nobody else is taken.
    host.set()
    before = rounds(service)
    wait(lambda: rounds(service) > before + 20)
    assert not gone(victims[0])
    wait(lambda: guard_of(service)["guards"][0]["kills"])
    found = guard_of(service)
    assert found["guards"][0]["kills"] == 1 and found["reaction"]["count"] == 1
    told = "".join(service.entries())
    assert str(victims[1].pid) in told and GUARD in told


def test_terminate_asks_first_and_kills_when_its_time_is_over(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    deaf = victim()
    deaf.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    service = serve(rules=rules([deaf], "terminate when host.available < 5% within 1s"))
    host.set(MemAvailable=LOW)
    assert deaf.process.wait(120) == -signal.SIGKILL
    host.set()
    # The thread is past it before the main loop has counted it.
    wait(lambda: guard_of(service)["guards"][0]["kills"] == 2)
    wait(lambda: guard_of(service)["flight"] is None)


def test_a_dry_run_signals_nobody_and_tells_all_the_same(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    child = victim()
    service = serve("--dry-run", rules=rules([child], GUARD))
    assert guard_of(service)["state"] == "dry-run"
    host.set(MemAvailable=LOW)
    said: list[str] = []

    def told() -> bool:
        said.extend(service.entries())
        return any(str(child.pid) in entry and GUARD in entry for entry in said)

    wait(told)
    assert not gone(child)


def test_a_stop_of_the_service_is_a_gap_and_begins_the_duration_anew(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    child = victim()
    service = serve(rules=rules([child], "kill when host.available < 5% for 6s"))
    host.set(MemAvailable=LOW)
    wait(lambda: guard_of(service)["guards"][0]["since"] is not None)
    service.send(signal.SIGSTOP)
    time.sleep(7)
    begun = time.monotonic()
    service.send(signal.SIGCONT)
    # Had it counted on it would act at once.
    assert child.process.wait(120) == -signal.SIGKILL
    assert time.monotonic() - begun > 5.5


def test_it_kills_while_the_main_loop_stands_still(
    serve: Serve, victim: Spawn, host: Figures, tmp_path: Path
) -> None:
    child = victim()
    service = serve("--heartbeat=1", rules=rules([child], GUARD))
    # A pipe that nobody reads in the place of the list: to write it, the main loop waits for ever.
    target = service.state / "list"
    target.unlink()
    os.mkfifo(target)
    held = os.open(target, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.set_blocking(held, True)
        _fill(held)
        # A quiet host's list is true as it is and would not be written anew; one by other rules is.
        service.file.write_text(rules([child], GUARD, "warn when host.available < 15%"))
        service.send(signal.SIGHUP)
        _hangs(service)
        host.set(MemAvailable=LOW)
        assert child.process.wait(120) == -signal.SIGKILL
        assert _main_waits(service)
    finally:
        os.close(held)


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, b"x" * 4096)
    except BlockingIOError:
        pass


def _main_waits(service: Service) -> bool:
    """Return whether the first thread is in write(2), and not in its poll."""
    words = Path(f"/proc/{service.pid}/task/{service.pid}/syscall").read_text().split()
    return words[0] in ("1", "64")


def _hangs(service: Service) -> None:
    wait(lambda: _main_waits(service))


def test_rules_that_come_and_go_start_and_end_it(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    child = victim()
    service = serve(rules=rules([child]))
    assert guard_of(service)["state"] == "off"
    service.file.write_text(rules([child], "warn when host.available < 15%"))
    service.reload()
    assert guard_of(service)["state"] == "on"
    threads = len(os.listdir(f"/proc/{service.pid}/task"))
    assert threads > 1
    for _ in range(3):
        service.file.write_text(rules([child], GUARD))
        service.reload()
        assert guard_of(service)["guards"][0]["text"] == GUARD
    assert len(os.listdir(f"/proc/{service.pid}/task")) == threads
    service.file.write_text(rules([child]))
    service.reload()
    assert guard_of(service)["state"] == "off"
    assert len(os.listdir(f"/proc/{service.pid}/task")) == 1
    assert service.end() == 0


def test_it_ends_in_order_with_a_victim_in_flight(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    deaf = victim()
    deaf.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    service = serve(rules=rules([deaf], "terminate when host.available < 5% within 1h"))
    host.set(MemAvailable=LOW)
    wait(lambda: guard_of(service)["flight"])
    assert service.end() == 0 and not gone(deaf)


def test_without_psi_a_guard_on_levels_acts(
    serve: Serve, victim: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FIGURES, str(tmp_path / "figures"))
    host = Figures(tmp_path / "figures", pressure=False)
    child = victim()
    stalled = "kill when host.stall > 10%"
    service = serve(rules=rules([child], GUARD, stalled))
    found = guard_of(service)
    assert found["source"] == "none" and "host.stall" in found["unknown"]
    by_text = {one["text"]: one for one in found["guards"]}
    assert by_text[stalled]["never"] and not by_text[GUARD]["never"]
    assert any("host.stall" in line for line in service.ask()["complaints"])
    host.set(MemAvailable=LOW)
    assert child.process.wait(120) == -signal.SIGKILL


def test_a_hundred_lists_while_a_victim_is_in_flight(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    deaf, other = victim(), victim()
    deaf.do("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    sentence = "terminate when host.available < 5% within 1h"
    service = serve(rules=rules([deaf, other], f"kill first pid {deaf.pid}", sentence))
    host.set(MemAvailable=LOW)
    wait(lambda: guard_of(service)["flight"])
    for _ in range(100):
        service.ask("refresh")
    found = guard_of(service)
    assert found["flight"]["pid"] == deaf.pid and found["guards"][0]["kills"] == 1
    assert not gone(other) and not gone(deaf)


def test_after_a_start_by_the_last_rules_it_guards_at_once(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    child = victim()
    service = serve(rules=rules([child], GUARD))
    service.send(signal.SIGKILL)
    assert service.process
    service.process.wait()
    service.start()
    found = guard_of(service)
    assert found["state"] == "on" and found["armed"] == 1
    host.set(MemAvailable=LOW)
    assert child.process.wait(120) == -signal.SIGKILL


def test_a_list_is_made_as_memory_is_taken_and_before_a_guard_holds(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    service = serve(rules=rules([victim()], GUARD))

    def lists() -> int:
        number: int = service.ask()["refreshes"].get("guard", 0)
        return number

    wait(lambda: rounds(service) > 0)
    host.set(MemAvailable=6 * GIB - GIB // 2)
    before = rounds(service)
    wait(lambda: rounds(service) > before + 2)
    assert lists() == 0
    host.set(MemAvailable=3 * GIB)
    wait(lambda: lists() == 1)
    # What was available then is what counts from now on.
    before = rounds(service)
    wait(lambda: rounds(service) > before + 4)
    assert lists() == 1
    host.set(MemAvailable=2 * GIB)
    wait(lambda: lists() == 2)


def test_a_guard_in_a_block_takes_from_its_unit_by_figures_of_the_list(
    serve: Serve, victim: Spawn, host: Figures
) -> None:
    child = victim()
    guard = "kill when scope.processes > 1 and scope.footprint > 1MiB for 1s"
    service = serve(rules=rules([child], f'in "-.slice" {{ {guard} }}'))
    if not guard_of(service)["armed"]:
        pytest.skip("no control groups are mounted here")
    (shown,) = guard_of(service)["guards"]
    assert shown["unit"] == "-.slice" and not shown["never"]
    assert child.process.wait(120) == -signal.SIGKILL
