"""Look at this host, propose presets and a guard, and link them after a yes."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from oomrules import config, sinks, targets
from oomrules.commands.parts import manager, preview, recording, shared
from oomrules.commands.parts.preview import Preview
from oomrules.errors import Failure
from oomrules.language import rulefiles
from oomrules.plain import printable, quoted
from oomrules.roots import Root
from oomrules.setup import evidence, kinds, proposal
from oomrules.setup.evidence import Evidence
from oomrules.setup.links import SERVICES, Links, State
from oomrules.setup.others import Running
from oomrules.setup.proposal import Asked, Proposal
from oomrules.sinks import absence
from oomrules.terminal import Paint, count, is_terminal, print_json, say

SCHEMA = "oomrules.init/1"

_SERVICE, _ONCE = SERVICES[0], "oomrules-apply.service"
# What fits on any terminal.
_COLUMNS = 80
# A command as it is typed, and a sign that stands for its blanks: no text has it by then.
_COMMAND = re.compile("`[^`]*`")
_BLANK = "\1"


class Way(NamedTuple):
    """Where the list goes.

    Attributes:
        to: the targets; empty if only the host that is to run the system can tell.
        why: a sentence without its end.
    """

    to: tuple[str, ...]
    why: str


class Step(NamedTuple):
    """What is to be done about the service.

    Attributes:
        words: the arguments of systemctl; none if there is nothing that it can do.
        why: if so, what else may be done, in a sentence without its end.
        enables: whether the service starts at boot because of it.
    """

    words: tuple[str, ...] = ()
    why: str = ""
    enables: bool = False

    @property
    def command(self) -> str:
        """What does it, for the shell; empty for nothing."""
        return f"systemctl {' '.join(self.words)}" if self.words else ""


class Plan(NamedTuple):
    """All that is shown."""

    proposal: Proposal
    links: Links
    way: Way
    step: Step
    imports: tuple[tuple[Running, str, str], ...]
    shown: Preview

    @property
    def pending(self) -> bool:
        """Whether there is something to do."""
        return bool(self.proposal.pending or self.proposal.again or self.step.words)


EXITS = {
    0: "all of it is in place, or was taken back",
    1: "something proposed was not written, or a link was left by `--undo`",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``init``."""
    what = parser.add_mutually_exclusive_group()
    shared.add_flag(what, "--yes", "write the links without asking")
    shared.add_flag(what, "--dry-run", "show what would be done, and ask nothing")
    shared.add_flag(parser, "--undo", "take back what init has written, and nothing else")
    parser.add_argument(
        "--kind",
        action="append",
        choices=kinds.NAMES,
        help="what this host is, in place of what is found; repeatable",
    )
    parser.add_argument(
        "--guard",
        choices=proposal.CHOICES,
        default=proposal.AUTO,
        help="which guard; auto takes none where another program guards already",
    )
    shared.add_flag(parser, "--no-service", "do not start or reload the service")
    shared.add_root(parser)
    shared.add_host(parser)
    shared.add_format(parser, "text", "json")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="as --format json"
    )


def run(options: argparse.Namespace) -> int:
    """Propose, and write after a yes; 1 if something is left to do or was left undone."""
    tree = Root(options.root)
    links = Links(tree)
    if options.undo:
        return _undo(options, links)
    if options.snapshot and options.yes:
        raise Failure(
            "--snapshot shows what is right for another host, so nothing is written here",
            "leave out --yes, or run it on that host",
        )
    plan = _plan(options, tree, links)
    if options.format == "text":
        _print(plan)
        preview.notes(plan.shown)
        if not plan.pending:
            say("All of that is in place, and nothing is left to do.")
    wrote = plan.pending and _agreed(plan, options)
    if wrote:
        _write(plan, options)
    if options.format == "json":
        print_json(_as_data(plan, wrote))
    return 1 if plan.pending and not wrote else 0


