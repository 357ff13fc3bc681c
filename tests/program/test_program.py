"""The program: plain data between the two halves, and the wall between them."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomrules.attributes import ATTRIBUTES
from oomrules.errors import Failure
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.processes import recorded
from oomrules.program import program
from oomrules.program.program import Program
from oomrules.ranking.ranker import Ranker
from tests.children import CHECKOUT

# Every statement, clause, type and operator of the language.
EVERYTHING = r"""
define idle = nice > 0 and (threads < 4 or not run_time > 10min)
define alias = idle or cap(KILL)
list shells = "sh", "*sh"
score (total_vm + rss * 2 - swap) / root(cpu_time / 8192ms + 1) / root(threads)
never kill uid 0 with RAWIO
never kill oom_score_adj -1000
only kill anything without KILL, CHOWN when rss >= 25% or unit.pressure > 1.25%
kill first comm "a*" cmdline "x" exe "/x"
kill last user @shells with any of KILL, CHOWN
prefer idle alias by 1.5
spare comm @shells when -nice < -3 by 8
spare anything when comm ~ "^[a-z]{2}\d" and tty == "" and session == 5
in user.slice: prefer anything when unit.memory > 512MiB
in "app-*.scope" {
    never kill group "video"
    in "b.service": score anon + locked + shmem + pgtables
    terminate when scope.memory > 25% and short for 10s within 1min then stop
}
define short = host.available < 10% or host.swap_free < 1GiB
kill when short and host.stall > 12.5%
warn when host.pressure > 5% for 1h
"""


def compiled(text: str) -> Program:
    return compiler.compile_texts([RuleText("f.oom", text)])


def data_of(text: str) -> Any:
    return json.loads(program.dumps(compiled(text)))


# --- there and back ------------------------------------------------------------------


def test_a_program_comes_back_from_json_as_it_was() -> None:
    made = compiled(EVERYTHING)
    again = program.loads(program.dumps(made))
    assert again == made
    assert program.dumps(again) == program.dumps(made)


@pytest.mark.parametrize("text", ["", "score rss", "prefer anything", 'never kill comm "\\udc80é"'])
def test_small_programs_come_back_too(text: str) -> None:
    assert program.loads(program.dumps(compiled(text))) == compiled(text)


def test_the_shipped_rules_come_back_from_a_file(tmp_path: Path) -> None:
    made = compiler.compile_rules(rulefiles.system(tmp_path))
    path = tmp_path / "program.json"
    path.write_text(program.dumps(made), encoding="utf-8")
    assert program.load(str(path)) == made


def test_the_order_of_statements_does_not_show_in_the_program() -> None:
    lines = ["prefer uid 1", "never kill uid 2", "score rss", "define x = uid == 3", "spare x"]
    one = compiled("\n".join(lines))
    other = compiled("\n".join(reversed(lines)))

    def without_places(made: Program) -> Any:
        return [
            (
                s.targets,
                s.score and s.score.value,
                sorted((r.kind, r.when, r.factor) for r in s.rules),
            )
            for s in made.scopes
        ]

    assert without_places(one) == without_places(other)


def test_a_program_says_which_attributes_it_needs() -> None:
    made = compiled(EVERYTHING)
    assert made.attributes <= ATTRIBUTES.keys()
    assert made.attributes >= set(
        "nice threads run_time total_vm rss swap cpu_time uid capabilities oom_score_adj "
        "unit.pressure comm cmdline exe user tty session unit.memory group anon locked shmem "
        "pgtables".split()
    )
    assert made.uses_limit
    assert data_of(EVERYTHING)["attributes"] == sorted(made.attributes)
    small = compiled("score rss\nprefer anything when nice > 0")
    assert small.attributes == {"rss", "nice"}
    assert not small.uses_limit
    assert not any(scope.targets for scope in small.scopes)


def test_a_definition_that_no_rule_uses_costs_no_reading(tmp_path: Path) -> None:
    """The vocabulary is always there; it alone must not have every status file opened."""
    (tmp_path / "x.oom").write_text("score rss\nprefer niced\n")
    made = compiler.compile_rules(rulefiles.given([str(tmp_path)]))
    assert made.attributes == {"rss", "nice"}


def test_each_rule_knows_where_it_came_from() -> None:
    made = compiled("# x\n\nnever kill \\\n  uid 0\nin a.slice: spare uid 1 by 8\n")
    rules = [rule for scope in made.scopes for rule in scope.rules]
    assert [(rule.place, rule.text, rule.factor) for rule in rules] == [
        ("f.oom:3", "never kill uid 0", (1, 1)),
        ("f.oom:5", "spare uid 1 by 8", (1, 8)),
    ]


def test_a_program_says_its_version() -> None:
    assert data_of("score rss")["schema"] == "oomrules.program/1"


# --- damage --------------------------------------------------------------------------

BASE = data_of(
    "define x = nice > 0\nscore rss\nprefer uid 0\nnever kill x\n"
    "kill when host.available < 1GiB for 2s\n"
)


def change(*path: Any, to: Any = ...) -> Callable[[Any], None]:
    """Make a function that changes one place in a program, or takes it away."""

    def apply(data: Any) -> None:
        *way, last = path
        for step in way:
            data = data[step]
        if to is ...:
            del data[last]
        else:
            data[last] = to

    return apply


WHEN = ("scopes", 0, "never", 0, "when")
GUARD = ("scopes", 0, "guards", 0)
WEIGHT = ("scopes", 0, "weights", 0)

DAMAGE: dict[str, Callable[[Any], None]] = {
    "an older version": change("schema", to="oomrules.program/0"),
    "a newer version": change("schema", to="oomrules.program/2"),
    "another schema": change("schema", to="oomrules.snapshot/1"),
    "a schema that is no text": change("schema", to=["oomrules.program/1"]),
    "no schema": change("schema"),
    "no scopes": change("scopes"),
    "no definitions": change("definitions"),
    "scopes that are a number": change("scopes", to=3),
    "scopes that are a text": change("scopes", to="abc"),
    "scopes that are nothing": change("scopes", to=None),
    "definitions that are a list": change("definitions", to=[]),
    "a scope that is a list": change("scopes", 0, to=[]),
    "a scope without targets": change("scopes", 0, "targets"),
    "targets that are a text": change("scopes", 0, "targets", to="a.slice"),
    "targets that are numbers": change("scopes", 0, "targets", to=[1]),
    "a scope without a score": change("scopes", 0, "score"),
    "a scope without weights": change("scopes", 0, "weights"),
    "a scope without nevers": change("scopes", 0, "never"),
    "nobody's score": change("scopes", 0, "score", to=None),
    "no scope at all": change("scopes", to=[]),
    "a score without a value": change("scopes", 0, "score", "value"),
    "a score without a place": change("scopes", 0, "score", "place"),
    "a rule without a condition": change(*WHEN),
    "a rule without a place": change("scopes", 0, "never", 0, "place"),
    "a rule without a text": change("scopes", 0, "never", 0, "text"),
    "a weight without a kind": change(*WEIGHT, "kind"),
    "a weight of another kind": change(*WEIGHT, "kind", to="never"),
    "a weight without a factor": change(*WEIGHT, "factor"),
    "a factor of one number": change(*WEIGHT, "factor", to=[2]),
    "a factor of three numbers": change(*WEIGHT, "factor", to=[2, 1, 1]),
    "a factor that is a number": change(*WEIGHT, "factor", to=2),
    "a factor that is a text": change(*WEIGHT, "factor", to="21"),
    "a factor of texts": change(*WEIGHT, "factor", to=["2", "1"]),
    "a factor of broken numbers": change(*WEIGHT, "factor", to=[2.5, 1]),
    "a factor of yes and no": change(*WEIGHT, "factor", to=[True, True]),
    "a factor of nothing": change(*WEIGHT, "factor", to=[0, 1]),
    "a factor over nothing": change(*WEIGHT, "factor", to=[1, 0]),
    "a negative factor": change(*WEIGHT, "factor", to=[-2, 1]),
    "an infinite factor": change(*WEIGHT, "factor", to=[float("inf"), 1]),
    "a factor that is no number": change(*WEIGHT, "factor", to=[float("nan"), 1]),
    "guards that are a number": change("scopes", 0, "guards", to=3),
    "guards that are a text": change("scopes", 0, "guards", to="kill"),
    "a guard that is a list": change(*GUARD, to=[]),
    "a guard without a condition": change(*GUARD, "when"),
    "a guard without a kind": change(*GUARD, "kind"),
    "a guard without a place": change(*GUARD, "place"),
    "a guard without a text": change(*GUARD, "text"),
    "a guard of another kind": change(*GUARD, "kind", to="never"),
    "a guard whose kind is a list": change(*GUARD, "kind", to=["kill"]),
    "a guard that lasts a text": change(*GUARD, "lasting", to="10s"),
    "a guard that lasts a broken number": change(*GUARD, "lasting", to=1.5),
    "a guard that lasts less than nothing": change(*GUARD, "lasting", to=-1),
    "a guard that lasts more than a week": change(*GUARD, "lasting", to=7 * 86_400_000 + 1),
    "a guard that lasts yes": change(*GUARD, "lasting", to=True),
    "a guard without end within": change(*GUARD, "within", to=None),
    "a guard within ages": change(*GUARD, "within", to=2**63),
    "a guard that stops a number": change(*GUARD, "stop", to=1),
    "a guard that stops nothing": change(*GUARD, "stop", to=None),
    "a guard about a process": change(*GUARD, "when", to=[">", ["attr", "rss"], ["number", 1]]),
    "a guard about a capability": change(*GUARD, "when", to=["cap", 17]),
    "a guard about an ancestor": change(*GUARD, "when", to=["under", ["and"]]),
    "a guard about a unit, in no block": change(
        *GUARD, "when", to=[">", ["attr", "scope.memory"], ["number", 1]]
    ),
    "a guard about a process, by a definition": change(*GUARD, "when", to=["name", "x"]),
    "a guard with a memory as its condition": change(*GUARD, "when", to=["attr", "host.free"]),
    "a definition of nothing": change("definitions", "x", to=None),
    "a definition of itself": change("definitions", "x", to=["name", "x"]),
    "definitions of each other": lambda data: data["definitions"].update(
        x=["not", ["name", "y"]], y=["or", ["name", "x"]]
    ),
    "an unknown definition": change(*WHEN, to=["name", "y"]),
    "a long chain of definitions": lambda data: data["definitions"].update(
        {"x": ["name", "d0"], "d9999": ["and"]}
        | {f"d{n}": ["not", ["name", f"d{n + 1}"]] for n in range(9999)}
    ),
}
NODES: dict[str, Any] = {
    "nothing": None,
    "a number": 5,
    "yes": True,
    "a text": "attr",
    "an object": {"attr": "nice"},
    "an empty list": [],
    "no kind": [["attr", "nice"]],
    "an unknown kind": ["xor", ["and"], ["and"]],
    "the kind that only the evaluator makes": ["unknown"],
    "too few operands": ["==", ["attr", "nice"]],
    "too many operands": ["==", ["attr", "nice"], ["number", 1], ["number", 2]],
    "an operand that is no node": ["==", ["attr", "nice"], 1],
    "an operand that is nothing": ["not", None],
    "an unknown attribute": ["==", ["attr", "niceness"], ["number", 1]],
    "an attribute that is a number": ["==", ["attr", 1], ["number", 1]],
    "an attribute behind the scenes": ["==", ["attr", "(memory limit)"], ["number", 1]],
    "yes for a number": ["==", ["attr", "nice"], ["number", True]],
    "a broken number": ["==", ["attr", "nice"], ["number", 1.0]],
    "a number in a text": ["==", ["attr", "nice"], ["number", "1"]],
    "no number": ["==", ["attr", "nice"], ["number", float("nan")]],
    "a share of nothing": [">", ["attr", "rss"], ["share", 1, 0]],
    "a negative share": [">", ["attr", "rss"], ["share", 1, -4]],
    "half a share": [">", ["attr", "rss"], ["share", 1]],
    "a capability by name": ["cap", "KILL"],
    "a negative capability": ["cap", -1],
    "a regular expression that is none": ["search", ["attr", "comm"], "("],
    "a regular expression beyond all limits": [
        "search",
        ["attr", "comm"],
        "a{99999999999999999999}",
    ],
    "a regular expression too deep": ["search", ["attr", "comm"], "(" * 20000 + ")" * 20000],
    "a glob that is a number": ["glob", ["attr", "comm"], 1],
    "a list of nothing": ["among", ["attr", "comm"]],
    "a list of numbers": ["among", ["attr", "comm"], "a", 1],
}
# Well formed, but of the wrong type: what would raise in the middle of a ranking.
MISTYPED: dict[str, Any] = {
    "a text compared with a number": ["<", ["attr", "comm"], ["number", 1]],
    "a sum of texts": ["==", ["+", ["attr", "comm"], ["number", 1]], ["number", 1]],
    "a root of a text": ["==", ["root", ["text", "a"]], ["number", 1]],
    "a negative text": ["==", ["negative", ["text", "a"]], ["number", 1]],
    "a glob over a number": ["glob", ["attr", "nice"], "1*"],
    "a search in a number": ["search", ["attr", "nice"], "1"],
    "a list over a number": ["among", ["attr", "nice"], "1"],
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_program_is_refused(case: str) -> None:
    data = copy.deepcopy(BASE)
    DAMAGE[case](data)
    with pytest.raises(Failure) as failure:
        program.loads(json.dumps(data))
    assert failure.value.hint and "compile" in failure.value.hint
    assert len(failure.value.message) < 300


@pytest.mark.parametrize("case", NODES)
def test_a_condition_that_is_none_is_refused_wherever_it_stands(case: str) -> None:
    for where in (WHEN, (*GUARD, "when"), ("definitions", "x"), ("scopes", 0, "score", "value")):
        data = copy.deepcopy(BASE)
        change(*where, to=NODES[case])(data)
        with pytest.raises(Failure):
            program.loads(json.dumps(data))


@pytest.mark.parametrize("case", MISTYPED)
def test_a_condition_that_would_fail_in_a_ranking_is_refused_before_it(case: str) -> None:
    data = copy.deepcopy(BASE)
    change(*WHEN, to=MISTYPED[case])(data)
    with pytest.raises(Failure):
        program.loads(json.dumps(data))


TEXTS = {
    "nothing": "",
    "half of it": json.dumps(BASE)[:200],
    "no JSON": "score rss",
    "a list": "[]",
    "nothing at all": "null",
    "a number": "3",
    "a number beyond reason": "9" * 100_000,
    "a deep list": "[" * 100_000,
    "two programs": json.dumps(BASE) * 2,
}


@pytest.mark.parametrize("case", TEXTS)
def test_what_is_no_program_is_refused(case: str) -> None:
    with pytest.raises(Failure) as failure:
        program.loads(TEXTS[case])
    assert failure.value.hint


@pytest.mark.parametrize("depth", [50, 150, 400, 900, 5_000])
@pytest.mark.parametrize("kind", ["not", "and", "root", "definition"])
def test_what_is_nested_deeply_is_refused_or_runs(kind: str, depth: int) -> None:
    data = copy.deepcopy(BASE)
    node: Any = ["number", 1] if kind == "root" else ["name", "x"]
    for _ in range(depth):
        node = [kind if kind != "definition" else "not", node]
    if kind == "definition":
        data["definitions"]["y"] = node
        node = ["name", "y"]
    change(*(("scopes", 0, "score", "value") if kind == "root" else WHEN), to=node)(data)
    try:
        made = program.loads(_dumps(data))
    except Failure:
        return
    Ranker(made, HOST.host).rank(HOST)


def _dumps(data: Any) -> str:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        return json.dumps(data)
    finally:
        sys.setrecursionlimit(limit)


HOST = recorded.parse(
    [
        '{"kind":"host","schema":"oomrules.snapshot/1","page_size":4096,"clock_ticks":100,'
        '"uptime":5000.25,"mem_total":8589934592}\n',
        '{"kind":"process","pid":7,"comm":"a","state":"S","flags":0,"nice":1,"utime":1,"stime":1,'
        '"starttime":1,"threads":1,"total_vm":100,"rss":50,"uid":0,"capabilities":"0"}\n',
    ],
    "host",
)


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing", None), ("binary", b"\xff\xfe\x00"), ("empty", b""), ("directory", "directory")],
)
def test_a_program_file_that_cannot_be_read_is_named(
    name: str, content: Any, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(Failure) as failure:
        program.load(str(path))
    if name != "empty":
        assert name in failure.value.message


# --- random damage -------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["and", "or", "not", "attr", "nice", "number", "share", "x", "==", "search", "("]
    )
)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
WHOLE = data_of(EVERYTHING)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the ways to everything in a JSON value."""
    below: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        below = list(data.items())
    elif isinstance(data, list):
        below = list(enumerate(data))
    return [path, *(way for key, value in below for way in places(value, (*path, key)))]


