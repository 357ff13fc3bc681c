"""Compile rules into a program file: the half that is not measured.

Called with the directory that holds the package, the file to write and, in place of
the shipped rules, a rule file.

This runs in a process of its own, so that the parser's memory is not counted in
the resident half. Importing the other half here leaves its bytecode on disk: a
service's first start would do the same, and only the later ones are typical.
"""

from __future__ import annotations

import sys


def main() -> None:
    checkout, path, *given = sys.argv[1:]
    sys.path.insert(0, checkout)
    from oomrules import resources
    from oomrules.language import compiler, diagnostics, rulefiles
    from oomrules.program import program

    try:
        compiled = compiler.compile_rules(rulefiles.given(given or [str(resources.rules())]))
    except diagnostics.Rejected as rejected:
        first = rejected.diagnostics[0]
        raise SystemExit(f"{first.source.name}: {first.message}") from None
    with open(path, "w", encoding="utf-8") as file:
        file.write(program.dumps(compiled))


main()
