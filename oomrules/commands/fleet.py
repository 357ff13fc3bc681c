"""Ask about rules on many recorded hosts at once.

`rank HOSTS…` shows the first victims over all hosts, `diff OLD NEW HOSTS…` what a change of rules
means, `check HOSTS…` which rules are about nobody, `test EXPECTATIONS HOSTS…` whether every host is
as expected. HOSTS are recordings of `oomrules snapshot`, directories of them, or addresses.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from oomrules.commands.parts import findings, shared
from oomrules.errors import Failure
from oomrules.language.diagnostics import Rejected
from oomrules.terminal import (
    Column,
    Paint,
    count,
    duration,
    is_terminal,
    memory,
    print_json,
    progress,
    say,
    table,
)

if TYPE_CHECKING:
    from oomrules.fleet.folding import Checked, Differences, Fold, Tested, Victims
    from oomrules.fleet.questions import Answer, Question

SCHEMA = "oomrules.fleet/1"

EXITS = {
    0: "nothing was found that --fail-on names",
    1: "something was",
    2: "usage or failure, or no recording could be read",
}

# What may be found; what ends with exit code 1 unless --fail-on says something else.
FINDINGS = {
    "rank": ("nobody", "bad"),
    "diff": ("first", "protected", "nobody", "order", "bad"),
    "check": ("unused", "share", "nobody", "bad"),
    "test": ("failed", "unused", "bad"),
}
_WORDS = {"diff": 2, "test": 1}
_DIFFERENCES = {
    "first": "another first victim",
    "protected": "others protected",
    "nobody": "nobody left to kill",
    "order": "another order",
}
_EVERY = 0.2  # seconds between two looks of the progress


class Asked(NamedTuple):
    """What is asked, and where the answers go."""

    question: Question
    fold: Fold
    show: Callable[[Paint], None]
    data: Callable[[], dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fleet``."""
    parser.add_argument("what", choices=tuple(FINDINGS), help="what is asked of every host")
    shared.add_paths(parser, "+", "OLD NEW of diff, EXPECTATIONS of test; then the recordings")
    shared.add_rules(parser)
    parser.add_argument(
        "--by",
        choices=("program", "unit", "user"),
        default="program",
        help="of rank: how first victims are told apart",
    )
    parser.add_argument(
        "--top",
        type=shared.number(int, 1),
        default=20,
        metavar="N",
        help="of rank: only the first N lines of the table",
    )
    parser.add_argument(
        "--least",
        type=shared.number(float, 0, 100),
        default=25.0,
        metavar="PERCENT",
        help="of check: the share of what processes hold that could be freed; 25 if not given",
    )
    shared.add_flag(parser, "--details", "of diff: with --format jsonl, every process that differs")
    shared.add_flag(parser, "--latest", "of HOST@TIME recordings, only the last one of each host")
    parser.add_argument(
        "--processes",
        type=shared.number(int, 1, 1024),
        default=0,
        metavar="N",
        help="how many processes share the work; one a processor if not given",
    )
    shared.add_value(parser, "--scheduler", "ADDRESS", "a cluster of Dask, as tcp://HOST:8786")
    shared.add_value(
        parser,
        "--fail-on",
        "KINDS",
        "the findings that end with exit code 1, with commas between them, or none; all of them "
        "if not given",
    )
    parser.add_argument(
        "--format", choices=("table", "jsonl"), default="table", help="how it is printed"
    )


def run(options: argparse.Namespace) -> int:
    """Ask every host, and print what was found; 1 if --fail-on names it."""
    from oomrules.fleet import recordings, running

    fatal = _fatal(options)
    number = _WORDS.get(options.what, 0)
    words, hosts = options.paths[:number], options.paths[number:]
    if not hosts:
        usage = {"diff": "OLD NEW HOSTS…", "test": "EXPECTATIONS HOSTS…"}
        raise Failure(
            f"`oomrules fleet {options.what}` was given no recorded hosts",
            f"write `oomrules fleet {options.what} {usage.get(options.what, 'HOSTS…')}`",
        )
    asked = _asked(options, words)
    names = recordings.named(hosts, options.latest)
    if options.format == "jsonl":
        head = {"kind": "fleet", "schema": SCHEMA, "what": options.what, "hosts": len(names)}
        print_json(head, None)
    answers = running.ask(asked.question, names, options.processes, options.scheduler or "")
    for answer in _with_progress(answers, len(names), asked.fold):
        asked.fold.add(answer)
        if options.format == "jsonl":
            print_json({"kind": "host", **answer}, None)
            sys.stdout.flush()
    found = asked.fold.findings()
    if options.format == "jsonl":
        summary = {"hosts": asked.fold.hosts, "findings": found, **asked.data()}
        print_json({"kind": "summary", **summary}, None)
    else:
        asked.show(Paint(sys.stdout))
    _print_bad(asked.fold)
    if not asked.fold.hosts:
        raise Failure("no recording could be read", "the notes above name them")
    return 1 if any(found.get(kind) for kind in fatal) else 0