PLACES = places(WHOLE)[1:]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANY | st.just(...)), min_size=1, max_size=3))
def test_a_program_with_random_damage_is_refused_or_read(damage: list[tuple[Any, Any]]) -> None:
    data = copy.deepcopy(WHOLE)
    for path, value in damage:
        try:
            change(*path, to=value)(data)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    try:
        made = program.loads(json.dumps(data))
    except Failure:
        return
    assert program.loads(program.dumps(made)) == made


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ANY)
def test_a_random_value_is_no_program(value: Any) -> None:
    with pytest.raises(Failure):
        program.loads(json.dumps(value))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, len(json.dumps(WHOLE))), st.integers(0, 20), st.text(max_size=3))
def test_a_text_with_random_damage_is_refused_or_read(start: int, length: int, put: str) -> None:
    text = json.dumps(WHOLE)
    try:
        program.loads(text[:start] + put + text[start + length :])
    except Failure:
        pass


# --- bounds ---------------------------------------------------------------------------


def _with(when: Any, **definitions: Any) -> str:
    data = json.loads(json.dumps(WHOLE))
    data["definitions"] |= definitions
    data["scopes"][0]["never"] = [{"place": "a:1", "text": "a", "when": when}]
    return json.dumps(data)


_TOO_LARGE = {
    "a look around": ["search", ["attr", "comm"], "(?=a)b"],
    "a back reference": ["search", ["attr", "comm"], r"(a)\1"],
    "a large expression": ["search", ["attr", "comm"], "(a{1,1000}){1,1000}"],
    "a long expression": ["search", ["attr", "comm"], "a" * 4097],
    "a long glob": ["glob", ["attr", "comm"], "*a" * 2049],
    "a long glob in a list": ["among", ["attr", "comm"], "a", "*a" * 2049],
    "a wide number": ["==", ["attr", "nice"], ["number", 2**600]],
    "many parts": ["among", ["attr", "comm"], *["a"] * (program.MOST_PARTS + 1)],
    "deep nesting": functools.reduce(lambda node, _: ["not", node], range(5000), ["cap", 0]),
}


