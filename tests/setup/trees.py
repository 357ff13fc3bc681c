"""Made-up systems for the tests of `oomrules init`, and what is in them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from oomrules import resources
from oomrules.language import compiler, rulefiles
from oomrules.roots import Root
from oomrules.setup import proposal
from oomrules.setup.evidence import Evidence
from oomrules.setup.links import Links
from oomrules.setup.proposal import Asked, Proposal

PRESETS = "/usr/lib/oomrules.d/presets"


def system(path: Path, directory: bool = True, rules: bool = False) -> Path:
    """Make a system with presets, with or without a directory for rules and the shipped rules."""
    shipped = resources.rules()
    shutil.copytree(shipped / "presets", path / PRESETS[1:])
    if rules:
        for file in shipped.glob("*.oom"):
            shutil.copy(file, path / "usr/lib/oomrules.d")
    (path / "etc").mkdir()
    if directory:
        (path / "etc/oomrules.d").mkdir()
    return path


def contents(path: Path) -> dict[str, tuple[int, str]]:
    """Give each name below a directory, with its mode and what it holds or leads to."""
    found = {}
    for folder, directories, names in os.walk(path):
        for name in (*directories, *names):
            one = Path(folder, name)
            mode = one.lstat().st_mode
            held = ""
            if stat.S_ISLNK(mode):
                held = os.readlink(one)
            elif stat.S_ISREG(mode):
                held = one.read_text()
            found[str(one.relative_to(path))] = (mode, held)
    return found


def propose(root: Path, asked: Asked | None = None, evidence: Evidence | None = None) -> Proposal:
    """Give what is proposed for a system whose rules are the shipped ones."""
    shipped = compiler.compile_rules(rulefiles.given([str(resources.rules())]))
    tree = Root(root)
    return proposal.proposed(evidence or Evidence(), Links(tree), tree, shipped, asked or Asked())


def write(root: Path, asked: Asked | None = None, evidence: Evidence | None = None) -> Proposal:
    """Write what is proposed, as `oomrules init --yes` does."""
    made = propose(root, asked, evidence)
    if made.pending or made.again:
        Links(Root(root)).write([state.preset for state in made.pending])
    return made
