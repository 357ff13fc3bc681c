"""earlyoom: its command line (earlyoom(1)) and /etc/default/earlyoom.

Written from versions 1.7 and 1.8: main.c for the options, `is_larger` of kill.c for their meaning.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from oomrules.importing import patterns
from oomrules.importing.translation import (
    ADDED,
    BOTH_ACT,
    MEASURED,
    OOM_SCORE,
    PASSED_OVER,
    REPEATED,
    SAMPLES,
    Line,
    Piece,
    Selector,
    Translation,
    Untranslatable,
    added,
    no_swap_or,
)

TOOL = "earlyoom"

_WHEN = "When earlyoom acts. It is no number, and earlyoom refuses to start."
_NOTICES = (
    "Whom earlyoom tells of a kill by D-Bus. The service sends the same signal, unless `Notices=` "
    "in /etc/oomrules.conf says otherwise."
)
_HOOK = (
    "What earlyoom runs after a kill. A program in /etc/oomrules/hooks.d is told of each act; its "
    "variables are called OOMRULES_PID, OOMRULES_COMM and so on, and OOMRULES_EVENT is `killed`. "
    "The command line is not among them."
)
_BEFORE = (
    "What earlyoom runs before a kill. Nothing is run then, since it would take time and memory; a "
    "program in /etc/oomrules/hooks.d is told of each act afterwards."
)
_REPORTS = (
    "How often earlyoom prints a report. `oomrules status` and `oomrules guard` say it at any "
    "time, and figures for node_exporter are in /run/oomrules/oomrules.prom."
)
_PRIORITY = "How earlyoom itself runs. oomrules.service has both by itself: Nice=, OOMScoreAdjust=."
_ITSELF = "How earlyoom itself runs and what it prints."
_DRY = (
    "It kills nothing. So the guards below warn only. With `Mode=dry-run` in /etc/oomrules.conf, "
    "`terminate when` in place of `warn when` says whom they would take."
)
_GROUP = (
    "The whole process group is killed. Here what dies together is a unit: `kill whole`, with its "
    "name."
)
_REMOVED = "Options that earlyoom takes and ignores."
_UNKNOWN = "No option of earlyoom that is known here."


class Option(NamedTuple):
    """An option of earlyoom.

    Attributes:
        valued: whether a value follows.
        reason: why nothing says the same; empty if there are sentences.
    """

    valued: bool
    reason: str = ""


_DRYRUN = "--dryrun"
OPTIONS = {
    "-m": Option(True, _WHEN),
    "-s": Option(True, _WHEN),
    "-M": Option(True, _WHEN),
    "-S": Option(True, _WHEN),
    "-k": Option(False, _REMOVED),
    "-i": Option(False, _REMOVED),
    "-d": Option(False, _ITSELF),
    "--debug": Option(False, _ITSELF),
    "-v": Option(False, _ITSELF),
    "-r": Option(True, _REPORTS),
    "-p": Option(False, _PRIORITY),
    "-h": Option(False, _ITSELF),
    "--help": Option(False, _ITSELF),
    "--syslog": Option(False, _ITSELF),
    _DRYRUN: Option(False, _DRY),
    "-w": Option(True, "How long earlyoom waits for a process to die."),
    "-n": Option(False, _NOTICES),
    "-N": Option(True, _HOOK),
    "-P": Option(True, _BEFORE),
    "-g": Option(False, _GROUP),
    "--prefer": Option(True),
    "--avoid": Option(True),
    "--ignore": Option(True),
    "--ignore-root-user": Option(False),
    "--sort-by-rss": Option(False),
}
_BY_NAME = ("--prefer", "--avoid", "--ignore")
# Those of which the last counts.
_ONCE = frozenset(["-m", "-s", "-M", "-S", "-r", "-N", "-P", "-w", *_BY_NAME])
# Points of oom_score that --prefer adds and --avoid takes away: 300, in thousandths of RAM + swap.
_STEP = 450

_LONGEST_COMM = 15


class _Given(NamedTuple):
    """An option as it was given: its name in ``OPTIONS``, or a word that is none.

    The value is None if there is none, where there may be none or where it is missing.
    """

    name: str
    value: str | None
    said: Line


# --- the command line ------------------------------------------------------------------------


def of_arguments(arguments: Sequence[str]) -> Translation:
    """Return what a command line means; the first word may be the program."""
    words = [Line(f"argument {number}", word) for number, word in enumerate(arguments, 1)]
    return _translated(("the arguments",), words, [], 0)


def _options(words: Sequence[Line]) -> Iterator[_Given]:
    """Yield the options, as getopt_long(3) finds them."""
    left = list(words[::-1])
    while left:
        word = left.pop()
        if word.text == "--":
            yield from (_Given("", None, rest) for rest in left[::-1])
            return
        if word.text.startswith("--"):
            yield _long(word, left)
        elif word.text.startswith("-") and len(word.text) > 1:
            yield from _short(word, left)
        else:
            yield _Given(word.text, None, word)


def _long(word: Line, left: list[Line]) -> _Given:
    written, equals, value = word.text.partition("=")
    # A long option may be cut short where that is clear.
    near = [name for name in OPTIONS if name.startswith(written) and name.startswith("--")]
    name = written if written in OPTIONS else near[0] if len(near) == 1 else written
    if equals or name not in OPTIONS or not OPTIONS[name].valued or not left:
        return _Given(name, value if equals else None, word)
    follows = left.pop()
    return _Given(name, follows.text, Line(word.place, _shown(word.text, follows.text)))


def _short(word: Line, left: list[Line]) -> Iterator[_Given]:
    letters = word.text[1:]
    for number, letter in enumerate(letters, 1):
        name = f"-{letter}"
        if name not in OPTIONS or not OPTIONS[name].valued:
            yield _Given(name, None, Line(word.place, name))
            continue
        value = letters[number:]
        if value or not left:
            yield _Given(name, value or None, Line(word.place, f"{name}{value}"))
        else:
            follows = left.pop()
            yield _Given(name, follows.text, Line(word.place, _shown(name, follows.text)))
        return


def _shown(name: str, value: str) -> str:
    return f"{name} {shlex.quote(value)}"


# --- /etc/default/earlyoom -------------------------------------------------------------------

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(\w+)=(.*)", re.DOTALL)
_MOST_LINES = 100


def of_file(name: str, lines: Sequence[str]) -> Translation:
    """Return what a file of settings for the shell means, or one of command lines."""
    assigned, others, ignored = list[Line](), list[Piece](), 0
    for number, text in _logical(lines):
        place = f"{name}:{number}"
        if not text.strip() or text.lstrip().startswith("#"):
            ignored += 1
            continue
        line = Line(place, text.strip())
        match = _ASSIGNMENT.fullmatch(line.text)
        if match and match.group(1) != "EARLYOOM_ARGS":
            others.append(_none(line, "Variables that earlyoom does not read."))
        else:
            assigned.append(line)
    others += [_none(line, REPEATED) for line in assigned[:-1]]
    words, starts = list[Line](), True
    for line in assigned[-1:]:
        match = _ASSIGNMENT.fullmatch(line.text)
        try:
            # As the shell or systemd reads the file, and then systemd splits the value.
            given = "".join(shlex.split(match.group(2), comments=True)) if match else line.text
            words = [Line(line.place, word) for word in shlex.split(given)]
        except ValueError as error:
            others.append(_none(line, f"A quotation in it has no end ({error})."))
            starts = False
        else:
            if not words[_is_program(words) :]:
                others.append(_none(line, "It gives earlyoom no option."))
    return _translated((name,), words, others, ignored, starts=starts)


def of_command(name: str, line: Line) -> Translation:
    """Return what a command line in a file, as behind ``ExecStart=``, means."""
    try:
        words = [Line(line.place, word) for word in shlex.split(line.text)]
    except ValueError as error:
        return Translation(TOOL, (name,), (_none(line, f"A quotation has no end ({error})."),))
    return _translated((name,), words, [], 0)


def _logical(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; one whose quotation is open goes on in the next."""
    at = 0
    while at < len(lines):
        for end in range(at + 1, min(at + _MOST_LINES, len(lines)) + 1):
            text = "\n".join(lines[at:end])
            if text.lstrip().startswith("#") or _closed(text):
                break
        else:
            end, text = at + 1, lines[at]
        yield at + 1, text
        at = end


