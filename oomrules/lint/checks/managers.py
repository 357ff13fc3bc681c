"""Units of users' managers that are asked for as if they were the system's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oomrules.language import syntax
from oomrules.language.diagnostics import Diagnostic
from oomrules.language.text import RuleText, Span
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.processes.units import ROOT_SLICE
from oomrules.program.nodes import among

# Names that systemd and desktops give to units of users' managers only (systemd.special(7),
# and the conventions for desktop environments on systemd.io).
_OF_USERS = (
    *("app.slice", "session.slice", "background.slice", "app-*.scope", "app-*@*.service"),
    "app-[*]",
    *("gnome-session*.service", "gnome-shell@*.service", "org.gnome.*.service"),
    *("gnome-terminal-server.service", "vte-spawn-*.scope", "plasma-*.service"),
    *("pipewire.service", "pipewire-pulse.service", "wireplumber.service", "pulseaudio.service"),
    *("xdg-desktop-*.service", "xdg-document-portal.service", "gvfs-*.service"),
    *("tracker-*.service", "localsearch-*.service"),
)
# The names of the system's units around users' managers begin with these.
_ABOVE = ("user.slice", "user-", "user@", ROOT_SLICE, "*", "?", "[")


def _is_wrong(name: str, targets: Iterable[syntax.Target]) -> str:
    """Return why the system has no unit of this name with processes; empty if it may have one."""
    if among(name, *_OF_USERS):
        return f"`{name}` is a unit of users' managers, and a name alone means one of the system's"
    below_a_manager = any(
        target.relation is syntax.Relation.OF_USER or target.unit.value.startswith("user@")
        for target in targets
    )
    if below_a_manager and not name.startswith(_ABOVE):
        return (
            f"below a user's manager there is no `{name}` of the system, which is what a name "
            "alone means"
        )
    return ""


def _found(source: RuleText, span: Span, why: str, better: str) -> Diagnostic:
    return OF_USERS.at(source, span, f"{why}: this is about no process", f"write {better}")


def _asked_for_wrongly(rules: RuleSet) -> Iterator[Diagnostic]:
    for source, around, target, behind in rules.targets:
        if source not in rules.sources or target.relation is not syntax.Relation.NAMED:
            continue
        name = target.unit.value
        why = _is_wrong(name, around)
        if why:
            yield _found(source, target.span, why, f'`{behind} user unit "{name}"`')
    for pattern in rules.patterns:
        attribute, name = pattern.attribute, pattern.text.value
        if attribute not in ("unit", "slice") or pattern.how == "search":
            continue
        # An item of a list may be asked for outside of these blocks too.
        around = pattern.user.targets if pattern.user.source is pattern.source else ()
        why = _is_wrong(name, around)
        if why:
            sign = " ==" if pattern.how == "text" else ""
            better = f'`user.{attribute}{sign} "{name}"`'
            if pattern.related:
                better = f"`user.{attribute}` where the list is used"
            yield _found(pattern.source, pattern.text.span, why + pattern.usage, better)


OF_USERS = Check(
    "OOM532", "a unit of users that is asked for as one of the system's", _asked_for_wrongly
)
CHECKS = (OF_USERS,)
