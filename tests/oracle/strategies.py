"""Rule sets and hosts to try the language on.

Rules come out as text and are right by construction. The pools of names, ids, units and
amounts are small and shared with the processes, so that most rules match something.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from oomrules.language.text import RuleText

settings.register_profile(
    "oomrules",
    deadline=None,
    database=None,
    derandomize=not os.environ.get("OOMRULES_EXPLORE"),
    max_examples=int(os.environ.get("OOMRULES_EXPLORE") or 100),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# The settings of every property test: the same examples each time, so that a run says
# something about the change at hand. OOMRULES_EXPLORE=5000 looks for new ones.
thorough = settings.get_profile("oomrules")

Object = dict[str, Any]
Texts = st.SearchStrategy[str]

# --- the pools ---------------------------------------------------------------------------

MANAGER = "/user.slice/user-1000.slice/user@1000.service"
ID = "0a1b2c3d4e5f6071" * 4
POD = "0123-4567"
CONTAINERS = (
    f"/system.slice/docker-{ID}.scope",
    f"/system.slice/docker-{ID}.scope/lxc.payload.inner",
    f"/docker/{ID}/init.scope",
    f"/work/{ID}",
    f"/machine.slice/libpod-{ID}.scope/container",
    f"/machine.slice/libpod-conmon-{ID}.scope",
    f"/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope",
    f"/libpod_parent/{ID}/libpod-{ID}",
    f"/system.slice/nginx.service/libpod-payload-{ID}",
    f"{MANAGER}/user.slice/libpod-{ID}.scope/container",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123_4567.slice/"
    f"cri-containerd-{ID}.scope",
    f"/kubepods.slice/kubepods-pod0123_4567.slice/crio-{ID}.scope",
    f"/kubepods/besteffort/pod{POD}/{ID}",
    f"/kubepods/pod{POD}",
    f"/system.slice/x.service/kubepods-podab.slice/y/a.slice:cri-containerd:{ID}",
    "/lxc.payload.web/system.slice/nginx.service",
    "/lxc/101/ns",
    "/machine.slice/machine-one.scope/payload",
    "/machine.slice/machine-one.scope/supervisor",
)
CGROUPS = (
    "/",
    "/init.scope",
    "/system.slice",
    "/system.slice/nginx.service",
    "/system.slice/nginx.service/worker",
    "/system.slice/system-postgresql.slice/postgresql@15-main.service",
    "/system.slice/docker-0a1b.scope/system.slice/nginx.service",
    "/system.slice/_odd.service",
    "/system.slice/_cpu.service",
    "/user.slice/user-1000.slice/session-2.scope",
    f"{MANAGER}/init.scope",
    f"{MANAGER}/app.slice",
    f"{MANAGER}/app.slice/app-x.scope",
    f"{MANAGER}/app.slice/app-x.scope/tab.service",
    f"{MANAGER}/app.slice/app-build.slice/app-make@7.service",
    f"{MANAGER}/app.slice/nginx.service",
    f"{MANAGER}/session.slice/user@1001.service/app.slice",
    MANAGER,
    "/machine.slice/web.slice/machine-web.scope/payload",
    "/docker/0a1b/nginx.service",
)
TARGETS = (
    "-.slice",
    "system.slice",
    "user.slice",
    "nginx.service",
    "postgresql@*.service",
    "system-*.slice",
    "user@*.service",
    "user-1000.slice",
    "app.slice",
    "app-*.scope",
    "app-?.scope",
    "app-*",
    "*.scope",
    "*.slice",
    "*",
    "machine.slice",
    "odd.service",
    "[!u]*.slice",
    "user unit app.slice",
    "user unit app-*.scope",
    "user unit app-?.scope",
    "user unit *.scope",
    "user unit *",
    "user unit -.slice",
    "user unit init.scope",
    "user unit nginx.service",
)
COMMS = ("sshd", "nginx", "postgres", "redis-server", "make", "cc1plus", "(sd-pam)", "a b", "é[x]")
USERS = {"0": "root", "33": "www-data", "1000": "build", "1001": "ann"}
GROUPS = {"0": "root", "33": "www-data", "1000": "build", "100": "users"}
CAPABILITIES = ("RAWIO", "SYS_RAWIO", "CAP_SYS_ADMIN", "SYS_ADMIN", "NET_ADMIN", "CHOWN", "BPF")

# The texts that an attribute is likely to have, for the right side of a comparison.
_TEXTS_OF: dict[str, tuple[str, ...]] = {
    "comm": COMMS,
    "cmdline": ("nginx: worker", "make -j8", "", "/usr/sbin/sshd -D"),
    "exe": ("/usr/sbin/sshd", "/usr/bin/make", "/usr/sbin/nginx"),
    "user": (*USERS.values(), "65534"),
    "group": tuple(GROUPS.values()),
    "state": ("R", "S", "D"),
    "tty": ("", "pts/3", "tty1"),
    "cgroup": CGROUPS,
    "unit": ("nginx.service", "user@1000.service", "app.slice", "", "init.scope", "odd.service"),
    "slice": ("-.slice", "app.slice", "system.slice", "user-1000.slice", "app-build.slice"),
    "user.unit": ("nginx.service", "app-x.scope", "app.slice", "", "init.scope"),
    "user.slice": ("", "app.slice", "app-build.slice", "user-1000.slice"),
    "unit.oom_policy": ("stop", "continue", "kill"),
    "unit.active_state": ("active", "activating"),
    "unit.description": ("A web server", ""),
    "session.class": ("user", "greeter"),
    "parent.comm": (*COMMS, ""),
    "parent.cmdline": ("nginx: worker", "make -j8", ""),
    "parent.exe": ("/usr/sbin/sshd", "/usr/bin/make", ""),
    "parent.user": ("root", "build", "ann", ""),
    "container.id": ("", ID, "web"),
    "container.runtime": ("", "docker", "podman", "lxc", "cri-o"),
    "container.name": ("", "web", "101", "one"),
    "container.image": ("", "nginx:1"),
    "pod.uid": ("", POD, ID),
    "pod.qos": ("", "Guaranteed", "Burstable"),
    "pod.name": ("", "shop-0"),
    "pod.namespace": ("", "default"),
}
_GLOBS = (
    "*",
    "?*",
    "s*d",
    "*nginx*",
    "post*",
    "[np]*",
    "[!a-m]*",
    "a?b*",
    "*\\[x]",
    "app-*",
    "*/*",
)
_REGEXES = ("^s", "nginx|make", "e$", r"\d", r"^$", "r.*e", r"\[x\]", r"app-.\.scope")

# Amounts in pages and in bytes; the edges are those of a page, of a limit and of nothing.
_PAGES = (0, 1, 2, 3, 16, 1000, 3853, 65_536, 2**24, 2**40)
_BYTES = (0, 1, 4095, 4096, 4097, 69_632, 2**20, 2**29, 2**33)
_TICKS = (0, 1, 99, 819, 820, 81_920, 500_000, 2**40)


def _one_of(*texts: str) -> Texts:
    return st.sampled_from(texts)


def _joined(*parts: Texts | str) -> Texts:
    """Put texts side by side, a space between them."""
    strategies = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*strategies).map(" ".join)


def _quoted(texts: Texts) -> Texts:
    return texts.map(lambda text: '"' + text.replace('"', '\\"') + '"')


# --- expressions -------------------------------------------------------------------------


class Vocabulary(NamedTuple):
    """What a rule set defines, so that its rules can use it."""

    conditions: tuple[str, ...]
    lists: tuple[str, ...]
    # Whether there is a block around.
    block: bool = False


_COUNT_NAMES = _one_of(
    "nice",
    "threads",
    "oom_score_adj",
    "pid_depth",
    "unit.processes",
    "user.processes",
    "cgroup.processes",
    "unit.oom_kills",
    "unit.oom_score_adjust",
    "pod.priority",
)
_DURATION_NAMES = _one_of("cpu_time", "run_time")
# A percentage beside one of these alone is the share of what the host has of it.
_OF_HOST = ("host.available", "host.free", "host.shmem", "host.swap_free")
_MEMORY_NAMES = _one_of(
    *("total_vm", "total_vm", "rss", "rss", "swap", "anon", "shmem", "locked", "pgtables"),
    *("unit.memory", "unit.memory_max", "unit.memory_high", "unit.swap"),
    *("footprint", "footprint", "totalpages", "growth", "user.footprint"),
    *("unit.memory_min", "unit.memory_low", "cgroup.memory", "cgroup.memory_max"),
    "totalpages",
)
_HOST_NAMES = _one_of("host.memory", "host.swap", "host.totalpages", *_OF_HOST)
_IDS = _one_of("uid", "euid", "gid", "egid", "parent.uid")
_COUNTS = _one_of("0", "1", "2", "7", "19", "1_000", "4096")
_MEMORIES = _one_of(
    *("0B", "1B", "4KiB", "5000B", "64KiB", "16MiB", "1.5GiB", "4PiB", "8191B", "12288B")
)
_DURATIONS = _one_of(
    *("0s", "8192ms", "1s", "1024s", "0.5s", "10min", "1h", "3d", "2w"),
    *("1h23min", "1d12h30min", "8s192ms"),
)
_SHARES = _one_of("0%", "1%", "12.5%", "25%", "33.3%", "100%", "150%")
_ORDERS = _one_of("==", "!=", "<", "<=", ">", ">=")
_EQUALITIES = _one_of("==", "!=")


def _bracketed(expression: Texts) -> Texts:
    return expression.map(lambda text: f"({text})" if " " in text else text)


def _sums(operands: Texts, minuend: Texts) -> Texts:
    return _joined(operands, _one_of("+", "-"), minuend)


def _extremes(first: Texts, others: Texts) -> Texts:
    """`max` and `min` of two or three; the order of the arguments is any."""
    more = st.lists(others, min_size=1, max_size=2)
    given = st.tuples(first, more).flatmap(lambda all_: st.permutations([all_[0], *all_[1]]))
    return st.tuples(_one_of("max", "min"), given.map(", ".join)).map(
        lambda said: f"{said[0]}({said[1]})"
    )


@cache
def counts(depth: int) -> Texts:
    """Expressions whose type is a plain number."""
    leaves = _COUNT_NAMES | _COUNTS
    if not depth:
        return leaves
    deeper = counts(depth - 1)
    return st.one_of(
        leaves,
        _sums(deeper, _bracketed(deeper)),
        _joined(_bracketed(deeper), _one_of("*", "/"), _bracketed(deeper)),
        _joined("-", _bracketed(deeper)),
        deeper.map(lambda text: f"root({text})"),
        _extremes(deeper, deeper),
        *(
            _joined(_bracketed(amounts(depth - 1)), "/", _bracketed(amounts(depth - 1)))
            for amounts in (memories, durations)
        ),
    )


def _amounts(depth: int, leaves: Texts, again: Callable[[int], Texts], beside: Texts) -> Texts:
    if not depth:
        return leaves
    deeper, numbers = _bracketed(again(depth - 1)), _bracketed(counts(depth - 1))
    return st.one_of(
        leaves,
        _sums(again(depth - 1), beside | deeper),
        _joined(deeper, _one_of("*", "/"), numbers),
        _joined(numbers, "*", deeper),
        _joined("-", deeper),
        _extremes(again(depth - 1), again(depth - 1) | beside),
    )


@cache
def memories(depth: int) -> Texts:
    """Expressions whose type is memory."""
    return _amounts(depth, _MEMORY_NAMES | _MEMORIES, memories, _SHARES)


@cache
def durations(depth: int) -> Texts:
    """Expressions whose type is a duration."""
    return _amounts(depth, _DURATION_NAMES | _DURATIONS, durations, _DURATIONS)


@cache
def comparisons(names: Vocabulary, depth: int) -> Texts:
    """Conditions without ``and``, ``or`` or ``not``."""
    ids = _one_of("0", "33", "1000")
    choices = [
        _joined(counts(depth), _ORDERS, counts(depth)),
        _joined(memories(depth), _ORDERS, memories(depth)),
        _joined(memories(depth), _ORDERS, _SHARES),
        _joined(_SHARES, _ORDERS, memories(depth)),
        _joined(durations(depth), _ORDERS, durations(depth)),
        _joined(_IDS, _ORDERS, ids | _IDS),
        _joined(_one_of(*_OF_HOST), _ORDERS, _SHARES),
        _joined(_SHARES, _ORDERS, _one_of(*_OF_HOST)),
        _joined(_HOST_NAMES, _ORDERS, _HOST_NAMES | _MEMORIES | _MEMORY_NAMES),
        _joined(_HOST_NAMES, _one_of("+", "-"), _HOST_NAMES, _ORDERS, _MEMORIES),
        _joined(
            _one_of("unit.pressure", "host.pressure", "host.stall"),
            _ORDERS,
            _one_of("0%", "12.5%", "99.99%"),
        ),
        _one_of(*CAPABILITIES).map(lambda name: f"cap({name})"),
        _texts_compared(),
        _one_of("session.active", "session.remote", *names.conditions),
    ]
    if names.lists:
        choices.append(_joined(_one_of(*_TEXTS_OF), "in", _one_of(*names.lists).map("@{}".format)))
    return st.one_of(choices)


@cache
@st.composite
def _texts_compared(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(tuple(_TEXTS_OF)))
    if draw(st.booleans()):
        return f'{name} ~ "{draw(st.sampled_from(_REGEXES))}"'
    return f"{name} {draw(_EQUALITIES)} {draw(_quoted(st.sampled_from(_TEXTS_OF[name])))}"


@cache
def conditions(names: Vocabulary, depth: int = 2) -> Texts:
    """Conditions of any kind."""
    simple = comparisons(names, min(depth, 1))
    if not depth:
        return simple
    deeper = conditions(names, depth - 1)
    return st.one_of(
        simple,
        _joined(deeper, _one_of("and", "or"), deeper),
        _joined("not", _bracketed(deeper)),
        _joined(_bracketed(simple), _EQUALITIES, _bracketed(simple)),
        _bracketed(deeper),
        _terms(names),
        _joined("not", _terms(names)),
    )


# --- selectors and statements ------------------------------------------------------------


@cache
@st.composite
def _terms(draw: st.DrawFn, names: Vocabulary) -> str:
    kinds = ["text", "text", "number", "yes or no"] + ["list"] * bool(names.lists)
    match draw(st.sampled_from(kinds)):
        case "text":
            name = draw(st.sampled_from(tuple(_TEXTS_OF)))
            texts = st.sampled_from(_TEXTS_OF[name]) | st.sampled_from(_GLOBS)
            return f"{name} {draw(_quoted(texts))}"
        case "number":
            return draw(
                _joined(_IDS, _one_of("0", "33", "1000"))
                | _joined("oom_score_adj", _one_of("-1000", "0", "500"))
                | _joined("nice", _one_of("0", "19", "-20"))
                | _joined(_MEMORY_NAMES, _MEMORIES | _SHARES)
                | _joined(_DURATION_NAMES, _DURATIONS)
            )
        case "list":
            return draw(_joined(_one_of(*_TEXTS_OF), _one_of(*names.lists).map("@{}".format)))
    return draw(_one_of("session.active", "session.remote", *names.conditions))


@cache
@st.composite
def selectors(draw: st.DrawFn, names: Vocabulary) -> str:
    """Selectors of any kind; the short ones match most."""
    terms = draw(st.lists(_terms(names), max_size=2)) or ["anything"]
    if draw(st.integers(0, 3)) == 0:
        terms = [draw(_chosen(names))]
    clauses = []
    if draw(st.integers(0, 3)) == 0:
        held = ", ".join(draw(st.lists(st.sampled_from(CAPABILITIES), min_size=1, max_size=3)))
        clauses.append(f"{draw(_one_of('with', 'with any of', 'without'))} {held}")
    if draw(st.integers(0, 3)) == 0:
        clauses.append(draw(_relatives(names)))
    if draw(st.booleans()):
        clauses.append(f"when {draw(conditions(names))}")
    elif names.block and draw(st.booleans()):
        clauses.append(f"when {draw(_of_block())}")
    if clauses and " or " in terms[0]:
        # Without brackets a reader may take it in two ways.
        terms = [f"({terms[0]})"]
    return " ".join([*terms, *clauses])


@cache
@st.composite
def _relatives(draw: st.DrawFn, names: Vocabulary) -> str:
    """Clauses about the parent or any ancestor."""
    terms = draw(st.lists(_terms(names), min_size=1, max_size=2))
    words = draw(_one_of("under", "under", "child of", "not under", "not child of"))
    return " ".join([words, *terms])


@cache
def _of_block() -> Texts:
    """Conditions about the unit of the innermost block."""
    memory = _one_of(
        *("scope.memory", "scope.memory_max", "scope.memory_high", "scope.swap", "scope.footprint")
    )
    return st.one_of(
        _joined(memory, _ORDERS, _MEMORIES | _MEMORY_NAMES),
        _joined(_one_of("scope.oom_kills", "scope.processes"), _ORDERS, _COUNTS),
        _joined(_one_of("scope.pressure", "scope.stall"), _ORDERS, _one_of("0%", "12.5%")),
    )


def _item(condition: str) -> str:
    """Write a condition as an item of a selector, which begins with a name or a bracket."""
    alone = condition[0].isalpha() and not re.search(" (and|or) ", condition)
    return condition if alone else f"({condition})"


@cache
@st.composite
def _chosen(draw: st.DrawFn, names: Vocabulary) -> str:
    """Terms and comparisons side by side and joined by words, some behind `not`."""
    any_ = _terms(names) | conditions(names, 1).map(_item)
    items = draw(st.lists(any_, min_size=1, max_size=3))
    said = ""
    for number, item in enumerate(items):
        word = draw(_one_of(" ", " and ", " or ")) if number else ""
        # A bracket behind a name would begin the arguments of a function.
        word = " and " if word == " " and item.startswith("(") else word
        said += word + draw(_one_of("", "", "not ")) + item
    return said


# --- rule sets ---------------------------------------------------------------------------


class Stated(NamedTuple):
    """A statement, the blocks around it and the level of the directory it is in."""

    targets: tuple[str, ...]
    text: str
    level: int = 0


RuleSet = tuple[Stated, ...]

_STARTS = ("kill first", "kill last", *["prefer", "spare"] * 3, "never kill", "only kill")
_FACTORS = _one_of("", "", " by 1", " by 2", " by 3", " by 1.5", " by 8", " by 100")
_DEGREES = _one_of("", "", " by 1", " by 2", " by 3", " by 1_000")
# Targets inside one another: the usual way, the other way round, and such that stand
# equally deep.
_NESTED = (
    *(
        ("user.slice",),
        ("app-*.scope",),
        ("user unit app-*.scope",),
        ("user.slice", "app-*.scope"),
        ("app-*.scope", "user.slice"),
        ("user.slice", "user unit app-*.scope"),
        ("user unit app-*.scope", "user.slice"),
    ),
    *(("*",), ("*", "*.scope"), ("*.slice",), ("-.slice", "app-?.scope"), ("*.slice", "*.slice")),
    *(("system.slice", "nginx.service"), ("nginx.service",), ("nginx.service", "system.slice")),
    *(("machine.slice", "nginx.service"), ("user@*.service",), ("app.slice", "user@*.service")),
    *(("user unit app.slice", "user@*.service"), ("user unit *.slice", "user unit *.slice")),
)
_BLOCKS = st.sampled_from(_NESTED) | st.lists(st.sampled_from(TARGETS), max_size=3).map(tuple)
_AROUND = st.just(()) | _BLOCKS


# --- guards ------------------------------------------------------------------------------

_PERCENTAGES = _one_of("0%", "0.01%", "12.5%", "40%", "99.99%", "100%")
_SCOPE_MEMORIES = _one_of(
    *("scope.memory", "scope.memory_max", "scope.memory_high", "scope.swap", "scope.footprint")
)


@cache
def _guarded(block: bool, words: tuple[str, ...]) -> Texts:
    """Conditions about the host, and in a block about its unit, without a word between."""
    memory = _HOST_NAMES | _SCOPE_MEMORIES if block else _HOST_NAMES
    sums = _joined(memory, _one_of("+", "-"), memory)
    parts = _joined(memory, _one_of("*", "/"), _COUNTS)
    amounts = memory | sums | parts | _extremes(memory, _MEMORIES)
    choices = [
        *[_joined(_one_of(*_OF_HOST), _ORDERS, _SHARES)] * 3,
        _joined(_SHARES, _ORDERS, _one_of(*_OF_HOST)),
        _joined(amounts, _ORDERS, _MEMORIES | memory),
        _joined(_one_of("host.memory", "host.swap"), _MEMORIES),
        _joined(_bracketed(sums), "/", _one_of("1MiB", "4KiB", "host.memory"), _ORDERS, _COUNTS),
        *[_joined(_one_of("host.stall", "host.pressure"), _ORDERS, _PERCENTAGES)] * 2,
    ]
    if words:
        choices.append(_one_of(*words))
    if block:
        choices += [
            *[_joined(_SCOPE_MEMORIES, _ORDERS, _SHARES | _MEMORIES)] * 2,
            _joined(_one_of("scope.oom_kills", "scope.processes"), _ORDERS, _COUNTS),
            _joined(_one_of("scope.stall", "scope.pressure"), _ORDERS, _PERCENTAGES),
            _joined("scope.memory", "-", "scope.footprint", _ORDERS, _SHARES | _MEMORIES),
        ]
    return st.one_of(choices)


@cache
def guarded(block: bool, words: tuple[str, ...] = (), depth: int = 2) -> Texts:
    """Conditions of guards, of any kind."""
    simple = _guarded(block, words)
    if not depth:
        return simple
    deeper = guarded(block, words, depth - 1)
    return st.one_of(
        simple,
        simple,
        _joined(deeper, _one_of("and", "or"), deeper),
        _joined("not", _bracketed(deeper)),
        _bracketed(deeper),
    )


_LASTING = _one_of("1ms", "0.5s", "1s", "10s", "20s", "1min30s", "1h", "1w")


@cache
@st.composite
def guard_sentences(draw: st.DrawFn, block: bool, words: tuple[str, ...] = ()) -> str:
    """Single guards; their clauses stand in any order."""
    action = draw(_one_of("kill", "terminate", "warn"))
    clauses = [f"for {draw(_LASTING)}"] if draw(st.booleans()) else []
    if action == "terminate" and draw(st.booleans()):
        clauses.append(f"within {draw(_LASTING)}")
    if action != "warn" and draw(st.integers(0, 3)) == 0:
        clauses.append("then stop")
    condition = draw(guarded(block, words))
    return " ".join([f"{action} when {condition}", *draw(st.permutations(clauses))])


@st.composite
def guard_sets(draw: st.DrawFn, most: int = 4) -> RuleSet:
    """Guards, in blocks and outside, and definitions that they use."""
    words = tuple(f"short{number}" for number in range(draw(st.integers(0, 2))))
    stated = [Stated((), f"define {word} = {draw(guarded(False, (), 1))}") for word in words]
    for around in draw(st.lists(st.just(()) | _BLOCKS, max_size=most)):
        stated.append(Stated(around, draw(guard_sentences(bool(around), words))))
    return tuple(stated)


# --- rules -------------------------------------------------------------------------------


@cache
def rules(names: Vocabulary) -> Texts:
    """Single rules."""

    def sentence(start: str) -> Texts:
        factors = st.just("")
        if start in ("prefer", "spare"):
            factors = _FACTORS
        elif start in ("kill first", "kill last"):
            factors = _DEGREES
        return st.tuples(st.just(start + " "), selectors(names), factors).map("".join)

    return st.sampled_from(_STARTS).flatmap(sentence)


@cache
def scores() -> Texts:
    """Base measures of badness; most of them give points."""
    measures = _one_of(
        "total_vm",
        "rss",
        "rss + swap + pgtables",
        "footprint",
        "footprint + totalpages / 1000 * oom_score_adj",
        "total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))",
        "1000 + nice",
        "rss - 25%",
        "run_time",
        "1000 - oom_score_adj",
    )
    wild = memories(2) | counts(2) | durations(1)
    return st.one_of(measures, measures, measures, wild).map("score {}".format)


@st.composite
def rule_sets(
    draw: st.DrawFn,
    starts: Sequence[str] = (),
    most: int = 8,
    wholes: bool = False,
    guards: bool = False,
) -> RuleSet:
    """Well-typed rule sets; definitions and scores come from up to three directories."""
    levels = st.integers(0, 2)
    stated: list[Stated] = []
    lists = draw(st.integers(0, 2))
    list_names = tuple(f"list{number}" for number in range(lists))
    for name in list_names:
        for level in draw(st.sets(levels, min_size=1, max_size=2)):
            pool = st.sampled_from(COMMS) | st.sampled_from(_GLOBS) | st.sampled_from(CGROUPS)
            items = draw(st.lists(_quoted(pool), min_size=1, max_size=3))
            stated.append(Stated((), f"list {name} = {', '.join(items)}", level))
    names = Vocabulary((), list_names)
    for number in range(draw(st.integers(0, 3))):
        for level in sorted(draw(st.sets(levels, min_size=1, max_size=2))):
            condition = draw(conditions(names, 1))
            stated.append(Stated((), f"define word{number} = {condition}", level))
        names = Vocabulary((*names.conditions, f"word{number}"), list_names)
    where = st.tuples(_AROUND, levels)
    for around, level in draw(st.lists(where, max_size=4, unique=True)):
        stated.append(Stated(around, draw(scores()), level))
    sentences = _AROUND.flatmap(
        lambda around: st.tuples(st.just(around), rules(names._replace(block=bool(around))), levels)
    )
    for around, text, level in draw(st.lists(sentences, max_size=most)):
        stated.append(Stated(around, text, level))
    units = draw(whole_units()) if wholes else ()
    return (*stated, *units, *(draw(guard_sets()) if guards else ()))


@st.composite
def whole_units(draw: st.DrawFn) -> RuleSet:
    """Statements that units are killed as a whole, in blocks and outside."""
    around = st.just(()) | st.just(()) | _BLOCKS
    meant = st.lists(st.tuples(around, st.sampled_from(TARGETS)), max_size=3)
    return tuple(Stated(blocks, f"kill whole {written(target)}") for blocks, target in draw(meant))


_PLAIN = (
    *("anything", "anything", "anything with RAWIO", "uid 0", 'comm "s*"'),
    *("anything when nice > 0", "anything when rss > 64KiB"),
)


@st.composite
def scoped_rule_sets(draw: st.DrawFn) -> RuleSet:
    """Plain rules and scores in blocks; what differs is where they hold."""
    around = draw(st.lists(_BLOCKS, max_size=5, unique=True))
    stated = [Stated(one, f"score {draw(st.integers(0, 9))}") for one in around]
    starts = st.sampled_from((*_STARTS, "only kill"))
    sentences = st.tuples(_BLOCKS, starts, st.sampled_from(_PLAIN))
    for blocks, start, selector in draw(st.lists(sentences, max_size=5)):
        degree = draw(_DEGREES) if start in ("kill first", "kill last") else ""
        stated.append(Stated(blocks, f"{start} {selector}{degree}"))
    return tuple(stated)


def texts(rule_set: Iterable[Stated], name: str = "rules") -> list[RuleText]:
    """Write a rule set as files, one for each level; neighbours share their blocks."""
    by_level: dict[int, list[str]] = {}
    open_blocks: dict[int, tuple[str, ...]] = {}
    for targets, text, level in rule_set:
        lines = by_level.setdefault(level, [])
        around = open_blocks.get(level, ())
        if around != targets or not around:
            lines += ["}"] * len(around)
            lines += [f"in {written(target)} {{" for target in targets]
            open_blocks[level] = targets
        lines.append(text)
    for level, around in open_blocks.items():
        by_level[level] += ["}"] * len(around)
    return [
        RuleText(f"{level}/{name}.oom", "\n".join(lines) + "\n", level)
        for level, lines in by_level.items()
    ]


def written(target: str) -> str:
    """Write a target as a rule file has it."""
    name = target.removeprefix("user unit ")
    return f'{"user unit " if name != target else ""}"{name}"'


# --- hosts -------------------------------------------------------------------------------

_FIELDS: dict[str, Sequence[Any]] = {
    "ppid": (0, 1, 2, 77),
    "comm": COMMS,
    "cmdline": ([], ["nginx:", "worker"], ["make", "-j8"], ["sleep"]),
    "exe": _TEXTS_OF["exe"],
    "uid": (0, 33, 1000, 1001, 65_534),
    "euid": (0, 33, 1000),
    "gid": (0, 33, 100, 1000),
    "egid": (0, 33, 1000),
    "capabilities": (
        *("0", "0000000000020000", "200000", "220000"),
        *("000001ffffffffff", "1000", "8000000000"),
    ),
    "nice": (0, 0, -20, -1, 1, 19),
    "utime": _TICKS,
    "stime": _TICKS,
    "starttime": (0, 99, 100, 4567, 499_999, 2**40),
    "threads": (1, 2, 100),
    "state": (*"SRDT" * 7, "Z", "X"),
    "flags": (*[0, 4_194_560] * 14, 4_194_560 | 4, 2_129_984),
    "total_vm": (*_PAGES[1:] * 3, 0),
    "rss": _PAGES,
    "swap": _PAGES,
    "anon": _BYTES,
    "shmem": _BYTES,
    "locked": _BYTES,
    "pgtables": _BYTES,
    "growth": (*_BYTES, None),
    "oom_score_adj": (0, 0, -1000, -17, 500, 1000),
    "pid_depth": (0, 0, 0, 1, 2),
    "cgroup": (*CGROUPS, None, *CONTAINERS),
    "tty_nr": (0, 1025, 34_819, 1_088),
    "session": (0, 1, 77),
}
FIELDS_POOL = _FIELDS
ATTRIBUTES = tuple(_FIELDS)

# What a runtime may have said, wherever the process is.
_SAID: tuple[Object, ...] = (
    {},
    {"container": {"name": "web", "image": "nginx:1"}},
    {"container": {"name": "", "runtime": "docker"}, "pod": {"priority": 7}},
    {
        "container": {"id": "false", "name": "app", "image": None, "runtime": "cri-o"},
        "pod": {"name": "shop-0", "namespace": "default", "priority": -1, "uid": "false"},
    },
)
_PIDS = st.sampled_from((*range(70, 90), 812, 4_194_303, 1)) | st.integers(2, 4_194_304)


Pools = Mapping[str, Sequence[Any]]


def _rows(pools: Pools, count: int) -> list[Object]:
    """Mix the pools at random, the same way each time; the first row is the plainest."""
    rng = random.Random(12)
    plain = {name: pool[0] for name, pool in pools.items()}
    mixed = [{name: rng.choice(pool) for name, pool in pools.items()} for _ in range(count)]
    return [plain, *mixed]


# What most rules ask for is drawn for each process; the rest comes a row at a time, since
# a hundred draws for each process would make the tests ten times slower.
_PROCESS_ROWS = st.sampled_from(_rows(_FIELDS, 100))
_DRAWN = st.fixed_dictionaries(
    {
        name: st.sampled_from(_FIELDS[name])
        for name in (
            "comm",
            "uid",
            "capabilities",
            "nice",
            "starttime",
            "total_vm",
            "rss",
            "cgroup",
        )
    }
)


@st.composite
def _processes(draw: st.DrawFn, pid: int) -> Object:
    process = {**draw(_PROCESS_ROWS), **draw(_DRAWN)}
    for name in draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=3)):
        if pid % 2:
            process[name] = None
        else:
            process.pop(name, None)
    self_made = draw(_OWN_DOING)
    if self_made:
        process |= {**dict.fromkeys(self_made), "self_made": self_made}
    said = draw(st.sampled_from(_SAID))
    return {"kind": "process", "pid": pid, **process, **draw(_OWN), **draw(_CHARGED), **said}


# What a process makes unknown by itself.
_OWN_DOING = st.sampled_from(
    (
        *[[]] * 8,
        *(["cmdline"], ["exe"], ["cmdline", "exe"], ["anon"], ["swap"], ["growth"]),
        *(["pgtables", "swap"], ["locked", "shmem"]),
    )
)
_OWN = st.sampled_from((*[{}] * 30, {"self": True}))
# On v1, memory may be charged to another group than the one that systemd knows.
_CHARGED = st.sampled_from(
    (*[{}] * 8, *({"memory_cgroup": path} for path in ("/system.slice", "/docker/0a1b", "/", None)))
)

_LIMITS = (None, 0, 4096, 5000, 2**20, 2**30, 2**63 - 1)
_PROPERTIES: dict[str, Sequence[Any]] = {
    "OOMPolicy": ("stop", "continue", None),
    "ActiveState": ("active", "activating"),
    "Description": ("A web server", ""),
    "OOMScoreAdjust": (0, -900, 500, None),
}
_SESSIONS: tuple[dict[str, Any] | None, ...] = (
    *(None, {}, {}, {}, {"active": True, "remote": False, "class": "user"}),
    *({"active": False, "remote": True, "class": "greeter"}, {"active": None, "class": "user"}),
)
_SCOPES: dict[str, Sequence[Any]] = {
    "memory": (None, *_BYTES),
    "memory_max": _LIMITS,
    "memory_high": _LIMITS,
    "swap_max": _LIMITS,
    "memory_min": (None, *_BYTES, 2**63 - 1),
    "memory_low": (None, *_BYTES, 2**63 - 1),
    "swap": (None, *_BYTES),
    "pressure": (None, 0.0, 0.07, 12.5, 33.33, 99.99, 100.0),
    "stall": (None, 0.0, 12.5),
    "oom_kills": (None, 0, 3),
    "unreadable": ([], [], ["memory_max"], ["memory_high"], ["swap_max"]),
    "properties": (None, {}, *_rows(_PROPERTIES, 10)),
    "session": _SESSIONS,
}
_SCOPE_ROWS = st.sampled_from(_rows(_SCOPES, 60))


def _groups_above(processes: Iterable[Object]) -> list[str]:
    """List the control groups of processes, and all those above them."""
    paths = {"/"}
    for process in processes:
        for key in ("cgroup", "memory_cgroup"):
            cgroup = process.get(key) or "/"
            while cgroup.strip("/"):
                paths.add(cgroup)
                cgroup = cgroup.rpartition("/")[0]
    return sorted(paths, key=len, reverse=True)


_HOSTS = st.fixed_dictionaries(
    {
        "kind": st.just("host"),
        "schema": st.just("oomrules.snapshot/1"),
        "time": st.just("2026-01-01T00:00:00Z"),
        "kernel": st.just("6.1.0"),
        "page_size": st.sampled_from((4096, 4096, 65_536)),
        "clock_ticks": st.sampled_from((100, 100, 250, 1024)),
        "uptime": st.sampled_from((0, 0.99, 5000.25, 1_048_576.0, 10**9)),
        "mem_total": st.sampled_from((0, 2**20, 8_589_934_592, 2**40 + 1)),
        "swap_total": st.sampled_from((0, 0, 2**20, 2**33)),
        **{
            key: st.sampled_from((None, 0, 4095, 2**20, 2**32 + 1))
            for key in ("available", "free", "swap_free", "shmem")
        },
        "hugetlb": st.sampled_from((None, 0, 2**20)),
        "swappiness": st.sampled_from((None, 60, 60, 0)),
        "pressure": st.sampled_from((None, 0.0, 12.5, 99.99)),
        "stall": st.sampled_from((None, 0.0, 12.5, 100.0)),
        "users": st.sampled_from((USERS, USERS, None, {}, {"0": "toor"})),
        "groups": st.sampled_from((GROUPS, None)),
        "unit_root": st.sampled_from((*[""] * 8, "/system.slice/docker-0a1b.scope", "/user.slice")),
    }
)


@st.composite
def hosts(draw: st.DrawFn, most: int = 6) -> list[Object]:
    """Snapshots as the objects on their lines: the host, its control groups, its processes."""
    pids = draw(st.lists(_PIDS, min_size=min(3, most), max_size=most, unique=True))
    processes = [draw(_processes(pid)) for pid in pids]
    # Each below one of the others, or none of them; some in a circle.
    parents = st.sampled_from((*pids, *pids, 0, 1, 77))
    for process in processes:
        if process.get("ppid") is not None:
            process["ppid"] = draw(parents)
    above = st.sampled_from(_groups_above(processes))
    scopes = [
        {"kind": "scope", "cgroup": path, **draw(_SCOPE_ROWS)}
        for path in draw(st.lists(above, max_size=5, unique=True))
    ]
    return [draw(_HOSTS), *scopes, *processes]


def lines(objects: Iterable[Object]) -> list[str]:
    """Write a snapshot as JSON Lines."""
    return [json.dumps(line) for line in objects]
