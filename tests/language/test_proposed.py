"""Whatever a help proposes in backquotes works: it compiles where the mistake is, and holds.

The helps are those of every mistake that other tests and pages show, and of a generated corpus
of wrong conditions and terms.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache

import pytest

from oomrules.attributes import ATTRIBUTES
from oomrules.language import checker
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.rulefiles import Found
from oomrules.language.syntax import FORMS, KEYWORDS, WORDS
from oomrules.language.text import RuleText
from oomrules.lint import linter
from tests.language import test_diagnostics, test_foreign, test_guard_help
from tests.lint import mistakes, pages, test_pages

# A definition and a list that the wrong texts below may use.
VOCABULARY = "define niced = nice > 0\n"

# One attribute of each type, and those that have values of their own.
_SUBJECTS = (
    "comm",
    "exe",
    "user",
    "unit",
    "slice",
    "state",
    "uid",
    "gid",
    "pid",
    "nice",
    "rss",
    "run_time",
    "unit.pressure",
    "session.active",
    "rss / swap",
    "rss / 1GiB",
    "rss + swap",
    "rss * 2",
    "capabilities",
)
_VALUES = (
    "0",
    "50",
    "50%",
    "250%",
    "0.9",
    "1.5",
    "5MiB",
    "512MB",
    "512 MiB",
    "25 %",
    "10min",
    "90 min",
    "1.5 hours",
    "1h30",
    "1:30h",
    '"sshd"',
    '"33"',
    "'x'",
    "sshd",
    "nginx.service",
    "root",
    "yes",
    "rss",
    "comm",
    "limit",
)
_BARE = (
    "sshd",
    '"sshd"',
    "nginx.service",
    '"nginx.service"',
    "gnome-shell",
    "gnome-session-binary",
    "chrome*",
    "/usr/sbin/sshd",
    '"/usr/sbin/sshd -D"',
    "@databases",
    "sshd, dropbear",
    '"sshd", "dropbear"',
    '"a.service", "b.slice"',
    "root",
    "33",
    "rss",
    "user",
    "RAWIO",
    "niced sshd",
    "process sshd",
    'process "sshd"',
    "service nginx",
    "path sshd",
    "comm sshd",
    "exe sshd",
    "unit nginx",
    "slice batch",
    "user 0",
    "group 33",
    "uid root",
    "anything with niced",
    "anything with uid 0",
    "anything with rss",
    "unknowable",
)
_CONDITIONS = (
    "1GiB < rss < 2GiB",
    "rss > 1GiB < 2GiB",
    "5 <= nice <= 9 and rss > 1MiB",
    "comm not in @databases",
    'comm !~ "a|b"',
    'comm =~ "a|b"',
    'comm <> "a"',
    "uid === 0",
    "nice \N{GREATER-THAN OR EQUAL TO} 5",
    'comm contains "x"',
    'comm is "x"',
    "rss > 90% of unit.memory_max",
    "rss > unit.memory_max * 90%",
    "rss > unit.memory_max * 0.9",
    "swap * 1.5 < rss",
    "unit.memory / unit.memory_max > 90%",
    "unit.memory / (unit.memory_max + unit.swap) >= 0.75",
    "hour > 5",
    "rss > 512MiB and uid = 0",
    "512MiB",
    "comm",
    "rss",
    "rss + swap",
    "unit.pressure",
    "uid",
    "capabilities",
    "RAWIO",
    "sshd",
    "rsss",
    "session.active == true",
    "root(rss) > 5",
    "sqrt(rss / 1MiB) > 5",
    "rss + 1 > 5MiB",
    "rss * rss > 5MiB",
)
_FACTORS = ("50%", "33%", "100%", "0%", "150%", "0.5", "0.3", "0.001", "0", "2x", "2MiB", "0.5MiB")

# Valid rules of which the linter has something to say.
_WARNED = (
    'never kill comm "^sshd$"',
    'spare comm "sshd|cron"',
    'kill first user "HOST|OTHER"',
    'spare exe "sshd"',
    'spare exe "^/usr/bin/(a|b)$"',
    'kill last uid 0 comm "gnome-session-binary"',
    'kill last uid 0 comm "gnome-session-binary*"',
    'prefer anything when comm ~ "zabbix*"',
    'prefer anything when comm == "chrome*"',
    'prefer anything when exe == "/usr/bin/*"',
    'prefer anything when unit == "nginx*"',
    'prefer user "1000"',
    'prefer anything when user == "0"',
    'prefer group "33"',
    'prefer cmdline "firefox"',
    'prefer cmdline "--type=renderer"',
    'prefer tty "/dev/pts/*"',
    'prefer tty "/dev/tty1"',
    'prefer state "r"',
    'prefer anything when state == "Running"',
    'prefer anything when unit.oom_policy == "never"',
    'prefer comm "*"',
    'prefer unit "nginx"',
    'prefer unit "system.slice"',
    'never kill unit "user.slice"',
    'prefer slice "user.slice"',
    'prefer unit "machine-qemu-3-scratch.scope"',
    'prefer unit "docker/*"',
    'in "docker/*": prefer anything',
    'in "app-*.scope": prefer anything',
    'in "app-*.scope": never kill comm "firefox"',
    'in user unit "app-*.scope": never kill comm "firefox"',
    'in system.slice: kill last comm "mysqld" when rss < 1GiB',
    'kill last comm "gnome-shell" # the shell',
    'kill last anything when comm == "gnome-shell" or comm == "kwin"',
    'never kill tty "pts/*" by 5',
    'only kill comm "chrome"',
    'only kill user "anna"\nnever kill user "anna"',
    "never kill anything",
    "score nice",
    "score 5",
    "score rss * (run_time / 1min)",
    "score (rss + swap) * (run_time / 1min)",
    "score rss / (nice + 5)",
    "score rss / (run_time / 1min)",
    "score rss - 100MiB",
    "score 0 - rss",
    "in user.slice: prefer anything when unit.memory > 10GiB",
    'kill first comm "a"\nkill last comm "a*"',
    "prefer anything when rss > 1GiB and rss < 512MiB",
    "spare anything by 1",
    "prefer uid 0 uid 0",
    "spare anything by 1000",
    'never kill uid 0 comm "\u0455shd"',
    'kill whole "user-*.slice"',
    'kill whole "*"',
)

# Sentences as people say them, or as other languages and tools have them.
_SAID = (
    "prefer anything by -2",
    "prefer anything by x2",
    "prefer anything by *2",
    "prefer anything by half",
    "prefer anything by 50 %",
    "prefer anything by 2 times",
    "prefer anything twice",
    "prefer anything when run_time > 2h30",
    "prefer anything when run_time > 1 hour 30 min",
    "prefer anything when run_time > 1hour30min",
    "prefer anything when run_time > 1h 30min",
    "prefer anything when run_time > 01:30:00",
    "prefer anything when rss > 1,5GiB",
    "prefer anything when rss > 1.5 GB",
    "prefer anything when rss > 1.5gigabytes",
    "define big = 1GiB",
    'define users = "a", "b"',
    "list x = a, b",
    'list x "a", "b"',
    'list x: "a"',
    "kill nginx first",
    "kill chrome",
    "don't kill sshd",
    "do not kill sshd",
    "never kill the database",
    "never kill process named sshd",
    "never kill user alice",
    "never kill postgres and mysqld",
    "prefer firefox or chrome",
    "never kill uid 0 sshd",
    "never kill not sshd",
    "never sshd",
    "never kill: sshd",
    "spare systemd-*",
    "in nginx: never kill anything",
    "in user alice: prefer anything",
    "prefer anything when cpu > 50%",
    "prefer anything when memory > 1GiB",
    'prefer anything when name == "x"',
    'prefer anything when parent.name == "x"',
    'prefer anything when user.name == "x"',
    'prefer anything when unit.name == "x"',
    'prefer anything when process.name == "x"',
    "prefer anything when host.load > 5",
    'prefer anything when cgroup.name == "x"',
    "prefer anything with sudo",
    "prefer anything with root",
    "prefer anything without niced",
    "prefer anything with rss > 1GiB",
    "prefer anything when rss between 1GiB and 2GiB",
    "prefer anything when rss in 1GiB..2GiB",
    'prefer anything when comm in ("a", "b")',
    'prefer anything when comm not in ("a", "b")',
    'prefer anything when comm in "a"',
    'prefer anything when comm != "a*"',
    "prefer anything when uid == 0 or 33",
    "prefer anything when uid in 0, 33",
    "prefer anything when user is root",
    "prefer anything when user == root",
    'prefer anything when user != "root" and rss >1GB',
    "score sum(rss, swap)",
    "score rss ^ 2",
    "score rss ** 2",
    "score log(rss)",
    "score memory",
    "score badness",
    "score rss + 25%",
    "score = rss",
    "score rss when uid 0",
    "prefer anything when unit.pressure >= 50.5",
    "prefer anything when unit.pressure > 0,5",
    "never kill gid wheel",
    "never kill group 0",
    "prefer anything when session.active = true",
    "prefer session.active true",
    "prefer not session.active",
    "prefer anything when session.active is true",
    'prefer anything when not (comm = "x")',
    "prefer anything when rss > half",
    "prefer anything when rss > 50% of RAM",
    "prefer anything when rss > 50% and unit.pressure > 20",
    "prefer anything when oom_score > 500",
    "prefer anything when rss > 1GiB && !niced",
    "prefer anything where rss > 1GiB",
    "prefer anything when rss greater than 1GiB",
    "prefer anything when rss is greater than 1GiB",
    "prefer anything when rss >= 1 GiB or swap >= 1 GiB",
    "kill last postgres by 2",
    "kill first anything by 0.5",
    "kill whole batch.service by 2",
    'kill whole unit "x.service"',
    'kill whole user "anna"',
    "prefer anything under sshd",
    "prefer anything child of sshd",
    "prefer anything under comm sshd",
    "prefer anything if child of cron",
    "prefer anything when max(rss) > 5GiB",
    "prefer anything when max(rss, 5) > 5GiB",
    "echo -1000 > /proc/1/oom_score_adj",
    "choom -n -1000 -p 5",
    "vm.oom_kill_allocating_task = 1",
    "oom score -900",
)


def _generated() -> Iterator[str]:
    for subject, operator, value in itertools.product(_SUBJECTS, ("==", ">"), _VALUES):
        yield f"prefer anything when {subject} {operator} {value}"
    for subject, value in itertools.product(_SUBJECTS, _VALUES):
        if " " not in subject:
            yield f"prefer {subject} {value}"
    for start, bare in itertools.product(("never kill", "kill first", "prefer"), _BARE):
        yield f"{start} {bare}"
    for condition in _CONDITIONS:
        yield f"prefer anything when {condition}"
        yield f"define mine = {condition}"
    for kind, factor in itertools.product(("prefer", "spare"), _FACTORS):
        yield f"{kind} anything by {factor}"
    yield from _WARNED
    yield from _SAID
    for score in ("rss * 0.5", "max(rss, swap)", "rss + cpu_time", "comm", "25%", "oom_score"):
        yield f"score {score}"


def corpus() -> Iterator[str]:
    """Yield wrong texts: of pages and of other tests, and generated ones."""
    for section in mistakes.SECTIONS.values():
        yield from (mistake.text for mistake in section)
    for cases in test_diagnostics.CASES.values():
        yield from (case.wrong.replace(test_diagnostics.MARK, "") for case in cases)
    yield from test_diagnostics.HABITS
    yield from test_guard_help.GUARDS
    yield from (text for text, _ in test_diagnostics.MEANT.values())
    yield from test_diagnostics.UNQUOTED
    yield from (case.text for case in test_foreign.CASES.values())
    for code in test_pages.SHOWN:
        yield from (file.text for file in pages.read(code).rules("Example").files)
    yield from _generated()


# What only words need that no attribute has yet.
_MISSING = () if "scope.memory" in ATTRIBUTES else ("scope.", "under", "child of")
CORPUS = sorted(
    {text for text in corpus() if len(text) < 2000 and not any(word in text for word in _MISSING)}
)
LISTED = 'list databases = "postgres", "mysqld"\n'


def found(text: str) -> list[Diagnostic]:
    return linter.lint(Found((RuleText("f.oom", text),)))[1]


def helped(text: str) -> list[Diagnostic]:
    """Return the findings about a text, which may use the vocabulary."""
    before = VOCABULARY if "niced" in text and "niced =" not in text else ""
    before += LISTED if "@databases" in text and "databases =" not in text else ""
    return found(before + text)


# --- what stands in backquotes ---------------------------------------------------------------

# Signs and words that a help names, and does not propose.
_SIGNS = {*"=~#{}/%-`", "==", "!=", '"', "/dev/", "\\x2d", ".service", ".slice"}
_NAMED = {*KEYWORDS, *FORMS, *WORDS, *ATTRIBUTES, *_SIGNS}
_COMMANDS = ("systemctl", "iconv", "oomrules", "getent", "chown", "ms")
_PLACEHOLDERS = (
    "in @list",
    "with CAP",
    "comm @NAME",
    "unit @NAME",
    "define",
    "root(x)",
    "cap(X)",
    "max(a, b)",
    "min(a, b)",
    "kill whole UNIT",
    "kill when CONDITION [for DURATION] [within DURATION] [then stop]",
)


def proposals(help_: str) -> list[str]:
    """Return what a help proposes."""
    return [
        said
        for said in re.findall(r"`([^`]+)`", help_)
        if said not in _NAMED
        and not all(word in KEYWORDS for word in said.split())
        and said not in _PLACEHOLDERS
        and said not in FORMS.values()
        and not said.startswith(_COMMANDS)
        and not re.fullmatch(r"SELECTOR|N|[A-Z_]+=|\W+|\{1,500\}", said)
    ]


_TOKEN = re.compile(r'"(?:\\"|[^"\n])*"|[\w.@%:]+|[^\s\w]')


def _places(source: RuleText, one: Diagnostic, proposal: str) -> Iterator[str]:
    """Yield the text with a proposal in the place of the mistake and of more and more around it."""
    text = source.text
    begin = text.rfind("\n", 0, one.span.start) + 1
    end = text.find("\n", max(one.span.end, begin))
    end = len(text) if end < 0 else end
    tokens = list(_TOKEN.finditer(text, begin, end))
    starts = [t.start() for t in tokens if t.start() <= one.span.start] or [begin]
    ends = [t.end() for t in tokens if t.end() >= one.span.end] or [end]
    yield text[: one.span.start] + proposal + text[one.span.end :]
    for start, stop in sorted(itertools.product(starts, ends), key=lambda pair: pair[1] - pair[0]):
        yield text[:start] + proposal + text[stop:]
    # A keyword or a clause that is missing.
    yield f"{text[: one.span.start]}{proposal} {text[one.span.start :]}"


def _fillings(source: RuleText, proposal: str) -> Iterator[str]:
    """Yield a proposal with what its ellipsis stands for."""
    if "…" not in proposal or '"…"' in proposal:
        for word, filled in (
            ("SELECTOR", "uid 0"),
            ("UNIT", "x.service"),
            ("EXPRESSION", "rss"),
        ):
            proposal = proposal.replace(word, filled)
        yield proposal
        return
    line = source.text.splitlines()[-1]
    selector = re.sub(r"^\w+ (?:kill |first |last )?|\s+by\s+\S+$|^when |^not ", "", line)
    for filling in (
        *(selector, "uid == 0", "rss > 1MiB", "uid 0", '"x"', "x", "rss", "0"),
        *("host.available < 5%", "kill when host.available < 5%"),
    ):
        yield proposal.replace("…", filling)


@cache
def _compiles(text: str) -> bool:
    return not checker.check([RuleText("f.oom", text)]).diagnostics


def in_its_place(source: RuleText, one: Diagnostic, proposal: str, more: str = "") -> str | None:
    """Return the text with a proposal in it that compiles; None if there is none."""
    for filled in _fillings(source, proposal):
        for text in _places(source, one, filled):
            if _compiles(more + text):
                return more + text
    return None


_ALONE = (
    "{}",
    "kill when host.stall > 10% {}",
    "prefer {}",
    "prefer anything {}",
    "prefer anything when {}",
    "prefer anything when rss > {}",
    "prefer anything when run_time > {}",
    "prefer anything when unit.pressure > {}",
    "prefer anything when comm == {}",
    "kill when host.available < 5% {}",
    "score {}",
    "score rss {}",
    "in {}: prefer anything",
    "{} prefer anything",
    "{} prefer anything }}",
    "in x.slice {{\nprefer anything\n{}",
)


def _is_a_fragment(source: RuleText, proposal: str) -> bool:
    """Return whether a proposal is a sentence or a part of one, wherever it may stand."""
    return any(
        _compiles(f"{VOCABULARY}{LISTED}{form.format(filled)}")
        for filled in _fillings(source, proposal)
        for form in _ALONE
    )


def _said(source: RuleText, word: str) -> bool:
    """Return whether a help only repeats a word of the text."""
    return re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.])", source.text) is not None


def _checked(text: str) -> Iterator[tuple[Diagnostic, list[str]]]:
    for one in helped(text):
        said = proposals(one.help)
        if said:
            yield one, said


def _placed(text: str) -> Iterator[tuple[Diagnostic, str, str]]:
    """Yield each finding with a proposal of it, and the text with that in its place, if it fits."""
    for one, said in _checked(text):
        lists = [proposal for proposal in said if proposal.startswith(("list ", "define "))]
        more = "".join(f"{proposal}\n" for proposal in lists)
        for proposal in said:
            if proposal not in lists:
                yield one, proposal, in_its_place(one.source, one, proposal, more) or ""


@pytest.mark.parametrize("text", CORPUS)
def test_what_a_help_proposes_compiles_where_the_mistake_is(text: str) -> None:
    for one, proposal, placed in _placed(text):
        fits = placed or _is_a_fragment(one.source, proposal) or _said(one.source, proposal)
        assert fits, (text, one.code, one.help, proposal)


# A condition that nothing fulfils, a pattern that nothing matches, a score without points.
IMPOSSIBLE = {"OOM501", "OOM503", "OOM504", "OOM522", "OOM601", "OOM617"}
# What is asked of nobody before it is asked wrongly, as `250%` of a percentage.
_TO_KILL = ("only kill", "kill first", "prefer")
_TO_SPARE = ("never kill", "kill last", "spare")


def _directions(text: str) -> list[bool]:
    """Return of each rule of a text whether it is about being killed sooner."""
    words = re.findall(rf"(?:^|[:{{])[ \t]*({'|'.join(_TO_KILL + _TO_SPARE)})\b", text, re.M)
    return [word in _TO_KILL for word in words]


@pytest.mark.parametrize("text", CORPUS)
def test_what_a_help_proposes_holds_for_somebody_and_not_for_the_opposite(text: str) -> None:
    before = {one.code for one in found(text)}
    for one, proposal, placed in _placed(text):
        if not placed or any(word in placed for word in _MISSING):
            continue
        after = {finding.code for finding in found(placed)}
        assert not (after - before) & IMPOSSIBLE, (one.help, placed)
        # A factor below 1 is turned round on purpose; a text of another tool has no direction yet.
        # A guard in the place of a rule says when, and no more whom.
        turned = one.code == "OOM403" or re.match(r"(kill|terminate|warn) when ", proposal)
        if not turned and _directions(text) and not _directions(proposal):
            assert _directions(placed) == _directions(text), (one.help, placed)


# A guard on waiting or on swap alone is what was said; the linter has its own word about it.
_OF_GUARDS = sorted(
    text
    for text in test_guard_help.GUARDS
    if not re.search("psi|avg|stall|swap", text, re.IGNORECASE)
)


@pytest.mark.parametrize("text", _OF_GUARDS)
def test_no_help_proposes_a_guard_that_takes_a_process_though_memory_is_there(text: str) -> None:
    for one, _, placed in _placed(text):
        codes = {finding.code for finding in found(placed)} if placed else set()
        assert not codes & {"OOM631", "OOM632", "OOM637"}, (one.help, placed)
