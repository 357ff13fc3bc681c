"""What people asked other tools for, each as rules that say it.

Each request is a rule file, which names who asked, beside a test file with a host on which the
rules decide. `oomrules test tests/requests/NAME.test.toml` runs one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.done import oomrules

__all__ = ["oomrules"]

HERE = Path(__file__).parent
REQUESTS = sorted(path.stem for path in HERE.glob("*.oom"))
# Where each was made: a project's issue or pull request, or a page that is named.
ASKED = re.compile(
    r"[\w.-]+/[\w.-]+#\d+|PostgreSQL|OpenVZ|lmkd|login nodes|nohang's and earlyoom's"
)

Run = Callable[..., Any]


@pytest.fixture(params=REQUESTS)
def request_(request: pytest.FixtureRequest) -> Path:
    """A rule file."""
    return HERE / f"{request.param}.oom"


def test_a_request_says_who_asked(request_: Path) -> None:
    comment = re.match(r"# Asked for by: ((?:.*\n# )*?.*)\n#\n", request_.read_text())
    assert comment and ASKED.search(comment.group(1))


def test_check_has_nothing_to_complain_about_and_the_form_is_fmt_s(
    request_: Path, oomrules: Run
) -> None:
    done = oomrules("check", request_)
    assert (done.code, done.out.count("\n")) == (0, 1), done.out
    assert oomrules("fmt", "--check", request_).code == 0


def test_its_test_holds_and_every_rule_decides_in_it(request_: Path, oomrules: Run) -> None:
    done = oomrules("test", "--untested", request_.with_suffix(".test.toml"))
    assert done.code == 0, done.out
    assert request_.name not in done.out


def test_every_test_file_has_its_rules() -> None:
    tests = sorted(path.name.removesuffix(".test.toml") for path in HERE.glob("*.test.toml"))
    assert tests == REQUESTS and REQUESTS
