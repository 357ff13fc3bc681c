"""The system's bus: what it says is cut to what rules know, and there is an end to waiting."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomrules.attributes import ATTRIBUTES, Provider
from oomrules.dbus import bounds, systemd
from oomrules.dbus import gather as facts
from oomrules.dbus.bus import BusError, Connection
from oomrules.dbus.gather import EVERYTHING, Questions, gather, questions
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes.facts import Facts
from oomrules.processes.units import Placement, placement
from tests.children import CHECKOUT
from tests.dbus.buses import GUARD, PEER, wait_for

Listen = Callable[[str], str]

# Of PyGObject's importer, the first time.
pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")


@pytest.fixture
def listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """Have a system bus with systemd and logind on it."""
    peers: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        bus = str(tmp_path / "bus")
        argv = ["/usr/bin/python3", "-I", str(PEER), bus, mode]
        peers.append(subprocess.Popen(argv, stderr=subprocess.DEVNULL))
        wait_for(bus)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={bus}")
        monkeypatch.setattr(facts, "booted_with_systemd", lambda: True)
        return f"unix:path={bus}"

    yield start
    for process in peers:
        process.kill()
        process.wait()


def asked(text: str) -> Questions:
    return questions(compiler.compile_texts([RuleText("x.oom", text)]))


def places(number: int) -> list[Placement]:
    return [placement(f"/system.slice/u{n}.service") for n in range(number)]


POLICY = 'never kill anything when unit.oom_policy == "kill"'


def test_properties_relations_aliases_and_sessions_are_found(listen: Listen) -> None:
    listen("honest")
    rules = f'{POLICY}\nin units wanted by "a.target": spare uid 1\nin "b.service": spare uid 2'
    found = gather(asked(f"{rules}\nspare session.active"), places(40))
    assert found.problems == () and found.units is not None and found.sessions is not None
    assert found.units["u39.service"] == {"OOMPolicy": "kill"}
    # A name that is too long for a unit is none; cut it would be another one.
    assert found.units["u1.service"] == {"OOMPolicy": "kill", "WantedBy": ["a.target"]}
    assert found.units["real.service"] == {"Names": ["b.service"]}
    assert max(map(len, found.units)) < bounds.MOST_NAME
    assert set(found.sessions) == {"session-1.scope", "session-2.scope", "user@1000.service"}
    assert len(found.sessions["session-1.scope"]["class"]) == bounds.MOST_NAME


# What tests/dbus/peer.py says of every unit, as ``oomrules.attributes`` has to expect it.
TOLD = {
    "unit.description": "A café",
    "unit.active_state": "active",
    "unit.oom_policy": "kill",
    "unit.oom_score_adjust": 100,
    "unit.managed_oom_preference": "avoid",
    "unit.managed_oom_memory_pressure": "auto",
}


def test_every_property_that_rules_can_ask_for_arrives(listen: Listen) -> None:
    listen("honest")
    properties = {a.name: a for a in ATTRIBUTES.values() if a.provider is Provider.SYSTEMD}
    # A new one: let the peer say it too, on the interface that systemd has it on.
    assert properties.keys() == TOLD.keys()
    asks = [f'{name} == "x"' if type(TOLD[name]) is str else f"{name} > 1" for name in TOLD]
    rules = f"spare anything when {' or '.join(asks)}"
    (place,) = places(1)
    found = gather(asked(rules), [place])
    assert found.problems == ()
    assert {name: found.get(place, a.field) for name, a in properties.items()} == TOLD


YES_OR_NO = """
import json
from oomrules.attributes import ATTRIBUTES, Type

for name, like, read in (
    ("unit.stale", "unit.description", "NeedDaemonReload"),
    ("unit.delegates", "unit.oom_policy", "Delegate"),
):
    ATTRIBUTES[name] = ATTRIBUTES[like]._replace(name=name, type=Type.BOOLEAN, read=read)

from oomrules.dbus import gather
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import ordinary
from oomrules.processes.units import placement
from oomrules.ranking.ranker import Ranker
from oomrules.reason.effects import Effects
from oomrules.reason.witness import proposals, witness

rules = "never kill anything when unit.stale and unit.delegates\\nscore rss\\n"
program = compiler.compile_texts([RuleText("x.oom", rules)])
gather.booted_with_systemd = lambda: True
place = placement("/system.slice/u1.service")
facts = gather.gather(gather.questions(program), [place])
properties = {name: facts.get(place, name) for name in ("NeedDaemonReload", "Delegate")}
host = {"clock_ticks": 100, "uptime": 5000, "mem_total": 2**30}
reasons = []
for said in (properties, {**properties, "Delegate": False}, {**properties, "Delegate": "yes"}):
    scope = {"kind": "scope", "cgroup": place.path, "properties": said}
    lines = [scope, ordinary.process_line(pid=7, cgroup=place.path)]
    snapshot = ordinary.snapshot("x", host, lines)
    verdict = Ranker(program, snapshot.host).rank(snapshot).verdict(snapshot.by_pid[7])
    reasons.append(verdict.why.name)
