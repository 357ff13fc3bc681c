"""A slow second opinion: the language's meaning, written from the design alone.

It takes what the parser gives and plain snapshot objects (dicts, as JSON has them), and
evaluates each process from nothing with exact fractions: no program, no caches, nothing
prepared. It shares with the package the parser, the syntax tree and nothing else.

An unknown value is ``None`` everywhere, and conditions are true, false or unknown. What is
unknown by the doing of the process itself is ``Doing.ITS_OWN``: to a rule that protects it is no
reason for anything, neither that a condition holds nor that its opposite does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import combinations
from math import floor, isqrt
from typing import Any, NamedTuple

from oomrules.language import parser, syntax
from oomrules.language.text import RuleText


class Doing(Enum):
    """Whose doing it is that a value is unknown, where it is somebody's."""

    ITS_OWN = "of the process, or of its user"


Object = Mapping[str, Any]
Targets = tuple[str, ...]
Truth = bool | Doing | None

NO_LIMIT = 2**63 - 1

_BYTES = {f"{prefix}iB": 1 << 10 * power for power, prefix in enumerate("KMGTP", 1)} | {"B": 1}
_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "min": 60 * 1000,
    "h": 60 * 60 * 1000,
    "d": 24 * 60 * 60 * 1000,
    "w": 7 * 24 * 60 * 60 * 1000,
}

# The capabilities that the tests use, from include/uapi/linux/capability.h.
_CAPABILITY_BITS = {
    "CHOWN": 0,
    "KILL": 5,
    "NET_ADMIN": 12,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "BPF": 39,
}
_SHORT_CAPABILITIES = {"RAWIO": "SYS_RAWIO", "PTRACE": "SYS_PTRACE", "RESOURCE": "SYS_RESOURCE"}

# Where no score is in force: badness() of Linux 2.6.10.
_BUILT_IN = RuleText(
    "built-in", "score total_vm / root(cpu_time / 8192ms) / root(root(run_time / 1024s))"
)


class Value(NamedTuple):
    """What an expression is worth.

    Memory is in pages, durations in milliseconds, ``unit.pressure`` in percent. ``alone`` is
    the exact number of bytes of a quantity that stands by itself, such as ``512MiB``; of a
    share, such as ``25%``, it is unknown where the limit is. ``percent`` is a share as written.
    ``whole`` is what it is the share of beside this value, in bytes, where that is not the limit;
    unknown where there is nothing of that.
    """

    kind: str
    worth: Any
    alone: Fraction | None = None
    percent: Fraction | None = None
    whole: Any = Doing.ITS_OWN


# --- where a process stands ------------------------------------------------------------


class Place(NamedTuple):
    """The units around a process, and the control group of the innermost.

    The first ``system`` units of the chain are the system's, the rest those of a user.
    """

    chain: tuple[str, ...]
    path: str
    system: int

    @property
    def of_system(self) -> tuple[str, ...]:
        """The system's units, outermost first."""
        return self.chain[: self.system]

    @property
    def of_user(self) -> tuple[str, ...]:
        """The units of a user's manager, outermost first."""
        return self.chain[self.system :]


def place(cgroup: str, root: str = "") -> Place:
    """Find the units around a control group, outermost first.

    They begin below the group that systemd itself was started in; what is elsewhere is in none.
    """
    begin = [component for component in root.split("/") if component]
    components = [component for component in cgroup.split("/") if component]
    if components[: len(begin)] != begin:
        return Place(("-.slice",), "/" + "/".join(begin), 1)
    components = components[len(begin) :]
    chain: list[str] = []
    # One turn for the system's units, and one more for each user's manager on the way.
    taken = 0
    managers: list[int] = []
    while True:
        while taken < len(components) and _unit_name(components[taken]).endswith(".slice"):
            chain.append(_unit_name(components[taken]))
            taken += 1
        if taken < len(components) and _is_unit(_unit_name(components[taken])):
            chain.append(_unit_name(components[taken]))
            taken += 1
            if not managers and re.fullmatch(r"user@\d+\.service", chain[-1]):
                managers.append(1 + len(chain))
                continue
        # Units that lie deeper count for nothing.
        taken = min(taken, 31)
        system = min(managers[0] if managers else 1 + len(chain), 1 + taken)
        path = "/" + "/".join((*begin, *components[:taken]))
        return Place(("-.slice", *chain[:taken]), path, system)


_FILES_OF_THE_KERNEL = "notify_on_release release_agent tasks".split()
_CONTROLLERS = (
    "blkio cpu cpuacct cpuset debug devices dmem freezer hugetlb io memory misc net_cls net_prio "
    "perf_event pids rdma cgroup"
).split()


def _unit_name(component: str) -> str:
    bare = component[1:]
    mistaken = (
        bare.startswith((".", "_"))
        or bare in _FILES_OF_THE_KERNEL
        or any(bare.startswith(f"{controller}.") for controller in _CONTROLLERS)
    )
    return bare if component.startswith("_") and mistaken else component


def _is_unit(name: str) -> bool:
    return re.search(r"\.(service|scope|socket|mount|swap)\Z", name) is not None


# --- containers --------------------------------------------------------------------------


class Around(NamedTuple):
    """What the path of a control group tells of a container and a pod."""

    id: str = ""
    runtime: str = ""
    pod: str = ""
    qos: str = ""
    in_a_service: bool = False


_HEX = "[0-9a-f]" * 64
# Names of groups that tell of a container, with ID or NAME in them.
_CONTAINERS = {
    "docker-ID.scope": "docker",
    **dict.fromkeys(("libpod-ID.scope", "libpod-ID", "libpod-payload-ID"), "podman"),
    **dict.fromkeys(("crio-ID.scope", "crio-ID"), "cri-o"),
    **dict.fromkeys(("cri-containerd-ID.scope", "nerdctl-ID.scope"), "containerd"),
}
_QOS = {"burstable": "Burstable", "besteffort": "BestEffort"}


