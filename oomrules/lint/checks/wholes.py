"""Units that are killed as a whole, with more in them than was meant."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.language import syntax
from oomrules.language.diagnostics import Diagnostic
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.program.nodes import glob, is_glob
from oomrules.reason.globs import matching

# What ends with a unit, the narrower ones first: by names of the system's units, and of those of
# users' managers (systemd.special(7), logind's own units).
_OF_SYSTEM = {
    "session-*.scope": "a login session",
    "user@*.service": "all that a user's manager runs",
    "user-*.slice": "all login sessions of a user",
    "user.slice": "the login sessions of all users",
    "sshd.service": "the way in over SSH",
    "ssh.service": "the way in over SSH",
    "oomrules.service": "oomrules itself",
    "init.scope": "systemd itself",
    "system.slice": "every service",
    "-.slice": "the whole host",
}
_OF_USERS = {
    "session.slice": "what holds a desktop together",
    "app.slice": "all applications of a user",
    "init.scope": "the user's manager itself",
}


def _too_much(rules: RuleSet) -> Iterator[Diagnostic]:
    for stated in rules.checked.sound:
        if not isinstance(stated.statement, syntax.Whole) or stated.source not in rules.sources:
            continue
        target = stated.statement.target
        if target.relation is syntax.Relation.NAMED:
            endangered = _OF_SYSTEM
        elif target.relation is syntax.Relation.OF_USER:
            endangered = _OF_USERS
        else:
            continue
        name = target.unit.value
        taken = next((unit for unit in endangered if may_mean(name, unit)), None)
        if taken is None:
            continue
        which = f"`{name}` is" if name == taken or not is_glob(name) else f"it may mean `{taken}`:"
        yield TOO_MUCH.at(
            stated.source,
            target.span,
            f"a unit that is killed as a whole should hold one job, and {which} "
            f"{endangered[taken]}",
            'name the units of jobs alone, as in `kill whole "batch-*.service"`; `oomrules rank` '
            "shows what ends with each unit",
        )


def may_mean(name: str, unit: str) -> bool:
    """Return whether a target may mean one of some units."""
    if not is_glob(name):
        return glob(name, unit)
    return bool(matching((name,)) & matching((unit,)))


TOO_MUCH = Check("OOM533", "a whole unit that may hold a login session or the host", _too_much)
CHECKS = (TOO_MUCH,)
