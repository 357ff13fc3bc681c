"""The command line: options, exit codes, and no traceback, whatever happens.

Exit codes: 0 fine, 1 findings or nothing to kill, 2 usage or failure, 3 warnings under
``check --fatal-warnings``, 130 ended by Ctrl+C. ``EXITS`` of a command's module says more.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import keyword
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import NoReturn

from oomrules import __version__
from oomrules.commands.parts import streams
from oomrules.errors import Failure, reason
from oomrules.terminal import guard_terminals, say

# In the order in which the help shows them; each is a module of this package.
COMMANDS = {
    "init": "look at this host, and propose presets and a guard",
    "rank": "show the candidates for the OOM killer, worst first",
    "emit": "write the list of candidates to the kernel or to a file",
    "release": "give every process back the oom_score_adj that it had",
    "top": "show the ranking as it changes, in a terminal",
    "picture": "draw who holds the memory, and who would be taken first",
    "explain": "say why a process ranks where it does",
    "scopes": "show the tree of units and the rules that hold in each",
    "snapshot": "record this host, to rank it elsewhere or later",
    "guard": "show how far each guard is from acting, and whom it would take",
    "record": "record figures and lists over time, to try guards on them",
    "run": "keep the list up to date, as a service",
    "status": "show the state of the service",
    "hook": "renew the list when a systemd unit starts or stops",
    "history": "show which processes were killed when memory ran out",
    "replay": "say whom the kernel took, and whom the rules would take",
    "check": "find mistakes in rule files",
    "fmt": "write rule files in their one form",
    "test": "run the tests of rules",
    "diff": "show what a change of rules means",
    "fleet": "ask about the rules on many recorded hosts at once",
    "import": "say the settings of other tools in rules",
    "cat": "print the rule files that are in force",
    "lsp": "serve editors by the Language Server Protocol",
    "completion": "print the completion of the command line for a shell",
}

# What exit code 2 means, of every command that says nothing else in its EXITS.
FAILED = "usage or failure"

# What the service calls; the help does not show them.
_INTERNAL = ("prepare", "tell")


class _Parser(argparse.ArgumentParser):
    """A parser whose messages quote what was given, made harmless."""

    # The options of the command that was given: the parser of the whole command line reports those
    # that are unknown.
    options: tuple[str, ...] = ()

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end with exit code 2."""
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}{self._meant(message)}", sys.stderr)
        raise SystemExit(2)

    def _meant(self, message: str) -> str:
        """Return a hint at the options that may have been meant."""
        head, _, words = message.partition("unrecognized arguments: ")
        unknown = [] if head else [word.partition("=")[0] for word in words.split()]
        near = [difflib.get_close_matches(word, self.options, 1) for word in unknown]
        meant = " ".join(dict.fromkeys(match for matches in near for match in matches))
        return f"; did you mean {meant}?" if meant else ""


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser; if a command is named, with the options of that one only.

    Each command is a module, and importing all of them takes longer than most of them run.
    """
    whole = _Parser(
        prog="oomrules",
        description="Rules in sentences say whom the kernel kills when memory runs out.",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"oomrules {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = bool(arguments) and arguments[0] in (*COMMANDS, *_INTERNAL)
    for name in (arguments[0],) if named else COMMANDS:
        module = _module(name)
        sub = commands.add_parser(
            name,
            help=COMMANDS.get(name),
            description=module.__doc__,
            epilog=f"Exit codes: {_said(exits(name))}.",
            allow_abbrev=False,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
        if named:
            whole.options = tuple(sub._option_string_actions)
    return whole


def exits(command: str) -> dict[int, str]:
    """Return what each exit code of a command means, by code."""
    return dict(sorted({2: FAILED, **getattr(_module(command), "EXITS", {})}.items()))


def _said(codes: Mapping[int, str]) -> str:
    return "; ".join(f"{code} {meaning}" for code, meaning in codes.items())


def _module(command: str) -> ModuleType:
    # A word of Python's own cannot be the name of a module.
    word = f"{command}_" if keyword.iskeyword(command) else command
    return importlib.import_module(f"oomrules.commands.{word}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        out, err = streams.take()
    except OSError as error:
        return _fail(f"the system refused {error.filename}: {reason(error)}", None)
    guard_terminals()
    given = sys.argv[1:] if arguments is None else arguments
    code = attempt(lambda: _command(given))
    if out and out.failed:
        code = _fail(f"cannot write to standard output: {reason(out.failed)}", None)
    sys.stderr.flush()
    return max(code, 2) if err and err.failed else code


def _command(given: Sequence[str]) -> int:
    try:
        if given and not given[0].startswith("-") and given[0] not in (*COMMANDS, *_INTERNAL):
            parser().error(_no_command(given[0]))
        options = parser(given).parse_args(given)
    except SystemExit as ended:  # the help, or a wrong usage
        code = int(ended.code or 0)
    else:
        code = options.run(options)
    sys.stdout.flush()
    return code


def _no_command(given: str) -> str:
    near = difflib.get_close_matches(given, COMMANDS, 3, 0.5)
    meant = " or ".join(f"`oomrules {one}`" for one in near)
    hint = f"did you mean {meant}?" if meant else "`oomrules --help` lists the commands"
    return f"there is no command `{given}`; {hint}"


def attempt(work: Callable[[], int]) -> int:
    """Return the exit code of some work; print in one sentence what ended it, whatever it was."""
    try:
        return work()
    except Failure as error:
        return _fail(error.message, error.hint)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        return _fail(
            f"the Python library {error.name} is not installed",
            f"install it: `pip install {error.name}`, or your distribution's python3 package",
        )
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"the system refused{where}: {reason(error)}", None)
    except RecursionError:
        return _fail("the input is nested too deeply", "nothing was changed")
    except MemoryError:
        return _fail("out of memory", "free memory on this host, and run the command again")
    except Exception as error:
        if os.environ.get("OOMRULES_DEBUG"):
            raise
        return _fail(
            f"a mistake in oomrules itself: {type(error).__name__}: {error}",
            "run it with OOMRULES_DEBUG=1 to see where, and report it",
        )


def _fail(message: str, hint: str | None) -> int:
    say(f"oomrules: {message}", sys.stderr)
    if hint:
        say(f"  {hint}", sys.stderr)
    return 2