def container(cgroup: str, root: str = "") -> Around:
    """Find the outermost container around a control group, and the pod around that."""
    below = cgroup[len(root) :] if cgroup.startswith(f"{root}/") else cgroup
    groups = [group for group in below.split("/") if group]
    pod = qos = ""
    in_a_service = False
    for depth, group in enumerate(groups):
        found = _pod_of(group, groups[:depth])
        if not pod and found:
            pod, qos = found
        runtime, identity = _container_of(group, groups[:depth], groups[depth + 1 : depth + 2])
        if identity:
            return Around(identity, runtime, pod, qos, in_a_service)
        in_a_service |= _is_unit(group) and not group.endswith(".slice")
    return Around("", "", pod, qos, in_a_service)


def _container_of(group: str, above: list[str], next_: list[str]) -> tuple[str, str]:
    for shape, runtime in _CONTAINERS.items():
        before, _, after = shape.partition("ID")
        if fnmatchcase(group, f"{before}{_HEX}{after}"):
            return runtime, group[len(before) :][:64]
    if fnmatchcase(group, f"*:cri-containerd:{_HEX}"):
        return "containerd", group[-64:]
    if fnmatchcase(group, _HEX):
        if above[-1:] == ["libpod_parent"]:
            return "", ""
        return "docker" if {"docker", "ecs"} & {*above} else "", group
    if group.startswith("lxc.payload.") and group != "lxc.payload.":
        return "lxc", group.removeprefix("lxc.payload.")
    if above in (["lxc"], ["lxc.payload"]):
        return "lxc", group
    if fnmatchcase(group, "machine-?*.scope") and next_ != ["supervisor"]:
        name = group.removeprefix("machine-").removesuffix(".scope").replace("\\x2d", "-")
        # libvirt's are called by the driver and a number first; virtual machines are none.
        driver, *rest = name.split("-", 2)
        if driver == "qemu":
            return "", ""
        return ("lxc", rest[1]) if driver == "lxc" and len(rest) == 2 else ("nspawn", name)
    if fnmatchcase(group, "systemd-nspawn@?*.service") and next_ == ["payload"]:
        return "nspawn", group.partition("@")[2].removesuffix(".service")
    return "", ""


def _pod_of(group: str, above: list[str]) -> tuple[str, str] | None:
    """Tell uid and class of a pod by the group that it has."""
    # A runtime that does not use systemd takes the name of the slice with more behind it.
    group = group.partition(":")[0]
    slice_ = group.removesuffix(".slice")
    if "kubepods" in group and group.endswith(".slice") and "-pod" in slice_:
        kind, _, uid = slice_.partition("kubepods")[2].partition("-pod")
        return uid.replace("_", "-"), _QOS[kind[1:]] if kind else "Guaranteed"
    if group.startswith("pod") and "kubepods" in above:
        kind = above[-1]
        return group.removeprefix("pod"), _QOS.get(kind, "Guaranteed")
    if fnmatchcase(group, f"machine-libpod_pod_{_HEX}.slice"):
        return slice_.rpartition("_")[2], ""
    if above[-1:] == ["libpod_parent"] and fnmatchcase(group, _HEX):
        return group, ""
    return None


# --- conditions --------------------------------------------------------------------------


class Grounds(NamedTuple):
    """Whether there are grounds to take a condition for true, and for false.

    What is known gives grounds for one, what is unknown for both, what the process made unknown
    for neither.
    """

    true: bool
    false: bool


def grounds(truth: Truth) -> Grounds:
    """Say what a truth value gives grounds for."""
    if truth is None or truth is Doing.ITS_OWN:
        return Grounds(truth is None, truth is None)
    return Grounds(truth is True, truth is False)


def _truth(found: Grounds) -> Truth:
    if found.true and found.false:
        return None
    return True if found.true else False if found.false else Doing.ITS_OWN


def negation(truth: Truth) -> Truth:
    """What was ground for one is ground for the other."""
    found = grounds(truth)
    return _truth(Grounds(found.false, found.true))


def conjunction(truths: Iterable[Truth]) -> Truth:
    """True on the grounds of all, false on those of one."""
    found = [grounds(truth) for truth in truths]
    return _truth(Grounds(all(one.true for one in found), any(one.false for one in found)))


def disjunction(truths: Iterable[Truth]) -> Truth:
    """True on the grounds of one, false on those of all."""
    return negation(conjunction(negation(truth) for truth in truths))


def _known(*values: Any) -> bool:
    return not any(value is None or value is Doing.ITS_OWN for value in values)


def _unknown(*values: Any) -> Any:
    """What comes of unknown values: a doubt that is nobody's doing weighs more."""
    return None if any(value is None for value in values) else Doing.ITS_OWN


_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Stated:
    """A statement with the blocks around it."""

    targets: Targets
    statement: syntax.Statement
    level: int


@dataclass
class Rules:
    """A rule set, sorted by what its statements are."""

    rules: list[tuple[Targets, syntax.Rule]] = field(default_factory=list)
    scores: dict[Targets, syntax.Expression] = field(default_factory=dict)
    definitions: dict[str, syntax.Expression] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    wholes: list[tuple[Targets, str]] = field(default_factory=list)
    guards: list[tuple[Targets, syntax.Guard]] = field(default_factory=list)


def read(sources: Iterable[RuleText]) -> Rules:
    """Read rule files that are known to be right."""
    stated: list[Stated] = []
    for source in sources:
        statements, diagnostics = parser.parse(source)
        assert not diagnostics, diagnostics
        stated += _stated(statements, (), source.level)
    built_in, _ = parser.parse(_BUILT_IN)
    stated += _stated(built_in, (), max((one.level for one in stated), default=0) + 1)
    rules = Rules()
    # From the lowest directory to the highest, so that what is written last is in force.
    for one in sorted(stated, key=lambda one: -one.level):
        match one.statement:
            case syntax.Rule():
                rules.rules.append((one.targets, one.statement))
            case syntax.Score(expression=expression):
                rules.scores[one.targets] = expression
            case syntax.Define(name=name, condition=condition):
                rules.definitions[name.name] = condition
            case syntax.ListOf(name=name, items=items):
                rules.lists[name.name] = [item.value for item in items]
            case syntax.Whole(target=target):
                rules.wholes.append((one.targets, _named(target)))
            case syntax.Guard() as guard:
                rules.guards.append((one.targets, guard))
    return rules


