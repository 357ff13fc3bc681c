"""What to do about a syntax error, by what stood there and what may stand there."""

from __future__ import annotations

import re

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import foreign
from oomrules.language.diagnostics import (
    Edit,
    Fix,
    did_you_mean,
    either,
    only_the_case,
    replacing,
    similar,
)
from oomrules.language.quantities import UNITS
from oomrules.language.syntax import FORMS, KEYWORDS
from oomrules.language.text import Span

# A unit's name has at most 255 characters (systemd.unit(5)).
_LONGEST_HEAD = 400


# Habits from other languages, and what they are here. The longest comes first.
HABITS = (
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("=>", "write `>=`"),
    ("=<", "write `<=`"),
    ("=", "`=` belongs to `define` and `list`; a comparison is `==`"),
    ("!", "write `not`, or `!=` for a comparison"),
    ("//", "a comment begins with `#`"),
    ("/*", "a comment begins with `#`, on each of its lines"),
    (";", "write each statement on its own line; a comment begins with `#`"),
    ("--", 'rules are sentences such as `spare comm "sshd"`, not options'),
    ("'", 'quote with `"`'),
    ("`", 'quote with `"`'),
    ("%", "a percentage is a number with `%` behind it, as in `25%`"),
    ("\N{NO-BREAK SPACE}", "this is no plain space; write one"),
    ("\N{LEFT DOUBLE QUOTATION MARK}", 'quote with the plain `"`'),
    ("\N{RIGHT DOUBLE QUOTATION MARK}", 'quote with the plain `"`'),
    ("\N{EN DASH}", "this is a dash of typography; the plain one is `-`"),
    ("\N{EM DASH}", "this is a dash of typography; the plain one is `-`"),
)


# First words that people expect, and the statement that says it.
_STARTS = {
    **dict.fromkeys(
        ("protect", "keep", "save", "ignore", "exclude", "skip", "whitelist", "allow", "no", "do"),
        "whom nothing may kill is said by `never kill`, a discount by `spare`",
    ),
    **dict.fromkeys(
        ("avoid", "dislike", "lower"),
        "write `spare`, or `kill last` for whom it shall take after all others",
    ),
    **dict.fromkeys(
        ("target", "sacrifice", "penalize", "blacklist", "raise", "always", "first"),
        "write `prefer`, or `kill first` for whom it shall take before all others",
    ),
}


# Words inside of a statement that say something, but not here.
_WORDS = {
    **dict.fromkeys(("if", "where", "whose", "having"), "a condition begins with `when`"),
    **dict.fromkeys(
        ("except", "unless", "excluding", "but", "not"), "write `when not …` for an exception"
    ),
    "and": "leave it out, since words side by side must all hold; before a condition write `when`",
    "or": "write a rule for each, or one condition, as in `anything when uid == 0 or uid == 33`",
}


# Those that can mean only one thing.
CERTAIN = {"&&": "and", "||": "or", "=>": ">=", "=<": "<=", "\N{NO-BREAK SPACE}": " "}


def better(habit: str, text: str, at: int, terminals: set[str]) -> str:
    """Say more of a sign where more is known than the sign itself tells."""
    line = text[at:].partition("\n")[0]
    if habit == "--":
        option = foreign.of_line(line)
        return option.help if option else ""
    if habit == "'":
        quoted = re.match(r"'([^'\"\n]*)'", line)
        return f'quote with `"`, as in `"{quoted.group(1)}"`' if quoted else ""
    # Behind an attribute in a selector its value stands by itself.
    if habit == "=" and terminals >= _VALUE and "COMPARE" not in terminals:
        return _SIDE_BY_SIDE
    return ""


def instead(text: str, at: int, written: str, meant: str) -> Fix:
    """Replace a sign by a word, which needs spaces around it."""
    end = at + len(written)
    if meant.isalpha():
        meant = f"{'' if text[at - 1 : at].isspace() else ' '}{meant}"
        meant += "" if text[end : end + 1].isspace() else " "
    return Fix(f"write `{meant.strip() or 'a plain space'}`", (Edit(Span(at, end), meant),))


def certain(found: str, text: str, span: Span, terminals: set[str]) -> Fix | None:
    """Give the fix of a word out of place, where only one thing can be meant."""
    at = span.start
    for written, meant in CERTAIN.items():
        if text.startswith(written, at):
            return instead(text, at, written, meant)
    if text.startswith("=", at) and "COMPARE" in terminals:
        return replacing(Span(at, at + 1), "==")
    same = only_the_case(found, [word for word in KEYWORDS if word.upper() in terminals])
    if same:
        return replacing(span, same)
    quantity = re.search(r"\b\d[\d_.]*([ \t]+)$", text[text.rfind("\n", 0, at) + 1 : at])
    if found in UNITS and quantity:
        written = quantity.group().strip() + found
        start = at - len(quantity.group(1))
        return Fix(f"write `{written}`", (Edit(Span(start, at), ""),))
    return None


STATEMENT = {"NEVER", "PREFER", "SCORE"}


_VALUE = {"STRING", "LISTREF"}


