"""The statements of a block hold for the processes that systemd itself puts there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.ranking import RULES, held_by, listed, procs, rank

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
    yield guest
    guest.run(DOWN, timeout=120)


@pytest.mark.parametrize(
    ("target", "unit"),
    [
        ("user.slice", "user.slice"),
        ("system.slice", "system.slice"),
        ('"a-b-c.slice"', "a-b-c.slice"),
        ('"a.slice"', "a.slice"),
        ("nested.service", "nested.service"),
        ('"tmpl@x.service"', "tmpl@x.service"),
        ('"user@*.service"', "user@1001.service"),
        ("real.service", "real.service"),
        ("deleg.service", "deleg.service"),
    ],
)
def test_a_block_holds_where_systemd_says(units: Guest, target: str, unit: str) -> None:
    theirs = procs(units, unit)
    assert theirs
    # What a command of ours itself starts and ends meanwhile is not compared.
    assert held_by(units, target) & procs(units, unit) == theirs & procs(units, unit)
    assert not held_by(units, target) - procs(units, unit) - theirs


def test_a_glob_holds_for_every_instance_of_a_template(units: Guest) -> None:
    both = procs(units, "tmpl@x.service") | procs(units, "tmpl@y.service")
    assert len(both) == 2
    assert held_by(units, '"tmpl@*.service"') == both


def test_a_block_holds_for_the_units_of_a_user_s_manager(units: Guest) -> None:
    scope = procs(units, "app-tool.scope", "--user", user="alice")
    service = procs(units, "app-tool.service", "--user", user="alice")
    assert held_by(units, '"app-*.scope"') == scope
    assert held_by(units, '"app-*"') == scope | service
    assert listed(units, 'score 1\nonly kill unit "app-tool.service"\n') == service


def test_an_alias_stands_for_the_real_unit(units: Guest) -> None:
    real = procs(units, "real.service")
    assert held_by(units, "alias.service") == real
    assert listed(units, 'score 1\nonly kill unit "alias.service"\n') == real


def test_what_a_delegated_subtree_calls_a_unit_is_none_of_this_host_s(units: Guest) -> None:
    inside = procs(units, "deleg.service")
    assert held_by(units, "nginx.service") == set()
    assert inside <= held_by(units, "deleg.service")


def test_units_are_found_by_what_wants_them_and_what_they_are_part_of(units: Guest) -> None:
    real = procs(units, "real.service")
    assert held_by(units, 'units wanted by "test.target"') == real
    assert held_by(units, 'units part of "tmpl@x.service"') == real
    assert held_by(units, 'units wanted by "no-such.target"') == set()


def test_the_properties_of_units_are_systemd_s(units: Guest) -> None:
    real = procs(units, "real.service")
    by_policy = listed(units, 'score 1\nonly kill anything when unit.oom_policy == "continue"\n')
    assert real <= by_policy
    assert not procs(units, "nested.service") & by_policy
    description = 'score 1\nonly kill anything when unit.description == "/usr/bin/sleep 10000"\n'
    theirs = procs(units, "app-tool.service", "--user", user="alice")
    assert procs(units, "nested.service") | theirs <= listed(units, description)
    active = 'score 1\nonly kill unit "real.service" when unit.active_state == "active"\n'
    assert listed(units, active) == real


def test_sessions_are_logind_s(guest: Guest) -> None:
    login = guest.start(f"echo $$; exec {SLEEP}", user="alice")
    try:
        guest.run(["sleep", "1"])
        sessions = json.loads(guest.run(["loginctl", "--output=json"], check=True).stdout)
        scopes = [
            guest.run(["loginctl", "show-session", one["session"], "--value", "-p", "Scope"])
            for one in sessions
            if one["user"] == "alice"
        ]
        inside = set.union(*(procs(guest, scope.stdout.strip()) for scope in scopes))
        assert inside
        rules = 'score 1\nonly kill anything when session.class == "user" and not session.remote\n'
        found = listed(guest, rules)
        assert inside <= found
        # The user's manager belongs to the session, the system's services to none.
        assert procs(guest, "user@1001.service") <= found
        assert not procs(guest, "dbus.service") & found
        assert procs(guest, "dbus.service") <= listed(
            guest, "score 1\nonly kill anything when not session.active\n"
        )
    finally:
        login.kill()
        login.wait()


def test_scopes_shows_the_tree_with_the_kernel_s_figures(units: Guest) -> None:
    units.run(["systemctl", "set-property", "--runtime", "nested.service", "MemoryMax=64M"])
    units.put('in "a.slice": prefer anything\n', RULES)
    shown = units.run(["oomrules", "scopes", "--rules", RULES], check=True, timeout=120).stdout
    line = next(line for line in shown.splitlines() if "nested.service" in line)
    assert "64.0 MiB" in line and "1 in a.slice" in line
    result = units.run(["oomrules", "scopes", "--rules", RULES, "--format", "json"], timeout=120)
    by_unit = {unit["unit"]: unit for unit in json.loads(result.stdout)["units"]}
    assert by_unit["nested.service"]["memory_max"] == 64 * 2**20
    assert by_unit["nested.service"]["candidates"] == len(procs(units, "nested.service"))
    assert by_unit["real.service"]["memory_max"] is None
    current = units.run(["systemctl", "show", "--value", "-p", "MemoryCurrent", "real.service"])
    assert abs(by_unit["real.service"]["memory"] - int(current.stdout)) < 2**20


def test_a_limit_of_a_unit_is_what_a_percentage_means(units: Guest) -> None:
    units.run(["systemctl", "set-property", "--runtime", "nested.service", "MemoryMax=1M"])
    nested = procs(units, "nested.service")
    rules = 'score 1\nonly kill comm "sleep" when rss > 25%\n'
    assert listed(units, rules) & (nested | procs(units, "real.service")) == nested


def test_a_recorded_host_ranks_elsewhere_as_it_did_at_home(units: Guest) -> None:
    rules = (
        "score rss + swap\nin alias.service: kill first anything\n"
        'in "app-*.scope": prefer anything by 5\n'
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