@pytest.mark.parametrize("case", _TOO_LARGE)
def test_what_no_rules_make_is_refused(case: str) -> None:
    when = _TOO_LARGE[case]
    sys.setrecursionlimit(20_000)
    try:
        text = _with(when)
    finally:
        sys.setrecursionlimit(1000)
    with pytest.raises(Failure, match=r"damaged|no JSON"):
        program.loads(text)


def test_definitions_upon_definitions_are_refused_where_they_go_too_deep() -> None:
    def chain(levels: int) -> dict[str, Any]:
        deep: dict[str, Any] = {"d0": ["cap", 0]}
        for number in range(1, levels):
            node: Any = ["name", f"d{number - 1}"]
            for _ in range(20):
                node = ["not", node]
            deep[f"d{number}"] = node
        return deep

    program.loads(_with(["name", "d5"], **chain(6)))
    with pytest.raises(Failure, match="too deep"):
        program.loads(_with(["name", "d20"], **chain(21)))


def test_a_program_file_is_read_up_to_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.json"
    path.write_text(json.dumps(WHOLE))
    assert program.load(str(path))
    monkeypatch.setattr(program, "_LARGEST", 100)
    with pytest.raises(Failure, match="longer than"):
        program.load(str(path))


# --- the wall ------------------------------------------------------------------------

