"""Which tool a file is for, and what all files of a tool mean together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from oomrules.errors import Failure
from oomrules.importing import ananicy, earlyoom, nohang, oomd
from oomrules.importing.sources import Source
from oomrules.importing.translation import Translation, merged

_Files = Iterable[tuple[str, Sequence[str]]]


def _each(
    tool: str, of_file: Callable[[str, Sequence[str]], Translation]
) -> Callable[[_Files], Translation]:
    return lambda found: merged(tool, [of_file(name, lines) for name, lines in found])


FORMATS: dict[str, Callable[[_Files], Translation]] = {
    earlyoom.TOOL: _each(earlyoom.TOOL, earlyoom.of_file),
    nohang.TOOL: _each(nohang.TOOL, nohang.of_file),
    oomd.TOOL: oomd.of_files,
    ananicy.TOOL: ananicy.of_files,
}

_KINDS = r"(?:service|scope|slice|socket|mount|swap)"
# Names that say it (the whole path is looked at), and lines that do.
_NAMES = {
    ananicy.TOOL: re.compile(r"(?:.*/)?(?:ananicy\.conf|[^/]*\.(?:rules|types|cgroups))"),
    nohang.TOOL: re.compile(r"(?:.*/)?nohang(?:-desktop)?\.conf"),
    earlyoom.TOOL: re.compile(r"(?:.*/)?(?:default|sysconfig|conf\.d)/earlyoom"),
    oomd.TOOL: re.compile(
        r".*\.oomrule|(?:.*/)?oomd\.conf(?:\.d/[^/]*\.conf)?"
        rf"|(?:.*/)?(?:[^/]*\.)?{_KINDS}\.d/[^/]*\.conf"
    ),
}
_LINES = {
    oomd.TOOL: re.compile(
        r"\s*\[(?:Unit|Service|Slice|Scope|Socket|Mount|Swap|Install|OOM|Rule)\]\s*"
    ),
    earlyoom.TOOL: re.compile(
        r"\s*(?:EARLYOOM_ARGS=.*|(?:[\w./-]*/)?earlyoom(?:\s.*)?"
        r"|--(?:avoid|prefer|ignore|sort-by-rss|ignore-root-user)\b.*)"
    ),
    ananicy.TOOL: re.compile(r'\s*\{\s*"(?:name|type|cgroup|name_regex)".*'),
    nohang.TOOL: re.compile(
        r"@(?:BADNESS_ADJ_RE|SOFT_ACTION_RE)_.*|@(?:check|debug)_kmsg\s*"
        r"|(?:soft|hard)_threshold_(?:min|max)_\w+\s*=.*"
    ),
}
_UNIT = re.compile(rf".*\.{_KINDS}", re.DOTALL)
# How many lines are looked at, and how much of each.
_MOST_LINES, _LONGEST = 20_000, 400


def recognised(source: Source) -> str | None:
    """Return the tool that a file is for; None if that is not clear."""
    for tool, name in _NAMES.items():
        if name.fullmatch(source.name):
            return tool
    for line in source.lines[:_MOST_LINES]:
        for tool, start in _LINES.items():
            if start.fullmatch(line[:_LONGEST]):
                return tool
    # An empty file masks the unit of its name.
    masks = not any(map(str.strip, source.lines)) and _UNIT.fullmatch(source.name)
    return oomd.TOOL if masks else None


def translations(
    sources: Sequence[Source], given: str | None = None
) -> tuple[list[Translation], list[str]]:
    """Return what files mean, one translation a tool, and the files in directories for none.

    Args:
        given: the tool that all of them are for; None looks at each.

    Raises:
        Failure: a file that was named is for no tool that is known here, or none of all is.
    """
    by_tool: dict[str, list[Source]] = {}
    others = list[str]()
    for source in sources:
        tool = given or recognised(source)
        if tool:
            by_tool.setdefault(tool, []).append(source)
        elif source.found:
            others.append(source.name)
        else:
            raise _unknown(source.name)
    if others and not by_tool:
        raise _unknown(others[0])
    made = list[Translation]()
    for tool, found in by_tool.items():
        whole = FORMATS[tool]((source.name, source.lines) for source in found)
        # A directory of units has thousands of settings.
        many = tool == oomd.TOOL and any(source.found for source in found)
        made.append(oomd.about_memory(whole) if many else whole)
    return made, others


def _unknown(name: str) -> Failure:
    return Failure(
        f"{name}: no tool that is known here has such a file",
        f"say which it is with --format: {', '.join(FORMATS)}",
    )
