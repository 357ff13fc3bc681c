"""Show what a change of rules means: on this host, and over all possible processes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from oomrules.commands.parts import recording, selection, shared
from oomrules.commands.parts.verdicts import within_block
from oomrules.errors import Failure
from oomrules.program.program import Program
from oomrules.terminal import Column, Paint, called, count, print_json, say, table

if TYPE_CHECKING:
    from oomrules.reason.diff import Difference, GuardDifference

SCHEMA = "oomrules.diff/1"

_COLUMNS = (
    Column("PID", right=True),
    Column("COMM", least=8, enough=16, turn=2),
    Column("WHAT", least=8, turn=3, goes=1),
    Column("OLD", least=12, enough=24, turn=1),
    Column("NEW", least=12, enough=24, turn=1),
)

EXITS = {
    0: "no process is ranked, protected or taken by a guard differently",
    1: "one is",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``diff``."""
    parser.add_argument(
        "old", type=shared.named("OLD"), metavar="OLD", help="rules: a file or a directory"
    )
    parser.add_argument(
        "new", type=shared.named("NEW"), metavar="NEW", help="the rules to compare them with"
    )
    shared.add_root(parser)
    shared.add_host(parser)
    shared.add_flag(parser, "--no-host", "do not compare the processes of this host")
    shared.add_format(parser, "table", "json")


def run(options: argparse.Namespace) -> int:
    """Print what differs; 1 if anything does."""
    from oomrules.reason import diff

    if options.no_host and options.snapshot:
        raise Failure("--no-host and --snapshot exclude each other", "leave one of them out")
    old, new = (
        shared.program(argparse.Namespace(rules=[path], root=options.root))
        for path in (options.old, options.new)
    )
    host = None if options.no_host else _on_host(options, old, new)
    compared = diff.compare(old, new)
    everywhere = {
        "proved": compared.proved,
        "undecided": compared.undecided,
        "needs_z3": bool(compared.unsolved),
        "differences": [_difference(difference) for difference in compared.differences],
        "wholes": [
            {"side": "new" if one.added else "old", "place": one.place, "text": one.text}
            for one in compared.wholes
        ],
    }
    guards = [_guard(one) for one in diff.guards(old, new)]
    if options.format == "json":
        known = {"schema": SCHEMA, "old": options.old, "new": options.new}
        print_json({**known, "host": host, "everywhere": everywhere, "guards": guards}, 2)
    else:
        paint = Paint(sys.stdout)
        if host:
            _print_on_host(options.snapshot or "this host", host, paint)
        _print_everywhere(everywhere, paint)
        _print_guards(guards, paint)
    differs = compared.differences or compared.wholes or guards
    return 1 if differs or (host and host["changes"]) else 0


def _on_host(options: argparse.Namespace, old: Program, new: Program) -> dict[str, Any]:
    """Compare process by process, on this host or a recorded one."""
    from oomrules.reason import diff, hosts

    if options.snapshot:
        snapshot: Any = recording.load(options.snapshot)
    else:
        snapshot = selection.live(diff.together(old, new))
        shared.print_notes(selection.notes(snapshot))
    return hosts.compared(snapshot, old, new).as_data


def _difference(difference: Difference) -> dict[str, Any]:
    from oomrules.reason.hosts import verdict_data

    return {
        "what": difference.what,
        "side": "new" if difference.added else "old",
        "place": difference.place,
        "text": difference.text,
        "witness": difference.process,
        "old": verdict_data(difference.old),
        "new": verdict_data(difference.new),
    }


def _guard(difference: GuardDifference) -> dict[str, Any]:
    sides = {
        side: guard and {"place": guard.place, "text": guard.text}
        for side, guard in (("old", difference.old), ("new", difference.new))
    }
    return {"what": difference.what, "targets": list(difference.targets), **sides}


def _print_on_host(where: str, host: dict[str, Any], paint: Paint) -> None:
    rows = [
        [str(one["pid"]), called(one["comm"]), one["what"], _said(one["old"]), _said(one["new"])]
        for one in host["changes"]
    ]
    processes = count(host["processes"], "process")
    summary = f"{len(rows) or 'none'} of {processes} ranked or protected differently"
    print(paint(f"On {where}: {summary}", "bold"))
    if rows:
        print(table(_COLUMNS, rows, paint))
    print()


def _said(verdict: dict[str, Any]) -> str:
    if verdict["reason"]:
        by = f" ({verdict['rule']})" if verdict["rule"] else ""
        return f"{verdict['reason']}{by}"
    rank = f"#{verdict['rank']}, " if verdict.get("rank") else ""
    degree = f" by {verdict['degree']}" if verdict["degree"] != 1 else ""
    tier = f"{verdict['tier']}{degree}, " if verdict["tier"] != "normal" else ""
    return f"{rank}{tier}{verdict['points']} points, weight {verdict['weight']}"


def _print_everywhere(everywhere: dict[str, Any], paint: Paint) -> None:
    head = "Over all possible processes: "
    if everywhere["proved"]:
        print(paint(f"{head}none is ranked or protected differently (proved)", "bold"))
        return
    differences = everywhere["differences"]
    number = len(differences) + len(everywhere["wholes"])
    found = count(number, "difference") if number else "none found"
    print(paint(f"{head}{found}", "bold"))
    for one in differences:
        say(f"{one['what']}, by the {one['side']} rule at {one['place']}: {one['text']}")
        say(f"  for example: {', '.join(f'{k} {v}' for k, v in one['witness'].items())}")
        say(f"    old: {_said(one['old'])}")
        say(f"    new: {_said(one['new'])}")
    for one in everywhere["wholes"]:
        say(f"what dies together, by the {one['side']} statement at {one['place']}: {one['text']}")
    if everywhere["undecided"]:
        print(f"not decided: {count(everywhere['undecided'], 'condition')}")
        if everywhere["needs_z3"]:
            print("  conditions compare attributes with one another: `pip install z3-solver`")


def _print_guards(guards: list[dict[str, Any]], paint: Paint) -> None:
    if not guards:
        return
    print()
    print(paint(f"Guards: {count(len(guards), 'difference')}", "bold"))
    for one in guards:
        known = [one[side] for side in ("old", "new") if one[side]]
        places = " -> ".join(side["place"] for side in known)
        texts = " -> ".join(within_block(one["targets"], side["text"]) for side in known)
        say(f"{one['what']}, {places}: {texts}")