RUN_TIME = """
import sys
sys.path.insert(0, sys.argv[1])
from oomrules.program import program
from oomrules.sinks import file
from oomrules.processes.procfs import ProcSource
from oomrules.ranking.ranker import Ranker

made = program.load(sys.argv[2])
source = ProcSource(made, descriptors=64)
ranker = Ranker(made, source.host)
for _ in range(2):
    ranking = ranker.rank(source.refresh())
source.verify(ranking.candidates[:64])
for process in ranking.candidates:
    ranking.verdict(process)
file.File(sys.argv[3]).write(ranking.pids)
print(*sys.modules)
"""


def run_time_half(rules: str, tmp_path: Path) -> tuple[set[str], str]:
    """Run the whole run-time half in a fresh interpreter; give its modules and its list."""
    path, list_ = tmp_path / "program.json", tmp_path / "list"
    path.write_text(program.dumps(compiled(rules)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN_TIME, CHECKOUT, str(path), str(list_)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()), list_.read_text()


def test_the_run_time_half_needs_nothing_beyond_the_standard_library(tmp_path: Path) -> None:
    modules, text = run_time_half(EVERYTHING, tmp_path)
    assert "oomrules.ranking.ranker" in modules
    foreign = {
        name
        for name in modules
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "oomrules", "__main__"}
    }
    assert foreign == set()
    assert text.endswith("\n")


def test_the_run_time_half_imports_nothing_of_the_other(tmp_path: Path) -> None:
    modules, _ = run_time_half(EVERYTHING, tmp_path)
    ours = {name for name in modules if name.partition(".")[0] == "oomrules"}
    ground = (
        "attributes",
        "clock",
        "errors",
        "fields",
        "files",
        "state_directory",
        "lean",
        "plain",
        "state",
        "targets",
    )
    allowed = {"oomrules", *(f"oomrules.{name}" for name in ground)}
    stages = {f"oomrules.{stage}" for stage in ("program", "processes", "ranking", "sinks")}
    assert {n for n in ours - allowed if n.rpartition(".")[0] not in stages} == stages


def test_the_list_of_the_run_time_half_holds_living_pids(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        _, text = run_time_half("score total_vm\n", tmp_path)
    finally:
        sleeper.kill()
        sleeper.wait()
    assert str(sleeper.pid) in text.split()
