"""The manual pages say what the code does: no option, exit code, attribute or key is missing."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from oomrules import config, resources, state, state_directory
from oomrules.commands import main
from oomrules.language import checker, formatter, rulefiles
from oomrules.language.quantities import UNITS
from oomrules.language.syntax import FORMS, KEYWORDS, WORDS
from oomrules.language.text import RuleText
from oomrules.language.typing import FUNCTIONS
from oomrules.service import listener, metrics
from tests.man import made

CHECKOUT = made.SOURCES.parents[1]
PAGES = sorted(made.SOURCES.glob("*.md"))
NAMES = [page.stem for page in PAGES]
# What stands in a page of a file rather than of a command.
OTHERS = {"oomrules.1", "oomrules.d.5", "oomrules.conf.5", "oomrules.service.8", "proc_oom.5"}
ORDER = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "EXAMPLES",
    "SEE ALSO",
]
each_page = pytest.mark.parametrize("name", NAMES)
each_command = pytest.mark.parametrize("command", main.COMMANDS)


def text_of(name: str) -> str:
    return (made.SOURCES / f"{name}.md").read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    """Return the sections of a page by their headings."""
    parts = re.split(r"^# (.*)\n", text_of(name), flags=re.MULTILINE)
    assert parts[0] == ""
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def terms(text: str) -> list[str]:
    """Return what the items of a section are about."""
    return re.findall(r"^(\S.*)\n:   ", text, re.MULTILINE)


def blocks(name: str) -> list[str]:
    """Return the indented blocks of a page, without their indentation."""
    found = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", items_joined(text_of(name)), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def items_joined(text: str) -> str:
    """Return a text in which no item goes on in a further line, which would be indented."""
    return re.sub(r"^(:   .*)\n(?:    .*\n)+", r"\1\n", text, flags=re.MULTILINE)


# --- what there is ---------------------------------------------------------------------------


def test_each_command_has_a_page_and_no_other_page_looks_like_one() -> None:
    assert set(NAMES) == {f"oomrules-{command}.1" for command in main.COMMANDS} | OTHERS


@each_page
def test_sections_are_there_and_in_the_usual_order(name: str) -> None:
    found = list(sections(name))
    usual = [heading for heading in found if heading in ORDER]
    assert usual == sorted(usual, key=ORDER.index)
    needed = {"NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"}
    needed |= {"OPTIONS", "EXIT STATUS"} if made.command_of(name) else set()
    assert needed <= set(found)


@each_command
def test_the_name_of_a_page_says_what_the_help_says(command: str) -> None:
    line = sections(f"oomrules-{command}.1")["NAME"].strip()
    assert line == f"oomrules-{command} - {main.COMMANDS[command]}"


def test_the_page_of_the_service_names_each_unit() -> None:
    line = sections("oomrules.service.8")["NAME"].partition(" - ")[0]
    units = {path.name for path in (CHECKOUT / "systemd").glob("*.service")}
    assert set(line.strip().split(", ")) == units


# --- what the code knows ---------------------------------------------------------------------


@each_page
def test_what_comes_from_the_code_is_as_the_code_has_it(name: str) -> None:
    text = text_of(name)
    assert made.renewed(name, text) == text, "`python -m tests.man.made docs/man` mends it"
    kinds = re.findall(r"^<!-- (\w+): made from the code -->$", text, re.MULTILINE)
    others = {"oomrules.1": ["commands"], "oomrules.d.5": ["attributes"]}
    assert kinds == (["options", "exits"] if made.command_of(name) else others.get(name, []))


@each_command
def test_every_option_has_words_of_its_own(command: str) -> None:
    for action in made.parser(command)._actions:
        assert action.help, action
        assert action.choices or action.nargs == 0 or action.metavar or not made.shown(action)


@each_command
def test_the_exit_codes_on_a_page_are_those_that_the_command_returns(command: str) -> None:
    codes = {int(term) for term in terms(sections(f"oomrules-{command}.1")["EXIT STATUS"])}
    assert codes == set(main.exits(command))
    path = Path(main._module(command).__file__ or "")
    # This one becomes the service.
    start = ("run", path) if command != "run" else ("main", CHECKOUT / "oomrules/service/main.py")
    # Whatever a command returns, a failure is 2.
    assert codes == returned(*start) | {2}


def returned(start: str, path: Path) -> set[int]:
    """Return the numbers that a function may return, by itself or by others of its module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found: set[int] = set()
    seen: set[str] = set()
    left = [start]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        inside = list(ast.walk(functions[name]))
        values = [node.value for node in inside if isinstance(node, ast.Return)]
        names = {
            one.id
            for value in values
            for one in (results(value) if value else ())
            if isinstance(one, ast.Name)
        }
        values += [
            node.value
            for node in inside
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in names
        ]
        for value in filter(None, values):
            for one in results(value):
                if isinstance(one, ast.Constant) and isinstance(one.value, int):
                    found.add(one.value)
                elif isinstance(one, ast.Name) and one.id in functions:
                    left.append(one.id)
    return found


