"""``check --host``: rules that are fine by themselves and wrong on one host."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomrules import resources
from oomrules.commands.main import main
from oomrules.language import compiler, rulefiles
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText
from oomrules.lint import host_facts, linter
from oomrules.lint.checks import host as host_checks
from oomrules.processes import ordinary, recorded
from oomrules.processes.recorded import Recorded
from oomrules.ranking.ranker import Ranker
from oomrules.roots import Root
from tests.lint import pages


def lint(text: str, **facts: Any) -> list[tuple[str, str]]:
    found = rulefiles.Found((RuleText("x.oom", text),))
    findings = linter.lint(found, host=pages.host(found, **facts))[1]
    return [(one.code, one.message) for one in findings]


def codes(text: str, **facts: Any) -> list[str]:
    return [code for code, _ in lint(text, **facts)]


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    code = main(["check", "--format", "json", *map(str, arguments)])
    found = json.loads(capsys.readouterr().out)["findings"]
    return code, [one["code"] for one in found]


# --- OOM701 and OOM702 ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "in sshd.service: spare uid 0",
        'in "nothing-*.service": spare uid 0',  # may be about units to come
        "in session-99.scope: spare uid 0",  # comes and goes
        'list l = "a.service"\nspare unit @l',  # a list names what may be there
        'spare anything when unit != "a.service"',
        "in user.slice: spare uid 0",
    ],
)
def test_units_that_are_there_or_may_come_are_no_mistake(text: str) -> None:
    assert codes(text) == []


def test_an_unknown_unit_is_found_in_targets_and_terms() -> None:
    text = (
        'in ssh.service: spare uid 0\nin a.slice: in b.slice: spare uid 0\nspare unit "c.service"'
    )
    assert codes(text) == ["OOM701"] * 4
    assert codes(text, units=None) == []


def test_a_template_stands_for_its_instances() -> None:
    units = frozenset(["getty@.service"])
    assert codes("in getty@tty1.service: spare uid 0", units=units) == []
    assert codes("in gotty@tty1.service: spare uid 0", units=units) == ["OOM701"]


def test_units_of_users_are_looked_for_among_those_of_users() -> None:
    known = {"units": frozenset(["a.service"]), "user_units": frozenset(["b.service"])}
    right = "in a.service: spare uid 0\nin user unit b.service: spare uid 0\n"
    assert codes(f'{right}spare unit "a.service"\nspare user.unit "b.service"', **known) == []
    wrong = "in b.service: spare uid 0\nin user unit a.service: spare uid 0\n"
    text = f'{wrong}spare unit "b.service"\nspare user.unit "a.service"'
    assert codes(text, **known) == ["OOM701"] * 4
    found = rulefiles.Found((RuleText("x.oom", text),))
    helps = [one.help for one in linter.lint(found, host=pages.host(found, **known))[1]]
    assert ['`in user unit "b.service"`' in help_ for help_ in helps].count(True) == 2


def test_an_alias_that_counts_for_nothing_is_told_with_the_unit_s_own_name() -> None:
    aliases = {"sshd.service": "ssh.service"}
    units = frozenset(["ssh.service", *aliases])
    known: dict[str, Any] = {"units": units, "aliases": aliases, "user_units": units}
    assert codes('in "sshd.service": spare uid 0\nin "ss*.service": spare uid 0', **known) == []
    ((code, message),) = lint('in "sshd*.service": spare uid 0', **known)
    assert code == "OOM701" and "an alias of `ssh.service`" in message
    theirs = 'in user unit "sshd.service": spare uid 0'
    ((code, message),) = lint(theirs, **known, user_aliases=aliases)
    assert code == "OOM701" and "an alias of `ssh.service`" in message


def test_a_name_without_systemd_s_escapes_is_told_with_them() -> None:
    units = frozenset([r"app-gnome\x2dshell-1.scope", r"a\x2db.service", "c-d.service"])
    known: dict[str, Any] = {"units": units, "user_units": units}
    for name in ("app-gnome-shell-1.scope", "app-gnome-shell-*.scope", "a-b.service"):
        for text in (f'spare unit "{name}"', f'in user unit "{name}": spare uid 0'):
            ((_, message),) = (one for one in lint(text, **known) if one[0] == "OOM701")
            assert r"\x2d" in message
    right = r'spare unit "a\x2db.service"', 'spare unit "c-d.service"', 'spare unit "c-*.service"'
    assert all(codes(text, **known) == [] for text in right)


def test_unit_files_of_a_root_are_told_with_their_aliases(tmp_path: Path) -> None:
    units = tmp_path / "usr/lib/systemd/system"
    links = tmp_path / "etc/systemd/system"
    for folder in (units, links):
        folder.mkdir(parents=True)
    (units / "ssh.service").touch()
    (units / "getty@.service").touch()
    (links / "sshd.service").symlink_to("/usr/lib/systemd/system/ssh.service")
    (links / "getty@tty1.service").symlink_to("/usr/lib/systemd/system/getty@.service")
    (links / "masked.service").symlink_to("/dev/null")
    names, aliases = host_facts.unit_files("system", Root(tmp_path))
    assert names == {
        "ssh.service", "getty@.service", "sshd.service", "getty@tty1.service", "masked.service"
    }  # fmt: skip
    assert aliases == {"sshd.service": "ssh.service"}


def test_below_a_root_its_own_users_and_units_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    etc = tmp_path / "etc"
    for folder in ("oomrules.d", "systemd/system"):
        (etc / folder).mkdir(parents=True)
    (etc / "systemd/system/theirs.service").touch()
    (etc / "real").write_text("theirs:x:4242:4242::/:/bin/sh\n")
    (etc / "passwd").symlink_to("/etc/real")
    (etc / "nsswitch.conf").write_text("passwd: files systemd\n")
    rules = etc / "oomrules.d/50.oom"
    rules.write_text('spare user "theirs"\nin theirs.service: spare uid 5\n')
    arguments = ("--host", "--least-freeable", "0", f"--root={tmp_path}")
    assert not {"OOM701", "OOM702"} & set(check(capsys, *arguments)[1])
    rules.write_text('spare user "nobody"\nin ours.service: spare uid 5\n')
    assert {"OOM701", "OOM702"} <= set(check(capsys, *arguments)[1])
    (etc / "nsswitch.conf").write_text("passwd: files sss\n")
    assert "OOM702" not in check(capsys, *arguments)[1]


@pytest.mark.parametrize("text", ['spare user "root"', 'spare user "no*"'])
def test_users_that_are_there_are_no_mistake(text: str) -> None:
    assert codes(text) == []


def test_a_user_by_number_is_one_that_is_there_and_better_asked_for_by_id() -> None:
    assert codes('spare user "1234"') == ["OOM508"]


def test_users_and_groups_that_are_not_there_are_found_wherever_they_are_asked_for() -> None:
    text = 'spare user "nobdy"\nspare anything when group == "nobdy"\nspare uid 3 user "nobdy"'
    assert codes(text) == ["OOM702"] * 3


def test_this_host_is_asked_for_its_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "x.oom"
    rules.write_text('spare user "root"\nspare user "no-such-user-here"\n')
    code, found = check(capsys, "--host", "--least-freeable", "0", rules)
    assert (code, found) == (1, ["OOM702"])


# --- OOM703 --------------------------------------------------------------------------------


@pytest.fixture
def in_force(tmp_path: Path) -> Path:
    folder = tmp_path / "etc" / "oomrules.d"
    folder.mkdir(parents=True)
    path = folder / "50-x.oom"
    path.write_text("spare uid 0\n")
    return path


def writable(
    path: Path, monkeypatch: pytest.MonkeyPatch, mine: Callable[[Path], bool]
) -> list[str]:
    """List the paths that are found to be writable; only ours are looked at."""
    real = host_checks._who_may_write
    monkeypatch.setattr(host_checks, "_who_may_write", lambda one: real(one) if mine(one) else "")
    root = path.parent.parent.parent
    directories = tuple(one for one in rulefiles.directories(root) if one.is_dir())
    found = rulefiles.system(root)
    findings = linter.lint(found, directories, pages.host(found))[1]
    return [one.source.name for one in findings if one.code == "OOM703"]


@pytest.mark.parametrize(("mode", "bad"), [(0o644, False), (0o600, False), (0o666, True)])
def test_a_rule_file_that_everybody_may_write_is_found(
    mode: int, bad: bool, in_force: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force.chmod(mode)
    mine = os.geteuid() == 0
    found = writable(in_force, monkeypatch, lambda one: one == in_force)
    # Whoever is not root owns the files of this test, which is a finding by itself.
    assert (found == [str(in_force)]) is (bad or not mine)


def test_a_directory_that_everybody_may_write_is_found_unless_it_is_sticky(
    in_force: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force.parent.chmod(0o777)
    assert writable(in_force, monkeypatch, lambda one: one == in_force.parent)
    if os.geteuid() == 0:
        in_force.parent.chmod(0o1777)
        assert not writable(in_force, monkeypatch, lambda one: one == in_force.parent)


def test_a_draft_may_be_written_by_whom_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.oom"
    path.write_text("spare uid 0\n")
    path.chmod(0o666)
    found = rulefiles.given([str(path)])
    findings = linter.lint(found, (), pages.host(found))[1]
    assert [one.code for one in findings] == []


# --- OOM704 --------------------------------------------------------------------------------


def test_an_unknown_attribute_is_said_once() -> None:
    text = 'spare anything when session.class == "a"\nspare session.class "b"\nspare session.active'
    found = lint(text)
    assert [code for code, _ in found] == ["OOM704", "OOM704"]
    assert "session.class" in found[0][1] and "session.active" in found[1][1]


@pytest.mark.parametrize(
    ("attribute", "what"),
    [("unit.memory", "grep memory /proc/cgroups"), ("unit.pressure", "cat /proc/pressure/memory")],
)
def test_what_is_missing_for_a_figure_of_a_unit_is_said(attribute: str, what: str) -> None:
    found = rulefiles.Found((RuleText("x.oom", f"spare anything when {attribute} > 3%\n"),))
    facts = pages.host(found)
    assert facts is not None and isinstance(facts.snapshot, Recorded)
    # A host without any figure of a control group.
    facts.snapshot.scopes.clear()
    (one,) = [one for one in linter.lint(found, host=facts)[1] if one.code == "OOM704"]
    assert what in one.help and "needs cgroup v2" not in one.help


# --- OOM705 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ('kill first unit "sshd.service"', "OOMScoreAdjust=-900"),
        ('kill last unit "shop.service"', "OOMScoreAdjust=500"),
        ('kill first unit "shop.service"', "ManagedOOMPreference=avoid"),
        ('never kill uid 1000 comm "shop-main"', "OOMPolicy=kill"),
        ('never kill uid 1000 comm "shop-main"', "ManagedOOMMemoryPressure=kill"),
        ("in shop.service: never kill anything", "OOMScoreAdjust=500"),
    ],
)
def test_a_rule_and_a_setting_that_say_opposite_things(text: str, setting: str) -> None:
    found = [message for code, message in lint(text) if code == "OOM705"]
    assert any(setting in message for message in found)


@pytest.mark.parametrize(
    "text",
    [
        'kill last unit "sshd.service"',
        'spare unit "shop.service"',  # a weight is no contradiction
        "kill last anything when rss > 1MiB",  # about everybody
        'kill first unit "session-*.scope"',
    ],
)
def test_rules_that_agree_with_systemd_or_speak_of_all_are_no_mistake(text: str) -> None:
    assert "OOM705" not in codes(text)


def test_a_contradiction_gives_a_process_as_a_witness() -> None:
    found = rulefiles.Found((RuleText("x.oom", 'kill first unit "sshd.service"'),))
    (one,) = linter.lint(found, host=pages.host(found))[1]
    assert one.witness == {"pid": 812, "comm": "sshd", "unit": "sshd.service"}


# --- OOM706 --------------------------------------------------------------------------------


def test_the_share_that_must_stay_killable_can_be_chosen() -> None:
    # The two processes of the shop hold 500,000 of 505,100 pages.
    text = 'in shop.service: never kill uid 1000 comm "shop-w*"'
    share = [code for code, _ in lint(text, least_freeable=20) if code == "OOM706"]
    assert share == []  # a fifth is left: 105,100 pages
    assert "OOM706" in codes(text, least_freeable=21)


# --- OOM707 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adjust", "bad"), [(-1000, False), (-500, False), (-499, True), (0, True)]
)
def test_the_service_itself_has_to_be_out_of_the_kernel_s_reach(
    adjust: int, bad: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = pages.SNAPSHOT.read_text().splitlines()
    changed = []
    for line in lines:
        data = json.loads(line)
        if data.get("comm") == "oomrules":
            data["oom_score_adj"] = adjust
        changed.append(json.dumps(data))
    snapshot = tmp_path / "host.jsonl"
    snapshot.write_text("\n".join(changed))
    rules = tmp_path / "x.oom"
    rules.write_text("spare uid 0\n")
    assert check(capsys, "--snapshot", snapshot, rules)[1] == ["OOM707"] * bad


# --- OOM708 and OOM709 ---------------------------------------------------------------------


def host_of(tmp_path: Path, *processes: dict[str, Any]) -> Path:
    """Write a host with these processes, of 100 MiB each unless they say otherwise."""
    host, *_ = pages.SNAPSHOT.read_text().splitlines()
    lines = [host]
    for number, given in enumerate(processes):
        usual = {"total_vm": 2 << 30, "rss": 100 << 20, "uid": 1000, "starttime": 1000}
        made = ordinary.process_line(**{"pid": 2000 + number, **usual, **given})
        lines.append(json.dumps(made))
    path = tmp_path / "host.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def of_host(rules: str, snapshot: Path, code: str) -> list[Diagnostic]:
    found = rulefiles.Found((RuleText("x.oom", rules),))
    read = recorded.load(str(snapshot))
    ranking = Ranker(compiler.compile_rules(found), read.host).rank(read)
    findings = linter.lint(found, host=host_facts.recorded(ranking, 0))[1]
    return [one for one in findings if one.code == code]


PODS: list[dict[str, Any]] = [
    {"comm": "pod", "oom_score_adj": -997, "rss": 1000 << 20},
    {"comm": "db", "oom_score_adj": -900, "rss": 900 << 20},
    *[{"comm": f"x{number}"} for number in range(30)],
    {"comm": "small", "oom_score_adj": -900, "rss": 1 << 20},
]


def test_wishes_of_the_host_that_come_first_are_told_in_one_finding(tmp_path: Path) -> None:
    snapshot = host_of(tmp_path, *PODS)
    (one,) = of_host("score rss\n", snapshot, "OOM708")
    assert "pod (pid 2000" in one.message and "db (pid 2001" in one.message
    assert "-997" in one.message and "small" not in one.message
    assert one.message.startswith("2 of the first 8 ")
    proposed = re.findall(r"`([^`]*)`", one.help)
    assert len(proposed) == 2
    for better in proposed:
        assert linter.lint(rulefiles.Found((RuleText("x.oom", f"{better}\n"),)))[1] == []
        assert of_host(f"score rss\n{better}\n", snapshot, "OOM708") == []


@pytest.mark.parametrize(
    "rules",
    [
        "score rss + swap + (oom_score_adj + 1000) * 25MiB",  # it counts
        'score rss\nkill last comm "pod"\nkill last comm "db"',  # protected in another way
        'score rss\nnever kill comm "pod"\nnever kill comm "db"',
        "score rss\ndefine wished = oom_score_adj < -100\nspare anything when wished",
        'score rss\nkill first comm "pod"\nkill first comm "db"',  # said of these
    ],
)
def test_wishes_that_count_or_are_overruled_by_name_are_not_told(
    rules: str, tmp_path: Path
) -> None:
    assert of_host(f"{rules}\n", host_of(tmp_path, *PODS), "OOM708") == []


REDIS: list[dict[str, Any]] = [
    {"comm": "redis-server", "uid": 999, "cmdline": "redis-server"},
    {"comm": "redis-server", "uid": 999, "cmdline": "redis-rdb-bgsave"},
]


@pytest.mark.parametrize(
    ("rule", "other", "fate"),
    [
        ("kill first uid 999", 'kill last comm "redis*"', "killed last"),
        ('kill first cmdline "*bgsave"', 'kill last comm "redis*"', "killed last"),
        ('kill first cmdline "*bgsave"', "never kill uid 999", "never killed"),
        ('prefer cmdline "*bgsave"', "never kill uid 999", "never killed"),
        ('prefer cmdline "*bgsave"', "only kill uid 1000", "never killed"),
        ('kill first comm "x"', 'kill last comm "redis*"', None),  # about none of this host
        ("kill first uid 999", 'kill last cmdline "*bgsave"', None),  # one is left
        ('prefer cmdline "*bgsave"', 'kill last comm "redis*"', None),  # first of the last
    ],
)
def test_a_rule_that_another_beats_for_every_process_here_is_told(
    rule: str, other: str, fate: str | None, tmp_path: Path
) -> None:
    found = of_host(f"{rule}\n{other}\n", host_of(tmp_path, *REDIS), "OOM709")
    assert bool(found) == (fate is not None)
    for one in found:
        assert fate and fate in one.message and "x.oom:2" in one.message
        assert one.source.position(one.span.start)[0] == 1


# --- shipped rules -------------------------------------------------------------------------


def test_shipped_rules_and_presets_are_clean_on_this_host_and_on_a_recorded_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = resources.rules()
    for preset in (folder / "presets").glob("*.oom"):
        _, found = check(capsys, "--host", "--least-freeable", "0", folder, preset)
        # What the processes here have in oom_score_adj is no fault of the rules.
        assert set(found) <= {"OOM708"}
        arguments = ("--snapshot", pages.SNAPSHOT, "--least-freeable", "0", folder, preset)
        assert check(capsys, *arguments) == (0, [])


def test_rules_in_error_are_not_tried_on_the_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "x.oom"
    rules.write_text("spare usr 0\n")
    assert check(capsys, "--host", rules) == (1, ["OOM201"])
