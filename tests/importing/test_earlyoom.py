"""earlyoom's options, each of them, and whom it takes."""

from __future__ import annotations

import itertools
import shlex
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.importing import earlyoom
from oomrules.importing.translation import Translation
from oomrules.language.compiler import compile_texts
from oomrules.language.text import RuleText
from oomrules.ranking.ranker import Ranker
from oomrules.testing.described import Described
from tests.importing import libc, made

# All options of version 1.8 (earlyoom(1)), with those that older versions had.
SHORT_ALONE = "k i n g d v p h".split()
SHORT_VALUED = "m s M S N P r w".split()
LONG_ALONE = "dryrun ignore-root-user sort-by-rss syslog debug help".split()
LONG_VALUED = "prefer avoid ignore".split()
IN_RULES = {"--prefer", "--avoid", "--ignore", "--ignore-root-user", "--sort-by-rss"}
MEASURE = [
    "score footprint + (oom_score_adj + 1000) * (host.totalpages / 1000)",
    "never kill oom_score_adj -1000",
]


def of(command: str) -> Translation:
    return earlyoom.of_arguments(shlex.split(command))


def rules(command: str) -> list[str]:
    return made.rules(made.written([of(command)]))


def test_every_option_is_known_with_its_value() -> None:
    alone = {*(f"-{one}" for one in SHORT_ALONE), *(f"--{one}" for one in LONG_ALONE)}
    valued = {*(f"-{one}" for one in SHORT_VALUED), *(f"--{one}" for one in LONG_VALUED)}
    assert {name: one.valued for name, one in earlyoom.OPTIONS.items()} == {
        **dict.fromkeys(alone, False),
        **dict.fromkeys(valued, True),
    }
    assert {name for name, one in earlyoom.OPTIONS.items() if not one.reason} == IN_RULES


@pytest.mark.parametrize("name", earlyoom.OPTIONS)
def test_every_option_is_said_or_stands_with_a_reason(name: str) -> None:
    value = " 5" if earlyoom.OPTIONS[name].valued else ""
    found = of(f"earlyoom {name}{value}")
    (piece,) = [one for one in found.pieces if one.place.startswith("argument")]
    assert piece.said == f"{name}{value}"
    assert bool(piece.sentences) == (name in IN_RULES)
    made.written([found])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--prefer '^(a|b)$'", ['prefer anything when comm ~ "^(a|b)$" by 1.45', *MEASURE]),
        ("--prefer='^java$'", ['prefer comm "java" by 1.45', *MEASURE]),
        ("--avoid '^sshd$'", ['spare comm "sshd" by 1.818', *MEASURE]),
        (
            "--ignore '^sshd$' --ignore-root",
            ['never kill comm "sshd"', "never kill uid 0", *MEASURE],
        ),
        ("--sort-by-rss", ["score rss"]),
        ("--sort-by-rss --prefer ^x$", ["score rss", 'kill first comm "x"']),
        ("--avoid ^x$ --sort-by-rss", ["score rss", 'kill last comm "x"']),
        ("--pref ^x$", ['prefer comm "x" by 1.45', *MEASURE]),
        ("-gnd -r60 -m5,3", MEASURE),
        ("", MEASURE),
        # The last one counts, as for earlyoom.
        ("--avoid ^a$ --avoid ^b$", ['spare comm "b" by 1.818', *MEASURE]),
        # No rule: what cannot be said stands in a comment.
        ("--avoid '(a)\\1'", MEASURE),
        ("--avoid", MEASURE),
        # Nothing is an option behind two dashes.
        ("-- --sort-by-rss", MEASURE),
    ],
)
def test_options_become_these_rules(command: str, expected: list[str]) -> None:
    assert sorted(rules(f"/usr/bin/earlyoom {command}")) == sorted(expected)


@pytest.mark.parametrize(
    ("command", "memory", "swap"),
    [
        ("", ["10%", "5%"], ["10%", "5%"]),
        ("-m 30", ["30%", "15%"], ["10%", "5%"]),
        ("-m 20,18 -s 3,1", ["20%", "18%"], ["3%", "1%"]),
        ("-M 1048576 -S 10", ["1048576KiB", "524288KiB"], ["10KiB", "5KiB"]),
        ("-s 100 -m 4.5", ["4.5%", "2.25%"], []),
    ],
)
def test_thresholds_become_guards(command: str, memory: list[str], swap: list[str]) -> None:
    found = of(command)
    written = made.guards(made.written([found]))
    for number, verb in enumerate(("terminate", "kill")):
        # Where there is no swap, earlyoom looks at the memory alone.
        free = f" and (host.swap == 0B or host.swap_free <= {swap[number]})" if swap else ""
        assert written[number] == f"{verb} when host.available <= {memory[number]}{free}"


