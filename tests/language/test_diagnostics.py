"""What a mistake is answered with: its code, its place, and what to do about it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import NamedTuple

import pytest

from oomrules.commands.parts import findings
from oomrules.language import checker, parser, rulefiles
from oomrules.language.diagnostics import CODES, Diagnostic, Level, similar
from oomrules.language.text import RuleText, Span

# Stands in the examples where the mistake is expected.
MARK = "‸"


class Case(NamedTuple):
    """A rule file with one mistake, words of the help, and a file without that mistake."""

    wrong: str
    help: str
    right: str


CASES: dict[str, list[Case]] = {
    "OOM101": [
        Case("never ‸kil uid 0", "`kill`", "never kill uid 0"),
        Case("‸preffer anything", "`prefer`", "prefer anything"),
        Case("spare anything ‸whenn nice > 0", "`when`", "spare anything when nice > 0"),
        Case(
            "kill ‸uid 0", "`kill first …`, `kill last …` or `kill whole UNIT`", "kill first uid 0"
        ),
        Case("prefer anything by‸", "N", "prefer anything by 3"),
        Case("spare anything when nice ‸= 0", "`==`", "spare anything when nice == 0"),
        Case("spare anything when rss > 5 ‸MiB", "`5MiB`", "spare anything when rss > 5MiB"),
        Case("in a.slice‸\n", "", "in a.slice {\n}"),
        Case(
            "define x = nice > 0 ‸and\nspare uid 1",
            "remove the `and`",
            "define x = nice > 0\nspare uid 1",
        ),
    ],
    "OOM102": [
        Case('never kill comm ‸"a', 'end the text with `"`', 'never kill comm "a"'),
        Case('list x = "a", ‸"b # c', "same line", 'list x = "a", "b" # c'),
    ],
    "OOM103": [
        Case("never kill uid 0 ‸$", "remove it", "never kill uid 0 # $"),
        Case("never kill comm ‸'a'", '`"`', 'never kill comm "a"'),
        Case("define x = nice > 0 ‸&& rss > 1B", "`and`", "define x = nice > 0 and rss > 1B"),
        Case("define x = nice > 0 ‸|| rss > 1B", "`or`", "define x = nice > 0 or rss > 1B"),
        Case("define x = ‸!cap(KILL)", "`not`", "define x = not cap(KILL)"),
        Case("spare uid 0‸; spare uid 1", "own line", "spare uid 0\nspare uid 1"),
    ],
    "OOM104": [
        Case("in a.slice ‸{\nspare uid 0\n", "`}`", "in a.slice {\nspare uid 0\n}"),
    ],
    "OOM105": [
        Case("spare uid 0\n‸}", "remove it", "in a.slice {\nspare uid 0\n}"),
        Case("spare uid 0 ‸}", "remove it", "in a.slice { spare uid 0 }"),
    ],
    "OOM106": [
        Case(
            f"define x = {'not ' * 80}‸cap(KILL)", "`define`", f"define x = {'not ' * 40}cap(KILL)"
        ),
        # Definitions may stand upon one another, but not make something that no one could read.
        Case(
            f"define a = {'not ' * 70}cap(KILL)\n"
            f"define b = {'not ' * 70}a\n"
            f"define c = {'not ' * 70}b\n"
            f"‸define d = {'not ' * 70}c\n"
            "define e = not d",
            "directly",
            f"define a = {'not ' * 70}cap(KILL)\ndefine b = {'not ' * 70}a",
        ),
    ],
    "OOM108": [
        Case(
            'never kill ‸user "a" or comm "b" when rss < 1GiB',
            '`(user "a" or comm "b") when rss < 1GiB`',
            'never kill (user "a" or comm "b") when rss < 1GiB',
        ),
        Case(
            "spare ‸uid 0 or uid 1 not under uid 2 by 3",
            "put brackets",
            "spare (uid 0 or uid 1) not under uid 2 by 3",
        ),
    ],
    "OOM201": [
        Case('never kill ‸usr "x"', "`user`", 'never kill user "x"'),
        Case(
            "prefer ‸nicd\ndefine niced = nice > 0",
            "`niced`",
            "prefer niced\ndefine niced = nice > 0",
        ),
        Case("never kill ‸RAWIO", "`with RAWIO`", "never kill anything with RAWIO"),
        Case(
            "spare anything when ‸memory > 1MiB",
            "`unit.memory`",
            "spare anything when unit.memory > 1MiB",
        ),
        Case("spare uid 0 ‸whit KILL", "", "spare uid 0 with KILL"),
        Case("spare anything when comm == ‸sshd", "quote", 'spare anything when comm == "sshd"'),
    ],
    "OOM202": [
        Case("spare anything with ‸RAWOI", "`RAWIO`", "spare anything with RAWIO"),
        Case("spare anything with KILL, ‸rawio", "`RAWIO`", "spare anything with KILL, RAWIO"),
        Case("define x = cap(‸SYS_ADMN)", "`SYS_ADMIN`", "define x = cap(SYS_ADMIN)"),
        Case("spare anything without ‸FOO", "capabilities(7)", "spare anything without CAP_BPF"),
    ],
    "OOM203": [
        Case("spare anything with ‸ADMIN", "full name", "spare anything with NET_ADMIN"),
        Case("define x = cap(‸OVERRIDE)", "full name", "define x = cap(DAC_OVERRIDE)"),
    ],
    "OOM204": [
        Case("spare comm ‸@shells", "`list shells", 'spare comm @shells\nlist shells = "sh"'),
        Case(
            'define x = comm in ‸@shell\nlist shells = "sh"',
            "shells",
            'define x = comm in @shells\nlist shells = "sh"',
        ),
    ],
    "OOM205": [
        Case(
            "define idle = nice > 0\nspare ‸idle (uid 0 or uid 1)",
            "`idle and (…)`",
            "define idle = nice > 0\nspare idle and (uid 0 or uid 1)",
        ),
        Case("score ‸rot(rss / 1MiB)", "`root`", "score root(rss / 1MiB)"),
        Case("score ‸sqrt(rss / 1MiB)", "`root(x)`", "score root(rss / 1MiB)"),
    ],
    "OOM206": [
        Case("define x = nice > 0\ndefine ‸x = nice > 1", "remove one", "define x = nice > 0"),
        Case('list x = "a"\nlist ‸x = "b"', "remove one", 'list x = "a"\ndefine x = nice > 0'),
    ],
    "OOM207": [
        Case("‸define x = x", "without", "define x = y\ndefine y = nice > 0"),
        Case("‸define a = b\ndefine b = not a", "without", "define a = b\ndefine b = nice > 0"),
    ],
    "OOM208": [
        Case("define ‸comm = nice > 0", "another name", "define command = nice > 0"),
    ],
    "OOM209": [
        Case("score rss\n‸score rss + swap", "remove one", "score rss\nin a.slice: score swap"),
        Case(
            "in a.slice: score rss\nin a.slice: ‸score swap",
            "remove one",
            "in a.slice: score rss\nin b.slice: score swap",
        ),
    ],
    "OOM210": [
        Case("in a.slice: ‸define x = nice > 0", "out of the block", "define x = nice > 0"),
        Case('in a.slice { ‸list x = "a" }', "out of the block", 'list x = "a"'),
    ],
    "OOM211": [
        Case("kill whole ‸batch", "`batch.service`", "kill whole batch.service"),
        Case(
            'kill whole units wanted by ‸"multi-user.*"',
            '`kill whole units wanted by "multi-user.target"`',
            'kill whole units wanted by "multi-user.target"',
        ),
        Case("in ‸nginx: spare uid 0", "`nginx.service`", "in nginx.service: spare uid 0"),
        Case("in ‸a.timer: spare uid 0", ".service", 'in "a.*": spare uid 0'),
        Case('in a.slice: in ‸"": spare uid 0', ".slice", "in a.slice: in -.slice: spare uid 0"),
        Case(
            "in ‸user unit app: spare uid 0",
            "`user unit app.service`",
            "in user unit app.service: spare uid 0",
        ),
        Case(
            'in ‸"user unit app.service": spare uid 0',
            '`in user unit "app.service"`',
            'in user unit "app.service": spare uid 0',
        ),
        Case(
            'in ‸"units part of a.service": spare uid 0',
            '`in units part of "a.service"`',
            'in units part of "a.service": spare uid 0',
        ),
    ],
    "OOM212": [
        Case(
            "in user.slice: prefer anything under ‸scope.memory 1GiB",
            "ask for it behind `when`",
            "in user.slice: prefer anything under uid 0 when scope.memory > 1GiB",
        ),
        Case(
            "prefer anything when ‸scope.memory > 10GiB",
            "`in user.slice: prefer anything when scope.memory > ",
            "prefer anything when unit.memory > 10GiB",
        ),
        Case(
            "define large = ‸scope.memory > 10GiB\nin a.slice: prefer large",
            "`unit.memory`",
            "define large = unit.memory > 10GiB\nin a.slice: prefer large",
        ),
    ],
    "OOM213": [
        Case(
            'define under = nice > 0\nspare anything ‸under comm "a"',
            "rename the definition",
            'define niced = nice > 0\nspare anything under comm "a"',
        ),
    ],
    "OOM214": [
        Case(
            "in a.slice: kill when ‸unit.memory > 1GiB",
            "`scope.memory`",
            "in a.slice: kill when scope.memory > 1GiB",
        ),
        Case(
            "define large = rss > 1GiB\n‸kill when large",
            "ask for `host.available`",
            "kill when host.available < 1GiB",
        ),
    ],
    "OOM301": [
        Case("spare anything when ‸rss > 10", "512MiB", "spare anything when rss > 10B"),
        Case(
            "spare anything when ‸rss > run_time", "like things", "spare anything when rss > swap"
        ),
        Case("spare anything when ‸run_time > 9MiB", "", "spare anything when run_time > 9min"),
        Case("spare anything when ‸run_time > 25%", "", "spare anything when rss > 25%"),
        Case("spare anything when ‸10% > 5%", "memory", "spare anything when unit.pressure > 5%"),
        # Of the RAM, of the swap, or of the nearest limit.
        Case(
            "spare anything when ‸host.free + host.swap_free < 10%",
            "`host.memory * 10 / 100`",
            "spare anything when host.free + host.swap_free < host.memory * 10 / 100",
        ),
        Case(
            "spare anything when ‸host.swap - host.swap_free > 12.5%",
            "compare `host.swap_free` alone, as in `host.swap_free < 12.5%`",
            "spare anything when host.swap_free < 12.5%",
        ),
        Case(
            "spare anything when ‸host.memory > 50%",
            "write out the share",
            "spare anything when host.memory > host.memory * 50 / 100",
        ),
        Case(
            "spare anything when rss > ‸host.free - 5%",
            "",
            "spare anything when rss > host.free - host.memory * 5 / 100",
        ),
        Case(
            "spare anything when rss > ‸max(host.free, 5%)",
            "",
            "spare anything when rss > max(host.free, host.memory * 5 / 100)",
        ),
        Case(
            'spare anything when ‸uid == "root"', "`user == ", 'spare anything when user == "root"'
        ),
        Case("never kill ‸comm 0", "quote", 'never kill comm "0"'),
        Case("never kill ‸nice 5MiB", "without a unit", "never kill nice 5"),
    ],
    "OOM302": [
        Case("score ‸rss + cpu_time", "divide", "score rss / 1MiB + cpu_time / 1s"),
        Case("score ‸rss + 1", "", "score rss + 1MiB"),
        Case("score ‸rss * rss", "divide", "score rss * (rss / 1MiB)"),
        Case("score ‸uid * 2", "a name, not an amount", "score nice * 2"),
        Case("define x = uid == ‸gid + 0", "a name, not an amount", "define x = uid == gid"),
        Case("score -‸comm", "before a number", "score -nice"),
    ],
    "OOM303": [
        Case("spare anything when ‸rss", "`rss > 512MiB`", "spare anything when rss > 512MiB"),
        Case("define x = not ‸nice", "`nice > 5`", "define x = not nice > 5"),
        Case("define x = ‸comm", "compare", 'define x = comm == "x"'),
    ],
    "OOM304": [
        Case("never kill ‸uid", "`uid 0`", "never kill uid 0"),
        Case("never kill ‸comm uid 0", '`comm "…"`', 'never kill comm "x" uid 0'),
        Case("never kill ‸rss", "512MiB", "never kill anything when rss > 512MiB"),
        Case("never kill ‸capabilities", "`with CAP`", "never kill anything with KILL"),
    ],
    "OOM305": [
        Case("score ‸comm", "`score rss`", "score rss"),
        Case("score ‸25%", "`score rss`", "score nice"),
    ],
    "OOM306": [
        Case('spare anything when ‸uid ~ "x"', "text", 'spare anything when user ~ "x"'),
        Case('never kill ‸uid "root"', '`user "root"`', 'never kill user "root"'),
        Case('spare anything when ‸comm < "a"', "`~`", 'spare anything when comm != "a"'),
        Case(
            'list u = "a"\nspare anything when ‸uid in @u',
            "text",
            'list u = "a"\nspare anything when user in @u',
        ),
    ],
    "OOM307": [
        Case("score ‸max(rss)", "`max(rss, …)`", "score rss"),
        Case("score max(rss, ‸nice)", "amounts of one kind", "score max(rss, swap)"),
        Case("score min(rss, ‸comm)", "`max(rss, swap)`", "score min(rss, swap)"),
        Case("score root(nice, ‸threads)", "one number", "score root(nice)"),
        Case(
            "spare anything when cap(KILL, ‸CHOWN)",
            "`cap(KILL) and cap(CHOWN)`",
            "spare anything when cap(KILL) and cap(CHOWN)",
        ),
        Case("score root(‸rss)", "`root(rss / 512MiB)`", "score root(rss / 512MiB)"),
        Case('define x = cap(‸"KILL")', "without quotes", "define x = cap(KILL)"),
    ],
    "OOM401": [
        Case("spare anything when rss > ‸512MB", "`512MiB`", "spare anything when rss > 512MiB"),
        Case("spare anything when rss > ‸5g", "`5GiB`", "spare anything when rss > 5GiB"),
        Case(
            "spare anything when run_time > ‸10m", "`10min`", "spare anything when run_time > 10min"
        ),
        Case("spare anything when run_time > ‸10x", "min", "spare anything when run_time > 10h"),
    ],
    "OOM402": [
        Case("spare anything when rss > ‸0.3B", "whole", "spare anything when rss > 0.5KiB"),
        Case("spare anything when nice > ‸1.5", "whole", "spare anything when nice > 1"),
        Case("spare anything when rss > ‸8192PiB", "smaller", "spare anything when rss > 8191PiB"),
        Case(f"prefer anything by ‸1{'0' * 40}", "smaller", f"prefer anything by 1{'0' * 39}"),
    ],
    "OOM403": [
        Case("prefer anything by ‸0", "`never kill …`", "prefer anything by 1"),
        Case("kill first anything by ‸0", "`by 2`", "kill first anything by 2"),
        Case("kill last anything by ‸1.5", "`by 2`", "kill last anything by 2"),
        Case("kill last anything by ‸1001", "`by 2`", "kill last anything by 1000"),
        Case("kill first anything by ‸50%", "`by 2`", "kill first anything by 2"),
        Case("spare anything by ‸0.5", "`prefer … by 2`", "spare anything by 1.5"),
        Case("prefer anything by ‸2MiB", "`by 2`", "prefer anything by 2"),
    ],
    "OOM404": [
        Case('spare anything when comm ~ ‸"("', "glob", 'spare anything when comm ~ "[(]"'),
    ],
    "OOM405": [
        Case('spare anything when comm ~ ‸"(?!x)y"', "own", 'spare anything when comm ~ "y"'),
        Case('spare anything when comm ~ ‸"(?<=x)y"', "own", 'spare anything when comm ~ "xy"'),
        Case('spare anything when comm ~ ‸"(a)b\\1"', "out", 'spare anything when comm ~ "(a)ba"'),
        Case('spare anything when comm ~ ‸"x(?>a+)"', "plain", 'spare anything when comm ~ "xa+"'),
        Case('spare anything when comm ~ ‸"xa++"', "`+`", 'spare anything when comm ~ "xa+"'),
        Case(
            'spare anything when comm ~ ‸"(a*b){300}"',
            "less",
            'spare anything when comm ~ "(a*b){100}"',
        ),
        Case(
            f'spare anything when comm ~ ‸"{"(" * 60}a{")" * 60}"',
            "brackets",
            f'spare anything when comm ~ "{"(" * 40}a{")" * 40}"',
        ),
    ],
    "OOM406": [
        Case(f'never kill comm ‸"{"a" * 4097}"', "part", f'never kill comm "{"a" * 4096}"'),
        Case(f'in ‸"{"a" * 4097}.scope": spare uid 0', "part", "in a.scope: spare uid 0"),
        Case(f'list x = "a", ‸"{"a" * 4097}"', "part", 'list x = "a"'),
    ],
}
# These are about files as a whole; they have tests of their own, below and in test_limits.py.
FILES = {"OOM001", "OOM002", "OOM107"}

EVERY = [
    pytest.param(code, case, id=f"{code} {case.wrong[:40]!r}")
    for code, cases in CASES.items()
    for case in cases
]


def found(text: str) -> list[Diagnostic]:
    return checker.check([RuleText("f.oom", text)]).diagnostics


def test_every_code_has_an_example() -> None:
    assert CASES.keys() | FILES == CODES.keys()
    assert not CASES.keys() & FILES


@pytest.mark.parametrize(("code", "case"), EVERY)
def test_a_mistake_is_found_once_at_its_place_with_what_to_do(code: str, case: Case) -> None:
    text = case.wrong.replace(MARK, "")
    diagnostics = found(text)
    assert [one.code for one in diagnostics] == [code]
    (one,) = diagnostics
    source = RuleText("f.oom", text)
    assert source.position(one.span.start) == source.position(case.wrong.index(MARK))
    assert one.span.start <= one.span.end <= len(text)
    assert one.level is Level.ERROR
    assert case.help in one.help
    # A sentence without a full stop, that can follow "error:" and precede a "; help".
    for words in (one.message, one.help):
        assert words and words == words.strip() and "\n" not in words and not words.endswith(".")


@pytest.mark.parametrize(("code", "case"), EVERY)
def test_the_help_leads_to_a_text_without_the_mistake(code: str, case: Case) -> None:
    assert found(case.right) == []


@pytest.mark.parametrize(("code", "case"), EVERY)
def test_every_statement_besides_the_bad_one_is_checked_too(code: str, case: Case) -> None:
    bad = case.wrong.replace(MARK, "").rstrip("\n")
    codes = [one.code for one in found(f"never kill foo1\n{bad}\nnever kill foo2\n")]
    assert sorted(codes) == sorted(["OOM201", code, "OOM201"])


@pytest.mark.parametrize(
    "wrong", ["nope > 1", "rss > 5min", "5", 'comm > "a"', "rss", 'comm ~ "("', "a.b", "x in @y"]
)
@pytest.mark.parametrize(
    "users",
    [
        "define a = bad\n",
        "define a = bad and nice > 0\ndefine b = not a or bad\ndefine c = a and b\n",
        "define z = bad\nnever kill z\n",
        "in a.slice { spare bad\n}\n",
    ],
)
def test_a_definition_that_is_wrong_blames_none_that_stands_upon_it(wrong: str, users: str) -> None:
    text = f"{users}define bad = {wrong}\n"
    (one,) = found(text)
    assert RuleText("f", text).position(one.span.start)[0] == text.count("\n")


# --- files -------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "10-a.oom").mkdir()
    (tmp_path / "20-b.oom").write_text("spare uid 0\n")
    (one,) = rulefiles.given([str(tmp_path)]).diagnostics
    assert one.code == "OOM001"
    assert "10-a.oom" in one.message
    assert one.source.position(one.span.start) == (1, 1)
    assert one.help


def test_a_file_that_is_not_utf8_is_one_finding_at_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.oom"
    path.write_bytes('# gr\u00fc\u00df\nspare comm "'.encode() + b'Stra\xdfe"\n')
    (one,) = rulefiles.given([str(path)]).diagnostics
    assert one.code == "OOM002"
    assert "0xdf" in one.message
    assert one.source.position(one.span.start) == (2, 17)
    assert "UTF-8" in one.help


def test_a_file_in_utf16_is_told_how_to_become_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.oom"
    path.write_bytes("spare uid 0\n".encode("utf-16"))
    (one,) = rulefiles.given([str(path)]).diagnostics
    assert one.code == "OOM002"
    assert "iconv -f utf16 -t utf8" in one.help


# --- did you mean ------------------------------------------------------------------

MEANT = {
    "keyword at the start": ("prefr anything", "`prefer`"),
    "keyword after never": ("never kll uid 0", "`kill`"),
    "keyword for everybody": ("never kill anythin", "`anything`"),
    "keyword of a clause": ("never kill anything wihtout KILL", "`without`"),
    "keyword in the wrong case": ("Never kill uid 0", "`never`"),
    "attribute": ('never kill cmd_line "x"', "`cmdline`"),
    "attribute of the unit": ("spare anything when unit.presure > 5%", "`unit.pressure`"),
    "attribute in the wrong case": ("never kill UID 0", "`uid`"),
    "attribute in a score": ("score total_wm", "`total_vm`"),
    "capability": ("spare anything with SYS_ADIMN", "`SYS_ADMIN`"),
    "capability with its prefix": ("spare anything with CAP_SYS_ADIMN", "`SYS_ADMIN`"),
    "capability in the wrong case": ("spare anything with net_admin", "`NET_ADMIN`"),
    "defined name": ("define database = nice > 0\nspare databse", "`database`"),
    "list": ('list databases = "a"\nspare comm @databsaes', "`@databases`"),
    "function": ("score roott(nice)", "`root`"),
    "unit of memory": ("spare anything when rss > 5MiBs", "`5MiB`"),
    "unit of memory, swapped": ("spare anything when rss > 5MBi", "`5MiB`"),
    "unit of memory, lower case": ("spare anything when rss > 5kib", "`5KiB`"),
    "unit of time": ("spare anything when run_time > 5minuts", "`5min`"),
    "unit of time, spelt out": ("spare anything when run_time > 5hours", "`5h`"),
    "unit of time, upper case": ("spare anything when run_time > 5D", "`5d`"),
}


HABITS = {
    "kill frist uid 0": "`first`",
    "protect uid 0": "`never kill`",
    "avoid uid 0": "`spare`",
    "prefer anything if uid == 0": "`when`",
    "prefer anything uid == 0": "`when`",
    "kill first anything except uid 0": "`when not …`",
    "never kill when uid == 0": "`anything when …`",
    'never kill comm = "a"': "side by side",
    'never kill comm: "a"': "side by side",
    "prefer anything > 1GiB": "after `when`",
    "kill whole": '`kill whole "batch-*.service"`',
    'kill whole unit "a.service"': '`kill whole "a.service"`',
    'kill whole comm "a"': "`kill first …`",
    "kill whole anything": "`kill first …`",
    'kill first under comm "a"': '`anything under comm "cron"`',
    'kill first child of comm "a"': '`anything child of comm "cron"`',
    'kill first anything under: comm "a"': '`anything under comm "cron"`',
    'kill first anything child comm "a"': '`anything child of comm "cron"`',
    'kill first uid 0 under "a"': '`anything under comm "cron"`',
    "kill first uid 0 under anything": '`anything under comm "cron"`',
    'kill first uid 0 parent comm "a"': '`anything child of comm "cron"`',
    'kill first uid 0 under comm "a" or comm "b"': "put brackets",
    'kill first uid 0 when under comm "a"': '`anything under comm "cron"`',
    "kill first not anything": "which processes",
    'kill first anything when comm "a" uid 0': "`and` or `or` between",
    'kill first anything when (comm "a" uid 0)': '`comm "a" and uid 0`',
    "kill first anything when run_time > 1h30m": "`1h30min`",
    "kill first anything when run_time > 1h30": "`1h30min`",
    "kill first anything when run_time > 30min1h": "`1h30min`",
    "kill first anything when rss > 1GiB512MiB": "`1536MiB`",
    "never kill comm sshd": '`comm "sshd"`',
    "never kill comm systemd-journald": '`comm "systemd-journal"`',
    "never kill exe /usr/sbin/sshd": '`exe "/usr/sbin/sshd"`',
    "never kill comm ssh*": '`comm "ssh*"`',
    "spare unit nginx.service": '`unit "nginx.service"`',
    "never kill uid root": '`user "root"`',
    "never kill comm 'sshd'": '`"sshd"`',
    'never kill comm "a", "b"': '`list NAME = "a", "b"`, and write `comm @NAME`',
    'list a = "b" "c"': "comma",
    "spare uid 0 by -4": "no sign",
    "in a.slice:\n": "on this line",
    "spare anything when user == 1000": "`uid == 1000`",
    "spare anything when rss > 10min": "`512MiB`",
    "spare anything when rss > 0.25": "`25%`",
    'never kill name "sshd"': "`comm`",
    "prefer anything when mem > 1GiB": "`rss`",
    "score oom_score": "`score footprint`",
}


@pytest.mark.parametrize("text", HABITS)
def test_a_habit_of_other_languages_is_answered_with_what_to_write_here(text: str) -> None:
    (one,) = found(text)
    assert HABITS[text] in one.help


def test_a_comment_of_c_is_one_mistake_however_many_lines_and_braces_it_has() -> None:
    text = "in a.slice {\n  /* keep { this\n     kill all */\n  spare uid 0\n}\nspare foo\n"
    assert [(one.code, one.source.position(one.span.start)[0]) for one in found(text)] == [
        ("OOM101", 2),
        ("OOM201", 6),
    ]


@pytest.mark.parametrize("case", MEANT)
def test_a_slip_is_answered_with_the_word_that_was_meant(case: str) -> None:
    text, meant = MEANT[case]
    (one,) = found(text)
    assert meant in one.help


def test_what_is_like_nothing_is_answered_without_guessing() -> None:
    assert similar("xyzzy", ["prefer", "spare"]) == []
    (one,) = found("never kill xyzzy")
    assert "did you mean" not in one.help


def test_the_form_that_is_shown_is_that_of_the_statement() -> None:
    for text, form in {
        "never kill uid 0 0": "never kill",
        "only kill uid 0 0": "only kill",
        "kill last uid 0 0": "kill last",
        "spare uid 0 0": "spare",
    }.items():
        (one,) = found(text)
        others = {"never kill", "only kill", "kill first", "kill last", "prefer", "spare"} - {form}
        assert not any(other in one.help for other in others), one.help


@pytest.mark.parametrize("char", ["\N{NO-BREAK SPACE}", "\N{LINE SEPARATOR}", "\v", "\r", "\x00"])
def test_an_invisible_character_is_named(char: str) -> None:
    (one,) = found(f"never kill{char}uid 0")
    assert one.code == "OOM103"
    assert one.span.start == len("never kill")
    assert "end of the line" not in one.message
    assert f"{ord(char):04X}" in one.message


def test_findings_come_in_file_order_whatever_the_order_of_the_files() -> None:
    sources = [
        RuleText("b.oom", "never kill foo\nnevr\n"),
        RuleText("a.oom", "score comm\nspare\nscore uid\n"),
    ]
    for given in (sources, sources[::-1]):
        places = [(one.source.name, one.code) for one in checker.check(given).diagnostics]
        assert places == [
            ("a.oom", "OOM305"),
            ("a.oom", "OOM101"),
            ("a.oom", "OOM305"),
            ("b.oom", "OOM201"),
            ("b.oom", "OOM101"),
        ]


def test_a_long_chain_of_definitions_is_refused_in_whatever_order_it_is_written() -> None:
    for names in (range(400), range(399, -1, -1)):
        numbers = list(names)
        lines = [f"define d{numbers[0]:04} = nice > 0"]
        lines += [f"define d{b:04} = d{a:04}" for a, b in itertools.pairwise(numbers)]
        codes = {one.code for one in found("\n".join([*lines, f"prefer d{numbers[-1]:04}"]))}
        assert codes == {"OOM106"}


def test_definitions_of_one_name_in_two_directories_are_no_mistake() -> None:
    both = [
        RuleText("/etc/a", "define x = nice > 0", 0),
        RuleText("/usr/b", "define x = nice > 1", 3),
    ]
    assert checker.check(both).diagnostics == []


# --- how it looks -------------------------------------------------------------------


def shown(
    source: RuleText, start: int, end: int, label: str = "", message: str = "it is wrong"
) -> str:
    out = io.StringIO()
    one = Diagnostic("OOM201", message, source, Span(start, end), "mend it", label)
    findings.print_full([one], out)
    return out.getvalue()


def test_a_finding_is_shown_with_its_line_a_caret_and_help() -> None:
    source = RuleText("a.oom", "# x\nnever kill foo 0\n")
    assert shown(source, 15, 18, "this one") == (
        "error[OOM201]: it is wrong\n"
        " --> a.oom:2:12\n"
        "  |\n"
        "2 | never kill foo 0\n"
        "  |            ^^^ this one\n"
        "  = help: mend it\n"
        "\n"
    )


def test_a_tab_does_not_move_the_caret() -> None:
    source = RuleText("a.oom", "\tnever\tkill foo")
    assert shown(source, 12, 15).splitlines()[3:5] == [
        "1 |  never kill foo",
        "  |             ^^^",
    ]


def test_the_margin_grows_with_the_line_number() -> None:
    source = RuleText("a.oom", "\n" * 11_233 + "never kill foo")
    assert shown(source, 11_233 + 11, 11_233 + 14).splitlines()[1:6] == [
        "     --> a.oom:11234:12",
        "      |",
        "11234 | never kill foo",
        "      |            ^^^",
        "      = help: mend it",
    ]


def test_a_place_at_the_end_of_a_line_has_a_caret_behind_it() -> None:
    source = RuleText("a.oom", "never kill\nspare uid 0")
    assert shown(source, 10, 10).splitlines()[3:5] == ["1 | never kill", "  |           ^"]


def test_a_place_of_several_lines_is_underlined_to_the_end_of_the_first() -> None:
    source = RuleText("a.oom", "  in a.slice {\n never kill uid 0\n}")
    assert shown(source, 2, 34).splitlines()[3:5] == [
        "1 |   in a.slice {",
        "  |   ^^^^^^^^^^^^",
    ]


def test_a_control_character_cannot_reach_the_terminal() -> None:
    hostile = "\x1b[2J\x07\x9b31m\u202e"
    source = RuleText("a.oom", f'spare comm "{hostile}" foo')
    text = shown(source, len(source.text) - 3, len(source.text), message=f"no {hostile}")
    assert not any(char in text for char in "\x1b\x07\x9b\u202e")
    line, caret = text.splitlines()[3:5]
    assert caret.index("^") == line.index("foo")


def test_a_control_character_in_the_name_of_a_file_cannot_either() -> None:
    assert "\x1b" not in shown(RuleText("\x1b[2J.oom", "never kill foo"), 11, 14)


def test_characters_that_take_two_columns_move_the_caret_by_two() -> None:
    source = RuleText("a.oom", 'spare comm "\u65e5\u672c" foo')
    line, caret = shown(source, 16, 19).splitlines()[3:5]
    assert caret.index("^") == line.index("foo") + 2


def test_a_file_without_text_is_shown_without_a_line() -> None:
    assert shown(RuleText("a.oom", ""), 0, 0).splitlines() == [
        "error[OOM201]: it is wrong",
        " --> a.oom:1:1",
        "  = help: mend it",
        "",
    ]


def test_a_concise_finding_is_one_line_that_editors_jump_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings.print_concise(found("# x\nnever kill usr 0\nnevr\n"))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "f.oom:2:12: error[OOM201] unknown name `usr`; did you mean `uid`?"
    assert second.startswith("f.oom:3:1: error[OOM101] ")


# --- quotes that are missing -------------------------------------------------------------

# What is written, and what is proposed; with it in its place the file compiles.
UNQUOTED = {
    "in dbus-:1.2-org.x@0.service: prefer anything": 'in "dbus-:1.2-org.x@0.service":',
    "in user unit a+b.service { prefer anything }": 'in user unit "a+b.service" {',
    "in a.slice: in a:b.service: spare uid 3": 'in "a:b.service":',
    r"never kill user CORP\alice": r'user "CORP\alice"',
    r"never kill uid 0 user CORP\alice when rss > 1MiB": r'user "CORP\alice"',
    "spare user HOST$": 'user "HOST$"',
    "spare exe /usr/bin/x": 'exe "/usr/bin/x"',
}


@pytest.mark.parametrize("written", UNQUOTED)
def test_a_name_without_the_quotes_that_it_needs_is_shown_with_them(written: str) -> None:
    (one,) = found(written)
    proposed = UNQUOTED[written]
    assert f"`{proposed}`" in one.help
    bare = proposed.replace('"', "")
    assert bare in written and not found(written.replace(bare, proposed))


@pytest.mark.parametrize("sign", ["-", "not ", "- not ", "-(", "-\\\n"])
def test_signs_that_nest_without_end_are_refused_before_they_are_parsed(
    sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "_lark", None)
    text = RuleText("x.oom", f"score {sign * 20_000}rss\n")
    statements, (one,) = parser.parse(text)
    assert (statements, one.code, one.source.position(one.span.start)) == ((), "OOM106", (1, 7))


def test_rows_of_signs_in_comments_and_texts_nest_nothing() -> None:
    assert not found(f'# {"-" * 20_000}\nspare comm "{"(-" * 900}"\n')
