"""The statements of a block hold for the processes that systemd itself puts there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.ranking import RULES, holding, procs, rank

SLEEP = "/usr/bin/sleep 10000"
AS_ALICE = "runuser --user alice -- env XDG_RUNTIME_DIR=/run/user/1001"
UP = f"""
set -e
cd /run/systemd/system
printf '[Service]\\nExecStart={SLEEP}\\n' > tmpl@.service
printf '[Service]\\nExecStart={SLEEP}\\nOOMPolicy=continue\\n' > real.service
printf '[Unit]\\nPartOf=tmpl@x.service\\n' >> real.service
ln -s real.service alias.service
mkdir -p test.target.wants
printf '[Unit]\\nDescription=x\\n' > test.target
ln -s ../real.service test.target.wants/
systemctl daemon-reload
systemctl start tmpl@x tmpl@y real.service test.target
systemd-run --quiet --unit=nested --slice=a-b-c.slice {SLEEP}
systemd-run --quiet --unit=deleg --property=Delegate=yes bash -c '
  below=/sys/fs/cgroup/system.slice/deleg.service/system.slice/nginx.service
  mkdir -p $below; echo $$ > $below/cgroup.procs; exec {SLEEP}'
{AS_ALICE} systemd-run --quiet --user --unit=app-tool.service {SLEEP}
{AS_ALICE} systemd-run --quiet --user --scope --unit=app-tool {SLEEP} & disown
# Her bus starts with the first who connects, which takes the emulated guest as long as she has.
{AS_ALICE} busctl --user list > /dev/null
sleep 1
"""
DOWN = f"""
systemctl stop tmpl@x tmpl@y real nested deleg test.target
{AS_ALICE} systemctl --user stop app-tool.service app-tool.scope
cd /run/systemd/system
rm -r tmpl@.service real.service alias.service test.target test.target.wants
systemctl daemon-reload; systemctl reset-failed
"""


@pytest.fixture(scope="module")
def units(guest: Guest) -> Iterator[Guest]:
    guest.run(UP, timeout=120, check=True)
    login = guest.start(f"exec {SLEEP}", user="alice")
    guest.run(["systemctl", "set-property", "--runtime", "nested.service", "MemoryMax=1M"])
    guest.run(["sleep", "1"])
    yield guest
    login.kill()
    guest.run(DOWN, timeout=120)


TARGETS = {
    "user.slice": "user.slice",
    "system.slice": "system.slice",
    '"a-b-c.slice"': "a-b-c.slice",
    '"a.slice"': "a.slice",
    "nested.service": "nested.service",
    '"tmpl@x.service"': "tmpl@x.service",
    '"user@*.service"': "user@1001.service",
    "real.service": "real.service",
    # Its real name is real.service.
    "alias.service": "real.service",
    'units wanted by "test.target"': "real.service",
    'units part of "tmpl@x.service"': "real.service",
    "deleg.service": "deleg.service",
}
CONDITIONS = {
    name: f"prefer anything when {condition}"
    for name, condition in {
        "policy": 'unit.oom_policy == "continue"',
        "description": 'unit.description == "/usr/bin/sleep 10000"',
        "active": 'unit.active_state == "active"',
        "session": 'session.class == "background" and not session.remote',
        "no session": 'session.class == ""',
        "a quarter of the limit": 'comm == "sleep" and rss > 25%',
    }.items()
}
OTHERS = {
    "instances": 'in "tmpl@*.service": prefer anything',
    "scopes of users": 'in user unit "app-*.scope": prefer anything',
    "units of users": 'in user unit "app-*": prefer anything',
    "units of users without the word": 'in "app-*": prefer anything',
    "a unit inside another": "in nginx.service: prefer anything",
    "wanted by nobody": 'in units wanted by "no-such.target": prefer anything',
    "term": 'prefer user.unit "app-tool.service"',
    "term of the system": 'prefer unit "app-tool.service"',
    "alias as a term": 'prefer unit "alias.service"',
}


@pytest.fixture(scope="module")
def held(units: Guest) -> dict[str, set[int]]:
    """The pids for which each statement of this module holds, from one ranking of the guest."""
    targets = {target: f"in {target}: prefer anything" for target in TARGETS}
    named = {**targets, **CONDITIONS, **OTHERS}
    found = holding(units, list(named.values()))
    return {name: found[statement] for name, statement in named.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_a_block_holds_where_systemd_says(
    units: Guest, held: dict[str, set[int]], target: str
) -> None:
    theirs = procs(units, TARGETS[target])
    # What came or went since the ranking is not compared.
    alive = set.union(*held.values())
    assert theirs & alive
    living = {int(name) for name in units.run(["ls", "/proc"]).stdout.split() if name.isdigit()}
    assert held[target] & living == theirs & alive


def test_a_glob_holds_for_every_instance_of_a_template(
    units: Guest, held: dict[str, set[int]]
) -> None:
    both = procs(units, "tmpl@x.service") | procs(units, "tmpl@y.service")
    assert len(both) == 2
    assert held["instances"] == both


def test_a_block_holds_for_the_units_of_a_user_s_manager(
    units: Guest, held: dict[str, set[int]]
) -> None:
    scope = procs(units, "app-tool.scope", "--user", user="alice")
    service = procs(units, "app-tool.service", "--user", user="alice")
    assert held["scopes of users"] == scope
    assert held["units of users"] == scope | service
    assert held["term"] == service
    assert held["units of users without the word"] == held["term of the system"] == set()
    assert held["alias as a term"] == procs(units, "real.service")


def test_what_a_delegated_subtree_calls_a_unit_is_none_of_this_host_s(
    held: dict[str, set[int]],
) -> None:
    assert held["a unit inside another"] == set()
    assert held["wanted by nobody"] == set()


def test_the_properties_of_units_are_systemd_s(units: Guest, held: dict[str, set[int]]) -> None:
    real, nested = procs(units, "real.service"), procs(units, "nested.service")
    assert real <= held["policy"] and not nested & held["policy"]
    theirs = procs(units, "app-tool.service", "--user", user="alice")
    assert nested | theirs <= held["description"]
    assert real | nested | theirs <= held["active"]


def test_sessions_are_logind_s(units: Guest, held: dict[str, set[int]]) -> None:
    sessions = json.loads(units.run(["loginctl", "--output=json"], check=True).stdout)
    scopes = [
        units.run(["loginctl", "show-session", one["session"], "--value", "-p", "Scope"]).stdout
        for one in sessions
        if one["user"] == "alice"
    ]
    inside = set.union(*(procs(units, scope.strip()) for scope in scopes))
    alive = set.union(*held.values())
    assert inside & alive
    assert inside & alive <= held["session"]
    # The units of the user's manager belong to the session, the system's services to none.
    assert procs(units, "app-tool.service", "--user", user="alice") <= held["session"]
    assert procs(units, "dbus.service") <= held["no session"]
    assert not procs(units, "dbus.service") & held["session"]


def test_a_limit_of_a_unit_is_what_a_percentage_means(
    units: Guest, held: dict[str, set[int]]
) -> None:
    nested, real = procs(units, "nested.service"), procs(units, "real.service")
    assert held["a quarter of the limit"] & (nested | real) == nested


def test_scopes_shows_the_tree_with_the_kernel_s_figures(units: Guest) -> None:
    units.put('in "a.slice": prefer anything\n', RULES)
    shown = units.run(["oomrules", "scopes", "--rules", RULES], check=True, timeout=120).stdout
    line = next(line for line in shown.splitlines() if "nested.service" in line)
    assert "1.0 MiB" in line and "1 in a.slice" in line
    result = units.run(["oomrules", "scopes", "--rules", RULES, "--format", "json"], timeout=120)
    by_unit = {unit["unit"]: unit for unit in json.loads(result.stdout)["units"]}
    assert by_unit["nested.service"]["memory_max"] == 2**20
    assert by_unit["nested.service"]["candidates"] == len(procs(units, "nested.service"))
    assert by_unit["real.service"]["memory_max"] is None
    current = units.run(["systemctl", "show", "--value", "-p", "MemoryCurrent", "real.service"])
    assert abs(by_unit["real.service"]["memory"] - int(current.stdout)) < 2**20


def test_a_recorded_host_ranks_elsewhere_as_it_did_at_home(units: Guest) -> None:
    rules = (
        "score rss + swap\nin alias.service: kill first anything\n"
        'in user unit "app-*": prefer anything by 5\n'
        'in units wanted by "test.target": spare anything by 3\n'
        'spare anything when unit.oom_policy == "continue"\nnever kill session.remote\n'
    )
    units.run("oomrules snapshot -o /root/host.jsonl", check=True, timeout=120)
    home = {one["pid"]: one for one in rank(units, rules)["candidates"]}
    away = rank(units, rules, "--snapshot", "/root/host.jsonl")["candidates"]
    both = [one for one in away if one["pid"] in home and one["comm"] == "sleep"]
    assert len(both) >= 7
    for one in both:
        there = home[one["pid"]]
        assert (one["tier"], one["weight"], one["unit"], one["rules"]) == (
            there["tier"],
            there["weight"],
            there["unit"],
            there["rules"],
        )
