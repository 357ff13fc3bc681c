"""nohang.conf: every key, and what its lines about badness become."""

from __future__ import annotations

import pytest

from oomrules.importing import nohang, rulefile
from tests.importing import made

MEASURE = [
    "score footprint + (oom_score_adj + 1000) * (host.totalpages / 1000)",
    "never kill oom_score_adj -1000",
]


def rules(text: str) -> list[str]:
    found = made.rules(made.written([made.translated("nohang.conf", text)]))
    assert found[:2] == MEASURE
    return found[2:]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("NAME 200 /// ^Web Content$", 'prefer comm "Web Content" when oom_score_adj >= 0 by 1.3'),
        ("NAME  -200  ///  ^(dnf|yum)$", 'spare anything when comm ~ "^(dnf|yum)$" by 1.429'),
        ("NAME 100 /// ^a$", 'prefer comm "a" when oom_score_adj >= 0 by 1.15'),
        ("NAME 1 /// ^a$", 'prefer comm "a" when oom_score_adj >= 0 by 1.001'),
        ("NAME -300 /// ^a$", 'spare comm "a" by 1.818'),
        ("NAME -666 /// ^a$", 'spare comm "a" by 1000'),
        ("NAME -667 /// ^a$", 'never kill comm "a"'),
        ("NAME 700 /// ^a$", 'prefer comm "a" when oom_score_adj >= 0 by 2.05'),
        (
            "REALPATH 900 /// ^/usr/bin/x$",
            'prefer exe "/usr/bin/x" when oom_score_adj >= 0 by 2.35',
        ),
        (
            "CMDLINE 200 /// --type=renderer",
            'prefer anything when cmdline ~ "--type=renderer" and oom_score_adj >= 0 by 1.3',
        ),
        ("CGROUP_V2 -50 /// ^/work", 'spare anything when cgroup ~ "^/work" by 1.081'),
        ("UID -100 /// ^0$", "spare euid 0 by 1.176"),
        ("UID -100 /// ^(0|7)$", "spare anything when (euid == 0 or euid == 7) by 1.176"),
    ],
)
def test_a_line_that_adds_badness_becomes_a_rule(line: str, rule: str) -> None:
    assert rules(f"@BADNESS_ADJ_RE_{line}\n") == [rule]


@pytest.mark.parametrize(
    "line",
    [
        "@BADNESS_ADJ_RE_CWD 200 /// ^/home/",
        "@BADNESS_ADJ_RE_ENVIRON 100 /// USER=user",
        "@BADNESS_ADJ_RE_CGROUP_V1 50 /// /foo\\.service$",
        "@BADNESS_ADJ_RE_OTHER 50 /// x",
        "@BADNESS_ADJ_RE_UID 50 /// ^1",
        "@BADNESS_ADJ_RE_UID 50 /// ^(1||2)$",
        "@BADNESS_ADJ_RE_NAME 0 /// x",
        "@BADNESS_ADJ_RE_NAME many /// x",
        "@BADNESS_ADJ_RE_NAME 50",
        "@BADNESS_ADJ_RE_NAME 50 /// (?=x)",
        "@BADNESS_ADJ_RE_NAME 50 /// (",
        "@BADNESS_ADJ_RE_NAME 50 /// \udcff",
        "@BADNESS_ADJ_RE_NAME 50 /// a\\",
        "@SOFT_ACTION_RE_NAME ^foo$ /// kill -USR1 $PID",
        "@check_kmsg",
        "no setting",
        "unknown = 5",
        "min_badness = 5",
    ],
)
def test_a_line_without_an_equal_stands_in_a_comment_with_a_reason(line: str) -> None:
    found = made.translated("nohang.conf", f"{line}\n")
    assert len(found.pieces) == 2
    assert rulefile.summary(rulefile.sound([found])) == (1, 1)
    assert rules(line) == []


@pytest.mark.parametrize("key", nohang.SETTINGS)
def test_every_setting_has_its_reason(key: str) -> None:
    found = made.translated("x", f"{key} = 5\n" if "@" not in key else f"{key} x", nohang.TOOL)
    assert [one.reason for one in found.pieces[1:]] == [nohang.SETTINGS[key]]


def test_comments_are_counted_as_nohang_counts_them() -> None:
    text = "# a\n\tb = 5\n c = 6\n\n@BADNESS_ADJ_RE_NAME 100 /// x\n"
    assert made.translated("nohang.conf", text).ignored == 5


def test_thresholds_become_conditions_for_later() -> None:
    text = (
        "soft_threshold_min_mem = 5 %\nsoft_threshold_min_swap = 10 %\n"
        "hard_threshold_min_mem = 2 %\nhard_threshold_min_swap = 100 M\n"
        "psi_checking_enabled = True\npsi_metrics = full_avg10\npsi_excess_duration = 30\n"
        "soft_threshold_max_psi = 40\nhard_threshold_max_psi = x\n"
        "warning_threshold_min_mem = 20 %\nwarning_threshold_min_swap = 25 %\n"
    )
    free = "(host.swap == 0B or host.swap_free <= "
    terminate = f"terminate when host.available <= 5% and {free}10%)"
    kill = f"kill when host.available <= 2% and {free}100MiB)"
    pressure = "terminate when host.stall >= 40% and host.available <= 5% for 30s"
    assert made.translated("nohang.conf", text).guards == (terminate, pressure, kill)
    written = made.written([made.translated("nohang.conf", text)])
    assert made.guards(written) == [terminate, pressure, kill]
    assert "both kill" in written
    warned = made.translated("nohang.conf", f"{text}low_memory_warnings_enabled = True\n")
    assert warned.guards[0] == f"warn when host.available <= 20% and {free}25%)"


def test_the_time_to_end_is_that_of_the_guard_that_asks() -> None:
    text = (
        "soft_threshold_min_mem = 5 %\nsoft_threshold_min_swap = 0 M\nmax_soft_exit_time = 2.5\n"
        "hard_threshold_min_mem = 2 %\nhard_threshold_min_swap = 0 M\n"
    )
    first, second = made.translated("nohang.conf", text).guards
    assert first.startswith("terminate ") and first.endswith(" within 2.5s")
    assert "within" not in second


def test_no_time_at_all_is_no_duration() -> None:
    text = (
        "psi_checking_enabled = True\npsi_metrics = full_avg10\npsi_excess_duration = 0\n"
        "hard_threshold_max_psi = 90\nmax_soft_exit_time = 0\n"
    )
    found = made.translated("nohang.conf", text)
    assert found.guards == ("kill when host.stall >= 90%",)
    assert made.guards(made.written([found])) == list(found.guards)


def test_a_guard_that_cannot_be_is_named_with_the_reason() -> None:
    text = (
        "psi_checking_enabled = True\npsi_metrics = full_avg10\npsi_excess_duration = 999999999\n"
        "hard_threshold_max_psi = 90\nhard_threshold_min_mem = 2 %\nhard_threshold_min_swap = 4 %\n"
    )
    (found,) = rulefile.sound([made.translated("nohang.conf", text)])
    assert len(found.guards) == 1
    assert found.acts[-1].startswith(
        "No guard says `kill when host.stall >= 90% and host.available <= 2% for 999999999s`: "
    )
    assert "No guard says" in rulefile.written([found])


def test_positive_adjustments_can_be_left_out_of_the_measure() -> None:
    text = "ignore_positive_oom_score_adj = True\n"
    first, *_ = made.rules(made.written([made.translated("nohang.conf", text)]))
    assert first == "score footprint + (min(oom_score_adj, 0) + 1000) * (host.totalpages / 1000)"