# --- the plan -------------------------------------------------------------------------------------


def _plan(options: argparse.Namespace, tree: Root, links: Links) -> Plan:
    now = preview.program(rulefiles.system(options.root), "the rules of this host")
    asked = Asked(kinds=tuple(options.kind or ()), guard=options.guard)
    made = proposal.proposed(_evidence(options, tree), links, tree, now, asked)
    found = proposal.with_links(options.root, made)
    program = preview.program(found, "the rules of this host with these presets")
    return Plan(
        proposal=made,
        links=links,
        way=_way(options, tree),
        step=_step(options, bool(made.pending or made.again)),
        imports=tuple(_imports(made, options)),
        shown=preview.preview(found, program, options, tree),
    )


def _evidence(options: argparse.Namespace, tree: Root) -> Evidence:
    if options.snapshot:
        from oomrules.lint import host_facts

        return evidence.of_units(host_facts.system_units(recording.load(options.snapshot)))
    return evidence.of_host(tree)


def _way(options: argparse.Namespace, tree: Root) -> Way:
    """Return where the service would put the list."""
    configured = config.load(root=options.root).to
    if configured:
        return Way(configured, f"To= in {config.PATH} says so")
    if not tree.whole:
        return Way((), "the host that runs that system decides")
    to = sinks.chosen().targets
    if targets.KERNEL_LIST in to:
        return Way(to, "the kernel module is loaded")
    return Way(to, f"which needs no module. With one the kernel asks the list: {absence.advice()}")


def _step(options: argparse.Namespace, changed: bool) -> Step:
    """Return what is to be done about the service.

    Args:
        changed: whether links are to be written.
    """
    if options.no_service or options.snapshot:
        return Step(why="the service is left as it is")
    state = manager.asked(options.root, "show", "--property=LoadState", "--value", _SERVICE)
    if not state and not Root(options.root).whole:
        there = f"systemctl --root {quoted(str(options.root))} enable {_SERVICE}"
        return Step(why=f"`{there}` starts it when that system boots")
    if not state:
        return Step(why="systemd does not run here; `oomrules run` is the service")
    if state == "not-found":
        return Step(why=f"there is no {_SERVICE} here; install oomrules, or run `oomrules run`")
    for unit in (_SERVICE, _ONCE):
        if manager.asked(options.root, "is-active", unit) in ("active", "reloading", "activating"):
            return Step(words=("reload", unit) if changed else (), why=f"{unit} is active")
    enabled = manager.asked(options.root, "is-enabled", _SERVICE) == "enabled"
    return Step(words=("enable", "--now", _SERVICE), enables=not enabled)


def _imports(made: Proposal, options: argparse.Namespace) -> Iterator[tuple[Running, str, str]]:
    """Yield what `oomrules import` would take over: of what, a sentence, and the command."""
    from oomrules.importing import recognition, rulefile, sources

    for one in made.others:
        if not one.settings:
            continue
        paths = [str(options.root / path[1:]) for path in one.settings]
        command = f"oomrules import {' '.join(map(quoted, paths))}"
        try:
            found, _ = recognition.translations(sources.read(paths, options.root))
            rules, others = rulefile.summary(rulefile.sound(found))
        except Failure as error:
            yield one, f"its settings cannot be read in full: {error.message}", command
            continue
        said = f"{count(rules, 'setting')} said in rules, {others} in comments that say why not"
        yield one, said, command


# --- for people -----------------------------------------------------------------------------------


