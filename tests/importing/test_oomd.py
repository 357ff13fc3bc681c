"""Settings of units, oomd.conf and rulesets; and what systemd says of a host's units."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules.errors import Failure
from oomrules.importing import oomd, recognition, units
from oomrules.importing.settings import unit_of
from oomrules.importing.sources import Source
from oomrules.importing.translation import Translation, Untranslatable
from oomrules.roots import Root
from tests.importing import made

UNIT = "/etc/systemd/system/shop.service"


def of(files: dict[str, str]) -> Translation:
    sources = [Source(name, text.splitlines()) for name, text in files.items()]
    (found,), _ = recognition.translations(sources)
    return found


def rules(files: dict[str, str]) -> list[str]:
    return made.rules(made.written([of(files)]))


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("OOMScoreAdjust=-1000", 'never kill unit "shop.service"'),
        ("OOMScoreAdjust=-900", 'kill last unit "shop.service"'),
        ("OOMScoreAdjust = -200", 'spare unit "shop.service" by 4'),
        ("OOMScoreAdjust=100", 'prefer unit "shop.service" by 2'),
        ("OOMScoreAdjust=500", 'kill first unit "shop.service"'),
        ("ManagedOOMPreference=avoid", 'kill last unit "shop.service"'),
        ("ManagedOOMPreference=omit", 'never kill unit "shop.service"'),
        ("OOMPolicy=kill", 'kill whole "shop.service"'),
        ("OOMScoreAdjust=\\\n# a comment\n 100", 'prefer unit "shop.service" by 2'),
        ("OOMScoreAdjust=5\nOOMScoreAdjust=100", 'prefer unit "shop.service" by 2'),
    ],
)
def test_a_setting_of_a_unit_becomes_a_rule(setting: str, rule: str) -> None:
    assert rules({UNIT: f"[Service]\nExecStart=/bin/shop\n{setting}\n"}) == [rule]


@pytest.mark.parametrize(
    "setting",
    [
        *("OOMScoreAdjust=0", "OOMScoreAdjust=", "OOMScoreAdjust=x", "OOMScoreAdjust=1001"),
        *("ManagedOOMPreference=none", "ManagedOOMPreference=odd", "OOMPolicy=stop"),
        *("ManagedOOMSwap=kill", "ManagedOOMMemoryPressure=auto", "OOMRules=a b", "MemoryMax=5G"),
        *("no assignment", "DefaultOOMScoreAdjust=5", "=", "OOMScoreAdjust=\udcff"),
    ],
)
def test_any_other_stands_in_a_comment_with_a_reason(setting: str) -> None:
    found = of({UNIT: f"[Service]\n{setting}\n"})
    assert [bool(one.reason) for one in found.pieces] == [True]
    assert made.rules(made.written([found])) == []


@pytest.mark.parametrize(
    ("path", "name", "user"),
    [
        ("/etc/systemd/system/a.service", "a.service", False),
        ("/etc/systemd/system/a.service.d/10-x.conf", "a.service", False),
        ("/usr/lib/systemd/system/getty@.service", "getty@*.service", False),
        ("/usr/lib/systemd/system/user@.service.d/10.conf", "user@*.service", False),
        ("/etc/systemd/system/user-.slice.d/90.conf", "user-*.slice", False),
        ("/etc/systemd/system/-.slice.d/10.conf", "-.slice", False),
        ("/etc/systemd/system/service.d/10.conf", "*.service", False),
        ("/etc/systemd/user/app.slice.d/90.conf", "app.slice", True),
        ("/home/x/.config/systemd/user/y.service", "y.service", True),
        ("a\\x2db.scope", "a\\x2db.scope", False),
    ],
)
def test_the_path_of_a_file_says_which_units_it_is_for(path: str, name: str, user: bool) -> None:
    assert unit_of(path) == (name, user)


@pytest.mark.parametrize("path", ["-", "x.conf", "/a.service.d/x", "a b.service", ".service", ""])
def test_another_path_says_nothing(path: str) -> None:
    with pytest.raises(Untranslatable):
        unit_of(path)


def test_of_several_files_about_a_unit_the_last_drop_in_counts() -> None:
    files = {
        f"/etc/systemd/system/shop.service.d/{number}.conf": f"[Service]\nOOMScoreAdjust={value}\n"
        for number, value in (("20", -900), ("10", 100))
    }
    files["/usr/lib/systemd/system/shop.service"] = "[Service]\nOOMScoreAdjust=-1000\n"
    assert rules(files) == ['kill last unit "shop.service"']


def test_a_file_in_a_higher_directory_replaces_and_masks_one_of_its_name() -> None:
    text = "[Service]\nOOMScoreAdjust=100\n"
    lower, higher = ("/usr/lib/systemd/system/a.service", "/etc/systemd/system/a.service")
    assert rules({lower: text, higher: "[Service]\nExecStart=/a\n"}) == []
    assert rules({lower: text, higher: ""}) == []
    found = of({lower: text, higher: ""})
    assert [one.place for one in found.pieces] == [f"{lower}:2"]
    dropped = {path.replace("a.service", "a.service.d/x.conf"): text for path in (lower, higher)}
    assert rules({lower: "", **dropped}) == ['prefer unit "a.service" by 2']


def test_units_of_users_are_preferred_but_never_protected() -> None:
    path = "/etc/systemd/user/app.service"
    assert rules({path: "[Service]\nOOMScoreAdjust=100\n"}) == [
        'prefer user.unit "app.service" by 2'
    ]
    assert rules({path: "[Service]\nOOMScoreAdjust=-100\n"}) == []
    assert rules({path: "[Service]\nManagedOOMPreference=omit\n"}) == []


def test_a_slice_holds_no_process_itself() -> None:
    assert rules({"/etc/systemd/system/a.slice": "[Slice]\nManagedOOMPreference=avoid\n"}) == []


def test_the_arguments_of_earlyoom_s_service_are_read() -> None:
    path = "/lib/systemd/system/earlyoom.service"
    command = "ExecStart=-/usr/bin/earlyoom -r 60 --sort-by-rss --avoid '^sshd$'"
    assert rules({path: f"[Service]\n{command}\n"}) == ["score rss", 'kill last comm "sshd"']
    found = of({path: "[Service]\nExecStart=/usr/bin/earlyoom $EARLYOOM_ARGS\n"})
    assert "/etc/default/earlyoom" in made.written([found])
    assert not found.guards


def test_when_systemd_oomd_acts_becomes_guards() -> None:
    slices = "/usr/lib/systemd/system/-.slice.d/10.conf"
    files = {
        "/etc/systemd/oomd.conf": (
            "[OOM]\nSwapUsedLimit=80%\nDefaultMemoryPressureDurationSec=20s\n"
        ),
        slices: "[Slice]\nManagedOOMSwap=kill\nManagedOOMMemoryPressure=kill\n",
        "/usr/lib/systemd/system/user@.service.d/10.conf": (
            "[Service]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50.5%\n"
            "ManagedOOMMemoryPressureDurationSec=1min 30s\n"
        ),
    }
    assert of(files).guards == (
        "kill when host.swap_free < 20% and host.available < 20%",
        "kill when host.stall > 60% for 20s",
        'in "user@*.service": kill when scope.stall > 50.5% for 90s',
    )
    assert rules(files) == []
    text = made.written([of(files)])
    assert len(made.guards(text)) == 3
    # What no unit makes it act by is no guard, and is said.
    text = made.written([of({"/etc/systemd/oomd.conf": files["/etc/systemd/oomd.conf"]})])
    assert made.guards(text) == [] and "No unit here" in text


@pytest.mark.parametrize("limit", ["0%", "0", "", "many"])
def test_a_limit_of_nothing_is_the_default_and_no_guard_that_always_acts(limit: str) -> None:
    files = {
        "/etc/systemd/oomd.conf": "[OOM]\nDefaultMemoryPressureDurationSec=0\nOther=5\n",
        "/etc/systemd/system/a.service": (
            f"[Service]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit={limit}\n"
        ),
    }
    assert of(files).guards == ('in "a.service": kill when scope.stall > 60% for 30s',)
    # No guard says what is no limit.
    assert "Other=5" in made.written([of(files)]).partition("no rule says")[2]


def test_a_ruleset_is_said_for_each_unit_that_names_it() -> None:
    files = {
        "/etc/systemd/oomd/rules.d/calm.oomrule": (
            "[Rule]\nMemoryPressureAbove=25%\nSwapUsageMax=90%\nLastingSec=10s\n"
            "Action=kill-by-swap\n"
        ),
        "/etc/systemd/oomd/rules.d/never.oomrule": "[Rule]\nMemoryPressureAbove=25%\n",
        "/etc/systemd/user/app.slice": "[Slice]\nOOMRules=calm other\nOOMRules=never\n",
        "/etc/systemd/system/job.slice": "[Slice]\nOOMRules=calm\n",
    }
    when = "kill when scope.stall > 25% and host.swap_free < 10% for 10s"
    assert of(files).guards == (f'in user unit "app.slice": {when}', f'in "job.slice": {when}')
    assert rules(files) == []


# --- what systemd says of the units of this host, and files below a root -------------------------


def test_units_with_something_of_their_own_become_rules() -> None:
    found = units.of_properties(
        {
            "dbus.service": {"OOMScoreAdjust": -900, "OOMPolicy": "stop"},
            "ssh.service": {"OOMScoreAdjust": -1000, "ManagedOOMPreference": "none"},
            "a.slice": {"ManagedOOMPreference": "avoid", "ManagedOOMMemoryPressure": "kill"},
            "job.service": {"OOMScoreAdjust": 300, "OOMPolicy": "kill"},
            "plain.service": {"OOMScoreAdjust": 0, "OOMPolicy": "continue"},
            "x\x1b.service": {"OOMScoreAdjust": -5},
        }
    )
    text = made.written([found])
    assert made.rules(text) == [
        'kill last unit "dbus.service"',
        'prefer unit "job.service" by 8',
        'kill whole "job.service"',
        'never kill unit "ssh.service"',
    ]
    assert "1 other units" in text and "a.slice: ManagedOOMMemoryPressure=kill" in text


def test_the_units_of_another_system_are_read_from_its_files(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/system"
    (directory / "a.service.d").mkdir(parents=True)
    (directory / "a.service").write_text("[Service]\nExecStart=/a\nOOMScoreAdjust=-100\n")
    (directory / "a.service.d/x.conf").write_text("[Service]\nOOMScoreAdjust=100\n")
    (directory / "masked.service").symlink_to("/dev/null")
    (directory / "multi-user.target.wants").mkdir()
    (directory / "multi-user.target.wants/a.service").symlink_to("../a.service")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    found = units.of_files(Root(tmp_path))
    assert made.rules(made.written([found])) == ['prefer unit "a.service" by 2']
    assert "1 settings" in found.differences[-1]


def test_the_limits_of_systemd_oomd_are_read_beside_the_units(tmp_path: Path) -> None:
    unit = tmp_path / "usr/lib/systemd/system/a.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nManagedOOMSwap=kill\nOOMRules=mine\n")
    for path, text in {
        "usr/lib/systemd/oomd.conf": "[OOM]\nSwapUsedLimit=70%\n",
        "etc/systemd/oomd.conf.d/10-x.conf": "[OOM]\nSwapUsedLimit=80%\n",
        "etc/systemd/oomd/rules.d/mine.oomrule": (
            "[Rule]\nMemoryPressureAbove=25%\nAction=kill-by-pgscan\n"
        ),
        "etc/systemd/journald.conf": "[Journal]\nStorage=none\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "etc/systemd/system").mkdir()
    text = made.written([units.of_files(Root(tmp_path))])
    assert made.guards(text) == [
        'in "a.service": kill when host.swap_free < 20% and host.available < 20%',
        'in "a.service": kill when scope.stall > 25%',
    ]
    assert "journald" not in text


def test_a_root_without_units_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no unit files"):
        units.of_files(Root(tmp_path))


def test_systemd_s_settings_are_all_among_those_that_are_known() -> None:
    assert oomd.TOOL in recognition.FORMATS