judge = witness.judge_of(program)
(effect,) = Effects(program).all
made = [one for box in effect.sure for one in proposals.proposals(box)]
print(json.dumps([properties, reasons, [one.judge(judge).why.name for one in made]]))
"""


def test_a_new_property_of_yes_and_no_is_told_judged_and_made_up(listen: Listen) -> None:
    listen("honest")
    done = subprocess.run(
        [sys.executable, "-c", YES_OR_NO],
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    properties, reasons, made = json.loads(done.stdout)
    assert properties == {"NeedDaemonReload": True, "Delegate": True}
    # A value of another type is as good as unknown, which protects.
    assert reasons == ["NEVER", "CANDIDATE", "NEVER_IN_DOUBT"]
    assert made[0] == "NEVER"


def test_a_bus_that_lags_is_asked_until_the_deadline_and_the_rest_is_unknown(
    listen: Listen,
) -> None:
    listen("lagging")
    found = gather(asked(POLICY), places(400), patience=4.0)
    assert found.units is not None and not found.whole
    (problem,) = found.problems
    # system.slice is one, too, which has no such property.
    known = [place for place in places(400) if found.get(place, "OOMPolicy") == "kill"]
    assert 0 < len(known) < 400
    assert re.search(rf"about ({len(known)}|{len(known) + 1}) of 401 units", problem)
    for place in places(400):
        # How units belong together was asked before, of all.
        assert found.get(place, "WantedBy") == []
        assert place in known or found.get(place, "OOMPolicy") is None


@pytest.mark.parametrize("mode", ["silent", "mute", "errors", "types", "garbage", "gone", "half"])
def test_a_bus_that_does_not_answer_properly_is_said_and_unknown(mode: str, listen: Listen) -> None:
    listen(mode)
    begun = time.monotonic()
    found = gather(asked(f'{POLICY}\nin "b.service": spare uid 2'), places(30), patience=1.5)
    assert time.monotonic() - begun < GUARD
    assert found.units is None
    assert any("cannot be asked" in problem for problem in found.problems)
    assert found.get(places(1)[0], "OOMPolicy") is None
    assert found.problems and "\n" not in found.problems[0].strip("\n")


@pytest.mark.parametrize("mode", ["long", "array", "deep", "bytes", "numbers"])
def test_texts_are_cut_and_other_types_are_unknown(mode: str, listen: Listen) -> None:
    listen(mode)
    found = gather(asked(f'{POLICY}\nspare anything when unit.description == "x"'), places(3))
    for place in places(3):
        for name in ("OOMPolicy", "Description"):
            value = found.get(place, name)
            if mode == "long":
                assert len(value.encode()) == bounds.MOST_TEXT
            else:
                assert value == (None if name == "OOMPolicy" else "A café")


def test_units_that_say_too_much_together_are_unknown(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen("long")
    monkeypatch.setattr(facts, "_MOST_SAID", 1 << 20)
    found = gather(asked('spare anything when unit.description == "x"'), places(200))
    assert found.units is not None and 0 < len(found.units) < 200 and not found.whole
    assert "1 MiB" in found.problems[0]


def test_a_user_s_unit_that_is_new_is_no_doubt(listen: Listen) -> None:
    found = Facts({}, {}, (), frozenset())
    new = placement("/user.slice/user-7.slice/user@7.service/app.slice/x.service")
    # Else its user would be protected by rules on sessions and relations for a while.
    assert (found.get(new, "session"), found.get(new, "WantedBy")) == ({}, [])
    assert found.get(new, "OOMPolicy") is None
    # Nor does it count among the units that there were: users have as many as they like.
    assert facts.of_system([new]) == {"user.slice", "user-7.slice", "user@7.service"}
    known = Facts({"7/x.service": {"OOMPolicy": "kill"}}, {}, (), frozenset())
    assert known.get(new, "OOMPolicy") == "kill"
    assert Facts(None, None).get(new, "PartOf") == []


def test_the_deadline_holds_for_all_calls_together(listen: Listen) -> None:
    address = listen("lagging")
    connection = Connection(address, 5.0, time.monotonic() + 1.0)
    manager = systemd.Manager(connection)
    calls = 0
    with pytest.raises(BusError) as error:
        while calls < 1000:
            manager.properties("u.service", ["OOMPolicy"])
            calls += 1
    assert error.value.late and calls <= 20
    connection.close()


def test_a_snapshot_asks_for_all_that_rules_could(listen: Listen) -> None:
    listen("numbers")
    found = gather(EVERYTHING, places(2))
    assert found.units is not None and found.problems == ()
    says = {"Description": "A café", "ActiveState": "active", "OOMScoreAdjust": 2**64 - 1}
    assert found.units["u0.service"] == says


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("a_2eservice", "a.service"),
        ("_zz", "_zz"),
        ("_", "_"),
        ("_2", "_2"),
        ("_c3_a9", "é"),
        ("_ff", "\\xff"),
        ("é", "é"),
    ],
)
def test_an_object_path_that_is_none_is_read_all_the_same(path: str, unit: str) -> None:
    assert systemd.unescape(path) == unit


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_no_effective_id_is_left_behind(listen: Listen) -> None:
    before = os.getresuid()
    listen("honest")
    user = placement("/user.slice/user-61234.slice/user@61234.service/app.slice/x.service")
    found = gather(asked(POLICY), [*places(2), user])
    assert os.getresuid() == before
    assert found.units is not None and found.units["u1.service"] == {"OOMPolicy": "kill"}
    (problem,) = found.problems
    assert "user 61234" in problem and "no such file" in problem
