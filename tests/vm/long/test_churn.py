"""Units come and go while the host is ranked: no error, and no process in a wrong unit."""

from __future__ import annotations

import json
import time

from tests.vm.guest import Guest
from tests.vm.ranking import RULES

# Each unit's process bears the unit's name and waits on a pipe that nobody opens.
CHURN = """
mkfifo /run/never
for i in $(seq 500); do
  systemd-run --quiet --no-block --unit=churn-$i \
    sh -c "printf churn-$i > /proc/self/comm; read _ < /run/never"
  if [ $i -gt {alive} ]; then systemctl stop --no-block churn-$((i - {alive})).service; fi
done
"""
MANY = """
mkfifo /run/never
printf '[Service]\\nExecStart=sh -c "read _ < /run/never"\\n' > /run/systemd/system/many@.service
systemctl start --no-block many@{1..500}.service
# One more is this script itself.
until [ $(pgrep --count --full "read _") -ge 501 ]; do sleep 1; done
"""
RULES_TEXT = (
    'score 1\nonly kill unit "churn-*.service"\n'
    'in churn-7.service: prefer anything\nnever kill anything when unit.oom_policy == "kill"\n'
)


def _rank(guest: Guest, shown: list[float]) -> list[dict[str, str]]:
    argv = ["oomrules", "rank", "--rules", RULES, "--format", "json"]
    result = guest.run(argv, timeout=300)
    shown.append(result.ended - result.begun)
    assert result.status in (0, 1), result.stderr
    assert "Traceback" not in result.stderr and "cannot" not in result.stderr, result.stderr
    found: list[dict[str, str]] = json.loads(result.stdout)["candidates"]
    return found


def test_units_that_come_and_go_confuse_nothing(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put(RULES_TEXT, RULES)
    churn = guest.start(CHURN.format(alive=40))
    took: list[float] = []
    seen = set()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for one in _rank(guest, took):
            if one["comm"].startswith("churn-"):
                assert one["unit"] == f"{one['comm']}.service"
                seen.add(one["comm"])
    churn.wait(timeout=600)
    print(f"\n{len(took)} rankings, {len(seen)} units seen in them")
    assert len(took) > 3 and len(seen) > 40


def test_how_long_a_ranking_takes_with_500_units(fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.put(RULES_TEXT.replace("churn-", "many@"), RULES)
    guest.run(MANY, timeout=600, check=True)
    with_bus: list[float] = []
    without: list[float] = []
    assert len(_rank(guest, with_bus)) >= 490
    _rank(guest, with_bus)
    guest.put('score 1\nonly kill cgroup "*/many@*.service"\n', RULES)
    assert len(_rank(guest, without)) >= 490
    _rank(guest, without)
    print(f"\n500 units: {min(with_bus):.1f} s, {min(with_bus) - min(without):.1f} s of it D-Bus")
