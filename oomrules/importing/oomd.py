"""systemd: settings of units, oomd.conf and *.oomrule files.

Written from systemd.exec(5), systemd.resource-control(5) and oomd.conf(5), and from
`ruleset_load_one` of src/oom/oomd-conf.c for the rulesets of version 261.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from oomrules.importing import earlyoom
from oomrules.importing.settings import Setting, Unit, settings, unit_of
from oomrules.importing.translation import (
    BOTH_ACT,
    REPEATED,
    SAMPLES,
    WEIGHED,
    Line,
    Piece,
    Selector,
    Translation,
    Untranslatable,
    literal,
    merged,
    quoted,
    weighed,
)

TOOL = "systemd"

WHEN = "When systemd-oomd acts. No unit here makes it act by this."
_ACTS = (
    "systemd-oomd kills a whole control group below the unit: for pressure the one that is "
    "reclaimed most, for swap the one that holds most. A guard takes the first process of the list "
    "that is in the unit. `kill whole` makes units die as a whole.",
    "systemd-oomd compares the average of 10 s with the limit. `scope.stall` and `host.stall` are "
    "of the last second, and have to be above the limit in every sample.",
    "Pressure without scarcity may be an innocent unit's page cache: `host.available < 10%` "
    "besides says that memory is short.",
    SAMPLES,
    # The socket would start it again.
    BOTH_ACT.format(tool="systemd-oomd", units="systemd-oomd.socket systemd-oomd.service"),
)
_STAYS = "What else systemd does with a unit. It stays in force."
_AFTERWARDS = "What systemd does with a unit after a kill. It stays in force, whoever killed."
_DEFAULT = "It is the default."
_ITSELF = "How systemd-oomd itself runs."
_REPLACED = "Of files of one name, that in the directory of the highest precedence counts."
_VARIABLE = (
    "The arguments of earlyoom are in a variable. Import the file that sets it, such as "
    "/etc/default/earlyoom."
)
_EXPANDED = re.compile(r"\$[\w{]")
# A program's prefixes are those of systemd.service(5).
_EARLYOOM = re.compile(r"[-+!:@|]*(?:\S*/)?earlyoom(?:\s|$)")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)(%|‰|‱)", re.ASCII)
_SPAN = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?\s*(?:usec|us|µs|msec|ms|sec|s|min|m|h|hr|)\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]*)", re.ASCII)
_SECONDS = {
    "usec": 1e-6,
    "us": 1e-6,
    "msec": 1e-3,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
}

_UNITS_SETTINGS = frozenset(
    [
        "OOMScoreAdjust",
        "OOMPolicy",
        "ManagedOOMPreference",
        "ManagedOOMMemoryPressure",
        "ManagedOOMMemoryPressureLimit",
        "ManagedOOMMemoryPressureDurationSec",
        "ManagedOOMSwap",
        "OOMRules",
    ]
)
# systemd-oomd's own (oomd.conf(5)): their values where no file says anything.
_DEFAULTS = {
    "SwapUsedLimit": "90%",
    "DefaultMemoryPressureLimit": "60%",
    "DefaultMemoryPressureDurationSec": "30s",
}
_OF_A_RULESET = frozenset(["MemoryPressureAbove", "SwapUsageMax", "LastingSec", "Action"])
_LIST = frozenset(["OOMRules"])
# Directories of files about units, the first of them before the others.
_PRECEDENCE = ("etc", "run", "usr/local/lib", "usr/lib", "lib")


class _Read(NamedTuple):
    """A file and its settings."""

    name: str
    settings: list[Setting]


def of_files(found: Iterable[tuple[str, Sequence[str]]]) -> Translation:
    """Return what files of systemd mean, all at once: units name the rulesets of other files."""
    read, ignored = list[_Read](), 0
    for name, lines in found:
        said, empty = settings(name, lines)
        read.append(_Read(name, said))
        ignored += empty
    replaced = _replaced(read)
    in_force = [one for one in read if one.name not in replaced]
    counting = _counting(in_force)
    whole = merged(
        TOOL, [_out_of_force(one) if one.name in replaced else _file(one, counting) for one in read]
    )
    guards = _guards(in_force)
    return Translation(
        tool=TOOL,
        inputs=tuple(one.name for one in read),
        pieces=whole.pieces,
        differences=whole.differences,
        guards=(*whole.guards, *guards),
        acts=(*whole.acts, *(_ACTS if guards else ())),
        ignored=ignored,
        whole=whole.whole,
    )


def about_memory(whole: Translation) -> Translation:
    """Return a translation of many units without what is about other things, which is counted."""
    pieces = tuple(piece for piece in whole.pieces if piece.reason != _STAYS)
    files = {piece.place.rpartition(":")[0] for piece in pieces}
    return replace(
        whole,
        inputs=tuple(name for name in whole.inputs if name in files),
        pieces=pieces,
        differences=(
            *whole.differences,
            f"{len(whole.pieces) - len(pieces)} settings of units are about other things than "
            "memory, and left out, with the files that have no others.",
        ),
    )


# --- which of several assignments counts ---------------------------------------------------------


class _Rank(NamedTuple):
    """Which of the files about one unit counts: the greatest (systemd.unit(5))."""

    dropped_in: bool
    name: str
    directory: int


def _rank(path: str) -> _Rank:
    *directories, file = path.split("/")
    dropped_in = bool(directories) and directories[-1].endswith(".d")
    above = next((at for at, name in enumerate(_PRECEDENCE) if f"/{name}/" in f"/{path}"), 0)
    return _Rank(dropped_in, file if dropped_in else "", -above)


def _replaced(found: Sequence[_Read]) -> set[str]:
    """Return the files that one of the same name in a higher directory replaces or masks."""
    highest: dict[tuple[Unit | str, bool, str], _Rank] = {}
    for one in found:
        rank = _rank(one.name)
        key = (_whose(one.name), rank.dropped_in, rank.name)
        highest[key] = max(rank, highest.get(key, rank))
    return {
        one.name
        for one in found
        for rank in [_rank(one.name)]
        if rank < highest[_whose(one.name), rank.dropped_in, rank.name]
    }


def _out_of_force(read: _Read) -> Translation:
    pieces = [_none(setting.line, _REPLACED) for setting in read.settings]
    return Translation(tool=TOOL, inputs=(read.name,), pieces=tuple(pieces))


def _counting(found: Sequence[_Read]) -> dict[tuple[Unit | str, str, str], Setting]:
    """Return the assignment that counts for each setting of each unit."""
    counting: dict[tuple[Unit | str, str, str], Setting] = {}
    for one in sorted(found, key=lambda one: _rank(one.name)):
        for setting in one.settings:
            if setting.name not in _LIST:
                counting[_whose(one.name), setting.section, setting.name] = setting
    return counting


def _whose(file: str) -> Unit | str:
    try:
        return unit_of(file)
    except Untranslatable:
        return file


# --- what each setting becomes -----------------------------------------------------------------


def _file(read: _Read, counting: Mapping[tuple[Unit | str, str, str], Setting]) -> Translation:
    pieces, differences, inner = list[Piece](), list[str](), list[Translation]()
    whose = _whose(read.name)
    for setting in read.settings:
        if setting.name == "ExecStart" and _EARLYOOM.match(setting.value):
            if _EXPANDED.search(setting.value):
                pieces.append(_none(setting.line, _VARIABLE))
                continue
            line = Line(setting.line.place, setting.value.lstrip("-+!:@|"))
            translated = earlyoom.of_command(setting.line.place, line)
            inner.append(translated)
            pieces += translated.pieces
            continue
        counts = counting.get((whose, setting.section, setting.name), setting)
        if counts is not setting and setting.name in _UNITS_SETTINGS:
            pieces.append(_none(setting.line, REPEATED))
            continue
        piece = _piece(read.name, setting)
        pieces.append(piece)
        if piece.sentences:
            differences.append(DIFFERENCES[setting.name])
    first = merged(TOOL, inner)
    return Translation(
        tool=TOOL,
        inputs=(read.name,),
        pieces=tuple(pieces),
        differences=(*first.differences, *dict.fromkeys(differences)),
        guards=first.guards,
        acts=first.acts,
        whole=first.whole,
    )


DIFFERENCES = {
    "OOMPolicy": "With OOMPolicy=kill the unit dies with whichever of its processes is taken. With "
    "`kill whole` it counts by what all of them hold.",
    "OOMScoreAdjust": f"OOMScoreAdjust= is for the kernel's own measure. {WEIGHED}",
    "ManagedOOMPreference": "ManagedOOMPreference= is about what systemd-oomd kills, which is a "
    "whole group. The rules are about each process of the unit, whoever kills it.",
}


def _none(line: Line, reason: str) -> Piece:
    return Piece(place=line.place, said=line.text, reason=reason)


def _when(line: Line) -> Piece:
    return replace(_none(line, WHEN), when=True)


def _piece(file: str, setting: Setting) -> Piece:
    name, value, line = setting.name, setting.value, setting.line
    if not name:
        return _none(line, "It is no assignment; systemd leaves it out.")
    if setting.section == "OOM":
        return _when(line) if name in _DEFAULTS else _none(line, _ITSELF)
    if setting.section == "Rule":
        return _when(line) if name in _OF_A_RULESET else _none(line, "No key of a ruleset.")
    if name in ("DefaultOOMScoreAdjust", "DefaultOOMPolicy"):
        return _none(line, "A default for all units. Import the units of a host with --units.")
    if name not in _UNITS_SETTINGS:
        return _none(line, _STAYS)
    if name not in DIFFERENCES:
        return _when(line)
    try:
        return piece_of_unit(line, unit_of(file), name, value)
    except Untranslatable as error:
        return _none(line, error.reason)


def piece_of_unit(line: Line, unit: Unit, name: str, value: str) -> Piece:
    """Return the rule for OOMScoreAdjust=, ManagedOOMPreference= or OOMPolicy= of a unit.

    Raises:
        Untranslatable: no rule says the same.
    """
    if name == "OOMPolicy":
        if value != "kill":
            raise Untranslatable(_AFTERWARDS)
        target = f"{'user unit ' if unit.user else ''}{quoted(unit.name)}"
        return Piece(line.place, line.text, (f"kill whole {target}",))
    if name == "OOMScoreAdjust":
        if not re.fullmatch(r"[+-]?\d{1,4}", value, re.ASCII) or abs(int(value)) > 1000:
            raise Untranslatable("It is no whole number from -1000 to 1000.")
        share = int(value)
    elif value in ("avoid", "omit"):
        share = -999 if value == "avoid" else -1000
    else:
        raise Untranslatable(
            _DEFAULT if value in ("none", "") else "systemd knows no such preference."
        )
    if not share:
        raise Untranslatable(_DEFAULT)
    if unit.name.endswith(".slice"):
        raise Untranslatable(
            "No process is in a slice itself, and the units below do not inherit it."
        )
    if unit.user and share < 0:
        raise Untranslatable(
            "Users make these units and choose their names, so that a rule would protect whatever "
            "a user likes."
        )
    attribute = "user.unit" if unit.user else "unit"
    text = quoted(unit.name) if "*" in unit.name else literal(unit.name)
    sentence = weighed(share, Selector(f"{attribute} {text}"))
    return Piece(line.place, line.text, (sentence,), adjusts=name == "OOMScoreAdjust")


# --- when it acts ------------------------------------------------------------------------------


def _guards(found: Sequence[_Read]) -> tuple[str, ...]:
    """Return the statements that say when to act."""
    own = dict(_DEFAULTS)
    rulesets, units = dict[str, dict[str, str]](), dict[Unit | str, dict[str, str]]()
    for one in sorted(found, key=lambda one: _rank(one.name)):
        for setting in one.settings:
            if setting.section == "OOM":
                own.update({setting.name: setting.value} if setting.value else {})
            elif setting.section == "Rule":
                name = one.name.rpartition("/")[2].removesuffix(".oomrule")
                rulesets.setdefault(name, {})[setting.name] = setting.value
            elif setting.name in _UNITS_SETTINGS:
                said = units.setdefault(_whose(one.name), {})
                listed = f"{said.get(setting.name, '')} " if setting.name in _LIST else ""
                said[setting.name] = f"{listed}{setting.value}".strip()
    made = list[str]()
    for unit, said in units.items():
        if isinstance(unit, Unit):
            block, texts = _block(unit), _of_unit(said, own, rulesets)
            # The root is no unit that a block could name.
            made += [f"{block}{one}" if block else one.replace("scope.", "host.") for one in texts]
    return tuple(dict.fromkeys(made))


def _block(unit: Unit) -> str:
    if unit.name == "-.slice":
        return ""
    return f"in {'user unit ' if unit.user else ''}{quoted(unit.name)}: "


def _of_unit(
    said: Mapping[str, str], own: Mapping[str, str], rulesets: Mapping[str, Mapping[str, str]]
) -> list[str]:
    made = []
    if said.get("ManagedOOMSwap") == "kill":
        left = _left(own["SwapUsedLimit"])
        if left:
            made.append(f"kill when host.swap_free < {left} and host.available < {left}")
    if said.get("ManagedOOMMemoryPressure") == "kill":
        above = _pressure("Limit", _percent, said, own)
        seconds = _pressure("DurationSec", _seconds, said, own)
        if above is not None and seconds is not None:
            made.append(f"kill when scope.stall > {above:g}% for {seconds:g}s")
    for name in said.get("OOMRules", "").split():
        made += _of_ruleset(rulesets.get(name, {}))
    return made


def _pressure(
    name: str,
    read: Callable[[str], float | None],
    said: Mapping[str, str],
    own: Mapping[str, str],
) -> float | None:
    """Return a value of the unit, else of oomd.conf, else systemd-oomd's own; 0 means the next."""
    default = f"DefaultMemoryPressure{name}"
    texts = (said.get(f"ManagedOOMMemoryPressure{name}", ""), own[default], _DEFAULTS[default])
    return next((value for value in map(read, texts) if value), None)


def _of_ruleset(said: Mapping[str, str]) -> list[str]:
    conditions = []
    above, left = _percent(said.get("MemoryPressureAbove", "")), _left(said.get("SwapUsageMax", ""))
    if above is not None:
        conditions.append(f"scope.stall > {above:g}%")
    if left:
        conditions.append(f"host.swap_free < {left}")
    if not conditions or not said.get("Action", "").startswith("kill"):
        return []
    seconds = _seconds(said.get("LastingSec", "0"))
    lasting = f" for {seconds:g}s" if seconds else ""
    return [f"kill when {' and '.join(conditions)}{lasting}"]


def _percent(text: str) -> float | None:
    match = _PERCENT.fullmatch(text)
    return float(match.group(1)) / {"%": 1, "‰": 10, "‱": 100}[match.group(2)] if match else None


def _left(text: str) -> str:
    used = _percent(text)
    return f"{100 - used:g}%" if used is not None and used <= 100 else ""


def _seconds(text: str) -> float | None:
    if not text or not _SPAN.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS.get(unit, 1e-6) for number, unit in _PART.findall(text))
