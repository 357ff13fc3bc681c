"""The configuration: what it may say, and how it is told that it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules import config
from oomrules.config import Config
from oomrules.errors import Failure


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "oomrules.conf"
    path.write_text(text, encoding="utf-8")
    return config.load(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Config()),
        ("# nothing\n[Emit]\n", Config()),
        ("[Emit]\nTo=auto\n", Config()),
        ("[Emit]\nTo=\n", Config()),
        ("\ufeff[Emit]\nHead=7\n", Config((), 7)),  # as editors of other systems begin a file
        ("[Emit]\nTo = /proc/oom oom_score_adj\n", Config(("/proc/oom", "oom_score_adj"))),
        ("[Guard]\nMode = Dry-Run\n", Config(guard="dry-run")),
        ("[Guard]\nMode=off\n[Emit]\nHead=7\n", Config((), 7, guard="off")),
        ("[Emit]\n; both\nHead=7\nTo=/run/list\n", Config(("/run/list",), 7)),
    ],
)
def test_what_it_may_say(tmp_path: Path, text: str, expected: Config) -> None:
    assert read(tmp_path, text) == expected


def test_a_missing_file_leaves_it_to_the_host(tmp_path: Path) -> None:
    assert config.load(str(tmp_path / "none")) == Config()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("To=auto\n", 1, "section"),
        ("[Emit]\n\nnonsense\n", 3, "Key=value"),
        ("[Emit]\nTo=auto\n\nTo=auto\n", 4, "To= a second time; it stands in line 2"),
        ("[Emit]\nHead=3\n[Emit]\nTo=auto\n", 3, "[Emit] a second time; it begins in line 1"),
        ("\ufeff[Emit]\n\nnonsense\n", 3, "Key=value"),
        ("\n[Emitt]\n", 2, "[Emitt]"),
        ("[Emit]\nHead=3\nto=auto\n", 3, "to="),
        ("[Emit]\nTo=proc/oom\n", 2, "`proc/oom`"),
        ("[Emit]\n\nHead=0\n", 3, "Head=0"),
        ("[Emit]\nHead=many\n", 2, "many"),
        ("[Emit]\nHead=²\n", 2, "²"),
        ("[Guard]\n\nMode=maybe\n", 3, "Mode=maybe"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(Failure) as failure:
        read(tmp_path, text)
    assert failure.value.message.startswith(f"{tmp_path}/oomrules.conf:{line}: ")
    assert said in failure.value.message and failure.value.hint


def test_bytes_and_directories_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot read"):
        config.load(str(tmp_path))
    (tmp_path / "oomrules.conf").write_bytes(b"[Emit]\xff\n")
    with pytest.raises(Failure, match="UTF-8"):
        config.load(str(tmp_path / "oomrules.conf"))


@pytest.mark.parametrize(
    ("text", "hooks", "notices"),
    [
        ("", True, ("sessions", "broadcast")),
        ("[Guard]\n", True, ("sessions", "broadcast")),
        ("[Guard]\nHooks=no\nNotices=no\n", False, ()),
        ("[Guard]\nHooks=Yes\nNotices=sessions\n", True, ("sessions",)),
        ("[Guard]\nNotices=broadcast sessions broadcast\n", True, ("broadcast", "sessions")),
        ("[Emit]\nHead=3\n[Guard]\nNotices=yes\n", True, ("sessions", "broadcast")),
    ],
)
def test_it_says_how_people_are_told(
    tmp_path: Path, text: str, hooks: bool, notices: tuple[str, ...]
) -> None:
    settled = read(tmp_path, text)
    assert (settled.hooks, settled.notices) == (hooks, notices)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Guard]\nHooks=some\n", ":2: Hooks=some is neither yes nor no"),
        ("[Guard]\n\nNotices=mail\n", ":3: Notices=mail: `mail` is no way"),
        ("[Guard]\nTo=auto\n", ":2: unknown key To= in [Guard]"),
        ("[Emit]\nHooks=no\n", ":2: unknown key Hooks= in [Emit]"),
    ],
)
def test_a_mistake_in_how_people_are_told_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Failure) as failure:
        read(tmp_path, text)
    assert said in failure.value.message and failure.value.hint
