"""A replayed report on one screen of 24 lines and 80 columns, and many in one list.

The screen answers, in this order: who died, what ran out, why that one, whom the rules would have
taken, what to do now, what is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from oomrules.commands.parts.replayed import (
    CERTAIN,
    LIVE,
    NOBODY,
    OPEN,
    RECORDING,
    Answer,
    Replayed,
    Taken,
    resident,
    row_of,
    victim,
)
from oomrules.processes.units import placement
from oomrules.report.generations import GENERATIONS
from oomrules.report.model import (
    DIFFERS,
    HOST,
    LIMIT,
    NODES,
    NOT_RANKED,
    REPRODUCED,
    SYSRQ,
    TIE,
    Choice,
    Killed,
    Ranked,
    Report,
)
from oomrules.terminal import (
    Column,
    Paint,
    aligned,
    called,
    clip,
    count,
    layout,
    legible,
    memory,
    middle,
    width,
)

LINES, COLUMNS = 24, 80
# Lines of each part at the most, and what is left for the last one at the least.
_MOST = {"killed": 3, "where": 2, "why": 3, "rules": 4, "next": 3}
_LEAST = 3
_INDENT = 9
# Rows of the kernel's order.
_FIRST = 3
_NAMED = 3
_GROUP = 46
# A comment behind a command is worth showing with this width.
_SCANTY = 12

_KIB = 1024
# No kernel has blocks of so many pages; a report may say anything.
_MOST_ORDER = 20

_FIRST_COLUMNS = (
    Column("", right=True),
    Column("POINTS", right=True),
    Column("RSS", right=True),
    Column("SWAP", right=True),
    Column("ADJ", right=True),
    Column("PID", right=True),
    Column("COMMAND"),
    Column(""),
)
LIST_COLUMNS = (
    Column("NO", right=True),
    Column("TIME", least=8, enough=19, turn=2, goes=2),
    Column("WHERE", least=8, enough=20, turn=1, cut=middle),
    Column("PID", right=True),
    Column("KILLED", least=8, enough=15, turn=4),
    Column("HELD", right=True),
    Column("KERNEL", least=8, enough=10, turn=3),
    Column("LINES", right=True, goes=1),
)


class Line(NamedTuple):
    """A paragraph of a part.

    Attributes:
        whole: it is a command, or a row of a table: it is neither wrapped nor cut.
        style: how it is painted.
    """

    text: str
    whole: bool = False
    style: str = ""


def screen(one: Replayed, paint: Paint, columns: int = COLUMNS) -> list[str]:
    """Return the lines of one screen. What other parts leave is for that which is not known.

    Args:
        columns: how wide a line may be; more than 80 are not used.
    """
    columns = min(columns, COLUMNS)
    title, *more = _capped(_wrapped(_title(one.report), columns), 2, columns)
    lines = [paint(title, "bold"), *map(paint, more)]
    parts = {
        "killed": _killed(one),
        "where": _where(one),
        "why": _why(one),
        "rules": _rules(one),
        "next": _next(one),
    }
    for name, paragraphs in parts.items():
        lines += _part(name, paragraphs, paint, columns, _MOST[name])
        if name == "why":
            lines += _order(one, paint, columns)
    left = max(LINES - len(lines), _LEAST)
    return [*lines, *_part("unknown", _unknown(one), paint, columns, left)]


def _part(
    name: str, paragraphs: Sequence[Line], paint: Paint, columns: int, most: int
) -> Iterator[str]:
    """Yield a part with its name in front, of so many lines at the most."""
    room = columns - _INDENT
    lines: list[Line] = []
    for one in paragraphs:
        if one.whole:
            lines.append(one)
        else:
            lines += [Line(text, style=one.style) for text in _wrapped(one.text, room)]
    if lines[most:]:
        last = lines[most - 1]
        lines = [
            *lines[: most - 1],
            last if last.whole else last._replace(text=_cut(last.text, room)),
        ]
    for number, one in enumerate(lines):
        label = f"{'' if number else name:<{_INDENT}}"
        yield paint(label, "bold") + paint(one.text, *filter(None, (one.style,)))


def _cut(text: str, room: int) -> str:
    return f"{_head(text, room - 2)} …"


def _head(text: str, room: int) -> str:
    return text if width(text) <= room else clip(text, room + 1)[:-1].rstrip()


def _capped(lines: Sequence[str], most: int, room: int) -> list[str]:
    return [*lines[: most - 1], _cut(lines[most - 1], room)] if lines[most:] else list(lines)


def _wrapped(text: str, room: int) -> list[str]:
    """Return a text in lines of so many columns; a word that is longer is cut in its middle."""
    lines = [""]
    for word in legible(text).split():
        # The end of a path has the name of the file, and the line.
        word = middle(word, room)
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if lines[0] else []


# --- the parts ------------------------------------------------------------------------------------


def _title(report: Report) -> str:
    number = f"report {report.number}" + (f" of {report.of}" if report.of else "")
    parts = [number, _time(report.time), f"Linux {report.kernel}" if report.kernel else ""]
    where = f"{middle(legible(report.source), _GROUP)}:{report.first}-{report.last}"
    return f"{', '.join(filter(None, parts))} ({where})"


def _time(text: str) -> str:
    """Return the time of a report; of a kernel's own clock it says from when that counts."""
    return f"{text} s after the boot" if re.fullmatch(r"\d+\.\d+", text) else text


