"""Compile the shipped rules into a program file: the half that is not measured.

This runs in a process of its own, so that the parser's memory is not counted in
the resident half. Importing the other half here leaves its bytecode on disk: a
service's first start would do the same, and only the later ones are typical.
"""

from __future__ import annotations

import sys


def main() -> None:
    checkout, path = sys.argv[1:]
    sys.path.insert(0, checkout)
    from oomrules import resources
    from oomrules.language import compiler, diagnostics, rulefiles
    from oomrules.runtime import evaluator, procfs, program, ranking, sinks  # noqa: F401

    try:
        compiled = compiler.compile_rules(rulefiles.given([str(resources.rules())]))
    except diagnostics.Rejected as rejected:
        first = rejected.diagnostics[0]
        raise SystemExit(f"{first.source.name}: {first.message}") from None
    with open(path, "w", encoding="utf-8") as file:
        file.write(program.dumps(compiled))


main()
