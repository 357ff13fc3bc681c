"""Say whom the kernel took when memory ran out, why, and whom the rules would have taken.

It reads the kernel's own report of it, from a log of any form. Without a file, it is the last one
in the kernel's log since this boot.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from oomrules.commands.parts import shared
from oomrules.errors import Failure
from oomrules.terminal import Paint, count, print_json, say, table

if TYPE_CHECKING:
    from oomrules.commands.parts.replayed import Replayed
    from oomrules.report.model import Report

# Bytes of a page that kernels have.
_PAGES = (4096, 8192, 16384, 32768, 65536)

EXITS = {
    0: "the rules certainly take the process that the kernel took",
    1: "another one, nobody, or it is open",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``replay``."""
    parser.add_argument(
        "file",
        nargs="?",
        type=shared.named("FILE"),
        metavar="FILE",
        help="a log of any form, also by gzip or zstd; - is standard input; else the kernel's log",
    )
    parser.add_argument(
        "--boot",
        type=int,
        metavar="N",
        help="the kernel's log of another boot; -1 is the one before this, as journalctl counts",
    )
    shared.add_value(parser, "--since", "TIME", "only since then; as journalctl takes it")
    which = parser.add_mutually_exclusive_group()
    shared.add_flag(which, "--list", "a line for each report")
    which.add_argument(
        "--number",
        type=shared.number(int, 1),
        metavar="N",
        help="the Nth report; else the last one",
    )
    shared.add_flag(which, "--all", "every report; as JSON, one object a line")
    shared.add_rules(parser)
    known = parser.add_mutually_exclusive_group()
    text = "a recorded host, which tells what a report does not: units, times, users"
    shared.add_value(known, "--snapshot", "FILE", text)
    shared.add_flag(known, "--live", "what this host tells of the processes that still run")
    text = "what is not known is as on ordinary processes; the lines so settled are marked"
    shared.add_flag(parser, "--assume", text)
    parser.add_argument(
        "--total",
        type=lambda text: shared.size("--total", 1)(text),
        metavar="SIZE",
        help="what the kernel multiplied oom_score_adj by, as in 16GiB; else as the report says",
    )
    shared.add_value(parser, "--linux", "X.Y", "the kernel's version, if the report is wrong of it")
    parser.add_argument(
        "--page-size",
        type=_page_size,
        metavar="SIZE",
        help="4KiB, 8KiB, 16KiB, 32KiB or 64KiB; else as the report shows",
    )
    shared.add_flag(parser, "--as-snapshot", "write a recorded host, for rank and explain")
    parser.add_argument(
        "-o",
        "--output",
        type=shared.named("-o"),
        metavar="FILE",
        help="with --as-snapshot: the file to write",
    )
    shared.add_format(parser, "text", "json")
    parser.add_argument(
        "--explain",
        dest="reason",
        type=shared.named("--explain"),
        metavar="CODE",
        help="print the page of a reason, and no more",
    )


def _page_size(text: str) -> int:
    size = shared.size("--page-size", 1)(text)
    if size not in _PAGES:
        raise argparse.ArgumentTypeError(f"`{text}` is not 4KiB, 8KiB, 16KiB, 32KiB or 64KiB")
    return size


def run(options: argparse.Namespace) -> int:
    """Print what became of a report; 0 if the rules certainly take whom the kernel took."""
    if options.reason:
        print(_page(options.reason), end="")
        return 0
    _refuse(options)
    if options.list:
        return _list(options)
    if options.as_snapshot:
        return _write(options)
    from oomrules.commands.parts import replay_rules, replayed

    asked = replay_rules.asked(options)
    code = 0
    for number, report in enumerate(_reports(options)):
        one = asked.replay(report)
        one = replace(one, again=_again(options, report), more=_more(options))
        code = max(code, 0 if one.agrees else 1)
        if options.format == "json":
            print_json(replayed.as_data(one), None if options.all else 1)
        else:
            if number:
                print()
            _print(one)
        sys.stdout.flush()
    return code


