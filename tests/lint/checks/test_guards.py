"""Where each check of guards draws its line; the pages have one example of each."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from oomrules import resources
from oomrules.commands.main import main
from oomrules.language import compiler, rulefiles
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.rulefiles import Found
from oomrules.language.text import RuleText
from oomrules.lint import host_facts, linter
from oomrules.processes import recorded
from oomrules.processes.ordinary import process_line
from oomrules.ranking.ranker import Ranker

GIB, MIB = 2**30, 2**20


def lint(*texts: str) -> list[Diagnostic]:
    files = tuple(RuleText(f"{number}.oom", text) for number, text in enumerate(texts))
    return linter.lint(Found(files))[1]


def codes(*texts: str) -> list[str]:
    return [one.code for one in lint(*texts)]


def only(text: str) -> Diagnostic:
    (one,) = lint(text)
    return one


SENSIBLE = [
    # What the design and the peers say.
    "kill when host.available < 5%",
    "kill when host.available < 400MiB",
    "kill when host.available < 5% and host.stall > 10%",
    "warn when host.available < 15%",
    "warn when host.stall > 5%",
    "warn when host.swap_free < 1GiB",
    "in user.slice: kill when scope.stall > 40% for 20s",
    'in "build-*.slice": terminate when scope.memory > 20GiB for 1min',
    'in "build-*.slice": kill when scope.pressure > 60% for 10s',
    'in "x.service": kill when scope.memory > 90%',
    'in "x.service": kill when scope.memory > 1GiB and host.stall > 20%',
    'in "x.service": kill when scope.processes > 500',
    'in "x.service": kill when scope.memory > 80%',
    'in "x.service": kill when scope.memory_max - scope.memory < 100MiB',
    'in "x.service": kill when scope.memory > scope.memory_high',
    'in "x.service": kill when scope.oom_kills > 3 and scope.stall > 20%',
    "in user.slice: kill when scope.memory < 1GiB and host.available < 5%",
    "kill when host.available < 10% and (host.swap == 0B or host.swap_free < 10%)",
    "kill when host.swap > 0B and host.swap_free < 10% and host.available < 5%",
    "kill when host.available < 10% and host.swap_free < 1GiB",
    "define scarce = host.available < 5%\nkill when scarce and host.stall > 5%",
    # A ladder.
    "warn when host.available < 15%\n"
    "terminate when host.available < 10% and host.swap_free < 10% within 5s\n"
    "kill when host.available < 5% and host.stall > 10%",
    # Warnings, one worse than the other.
    "warn when host.available < 15%\nwarn when host.available < 8%",
    # Each holds where the other does not.
    "kill when host.available < 5% and host.stall > 10%\n"
    "kill when host.available < 8% and host.stall > 40%",
    # The weaker one comes sooner.
    "kill when host.available < 10% for 10s\nterminate when host.available < 5%",
    "kill when host.available < 10% for 10s\nwarn when host.available < 10%",
    # Another unit has other figures, and another block other candidates.
    'in "a.service": kill when scope.memory > 1GiB\nin "b.service": kill when scope.memory > 2GiB',
    'in "a.service": kill when host.available < 5%\nkill when host.available < 4%',
    # Unlike clauses.
    "terminate when host.available < 5% within 9s\nterminate when host.available < 4% within 1s",
    'in "a.service" { kill when host.available < 5%\nkill when host.available < 4% then stop }',
    "kill when host.available < 5% and host.pressure > 30% for 5s",
    "kill when host.available < 5% and host.pressure > 30% and host.stall > 5%",
]


@pytest.mark.parametrize("text", SENSIBLE)
def test_a_sensible_guard_has_no_finding(text: str) -> None:
    assert codes(text) == []


WRONG = {
    "OOM631": [
        "kill when host.available < 5% and host.available > 10%",
        "warn when host.pressure > 100%",
        "kill when host.available < 0%",
        "kill when host.swap == 0B and host.swap_free < 10%",
        "kill when host.available < 5% or host.stall > 100%",
        'in "x.service": kill when scope.stall > 50% and not scope.stall >= 40%',
        "define no = host.available > host.memory\nkill when no",
        "kill when host.available / 2 > 1GiB and host.available < 1GiB",
        "kill when not host.available <= 100%",
    ],
    "OOM632": [
        "warn when host.available <= 100%",
        "warn when not host.available > 100%",
        "warn when host.available < 5% or host.available >= 5%",
        "kill when host.available < 5% and host.stall >= 0%",
        "terminate when host.swap_free <= host.swap",
    ],
    "OOM633": [
        "kill when host.available < 10%\nterminate when host.available < 5%",
        "kill when host.available < 10%\nkill when host.available < 5% for 3s",
        "terminate when host.available < 10%\nwarn when host.available < 10%",
        'kill when host.available < 10%\nin "x.service": kill when host.available < 5%',
        'in "x.slice" { kill when scope.memory > 1GiB\nterminate when scope.memory > 2GiB }',
        "kill when host.available < 10% or host.swap_free < 1MiB and host.available < 20%\n"
        "terminate when host.available < 5% and host.swap_free < 512KiB",
        "define few = host.available < 9%\nkill when few\nwarn when few and host.stall > 2%",
        "kill when host.available < 100MiB\n"
        "terminate when host.available < 5% and host.memory < 1GiB and host.available < 2%",
    ],
    "OOM634": [
        "kill when host.available < 5%\nkill when host.available < 5%",
        "kill when host.available < 5%\nkill when not host.available >= 5%",
        "warn when host.available < 5%\nwarn when host.available * 20 < host.memory",
    ],
    "OOM636": [
        "kill when host.available < 10% and host.swap_free < 10%",
        "warn when host.swap_free < 10%",
        "define full = host.swap_free < 5%\nkill when full and host.available < 5%",
        # The other one is weaker.
        "kill when host.available < 5% and host.swap_free < 9%\nwarn when host.available < 9%",
    ],
    "OOM637": [
        "kill when host.stall > 40%",
        "terminate when host.pressure > 60% for 1min",
        "kill when host.free < 5%",
        "kill when host.available < 60%",
        "kill when host.shmem > 30%",
        "kill when host.available < 5% or host.stall > 60%",
        "kill when host.swap > 0B and host.swap_free < 10%",
        "in user.slice: kill when host.stall > 40%",
        'in "x.service": kill when scope.memory > 1GiB or host.stall > 40%',
        "define stuck = host.stall > 40%\nkill when stuck for 10s",
        # A unit that holds nothing is taken for it.
        "in user.slice: kill when scope.memory < 1GiB",
        "in user.slice: terminate when not scope.memory > 1GiB for 1min",
        'in "x.service": kill when scope.oom_kills > 0',
    ],
    "OOM638": [
        "kill when host.available < 5% and host.pressure > 40%",
        'in "x.service": terminate when scope.pressure > 40%',
    ],
    "OOM536": [
        "warn when host.available < 9% within 5s",
        "in user.slice: warn when scope.memory > 8GiB then stop",
    ],
    "OOM534": [
        'in "session-3.scope": kill when scope.memory > 8GiB then stop',
        'in "user@1000.service": kill when scope.memory > 8GiB then stop',
    ],
    "OOM535": [
        "in user.slice: kill when scope.memory > 8GiB then stop",
        'in "user-1000.slice": kill when scope.memory > 8GiB then stop',
        'in "run-*.scope": kill when scope.memory > 8GiB then stop',
        "in user unit app.slice: kill when scope.memory > 8GiB then stop",
    ],
}


@pytest.mark.parametrize(
    ("code", "text"), [(code, text) for code, texts in WRONG.items() for text in texts]
)
def test_a_mistake_is_found_and_no_other(code: str, text: str) -> None:
    assert codes(text) == [code]


@pytest.mark.parametrize(
    "text",
    [
        'in "batch-*.service": kill when scope.memory > 8GiB then stop',
        'in "*.slice": kill when scope.memory > 8GiB then stop',
        'in "job-7.scope": kill when scope.memory > 8GiB then stop',
        "kill when host.available < 5% then stop",
    ],
)
def test_a_service_may_be_stopped(text: str) -> None:
    assert codes(text) == []


SHOWN = [text for code, texts in WRONG.items() for text in texts if code > "OOM600"]


@pytest.mark.parametrize("text", [one for one in SHOWN if one not in WRONG["OOM631"]])
def test_a_finding_about_meaning_shows_figures(text: str) -> None:
    (one,) = lint(text)
    assert one.witness
    assert all(name.startswith(("host.", "scope.", "nearest")) for name in one.witness)


def test_figures_are_those_of_a_host_that_somebody_could_have() -> None:
    one = only("kill when host.stall > 40%")
    assert one.witness == {
        "host.memory": "64GiB",
        "host.available": "48GiB",
        "host.stall": "50%",
    }
    one = only("kill when host.available < 10%\nterminate when host.available < 5%")
    assert one.witness == {"host.memory": "8GiB", "host.available": "300MiB"}


PROPOSED = [
    "kill when host.stall > 40%",
    "kill when host.stall > 40% or host.pressure > 80%",
    "kill when host.free < 5%",
    "kill when host.swap > 0B and host.swap_free < 10%",
]


@pytest.mark.parametrize("text", PROPOSED)
def test_the_condition_that_is_proposed_has_no_finding(text: str) -> None:
    help_ = only(text).help
    assert help_.startswith("write `")
    assert codes(f"kill when {help_.split('`')[1]}") == []


def test_the_comparison_that_is_proposed_for_hosts_without_swap_fits_in_its_place() -> None:
    text = "kill when host.available < 10% and host.swap_free < 10%"
    one = only(text)
    better = text[: one.span.start] + one.help.split("`")[1] + text[one.span.end :]
    assert codes(better) == []


def test_the_order_of_the_files_makes_no_difference() -> None:
    texts = ("kill when host.available < 10%", "terminate when host.available < 5%")
    for one, two in itertools.permutations(texts):
        (found,) = lint(one, two)
        assert found.code == "OOM633"
        assert found.source.text == texts[1]


def test_a_guard_that_asks_for_what_may_be_unknown_comes_before_none_that_does_not() -> None:
    found = codes(
        "kill when host.available < 9% and (host.stall > 5% or not host.stall > 5%)",
        "terminate when host.available < 5%",
    )
    assert found == ["OOM632"]


def test_of_two_that_say_the_same_one_is_named() -> None:
    text = "kill when host.available < 5%"
    assert codes(text, text, text) == ["OOM634", "OOM634"]


@pytest.mark.parametrize(
    "rules",
    [
        'in "x.slice": never kill anything',
        'in "x.slice" { never kill uid 0\nnever kill anything when uid != 0 }',
        'only kill uid 0 when rss > 1GiB\nin "x.slice": never kill uid 0',
    ],
)
def test_a_guard_whose_block_has_no_candidate_is_found(rules: str) -> None:
    guard = 'in "x.slice": kill when scope.memory > 1GiB'
    found = [one for one in lint(f"{rules}\n{guard}") if one.code == "OOM635"]
    assert len(found) == 1
    assert found[0].related


def test_a_guard_that_warns_needs_no_candidate() -> None:
    rules = 'in "x.slice" { never kill anything\nwarn when scope.memory > 1GiB }'
    assert "OOM635" not in codes(rules)


def test_what_only_a_guard_uses_is_used() -> None:
    text = "define short = host.available < 5%\nkill when short\n"
    directory = Path("/etc/oomrules.d")
    assert linter.lint(Found((RuleText("x.oom", text),)), (directory,))[1] == []


def test_a_finding_about_a_guard_can_be_allowed() -> None:
    text = "kill when host.stall > 40%  # oomrules: allow OOM637 because nothing here reads\n"
    assert codes(text) == []
    better = text.replace("> 40%", "> 40% and host.available < 9%")
    assert codes(better) == ["OOM801"]


def test_many_guards_are_compared_in_little_time() -> None:
    units = (
        f'in "u{number}.service": kill when scope.memory > {number}GiB' for number in range(200)
    )
    hosts = (f"warn when host.available < {number}MiB for {number}s" for number in range(1, 100))
    assert codes("\n".join((*units, *hosts))) == []


# --- presets -------------------------------------------------------------------------------------

PRESETS = sorted((resources.rules() / "presets").glob("*.oom"))
GUARDS = [path for path in PRESETS if path.name.startswith("guard-")]
SHIPPED = sorted(map(str, resources.rules().glob("*.oom")))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda path: path.name)
@pytest.mark.parametrize("beside", PRESETS, ids=lambda path: path.name)
def test_a_guard_preset_is_clean_beside_each_other_one(guard: Path, beside: Path) -> None:
    files = rulefiles.given(sorted({*SHIPPED, str(guard), str(beside)}))
    assert linter.lint(files)[1] == []


@pytest.mark.parametrize("guard", GUARDS, ids=lambda path: path.name)
def test_a_copy_of_a_guard_preset_is_clean(guard: Path) -> None:
    assert codes(guard.read_text()) == []


_DOCS = Path(__file__).parents[3]
_GUARD = re.compile(r"^    (?:in [^:]+: )?(?:kill|terminate|warn) when .*$")


def examples() -> list[tuple[str, str]]:
    """Return the guards that pages show, those that stand together as one text."""
    found = []
    for page in (_DOCS / "README.md", *sorted((_DOCS / "docs").glob("*.md"))):
        lines = page.read_text(encoding="utf-8").splitlines()
        for is_one, together in itertools.groupby(lines, lambda line: bool(_GUARD.match(line))):
            if is_one:
                found.append((page.name, "\n".join(line.strip() for line in together)))
    return found


def test_what_pages_show_of_guards_is_clean() -> None:
    shown = examples()
    assert shown
    assert [(page, text, codes(text)) for page, text in shown if codes(text)] == []


# --- on a host -----------------------------------------------------------------------------------


def host(rules: str, **figures: object) -> list[Diagnostic]:
    """Lint rules for a recorded host of 8 GiB, with a service of 2 GiB."""
    line = json.loads((Path(__file__).parents[2] / "data/lint.jsonl").read_text().splitlines()[0])
    line |= {"available": 6 * GIB, "pressure": 0.0, **figures}
    group = "/system.slice/x.service"
    scope = {"kind": "scope", "cgroup": group, "unit": "x.service", "memory": 2 * GIB}
    scope |= {"memory_max": 4 * GIB, "memory_high": None, "swap": 0, "pressure": 0.0}
    session = "/user.slice/user-1000.slice/session-1.scope"
    lines = [
        line,
        scope,
        process_line(7, comm="x", starttime=0, uid=33, rss=2 * GIB // 4096, cgroup=group),
        process_line(8, comm="bash", starttime=0, uid=1000, rss=1000, cgroup=session),
    ]
    snapshot = recorded.parse(map(json.dumps, lines), "host")
    found = Found((RuleText("x.oom", rules),))
    ranking = Ranker(compiler.compile_rules(found), snapshot.host).rank(snapshot)
    return linter.lint(found, host=host_facts.recorded(ranking, 0))[1]


NO_SWAP = {"swap_total": 0, "swap_free": 0}
SWAP = {"swap_total": 4 * GIB, "swap_free": 3 * GIB}

HERE = [
    # rules, figures, the finding, and a word of it
    ("kill when host.available < 5% and host.stall > 9%", {}, None, ""),
    ("kill when host.available < 5% and host.stall > 9%", {"pressure": None}, "OOM711", "psi=1"),
    (
        "kill when host.available < 5% and host.stall > 9%\nkill when host.available < 3%",
        {"pressure": None},
        None,
        "",
    ),
    (
        "kill when host.available < 5% and host.stall > 9%\nwarn when host.available < 3%",
        {"pressure": None},
        "OOM711",
        "psi=1",
    ),
    ("kill when host.swap > 0B and host.swap_free < 9% and host.available < 5%", SWAP, None, ""),
    (
        "kill when host.swap > 0B and host.swap_free < 9% and host.available < 5%",
        NO_SWAP,
        "OOM711",
        "no swap",
    ),
    ("warn when host.swap_free > 9GiB", SWAP, "OOM711", "4.0 GiB of swap"),
    ("warn when host.available > 9GiB", {}, "OOM711", "8.0 GiB of memory"),
    ("warn when host.available < 9GiB", {}, "OOM712", "always holds"),
    ("warn when host.available < 90%", {}, "OOM712", "now"),
    ("warn when host.available < 7GiB for 10s", {}, "OOM712", "after 10s"),
    ("warn when host.available < 90%", {"available": None}, None, ""),
    ('in "x.service": kill when scope.memory > 5GiB', {}, "OOM711", "x.service have 4.0 GiB"),
    ('in "x.service": kill when scope.memory > 3GiB', {}, None, ""),
    ('in "x.service": kill when scope.memory > 90%', {}, None, ""),
    ('in "x.service": kill when scope.memory > 40%', {}, "OOM712", "for x.service"),
    ('in "x.service": kill when scope.memory > 1GiB', {}, "OOM712", "for x.service"),
    ('in "y-*.service": kill when scope.memory > 1GiB', {}, "OOM714", "`y-*.service`"),
    ('in "y.service": kill when scope.memory > 1GiB', {}, "OOM701", "y.service"),
    (
        'never kill user "x" comm "x" uid 33\nin "x.service": kill when scope.memory > 3GiB',
        {},
        None,
        "",
    ),
    (
        'in "x.service": never kill uid 33\nin "x.service": kill when scope.memory > 3GiB',
        {},
        "OOM713",
        "by `never kill uid 33` at x.oom:1",
    ),
]


@pytest.mark.parametrize(("rules", "figures", "code", "says"), HERE)
def test_a_guard_on_one_host(
    rules: str, figures: dict[str, object], code: str | None, says: str
) -> None:
    found = [one for one in host(rules, **figures) if one.code[:6] in ("OOM701", *HOST_CODES)]
    assert [one.code for one in found] == ([code] if code else [])
    assert all(says in f"{one.message}; {one.help}" for one in found)


HOST_CODES = ("OOM704", "OOM711", "OOM712", "OOM713", "OOM714")


def test_figures_of_now_are_shown_and_what_is_unknown() -> None:
    (one,) = host("kill when host.available < 5% and host.stall > 9%", pressure=None)
    assert one.witness == {
        "host.memory": "8.0 GiB",
        "host.available": "6.0 GiB",
        "host.stall": "unknown",
    }


def test_a_recorded_host_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "x.oom"
    rules.write_text("kill when host.available < 5% and host.stall > 9%\n")
    snapshot = Path(__file__).parents[2] / "data/lint.jsonl"
    options = ["check", str(rules), "--snapshot", str(snapshot), "--least-freeable", "0"]
    assert main([*options, "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["code"], found["witness"]["host.stall"]) == ("OOM711", "unknown")
    assert main([*options, "--format", "sarif"]) == 1
    (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert result["ruleId"] == "OOM711"
    assert result["properties"]["witness"] == found["witness"]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda path: path.name)
@pytest.mark.parametrize("figures", [{}, NO_SWAP, SWAP, {"pressure": None}], ids=str)
def test_a_copy_of_a_guard_preset_can_act_on_each_host(
    guard: Path, figures: dict[str, object]
) -> None:
    assert host(guard.read_text(), **figures) == []
