"""The presets that are installed, and the names under which they are linked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from oomrules import resources, state_directory
from oomrules.errors import Failure, reason
from oomrules.language import rulefiles
from oomrules.roots import Root

# Where packages and `make install` put presets.
INSTALLED = f"{rulefiles.DIRECTORIES[-1]}/{rulefiles.PRESETS}"
# A preset's own comment says the name that it is to be linked under.
_ADVICE = re.compile(r"^#   ln -s \S+ /etc/oomrules\.d/(\S+)$", re.MULTILINE)
# The names of links that are written, and believed when they are to be removed.
NAME = re.compile(r"[0-9]{2}-[a-z0-9][a-z0-9.-]{0,60}\.oom")


class Preset(NamedTuple):
    """A preset.

    Attributes:
        stem: its name without the suffix, such as ``guard-server``.
        path: of its file, as this host has it.
        link: the name of its link, such as ``60-guard-server.oom``.
        target: what the link holds.
    """

    stem: str
    path: Path
    link: str
    target: str


def stems() -> frozenset[str]:
    """Return the names of the shipped presets, without the suffix."""
    folder = resources.rules() / rulefiles.PRESETS
    return frozenset(path.stem for path in folder.glob(f"*{rulefiles.SUFFIX}"))


def preset(stem: str, tree: Root) -> Preset:
    """Return a preset.

    Args:
        stem: its name without the suffix.
        tree: the system that it is for. Only on this host itself the presets of the running
            program stand in for those that are not installed.

    Raises:
        Failure: there is no such preset, or others could change it.
    """
    file = f"{stem}{rulefiles.SUFFIX}"
    path = tree.path / INSTALLED[1:] / file
    target = f"{INSTALLED}/{file}"
    if tree.whole and not path.exists():
        path = resources.rules() / rulefiles.PRESETS / file
        target = str(path)
        wrong = state_directory.ancestor_of_others(target)
        if wrong:
            raise Failure(
                f"{target} cannot be linked, because {wrong}, and who can write there could "
                "change which processes the kernel kills",
                "install oomrules, so that the presets are in /usr/lib",
            )
    try:
        text = tree.read(path, rulefiles.LARGEST).decode("utf-8", "replace")
    except OSError as error:
        raise Failure(
            f"cannot read {path}: {reason(error)}",
            "install oomrules, which brings the presets",
        ) from error
    advised = _ADVICE.search(text)
    link = advised[1] if advised and NAME.fullmatch(advised[1]) else f"50-{file}"
    return Preset(stem=stem, path=path, link=link, target=target)
