"""Protection that a process can give itself.

A rule can ask a process for three kinds of properties. Root grants some of them: an id, a
capability, a unit of the system. The process chooses others: its name, its place below its
user's manager. Every process of a user has the rest, or can have them by being small. If a rule
protects, asks for a chosen property and for no granted one, any process can meet it at will.
An `only kill` protects all others, so that asks for a property that keeps a process out of it.
A `spare` only buys a discount, unless that is so large that the process is as good as last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any

from oomrules.attributes import ATTRIBUTES
from oomrules.language.diagnostics import Diagnostic
from oomrules.lint.meaning import Meaning, RuleMeaning
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.program import nodes
from oomrules.program.program import USER_UNIT
from oomrules.ranking.tiers import LAST
from oomrules.ranking.verdict import Verdict, Why
from oomrules.reason import Undecided, arithmetic, globs, variables
from oomrules.reason.arithmetic import mentioned
from oomrules.reason.globs import Texts
from oomrules.reason.numbers import Numbers, whole
from oomrules.reason.regions import Reasoner, meet
from oomrules.reason.variables import FALSE, TRUE, Box, Values, Variable, attribute
from oomrules.reason.witness import relatives
from oomrules.reason.witness.witness import Witness

# Properties that any process can change at will: its name (prctl(2), PR_SET_NAME), its command
# line (PR_SET_MM_ARG_START, or writing over it), a higher nice value, its number of threads. It
# starts any program that it may read, and then has that program's path. A program that
# daemonises has pid 1 as its parent.
_OF_ITSELF = {
    "comm": "its name",
    "cmdline": "its command line",
    "exe": "the program that it runs",
    "nice": "its nice value",
    "threads": "its number of threads",
    "tty": "its terminal",
    "session": "its session",
    "ppid": "its parent",
    **dict.fromkeys(
        ("parent.comm", "parent.exe", "parent.cmdline", "parent.uid", "parent.user"), "its parent"
    ),
    # Raising it is free (proc(5)).
    "oom_score_adj": "its oom_score_adj",
    # It can stop itself, or sleep uninterruptibly. Every user can make namespaces.
    "state": "its state",
    "pid_depth": "its pid namespace",
}
_UNIT_OF_USER = "the unit of its user that it is in"
_GROUP_OF_USER = "its control group below that of its user"
# A user who may log in can do so from this host itself (ssh localhost), and stay logged in.
_ANCESTORS = "its ancestors"
_LOGIN_FROM_AFAR = "a remote session of its user"
# A process can reach any value by waiting or by useless work, before it takes memory.
_GROWS = {
    "run_time": "how long it waits",
    "cpu_time": "how long it works",
    "user.processes": "how many processes its user has",
    "user.footprint": "how much the processes of its user hold",
}
_OF_USER = {"user.unit": _UNIT_OF_USER, "user.slice": _UNIT_OF_USER, "cgroup": _GROUP_OF_USER}
_IDS = ("uid", "euid", "gid", "egid")
_NAMES_OF_IDS = ("user", "group")

# An ordinary user that no rule names, and the control groups of such a user's processes.
_UID = 54321
_LOGIN = "qzx54321"
_SLICE = f"user-{_UID}.slice"
_UNITS = (f"user@{_UID}.service", "session-97531.scope", "session-c97531.scope")
_AROUND = ("-.slice", "user.slice", _SLICE, *_UNITS)
_HOME = f"/user.slice/{_SLICE}"
_PATHS = (
    f"{_HOME}/session-97531.scope",
    f"{_HOME}/user@{_UID}.service/init.scope",
    f"{_HOME}/user@{_UID}.service/app.slice/app-qzx-1.scope",
)
_WITHIN = (_PATHS[0], f"{_PATHS[0]}/*", f"{_HOME}/user@{_UID}.service/*")
# The properties of such units and sessions. A user's login may be of any type (pam_systemd(8),
# and SetType() of org.freedesktop.login1(5)), and one without a seat is always active.
_SAID = {
    "unit.description": (f"Session 97531 of User {_LOGIN}", f"User Manager for UID {_UID}"),
    "unit.active_state": ("active",),
    "unit.oom_policy": ("stop", "continue"),
    "unit.managed_oom_preference": ("none",),
    "unit.managed_oom_memory_pressure": ("auto", "kill"),
    "session.class": ("user", "background"),
    "session.type": ("tty", "x11", "wayland", "unspecified", ""),
}
# A rule that protects takes these only from a place that root has made, and what the runtime says
# of a container there is up to those who may talk to the runtime. A process outside of containers
# has empty ones, and no process is kept from being outside.
_OF_CONTAINER = frozenset(name for name in ATTRIBUTES if name.startswith(("container.", "pod.")))
# Texts in quotes, which are kept, and comments.
_COMMENTS = re.compile(r'("(?:\\"|[^"\n])*")|#[^\n]*')
# A limit on the processes of a unit is a bound only if it is at most this.
_FEW = 64


class _Granted(Exception):
    """A property that only root can grant."""


def _chosen(box: Box) -> set[str]:
    """Return what a process must choose to be in a box; empty if its choice is not enough."""
    found: set[str] = set()
    try:
        for variable, values in box.items():
            found |= _asked(variable, values)
        return set() if found and _bounded(box) else found
    except (_Granted, Undecided):
        return set()


def _asked(variable: Variable, values: Values) -> set[str]:
    """Return the properties that a process must choose to have these values.

    Raises:
        _Granted: only root can grant these values.
    """
    kind, key = variable
    holds = TRUE in values.others and FALSE not in values.others
    match kind:
        case "cap":
            return _unless(holds)
        case "kin":
            return _unless(holds and _are_granted(key[1])) or {_ANCESTORS}
        case "in":
            if variables.of_user(key):
                return {_UNIT_OF_USER}
            return _unless(not variables.named(key) or not any(nodes.glob(n, key) for n in _AROUND))
        case "unit":
            matched = [nodes.among(name, *key) for name in _UNITS]
            return _unless(not (any(matched) or "" in key) if holds else all(matched))
        case "search":
            return _searched(key[0], key[1], holds)
        case "text" if isinstance(values.known, Texts):
            return _text(key, values.known)
        case "number" if key[0] == "attr" and isinstance(values.known, Numbers):
            return _number(key[1], values.known)
        case "flag" if key == "session.remote" and holds:
            return {_LOGIN_FROM_AFAR}
        case "number" | "order" | "share":
            return {_OF_ITSELF[name] for name in mentioned(key) if name in _OF_ITSELF}
    return set()


def _are_granted(condition: Any) -> bool:
    """Return whether only root can start a process that satisfies a condition, or in doubt.

    A process that starts others is chosen like a name. To have no such ancestor takes nothing: a
    process that daemonises has none but pid 1.
    """
    node = relatives.as_node(condition)
    try:
        region = Reasoner({}).holds(node)
        for box in region:
            with suppress(_Granted):
                for variable, values in box.items():
                    _asked(variable, values)
                return False
    except Undecided:
        return True
    return True


def _unless(granted: bool) -> set[str]:
    if granted:
        raise _Granted
    return set()


def _text(name: str, known: Texts) -> set[str]:
    if name == "state" and any(usual in known for usual in ("R", "S")):
        return set()
    if name == "parent.user":
        # Pid 1, which adopts, is root's.
        _unless("root" not in known and _LOGIN not in known)
    if name in _OF_ITSELF:
        return {_OF_ITSELF[name]}
    if name in _NAMES_OF_IDS:
        # The author of the rule means the named account; users cannot choose their names.
        return _unless(_LOGIN not in known)
    if name == "unit":
        return _unless(not any(unit in known for unit in _UNITS))
    if name == "slice":
        return _unless(_SLICE not in known)
    if name == "cgroup":
        _unless(not known & globs.matching(_WITHIN))
        return set() if all(path in known for path in _PATHS) else {_GROUP_OF_USER}
    if name in _OF_CONTAINER:
        return _unless("" not in known)
    if name in _SAID:
        return _unless(not any(text in known for text in _SAID[name]))
    return {_OF_USER[name]} if name in _OF_USER else set()


def _number(name: str, known: Numbers) -> set[str]:
    if name in _IDS:
        people = known & whole(1000)
        return _unless(not people or bool(people.few))
    if name == "parent.uid":
        people = known & whole(1000)
        _unless(0 not in known and (not people or bool(people.few)))
    if name in _OF_CONTAINER:
        return _unless(0 not in known)
    if name in _GROWS:
        return set() if known & whole(0, 0) else {_GROWS[name]}
    if name in ("nice", "oom_score_adj", "unit.oom_score_adjust"):
        # Lowering these below 0 takes a privilege.
        _unless(not known & whole(0))
    if name in ("oom_score_adj", "pid_depth") and 0 in known:
        return set()
    return {_OF_ITSELF[name]} if name in _OF_ITSELF else set()


def _searched(name: str, pattern: str, holds: bool) -> set[str]:
    if name in _OF_ITSELF or name in ("user.unit", "user.slice"):
        return {_OF_ITSELF.get(name, _UNIT_OF_USER)}
    usual = {
        "cgroup": _PATHS,
        "unit": _UNITS,
        "slice": (_SLICE,),
        **dict.fromkeys(_NAMES_OF_IDS, (_LOGIN,)),
        **dict.fromkeys(_OF_CONTAINER, ("",)),
        **_SAID,
    }.get(name, ())
    found = [nodes.search(text, pattern) for text in usual]
    if name == "cgroup" and holds and not any(found):
        # Users choose the path below their managers, so the path must begin there.
        _unless(pattern.startswith("^/") and not pattern.startswith("^/user"))
        return {_GROUP_OF_USER}
    return _unless(holds not in found) if usual else set()


def _bounded(box: Box) -> bool:
    """Return whether only a few small processes of each user can be in a box.

    That needs a bound on the size, a bound on the number of processes in the unit, and a unit
    that each user has only once.
    """
    number = box.get(attribute("unit.processes"))
    if number is None or _greatest(number) > _FEW:
        return False
    bounded = (key for (kind, key), v in box.items() if kind == "number" and _greatest(v) < inf)
    if not any(map(arithmetic.is_memory, bounded)):
        return False
    named = any(
        kind == "in" and variables.of_user(key) and not nodes.is_glob(key) for kind, key in box
    )
    root = box.get(Variable("text", "user.slice"))
    return named and root is not None and root.known == globs.literal("")


def _greatest(values: Values) -> float:
    if not isinstance(values.known, Numbers) or not values.known:
        return inf
    end = values.known.spans[-1][1]
    return inf if isinstance(end, tuple) else float(end)


# From this factor on a hog of 64 GiB has the points of one of 256 MiB.
_HIDES = 256
_DISCOUNT = 8
_CAN = {
    "never": "protect itself",
    "last": "put itself last",
    "spare": "hide behind nearly all others (points divided by {times})",
}
# The processes of ordinary users.
_ORDINARY_USERS: Box = {attribute(name): Values(whole(1000, 60_000)) for name in ("uid", "euid")}


def _self_made(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for rule in meaning.of("never", "last", "spare"):
        if rule.kind == "spare" and 1 / rule.factor < _HIDES:
            continue
        for box in rule.effect.sure or []:
            names = _chosen(box)

            def confirms(witness: Witness, verdict: Verdict, rule: RuleMeaning = rule) -> bool:
                return _protects(rule, verdict) and meaning.has_effect(witness, rule.effect)

            witness = _of_a_user(meaning, box, confirms) if names else None
            if witness:
                can = _CAN[rule.kind].format(times=1 / rule.factor)
                yield SELF_MADE.at(
                    rule.stated.source,
                    rule.stated.statement.selector.span,
                    f"any process can {can} with this: it chooses {' and '.join(sorted(names))}",
                    _better(rule, box),
                    witness=witness,
                )
                break


def _of_a_user(
    meaning: Meaning, box: Box, confirms: Callable[[Witness, Verdict], bool]
) -> dict[str, Any] | None:
    """Return a process of an ordinary user in a box that confirms a finding."""
    theirs = meet(box, _ORDINARY_USERS)
    return None if theirs is None else meaning.witness([theirs], confirms)


def _protects(rule: RuleMeaning, verdict: Verdict) -> bool:
    match rule.kind:
        case "never":
            return verdict.why is Why.NEVER
        case "last":
            return verdict.candidate and verdict.tier == LAST
    return verdict.candidate


def _self_left_out(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for targets, level in meaning.effects.levels().items():
        rule = meaning.first_of(level)
        try:
            out = meaning.effects.shut_out(targets, level)
        except Undecided:
            meaning.reasoner.undecided += 1
            continue
        for box in out:
            # No process is niced by itself, and none can take it back.
            names = _chosen(box) - {_OF_ITSELF["nice"]}
            witness = (
                _of_a_user(meaning, box, lambda _, verdict: verdict.why is Why.OUTSIDE)
                if names
                else None
            )
            if witness:
                said = _said(rule)
                yield SELF_MADE.at(
                    rule.stated.source,
                    rule.stated.statement.selector.span,
                    "any process can get out of this `only kill`, and is then never killed: it "
                    f"chooses {' and '.join(sorted(names))}",
                    'say whose processes may be killed, as in `only kill user "anna"`, or write '
                    f"`kill first {said}`, which lets no process hide",
                    witness=witness,
                )
                break


def _said(rule: RuleMeaning) -> str:
    """Return the selector of a rule on one line, without comments."""
    source, selector = rule.stated.source, rule.stated.statement.selector
    written = source.text[selector.span.start : selector.span.end].replace("\\\n", " ")
    return " ".join(_COMMENTS.sub(lambda part: part[1] or "", written).split())


def _better(rule: RuleMeaning, box: Box) -> str:
    """Return a proposal: a rule that also names the user, or one that gives only a discount."""
    said = _said(rule)
    asks = said.removeprefix("anything").strip()
    root = meet(box, {attribute("uid"): Values(whole(0, 0))})
    whose = "uid 0" if root is not None and not _is_of_user(box) else 'user "anna"'
    also = f"{rule.words} {whose} {asks}".strip()
    spare = f"spare {said}"
    if rule.kind == "spare":
        factor = rule.stated.statement.factor
        also += f" by {factor.written}" if factor else ""
        spare += f" by {_DISCOUNT}"
    return (
        f"say also whose it is, as in `{also}`, or write `{spare}`, which buys a discount "
        "and no hiding place"
    )


def _is_of_user(box: Box) -> bool:
    return any(
        (kind == "in" and key.startswith(USER_UNIT)) or (kind == "text" and key in _OF_USER)
        for kind, key in box
    )


def _given_to_itself(rules: RuleSet) -> Iterator[Diagnostic]:
    yield from _self_made(rules)
    yield from _self_left_out(rules)


SELF_MADE = Check(
    "OOM531", "a protection that a process can give itself", _given_to_itself, whole=True
)
CHECKS = (SELF_MADE,)