def test_a_dry_run_becomes_a_guard_that_kills_nobody() -> None:
    found = of("-m 20,5 -s 100 --dryrun")
    text = made.written([found])
    assert made.guards(text) == ["warn when host.available <= 20%"]
    assert "both kill" not in text and "SIGTERM" not in text


def test_of_two_thresholds_the_lower_one_counts() -> None:
    first, _ = of("-m 10 -M 1000 -s 100").guards
    assert first == "terminate when host.available <= 10% and host.available <= 1000KiB"


@pytest.mark.parametrize(
    "command", ["--unknown", "-m", "--prefer", "-s 5 -x", "-m 5 word", "-m 5 --avoid"]
)
def test_what_earlyoom_would_not_start_with_makes_no_guard(command: str) -> None:
    found = of(command)
    assert not found.guards
    assert made.guards(made.written([found])) == []


def test_the_limits_stand_above_the_guards_that_they_become() -> None:
    text = made.written([of("-m 5,2 -r 60 -S 1000")])
    head, _, below = text.partition("# --- when earlyoom acts ---")
    assert "-m 5,2" in below and "-S 1000" in below and "host.available" not in head
    guards, _, left = below.partition("# --- no rule says this part of earlyoom ---")
    assert "-r 60" in left and "-m 5,2" not in left
    assert guards.index("-m 5,2") < guards.index("terminate when host.available <= 5%")


@pytest.mark.parametrize("value", ["x", "-5", "1e400", "nan", "", "1,2,3"])
def test_a_threshold_that_is_no_number_makes_no_condition(value: str) -> None:
    found = of(f"-m {shlex.quote(value)}")
    assert found.guards == ()
    made.written([found])


# --- /etc/default/earlyoom -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "EARLYOOM_ARGS=\"-r 60 --avoid '^(init|X)$'\"",
            'spare anything when comm ~ "^(init|X)$" by 1.818',
        ),
        ("EARLYOOM_ARGS='--avoid \"^a b$\"'", 'spare comm "a b" by 1.818'),
        ("EARLYOOM_ARGS=--sort-by-rss", "score rss"),
        ("export EARLYOOM_ARGS=\"--prefer '^x\\.y$'\" # why", 'prefer comm "x.y" by 1.45'),
        ('EARLYOOM_ARGS="-m 5 \\\n  --sort-by-rss"', "score rss"),
        ('EARLYOOM_ARGS="--avoid ^a$"\nEARLYOOM_ARGS="--avoid ^b$"', 'spare comm "b" by 1.818'),
        ("earlyoom -m 5 --sort-by-rss", "score rss"),
    ],
)
def test_the_settings_of_the_service_are_read_as_the_shell_reads_them(
    text: str, expected: str
) -> None:
    found = made.translated("/etc/default/earlyoom", f"# a comment\n\n{text}\n")
    said = [line for line in made.rules(made.written([found])) if line not in MEASURE]
    assert said == [expected]


@pytest.mark.parametrize(
    "text", ['EARLYOOM_ARGS="-m 5', "OTHER=5", "EARLYOOM_ARGS=\nOTHER='", "$(reboot)", "'" * 301]
)
def test_other_lines_of_it_stand_in_comments(text: str) -> None:
    found = made.translated("/etc/default/earlyoom", text)
    assert [one for one in found.pieces if one.reason]
    assert made.rules(made.written([found])) == MEASURE


@pytest.mark.parametrize("text", ['EARLYOOM_ARGS=""', "earlyoom", "EARLYOOM_ARGS="])
def test_a_line_without_options_stands_in_a_comment(text: str) -> None:
    found = made.translated("/etc/default/earlyoom", f"# a comment\n{text}\n")
    assert [one.place for one in found.pieces if one.reason] == ["/etc/default/earlyoom:2"]


def test_a_name_that_no_process_can_have_is_said() -> None:
    assert "gnome-control-center" in made.written([of("--avoid '^gnome-control-center$'")])
    assert "15 characters" not in made.written([of("--avoid '^gnome-control-c$'")])


# --- whom it takes -----------------------------------------------------------------------------