_SIDE_BY_SIDE = "leave it out here: an attribute and its value stand side by side"


def advice(found: str, text: str, at: int, terminals: set[str]) -> str:
    """Return what to do about a word that may not stand here."""
    before = text[text.rfind("\n", 0, at) + 1 : at].split()
    if found in UNITS and before and before[-1].replace(".", "").isdigit():
        return f"write the unit without a space: `{before[-1]}{found}`"
    if terminals >= STATEMENT and found in _STARTS:
        return _STARTS[found]
    if terminals >= STATEMENT and found in ("", "\n") and before[:1] == ["in"]:
        return "write the statement on this line, or several between `{` and `}`"
    if terminals >= STATEMENT:
        return did_you_mean(
            found,
            FORMS,
            f"a statement begins with {either(f'`{word}`' for word in FORMS)}",
        )
    close = similar(found, [word for word in KEYWORDS if word.upper() in terminals])
    if before == ["kill"] and not close:
        return "say whom to take first or last, or give a weight with `prefer` or `spare`"
    if found.startswith('"') and "_COMMA" in terminals:
        return "put a comma between the texts"
    if found.startswith('"') and before:
        return (
            f"in a condition compare a text, as in `{before[-1]} == …`, search it with `~`, or "
            "look for it `in @list`; globs stand in selectors and lists"
        )
    quoted = unquoted(text, at)
    if quoted and "COMPARE" not in terminals:
        return f"quote the text, as in `{quoted}`"
    if "WHEN" in terminals and found in _WORDS:
        return _WORDS[found]
    if "ANYTHING" in terminals and found in ("when", "not"):
        return f"say of whom: `anything {'when ' if found == 'not' else ''}{found} …`"
    if "WHEN" in terminals and "NAME" not in terminals and found in ATTRIBUTES:
        return "a condition begins with `when`"
    if found == ":" and terminals >= _VALUE:
        return _SIDE_BY_SIDE
    if found == "," and _several(text, at):
        return _several(text, at)
    if re.match(r"[=!<>]=?", found) and "ANYTHING" not in terminals and "COMPARE" not in terminals:
        return "a comparison stands behind `when`, as in `anything when rss > 1GiB`"
    if terminals == {"QUANTITY"} and found.startswith("-"):
        return "a factor has no sign: `prefer` multiplies the points by it, and `spare` divides"
    if close:
        return f"did you mean `{close[0]}`?"
    if found in FORMS and not before:
        return "the statement above it is not complete; look at the end of its line"
    if found in KEYWORDS:
        return f"`{found}` is a word of the language and stands in the wrong place"
    statement = re.split(r"[:{]", text[text.rfind("\n", 0, at) + 1 : at])[-1].split()
    form = FORMS.get((statement or [found])[0])
    if form:
        form = form.replace("first", "last") if "last" in statement[1:2] else form
        return f"the statement's form is `{form}`"
    return f"a statement begins with {either(f'`{word}`' for word in FORMS)}"


def _several(text: str, at: int) -> str:
    """Say how a term takes several texts, where a comma stands between two of them."""
    before = re.search(r"([\w.]+)\s+(\"[^\"\n]*\")\s*$", text[text.rfind("\n", 0, at) + 1 : at])
    after = re.match(r"(?:\s*,\s*\"[^\"\n]*\")+", text[at:])
    if not before or not after:
        return ""
    name, first = before.groups()
    more = " ".join(after.group().split())
    return f"put them into a list: `list NAME = {first}{more}`, and say `{name} @NAME`"


# Each word with the next one, which may be the first of the next such pair.
_TERM = re.compile(r"(?<![\w.])(?=([\w.]+)[ \t]+([^\s\"'`#{}()<>=!&|,;%]+))")


def unquoted(text: str, at: int) -> str:
    """Give the term around a place as it is with quotes, if only they are missing."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    for term in _TERM.finditer(line):
        name, value = term.groups()
        if begin + term.start(2) <= at < begin + term.end(2):
            kind = ATTRIBUTES[name].type if name in ATTRIBUTES else None
            return f'{name} "{value}"' if kind is Type.TEXT else ""
    return ""


# The head of a block with a name that has more in it than a unit's name has without quotes.
_HEAD = re.compile(
    r"\bin[ \t]+(?:(?:user[ \t]+unit|units[ \t]+(?:wanted[ \t]+by|part[ \t]+of))[ \t]+)?"
    r"(?P<name>[^\s\"'{#]*[^\s\"'{#\w.@\\*?\[\]-][^\s\"'{#]*?)[ \t]*(?::(?=\s|$)|(?=\{))"
)


def unquoted_target(text: str, at: int) -> str:
    """Give the head of a block as it is with quotes, if only they are missing."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    for head in _HEAD.finditer(line[:_LONGEST_HEAD]):
        # What the lexer stumbles over may stand a word behind the sign that ended the name.
        if begin + head.start("name") <= at <= begin + head.end():
            said = f'"{head["name"]}"'.join((line[head.start() : head.start("name")], ""))
            return f"{said}{':' if head.group().endswith(':') else ' {'}"
    return ""