def _print(plan: Plan) -> None:
    paint = Paint(sys.stdout)

    def head(text: str) -> None:
        print(paint(text, "bold"))

    made = plan.proposal
    head("This host is")
    for one in made.kinds:
        _tell(f"{one.kind.title}: {', '.join(one.reasons)}", "  ")
        if not one.linked:
            _tell(f"not linked, since {one.why}; `--kind {one.kind.name}` asks for it", "    ")
    for note in made.notes:
        _tell(f"note: {note}", "  ")
    head("Proposed")
    for state in made.states:
        _tell(_standing(state, plan.links), "  ")
    _tell(f"{'guard' if made.guard else 'no guard'}: {made.guard_why}", "  ")
    where = f"{', '.join(plan.way.to)}, " if plan.way.to else ""
    _tell(f"where the list goes: {where}{plan.way.why}", "  ")
    _tell(f"service: {_command(plan.step)}", "  ")
    _print_others(plan, head)
    head("Killed first with that, if memory ran out now")
    for line in preview.first(plan.shown, min(_COLUMNS, _width()) - 2):
        say(f"  {line}") if "`" not in line else _tell(line, "  ")
    for line in preview.guards(plan.shown):
        _tell(line, "  ")
    head("What `oomrules check` says of it")
    for line in preview.found(plan.shown):
        _tell(line, "  ")


def _print_others(plan: Plan, head: Callable[[str], None]) -> None:
    made = plan.proposal
    if not made.others:
        return
    head("Others that act when memory is short")
    imports = {one.other.name: (said, command) for one, said, command in plan.imports}
    for one in made.others:
        does = "" if one.other.kills else ", which sets oom_score_adj, as oomrules may"
        _tell(f"{one.other.name}: {one.why}{does}", "  ")
        if one.other.name in imports:
            said, command = imports[one.other.name]
            _tell(f"its settings: {said}", "    ")
            say(f"      {command}")
        if one.command:
            _tell("to switch it off, so that one program decides:", "    ")
            say(f"      {one.command}")


def _standing(state: State, links: Links) -> str:
    path = links.path / state.preset.link
    if state.there:
        return f"{links.path / state.there}: there already"
    if state.why:
        return f"{state.preset.stem} is left out: {state.why}"
    return f"{path} -> {state.preset.target}"


def _command(step: Step) -> str:
    return f"`{step.command}`" if step.words else step.why


def _tell(text: str, indent: str) -> None:
    """Print a paragraph within the width of any terminal; a command in it stays in one line."""
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _BLANK), printable(text))
    wrapped = textwrap.wrap(
        whole,
        min(_COLUMNS, _width()),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in wrapped:
        say(line.replace(_BLANK, " "))


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns)


# --- writing --------------------------------------------------------------------------------------


def _agreed(plan: Plan, options: argparse.Namespace) -> bool:
    """Return whether to write: after `--yes`, or a `yes` at a terminal."""
    if options.yes:
        return True
    again = "oomrules init --yes"
    again += "".join(f" --kind {name}" for name in options.kind or ())
    again += f" --guard {options.guard}" if options.guard != proposal.AUTO else ""
    again += " --no-service" if options.no_service else ""
    if options.root != Path("/"):
        again += f" --root {quoted(str(options.root))}"
    if options.snapshot or options.format == "json":
        return False
    allowed = plan.links.allowed() and (os.geteuid() == 0 or not plan.step.words)
    refusal = plan.links.refusal()
    if refusal:
        _tell(f"Nothing was written, and nothing will be, because {refusal}.", "")
        return False
    if not allowed and os.geteuid() != 0:
        _tell("Nothing was written, since only root may. As root this does it:", "")
        say(f"  sudo {again}")
        return False
    if options.dry_run or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        _tell("Nothing was written. This does it:", "")
        say(f"  {again}")
        return False
    print("Do that? Type `yes`: ", end="", flush=True)
    if sys.stdin.readline().strip() == "yes":
        return True
    say("Nothing was written.")
    return False


def _write(plan: Plan, options: argparse.Namespace) -> None:
    """Write the links, and have the service take them."""
    links, step = plan.links, plan.step
    if plan.proposal.pending or plan.proposal.again or step.enables:
        links.write([state.preset for state in plan.proposal.pending])
    for state in plan.proposal.pending:
        _done(options, f"linked {links.path / state.preset.link}")
    if step.words:
        if step.enables:
            links.note_service(step.words[-1])
        _systemctl(options, *step.words)
    then = "; `oomrules status` shows how it goes" if step.words else ""
    _done(options, f"`oomrules init --undo` takes it back{then}")


