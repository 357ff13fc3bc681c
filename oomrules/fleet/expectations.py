"""What ``fleet test`` expects of every host: tables ``[[expect]]`` of a TOML file.

``who`` is a selector of the rules' own language. It is compiled as a rule of its own, so that a
process is meant exactly if a rule with that selector would be about it.
"""

from __future__ import annotations

import tomllib
from typing import NamedTuple

from oomrules import files
from oomrules.errors import Failure, reason
from oomrules.fleet.questions import expected_place
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.program.program import Program

WANTED = ("protected", "candidate", "first", "last", "not first", "present")
HINT = "docs/fleet.md has an example"
_LARGEST = 2**20
_MOST = 1000
_KEYS = {"name", "who", "is"}


class Expectation(NamedTuple):
    """One expectation.

    Attributes:
        name: what it is called in reports.
        who: a selector, as in a rule.
        wanted: one of WANTED.
    """

    name: str
    who: str
    wanted: str


def read(path: str) -> list[Expectation]:
    """Read a file of expectations.

    Raises:
        Failure: it cannot be read, or has a mistake.
    """
    try:
        data = tomllib.loads(files.read(path, _LARGEST).decode("utf-8"))
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path}: this is not TOML: {error}", HINT) from error
    tables = data.get("expect")
    if data.keys() != {"expect"} or not isinstance(tables, list) or not tables:
        raise Failure(f"{path}: it has tables [[expect]], and nothing else", HINT)
    if len(tables) > _MOST:
        raise Failure(f"{path}: more than {_MOST} expectations", "make two files of it")
    return [_expectation(path, number, table) for number, table in enumerate(tables, 1)]


def _expectation(path: str, number: int, table: object) -> Expectation:
    where = f"{path}: expectation {number}"
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise Failure(f"{where}: its keys are name, who and is, each a text", HINT)
    odd = sorted(table.keys() ^ _KEYS)
    if odd:
        known = "is missing" if odd[0] in _KEYS else "is no key of it"
        raise Failure(f"{where}: `{odd[0]}` {known}", HINT)
    if table["is"] not in WANTED:
        raise Failure(f"{where}: `is` is one of {', '.join(WANTED)}", HINT)
    if not table["who"].isprintable():
        raise Failure(f"{where}: `who` is one selector, in one line", HINT)
    return Expectation(name=table["name"], who=table["who"], wanted=table["is"])


def compiled(path: str, expectations: list[Expectation]) -> Program:
    """Return a program with one rule for each expectation, on line 2 of a text of its number.

    Raises:
        Rejected: a selector is wrong; the diagnostics quote it.
    """
    rules = []
    for number, one in enumerate(expectations):
        # Each for itself first, under a name that people know.
        text = f"# {one.name!r}\nspare {one.who}\n"
        alone = compiler.compile_texts([RuleText(f"{path}: expectation {number + 1}", text)])
        found = [rule for scope in alone.scopes for rule in scope.rules]
        if len(found) != 1:
            raise Failure(f"{path}: expectation {number + 1}: `who` is no selector", HINT)
        rules.append(RuleText(str(number), text))
        assert found[0].place.endswith(":2")
    made = compiler.compile_texts(rules)
    places = {rule.place for scope in made.scopes for rule in scope.rules}
    assert places == {expected_place(number) for number in range(len(expectations))}
    return made