def _killed(one: Replayed) -> list[Line]:
    report, killed = one.report, one.victim
    if killed is None:
        why = one.choice.why if one.choice.result == NOT_RANKED else ""
        return [Line(f"nobody, as far as this text goes{why and f': {why}'}", style="yellow")]
    uid = _uid(report, killed)
    said = [f"{_name(killed.name, killed.pid)}{'' if uid is None else f', uid {uid}'}"]
    held = _held(report, killed, one.choice.page_size)
    if held:
        said.append(held)
    verb = "was asked to end (SIGTERM)" if killed.polite else ""
    lines = [Line(", ".join(filter(None, (*said, verb))), style="red")]
    unit = _unit(report)
    if unit:
        stopped = (
            "; systemd stops the rest of it, unless it has OOMPolicy=continue"
            if unit.endswith(".service")
            else ""
        )
        lines.append(Line(f"in {middle(unit, _GROUP)}{stopped}"))
    others = [each for each in report.killed if each.pid != killed.pid]
    if others:
        names = _some([_name(each.name, each.pid) for each in others])
        whole = " of its group (memory.oom.group)" if _is_whole(report) else ""
        lines.insert(1, Line(f"and {count(len(others), 'more process')}{whole}: {names}"))
    if killed.chosen not in (None, killed.pid):
        chosen = row_of(report, killed.chosen or 0)
        name = _name(chosen.name, chosen.pid) if chosen else f"process {killed.chosen}"
        lines.insert(1, Line(f"as a child of {name}, which the kernel had chosen"))
    return lines


def _is_whole(report: Report) -> bool:
    return any(each.by == "oom.group" for each in report.killed)


def _unit(report: Report) -> str:
    group = report.victim_group or report.group
    return placement(group).unit or group if group else ""


def _uid(report: Report, killed: Killed) -> int | None:
    row = row_of(report, killed.pid)
    return killed.uid if killed.uid is not None or row is None else row.values.get("uid")


def _sizes(report: Report, killed: Killed, page_size: int) -> tuple[int | None, int | None]:
    """Return what a victim held of RAM and of swap, in bytes."""
    told = [killed.anon_rss, killed.file_rss, killed.shmem_rss]
    row = row_of(report, killed.pid)
    ram = None
    if any(size is not None for size in told):
        ram = sum(size or 0 for size in told) * _KIB
    elif row is not None and resident(row) is not None:
        ram = (resident(row) or 0) * page_size
    swap = None if row is None else row.values.get("swapents")
    return ram, None if swap is None else swap * page_size


