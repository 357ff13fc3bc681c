"""Protection that a process can give itself."""

from __future__ import annotations

from collections.abc import Iterator

from oomrules.language.diagnostics import Diagnostic, Level
from oomrules.lint.meaning import Placed
from oomrules.lint.ruleset import Check, RuleSet
from oomrules.reason.arithmetic import mentioned
from oomrules.reason.intervals import Numbers, whole
from oomrules.reason.regions import Box
from oomrules.reason.witnesses import Witness
from oomrules.runtime.evaluator import Verdict

# What any process can change as it likes: its name (prctl(2), PR_SET_NAME), its command line
# (PR_SET_MM_ARG_START, or writing over it), a higher nice value, how many threads it has.
AT_WILL = {
    "comm": "its name",
    "cmdline": "its command line",
    "nice": "its nice value",
    "threads": "its number of threads",
}


def _chosen(box: Box) -> set[str]:
    """Give what a process has to choose to be in a box; nothing if that is not enough."""
    names: set[str] = set()
    for (kind, key), values in box.items():
        about = {key} if kind == "text" else {key[0]} if kind == "search" else mentioned(key)
        if not about or not about <= AT_WILL.keys():
            return set()
        if about == {"nice"} and isinstance(values.known, Numbers) and not values.known & whole(0):
            return set()  # nobody but root lowers it below 0
        names |= about
    return names


def _self_made(rules: RuleSet) -> Iterator[Diagnostic]:
    meaning = rules.meaning
    for placed in meaning.placed:
        # Whoever is in a unit was put there by somebody; that is said beside the name.
        if placed.kind != "never" or placed.effect.targets:
            continue
        for box in placed.effect.sure or []:
            names = _chosen(box)

            def confirms(witness: Witness, verdict: Verdict, placed: Placed = placed) -> bool:
                return verdict.reason == "never killed" and meaning.has_effect(
                    witness, placed.effect
                )

            witness = meaning.witness([box], confirms) if names else None
            if not witness:
                continue
            what = " and ".join(sorted(AT_WILL[name] for name in names))
            yield SELF_MADE.at(
                placed.stated.source,
                placed.rule.selector.span,
                f"any process can protect itself with this: it chooses {what}",
                'say also whose it is, as in `uid 0 comm "sshd"`, or spare it instead',
                witness=witness,
            )
            break


SELF_MADE = Check(
    "OOM531", "a protection that a process can give itself", Level.WARNING, _self_made, whole=True
)
CHECKS = (SELF_MADE,)