def results(node: ast.expr) -> list[ast.expr]:
    """Return the parts of an expression that it can come out as."""
    match node:
        case ast.IfExp():
            return results(node.body) + results(node.orelse)
        case ast.Call(func=ast.Name(id="max")):
            return [one for argument in node.args for one in results(argument)]
        case ast.Call(func=ast.Name() as function):
            inner = [one.body for one in node.args if isinstance(one, ast.Lambda)]
            return [function, *(one for body in inner for one in results(body))]
    return [node]


# What nobody who runs a command sets: what systemd sets for its services, and what tests set to
# lead to files of their own.
BY_SYSTEMD = {"JOURNAL_STREAM"}
BY_TESTS = {"OOMRULES_FIGURES", "OOMRULES_HOOKS", "OOMRULES_JOURNAL", "OOMRULES_USERS"}
# What `oomrules run` hands over to the interpreter that it becomes.
BY_ITSELF = {"OOMRULES_RUN"}


def test_pages_name_each_variable_of_the_environment_that_is_read() -> None:
    read = set[str]()
    for path in (CHECKOUT / "oomrules").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        constants = dict(re.findall(r'^(\w+) = "(\w+)"', source, re.MULTILINE))
        for text, name in re.findall(r'environ(?:\.(?:get|pop)\(|\[)(?:"(\w+)"|(\w+))', source):
            read.add(text or constants[name])
    named = {
        word
        for name in NAMES
        for term in terms(sections(name).get("ENVIRONMENT", ""))
        for word in re.findall(r"`(\w+)`", term)
    }
    # Which of them is read by Python's own library.
    assert named - {"COLUMNS"} == read - BY_SYSTEMD - BY_TESTS - BY_ITSELF - {"TERM"}
    assert "`TERM=dumb`" in sections("oomrules.1")["ENVIRONMENT"]


def test_the_page_of_the_service_names_each_file_that_is_kept() -> None:
    documented = " ".join(terms(sections("oomrules.service.8")["FILES"]))
    names = {*state._FILES, state.ONLY_ONE, state._LOCK, listener.NAME, metrics.FILE}
    assert [
        name for name in names if f"`{state_directory.STANDARD}/{name}`" not in documented
    ] == []


def test_the_page_of_the_configuration_has_its_keys_and_no_other() -> None:
    found = sections("oomrules.conf.5")
    documented = {
        heading.removeprefix("SECTION ").capitalize(): tuple(terms(text))
        for heading, text in found.items()
        if heading.startswith("SECTION ")
    }
    wanted = {name: tuple(f"`{key}=`" for key in keys) for name, keys in config._KEYS.items()}
    assert documented == wanted
    words = {*config.MODES, *config._WAYS, config.AUTO}
    assert not [word for word in words if f"`{word}`" not in text_of("oomrules.conf.5")]


def test_the_configuration_on_its_page_is_one(tmp_path: Path) -> None:
    (example,) = blocks("oomrules.conf.5")
    path = tmp_path / "oomrules.conf"
    path.write_text(example, encoding="utf-8")
    path.chmod(0o644)
    settled = config.load(str(path))
    assert settled == config.Config(to=("/proc/oom", "oom_score_adj"), guard=config.DRY)


def test_the_page_of_the_language_has_each_of_its_words() -> None:
    code = " ".join(re.findall(r"`([^`]*)`", text_of("oomrules.d.5")))
    words = {*KEYWORDS, *FORMS, *WORDS, *FUNCTIONS, *UNITS, "units", "wanted", "part", "stop"}
    missing = {word for word in words - {"%"} if not re.search(rf"(?<!\w){word}(?!\w)", code)}
    # The last one stands in a number.
    assert missing == set()
    assert "`25%`" in text_of("oomrules.d.5")


def test_the_page_of_the_language_has_every_statement() -> None:
    plain = re.sub(r"[`*\\]", "", "\n".join(terms(sections("oomrules.d.5")["STATEMENTS"])))
    documented = {line.partition(" [")[0] for line in plain.splitlines()}
    forms = {form.partition(" [")[0] for form in FORMS.values()} | {
        "kill last SELECTOR",
        "kill whole UNIT",
        "kill when CONDITION",
        "in UNIT { STATEMENTS }",
    }
    assert documented == {form.replace('"TEXT", "TEXT"', '"TEXT", "TEXT" ...') for form in forms}


