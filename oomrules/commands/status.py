"""Show how the service is: the rules in force, the list, the pressure, the last kill."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from oomrules import config, targets
from oomrules.commands.parts import guarding, unheld
from oomrules.errors import Failure
from oomrules.service import client
from oomrules.service.listener import GOOD, STATUS, WORDS
from oomrules.sinks import absence
from oomrules.terminal import Column, Paint, called, count, memory, middle, print_json, rough, table

_PATIENCE = 10.0
_SYSCTLS = Path("/proc/sys/vm")
# What each of them does to the list when it is not 0.
_OVERRULING = {
    "panic_on_oom": "a machine out of memory panics, and the list is not used",
    "oom_kill_allocating_task": "the kernel kills the process that asks for memory, list or not",
}
_COLUMNS = (
    Column("RANK", right=True),
    Column("PID", right=True),
    Column("UNIT", least=12, enough=24, turn=1, cut=middle),
    Column("POINTS", right=True, least=7, enough=12, turn=3, cut=rough),
    Column("COMMAND", least=10, turn=2),
)

EXITS = {
    0: "all is well",
    1: "there is something to mend",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``status``."""
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="how it is printed"
    )


def run(options: argparse.Namespace) -> int:
    """Print the status; 1 if there is something to mend."""
    try:
        document = client.ask(STATUS, _PATIENCE)
    except PermissionError as error:
        raise Failure("only root may ask the service", "run it as root") from error
    if document is None:
        raise Failure(
            "the service does not run, or does not answer",
            "`systemctl start oomrules` starts it; `systemctl status oomrules` says more",
        )
    if options.format == "json":
        print_json(document)
    else:
        _print(document)
    listed = document["list"]
    fine = document["rules"]["state"] == GOOD and listed and not listed["problem"]
    return 0 if fine else 1


def overruling(sysctls: Path) -> list[str]:
    """Return sentences on settings of the kernel that overrule the list, and how to change them.

    Args:
        sysctls: the directory of `vm`'s settings. One that is not there overrules nothing.
    """
    found = []
    for name, effect in _OVERRULING.items():
        try:
            value = (sysctls / name).read_text().strip()
        except OSError:
            continue
        if value != "0":
            found.append(f"vm.{name} is {value}: {effect}; `sysctl vm.{name}=0` changes that")
    return found


def _missed() -> list[str]:
    """Return a sentence if the kernel module is missed: not where To= names other targets alone."""
    try:
        to = config.load().to
    except Failure:
        return []  # the service complains of the file
    return absence.missed() if not to or targets.KERNEL_LIST in to else []


