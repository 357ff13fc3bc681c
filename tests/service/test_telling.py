"""What the guard did is told: once, in order, to whom it concerns, and in no flood."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oomrules.clock import now
from oomrules.guard.intent import Intent, left
from oomrules.guard.model import Armed, Candidate, Event, Sample
from oomrules.kills import guarded, journal
from oomrules.program.program import Guard
from oomrules.service import telling
from oomrules.service.outbox import Outbox
from oomrules.service.poll import PollTable
from oomrules.service.problems import Problems
from oomrules.service.telling import Telling

GUARD = Guard("kill", ["true"], "/etc/oomrules.d/60-guard.oom:3", "kill when host.available < 5%")
ARMED = Armed(guard=GUARD, number=0)
SAMPLE = Sample(at=1.0, host={"memory": 1 << 30, "available": 1 << 25}, units={})
SYSTEM, USER = "/system.slice", "/user.slice/user-{0}.slice/user@{0}.service/app.slice"


class Kept(Outbox):
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.fields: list[dict[str, str]] = []
        self.busy = False

    def send(
        self, message: str, priority: int = journal.INFO, fields: dict[str, str] | None = None
    ) -> bool:
        self.said.append(message)
        self.fields.append(fields or {})
        return True

    @property
    def waiting(self) -> bool:
        return self.busy

    def acts(self) -> list[str]:
        return [fields["OOMRULES_ACT"] for fields in self.fields if "OOMRULES_ACT" in fields]


class Told:
    """A part of the service that tells, with all that it needs."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "guard.intent")
        self.intent = Intent(self.path)
        self.outbox, self.poll = Kept(), PollTable()
        self.problems = Problems(self.outbox)
        path = [os.path.abspath(entry) for entry in sys.path if entry]
        self.telling = Telling(self.outbox, self.problems, self.poll, path, self.intent)

    def tell(self, *events: Event, targets: tuple[str, ...] = ()) -> None:
        self.telling.tell(events, [targets])

    def work(self, until: Callable[[], Any], seconds: float = 60.0) -> None:
        """Go round as the service does."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "it did not come to be in time"
            self.poll.wait(0.02)
            if now() >= self.telling.due:
                self.telling.work()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setenv("OOMRULES_HOOKS", str(tmp_path / "hooks.d"))
    monkeypatch.setenv("OOMRULES_USERS", str(tmp_path / "users"))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nowhere")
    made = Told(tmp_path)
    yield made
    made.telling.close()


def victim(pid: int = 4711, unit: str = "shop.service", uid: int = 1000) -> Candidate:
    cgroup = f"{SYSTEM}/{unit}"
    return Candidate(
        pid=pid, start=pid + 1, rank=1, points=30, uid=uid, comm="hog", unit=unit, cgroup=cgroup
    )


def of_user(pid: int, user: int = 1000) -> Candidate:
    unit = "app.scope"
    return victim(pid, unit)._replace(manager=str(user), cgroup=f"{USER.format(user)}/{unit}")


def killed(who: Candidate, kind: str = "killed", armed: Armed = ARMED, **more: Any) -> Event:
    return Event(kind, now(), armed=armed, sample=SAMPLE, victim=who, listed=9, **more)


class Requests:
    """Stands for the children: keeps what they are to do, and says what it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.says: dict[str, Any] = {}

    def __call__(self, path: list[str], request: dict[str, Any], deadline: float) -> Any:
        self.asked.append(request)
        self.descriptor, write = os.pipe()
        os.close(write)
        self.deadline = deadline
        return self

    def finish(self) -> dict[str, Any]:
        os.close(self.descriptor)
        return self.says

    def of(self, kind: str) -> list[Any]:
        return [request[kind] for request in self.asked if kind in request]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Requests:
    requests = Requests()
    monkeypatch.setattr(telling, "TellChild", requests)
    return requests


# --- the journal -----------------------------------------------------------------------------


def test_each_act_has_its_entry_in_order(told: Told) -> None:
    told.tell(killed(victim(), "asked"), killed(victim()), killed(victim(), "ended", lasted=0.4))
    assert told.outbox.acts() == ["asked", "killed", "ended"]
    assert told.outbox.fields[1]["OOMRULES_HOST_AVAILABLE"] == str(1 << 25)
    document = told.telling.document(now())
    assert document["last"]["pid"] == 4711 and document["last"]["lasted"] == 0.4
    assert document["counts"] == {"asked": 1, "killed": 1, "ended": 1}
    assert document["units"] == {"shop.service": 1}


def test_what_is_in_the_journal_is_no_more_an_intent(told: Told) -> None:
    for pid in (1, 2):
        told.intent.note("kill", victim(pid), ARMED, SAMPLE)
    told.tell(killed(victim(1)))
    told.telling.close()
    assert [noted.act.pid for noted in left(told.path)] == [2]


def test_an_entry_that_journald_has_not_taken_yet_stays_an_intent(told: Told) -> None:
    told.outbox.busy = True
    told.intent.note("kill", victim(), ARMED, SAMPLE)
    told.tell(killed(victim()))
    assert told.intent._map and b"hog" in told.intent._map[:]
    told.telling.close()
    assert [noted.act.pid for noted in left(told.path)] == [4711]


