"""earlyoom's options, each of them, and whom it takes."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
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
_MEASURE = "score rss + swap + pgtables"


def of(command: str) -> Translation:
    return earlyoom.of_arguments(shlex.split(command))


def rules(command: str) -> list[str]:
    return made.sentences(made.written([of(command)]))


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
        ("--prefer '^(a|b)$'", ['kill first anything when comm ~ "^(a|b)$"', _MEASURE]),
        ("--prefer='^java$'", ['kill first comm "java"', _MEASURE]),
        ("--avoid '^sshd$'", ['kill last comm "sshd"', _MEASURE]),
        (
            "--ignore '^sshd$' --ignore-root",
            ['never kill comm "sshd"', "never kill uid 0", _MEASURE],
        ),
        ("--sort-by-rss", ["score rss"]),
        ("--pref ^x$", ['kill first comm "x"', _MEASURE]),
        ("-gnd -r60 -m5,3", [_MEASURE]),
        ("", [_MEASURE]),
        # The last one counts, as for earlyoom.
        ("--avoid ^a$ --avoid ^b$", ['kill last comm "b"', _MEASURE]),
        # No rule: what cannot be said stands in a comment.
        ("--avoid '(a)\\1'", [_MEASURE]),
        ("--avoid", [_MEASURE]),
        # Nothing is an option behind two dashes.
        ("-- --sort-by-rss", [_MEASURE]),
    ],
)
def test_options_become_these_rules(command: str, expected: list[str]) -> None:
    assert sorted(rules(f"/usr/bin/earlyoom {command}")) == sorted(expected)


@pytest.mark.parametrize(
    ("command", "terminate", "kill"),
    [
        ("", "host.available <= 10% and host.swap_free <= 10%", "5% 5%"),
        ("-m 30", "host.available <= 30% and host.swap_free <= 10%", "15% 5%"),
        ("-m 20,18 -s 3,1", "host.available <= 20% and host.swap_free <= 3%", "18% 1%"),
        ("-M 1048576", "host.available <= 1048576KiB and host.swap_free <= 10%", "524288KiB 5%"),
        ("-s 100 -m 4", "host.available <= 4%", "2%"),
        (
            "-m 10 -M 1000",
            "host.available <= 10% and host.available <= 1000KiB and host.swap_free <= 10%",
            "5% 500KiB 5%",
        ),
    ],
)
def test_thresholds_become_conditions_for_later(command: str, terminate: str, kill: str) -> None:
    first, second = of(command).guards
    assert first == f"terminate when {terminate}"
    assert re.findall(r"<= (\S+)", second) == kill.split()
    assert second.startswith("kill when ")


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
            'kill last anything when comm ~ "^(init|X)$"',
        ),
        ("EARLYOOM_ARGS='--avoid \"^a b$\"'", 'kill last comm "a b"'),
        ("EARLYOOM_ARGS=--sort-by-rss", "score rss"),
        ("export EARLYOOM_ARGS=\"--prefer '^x\\.y$'\" # why", 'kill first comm "x.y"'),
        ('EARLYOOM_ARGS="-m 5 \\\n  --sort-by-rss"', "score rss"),
        ('EARLYOOM_ARGS="--avoid ^a$"\nEARLYOOM_ARGS="--avoid ^b$"', 'kill last comm "b"'),
        ("earlyoom -m 5 --sort-by-rss", "score rss"),
    ],
)
def test_the_settings_of_the_service_are_read_as_the_shell_reads_them(
    text: str, expected: str
) -> None:
    found = made.translated("/etc/default/earlyoom", f"# a comment\n\n{text}\n")
    said = [line for line in made.sentences(made.written([found])) if line != _MEASURE]
    assert said == [expected]


@pytest.mark.parametrize(
    "text", ['EARLYOOM_ARGS="-m 5', "OTHER=5", "EARLYOOM_ARGS=\nOTHER='", "$(reboot)", "'" * 301]
)
def test_other_lines_of_it_stand_in_comments(text: str) -> None:
    found = made.translated("/etc/default/earlyoom", text)
    assert [one for one in found.pieces if one.reason]
    assert made.sentences(made.written([found])) == [_MEASURE]


def test_a_name_that_no_process_can_have_is_said() -> None:
    assert "gnome-control-center" in made.written([of("--avoid '^gnome-control-center$'")])
    assert "15 characters" not in made.written([of("--avoid '^gnome-control-c$'")])


# --- whom it takes -----------------------------------------------------------------------------

# As kill.c has them: is_larger(), with points of thousandths of memory.
MEMORY_MIB = 16 * 1024
NAMES = st.sampled_from("java tab sshd editor Xorg build".split())
PATTERNS = st.sampled_from(["^java$", "^(tab|build)$", "s", "^[[:upper:]]", "editor|java", "x$"])


def _points(mib: int, name: str, patterns: dict[str, str], by_rss: bool) -> int | None:
    if "--ignore" in patterns and libc.found(patterns["--ignore"], name):
        return None
    points, step = (mib, 3072) if by_rss else ((1000 + mib * 1000 // MEMORY_MIB) * 2 // 3, 300)
    for option, sign in (("--prefer", 1), ("--avoid", -1)):
        if option in patterns and libc.found(patterns[option], name):
            points += sign * step
    return points


@given(
    st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=6),
    st.permutations(range(1, 7)),
    st.dictionaries(st.sampled_from(["--prefer", "--avoid", "--ignore"]), PATTERNS),
    st.booleans(),
    st.booleans(),
)
def test_the_order_is_earlyoom_s_where_nobody_holds_nearly_half_of_the_memory(
    processes: list[tuple[str, bool]],
    sizes: list[int],
    patterns: dict[str, str],
    by_rss: bool,
    ignore_root: bool,
) -> None:
    described = {
        f"p{number}": {
            "comm": name,
            "uid": 0 if root else 1000,
            "rss": f"{size * 400}MiB",
            "run_time": "1h",
        }
        for number, ((name, root), size) in enumerate(zip(processes, sizes, strict=False))
    }
    command = [word for item in patterns.items() for word in item]
    command += ["--sort-by-rss"] * by_rss + ["--ignore-root-user"] * ignore_root
    text = made.written([earlyoom.of_arguments(command)])
    snapshot, pids = Described("x").snapshot(
        {"process": described, "host": {"memory": f"{MEMORY_MIB}MiB", "swap": "0B"}}
    )
    ranking = Ranker(compile_texts([RuleText("x", text)]), snapshot.host).rank(snapshot)
    ours = [one.pid for one in ranking.candidates]
    theirs = []
    for number, ((name, root), size) in enumerate(zip(processes, sizes, strict=False)):
        points = _points(size * 400, name, patterns, by_rss)
        both = {"--prefer", "--avoid"} <= patterns.keys() and all(
            libc.found(patterns[one], name) for one in ("--prefer", "--avoid")
        )
        if both:
            return  # It is said to differ.
        if points is not None and not (ignore_root and root):
            theirs.append((-points, pids[f"p{number}"]))
    assert ours == [pid for _, pid in sorted(theirs)]