def _held(report: Report, killed: Killed, page_size: int) -> str:
    ram, swap = _sizes(report, killed, page_size)
    if ram is None:
        return ""
    return f"held {memory(ram)} of RAM" + (f" and {memory(swap)} of swap" if swap else "")


def _where(one: Replayed) -> list[Line]:
    report, figures = one.report, one.report.figures
    page = one.choice.page_size
    if report.kind == HOST:
        ram = None if figures.ram is None else figures.ram * page
        said = "the whole host"
        parts = [f"{memory(ram)} of RAM"] if ram else []
        if figures.swap_total:
            free = "" if figures.swap_free is None else f", {_kib(figures.swap_free)} of it free"
            parts.append(f"{_kib(figures.swap_total)} of swap{free}")
        elif figures.swap_total == 0:
            parts.append("no swap")
        said += f": {', '.join(parts)}" if parts else ""
    elif report.kind == LIMIT:
        limit = "" if figures.limit is None else f" of {_kib(figures.limit)}"
        said = f"a limit{limit}, of {_group(report)}, not the whole host"
    elif report.kind == NODES:
        nodes = f"memory nodes {report.nodes}" if report.nodes else "some memory nodes"
        said = f"{nodes}, by a cpuset or a memory policy, not the whole host"
    elif report.kind == SYSRQ:
        said = "nothing: somebody asked for a kill by SysRq-f, or /proc/sysrq-trigger"
    else:
        said = "this text does not tell whether the whole host or a limit"
    return [Line(said), *_asked(report)]


def _group(report: Report) -> str:
    return middle(legible(report.group), _GROUP) if report.group else "a control group"


def _asked(report: Report) -> list[Line]:
    if not report.invoker or report.kind == SYSRQ:
        return []
    order = report.order or 0
    pages = f"{1 << order} pages in a row" if 0 < order < _MOST_ORDER else "memory"
    return [Line(f"noticed when {called(legible(report.invoker))} asked for {pages}")]


def _kib(size: int) -> str:
    return memory(size * _KIB)


_VERDICTS = {
    REPRODUCED: ("green", "as that kernel counts"),
    TIE: ("yellow", "as that kernel counts, this one or another"),
    DIFFERS: ("yellow", "not as that kernel counts"),
}


def _why(one: Replayed) -> list[Line]:
    choice = one.choice
    style, words = _VERDICTS.get(choice.result, ("yellow", ""))
    code = f" ({choice.code})" if choice.code else ""
    said = ": ".join(filter(None, (words, choice.why))) or "that cannot be told"
    room = COLUMNS - _INDENT
    lines = _capped(_wrapped(said + code, room), _MOST["why"] - 1, room - width(code))
    if code and not lines[-1].endswith(code.strip()):
        lines[-1] += code
    formula = _formula(choice) if _is_ordered(choice) else ""
    return [Line(" ".join(lines), style=style), *([Line(clip(formula, room))] if formula else [])]


def _is_ordered(choice: Choice) -> bool:
    """Return whether the order by points says something: where nothing was ranked, exact ones."""
    first = choice.first[:1]
    return any(choice.result != NOT_RANKED or one.least == one.most for one in first)


def _formula(choice: Choice) -> str:
    if not choice.generation:
        return ""
    total = choice.total
    page = choice.page_size
    if total.exact:
        size = f"total {memory(total.least * page)}"
    elif total.most is None:
        size = f"total at least {memory(total.least * page)}" if total.least else "total unknown"
    else:
        size = f"total {memory(total.least * page)} to {memory(total.most * page)}"
    generation = GENERATIONS.get(choice.generation)
    title = generation.title if generation else f"Linux {choice.generation}"
    unit = "per mille" if generation and generation.per_mille else "pages"
    return f"{size}, points in {unit}, as in {title}"