def _asked(options: argparse.Namespace, words: list[str]) -> Asked:
    if options.what == "diff":
        return _diff(options, *words)
    if options.what == "test":
        return _test(options, *words)
    return _rank(options) if options.what == "rank" else _check(options)


def _fatal(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the kinds of findings that --fail-on names."""
    known = FINDINGS[options.what]
    if options.fail_on is None:
        return known
    kinds = tuple(options.fail_on.split(",")) if options.fail_on != "none" else ()
    for kind in kinds:
        if kind not in known:
            raise Failure(
                f"--fail-on: `{kind}` is nothing that `fleet {options.what}` finds",
                f"write none, or some of {','.join(known)}",
            )
    return kinds


def _with_progress(answers: Iterator[Answer], total: int, fold: Fold) -> Iterator[Answer]:
    showing, begin = is_terminal(sys.stderr), time.monotonic()
    shown = begin
    try:
        for number, answer in enumerate(answers, 1):
            yield answer
            now = time.monotonic()
            if showing and now - shown > _EVERY:
                shown = now
                bar = "#" * (20 * number // total)
                left = duration(1000 * round((now - begin) / number * (total - number)))
                progress(f"[{bar:20}] {number} of {total} hosts, {fold.bad} bad, {left} left")
    finally:
        # Also where Ctrl+C ends it.
        if shown != begin:
            progress("")


def _print_bad(fold: Fold) -> None:
    for message in fold.named_bad:
        say(f"note: not judged: {message}", sys.stderr)
    if more := fold.bad - len(fold.named_bad):
        say(f"note: {more} more could not be judged (--format jsonl names them)", sys.stderr)


# --- rank ---------------------------------------------------------------------------------------


def _rank(options: argparse.Namespace) -> Asked:
    from oomrules.fleet.folding import Victims
    from oomrules.fleet.questions import Question, text_of

    fold = Victims(by=options.by)
    question = Question("rank", (text_of(shared.program(options)),))

    def data() -> dict[str, Any]:
        groups = [{options.by: name, **vars(group)} for name, group in fold.ordered()]
        return {"by": options.by, "groups": groups, "nobody": _witness(fold, "nobody")}

    return Asked(question, fold, lambda paint: _print_victims(fold, options.top, paint), data)


def _print_victims(fold: Victims, top: int, paint: Paint) -> None:
    columns = (
        Column("HOSTS", right=True),
        Column("SHARE", right=True),
        Column(fold.by.upper(), least=12, turn=2),
        Column("HOLD", right=True, goes=1),
        Column("FOR EXAMPLE", least=16, turn=1),
    )
    groups = fold.ordered()
    rows = [
        [
            str(group.hosts),
            _percent(group.hosts, fold.hosts),
            name or "-",
            memory(group.held // group.hosts),
            f"{group.witness}, process {group.pid}",
        ]
        for name, group in groups[:top]
    ]
    if rows:
        print(table(columns, rows, paint), end="\n\n")
    more = f", {len(groups) - top} more {fold.by}s" if len(groups) > top else ""
    print(f"{_judged(fold)}{more}")
    _say_witness(fold, "nobody", "nobody may be killed")


# --- diff ---------------------------------------------------------------------------------------


def _diff(options: argparse.Namespace, old: str, new: str) -> Asked:
    from oomrules.fleet.folding import Differences
    from oomrules.fleet.questions import Question, text_of

    if options.rules:
        raise Failure("`fleet diff` compares OLD with NEW, and takes no --rules", "leave it out")
    programs = (
        shared.program(argparse.Namespace(rules=[path], root=options.root)) for path in (old, new)
    )
    fold = Differences()
    question = Question("diff", tuple(map(text_of, programs)), details=options.details)

    def data() -> dict[str, Any]:
        kinds = {
            kind: {"hosts": fold.counts.get(kind, 0), "witness": _witness(fold, kind)}
            for kind in _DIFFERENCES
        }
        return {"old": old, "new": new, "kinds": kinds}

    return Asked(question, fold, lambda paint: _print_differences(fold, paint), data)


def _print_differences(fold: Differences, paint: Paint) -> None:
    columns = (
        Column("HOSTS", right=True),
        Column("SHARE", right=True),
        Column("WHAT"),
        Column("FOR EXAMPLE", least=16, turn=1),
        Column("OLD", least=12, turn=2),
        Column("NEW", least=12, turn=3),
    )
    rows = []
    for kind, words in _DIFFERENCES.items():
        if kind in fold.counts:
            one = fold.witnesses[kind]
            number = fold.counts[kind]
            sides = [_side(kind, one, side) for side in ("old", "new")]
            rows.append([str(number), _percent(number, fold.hosts), words, one["host"], *sides])
    if rows:
        print(table(columns, rows, paint), end="\n\n")
    print(f"{_judged(fold)}{'' if rows else ', no difference on any of them'}")


def _side(kind: str, answer: Answer, side: str) -> str:
    if kind == "protected" and answer["protected"]:
        one = answer["protected"]
        by = f"protected by {one[side]}" if one[side] else "not protected"
        return f"{one['comm']} ({one['pid']}): {by}"
    if kind == "order":
        # The first victims may be the same.
        return f"differ: {count(answer['changed'], 'process')}" if side == "new" else "-"
    first = answer[side]
    return f"{first['program']} ({first['pid']})" if first else "nobody"


# --- check --------------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> Asked:
    from oomrules.fleet.folding import Checked
    from oomrules.fleet.questions import Question, text_of, unweighed

    made = shared.program(options)
    rules: dict[str, str] = {}
    for scope in made.scopes:
        block = "".join(f"in {target}: " for target in scope.targets)
        rules |= {rule.place: block + rule.text for rule in scope.rules}
        rules |= {whole.place: block + whole.text for whole in scope.wholes}
        # A guard of the host is about no process.
        rules |= {guard.place: block + guard.text for guard in scope.guards if block}
    rules = {place: rules[place] for place in sorted(rules, key=_file_and_line)}
    fold = Checked(rules=rules, least=options.least / 100)
    question = Question("check", (text_of(made), text_of(unweighed(made))))

    def data() -> dict[str, Any]:
        unused = [{"place": place, "text": text} for place, text in fold.unused().items()]
        witnesses = {kind: _witness(fold, kind) for kind in ("share", "nobody")}
        return {"least": options.least, "unused": unused, "about": fold.about, **witnesses}

    return Asked(question, fold, lambda paint: _print_checked(fold, paint), data)


def _file_and_line(place: str) -> tuple[str, int]:
    name, _, line = place.rpartition(":")
    return name, int(line)


def _print_checked(fold: Checked, paint: Paint) -> None:
    for place, text in fold.unused().items() if fold.hosts else ():
        print(f"{paint('about nobody on any host', 'yellow')}: {paint(f'{place}: {text}')}")
    for kind, words in (("share", "too little could be freed"), ("nobody", "nobody may be killed")):
        _say_witness(fold, kind, words)
    print(_judged(fold))


# --- test ---------------------------------------------------------------------------------------


def _test(options: argparse.Namespace, path: str) -> Asked:
    from oomrules.fleet import expectations
    from oomrules.fleet.folding import Tested
    from oomrules.fleet.questions import Question, text_of

    expected = expectations.read(path)
    try:
        meant = expectations.compiled(path, expected)
    except Rejected as error:
        findings.print_full(error.diagnostics, sys.stderr)
        raise Failure(f"{path} has a selector that is wrong", "mend the `who` above") from error
    fold = Tested(expectations=len(expected))
    programs = (text_of(shared.program(options)), text_of(meant))
    question = Question("test", programs, expected=tuple(one.wanted for one in expected))

    def data() -> dict[str, Any]:
        said = [
            {
                "name": one.name,
                "who": one.who,
                "is": one.wanted,
                "failed": fold.counts.get(str(number), 0),
                "nobody": fold.idle.get(number, 0),
                "witness": _witness(fold, str(number)),
            }
            for number, one in enumerate(expected)
        ]
        return {"expectations": said}

    def show(paint: Paint) -> None:
        for number, one in enumerate(expected):
            _print_expectation(fold, number, f"{one.name}: {one.who} is {one.wanted}", paint)
        print(_judged(fold))

    return Asked(question, fold, show, data)


def _print_expectation(fold: Tested, number: int, what: str, paint: Paint) -> None:
    failed, idle = fold.counts.get(str(number), 0), fold.idle.get(number, 0)
    if failed:
        witness = fold.witnesses[str(number)]
        one = witness["wrong"][str(number)]
        print(f"{paint('failed', 'red')} on {count(failed, 'host')}: {paint(what)}")
        which = f"{one['comm']} ({one['pid']})"
        rank = f"number {one['rank']}" if one["rank"] else "no candidate"
        say(f"  {witness['host']}: {f'{which} is {rank}' if one['pid'] else 'nobody is meant'}")
    elif number in fold.unused():
        print(f"{paint('about nobody on any host', 'yellow')}: {paint(what)}")
    else:
        there = count(fold.hosts - idle, "host")
        print(f"{paint('holds', 'green')} on {there}: {paint(what)}")


# --- words --------------------------------------------------------------------------------------


def _judged(fold: Fold) -> str:
    bad = f", {count(fold.bad, 'recording')} not judged" if fold.bad else ""
    return f"{count(fold.hosts, 'host')} judged{bad}"


def _witness(fold: Fold, kind: str) -> str | None:
    return fold.witnesses[kind]["host"] if kind in fold.witnesses else None


def _say_witness(fold: Fold, kind: str, words: str) -> None:
    if kind in fold.counts:
        say(f"{words} on {count(fold.counts[kind], 'host')}, such as {_witness(fold, kind)}")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
