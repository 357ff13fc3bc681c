"""Print the completion of the command line for bash, zsh or fish."""

from __future__ import annotations

import argparse
from argparse import Action, ArgumentParser

from oomrules.commands import main

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# bash completion for oomrules; source it, or put it into
# /usr/share/bash-completion/completions/oomrules
_oomrules() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "%s --help --version" -- "$word"))
        return
    fi
    case "${COMP_WORDS[1]} $before" in
%s
    esac
    case "${COMP_WORDS[1]}" in
%s
    esac
}
complete -o filenames -F _oomrules oomrules
"""

_ZSH = """\
#compdef oomrules

_oomrules() {
    local -a commands
    commands=(
%s
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
%s
    esac
}

_oomrules "$@"
"""

EXITS = {0: "the script is printed"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the argument of ``completion``."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads it")


def run(options: argparse.Namespace) -> int:
    """Print the script, made from the command line's own parser."""
    (commands,) = main.parser()._get_positional_actions()
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    print(script(dict(commands.choices or {})), end="")
    return 0


def _options(command: ArgumentParser) -> list[Action]:
    return [one for one in command._get_optional_actions() if one.help != argparse.SUPPRESS]


def _arguments(command: ArgumentParser) -> str:
    return "".join(map(_values, command._get_positional_actions()))


def _files_follow(command: ArgumentParser) -> bool:
    """Return whether the first argument is one of a few words, and files come after it."""
    words = [*map(_values, command._get_positional_actions())]
    return len(words) > 1 and bool(words[0]) and not any(words[1:])


def _values(action: Action) -> str:
    """Return what an option or argument takes, if that is known."""
    from oomrules.lint import registry
    from oomrules.report import reasons

    codes = {"explain": [*registry.TITLES], "reason": [*reasons.REASONS]}
    return " ".join(map(str, codes.get(action.dest) or action.choices or ()))


def _help(option: Action) -> str:
    return (option.help or "").partition(";")[0]


def _bash(commands: dict[str, ArgumentParser]) -> str:
    values, options = [], []
    for name, command in commands.items():
        for option in _options(command):
            if option.nargs != 0:
                words = "|".join(f'"{name} {word}"' for word in option.option_strings)
                values.append(f"        {words}) {_reply(_values(option))}; return ;;")
        words = " ".join(word for option in _options(command) for word in option.option_strings)
        options += [
            f"        {name})",
            "            if [[ $word == -* ]]; then",
            f"                {_reply(words)}",
        ]
        if _files_follow(command):
            options.append(f"            elif ((COMP_CWORD > 2)); then {_reply('')}")
        options.append(f"            else {_reply(_arguments(command))}; fi ;;")
    return _BASH % (" ".join(commands), "\n".join(values), "\n".join(options))


def _reply(words: str) -> str:
    """Return the statement that offers these words, or files if there are none."""
    choice = f'-W "{words}"' if words else "-f"
    return f'COMPREPLY=($(compgen {choice} -- "$word"))'


def _zsh(commands: dict[str, ArgumentParser]) -> str:
    named = [f"        {_quoted(f'{name}:{main.COMMANDS[name]}')}" for name in commands]
    options = []
    for name, command in commands.items():
        options.append(f"        {name}) _arguments \\")
        for option in _options(command):
            about = f"[{_help(option).replace('[', '(').replace(']', ')')}]"
            about += f":value:{_action(_values(option))}" if option.nargs != 0 else ""
            specs = [_quoted(f"*{word}{about}") for word in option.option_strings]
            options += [f"            {spec} \\" for spec in specs]
        which = "*"
        if _files_follow(command):
            options.append(f"            {_quoted('*:file:_files')} \\")
            which = "1"
        what = f"{which}:argument:{_action(_arguments(command))}"
        options.append(f"            {_quoted(what)} ;;")
    return _ZSH % ("\n".join(named), "\n".join(options))


def _action(values: str) -> str:
    return f"({values})" if values else "_files"


def _fish(commands: dict[str, ArgumentParser]) -> str:
    lines = ["# fish completion for oomrules"]
    start = "complete -c oomrules"
    for name in commands:
        about = f"-a {name} -d {_quoted(main.COMMANDS[name])}"
        lines.append(f"{start} -f -n __fish_use_subcommand {about}")
    for name, command in commands.items():
        within = f"{start} -n '__fish_seen_subcommand_from {name}'"
        for option in _options(command):
            words = " ".join(
                f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
                for word in option.option_strings
            )
            value = " -r" if option.nargs != 0 else ""
            value += f" -f -a {_quoted(values)}" if (values := _values(option)) else ""
            lines.append(f"{within} {words}{value} -d {_quoted(_help(option))}")
        if arguments := _arguments(command):
            alone = "" if _files_follow(command) else "-f "
            lines.append(f"{within} {alone}-a {_quoted(arguments)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # What is shown only; an apostrophe would need another quoting in each shell.
    return "'" + text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") + "'"