def test_what_a_service_before_had_no_time_to_say_is_recorded_at_the_start(
    told: Told, tmp_path: Path
) -> None:
    told.intent.note("kill", victim(), ARMED, SAMPLE)
    told.intent.close()
    again = Told(tmp_path)
    again.telling.recall()
    assert again.outbox.acts() == ["unsure"]
    again.telling.close()
    assert left(again.path) == ()


def test_a_warning_that_comes_and_goes_is_said_once_and_summed_up(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr(telling, "now", lambda: at)
    warn = ARMED._replace(guard=GUARD._replace(kind="warn", place="a.oom:1"))
    other = warn._replace(unit=f"{SYSTEM}/b.service", name="b.service")
    for _ in range(500):
        for armed in (warn, other):
            told.tell(Event("warned", at, armed=armed), Event("over", at, armed=armed))
    assert told.outbox.acts() == ["warned", "over", "warned", "over"]
    told.telling.sum_up(at + 61)
    assert [said for said in told.outbox.said if "499 more times" in said]
    told.tell(Event("warned", at, armed=warn))
    assert told.outbox.acts().count("warned") == 5


def test_no_user_fills_the_journal_or_keeps_others_out_of_it(told: Told) -> None:
    at = ARMED._replace(unit=f"{USER.format(1000)}/app.scope", name="app.scope", manager="1000")
    for pid in range(1, 1000):
        told.tell(killed(of_user(pid), armed=at))
    told.tell(killed(victim()), killed(of_user(5, user=1001)))
    pids = [fields["OOMRULES_PID"] for fields in told.outbox.fields if "OOMRULES_PID" in fields]
    assert len(pids) < 60 and pids.count("4711") == 1 and pids[-1] == "5"
    told.telling.sum_up(now() + 61)
    assert any("user-1000.slice" in said and "969 more" in said for said in told.outbox.said)
    assert told.telling.counts["killed"] == 1001


def test_many_users_and_units_cost_no_more_than_a_bound(told: Told) -> None:
    warn = GUARD._replace(kind="warn")
    for number in range(5000):
        unit = f"{USER.format(number)}/x.scope"
        armed = Armed(guard=warn, number=0, unit=unit, name="x.scope", manager=str(number))
        told.tell(
            Event("warned", now(), armed=armed), killed(of_user(number + 1, number), armed=armed)
        )
    assert len(told.outbox.said) < 1000
    assert len(told.telling._flaps) < 500 and len(told.telling._ration.tallies) < 500


def test_a_dry_run_counts_no_loss_and_is_told_to_nobody_else(
    told: Told, children: Requests
) -> None:
    for pid in range(1, 5):
        told.tell(killed(victim(pid), dry=True))
    told.telling.work()
    assert told.outbox.acts() == ["killed"] * 4 and children.asked == []
    assert {fields["MESSAGE_ID"] for fields in told.outbox.fields} == {guarded.DRY_ID}
    assert told.telling.document(now())["counts"] == {"dry": 4}
    assert told.telling.last is None


# --- again and again ---------------------------------------------------------------------------


def test_the_third_kill_in_a_unit_says_that_it_is_started_anew(told: Told) -> None:
    for pid in range(1, 7):
        told.tell(killed(victim(pid), "asked"), killed(victim(pid)))
    (said,) = [said for said in told.outbox.said if "times in 10 min" in said]
    assert said.startswith("processes of shop.service were killed 3 times in 10 min")
    assert "`systemctl status shop.service`" in said and "`then stop`" in said


def test_a_users_units_are_counted_together(told: Told) -> None:
    for pid in range(1, 4):
        who = of_user(pid)
        told.tell(killed(who._replace(unit=f"made-up-{pid}.service")))
    (said,) = [said for said in told.outbox.said if "times in 10 min" in said]
    assert "the units of user 1000 were killed 3 times" in said and "then stop" not in said


STOP = ARMED._replace(guard=GUARD._replace(stop=True))


def test_where_the_rule_says_so_systemd_is_asked_to_stop_it_and_the_result_is_said(
    told: Told, children: Requests
) -> None:
    children.says = {"result": "systemd has stopped it"}
    for pid in (1, 2):
        told.tell(killed(victim(pid), armed=STOP))
    assert children.of("stop") == []
    told.tell(killed(victim(3), armed=STOP))
    told.work(lambda: told.outbox.acts()[-1] == "stopped")
    assert children.of("stop") == ["shop.service"]
    assert "shop.service, `then stop` by" in told.outbox.said[-1]
    assert "systemd has stopped it" in told.outbox.said[-1]


@pytest.mark.parametrize(
    ("who", "named", "why"),
    [
        (of_user(1), (), "`systemctl --user --machine=1000@ stop app.scope` does"),
        (victim(1, "session-3.scope"), ("session-*.scope",), "it may be a whole session"),
        (victim(1, "batch.slice"), ("*.slice",), "it may be a whole session"),
        (victim(1, "user@1000.service"), (), "it may be a whole session"),
        (victim(1, "oomrules.service"), ("oomrules.service",), "the host needs it"),
        (victim(1, "init.scope"), ("init.scope",), "the host needs it"),
        (victim(1, "batch.slice"), ("batch.slice",), ""),
        (victim(1, "shop.service"), ("*.slice",), ""),
    ],
)
def test_what_may_be_a_session_is_stopped_only_by_name(
    who: Candidate, named: tuple[str, ...], why: str, told: Told, children: Requests
) -> None:
    for pid in (1, 2, 3):
        told.tell(killed(who._replace(pid=pid), armed=STOP), targets=named)
    told.telling.work()
    assert children.of("stop") == ([] if why else [who.unit])
    assert (why in told.outbox.said[-1]) or not why


# --- hooks and notices ---------------------------------------------------------------------------


@pytest.fixture
def hooked(told: Told, tmp_path: Path) -> Told:
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hooks.d" / "mine").touch()
    return told


def test_hooks_run_one_event_after_the_other_and_no_user_pushes_out_another(
    hooked: Told, children: Requests
) -> None:
    hooked.tell(killed(victim(1), "ended"))
    for pid in range(2, 30):
        hooked.tell(killed(of_user(pid), "ended"))
    hooked.work(lambda: not hooked.telling._hooks and len(children.of("hooks")) >= 2)
    batches = [
        [event["fields"]["OOMRULES_PID"] for event in batch] for batch in children.of("hooks")
    ]
    assert batches == [["1", "26", "27", "28"], ["29"]]
    assert any("slower than what they are told" in said for said in hooked.outbox.said)


def test_without_hooks_no_child_is_started_for_them(told: Told, children: Requests) -> None:
    told.tell(killed(victim(), "ended"))
    told.telling.work()
    assert children.asked == []


def test_no_child_takes_memory_while_a_victim_still_holds_it(
    hooked: Told, children: Requests
) -> None:
    hooked.tell(killed(victim()))
    hooked.telling.work()
    assert children.asked == []
    hooked.tell(killed(victim(), "ended", lasted=0.1))
    hooked.telling.work()
    assert len(children.of("notices")) == 1 and len(children.of("hooks")) == 1


def test_notices_in_between_are_summed_up(
    told: Told, children: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr(telling, "now", lambda: at)
    for pid in range(1, 100):
        told.tell(killed(victim(pid)), killed(victim(pid), "ended", lasted=0.1))
        told.telling.work()
        told.telling._speaker.finish()
    assert [len(one) for one in children.of("notices")] == [1]
    at += 11
    told.telling.work()
    _, second = children.of("notices")
    assert len(second) < 40 and children.asked[-1]["more"] + len(second) + 1 == 99


def test_the_child_runs_a_hook_and_says_what_failed(told: Told, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks.d"
    hooks.mkdir(mode=0o755)
    good = f"env > {tmp_path}/env; cat > {tmp_path}/said; head -c 9000000 /dev/zero; exit 0"
    for name, does in {"10-good": good, "20-bad": "exit 7"}.items():
        (hooks / name).write_text(f"#!/bin/sh\n{does}\n")
        (hooks / name).chmod(0o755)
    (hooks / "30-open").write_text("#!/bin/sh\n")
    (hooks / "30-open").chmod(0o777)
    told.tell(killed(victim(), "ended", lasted=0.4, won=7))
    told.work(lambda: any("20-bad" in said for said in told.outbox.said))
    said = json.loads((tmp_path / "said").read_text())
    assert (said["event"], said["pid"], said["comm"], said["won"]) == ("ended", 4711, "hog", 7)
    variables = (tmp_path / "env").read_text().splitlines()
    assert "OOMRULES_EVENT=ended" in variables and "OOMRULES_PID=4711" in variables
    (problem,) = [said for said in told.outbox.said if "20-bad" in said]
    assert "failed (status 7)" in problem and "30-open is not run: others may write" in problem


def test_a_child_that_does_not_end_is_ended_with_all_that_it_started(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_TO_HOOK", 6.0)
    hooks = tmp_path / "hooks.d"
    hooks.mkdir(mode=0o755)
    (hooks / "hangs").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    (hooks / "hangs").chmod(0o755)
    told.tell(killed(victim(), "ended", lasted=0.4))
    told.work(lambda: any("took too long" in said for said in told.outbox.said))
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 60
    # Its new parent may not have collected it yet.
    with suppress(FileNotFoundError, ProcessLookupError):
        while ") Z" not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < end, "the hook goes on"
            time.sleep(0.05)


def test_the_service_ends_at_once_whatever_its_children_do(told: Told, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks.d"
    hooks.mkdir(mode=0o755)
    (hooks / "hangs").write_text("#!/bin/sh\nexec sleep 600\n")
    (hooks / "hangs").chmod(0o755)
    told.tell(killed(victim(), "ended", lasted=0.4))
    told.work(lambda: told.telling._hooker.running)
    running = told.telling._hooker.running
    assert running
    told.telling.close()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