def _stated(
    statements: Iterable[syntax.Statement], around: Targets, level: int
) -> Iterable[Stated]:
    for statement in statements:
        if isinstance(statement, syntax.Block):
            around_it = (*around, _named(statement.target))
            yield from _stated(statement.statements, around_it, level)
        else:
            yield Stated(around, statement, level)


def _named(target: syntax.Target) -> str:
    name, relation = target.unit.value, target.relation
    assert relation in (syntax.Relation.NAMED, syntax.Relation.OF_USER)
    return f"user unit {name}" if relation is syntax.Relation.OF_USER else name


# --- the host ----------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A snapshot as plain data."""

    host: Object
    scopes: Mapping[str, Object]
    processes: Sequence[Object]

    @property
    def page(self) -> int:
        """The page size in bytes."""
        return int(self.host["page_size"])


def world(objects: Iterable[Object]) -> World:
    """Sort the lines of a snapshot by what they are."""
    objects = list(objects)
    scopes = {line["cgroup"]: line for line in objects if line["kind"] == "scope"}
    processes = [line for line in objects if line["kind"] == "process"]
    return World(objects[0], scopes, processes)


_TEXTS = {"comm", "exe", "state", "cgroup"}
_COUNTS = {"nice", "threads", "oom_score_adj", "pid_depth"}
_IDS = {"pid", "ppid", "uid", "euid", "gid", "egid", "session"}
_IN_PAGES = {"total_vm", "rss", "swap"}
_IN_BYTES = {"anon", "shmem", "locked", "pgtables"}
_UNIT_BYTES = {
    *("unit.memory", "unit.memory_max", "unit.memory_high", "unit.swap"),
    *("unit.memory_min", "unit.memory_low"),
}
_UNIT_TEXTS = {
    "unit.description": "Description",
    "unit.active_state": "ActiveState",
    "unit.oom_policy": "OOMPolicy",
    "unit.managed_oom_preference": "ManagedOOMPreference",
    "unit.managed_oom_memory_pressure": "ManagedOOMMemoryPressure",
}
_UNIT_COUNTS = {"unit.oom_kills": "oom_kills", "unit.oom_score_adjust": "OOMScoreAdjust"}


