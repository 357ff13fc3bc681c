"""Scores that say the same of every process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.program import nodes

_UNKNOWN = "unknown"


def constant(node: list[Any]) -> int | str | None:
    """Work out a score that does not depend on the process.

    Returns:
        its value, ``unknown`` for a division by zero, or None where it depends on something.
    """
    kind = node[0]
    if kind in ("number", "bytes"):
        value: int = node[1]
        return value
    if kind not in nodes.STRICT:
        return None
    operands = [constant(part) for part in node[1:]]
    if kind == "/" and len(operands) > 1 and operands[1] == 0:
        return _UNKNOWN
    if _UNKNOWN in operands:
        return _UNKNOWN
    if kind == "*" and 0 in operands:
        return 0
    if None in operands:
        return None
    # Only the sign matters here, so bytes need not become pages.
    result = nodes.STRICT[kind](*operands)
    return _UNKNOWN if result is None else int(result)


def _constant_scores(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.scores():
        value = constant(stated.node)
        if value is None:
            continue
        if isinstance(value, int) and value > 0:
            message = "this score is the same for every process, so only weights tell them apart"
            help_ = "score by something that grows with badness, as in `score rss`"
        else:
            what = "is unknown, by a division by 0," if value == _UNKNOWN else "gives no points"
            message = f"this score {what} whatever the process, so nobody can be killed"
            help_ = "say `never kill anything` if that is meant, else score by memory"
        yield CONSTANT.at(stated.source, stated.statement.expression.span, message, help_)


CONSTANT = Check(
    "OOM521", "a score that is the same for every process", Level.WARNING, _constant_scores
)
CHECKS = (CONSTANT,)