def _page(code: str) -> str:
    """Return the page of a reason.

    Raises:
        Failure: there is no such reason.
    """
    from oomrules.language.diagnostics import similar
    from oomrules.report import reasons

    if code.upper() in reasons.REASONS:
        return reasons.page(code.upper())
    close = similar(code.upper(), reasons.REASONS)
    raise Failure(
        f"there is no reason {code}",
        f"did you mean {close[0]}?" if close else "they are like RPL101",
    )


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    """Yield the reports that are asked for.

    Raises:
        Failure: there is none, or the text cannot be read.
    """
    from oomrules.commands.parts import replay_text

    number = None if options.number is None else int(options.number)
    with replay_text.opened(options.file, options.boot, options.since) as text:
        if options.all or options.list:
            found = 0
            for found, report in enumerate(text.reading, 1):  # noqa: B007
                yield report
            if not found:
                raise text.nothing()
        else:
            yield text.only(number)


def _refuse(options: argparse.Namespace) -> None:
    """Raise Failure for options that mean nothing together."""
    if options.file is not None and (options.boot is not None or options.since):
        option = "--since" if options.boot is None else "--boot"
        raise Failure(
            f"{option} is about this host's own log, and {options.file} is a file",
            f"leave out {options.file}, or {option}",
        )
    if options.output and not options.as_snapshot:
        raise Failure("-o is for --as-snapshot alone", "add --as-snapshot, or redirect the output")
    if options.as_snapshot and (options.list or options.all):
        raise Failure(
            "--as-snapshot makes a host of one report", "say which one by --number N instead"
        )


def _again(options: argparse.Namespace, report: Report) -> str:
    """Return the command that replays the same report, with the same rules and the same knowledge.

    Empty where no line can hold it, or the text was on standard input.
    """
    from oomrules.report.sources import STDIN

    words = ["oomrules", "replay"]
    words += [options.file] if options.file is not None else []
    words += [f"--boot={options.boot}"] if options.boot is not None else []
    words += [f"--since={options.since}"] if options.since else []
    if report.number != report.of:
        words.append(f"--number={report.number}")
    for path in options.rules or ():
        words += ["--rules", path]
    words += ["--snapshot", options.snapshot] if options.snapshot else []
    words += ["--live"] if options.live else []
    words += [f"--total={options.total >> 10}KiB"] if options.total is not None else []
    words += [f"--linux={options.linux}"] if options.linux else []
    words += [f"--page-size={options.page_size >> 10}KiB"] if options.page_size else []
    can = options.file != STDIN and all(word.isprintable() for word in words)
    return shlex.join(words) if can else ""


def _more(options: argparse.Namespace) -> str:
    """Return what would tell more of the processes than the report does."""
    from oomrules.commands.parts.replayed import LIVE, RECORDING

    if options.snapshot or options.live:
        return ""
    return LIVE if options.file is None and not options.boot else RECORDING


def _print(one: Replayed) -> None:
    from oomrules.commands.parts import replay_screen

    paint = Paint(sys.stdout)
    columns = shutil.get_terminal_size().columns if paint.seen else replay_screen.COLUMNS
    for line in replay_screen.screen(one, paint, columns):
        print(line)


def _list(options: argparse.Namespace) -> int:
    """Print a line for each report."""
    from oomrules.commands.parts import replay_rules, replay_screen, replayed

    asked = replay_rules.asked(options, with_rules=False)
    rows = []
    for report in _reports(options):
        chosen = asked.choose(report)
        if options.format == "json":
            print_json(replayed.as_data(asked.replay(report)), None)
        else:
            rows.append(replay_screen.list_row(report, chosen))
    if rows:
        print(table(replay_screen.LIST_COLUMNS, rows, Paint(sys.stdout)))
    return 0


def _write(options: argparse.Namespace) -> int:
    """Write a report as a recorded host."""
    from oomrules import files
    from oomrules.commands.parts import replay_rules

    asked = replay_rules.asked(options, with_rules=False)
    (report,) = _reports(options)
    if report.table is None:
        raise Failure(
            f"{report.source}:{report.first}: this report has no table of tasks, so no host can be "
            "made of it",
            "`journalctl -k -o short-iso` has the whole report, if the table was cut off",
        )
    made = asked.made(report, asked.choose(report))
    if options.output and options.output != "-":
        files.replace(options.output, made.text.encode(), 0o600)
        say(f"{count(len(made.lines), 'line')} written to {options.output}", sys.stderr)
    else:
        sys.stdout.write(made.text)
    return 0