def span(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= limit:
            return f"{seconds / limit:.1f} {unit}"
    return f"{seconds:.1f} s"


def _print(document: dict[str, Any]) -> None:
    paint = Paint(sys.stdout)
    lines = [
        ("service", paint(_service(document))),
        *_rules(document["rules"], paint),
        ("list", _list(document["list"], paint)),
        *_limits(document, paint),
        ("refreshes", _refreshes(document["refreshes"])),
        ("pressure", _pressure(document)),
        ("kills", paint(_kills(document))),
        *guarding.lines(document, paint),
    ]
    uses = unheld.read()
    if uses is not None:
        lines.append(("unheld", paint(unheld.sentence(uses), *(["yellow"] if uses.large else []))))
    problems = dict.fromkeys(
        (*document["problems"], *document["complaints"], *overruling(_SYSCTLS), *_missed())
    )
    lines += [("problem", paint(problem, "yellow")) for problem in problems]
    for name, text in lines:
        print(f"{paint(f'{name:>9}', 'bold')}  {text}")
    head = document["list"]["head"] if document["list"] else []
    if head:
        rows = [
            [
                str(entry["rank"]),
                str(entry["pid"]),
                _unit(entry),
                str(entry["points"]),
                called(entry["comm"]),
            ]
            for entry in head
        ]
        print("\n" + table(_COLUMNS, rows, paint))


def _unit(entry: dict[str, Any]) -> str:
    """Return the unit of a process in the list, or the one with which it is killed as a whole."""
    if entry.get("whole"):
        return f"whole {entry['whole']}"
    return "?" if entry["unit"] is None else entry["unit"] or "-"


def _service(document: dict[str, Any]) -> str:
    sizes = document["memory"]
    locked = f"not locked: {sizes['lock']}" if sizes["lock"] else "locked"
    return f"pid {document['pid']}, for {span(document['uptime'])}, {memory(sizes['rss'])} {locked}"


def _rules(rules: dict[str, Any], paint: Paint) -> list[tuple[str, str]]:
    age = f", for {span(rules['age'])}" if rules["age"] is not None else ""
    in_force = [paint(f"{count(rules['count'], 'rule')} in force{age}:")]
    in_force += [f"  {paint(file)}" for file in rules["files"]]
    if rules["state"] == GOOD:
        return [("rules" if number == 0 else "", line) for number, line in enumerate(in_force)]
    lines = [("rules", paint(WORDS.get(rules["state"], rules["state"]), "red"))]
    lines += [("", paint(line)) for line in rules["diagnostics"]]
    return [*lines, *(("", line) for line in in_force)] if rules["age"] is not None else lines


def _list(listed: dict[str, Any] | None, paint: Paint) -> str:
    if listed is None:
        return paint("none yet", "yellow")
    # A service of an older version says less.
    limited = listed.get("limited") and targets.OOM_SCORE_ADJ in (listed["to"] or "").split()
    where = f" in {listed['to']}" if listed["to"] else ""
    if limited:
        where = f" in {targets.KERNEL_LIST}, and in {targets.OOM_SCORE_ADJ} for groups with a limit"
    text = f"{count(listed['candidates'], 'candidate')}{where}, {span(listed['age'])} old"
    text += f", made in {1000 * listed['took']:.0f} ms"
    text = paint(text)
    return f"{text}; {paint(listed['problem'], 'red')}" if listed["problem"] else text


def _limits(document: dict[str, Any], paint: Paint) -> list[tuple[str, str]]:
    """Return the line on what the kernel does at the limit of a control group, if it is known."""
    said = document.get("memcg")
    if not said:
        return []
    if said["by"] == targets.KERNEL_LIST:
        seen = f", {count(said['ooms'], 'OOM')} so far" if said["ooms"] is not None else ""
        return [("at limits", f"{targets.KERNEL_LIST} is followed in a control group, too{seen}")]
    if not said["why"]:
        return [("at limits", f"{targets.OOM_SCORE_ADJ} is followed in a control group, too")]
    text = f"{targets.KERNEL_LIST} is not followed in a control group: {said['why']}; "
    if said["by"]:
        return [("at limits", paint(f"{text}{said['by']} serves the groups with a limit"))]
    text += f"the kernel chooses there by itself; `To=auto` in {config.PATH} changes that"
    return [("at limits", paint(text, "yellow"))]


def _refreshes(refreshes: dict[str, int]) -> str:
    by = ", ".join(f"{n} {why}" for why, n in refreshes.items() if n and why != "total")
    return f"{refreshes['total']} ({by})" if by else "0"


def _pressure(document: dict[str, Any]) -> str:
    pressure = document["pressure"]
    now = "there is pressure" if document["under_pressure"] else "none"
    if pressure["some"] is not None:
        now += f"; some {pressure['some']:.2f} %, full {pressure['full']:.2f} % of the last 10 s"
    how = {
        "trigger": "the kernel tells",
        "psi": "read now and then",
        "meminfo": "this kernel has no PSI: by the memory that is left",
    }.get(pressure["source"], "this kernel cannot tell")
    return f"{now}; {count(pressure['events'], 'sign')} of it so far ({how})"


def _kills(document: dict[str, Any]) -> str:
    kill = document["last_kill"]
    if kill is None:
        return "none seen"
    rank = f"rank {kill['rank']} of {kill['listed']}" if kill["rank"] else "not listed"
    age = "" if kill["list_age"] is None else f", the list was {span(kill['list_age'])} old"
    where = kill["unit"] or "no unit"
    return (
        f"{document['kills']}, the last {span(kill['ago'])} ago: {called(kill['comm'])} "
        f"({kill['pid']}) in {where}, {rank}{age}"
    )