def _order(one: Replayed, paint: Paint, columns: int) -> Iterator[str]:
    """Yield the kernel's first ones, with what counted, and the victim if it is not among them."""
    choice, killed = one.choice, one.victim
    if not _is_ordered(choice):
        return
    shown = list(enumerate(choice.first[:_FIRST], 1))
    if killed and choice.place and _FIRST < choice.place <= len(choice.first):
        shown[-1] = (choice.place, choice.first[choice.place - 1])
    texts = [_row(place, each, one) for place, each in shown]
    where = layout(_FIRST_COLUMNS, texts, columns - _INDENT)
    heads = [column.name for column in _FIRST_COLUMNS]
    for number, cells in enumerate([heads, *texts]):
        text = (" " * where.gap).join(aligned(_FIRST_COLUMNS, cells, where)).rstrip()
        is_victim = number and killed and shown[number - 1][1].row.pid == killed.pid
        style = "bold" if number == 0 else "red" if is_victim else ""
        yield f"{'':<{_INDENT}}{paint(text, *filter(None, (style,)))}"


def _row(place: int, ranked: Ranked, one: Replayed) -> list[str]:
    row, page = ranked.row, one.choice.page_size
    adjusted = row.values.get("oom_score_adj", row.values.get("oom_adj"))
    killed = {each.pid for each in one.report.killed}
    return [
        str(place),
        _points(ranked, one.choice),
        _pages(resident(row), page),
        _pages(row.values.get("swapents"), page),
        "-" if adjusted is None else str(adjusted),
        str(row.pid),
        legible(called(row.name)),
        "killed" if row.pid in killed else "",
    ]


def _points(ranked: Ranked, choice: Choice) -> str:
    if ranked.least == ranked.most:
        return str(ranked.least)
    generation = GENERATIONS.get(choice.generation)
    if choice.total.most is not None or (generation and generation.per_mille):
        return f"{ranked.least} to {ranked.most}"
    # The far end is that of a total that no host has.
    if ranked.row.values.get("oom_score_adj", 0) < 0:
        return f"{ranked.most} or less"
    return f"{ranked.least} or more"


def _pages(number: int | None, page_size: int) -> str:
    return "-" if number is None else memory(number * page_size)


def _rules(one: Replayed) -> list[Line]:
    lines = [_answered(one.answer, one)]
    if one.by_memory is not None:
        lead = _answered(one.by_memory, one)
        lines = [
            lines[0]._replace(text=f"by your score: {lines[0].text}"),
            lead._replace(text=f"by memory held: {lead.text}"),
        ]
    return lines


def _answered(answer: Answer, one: Replayed) -> Line:
    killed, mark = one.victim, " (if it is as assumed)" if one.assumed else ""
    if answer.result == CERTAIN:
        taken = answer.possible[0]
        if killed and taken.pid == killed.pid:
            return Line(f"would have taken the same{_by(taken)}{mark}", style="green")
        verb = "would have taken another:" if killed else "would take"
        name = _name(taken.comm, taken.pid)
        return Line(f"{verb} {name}{_by(taken)}{mark}", style="yellow")
    if answer.result == OPEN:
        names = _some(
            [_name(each.comm, each.pid) for each in answer.possible],
            last="nobody" if answer.nobody else "",
        )
        because = f", because {answer.why}" if answer.why else ""
        same = killed is None or any(each.pid == killed.pid for each in answer.possible)
        another = "" if same else "certainly another, "
        return Line(f"{another}open between {names}{because}", style="yellow")
    if answer.result == NOBODY:
        said = f": {answer.why}" if answer.why else ": every process is protected or has no points"
        return Line(f"would have taken nobody{said}", style="yellow")
    return Line(answer.why or "cannot be asked: this report has no table", style="yellow")


def _by(taken: Taken) -> str:
    rule = f"`{taken.rule}`" if taken.rule else "its score alone"
    return f", by {rule}" + (f" ({taken.place})" if taken.place else "")


def _next(one: Replayed) -> list[Line]:
    room, lines = COLUMNS - _INDENT, []
    for command, sentence in advice(one):
        if not command:
            lines.append(Line(sentence))
            continue
        comment = clip(f"# {sentence}", room - width(command) - 2)
        text = f"{command}  {comment}" if len(comment) > _SCANTY else command
        lines.append(Line(text, whole=True, style="cyan"))
    return lines


