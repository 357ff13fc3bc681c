"""The chain of the stages: no import goes back up it or over the wall, and none in a circle.

docs/README.md has the picture.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import oomrules

PACKAGE = Path(oomrules.__file__).parent

# Every stage may import these, and they one another.
GROUND = (
    "attributes",
    "capabilities",
    "child_lines",
    "clock",
    "config",
    "errors",
    "extras",
    "fields",
    "files",
    "json_lines",
    "state_directory",
    "lean",
    "plain",
    "resources",
    "roots",
    "targets",
    "terminal",
)
# The chain: at run time a stage may import what stands before it.
RUN_TIME = (
    *("program", "accounts", "processes", "ranking", "state", "sinks", "kills", "guard"),
    "service",
)
# Compile time makes programs and facts: it knows what those are, and nothing of what uses them.
COMPILE_TIME = {
    name: {"program", "accounts", "processes"} for name in ("language", "dbus", "runtimes")
}
# The tools judge rules and processes, and do not act: they know nothing of sinks or the service.
JUDGED = {"program", "accounts", "processes", "ranking", "language", "dbus"}
TOOLS = {
    "reason": {"program", "accounts", "processes", "ranking"},
    "lint": {*JUDGED, "reason", "guard"},
    "testing": {*JUDGED, "guard"},
    "importing": {"program", "processes", "language", "dbus"},
    "setup": {"program", "language", "dbus"},
    "report": {"program", "processes", "kills"},
    "editor": {*JUDGED, "reason", "lint"},
    "fleet": {"program", "processes", "ranking", "language", "reason"},
    # It draws what it is given.
    "picture": set(),
}
STAGES = {*RUN_TIME, *COMPILE_TIME, *TOOLS}
# What the modules of a stage may import, besides their own stage and the ground.
MAY_IMPORT: dict[str, set[str]] = {
    **{name: set() for name in GROUND},
    **{name: set(RUN_TIME[:place]) for place, name in enumerate(RUN_TIME)},
    **COMPILE_TIME,
    **TOOLS,
    "commands": STAGES,
    "__main__": {"commands"},
}


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


def test_every_stage_has_its_place() -> None:
    assert {stage(module) for module in MODULES} - {""} == MAY_IMPORT.keys()
    assert ARROWS["oomrules"] == set()


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_stage_imports_only_what_it_may_know(name: str) -> None:
    may = {"", name, *GROUND, *MAY_IMPORT[name]}
    wrong = {
        module: others
        for module, arrows in ARROWS.items()
        if stage(module) == name
        and (others := sorted(other for other in arrows if stage(other) not in may))
    }
    assert wrong == {}


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
