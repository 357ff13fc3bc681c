"""Files in drop-in directories whose names are passed over, or replace nothing."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from oomrules.language.diagnostics import Diagnostic
from oomrules.language.rulefiles import SUFFIX
from oomrules.lint.ruleset import Check, RuleSet

# Endings that editors, packagers and people add to the name of a rule file for a copy.
_COPIES = re.compile(
    r"(~|\.(bak|orig|old|save|sw[a-z]|tmp|disabled|off|rpm(new|save|orig)|dpkg-\w+|ucf-\w+))$", re.I
)
# Names that people give to rule files, such as `50-local.conf` by systemd's habit.
_MEANT = re.compile(
    r".*\.oom\.(txt|conf)|.*\.(oomrules?|rules|oom)|\d+-.*\.(conf|txt|ya?ml|json|toml)", re.I
)
# Names that may be meant for a rule file in a directory that has no rule file.
_PERHAPS = re.compile(r".*\.(conf|cfg|ini|ya?ml|json|toml)|(?!readme|licen|copying)[^.]+", re.I)
_MOST = 3
_ENDING = re.compile(r"(\.oom)?\.[^.]*$", re.IGNORECASE)


def _names(directory: Path, rules: RuleSet) -> list[str]:
    try:
        return sorted(rules.tree.names(directory))
    except OSError:
        return []  # reported already, or not there


def _is_file(path: Path, rules: RuleSet) -> bool:
    try:
        return stat.S_ISREG(rules.tree.stat(path).st_mode)
    except OSError:
        return False


def _passed_over(rules: RuleSet) -> Iterator[Diagnostic]:
    for directory in rules.directories:
        names = _names(directory, rules)
        bare = not any(_is_rule_file(name) for name in names)
        perhaps = 0
        for name in names:
            path = directory / name
            visible = name.lstrip(".")
            if _is_rule_file(name) or _COPIES.search(name) or not _is_file(path, rules):
                continue
            if not _MEANT.fullmatch(visible):
                if not bare or name != visible or not _PERHAPS.fullmatch(name):
                    continue
                perhaps += 1
                if perhaps > _MOST:
                    continue
            dotted = name.endswith(SUFFIX)
            why = "begins with a dot" if dotted else f"does not end in `{SUFFIX}`"
            better = _ENDING.sub("", visible) + SUFFIX
            yield PASSED_OVER.about(
                str(path),
                f"{path} is not read: its name {why}",
                f"call it `{better}`, or move it elsewhere",
            )


def _is_rule_file(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _alike(name: str) -> str:
    return name.lower().replace("_", "-")


def _almost(rules: RuleSet) -> Iterator[Diagnostic]:
    # Only exactly the same name replaces or masks a file of a lower directory.
    above: dict[str, Path] = {}
    for directory in rules.directories:
        here = list(filter(_is_rule_file, _names(directory, rules)))
        for name in here:
            other = above.get(_alike(name))
            if other is not None and other.name != name:
                yield ALMOST.about(
                    str(other),
                    f"{other} does not replace {directory / name}: their names differ",
                    f"call it `{name}` to replace that file, or give it a name of its own",
                )
        for name in here:
            above.setdefault(_alike(name), directory / name)


PASSED_OVER = Check("OOM003", "a rule file that is not read", _passed_over)
ALMOST = Check("OOM004", "a file name that almost replaces another", _almost)
CHECKS = (PASSED_OVER, ALMOST)
