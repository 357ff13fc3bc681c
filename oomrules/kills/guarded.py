"""The journal's entries about what the guard did: one for each act, with documented fields."""

from __future__ import annotations

from collections.abc import Mapping

from oomrules.kills import journal
from oomrules.lean import NamedTuple
from oomrules.plain import printable, quoted

# docs/systemd.md lists them, and the fields of the entries.
WARNED_ID = "7f915d1840e14741883a752655ac769a"
OVER_ID = "e98c025124084fea9deeb2932ae8bc5a"
ASKED_ID = "9697ca6fb85244e0beed539ae661a098"
KILLED_ID = "11e5278989c0485fabfe9a6babf9136a"
ENDED_ID = "c7f26ae34a4a4118ab1dcbb096ce8deb"
NOBODY_ID = "c7c5fd49844c4360bb21b7d9bb91a83a"
FAILED_ID = "83d49f558bc446dda30ccc02d4316c5a"
# A process that a guard would have taken, but for `--dry-run`.
DRY_ID = "37b2e231590e4b67a30d6f71f7fc5a30"
# A process that was to be signalled when oomrules ended: nothing more is known.
UNSURE_ID = "3853b98cf56b4f4f9cc01d8324080072"
# A unit that loses processes again and again, and what came of stopping it.
AGAIN_ID = "617df329c0ea496abbd52ca22ab1efba"
STOPPED_ID = "5e0f486656ca496fb56199be0af5f6c9"

IDS = {
    "warned": WARNED_ID,
    "over": OVER_ID,
    "asked": ASKED_ID,
    "killed": KILLED_ID,
    "ended": ENDED_ID,
    "nobody": NOBODY_ID,
    "failed": FAILED_ID,
    "unsure": UNSURE_ID,
    "again": AGAIN_ID,
    "stopped": STOPPED_ID,
}

# What of a sample is said: fields in bytes, and in percent (hundredths of them in the sample).
_HOST_BYTES = ("memory", "available", "free", "shmem", "swap", "swap_free")
_SCOPE_BYTES = ("memory", "memory_max", "memory_high", "swap", "footprint")
_PERCENT = ("stall", "pressure")

# More is no figure but "no limit".
_NO_LIMIT = 1 << 60

# Characters of a statement, in a sentence and in its field; of a name, which a user chose; of what
# went wrong.
_SENTENCE, _STATEMENT, _NAME, _PROBLEM = 120, 2000, 256, 1000
_COMM = 64


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

Figures = Mapping[str, "int | None"]
_UNKNOWN: Figures = {}


class Act(NamedTuple):
    """What the guard did, or saw: nothing in it has to be looked up.

    Attributes:
        kind: one of ``IDS``.
        text, place: the guard's statement, and its file and line as ``file:line``.
        at_unit, at_manager: the unit that the guard is at, and the user whose manager that belongs
            to; empty for the host, and for the system's manager.
        host, scope: figures at the decision, by the last word of their attribute: bytes, and
            hundredths of a percent.
        pid, uid, comm, cgroup, unit, manager: the victim; None or empty if there is none.
        rank, points, listed, age: what the list said of it; how long the list was, and how old.
        reaction: seconds from the sample to the signal.
        within: seconds in which what was asked to end has to end.
        others: processes that went with it.
        expected, won: bytes that should come back, and that came.
        lasted: seconds from the first signal to the end; None if it has not ended.
        ago: seconds from the act to the entry.
        times: how often a unit has lost a process.
        dry: nothing was signalled.
        problem: what went wrong, or what came of it, in a sentence.
    """

    kind: str
    text: str = ""
    place: str = ""
    at_unit: str = ""
    at_manager: str = ""
    host: Figures = _UNKNOWN
    scope: Figures = _UNKNOWN
    pid: int | None = None
    uid: int | None = None
    comm: str = ""
    cgroup: str = ""
    unit: str = ""
    manager: str = ""
    rank: int | None = None
    points: int | None = None
    listed: int = 0
    age: float | None = None
    reaction: float | None = None
    within: float = 0.0
    others: int = 0
    expected: int | None = None
    won: int | None = None
    lasted: float | None = None
    ago: float = 0.0
    times: int = 0
    dry: bool = False
    problem: str = ""

    @property
    def system_unit(self) -> str:
        """The unit of the system's manager that this is about: users choose other names."""
        unit, manager = (self.unit, self.manager) if self.pid else (self.at_unit, self.at_manager)
        return f"user@{manager}.service" if manager else unit

    @property
    def user_unit(self) -> str:
        """The unit of a user's manager that this is about; empty for none."""
        unit, manager = (self.unit, self.manager) if self.pid else (self.at_unit, self.at_manager)
        return unit if manager else ""


