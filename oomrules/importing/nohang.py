"""nohang: nohang.conf and nohang-desktop.conf (nohang(8)).

Written from version 0.2.0: the loop at its end that reads the file, and `pid_to_badness`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from oomrules.importing import patterns
from oomrules.importing.translation import (
    ADDED,
    BOTH_ACT,
    MEASURED,
    NEGATIVE_ONLY,
    OOM_SCORE,
    PASSED_OVER,
    SAMPLES,
    Line,
    Piece,
    Selector,
    Translation,
    Untranslatable,
    added,
    no_swap_or,
)

TOOL = "nohang"

_WHEN = "When nohang acts. No guard could be made of it."
_PACE = "How often nohang looks, and how long it waits after an action."
_TOLD = "What nohang warns of. No guard could be made of it."
_NOTICES = "Whom nohang tells at desktops. So does the service, unless `Notices=` says no."
_HOOK = (
    "What nohang runs. A program in /etc/oomrules/hooks.d is told of each act, by OOMRULES_EVENT: "
    "`warned`, `asked`, `killed` and others."
)
_LOG = "What nohang prints."
_ACTION = (
    "What nohang does in place of a signal. A rule says only which process is killed; `then stop` "
    "behind a guard stops a unit that loses processes again and again, and a program in "
    "/etc/oomrules/hooks.d is told of each SIGTERM (`asked`)."
)
_UNKNOWN = "No setting of nohang that is known here."

# The settings, by the reason why no sentence says the same.
SETTINGS = {
    **dict.fromkeys(
        "zram_checking_enabled psi_checking_enabled psi_path psi_metrics psi_excess_duration "
        "soft_threshold_min_mem soft_threshold_min_swap soft_threshold_max_zram max_soft_exit_time "
        "soft_threshold_max_psi hard_threshold_min_mem hard_threshold_min_swap "
        "hard_threshold_max_zram hard_threshold_max_psi".split(),
        _WHEN,
    ),
    **dict.fromkeys(
        "psi_post_action_delay fill_rate_mem fill_rate_swap fill_rate_zram max_sleep min_sleep "
        "post_soft_action_delay post_zombie_delay victim_cache_time env_cache_time "
        "min_post_warning_delay exe_timeout".split(),
        _PACE,
    ),
    **dict.fromkeys(
        "low_memory_warnings_enabled warning_threshold_min_mem warning_threshold_min_swap "
        "warning_threshold_max_zram warning_threshold_max_psi".split(),
        _TOLD,
    ),
    **dict.fromkeys("post_action_gui_notifications hide_corrective_action_type".split(), _NOTICES),
    **dict.fromkeys("warning_exe post_kill_exe".split(), _HOOK),
    **dict.fromkeys(
        "print_config_at_startup print_mem_check_results min_mem_report_interval print_proc_table "
        "extra_table_info print_victim_status print_victim_cmdline max_victim_ancestry_depth "
        "print_statistics debug_psi debug_gui_notifications debug_sleep debug_threading "
        "separate_log".split(),
        _LOG,
    ),
    "min_badness": "nohang takes no process with fewer points; a rule has no such limit.",
    "ignore_positive_oom_score_adj": "Of oom_score_adj the score counts what this says.",
    "@check_kmsg": "Whether nohang reads the kernel's log. Here the service always does.",
    "@debug_kmsg": _LOG,
    "@SOFT_ACTION_RE_NAME": _ACTION,
    "@SOFT_ACTION_RE_CGROUP_V1": _ACTION,
    "@SOFT_ACTION_RE_CGROUP_V2": _ACTION,
}

_ADJUSTMENT = re.compile(r"@BADNESS_ADJ_RE_([A-Z_0-9]+)\s+([^/]*?)\s*///(.*)")
_ATTRIBUTES = {
    "NAME": "comm",
    "CMDLINE": "cmdline",
    "REALPATH": "exe",
    "CGROUP_V2": "cgroup",
}
# No attribute has it.
_MISSING = {
    "CWD": "No rule asks for the working directory of a process, which it chooses itself.",
    "ENVIRON": "No rule asks for the environment of a process, which it chooses itself.",
    "CGROUP_V1": "It asks for the group in version 1 of control groups; `cgroup` has version 2's.",
}
_IDS = re.compile(r"\^(?:(\d+)|\(([\d|]+)\))\$", re.ASCII)


def of_file(name: str, lines: Sequence[str]) -> Translation:
    """Return what a nohang.conf means."""
    pieces, ignored = list[Piece](), 0
    values: dict[str, str] = {}
    for number, text in enumerate(lines, 1):
        # As nohang reads it: what begins with a space or a tab is a comment.
        if not text.strip() or text.startswith(("#", "\t", " ")):
            ignored += 1
            continue
        line = Line(f"{name}:{number}", text.strip())
        key, equals, value = (part.strip() for part in line.text.partition("="))
        if text.startswith("@BADNESS"):
            pieces.append(_adjustment(line))
            continue
        if not equals or text.startswith("@"):
            key = line.text.split()[0]
        values.setdefault(key, value)
        reason = SETTINGS.get(key, _UNKNOWN)
        said_by_guards = _OF_A_GUARD.fullmatch(key) is not None
        pieces.append(Piece(line.place, line.text, reason=reason, when=said_by_guards))
    negative = values.get("ignore_positive_oom_score_adj") == "True"
    score = NEGATIVE_ONLY if negative else OOM_SCORE
    return Translation(
        tool=TOOL,
        inputs=(name,),
        pieces=(Piece(name, "(largest badness first)", (score, PASSED_OVER)), *pieces),
        differences=(
            MEASURED,
            ADDED,
            "A name or command line is what a process says of itself. Where a rule protects by one "
            'of them, say more of the process, such as `user "postgres"`.',
        ),
        guards=_guards(values),
        acts=_ACTS,
        ignored=ignored,
        whole=True,
    )


def _adjustment(line: Line) -> Piece:
    """Return a rule for a line that adds points to those whom a pattern matches."""
    try:
        match = _ADJUSTMENT.fullmatch(line.text)
        if not match:
            raise Untranslatable("It is not `@BADNESS_ADJ_RE_… POINTS /// PATTERN`.")
        kind, written, pattern = match.groups()
        if not re.fullmatch(r"[+-]?\d{1,9}", written, re.ASCII):
            raise Untranslatable("The points are no whole number.")
        # Points of oom_score: two thirds of a thousandth of RAM + swap (fs/proc/base.c).
        share = int(written) * 3 // 2
        if not share:
            raise Untranslatable("It adds nothing.")
        selector = _selector(kind, pattern.strip(" "))
        if share > 0:
            # nohang adds to processes only whose own adjustment is not below 0.
            selector = selector.also("oom_score_adj >= 0")
    except Untranslatable as error:
        return Piece(line.place, line.text, reason=error.reason)
    return Piece(line.place, line.text, (added(share, selector),))


def _selector(kind: str, pattern: str) -> Selector:
    if kind in _MISSING:
        raise Untranslatable(_MISSING[kind])
    if kind == "UID":
        ids = _IDS.fullmatch(pattern)
        wanted = (ids.group(1) or ids.group(2)).split("|") if ids else []
        if not wanted or not all(wanted):
            raise Untranslatable("A rule compares ids as numbers, not as texts.")
        if len(wanted) == 1:
            return Selector(f"euid {wanted[0]}")
        return Selector(conditions=(f"({' or '.join(f'euid == {one}' for one in wanted)})",))
    if kind not in _ATTRIBUTES:
        raise Untranslatable(_UNKNOWN)
    return patterns.matching(_ATTRIBUTES[kind], pattern)


# --- when it acts ------------------------------------------------------------------------------

_ACTS = (
    "nohang compares the averages of /proc/pressure/memory, by default those of 10 s. Guards ask "
    "for the last second, or the last 10 s for `host.pressure`, and forget it after a kill.",
    "nohang acts on pressure only where memory is low as well.",
    "Zram and the time between two actions have no limit here.",
    SAMPLES,
    BOTH_ACT.format(tool="nohang", units="nohang nohang-desktop"),
)
# The keys that ``_guards`` reads.
_OF_A_GUARD = re.compile(
    "(?:soft|hard|warning)_threshold_(?:min_mem|min_swap|max_psi)|low_memory_warnings_enabled"
    "|psi_(?:checking_enabled|metrics|excess_duration)|max_soft_exit_time"
)
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([%M])", re.ASCII)
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,6})?", re.ASCII)


def _guards(values: dict[str, str]) -> tuple[str, ...]:
    """Return the statements that say when to act."""
    made = []
    for verb, level in (("warn", "warning"), ("terminate", "soft"), ("kill", "hard")):
        if level == "warning" and values.get("low_memory_warnings_enabled") != "True":
            continue
        memory = _amount(values.get(f"{level}_threshold_min_mem", ""))
        swap = _amount(values.get(f"{level}_threshold_min_swap", ""))
        # What nohang waits for a process that it has sent SIGTERM.
        time = _clause("within", values.get("max_soft_exit_time", ""))
        within = time if verb == "terminate" else ""
        if memory and swap:
            free = no_swap_or(f"host.swap_free <= {swap}")
            made.append(f"{verb} when host.available <= {memory} and {free}{within}")
        limit = values.get(f"{level}_threshold_max_psi", "")
        if values.get("psi_checking_enabled") == "True" and _NUMBER.fullmatch(limit):
            some = values.get("psi_metrics", "").startswith("some")
            lasting = _clause("for", values.get("psi_excess_duration", ""))
            low = f" and host.available <= {memory}" if memory else ""
            asked = "host.pressure" if some else "host.stall"
            made.append(f"{verb} when {asked} >= {limit}%{low}{lasting}{within}")
    return tuple(made)


def _clause(word: str, seconds: str) -> str:
    """Return a clause of a guard; empty if there is no time, or none that takes any."""
    timed = _NUMBER.fullmatch(seconds) and float(seconds) > 0
    return f" {word} {seconds}s" if timed else ""


def _amount(text: str) -> str:
    match = _AMOUNT.fullmatch(text)
    return f"{match.group(1)}{'%' if match.group(2) == '%' else 'MiB'}" if match else ""
