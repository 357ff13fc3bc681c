"""Commands, run inside this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oomrules.commands.main import main
from tests.children import CHECKOUT

DATA = Path(__file__).parent.parent / "data"


class Done(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def oomrules(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command inside this process."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Done(code, out, err)

    return run


@pytest.fixture
def process() -> Callable[..., Done]:
    """Run a command in a process of its own."""

    def run(*arguments: object, **options: Any) -> Done:
        environment = {**os.environ, "PYTHONPATH": CHECKOUT, **options.pop("env", {})}
        # Python's own buffers are what most people have, and most of what can go wrong at exit.
        environment.pop("PYTHONUNBUFFERED", None)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        done = subprocess.run(
            [sys.executable, "-m", "oomrules", *map(str, arguments)],
            text=True,
            env=environment,
            timeout=60,
            **options,
        )
        assert "Traceback" not in (done.stderr or "")
        return Done(done.returncode, done.stdout or "", done.stderr or "")

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host without rules of its own, so that the shipped ones are in force."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Callable[[str], Path]:
    """Write a rule file."""

    def write(text: str, name: str = "x.oom") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def recorded() -> Path:
    """A recorded host with one process of every kind."""
    return DATA / "host.jsonl"