def _closed(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


# --- what the options mean ---------------------------------------------------------------------


def _none(line: Line, reason: str) -> Piece:
    return Piece(place=line.place, said=line.text, reason=reason)


def _is_program(words: Sequence[Line]) -> bool:
    """Return whether the first word is the program itself."""
    return bool(words) and bool(re.fullmatch(r"(?:.*/)?earlyoom", words[0].text, re.DOTALL))


def _translated(
    inputs: tuple[str, ...],
    words: list[Line],
    others: list[Piece],
    ignored: int,
    *,
    starts: bool = True,
) -> Translation:
    """Return what a command line means.

    Args:
        words: its words.
        others: what else the file says.
        ignored: how many lines of it are empty or comments.
        starts: whether earlyoom can be started with it at all.
    """
    given = list(_options(words[_is_program(words) :]))
    last = {option.name: place for place, option in enumerate(given)}
    by_rss = "--sort-by-rss" in last
    pieces = list[Piece]()
    differences = ["It compares resident memory, as `score rss` does." if by_rss else MEASURED]
    for place, option in enumerate(given):
        if option.name in _ONCE and place != last[option.name]:
            pieces.append(_none(option.said, REPEATED))
            continue
        pieces.append(_piece(option, by_rss))
    if not by_rss:
        pieces.insert(0, Piece(inputs[0], "(largest oom_score first)", (OOM_SCORE, PASSED_OVER)))
    differences += [text for names, needs, text in _MEANT if names & last.keys() and needs(by_rss)]
    if {"--prefer", "--avoid"} <= last.keys() and not by_rss:
        differences.append(
            "A process whose name matches both --prefer and --avoid is as any other for earlyoom. "
            "Here it counts a fifth less."
        )
    return Translation(
        tool=TOOL,
        inputs=inputs,
        pieces=(*pieces, *others),
        differences=tuple(differences),
        guards=_guards({option.name: option.value or "" for option in given})
        if starts and all(map(_is_known, given))
        else (),
        acts=_CONDITIONS if _DRYRUN in last else (*_CONDITIONS, *_KILLS),
        ignored=ignored,
        whole=True,
    )


# Options, whether it matters if memory is what is compared, and what is to be known of them.
_MEANT: tuple[tuple[set[str], Callable[[bool], bool], str], ...] = (
    ({"--prefer", "--avoid"}, lambda by_rss: not by_rss, ADDED),
    (
        {"--prefer", "--avoid"},
        bool,
        "--prefer goes before all others and --avoid after them, unless another process holds "
        "3 GiB more, or it does. `kill first` and `kill last` have no such limit. A process whose "
        "name matches both is as any other for earlyoom; here it is killed last.",
    ),
    (
        {"--ignore"},
        lambda by_rss: True,
        "--ignore and `never kill` go by a name that any process can give itself. Say more of the "
        'process than its name, such as `user "postgres"` or `unit "x.service"`.',
    ),
    (
        {"--ignore-root-user"},
        lambda by_rss: True,
        "--ignore-root-user goes by the owner of /proc/PID, which is root for some programs that "
        "users start. `uid 0` is the real user.",
    ),
)


def _is_known(option: _Given) -> bool:
    """Return whether earlyoom takes an option; else it refuses to start."""
    known = OPTIONS.get(option.name)
    return known is not None and not (known.valued and option.value is None)


def _piece(option: _Given, by_rss: bool) -> Piece:
    known = OPTIONS.get(option.name)
    if known is None:
        return _none(option.said, _UNKNOWN)
    if known.valued and option.value is None:
        return _none(option.said, "Its value is missing; earlyoom refuses to start.")
    if known.reason:
        return replace(_none(option.said, known.reason), when=option.name in _LIMITS)
    if option.name == "--ignore-root-user":
        return Piece(option.said.place, option.said.text, ("never kill uid 0",))
    if option.name == "--sort-by-rss":
        return Piece(option.said.place, option.said.text, ("score rss",))
    pattern = option.value or ""
    try:
        selector = patterns.matching("comm", patterns.posix(pattern))
    except Untranslatable as error:
        return _none(option.said, error.reason)
    sentence = _by_name(option.name, selector, by_rss)
    return Piece(option.said.place, option.said.text, (sentence,), notes=_cut(pattern))


def _by_name(name: str, selector: Selector, by_rss: bool) -> str:
    if name == "--ignore":
        return f"never kill {selector}"
    if by_rss:
        return f"kill {'first' if name == '--prefer' else 'last'} {selector}"
    return added(_STEP if name == "--prefer" else -_STEP, selector)


def _cut(pattern: str) -> tuple[str, ...]:
    """Return a note about a name that is too long for a name of the kernel's."""
    longest = max(re.findall(r"[\w.-]+", pattern), key=len, default="")
    if len(longest) <= _LONGEST_COMM:
        return ()
    return (
        f"`{longest}` has more than {_LONGEST_COMM} characters; the kernel cuts names there, so it "
        "matches no process, and did not for earlyoom.",
    )


# --- when it acts ------------------------------------------------------------------------------


_CONDITIONS = (
    "Both conditions have to be true, as for earlyoom: a host with much free swap may stand still "
    "before that. A guard can ask for `host.stall` instead.",
    "What earlyoom is not told is 10 % of memory and of swap, and SIGKILL comes at half of that. "
    "Its percentages are of MemAvailable + AnonPages, which is a little less than `host.memory`.",
)
_KILLS = (
    "earlyoom sends SIGTERM again and again. `terminate` sends it once, and SIGKILL after 5 s.",
    SAMPLES,
    BOTH_ACT.format(tool="earlyoom", units="earlyoom"),
)
_LIMITS = frozenset(["-m", "-s", "-M", "-S"])


def _guards(values: dict[str, str]) -> tuple[str, ...]:
    """Return the statements that say when to act; none if a threshold is no number.

    Those of a dry run warn, at the first thresholds, since earlyoom kills nothing there.
    """
    try:
        memory = _thresholds("host.available", values, "-m", "-M")
        swap = [] if _ignores_swap(values) else _thresholds("host.swap_free", values, "-s", "-S")
    except ValueError:
        return ()
    made = []
    for number, verb in enumerate(("warn",) if _DRYRUN in values else ("terminate", "kill")):
        conditions = [f"{name} <= {limits[number]}" for name, limits in memory]
        swaps = " and ".join(f"{name} <= {limits[number]}" for name, limits in swap)
        conditions += [no_swap_or(swaps)] if swaps else []
        made.append(f"{verb} when {' and '.join(conditions)}")
    return tuple(made)


def _ignores_swap(values: dict[str, str]) -> bool:
    return values.get("-s", "").partition(",")[0] == "100" and "-S" not in values


def _thresholds(
    name: str, values: dict[str, str], percent: str, size: str
) -> list[tuple[str, tuple[str, str]]]:
    """Return what an attribute is compared with for SIGTERM and for SIGKILL."""
    found = []
    if percent in values or size not in values:
        found.append((name, _pair(values.get(percent, "10"), "%")))
    if size in values:
        found.append((name, _pair(values[size], "KiB")))
    return found


def _pair(text: str, unit: str) -> tuple[str, str]:
    first, _, second = text.partition(",")
    number = float(first)
    half = float(second) if second else number / 2
    if not (0 <= half < 1e15 and 0 <= number < 1e15):
        raise ValueError(text)
    return f"{number:.12g}{unit}", f"{half:.12g}{unit}"