class Reader:
    """Reads expressions for one process, in the blocks of ``within``."""

    def __init__(
        self,
        rules: Rules,
        world: World,
        process: Object,
        asks: str = "a rule that protects",
        within: Targets = (),
    ) -> None:
        self.within = within
        self.rules = rules
        self.asks = asks
        self.world = world
        self.process = process
        cgroup = process.get("cgroup")
        self.root = world.host.get("unit_root") or ""
        self.place = None if cgroup is None else place(cgroup, self.root)

    # --- attributes

    def attribute(self, name: str) -> Value | None:
        """Give an attribute; None if there is none of that name."""
        if name.startswith("parent."):
            return self._of_parent(name.removeprefix("parent."))
        if name.startswith("scope."):
            return self._of_block(name.removeprefix("scope."))
        raw, page = self._raw(name), self.world.page
        if name in _TEXTS:
            return Value("text", raw)
        if name in _COUNTS:
            return Value("number", raw)
        if name in _IDS:
            return Value("number", raw)
        if name in _IN_PAGES:
            return Value("memory", raw)
        if name in _IN_BYTES:
            return Value("memory", raw // page if _known(raw) else raw)
        if name == "growth":
            return Value("memory", raw // page if _known(raw) else raw)
        if name in ("user.footprint", "user.processes"):
            return self._of_user(name.removeprefix("user."))
        if name.startswith("cgroup."):
            return self._of_its_group(name.removeprefix("cgroup."))
        if name == "footprint":
            return Value("memory", self._footprint(self.process))
        if name == "totalpages":
            total = self._totalpages()
            return Value(
                "memory", self._of_its_own_doing(total) if self._in_a_users_unit() else total
            )
        if name.startswith("host."):
            return self._of_host(name.removeprefix("host."))
        if name == "unit.processes":
            return Value("number", self._processes())
        if name.startswith("unit."):
            return self._of_unit(name)
        if name.startswith("session."):
            return self._of_session(name.removeprefix("session."))
        if name.startswith(("container.", "pod.")):
            return self._of_container(name)
        match name:
            case "cmdline":
                words = _first_bytes(" ".join(raw), 4096) if _known(raw) else raw
                return Value("text", words)
            case "user":
                return Value("text", self._named("users", "uid"))
            case "group":
                return Value("text", self._named("groups", "gid"))
            case "tty":
                return Value("text", _terminal(self.process.get("tty_nr")))
            case "cpu_time":
                return Value("duration", self._cpu_time())
            case "run_time":
                return Value("duration", self._run_time())
            case "unit":
                named = self.place and ["", *self.place.of_system[1:]]
                return Value("text", named and named[-1])
            case "slice":
                slices = self.place and [u for u in self.place.of_system if u.endswith(".slice")]
                return Value("text", slices and slices[-1])
            case "user.unit":
                named = self.place and ["", *self.place.of_user]
                return Value("text", named and named[-1])
            case "user.slice":
                slices = self.place and [
                    "",
                    *(u for u in self.place.of_user if u.endswith(".slice")),
                ]
                return Value("text", slices and slices[-1])
        return None

    def _footprint(self, process: Object) -> Any:
        """What a process holds: resident, swapped out, and in page tables."""
        parts = [self._raw(name, process) for name in ("rss", "swap", "pgtables")]
        if not _known(*parts):
            return _unknown(*parts)
        rss, swap, tables = parts
        return rss + swap + tables // self.world.page

    def _of_user(self, name: str) -> Value:
        """The sum over the processes that have memory and the same real user."""
        kind, uid = "memory" if name == "footprint" else "number", self.process.get("uid")
        same = [
            other
            for other in self.world.processes
            if other.get("total_vm") != 0 and other.get("uid") == uid
        ]
        if uid is None:
            return Value(kind, None)
        if name == "processes":
            return Value(kind, len(same))
        # What one hides by its own doing leaves its resident memory.
        held = [
            other.get("rss") if self._hides_its_footprint(other) else self._footprint(other)
            for other in same
        ]
        return Value(kind, None if None in held else sum(held))

    def _hides_its_footprint(self, process: Object) -> bool:
        hidden = process.get("self_made") or ()
        parts = [name for name in ("rss", "swap", "pgtables") if process.get(name) is None]
        return bool(parts) and all(name in hidden for name in parts)

    def _of_its_group(self, name: str) -> Value:
        """A figure of the group that its memory is charged to.

        The groups below a unit are made by whoever the unit is delegated to, who can see to it
        that nothing is told of them.
        """
        path = self.process.get("memory_cgroup", self.process.get("cgroup"))
        if name == "processes":
            return Value("number", None if path is None else self._number_in(path))
        scope = self.world.scopes.get(path)
        amount = None if scope is None else _figure(scope, name)
        told = None if amount is None else amount // self.world.page
        below = path is not None and place(path, self.root).path != path
        if below or self._in_a_users_unit():
            told = self._of_its_own_doing(told)
        return Value("memory", told)

    def _number_in(self, path: str) -> int:
        """How many have their memory in a group or below it."""
        own = path.rstrip("/") + "/"
        groups = [
            other.get("memory_cgroup", other.get("cgroup"))
            for other in self.world.processes
            if other.get("total_vm") != 0
        ]
        return sum(f"{group.rstrip('/')}/".startswith(own) for group in groups if group is not None)

    def _of_host(self, name: str) -> Value:
        host, page = self.world.host, self.world.page
        swap, huge = host.get("swap_total") or 0, host.get("hugetlb")
        memory = None if huge is None else max(0, host["mem_total"] - huge)
        match name:
            case "totalpages":
                return Value("memory", (host["mem_total"] + swap) // page)
            case "memory":
                return Value("memory", memory if memory is None else memory // page)
            case "swap":
                return Value("memory", swap // page)
            case "pressure" | "stall":
                told = host.get(name)
                return Value("percentage", None if told is None else Fraction(str(told)))
        amount = host.get(name)
        pages = None if amount is None else amount // page
        whole = swap if name == "swap_free" else memory
        # Shares count whole pages of it, too.
        return Value("memory", pages, whole=(whole // page * page or None) if whole else None)

    def _totalpages(self) -> int | None:
        """The nearest limit below the RAM, with the swap that goes with it; else RAM and swap."""
        host, page = self.world.host, self.world.page
        swap = host.get("swap_total") or 0
        for scope in self._around_its_memory():
            limit = None if scope is None else _figure(scope, "memory_max")
            if scope is None or limit is None:
                return None
            if limit < min(NO_LIMIT, host["mem_total"]):
                # A group that is never to be swapped has no swap.
                swaps = scope.get("swappiness", host.get("swappiness")) != 0
                most = _figure(scope, "swap_max") if swaps else 0
                return None if most is None else max(1, (limit + min(most, swap)) // page)
        return int((host["mem_total"] + swap) // page)

    def _around_its_memory(self) -> list[Object | None]:
        """The groups that its memory is charged to, as far as they are told; None: not known."""
        cgroup = self.process.get("memory_cgroup", self.process.get("cgroup"))
        if cgroup is None:
            return [None]
        components = [component for component in cgroup.split("/") if component]
        paths = ["/" + "/".join(components[:end]) for end in range(len(components), -1, -1)]
        return [self.world.scopes[path] for path in paths if path in self.world.scopes]

    def _processes(self) -> int | None:
        """Count who is in the control group of the unit or below it, and has memory."""
        if self.place is None:
            return None
        own = self.place.path.rstrip("/") + "/"
        return sum(
            f"{other['cgroup'].rstrip('/')}/".startswith(own)
            for other in self.world.processes
            if other.get("cgroup") is not None and other.get("total_vm") != 0
        )

    def _raw(self, name: str, process: Object | None = None) -> Any:
        process = self.process if process is None else process
        if name in (process.get("self_made") or ()):
            return self._of_its_own_doing(None)
        return process.get(name)

    def _of_its_own_doing(self, told: Any) -> Any:
        """What a value is of which the process or its user can make that it is unknown."""
        doubted = told is None and self.asks in ("a rule that protects", "a score")
        return Doing.ITS_OWN if doubted else told

    def _in_a_users_unit(self) -> bool:
        chain = self.place.chain if self.place else ()
        return any(re.fullmatch(r"user@\d+\.service", unit) for unit in chain[:-1])

    def _cpu_time(self) -> int | None:
        user, system = self.process.get("utime"), self.process.get("stime")
        if user is None or system is None:
            return None
        return int((user + system) * 1000 // self.world.host["clock_ticks"])

    def _run_time(self) -> int | None:
        start = self.process.get("starttime")
        if start is None:
            return None
        started = start // self.world.host["clock_ticks"]
        return int(max(0, floor(self.world.host["uptime"]) - started) * 1000)

    def _named(self, names: str, key: str) -> str | None:
        number = self.process.get(key)
        if number is None:
            return None
        named: Mapping[str, str] | None = self.world.host.get(names)
        if named is None:
            return "root" if number == 0 else None
        return named.get(str(number), "root" if number == 0 else str(number))

    def _of_unit(self, name: str) -> Value:
        value = self._told_of_unit(name)
        if not self._in_a_users_unit():
            return value
        # What systemd says of it is what the user says.
        is_property = name in _UNIT_TEXTS or name == "unit.oom_score_adjust"
        if is_property and self.asks == "a rule that protects":
            return value._replace(worth=Doing.ITS_OWN)
        return value._replace(worth=self._of_its_own_doing(value.worth))

    def _told_of_unit(self, name: str) -> Value:
        scope = self.world.scopes.get(self.place.path) if self.place else None
        if name in _UNIT_BYTES:
            amount = None if scope is None else _figure(scope, name.removeprefix("unit."))
            return Value("memory", None if amount is None else amount // self.world.page)
        if name in _UNIT_TEXTS:
            return Value("text", _property(scope, _UNIT_TEXTS[name]))
        if name in _UNIT_COUNTS:
            return Value("number", _property(scope, _UNIT_COUNTS[name]))
        if name == "unit.pressure":
            pressure = None if scope is None else scope.get("pressure")
            return Value("percentage", None if pressure is None else Fraction(str(pressure)))
        raise AssertionError(name)

    def _of_block(self, name: str) -> Value:
        """A figure of the innermost unit that the innermost block names.

        It is told as that of a process in that unit itself.
        """
        depths = _depths(self.place, self.within[-1]) if self.place and self.within else []
        outer = Reader(self.rules, self.world, self.process, self.asks)
        if self.place:
            outer.place = _outer(self.place, max(depths), self.root) if depths else None
        if name == "processes":
            return Value("number", outer._processes())
        if name == "footprint":
            return Value("memory", outer._held())
        if name == "stall":
            scope = self.world.scopes.get(outer.place.path) if outer.place else None
            stall = None if scope is None else scope.get("stall")
            told = None if stall is None else Fraction(str(stall))
            doubted = outer._of_its_own_doing(told) if outer._in_a_users_unit() else told
            return Value("percentage", doubted)
        return outer._of_unit(f"unit.{name}")

    def _held(self) -> int | None:
        """The footprints of all in the unit and below it; who hides it counts by what is known."""
        if self.place is None:
            return None
        own, held = self.place.path.rstrip("/") + "/", 0
        for other in self.world.processes:
            within = f"{(other.get('cgroup') or '').rstrip('/')}/".startswith(own)
            if other.get("cgroup") is None or not within or other.get("total_vm") == 0:
                continue
            amount = Reader(self.rules, self.world, other)._footprint(other)
            if amount is Doing.ITS_OWN:
                amount = other.get("rss")
            if amount is None:
                return None
            held += amount
        return held

    # --- relatives

    def _other(self, pid: int) -> Reader | None:
        found = [one for one in self.world.processes if one["pid"] == pid]
        return Reader(self.rules, self.world, found[0], self.asks) if found else None

    def _of_parent(self, name: str) -> Value:
        """An attribute of the parent; a process without one has no id and an empty text."""
        kind = "number" if name == "uid" else "text"
        pid = self.process.get("ppid")
        if pid is None or pid == 0:
            return Value(kind, None if pid is None or kind == "number" else "")
        parent = self._other(pid)
        if parent is None:
            return Value(kind, self._of_its_own_doing(None))
        value = parent.attribute(name)
        assert value is not None
        if value.worth is None and _tells_nothing(parent.process):
            return Value(kind, self._of_its_own_doing(None))
        return value

    def _is_so_of(self, pid: int, condition: syntax.Expression) -> Truth:
        """Tell whether the process of a pid satisfies a condition; it may have gone."""
        other = self._other(pid)
        if other is None:
            return self._nobodys()
        truth = other.truth(condition)
        return self._nobodys() if truth is None and _tells_nothing(other.process) else truth

    def _nobodys(self) -> Truth:
        doing: Truth = self._of_its_own_doing(None)
        return doing

    def related(self, clause: syntax.Under) -> Truth:
        """Tell whether the parent, or one of all that are above, satisfies a condition."""
        pid = self.process.get("ppid")
        if clause.parent:
            if pid is None or pid == 0:
                return None if pid is None else False
            return self._is_so_of(pid, clause.condition)
        answers: list[Truth] = []
        seen: list[int] = []
        while pid is not None and pid != 0:
            if pid in seen:
                answers.append(self._nobodys())
                break
            seen.append(pid)
            answers.append(self._is_so_of(pid, clause.condition))
            other = self._other(pid)
            if other is None or pid == 1:
                break
            pid = other.process.get("ppid")
        else:
            answers.append(None if pid is None else False)
        return disjunction(answers)

    def _of_session(self, name: str) -> Value:
        """What holds for the session of the innermost unit that has one.

        Who belongs to none is known to; where it is not known whether a unit further in
        belongs to one, nothing is.
        """
        kind, nobody = ("text", "") if name in ("class", "type") else ("truth", False)
        cgroup = self.process.get("cgroup")
        if cgroup is None:
            return Value(kind, None)
        components = [component for component in cgroup.split("/") if component]
        for end in range(len(components), 0, -1):
            path = "/" + "/".join(components[:end])
            if place(path, self.root).path != path:
                continue
            session = self.world.scopes.get(path, {}).get("session")
            if session is None or session:
                return Value(kind, None if session is None else session.get(name))
        return Value(kind, nobody)

    def _of_container(self, name: str) -> Value:
        """What is known of the container and the pod around the process."""
        kind, nothing = ("number", 0) if name == "pod.priority" else ("text", "")
        cgroup = self.process.get("cgroup")
        if cgroup is None:
            return Value(kind, None)
        around = container(cgroup, self.root)
        table, _, key = name.partition(".")
        if around.in_a_service and (around.id or around.pod) and self.asks != "another rule":
            return Value(kind, Doing.ITS_OWN)
        if not (around.id if table == "container" else around.pod):
            return Value(kind, nothing)
        of_the_place = {
            "container.id": around.id,
            "container.runtime": around.runtime or None,
            "pod.uid": around.pod,
            "pod.qos": around.qos,
            **({"pod.namespace": "", "pod.priority": 0} if not around.qos else {}),
            **(
                {"container.name": around.id, "container.image": ""}
                if around.runtime in ("lxc", "nspawn")
                else {}
            ),
        }
        told = (self.process.get(table) or {}).get(key)
        found = of_the_place.get(name)
        return Value(kind, told if found is None else found)

    def limit(self) -> Any:
        """Find the limit; a user can see to it that it is unknown."""
        limit = self._nearest_limit()
        return self._of_its_own_doing(limit) if self._in_a_users_unit() else limit

    def _nearest_limit(self) -> int | None:
        """Find the nearest memory limit above the process, else the RAM, in bytes.

        The root has one too where it is the root of a container. Memory may be charged to another
        group than systemd's.
        """
        for scope in self._around_its_memory():
            own_limit = None if scope is None else _figure(scope, "memory_max")
            if own_limit is None or own_limit < NO_LIMIT:
                return own_limit
        return int(self.world.host["mem_total"])

    # --- expressions

    def truth(self, expression: syntax.Expression) -> Truth:
        """Evaluate a condition."""
        value = self.value(expression)
        assert value.kind == "truth", expression
        truth: Truth = value.worth
        return truth

    def value(self, expression: syntax.Expression) -> Value:
        """Evaluate any expression."""
        match expression:
            case syntax.Quantity(written=written):
                return self._quantity(written)
            case syntax.Text(value=text):
                return Value("text", text)
            case syntax.Name(name=name):
                found = self.attribute(name)
                if found is not None:
                    return found
                return Value("truth", self.truth(self.rules.definitions[name]))
            case syntax.Call(function=syntax.Name(name="cap"), arguments=[syntax.Name(name=name)]):
                return Value("truth", self.holds(name))
            case syntax.Call(function=syntax.Name(name="max" | "min" as end), arguments=given):
                return _extreme(end, [self.value(one) for one in given])
            case syntax.Call(arguments=[argument]):
                number = self.value(argument).worth
                return Value("number", _root(number) if _known(number) else number)
            case syntax.Minus(operand=operand):
                value = self.value(operand)
                negative = -value.worth if _known(value.worth) else value.worth
                # A quantity with a sign is arithmetic, and counts in pages.
                kind = "memory" if value.kind == "share" else value.kind
                return Value(kind, negative)
            case syntax.Arithmetic(operator=sign, left=left, right=right):
                return _arithmetic(sign, self.value(left), self.value(right))
            case syntax.Compared(operator=sign, left=left, right=right):
                return Value("truth", self.compare(sign, self.value(left), self.value(right)))
            case syntax.Membership(subject=subject, list=names):
                return Value("truth", self.among(self.value(subject), names.name))
            case syntax.Searched(subject=subject, pattern=pattern):
                text = self.value(subject).worth
                if not _known(text):
                    return Value("truth", text)
                return Value("truth", re.search(pattern.value, text) is not None)
            case syntax.Equals() | syntax.Matches() | syntax.Member():
                return Value("truth", self._term(expression))
            case syntax.Not(operand=operand):
                return Value("truth", negation(self.truth(operand)))
            case syntax.And(operands=operands):
                return Value("truth", conjunction(self.truth(one) for one in operands))
            case syntax.Or(operands=operands):
                return Value("truth", disjunction(self.truth(one) for one in operands))
        raise AssertionError(expression)

    def _quantity(self, written: str) -> Value:
        parts = re.findall(r"(\d+)([a-z]+)", written)
        if len(parts) > 1:
            together = sum(int(amount) * _MILLISECONDS[unit] for amount, unit in parts)
            return Value("duration", int(together))
        matched = re.fullmatch(r"([\d_]+(?:\.\d+)?)(.*)", written)
        assert matched, written
        amount, unit = Fraction(matched[1].replace("_", "")), matched[2]
        if unit == "%":
            return self._share(amount)
        if unit in _BYTES:
            exact = amount * _BYTES[unit]
            return Value("memory", floor(exact / self.world.page), exact)
        if unit in _MILLISECONDS:
            return Value("duration", int(amount * _MILLISECONDS[unit]))
        assert not unit, written
        return Value("number", int(amount))

    def _share(self, percent: Fraction) -> Value:
        """A percentage: of the nearest memory limit, or as it is beside ``unit.pressure``."""
        limit = self.limit()
        if not _known(limit):
            return Value("share", limit, limit, percent)
        exact = limit * percent / 100
        return Value("share", floor(exact / self.world.page), exact, percent)

    def compare(self, sign: str, left: Value, right: Value) -> Truth:
        """Compare two values; memory with a quantity in bytes, all else as it counts."""
        one: Any
        other: Any
        if "percentage" in (left.kind, right.kind):
            one, other = (
                value.percent if value.kind == "share" else value.worth for value in (left, right)
            )
        elif left.kind == "share" and right.whole is not Doing.ITS_OWN:
            one, other = _share_of(right.whole, left.percent), self._in_bytes(right)
        elif right.kind == "share" and left.whole is not Doing.ITS_OWN:
            one, other = self._in_bytes(left), _share_of(left.whole, right.percent)
        elif any(value.kind == "share" or value.alone is not None for value in (left, right)):
            one, other = self._in_bytes(left), self._in_bytes(right)
        else:
            one, other = left.worth, right.worth
        if not _known(one, other):
            unknown: Truth = _unknown(one, other)
            return unknown
        return bool(_COMPARISONS[sign](one, other))

    def _in_bytes(self, value: Value) -> Any:
        if value.kind == "share" or value.alone is not None:
            return value.alone
        return Fraction(value.worth * self.world.page) if _known(value.worth) else value.worth

    def among(self, subject: Value, name: str) -> Truth:
        """Tell whether a text is in a list; the items are globs."""
        return disjunction(_glob(subject, item) for item in self.rules.lists[name])

    def holds(self, capability: str) -> Truth:
        """Tell whether a capability is in the effective set."""
        held = self.process.get("capabilities")
        name = capability.removeprefix("CAP_")
        bit = _CAPABILITY_BITS[_SHORT_CAPABILITIES.get(name, name)]
        return None if held is None else bool(int(held, 16) >> bit & 1)

    # --- selectors

    def selects(self, selector: syntax.Selector, within: Targets = ()) -> Truth:
        """Tell whether a rule, in its blocks, is about this process."""
        if within != self.within:
            inside = Reader(self.rules, self.world, self.process, self.asks, within)
            return inside.selects(selector, within)
        return conjunction(
            [self.truth(term) for term in selector.terms]
            + [self._clause(clause) for clause in selector.clauses]
        )

    def _term(self, term: syntax.Term) -> Truth:
        subject = self.value(term.name)
        match term:
            case syntax.Equals(quantity=quantity, negative=negative):
                wanted: syntax.Expression = quantity
                if negative:
                    wanted = syntax.Minus(quantity.span, quantity)
                return self.compare("==", subject, self.value(wanted))
            case syntax.Matches(glob=glob):
                return _glob(subject, glob.value)
        return self.among(subject, term.list.name)

    def _clause(self, clause: syntax.Clause) -> Truth:
        if isinstance(clause, syntax.When):
            return self.truth(clause.condition)
        if isinstance(clause, syntax.Under):
            related = self.related(clause)
            return negation(related) if clause.negative else related
        held = [self.holds(name.name) for name in clause.capabilities]
        match clause.holding:
            case syntax.Holding.ALL:
                return conjunction(held)
            case syntax.Holding.ANY:
                return disjunction(held)
            case syntax.Holding.NONE:
                return conjunction(negation(one) for one in held)

    # --- scopes

    def around(self, targets: Targets) -> Truth:
        """Tell whether the process is in a scope; unknown if its control group is."""
        if not targets:
            return True
        if self.place is None:
            return None
        return all(_depths(self.place, target) for target in targets)

    def whole(self) -> str | None:
        """Name the control group of the unit that the process is killed with, if there is one.

        It is the outermost one that a target means, of those in the blocks around the statement.
        """
        if self.place is None:
            return None
        meant = [
            depth
            for targets, target in self.rules.wholes
            for depth in _depths(self.place, target)
            if all(any(at <= depth for at in _depths(self.place, one)) for one in targets)
        ]
        if not meant:
            return None
        begin = [component for component in self.root.split("/") if component]
        components = [one for one in str(self.process["cgroup"]).split("/") if one]
        return "/".join(components[: len(begin) + min(meant)] if min(meant) else begin)

    def base(self) -> Fraction | None:
        """Evaluate the score that counts."""
        values = [
            Reader(self.rules, self.world, self.process, self.asks, targets)._points(
                self.rules.scores[targets]
            )
            for targets in self._innermost()
        ]
        return None if None in values else min(value for value in values if value is not None)

    def _innermost(self) -> list[Targets]:
        """List the scopes whose score competes: one, but for ties and unknown places."""
        if self.place is None:
            return list(self.rules.scores)
        ranks = {}
        for targets in self.rules.scores:
            if not targets:
                ranks[targets] = (-1, 0)
            elif self.around(targets):
                ranks[targets] = (max(_depths(self.place, targets[-1])), len(targets))
        return [targets for targets, rank in ranks.items() if rank == max(ranks.values())]

    def _points(self, expression: syntax.Expression) -> Fraction | None:
        worth = self.value(expression).worth
        if worth is Doing.ITS_OWN:
            # It counts by its resident memory.
            worth = self.process.get("rss")
        return None if worth is None else Fraction(worth)


def _outer(place: Place, depth: int, root: str) -> Place:
    """The place of a process that is in a unit further out, and in none below it."""
    begin = [component for component in root.split("/") if component]
    components = [component for component in place.path.split("/") if component]
    path = "/" + "/".join(components[: len(begin) + depth])
    return Place(place.chain[: depth + 1], path, min(place.system, depth + 1))


def _tells_nothing(process: Object) -> bool:
    """Whether a process is about to be gone, or is a kernel thread: neither can be asked more."""
    return process.get("state") in ("Z", "X", "x") or bool((process.get("flags") or 0) & 0x200000)


def _depths(place: Place, target: str) -> list[int]:
    """List which units around a process a target means, counted from the outermost.

    A bare name means units of the system, ``user unit`` those of users.
    """
    of_user = target.startswith("user unit ")
    name = target.removeprefix("user unit ")
    return [
        depth
        for depth, unit in enumerate(place.chain)
        if (depth >= place.system) is of_user and fnmatchcase(unit, name)
    ]


def _share_of(whole: int | None, percent: Fraction | None) -> Fraction | None:
    return None if whole is None or percent is None else whole * percent / 100


def _glob(subject: Value, pattern: str) -> Truth:
    if not _known(subject.worth):
        unknown: Truth = subject.worth
        return unknown
    return fnmatchcase(subject.worth, pattern)


def _figure(scope: Object, key: str) -> int | None:
    """A figure of a control group in bytes; a limit that is not set is the largest."""
    amount: int | None = scope.get(key)
    if amount is None and key in ("memory_max", "memory_high", "swap_max"):
        return None if key in (scope.get("unreadable") or ()) else NO_LIMIT
    return amount


def _property(scope: Object | None, key: str) -> Any:
    if scope is None:
        return None
    return scope[key] if key in scope else (scope.get("properties") or {}).get(key)


def _first_bytes(text: str, most: int) -> str:
    """As many whole characters as there is room for in so many bytes."""
    kept = ""
    for char in text:
        most -= len(char.encode("utf-8", "surrogatepass"))
        if most < 0:
            break
        kept += char
    return kept


def _terminal(number: int | None) -> str | None:
    """Name a terminal by its device number: 12 bits of major, 20 of minor (MKDEV, new_encode)."""
    if number is None:
        return None
    if number == 0:
        return ""
    major, minor = (number >> 8) % 4096, number % 256 + (number >> 20) * 256
    if 136 <= major < 144:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return f"{major}:{minor}"


def _root(number: int) -> int:
    return max(1, isqrt(max(0, number)))


def _arithmetic(sign: str, left: Value, right: Value) -> Value:
    kinds = ["memory" if value.kind == "share" else value.kind for value in (left, right)]
    one, other = left.worth, right.worth
    result = _calculate(sign, one, other) if _known(one, other) else _unknown(one, other)
    return Value(_kind_of(sign, *kinds), result)


def _extreme(end: str, given: Sequence[Value]) -> Value:
    """The largest or the smallest of several amounts; memory counts in pages."""
    worths = [value.worth for value in given]
    kinds = {"memory" if value.kind == "share" else value.kind for value in given}
    (kind,) = kinds
    if not _known(*worths):
        return Value(kind, _unknown(*worths))
    return Value(kind, sorted(worths)[-1 if end == "max" else 0])


def _kind_of(sign: str, left: str, right: str) -> str:
    if sign == "/" and left == right:
        return "number"
    return left if right == "number" else right


def _calculate(sign: str, one: int, other: int) -> int | None:
    match sign:
        case "+":
            return one + other
        case "-":
            return one - other
        case "*":
            return one * other
    return None if other == 0 else floor(Fraction(one, other))


# --- verdicts ----------------------------------------------------------------------------


class Judgement(NamedTuple):
    """What becomes of one process; ``why`` is empty for a candidate.

    ``level`` is the tier with its degree: -3 is ``kill first … by 3``, 0 neither first nor last.
    """

    pid: int
    why: str
    level: int
    base: Fraction | None
    weight: Fraction
    start: int
    whole: str | None = None

    @property
    def exact(self) -> Fraction:
        """Base times weight, which the order goes by."""
        assert self.base is not None
        return self.base * self.weight

    @property
    def points(self) -> int:
        """Base times weight, rounded down."""
        return floor(self.exact)


_DEFAULT_FACTORS = {syntax.Kind.PREFER: Fraction(2), syntax.Kind.SPARE: Fraction(4)}


def judge(rules: Rules, world: World, process: Object) -> Judgement:
    """Decide about one process."""
    protecting, other, scoring = (
        Reader(rules, world, process, asks)
        for asks in ("a rule that protects", "another rule", "a score")
    )

    def surely(rule: tuple[Targets, syntax.Rule]) -> bool:
        found = conjunction([other.around(rule[0]), other.selects(rule[1].selector, rule[0])])
        return found is True

    def protects(rule: tuple[Targets, syntax.Rule]) -> bool:
        around = protecting.around(rule[0])
        return grounds(conjunction([around, protecting.selects(rule[1].selector, rule[0])])).true

    def of_kind(kind: syntax.Kind) -> list[tuple[Targets, syntax.Rule]]:
        return [rule for rule in rules.rules if rule[1].kind is kind]

    def factor(rule: syntax.Rule) -> Fraction:
        if rule.factor is None:
            return _DEFAULT_FACTORS[rule.kind]
        return Fraction(rule.factor.written.replace("_", ""))

    weight = Fraction(1)
    for rule in of_kind(syntax.Kind.PREFER):
        if surely(rule):
            weight *= factor(rule[1])
    for rule in of_kind(syntax.Kind.SPARE):
        if protects(rule):
            weight /= factor(rule[1])

    def degree(rule: syntax.Rule) -> int:
        return 1 if rule.factor is None else int(rule.factor.written.replace("_", ""))

    def as_protection(rule: tuple[Targets, syntax.Rule]) -> Truth:
        return conjunction([protecting.around(rule[0]), protecting.selects(rule[1].selector)])

    lasts = [degree(rule[1]) for rule in of_kind(syntax.Kind.LAST) if protects(rule)]
    level = max(lasts, default=0)
    if not lasts:
        firsts = of_kind(syntax.Kind.FIRST)
        level = _first_level(
            [degree(rule[1]) for rule in firsts if surely(rule)],
            [degree(rule[1]) for rule in firsts if as_protection(rule) is True],
            [degree(rule[1]) for rule in firsts if as_protection(rule) is None],
        )
    only: dict[Targets, list[Truth]] = {}
    for targets, rule_ in of_kind(syntax.Kind.ONLY):
        only.setdefault(targets, []).append(protecting.selects(rule_.selector, targets))
    base = scoring.base()
    why = ""
    if _is_no_victim(process):
        why = "ineligible"
    elif any(map(protects, of_kind(syntax.Kind.NEVER))):
        why = "never"
    elif any(
        # It leaves out who is on no ground among those that it names.
        protecting.around(targets) is not False and all(grounds(one).false for one in selected)
        for targets, selected in only.items()
    ):
        why = "only"
    elif base is None:
        why = "unknown"
    elif base <= 0:
        why = "no points"
    start = process.get("starttime")
    start = 2**64 if start is None else start
    return Judgement(process["pid"], why, level, base, weight, start, scoring.whole())


def _first_level(surely: list[int], known: list[int], doubted: list[int]) -> int:
    """The mildest of all the levels that are possible, as doubt protects.

    What the process made unknown, or its user says, does not make a level milder.
    """
    if not surely:
        return 0
    worlds = (
        (*known, *some) for size in range(len(doubted) + 1) for some in combinations(doubted, size)
    )
    return max(-min(world or surely) for world in worlds)


def _is_no_victim(process: Object) -> bool:
    flags = process.get("flags") or 0
    return (
        process["pid"] == 1
        or bool(flags & 0x00200000)  # PF_KTHREAD
        or bool(flags & 0x00000004)  # PF_EXITING
        or process.get("state") in ("Z", "X", "x")
        or process.get("total_vm") == 0
        # What could not be read leaves in doubt whether there is anything to kill.
        or any(process.get(fact, "not recorded") is None for fact in ("flags", "state", "total_vm"))
        or process.get("self") is True
    )


def judge_all(sources: Iterable[RuleText], objects: Iterable[Object]) -> list[Judgement]:
    """Judge every process of a snapshot, in the order of the snapshot."""
    rules, whole = read(sources), world(objects)
    return [judge(rules, whole, process) for process in whole.processes]


def rank(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Order the candidates, worst first; those of a whole unit are one."""
    candidates = [judgement for judgement in judgements if not judgement.why]
    units = {one.whole for one in candidates if one.whole is not None}
    ones = [[one] for one in candidates if one.whole is None]
    ones += [[one for one in candidates if one.whole == unit] for unit in units]
    ones.sort(key=_as_one)
    return [one for members in ones for one in sorted(members, key=lambda one: _as_one([one]))]


def _as_one(members: list[Judgement]) -> tuple[int, Fraction, tuple[int, int]]:
    """The place of several candidates that are one: the mildest tier, the sum, the oldest."""
    return (
        max(one.level for one in members),
        -sum((one.exact for one in members), Fraction(0)),
        min((one.start, one.pid) for one in members),
    )
