"""ananicy's rules and types."""

from __future__ import annotations

import json

import pytest

from oomrules.importing import recognition
from oomrules.importing.sources import Source
from oomrules.importing.translation import Translation
from tests.importing import made

TYPES = '# Types\n{"type": "Doc", "nice": -4, "oom_score_adj": 200}\n{"type": "Game", "nice": -7}\n'


def of(rules: str, types: str = TYPES) -> Translation:
    sources = [
        Source("/etc/ananicy.d/x.rules", rules.splitlines()),
        Source("/etc/ananicy.d/00-types.types", types.splitlines()),
    ]
    (found,), _ = recognition.translations(sources)
    return found


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{ "name": "sshd", "oom_score_adj": -1000 }', 'never kill comm "sshd"'),
        ('{"name": "firefox", "type": "Doc"}', 'prefer comm "firefox" by 4'),
        ('{"name": "firefox", "type": "Doc"} # why', 'prefer comm "firefox" by 4'),
        ('{"name": "x", "type": "Doc", "oom_score_adj": -100},', 'spare comm "x" by 2'),
        (
            '{"name": "stress", "type": "Unknown", "oom_score_adj": 1000}',
            'kill first comm "stress"',
        ),
        (
            '{"name": "polkit-gnome-agent-1", "oom_score_adj": 100}',
            'prefer exe "*/polkit-gnome-agent-1" by 2',
        ),
        (
            '{"name": "java", "cmdlines": ["a.B"], "oom_score_adj": 100}',
            'prefer comm "java" when cmdline ~ "a\\.B" by 2',
        ),
        ('{"name": "a[b]", "oom_score_adj": 100}', 'prefer comm "a[[]b]" by 2'),
    ],
)
def test_a_rule_about_oom_score_adj_becomes_a_rule(line: str, rule: str) -> None:
    assert made.rules(made.written([of(line)])) == [rule]


@pytest.mark.parametrize(
    "line",
    [
        '{"name": "game", "type": "Game"}',
        '{"name": "game", "nice": 5}',
        '{"name": "game", "type": "Unknown"}',
        '{"name": "a", "oom_score_adj": 0}',
        '{"name": "a", "oom_score_adj": 5000}',
        '{"name": "a", "oom_score_adj": 1.5}',
        '{"name": "a", "oom_score_adj": true}',
        '{"name": "a", "oom_score_adj": "5"}',
        '{"name": 5, "oom_score_adj": 5}',
        '{"name": "", "oom_score_adj": 5}',
        '{"name": "a\\u0000", "oom_score_adj": 5}',
        '{"name": "\\ud800", "oom_score_adj": 5}',
        '{"name": "a", "name_regex": "b", "oom_score_adj": 5}',
        '{"name": "a", "cmdlines": "b", "oom_score_adj": 5}',
        '{"name": "a", "cmdlines": [5], "oom_score_adj": 5}',
        '{"name": "a", "type": ["b"]}',
        '{"cgroup": "cpu90", "CPUQuota": 90}',
        '{"other": 5}',
        "{",
        "[1]",
        "5",
        "{" * 5000,
        '{"a":' * 5000,
        '{"name": "a", "oom_score_adj": 5} trailing',
        "NAME=firefox TYPE=Doc",
    ],
)
def test_any_other_line_stands_in_a_comment_with_a_reason(line: str) -> None:
    found = of(line)
    (piece,) = [one for one in found.pieces if one.place.startswith("/etc/ananicy.d/x.rules")]
    assert piece.reason and not piece.sentences
    assert made.rules(made.written([found])) == []


def test_a_configuration_that_switches_it_off_is_said() -> None:
    sources = [Source("/etc/ananicy.d/ananicy.conf", ["apply_oom_score_adj = false", "x = 5"])]
    (found,), _ = recognition.translations(sources)
    assert "does not set oom_score_adj" in made.written([found])


def test_two_types_of_one_name_are_one() -> None:
    types = "".join(
        json.dumps({"type": "Doc", "oom_score_adj": score}) + "\n" for score in (100, 200)
    )
    found = of('{"name": "a", "type": "Doc"}', types)
    assert made.rules(made.written([found])) == ['prefer comm "a" by 4']
