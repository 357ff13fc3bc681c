"""The fixtures of the commands' tests."""

from tests.commands.done import oomrules, process, recorded, root, rules

__all__ = ["oomrules", "process", "recorded", "root", "rules"]
