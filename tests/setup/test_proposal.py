"""What is proposed beside what is there already."""

from __future__ import annotations

from pathlib import Path

import pytest

from oomrules import resources
from oomrules.language import compiler, rulefiles
from oomrules.language.text import RuleText
from oomrules.lint import linter
from oomrules.roots import Root
from oomrules.setup import kinds, proposal
from oomrules.setup.evidence import Evidence
from oomrules.setup.links import Links
from oomrules.setup.presets import preset
from oomrules.setup.proposal import Asked
from tests.setup.trees import PRESETS, propose, system

EARLYOOM = Evidence(units={"earlyoom.service": "earlyoom.service is active"}, has_units=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return system(tmp_path / "root", rules=True)


def link(root: Path, name: str, target: str) -> None:
    (root / "etc/oomrules.d" / name).symlink_to(target)


def stems(made: proposal.Proposal) -> list[str]:
    return [state.preset.stem for state in made.pending]


def test_what_is_linked_already_is_the_administrators_choice(root: Path) -> None:
    link(root, "30-d.oom", f"{PRESETS}/desktop.oom")
    made = propose(root)
    # The guard goes with the preset, not with the guess.
    assert stems(made) == ["guard-desktop"]
    assert [state.there for state in made.presets] == ["30-d.oom"]
    assert stems(propose(root, Asked(kinds=("build",)))) == ["build-host", "guard-server"]


def test_a_guard_that_is_linked_is_enough(root: Path) -> None:
    link(root, "60-guard.oom", f"{PRESETS}/guard-desktop.oom")
    assert stems(propose(root)) == ["server"]


def test_own_guards_are_enough(root: Path) -> None:
    tree = Root(root)
    text = RuleText("mine.oom", "score rss\nkill when host.available < 5%\n")
    own = compiler.compile_texts([text])
    made = proposal.proposed(Evidence(), Links(tree), tree, own, Asked())
    assert made.guard is None and "mine.oom" in made.guard_why


def test_another_daemon_that_kills_is_enough(root: Path) -> None:
    made = propose(root, evidence=EARLYOOM)
    assert made.guard is None and "earlyoom acts already" in made.guard_why
    assert made.others[0].command == "systemctl disable --now earlyoom.service"
    assert stems(propose(root, Asked(guard="desktop"), EARLYOOM)) == ["server", "guard-desktop"]


def test_one_that_only_sets_values_does_not_stand_for_a_guard(root: Path) -> None:
    units = {"ananicy.service": "ananicy.service is active"}
    made = propose(root, evidence=Evidence(units=units, has_units=True))
    assert [one.other.name for one in made.others] == ["ananicy"] and made.guard


@pytest.mark.parametrize("kind", ["file", "mask", "directory"])
def test_a_name_that_is_taken_is_left(root: Path, kind: str) -> None:
    path = root / "etc/oomrules.d/50-server.oom"
    if kind == "file":
        path.write_text("prefer niced\n")
    elif kind == "mask":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    made = propose(root)
    assert stems(made) == ["guard-server"]
    assert str(path) in made.presets[0].why


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_each_kind_has_a_preset_with_its_link_and_rules_that_go_together(
    root: Path, kind: kinds.Kind
) -> None:
    assert preset(kind.preset, Root(root)).link == f"50-{kind.preset}.oom"
    made = propose(root, Asked(kinds=(kind.name, "server")))
    found = proposal.with_links(root, made)
    names = {Path(text.name).name for text in found.files}
    assert {f"50-{kind.preset}.oom", "50-server.oom", "20-protect.oom"} <= names
    assert linter.lint(found)[1] == []


def test_the_rules_with_the_links_are_those_that_are_in_force_afterwards(root: Path) -> None:
    made = propose(root, Asked(kinds=("database",)))
    before = proposal.with_links(root, made)
    Links(Root(root)).write([state.preset for state in made.pending])
    after = rulefiles.system(root)
    assert before == after


def test_every_shipped_preset_is_a_kind_a_guard_or_the_kernels_measure() -> None:
    shipped = {path.stem for path in (resources.rules() / "presets").glob("*.oom")}
    guards = {f"guard-{name}" for name in proposal.GUARDS}
    assert shipped == {*(kind.preset for kind in kinds.KINDS), *guards, "kernel"}
