"""Changed rule files: shown as a difference, or written in one step."""

from __future__ import annotations

import difflib

from oomrules import roots
from oomrules.errors import Failure, reason
from oomrules.language import rulefiles
from oomrules.language.text import RuleText
from oomrules.roots import Root
from oomrules.terminal import show


def print_difference(before: RuleText, after: str) -> None:
    """Print a unified difference, as ``patch`` takes it."""
    old, new = (text.splitlines(keepends=True) for text in (before.text, after))
    for line in difflib.unified_diff(old, new, before.name, before.name):
        show(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")


def write(before: RuleText, after: str, tree: Root) -> None:
    """Replace a rule file's text, all or nothing.

    A link is followed if root or the caller made it; below the ``tree`` of another system it
    never leads out. Owner and mode are kept.

    Raises:
        Failure: the file is not what was read, or it cannot be written; it is untouched.
    """
    tree = roots.named(tree.path)
    try:
        data = tree.read(before.name, rulefiles.LARGEST)
    except OSError as error:
        raise Failure(f"cannot read {before.name}: {reason(error)}") from error
    now = rulefiles.decode(data, before.name, before.level)
    if not isinstance(now, RuleText) or now.text != before.text:
        raise Failure(f"{before.name} was changed meanwhile", "nothing was written; try again")
    tree.replace(before.name, after.encode(), expected=data)
