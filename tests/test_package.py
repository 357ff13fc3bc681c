"""The package as its users get it: built, installed elsewhere, run from elsewhere."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.packages import release

CHECKOUT = Path(__file__).resolve().parent.parent


def _run(*command: str | Path, cwd: Path) -> str:
    # Nothing of the checkout may leak in by way of the environment.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation")
    _run(*pip, "--wheel-dir", folder, CHECKOUT, cwd=folder)
    (built,) = folder.glob("oomrules-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    _run(folder / "bin" / "python", "-m", "pip", "--quiet", "install", wheel, cwd=folder)
    return folder / "bin" / "oomrules"


def test_the_wheel_carries_every_shipped_rule_and_the_grammar(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [
        *CHECKOUT.glob("rules.d/**/*.oom"),
        *CHECKOUT.glob("rules.d/**/*.test.toml"),
        CHECKOUT / "grammar" / "oomrules.lark",
    ]
    assert {f"oomrules/{path.relative_to(CHECKOUT)}" for path in shipped} <= names
    pages = CHECKOUT.glob("oomrules/lint/pages/*.md")
    assert {str(path.relative_to(CHECKOUT)) for path in pages} <= names
    assert not [name for name in names if name.startswith(("tests", "bench"))]


def test_an_installed_oomrules_ranks_from_another_directory(
    installed: Path, tmp_path: Path
) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        ranking = json.loads(_run(installed, "rank", "--format", "json", cwd=tmp_path))
    finally:
        sleeper.kill()
        sleeper.wait()
    assert sleeper.pid in {candidate["pid"] for candidate in ranking["candidates"]}


def test_an_installed_oomrules_uses_its_own_grammar_and_rules(
    installed: Path, tmp_path: Path
) -> None:
    text = _run(installed, "cat", "--root", tmp_path, cwd=tmp_path)
    assert str(installed.parent.parent) in text
    assert str(CHECKOUT) not in text
    assert "nothing to complain about" in _run(installed, "check", "--root", tmp_path, cwd=tmp_path)


def test_every_package_has_the_version_of_the_program_and_of_the_module() -> None:
    assert release.disagreements() == []


def test_a_version_that_differs_is_named(tmp_path: Path) -> None:
    for name in ("oomrules", "kernel", "packaging"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    (tmp_path / "kernel").unlink()
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/oom.c").write_text('MODULE_VERSION("0.0.1");\n')
    (said,) = release.disagreements(tmp_path)
    assert said.startswith("kernel/oom.c: the version is 0.0.1, and ")