def _systemctl(options: argparse.Namespace, *words: str) -> None:
    done = manager.systemctl(options.root, *words)
    if done is None:
        return
    command = f"systemctl {' '.join(words)}"
    if done.returncode:
        raise Failure(
            f"`{command}` failed: {' '.join(done.stderr.split())}",
            f"the links are as said above; `systemctl status {words[-1]}` says more",
        )
    _done(options, f"done: {command}")


def _done(options: argparse.Namespace, text: str) -> None:
    say(text, sys.stderr if options.format == "json" else sys.stdout)


def _undo(options: argparse.Namespace, links: Links) -> int:
    """Take back what was written; 1 if something of it was changed since, and left."""
    would = "would remove" if options.dry_run else "removed"
    undone = links.undo(options.dry_run)
    for name in undone.removed:
        _done(options, f"{would} {links.path / name}")
    if undone.directory:
        _done(options, f"{would} {links.path}")
    for sentence in undone.left:
        _done(options, sentence)
    if not (undone.removed or undone.left or undone.service or undone.directory):
        _done(options, "there is nothing to take back")
    words = _undoing(options, undone.service, bool(undone.removed))
    if words and (options.dry_run or options.no_service):
        _done(options, f"left to you: systemctl {' '.join(words)}")
    elif words:
        _systemctl(options, *words)
    if options.format == "json":
        print_json({"schema": SCHEMA, "undone": undone._asdict()})
    return 1 if undone.left else 0


def _undoing(options: argparse.Namespace, service: str, changed: bool) -> tuple[str, ...]:
    """Return the arguments of systemctl that follow after links were taken back."""
    if service:
        return ("disable", "--now", service)
    for unit in (_SERVICE, _ONCE):
        if changed and manager.asked(options.root, "is-active", unit) == "active":
            return ("reload", unit)
    return ()


# --- for programs ---------------------------------------------------------------------------------


def _as_data(plan: Plan, wrote: bool) -> dict[str, Any]:
    made = plan.proposal
    imports = {one.other.name: (said, command) for one, said, command in plan.imports}
    return {
        "schema": SCHEMA,
        "kinds": [
            {
                "kind": one.kind.name,
                "reasons": list(one.reasons),
                "preset": one.kind.preset,
                "linked": one.linked,
                "why": one.why or None,
            }
            for one in made.kinds
        ],
        "links": [_state(state, plan.links, wrote) for state in made.states],
        "guard": {"preset": made.guard and made.guard.preset.stem, "why": made.guard_why},
        "way": {"to": list(plan.way.to), "why": plan.way.why},
        "service": {"command": plan.step.command or None, "why": plan.step.why or None},
        "others": [
            {
                "name": one.other.name,
                "why": one.why,
                "kills": one.other.kills,
                "units": list(one.units),
                "settings": list(one.settings),
                "import": imports.get(one.other.name, (None, None))[1],
                "imported": imports.get(one.other.name, (None, None))[0],
                "switch_off": one.command or None,
            }
            for one in made.others
        ],
        **preview.as_data(plan.shown),
        "notes": [*made.notes, *(plan.shown.seen.notes if plan.shown.seen else [])],
        "pending": plan.pending and not wrote,
        "written": wrote,
    }


def _state(state: State, links: Links, wrote: bool) -> dict[str, Any]:
    word = "there" if state.there else "left" if state.why else "written" if wrote else "proposed"
    return {
        "preset": state.preset.stem,
        "path": str(links.path / (state.there or state.preset.link)),
        "target": state.preset.target,
        "state": word,
        "why": state.why or None,
    }
