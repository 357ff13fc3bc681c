"""What people asked other tools for, each as rules that say it.

Each request is a rule file, which names who asked, beside a test file with a host on which the
rules decide, and the snapshot of that host. `oomrules test tests/requests/NAME.test.toml` runs one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.done import oomrules
from tests.requests import snapshots

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


def _processes(text: str, pids: Iterable[int]) -> list[tuple[object, ...]]:
    lines = [one for one in map(json.loads, text.splitlines()) if one["kind"] == "process"]
    # A snapshot that was recorded by an earlier version may have fewer fields.
    return [(one["pid"], one["comm"], one["rss"]) for one in lines if one["pid"] in pids]


def test_its_snapshot_is_of_the_host_in_its_test_and_ranks_in_the_same_order(
    request_: Path, oomrules: Run
) -> None:
    test, recorded = request_.with_suffix(".test.toml"), request_.with_suffix(".jsonl")
    text, pids = snapshots.snapshot(test)
    written, described = (_processes(one, pids.values()) for one in (recorded.read_text(), text))
    assert written == described, "python -m tests.requests.snapshots writes it again"
    done = oomrules("rank", "--snapshot", recorded, "--rules", request_, "--format", "json")
    ranked = [one["pid"] for one in done.data["candidates"]]
    for said in tomllib.loads(test.read_text())["test"]:
        wanted = [pids[name] for name in said.get("order", ())]
        assert [pid for pid in ranked if pid in wanted] == wanted
        protected = [pids[name] for name in said.get("protected", ())]
        assert not set(ranked) & set(protected)


def test_every_test_file_has_its_rules() -> None:
    tests = sorted(path.name.removesuffix(".test.toml") for path in HERE.glob("*.test.toml"))
    assert tests == REQUESTS and REQUESTS


# What could not be said before, by the word that says it now.
ONCE_UNSAID = {
    "kill whole": "kubernetes/kubernetes#117070 kubernetes/kubernetes#50632 cri-o/cri-o#6787 "
    "hakavlad/nohang#66 rfjakob/earlyoom#247 rfjakob/earlyoom#235 siderolabs/talos#11588",
    "user.footprint": "RWTH Delaware NCAR Purdue",
    "scope.memory": "systemd/systemd#19007",
    "totalpages": "rfjakob/earlyoom#316 noisebridge/infrastructure#494 PostgreSQL",
    "container.name": "docker/compose#3565 moby/moby#34703",
    "pod.priority": "kubernetes/kubernetes#131169 kubernetes/kubernetes#78848",
    "child of": "OpenVZ jupyterhub/dockerspawner#196",
    "by 3": "siderolabs/talos#11588 lmkd",
    "cgroup.memory": "nebius/soperator#2319 oar-team/oar#187",
    "max(": "rfjakob/earlyoom#224",
    "growth >": "facebookincubator/oomd#125",
    "host.available": "nohang earlyoom",
    "kill when": "rfjakob/earlyoom#269 rfjakob/earlyoom#118 systemd/systemd#24185",
    "within 3s": "rfjakob/earlyoom#373 rfjakob/earlyoom#354 rfjakob/earlyoom#128",
    "then stop": "systemd/systemd#36529 kubernetes/kubernetes#98157",
}


@pytest.mark.parametrize("word", ONCE_UNSAID)
def test_what_could_not_be_said_is_said(word: str) -> None:
    texts = [(HERE / f"{name}.oom").read_text() for name in REQUESTS]
    askers = " ".join(text.partition("\n#\n")[0] for text in texts if word in text)
    assert [one for one in ONCE_UNSAID[word].split() if one not in askers] == []