def advice(one: Replayed) -> Iterator[tuple[str, str]]:
    """Yield what to do, the most useful first: a command or an empty text, and what it is for."""
    report, answer = one.report, one.answer
    explain = f"oomrules replay --explain {one.choice.code}", "what that reason means"
    if report.table is None:
        yield "journalctl -k -o short-iso", "the whole report, if the table was cut off"
        yield "sysctl vm.oom_dump_tasks=1", "next time with the table, if it is switched off"
    elif answer.result == OPEN:
        if not one.assumed:
            yield _again(one, "--assume", "as ordinary processes have it")
        if one.more == LIVE:
            yield _again(one, "--live", "with what this host says of those that still run")
        elif one.more == RECORDING:
            yield (
                "",
                "a recording of that host, by `oomrules snapshot`, tells more: --snapshot adds it",
            )
    elif answer.result == NOBODY:
        yield _again(one, "--as-snapshot -o host.jsonl", "then:")
        yield "oomrules rank --all --snapshot host.jsonl", "which rule protects whom"
    elif one.agrees:
        yield "", _cause(report)
    else:
        yield "oomrules status", "whether this order is in force on the host"
    if one.choice.code and one.choice.result != REPRODUCED:
        yield explain


def _again(one: Replayed, option: str, what_for: str) -> tuple[str, str]:
    """Return the same command with one more option; a sentence where it cannot be pasted."""
    if one.again:
        return f"{one.again} {option}", what_for
    return "", f"the same with {option}: {what_for}"


def _cause(report: Report) -> str:
    if report.kind == LIMIT:
        unit = placement(report.group).unit if report.group else ""
        what = f"MemoryMax= of {middle(unit, _GROUP)}" if unit else f"the limit of {_group(report)}"
        return f"rules and kernel agree; raise {what}, or find out why it needs more"
    return "rules and kernel agree; find out why that one grew, or add memory or swap"


def _unknown(one: Replayed) -> list[Line]:
    lines = []
    answer = one.answer
    if answer.unknown:
        parts = [
            f"{each.attribute} of {count(each.processes, 'process')}"
            + (f" ({_some(each.rules, 1)})" if each.rules else "")
            for each in answer.unknown
        ]
        lines.append(Line(_some(parts)))
    if one.assumed:
        parts = [f"{each.attribute} of {each.processes}" for each in one.assumed]
        lines.append(Line(f"assumed: {_some(parts, 5)}"))
    table = one.report.table
    said = [*(table.doubts if table else ()), *one.report.notes, *one.notes]
    if table is not None and not table.complete and not table.doubts:
        said.insert(0, "rows of the table may be missing")
    return lines + [Line(each) for each in said]


# --- many reports ---------------------------------------------------------------------------------


def list_row(report: Report, choice: Choice) -> list[str]:
    """Return the cells of one report in the list."""
    killed = victim(report)
    held = None if killed is None else _sizes(report, killed, choice.page_size)[0]
    group = placement(report.group).unit or report.group if report.group else ""
    more = f" +{len(report.killed) - 1}" if report.killed[1:] else ""
    code = f" {choice.code}" if choice.code and choice.result != REPRODUCED else ""
    return [
        str(report.number),
        report.time or "-",
        group if report.kind == LIMIT and group else report.kind,
        "-" if killed is None else str(killed.pid),
        "-" if killed is None else called(killed.name) + more,
        "-" if killed is None else memory(held),
        f"{choice.result}{code}",
        f"{report.first}-{report.last}",
    ]


# --- words ----------------------------------------------------------------------------------------


def _name(comm: str, pid: int) -> str:
    return f"{legible(called(comm))} ({pid})"


def _some(names: Iterable[str], most: int = _NAMED, last: str = "") -> str:
    """Return the first names of a list, how many more there are, and what stands last."""
    listed = list(names)
    more = len(listed) - most
    listed[most:] = [f"{more} more"] if more > 0 else []
    listed += [last] if last else []
    return " and ".join(filter(None, (", ".join(listed[:-1]), *listed[-1:])))