def record(act: Act, send: journal.Send = journal.send) -> bool:
    """Write the entry; return whether the journal took it, as ``journal.send`` does."""
    quiet = act.kind in ("over", "ended") and not act.problem
    priority = journal.INFO if quiet else journal.WARNING
    return send(sentence(act), priority, fields(act))


def fields(act: Act) -> dict[str, str]:
    """Return the entry's fields; what is not known is empty."""
    file, _, line = act.place.rpartition(":")
    unit = act.system_unit[:_NAME]
    tried = act.dry and act.kind in ("asked", "killed")
    return {
        "MESSAGE_ID": DRY_ID if tried else IDS[act.kind],
        "UNIT": unit,
        # `journalctl --unit` goes by this one where another process than PID 1 wrote the entry.
        **({"OBJECT_SYSTEMD_UNIT": unit} if unit else {}),
        "OOMRULES_ACT": act.kind,
        "OOMRULES_GUARD": act.text[:_STATEMENT],
        "OOMRULES_FILE": file,
        "OOMRULES_LINE": line,
        "OOMRULES_UNIT": unit,
        "OOMRULES_USER_UNIT": act.user_unit[:_NAME],
        "OOMRULES_CGROUP": act.cgroup[:4096],
        "OOMRULES_PID": _number(act.pid),
        "OOMRULES_COMM": act.comm[:_COMM],
        "OOMRULES_UID": _number(act.uid),
        "OOMRULES_LISTED": str(act.listed),
        "OOMRULES_LIST_AGE": _seconds(act.age),
        "OOMRULES_RANK": _number(act.rank),
        "OOMRULES_POINTS": _number(act.points),
        "OOMRULES_OTHERS": str(act.others),
        "OOMRULES_REACTION": _seconds(act.reaction),
        "OOMRULES_EXPECTED": _number(act.expected),
        "OOMRULES_WON": _number(act.won),
        "OOMRULES_LASTED": _seconds(act.lasted),
        "OOMRULES_KILLS": str(act.times or ""),
        "OOMRULES_DRY_RUN": "1" if act.dry else "",
        "OOMRULES_PROBLEM": act.problem[:_PROBLEM],
        "OOMRULES_AGO": _seconds(act.ago),
        **_figures("HOST", act.host, _HOST_BYTES),
        **_figures("SCOPE", act.scope, _SCOPE_BYTES),
    }


def _figures(which: str, figures: Figures, names: tuple[str, ...]) -> dict[str, str]:
    said = {}
    for name in names:
        value = figures.get(name)
        said[f"OOMRULES_{which}_{name.upper()}"] = _number(value if _is_figure(value) else None)
    for name in _PERCENT:
        value = figures.get(name)
        said[f"OOMRULES_{which}_{name.upper()}"] = "" if value is None else f"{value / 100:.2f}"
    return said


def _is_figure(value: int | None) -> bool:
    return value is not None and value < _NO_LIMIT


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{max(0.0, value):.3f}"


# --- the sentence -----------------------------------------------------------------------------


def sentence(act: Act) -> str:
    """Return what the entry says to people, as one harmless line."""
    return printable(_SAID[act.kind](act))


def _killed(act: Act) -> str:
    did = "would have killed" if act.dry else "killed"
    return f"{did} {who(act)} by {_guard(act)}: {figures(act)}{_listed(act)}{_besides(act)}"


def _asked(act: Act) -> str:
    did = "would have asked" if act.dry else "asked"
    then = "" if act.dry else f"; it is killed if it is still there after {act.within:g} s"
    return (
        f"{did} {who(act)} to end (SIGTERM) by {_guard(act)}: {figures(act)}{_listed(act)}"
        f"{then}{_besides(act)}"
    )


def _ended(act: Act) -> str:
    if act.lasted is None:
        return (
            f"{who(act)} has not ended after its signal by {_guard(act)}; "
            f"`ps -o pid,stat,wchan:32 {act.pid}` shows what it waits for{_besides(act)}"
        )
    back = f"{size(act.won)} came back" if act.won and act.won > 0 else "no memory came back"
    expected = "" if act.expected is None else f" ({size(act.expected)} expected)"
    return f"{who(act)} is gone: {back} in {act.lasted:.1f} s{expected}{_besides(act)}"


