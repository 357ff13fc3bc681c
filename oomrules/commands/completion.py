"""Print the completion of the command line for bash, zsh or fish."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

SHELLS = ("bash", "zsh", "fish")


class Option(NamedTuple):
    """An option as completion sees it; ``values`` are what it takes, if that is known."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    values: tuple[str, ...]


class Command(NamedTuple):
    """A command with its options; ``values`` are those of its arguments, if they are known."""

    name: str
    help: str
    options: tuple[Option, ...]
    values: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``completion``."""
    parser.add_argument("shell", choices=SHELLS)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    from oomrules.commands import main

    commands = list(_commands(main.parser()))
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](commands), end="")
    return 0


def _commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Take the commands and their options from the parser itself."""
    from oomrules.commands import main

    (subparsers,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    for name, sub in subparsers.choices.items():
        options: list[Option] = []
        values: tuple[str, ...] = ()
        for action in sub._actions:
            choices = tuple(map(str, action.choices or ()))
            if not action.option_strings:
                values = choices
                continue
            if action.dest == "explain":
                choices = _codes()
            takes_value = action.nargs != 0
            help_ = (action.help or "").partition(";")[0]
            options.append(Option(tuple(action.option_strings), help_, takes_value, choices))
        yield Command(name, main.COMMANDS[name], tuple(options), values)


def _codes() -> tuple[str, ...]:
    from oomrules.lint import registry

    return tuple(registry.TITLES)


def _bash(commands: list[Command]) -> str:
    lines = [
        "# bash completion for oomrules; source it, or put it into",
        "# /usr/share/bash-completion/completions/oomrules",
        "_oomrules() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        "    COMPREPLY=()",
        "    if ((COMP_CWORD == 1)); then",
        f'        COMPREPLY=($(compgen -W "{" ".join(one.name for one in commands)} '
        '--help --version" -- "$word"))',
        "        return",
        "    fi",
        '    case "${COMP_WORDS[1]} $before" in',
    ]
    for command in commands:
        for option in command.options:
            if not option.takes_value:
                continue
            patterns = "|".join(f'"{command.name} {name}"' for name in option.names)
            reply = f'-W "{" ".join(option.values)}"' if option.values else "-f"
            lines.append(
                f'        {patterns}) COMPREPLY=($(compgen {reply} -- "$word")); return ;;'
            )
    lines += ["    esac", '    case "${COMP_WORDS[1]}" in']
    for command in commands:
        names = " ".join(name for option in command.options for name in option.names)
        reply = f'-W "{" ".join(command.values)}"' if command.values else "-f"
        lines += [
            f"        {command.name})",
            "            if [[ $word == -* ]]; then",
            f'                COMPREPLY=($(compgen -W "{names}" -- "$word"))',
            f'            else COMPREPLY=($(compgen {reply} -- "$word")); fi ;;',
        ]
    lines += ["    esac", "}", "complete -o filenames -F _oomrules oomrules"]
    return "\n".join(lines) + "\n"


def _zsh(commands: list[Command]) -> str:
    lines = [
        "#compdef oomrules",
        "",
        "_oomrules() {",
        "    local -a commands",
        "    commands=(",
        *(f"        {_quoted(f'{one.name}:{one.help}')}" for one in commands),
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    (( CURRENT-- ))",
        "    case $command in",
    ]
    for command in commands:
        lines.append(f"        {command.name}) _arguments \\")
        for option in command.options:
            for name in option.names:
                said = option.help.replace("[", "(").replace("]", ")")
                spec = f"{name}[{said}]"
                if option.takes_value:
                    action = f"({' '.join(option.values)})" if option.values else "_files"
                    spec += f":value:{action}"
                lines.append(f"            {_quoted(f'*{spec}')} \\")
        action = f"({' '.join(command.values)})" if command.values else "_files"
        lines.append(f"            {_quoted(f'*:argument:{action}')} ;;")
    lines += ["    esac", "}", "", '_oomrules "$@"']
    return "\n".join(lines) + "\n"


def _fish(commands: list[Command]) -> str:
    lines = ["# fish completion for oomrules"]
    start = "complete -c oomrules"
    for command in commands:
        said = f"-a {command.name} -d {_quoted(command.help)}"
        lines.append(f"{start} -f -n __fish_use_subcommand {said}")
    for command in commands:
        within = f"{start} -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            value = " -r" if option.takes_value else ""
            value += f" -f -a {_quoted(' '.join(option.values))}" if option.values else ""
            lines.append(f"{within} {names}{value} -d {_quoted(option.help)}")
        if command.values:
            lines.append(f"{within} -f -a {_quoted(' '.join(command.values))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # What is shown only; an apostrophe would need another quoting in each shell.
    return "'" + text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") + "'"