# As is_larger() of kill.c has them, and proc_oom_score() of the kernel: points, here unrounded.
MEMORY_MIB = 16 * 1024
_STEP_MIB = 3072
NAMES = st.sampled_from("java tab sshd editor Xorg build".split())
PATTERNS = st.sampled_from(["^java$", "^(tab|build)$", "s", "^[[:upper:]]", "editor|java", "x$"])


class Victim(NamedTuple):
    """A process that earlyoom may take."""

    name: str
    uid: int
    mib: int
    adj: int

    def matches_both(self, patterns: dict[str, str]) -> bool:
        """Return whether it is preferred and avoided at once, which is said to differ."""
        options = [patterns.get(option) for option in ("--prefer", "--avoid")]
        return all(pattern and libc.found(pattern, self.name) for pattern in options)

    def points(self, patterns: dict[str, str], by_rss: bool) -> float:
        """Return what earlyoom compares."""
        step = sum(
            sign
            for option, sign in (("--prefer", 1), ("--avoid", -1))
            if option in patterns and libc.found(patterns[option], self.name)
        )
        if by_rss:
            return self.mib + step * _STEP_MIB
        return (1000 + self.adj + self.mib * 1000 / MEMORY_MIB) * 2 / 3 + step * 300


VICTIMS = st.builds(
    Victim,
    name=NAMES,
    uid=st.sampled_from([0, 1000]),
    mib=st.integers(1, MEMORY_MIB // 8),
    adj=st.sampled_from([0, 0, 0, -1000, -500, -100, 200, 900]),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(VICTIMS, min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["--prefer", "--avoid", "--ignore"]), PATTERNS),
    st.booleans(),
    st.booleans(),
)
def test_the_order_is_earlyoom_s(
    victims: list[Victim], patterns: dict[str, str], by_rss: bool, ignore_root: bool
) -> None:
    """But for pairs that are closer than a factor tells apart, and what is said to differ."""
    described = {
        f"p{number}": {
            "comm": one.name,
            "uid": one.uid,
            "rss": f"{one.mib}MiB",
            "pgtables": "0B",
            "oom_score_adj": one.adj,
        }
        for number, one in enumerate(victims)
    }
    command = [word for item in patterns.items() for word in item]
    command += ["--sort-by-rss"] * by_rss + ["--ignore-root-user"] * ignore_root
    text = made.written([earlyoom.of_arguments(command)])
    snapshot, pids = Described("x").snapshot(
        {"process": described, "host": {"memory": f"{MEMORY_MIB}MiB", "swap": "0B"}}
    )
    ranking = Ranker(compile_texts([RuleText("x", text)]), snapshot.host).rank(snapshot)
    ours = [one.pid for one in ranking.candidates]
    expected = {
        pids[f"p{number}"]: one
        for number, one in enumerate(victims)
        if not (ignore_root and one.uid == 0)
        and not ("--ignore" in patterns and libc.found(patterns["--ignore"], one.name))
        and (by_rss or one.adj != -1000)
    }
    assert set(ours) == set(expected)
    for first, second in itertools.combinations(ours, 2):
        one, other = expected[first], expected[second]
        ahead = one.points(patterns, by_rss) - other.points(patterns, by_rss)
        if by_rss:
            # A tier has no limit.
            assert ahead >= 0 or "--prefer" in patterns or "--avoid" in patterns
        else:
            # A factor of 1.45 adds 45 % of what is held and of oom_score_adj as well.
            off = 0.46 * max(one.mib * 1000 / MEMORY_MIB, other.mib * 1000 / MEMORY_MIB)
            off += 0.46 * max(abs(one.adj), abs(other.adj))
            if any(victim.matches_both(patterns) for victim in (one, other)):
                off += 1000 * (1 - 1.45 * 0.55) + 0.21 * 1000
            assert ahead >= -off * 2 / 3 - 1


def test_with_rss_tiers_decide_as_earlyoom_does_where_nobody_holds_3_gib_more() -> None:
    text = made.written([earlyoom.of_arguments(["--sort-by-rss", "--prefer", "a", "--avoid", "c"])])
    described = {
        name: {"comm": name, "uid": 1000, "rss": size}
        for name, size in (("a", "1MiB"), ("b", "2GiB"), ("c", "3GiB"))
    }
    snapshot, pids = Described("x").snapshot({"process": described})
    ranking = Ranker(compile_texts([RuleText("x", text)]), snapshot.host).rank(snapshot)
    assert [one.pid for one in ranking.candidates] == [pids["a"], pids["b"], pids["c"]]
