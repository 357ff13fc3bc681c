"""What was written for other tools is recognised, once, and answered with sentences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from oomrules.commands.main import main
from oomrules.language import checker, foreign
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText


class Case(NamedTuple):
    """A text, a word of what it is taken for, and the sentences that are offered."""

    text: str
    what: str
    sentences: list[str]


CASES = {
    "an option of earlyoom": Case(
        "--avoid '^sshd$'",
        "earlyoom",
        ['spare comm "sshd"'],
    ),
    "a command line of earlyoom": Case(
        "earlyoom -m 5 --avoid '^(sshd|cron)$' --prefer=^java$",
        "earlyoom",
        ['spare anything when comm ~ "^(sshd|cron)$"', 'prefer comm "java"'],
    ),
    "the settings of earlyoom": Case(
        "# /etc/default/earlyoom\nEARLYOOM_ARGS=\"-r 60 --ignore '^sshd$'\"",
        "earlyoom",
        ['never kill uid 0 comm "sshd"'],
    ),
    "earlyoom without a name": Case(
        "earlyoom -m 5",
        "earlyoom",
        ["terminate when host.available <= 5% and (host.swap == 0B or host.swap_free <= 10%)"],
    ),
    "limits of earlyoom in KiB": Case("-M 400000,200000", "earlyoom", []),
    "a rule of ananicy": Case(
        '{ "name": "firefox", "type": "Doc-View", "oom_score_adj": 200 }',
        "ananicy",
        ['prefer comm "firefox"'],
    ),
    "rules of ananicy, of which the second is about memory": Case(
        '# Browsers\n{"name": "chrome", "nice": 3}\n'
        '{"name": "a-very-long-one1", "oom_score_adj": -5}',
        "ananicy",
        ['spare comm "a-very-long-one"'],
    ),
    "a protection of ananicy": Case(
        '{"name": "sshd", "oom_score_adj": -1000}', "ananicy", ['never kill uid 0 comm "sshd"']
    ),
    "a type of ananicy": Case('{"type": "Doc-View", "nice": -3}', "ananicy", []),
    "a line of nohang": Case(
        "@BADNESS_ADJ_RE_NAME -900 /// ^sshd$", "nohang", ['spare comm "sshd"']
    ),
    "a line of nohang about command lines": Case(
        "@BADNESS_ADJ_RE_CMDLINE  300  ///  --type=renderer",
        "nohang",
        ['prefer anything when cmdline ~ "--type=renderer"'],
    ),
    "a setting of systemd": Case("OOMScoreAdjust=-900", "systemd", ['spare unit "NAME.service"']),
    "a unit of systemd": Case(
        "[Service]\nType=simple\nOOMScoreAdjust=500", "systemd", ['prefer unit "NAME.service"']
    ),
    "pressure in systemd": Case(
        "[Slice]\nManagedOOMMemoryPressure=kill",
        "systemd",
        ["in NAME.slice: kill when scope.stall > 60% and host.available < 10% for 30s"],
    ),
    "swap in systemd": Case(
        "ManagedOOMSwap=kill",
        "systemd",
        ["in NAME.service: kill when host.available < 10% and host.swap_free < 10%"],
    ),
    "rulesets in systemd, of which no sentence is known": Case("OOMRules=a b", "systemd", []),
    "a slice": Case(
        "[Slice]\nManagedOOMPreference=omit", "systemd", ["in NAME.slice: never kill anything"]
    ),
    "a service without a word about the killer": Case(
        "[Unit]\nDescription=x\n\n[Service]\nMemoryMax=5G\nExecStart=/bin/x \\\n  --yes\n",
        "systemd",
        ["in NAME.service: prefer anything"],
    ),
    "a file of nohang": Case(
        "## Comment\n\n    1. Settings\n    Type: boolean\nzram_checking_enabled = False\n"
        "soft_threshold_min_mem = 5 %\n@BADNESS_ADJ_RE_NAME -900 /// ^sshd$\n",
        "nohang",
        [],
    ),
    "options of earlyoom without a pattern": Case(
        'EARLYOOM_ARGS="-r 60 --ignore-root-user --sort-by-rss"',
        "earlyoom",
        ["never kill uid 0", "score rss"],
    ),
    "a rule of ananicy with a comment behind it": Case(
        '{ "name": "sshd", "oom_score_adj": -1000 } # the way in',
        "ananicy",
        ['never kill uid 0 comm "sshd"'],
    ),
    "YAML": Case("---\nrules:\n  - name: ssh\n    comm: sshd\n", "YAML", []),
    "YAML without a beginning": Case("protect:\n  - sshd\n  - cron\n", "YAML", []),
    "JSON": Case('{\n  "rules": [\n    {"never": "sshd"}\n  ]\n}\n', "JSON", []),
    "TOML": Case('[[rule]]\naction = "never"\ncomm = "sshd"\n', "TOML", []),
    "a merge that was not finished": Case(
        "<<<<<<< HEAD\nspare uid 0\n=======\nspare uid 1\n>>>>>>> other", "merge", []
    ),
}


def found(text: str) -> list[Diagnostic]:
    return checker.check([RuleText("f.oom", text)]).diagnostics


@pytest.mark.parametrize("name", CASES)
def test_what_is_for_another_tool_is_one_finding_with_the_sentences_for_it(name: str) -> None:
    case = CASES[name]
    (one,) = found(case.text)
    assert one.code == "OOM101"
    assert case.what in one.message
    offered = [text for text in re.findall(r"`([^`]+)`", one.help) if " " in text]
    meant = [text for text in offered if not text.startswith(("systemctl", "oomrules", "--"))]
    assert [text for text in case.sentences if text not in meant] == []
    for sentence in meant:
        assert found(sentence) == [], sentence


# Files that `oomrules import` reads: the finding names the command, which knows the file, too.
FILES = [name for name, case in CASES.items() if "oomrules import" in found(case.text)[0].help]


def test_import_is_proposed_for_files_of_all_tools() -> None:
    tools = " ".join(CASES[name].what for name in FILES)
    assert {"earlyoom", "ananicy", "nohang", "systemd"} <= set(tools.split())


@pytest.mark.parametrize("name", FILES)
def test_the_command_that_is_proposed_reads_the_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my own rules.oom"
    path.write_text(CASES[name].text)
    assert main(["check", str(path)]) == 1
    proposed = re.search(r"`oomrules (import [^`]+)`", capsys.readouterr().out)
    assert proposed
    assert main(shlex.split(proposed[1])) == 0
    assert checker.check([RuleText("f.oom", capsys.readouterr().out)]).diagnostics == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_for_another_tool_is_never_mended(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.oom"
    path.write_text(CASES[name].text.replace("\n", "  \n"))
    before = path.read_bytes()
    assert main(["check", "--fix", str(path)]) == 1
    assert main(["fmt", str(path)]) != 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", CASES)
def test_the_finding_is_where_the_other_text_begins(name: str) -> None:
    text = CASES[name].text
    (one,) = found(text)
    line = text[one.span.start :].partition("\n")[0]
    assert one.span.end == one.span.start + len(line)
    # For nohang what begins with a space is a comment, too.
    assert all(before[:1] in ("#", " ", "") for before in text[: one.span.start].splitlines())


def test_the_rules_around_a_line_for_another_tool_are_checked_too() -> None:
    text = 'never kill foo1\n--avoid \'^sshd$\'\n{"name": "a"}\nOOMPolicy=kill\nnever kill foo2\n'
    codes = [one.code for one in found(text)]
    assert codes == ["OOM201", "OOM101", "OOM101", "OOM101", "OOM201"]


RULES_WITH_MISTAKES = [
    "nevr kill uid 0\nprefr niced",
    "in a.slice:\n  spare uid 0\n  spare uid 1x1\n",
    "define x =\nlist y =",
    "never kill: uid 0",
    "rss = 5",
    "{",
    "[",
    "-",
    "a: b",
]


@pytest.mark.parametrize("text", RULES_WITH_MISTAKES)
def test_rules_with_mistakes_are_not_taken_for_something_else(text: str) -> None:
    assert foreign.of_file(RuleText("f.oom", text)) is None


def test_a_text_that_is_half_rules_is_read_as_rules() -> None:
    assert len(found("prefer uid 5\nprotect:\n  - sshd\n")) == 2


@pytest.mark.parametrize(
    "text",
    [
        "--prefer '\"`'",
        '{"name": "a`b", "oom_score_adj": "x"}',
        '{"name": 5, "oom_score_adj": 1.5}',
        "{" * 5000,
        "[" * 5000,
        "@BADNESS_ADJ_RE_NAME 99999 /// (",
    ],
)
def test_odd_texts_are_answered_without_nonsense(text: str) -> None:
    (one,) = found(text)
    assert one.code in ("OOM101", "OOM103", "OOM106")
    assert one.help and "\n" not in one.help