def _warned(act: Act) -> str:
    return (
        f"warning by {_guard(act)}: {figures(act)}; `oomrules guard --now` shows how far each "
        f"guard is from acting, and whom it would take{_besides(act)}"
    )


def _over(act: Act) -> str:
    return f"over: {_guard(act)} holds no more: {figures(act)}{_besides(act)}"


def _nobody(act: Act) -> str:
    return (
        f"{_guard(act)} holds, and there is no process that may be killed: {figures(act)}; "
        f"`oomrules rank` shows who is protected, and the kernel's own killer stays as it is"
        f"{_besides(act)}"
    )


def _failed(act: Act) -> str:
    return f"the guard: {act.problem[:_PROBLEM]}"


def _unsure(act: Act) -> str:
    return (
        f"{who(act)} was being signalled by {_guard(act)} when oomrules ended, before it could say "
        f"more: {figures(act)}{_besides(act)}"
    )


def _again(act: Act) -> str:
    if act.manager:
        lost = f"processes of the units of user {act.manager} were killed"
        see = f"`systemctl --user --machine={act.manager}@ status` shows them"
    else:
        lost = f"processes of {act.unit[:_NAME]} were killed"
        see = f"see `systemctl status {quoted(act.unit[:_NAME])}`"
    return (
        f"{lost} {act.times} times in 10 min, at last by {_guard(act)}: it seems to be started "
        f"anew each time; {see}{_besides(act)}"
    )


def _stopped(act: Act) -> str:
    return f"{act.unit[:_NAME]}, `then stop` by {_guard(act)}: {act.problem[:_PROBLEM]}"


_SAID = {
    "warned": _warned,
    "over": _over,
    "asked": _asked,
    "killed": _killed,
    "ended": _ended,
    "nobody": _nobody,
    "failed": _failed,
    "unsure": _unsure,
    "again": _again,
    "stopped": _stopped,
}


def who(act: Act) -> str:
    """Return the victim and its unit, in words."""
    within = f" ({act.user_unit[:_NAME]})" if act.user_unit else ""
    unit = act.system_unit[:_NAME]
    others = ""
    if act.others:
        others = f" and {act.others} more process{'es' if act.others > 1 else ''}"
    where = f" of {unit}{within}" if unit else ""
    return f"`{act.comm[:_COMM]}` ({act.pid}){others}{where}"


def figures(act: Act) -> str:
    """Return the figures at the decision, in words."""
    said = [*_available(act.host), *_swap(act.host), *_waiting(act.host, "stalled")]
    if act.at_unit and act.scope:
        memory = act.scope.get("memory")
        of_unit = [f"{size(memory)} in use"] if memory is not None else []
        of_unit += _waiting(act.scope, "stalled")
        if of_unit:
            said.append(f"in {act.at_unit[:_NAME]} {' and '.join(of_unit)}")
    return ", ".join(said) or "figures unknown"


def _available(host: Figures) -> list[str]:
    available, memory = host.get("available"), host.get("memory")
    if available is None:
        return []
    if not memory:
        return [f"{size(available)} available"]
    return [f"{100 * available / memory:.1f} % available ({size(available)})"]


def _swap(host: Figures) -> list[str]:
    free, swap = host.get("swap_free"), host.get("swap")
    return [] if free is None or not swap else [f"{100 * free / swap:.0f} % of swap free"]


def _waiting(figures: Figures, word: str) -> list[str]:
    stall = figures.get("stall")
    return [] if stall is None else [f"{word} {stall / 100:.0f} %"]


def _guard(act: Act) -> str:
    text = act.text if len(act.text) <= _SENTENCE else act.text[: _SENTENCE - 1] + "…"
    file, _, line = act.place.rpartition(":")
    return f"`{text}` ({file.rpartition('/')[2]}:{line})"


def _listed(act: Act) -> str:
    return f"; it was at rank {act.rank} of {act.listed}" if act.rank else ""


def _besides(act: Act) -> str:
    return f"; {act.problem[:_PROBLEM]}" if act.problem else ""


def size(number: int | None) -> str:
    """Return an amount of memory in words, from bytes."""
    if number is None:
        return "?"
    value, unit = float(abs(number)), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    sign = "-" if number < 0 else ""
    return f"{sign}{value:.1f} {_UNITS[unit]}" if unit > 1 else f"{sign}{value:.0f} {_UNITS[unit]}"