STARTS = re.compile(r"(?:never|only|kill|terminate|warn|prefer|spare|score|define|list|in) ")


def rules() -> list[tuple[str, str]]:
    return [(name, block) for name in NAMES for block in blocks(name) if STARTS.match(block)]


def test_the_rules_on_pages_compile_and_are_in_their_one_form() -> None:
    found = rules()
    assert len(found) > 4
    words = rulefiles.given([str(resources.rules() / rulefiles.VOCABULARY)]).files
    for name, block in found:
        assert checker.check([*words, RuleText("page.oom", block)]).diagnostics == [], name
        assert formatter.formatted(RuleText("page.oom", block)) == block, name


def test_the_words_of_the_vocabulary_are_those_on_the_page() -> None:
    text = (resources.rules() / rulefiles.VOCABULARY).read_text(encoding="utf-8")
    defined = re.findall(r"^define (\w+)", text, re.MULTILINE)
    (line,) = re.findall(r"vocabulary\.oom`\n:   (.*)", text_of("oomrules.d.5"))
    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(defined)


def test_the_page_of_the_module_has_its_parameters_and_statistics() -> None:
    source = (CHECKOUT / "kernel/oom.c").read_text(encoding="utf-8")
    (names,) = re.findall(r"stat_names\[\w*\] = \{([^}]*)\}", source)
    statistics = {*re.findall(r'"(\w+)"', names), *re.findall(r'seq_printf\(m, "(\w+) %', source)}
    parameters = set(re.findall(r"module_param_cb\((\w+),", source))
    found = sections("proc_oom.5")
    for heading, wanted in (("PARAMETERS", parameters), ("STATISTICS", statistics)):
        documented = re.findall(r"`(\w+)`", " ".join(terms(found[heading])))
        assert sorted(documented) == sorted(wanted)


# --- what a reader types ---------------------------------------------------------------------


def typed(name: str) -> list[str]:
    """Return the command lines of oomrules on a page: in blocks, and in code within sentences."""
    lines = [line for block in blocks(name) for line in block.splitlines()]
    lines += re.findall(r"`([^`]*)`", re.sub(r"\s+", " ", text_of(name)))
    parts = [part for line in lines for part in re.split(r" [|>#] ?| && |  #|;", line)]
    return [part.strip() for part in parts if re.match(r" *(sudo )?oomrules [a-z]", part)]


@each_page
def test_commands_on_a_page_have_the_options_that_stand_there(name: str) -> None:
    for line in typed(name):
        command, *words = shlex.split(line.removeprefix("sudo "))[1:]
        assert command in main.COMMANDS, line
        known = made.parser(command)._option_string_actions
        given = words[: words.index("--")] if "--" in words else words
        options = [word for word in given if re.match(r"--?[a-z]", word)]
        assert set(options) <= set(known), line


@each_command
def test_a_page_names_no_option_that_the_command_has_not(command: str) -> None:
    text = text_of(f"oomrules-{command}.1")
    named = set(re.findall(r"(?<!\S)`(--[a-z][\w-]*)[` ]", text))
    assert named <= set(made.parser(command)._option_string_actions)


# --- what a reader follows -------------------------------------------------------------------

_LINK = re.compile(r"\[([\w.-]+)\((\d)\)\]\(([\w.-]+)\.md\)")


@each_page
def test_a_link_is_called_as_the_page_that_it_leads_to(name: str) -> None:
    text = text_of(name)
    assert len(_LINK.findall(text)) == text.count("](")
    for title, section, leads in _LINK.findall(text):
        assert leads == f"{title}.{section}"
        assert leads in NAMES
    also = [leads for _, _, leads in _LINK.findall(sections(name)["SEE ALSO"])]
    assert name not in also and len(also) == len(set(also))


def test_each_page_is_named_by_the_page_of_the_whole() -> None:
    linked = {leads for _, _, leads in _LINK.findall(text_of("oomrules.1"))}
    assert linked | {"oomrules.1"} == set(NAMES)


@each_page
def test_no_line_is_too_wide_for_a_screen(name: str) -> None:
    # A block is moved in by 11 columns, and never broken.
    assert [line for block in blocks(name) for line in block.splitlines() if len(line) > 69] == []
    assert "\n|" not in text_of(name), "a table does not fit; make it a list of items"
