"""The chain of the stages: no import goes back up it, and none goes round in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import oomrules

PACKAGE = Path(oomrules.__file__).parent

# Lowest first. A module may import what stands before its own line, and what is beside it.
GROUND = (
    "attributes",
    "capabilities",
    "child_lines",
    "config",
    "errors",
    "fields",
    "files",
    "kept",
    "lean",
    "plain",
    "resources",
    "roots",
    "targets",
    "terminal",
)
LAYERS: tuple[tuple[str, ...], ...] = (
    GROUND,
    ("program",),
    ("accounts",),
    ("processes",),
    ("ranking",),
    ("state",),
    ("sinks",),
    ("kills",),
    ("service",),
    ("dbus", "language"),
    ("reason",),
    ("lint",),
    ("testing", "editor"),
    ("commands", "__main__"),
)
# Lines whose members may import one another: the ground's small modules, and the entry point.
BESIDE = {*GROUND, "__main__"}
LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def modules() -> dict[str, Path]:
    """Return every module of the product by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["oomrules", *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Yield the product's modules that one imports: at once, later, or for its types only."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES:
                    yield inner
                elif node.module in MODULES:
                    yield node.module


ARROWS = {module: set(imports(module)) - {module} for module in MODULES}


def stage(module: str) -> str:
    """Return the stage that a module belongs to; the package itself is below all of them."""
    return module.split(".")[1] if "." in module else ""


def level(module: str) -> int:
    """Return the line in LAYERS on which a module stands."""
    return LEVEL[stage(module)]


def test_every_stage_has_its_place() -> None:
    assert {stage(module) for module in MODULES} - {""} <= LEVEL.keys()
    assert ARROWS["oomrules"] == set()


def test_a_module_imports_nothing_that_comes_after_it() -> None:
    up = {
        module: sorted(other for other in arrows if stage(other) and level(other) > level(module))
        for module, arrows in ARROWS.items()
        if stage(module)
    }
    assert {module: others for module, others in up.items() if others} == {}


def test_stages_on_one_line_do_not_know_each_other() -> None:
    beside = {
        (module, other)
        for module, arrows in ARROWS.items()
        for other in arrows
        if stage(module)
        and stage(other)
        and stage(module) != stage(other)
        and level(module) == level(other)
    }
    both_ways = {(module, other) for module, other in beside if stage(module) not in BESIDE}
    assert both_ways == set()


def test_no_import_goes_round_in_a_circle() -> None:
    left = {module: set(arrows) for module, arrows in ARROWS.items()}
    while ready := [module for module, arrows in left.items() if not arrows & left.keys()]:
        for module in ready:
            del left[module]
    # What is left hangs on a circle; cut what only leads to it.
    while ends := [module for module in left if not any(module in left[other] for other in left)]:
        for module in ends:
            del left[module]
    circles = {module: sorted(arrows & left.keys()) for module, arrows in left.items()}
    assert circles == {}
