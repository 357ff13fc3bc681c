"""Test files: TOML that describes processes, and what the rules must make of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from oomrules import roots
from oomrules.errors import Failure, reason
from oomrules.language.diagnostics import did_you_mean
from oomrules.processes import recorded
from oomrules.roots import Root
from oomrules.testing import series
from oomrules.testing.described import Described, refuse_unknown
from oomrules.testing.series import Series

SUFFIX = ".test.toml"
HERE = Root()
_LARGEST = 2**20
_FILE = ("rules", "snapshot", "host", "process", "scope", "test", "guard")
# What a test can expect of processes, which it names.
EXPECTATIONS = ("first", "last", "order", "protected", "candidates")
_TEST = ("name", "only", *EXPECTATIONS)


class Case(NamedTuple):
    """One test.

    Attributes:
        name: what it shows.
        only: the processes that it is about; all of the file if there are none.
        expected: by expectation, the processes of which it is expected.
    """

    name: str
    only: tuple[str, ...]
    expected: dict[str, tuple[str, ...]]


class TestFile(NamedTuple):
    """A test file.

    Attributes:
        path: where it is.
        rules: the rule files or directories that it is about; None for those in force.
        snapshot: the host that it describes or names.
        pids: the pid of each process that it describes.
        cases: its tests of whom.
        series: its tests of guards, of when.
    """

    path: Path
    rules: tuple[str, ...] | None
    snapshot: recorded.Recorded
    pids: dict[str, int]
    cases: tuple[Case, ...]
    series: tuple[Series, ...] = ()

    def pid(self, name: str) -> int:
        """Return a process's pid by its name in the file, its pid or comm; else raise Failure."""
        if name in self.pids:
            return self.pids[name]
        found = [
            process.pid
            for process in self.snapshot.by_pid.values()
            if name in (str(process.pid), process.comm)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise Failure(
                f"{self.path}: {len(found)} processes are called {name}",
                f"say which by its pid: {', '.join(map(str, sorted(found)[:8]))}",
            )
        known = [*self.pids, *(process.comm or "" for process in self.snapshot.by_pid.values())]
        raise Failure(
            f"{self.path}: there is no process {name}",
            did_you_mean(name, known, "describe it in a table [process.NAME]"),
        )


def files(paths: list[Path], tree: Root = HERE) -> Iterator[Path]:
    """Return test files: those of ``paths``, and those in directories of ``paths``.

    Args:
        tree: no link below it leads out of it.

    Raises:
        Failure: a path is not there.
    """
    for path in paths:
        if not tree.is_dir(path):
            yield path
            continue
        try:
            yield from sorted(path / name for name in tree.names(path) if name.endswith(SUFFIX))
        except OSError as error:
            raise Failure(f"cannot read {path}: {reason(error)}") from error


def read(path: Path, tree: Root = HERE) -> TestFile:
    """Return a test file.

    Args:
        tree: the directory that stands for ``/`` for the files that it names, if it is below it.

    Raises:
        Failure: it cannot be read, or has a mistake.
    """
    try:
        data = tomllib.loads(roots.named(tree.path).read(path, _LARGEST).decode("utf-8"))
        _refuse_large(data)
    except FileNotFoundError as error:
        raise Failure(f"no such test file or directory: {path}") from error
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: this is not TOML: {error}", "see docs/testing.md") from error
    except (ValueError, RecursionError) as error:
        raise Failure(
            f"{path}: a number in it has more than 64 bits, or it is nested too deeply",
            "see docs/testing.md",
        ) from error
    refuse_unknown(data, _FILE, str(path))
    if "snapshot" in data:
        if "process" in data:
            raise Failure(
                f"{path}: it names a snapshot and describes processes",
                "remove `snapshot`, or the tables [process.NAME]",
            )
        snapshot = recorded.load(_beside(path, str(data["snapshot"]), tree), tree.lines)
        pids: dict[str, int] = {}
    else:
        snapshot, pids = Described(str(path)).snapshot(data)
    tests = data.get("test", [])
    if (
        not isinstance(tests, list)
        or not all(isinstance(test, dict) for test in tests)
        or not (tests or data.get("guard"))
    ):
        raise Failure(f"{path}: it has no test", "begin one with [[test]] or [[guard]]")
    rules = None
    if "rules" in data:
        rules = tuple(_beside(path, name, tree) for name in _names(path, data["rules"], "rules"))
    return TestFile(
        path=path,
        rules=rules,
        snapshot=snapshot,
        pids=pids,
        cases=tuple(_case(path, test) for test in tests),
        series=series.read(data.get("guard", []), str(path)),
    )


def _beside(path: Path, named: str, tree: Root) -> str:
    """Return the path of a file that a test file names: from its directory on, or from the root."""
    if tree.whole or not tree.holds(path):
        return os.path.normpath(path.parent / named)
    # Not normalised: the walk decides what `..` means there.
    return str(tree.path / named.lstrip("/") if named.startswith("/") else path.parent / named)


def _refuse_large(data: Any) -> None:
    """Raise ValueError for a number that TOML does not have, though Python does."""
    if isinstance(data, dict | list):
        for value in data.values() if isinstance(data, dict) else data:
            _refuse_large(value)
    elif isinstance(data, int) and not -(2**63) <= data < 2**63:
        raise ValueError("a number has more than 64 bits")


def _case(path: Path, data: dict[str, Any]) -> Case:
    name = str(data.get("name", ""))
    if not name:
        raise Failure(f"{path}: a test has no name", 'say what it shows: name = "…"')
    refuse_unknown(data, _TEST, f"{path}: {name}")
    expected = {
        key: _names(path, data[key], f"{name}: {key}") for key in EXPECTATIONS if key in data
    }
    if not expected:
        raise Failure(
            f"{path}: {name}: nothing is expected",
            f"add one of {', '.join(EXPECTATIONS)}",
        )
    return Case(name, _names(path, data.get("only", []), f"{name}: only"), expected)


def _names(path: Path, given: Any, where: str) -> tuple[str, ...]:
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str | int) for name in names):
        raise Failure(f"{path}: {where}: give names in quotes, in brackets if several")
    return tuple(map(str, names))
