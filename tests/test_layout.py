"""Where files are: what a newcomer looks for is where its name says."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "oomrules"
TESTS = CHECKOUT / "tests"
# Tests of a whole machine, which may have a command's or a module's name; not of a module alone.
OF_MACHINES = ("vm", "fresh")
# Of one line: the formatter breaks others only where the type checker reads them.
IMPORT = re.compile(r"from (oomrules[\w.]*) import ([a-zA-Z_][\w, ]*)")


def test_a_test_that_has_a_modules_name_is_where_the_module_is() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    lost = []
    for test in TESTS.rglob("test_*.py"):
        place = test.relative_to(TESTS)
        name = test.stem.removeprefix("test_")
        module = PACKAGE / place.with_name(f"{name}.py")
        if place.parts[0] not in OF_MACHINES and name in names and not module.exists():
            lost.append(str(place))
    assert lost == []


def test_make_lint_reads_every_shell_script() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    listed = " ".join(re.findall(r"^SHELL_SCRIPTS [:+]= (.*)$", makefile, re.M))
    folders = [
        path
        for path in CHECKOUT.iterdir()
        if path.is_dir() and (not path.name.startswith(".") or path.name == ".ci")
    ]
    # What is built here, as by `make bench`, is not ours.
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "build" not in path.parts
    ]
    files += [path for path in CHECKOUT.iterdir() if path.is_file()]
    for path in files:
        with path.open("rb") as file:
            if re.match(rb"#!.*\b(ba|da|k)?sh\n", file.readline(100)):
                assert str(path.relative_to(CHECKOUT)) in listed


def test_code_in_texts_imports_what_there_is() -> None:
    """Programs that tests hand to other interpreters are texts, which no type checker reads."""
    lost = []
    for folder in (TESTS, CHECKOUT / "bench"):
        for path in folder.rglob("*.py"):
            for module, names in IMPORT.findall(path.read_text(encoding="utf-8")):
                found = importlib.import_module(module)
                for name in names.split(","):
                    word = name.split()[0]
                    package = hasattr(found, "__path__")
                    if not (hasattr(found, word) or (package and find_spec(f"{module}.{word}"))):
                        lost.append(f"{path.relative_to(CHECKOUT)}: {module}.{word}")
    assert lost == []


def test_no_line_is_so_long_that_packagers_take_its_file_for_a_made_one() -> None:
    # lintian: source-is-missing, from 512 characters on.
    long = [
        str(path.relative_to(CHECKOUT))
        for path in PACKAGE.rglob("*")
        if path.suffix in (".html", ".svg", ".js", ".css", ".py")
        and any(len(line) > 400 for line in path.read_text(encoding="utf-8").splitlines())
    ]
    assert long == []
