"""What to do about a syntax error, by what stands there and what may stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oomrules.attributes import ATTRIBUTES
from oomrules.language import foreign, guard_help, habits, type_help
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
from oomrules.language.type_help import as_term, as_value

# A unit's name has at most 255 characters (systemd.unit(5)).
_LONGEST_HEAD = 400

# Signs of other languages, and what they are here. The longest comes first.
_SIGNS = (
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("=>", "write `>=`"),
    ("=<", "write `<=`"),
    ("=~", "write `~`"),
    ("!~", "write `not` before the attribute, and `~` behind it"),
    ("<>", "write `!=`"),
    ("===", "write `==`"),
    ("\N{LESS-THAN OR EQUAL TO}", "write `<=`"),
    ("\N{GREATER-THAN OR EQUAL TO}", "write `>=`"),
    ("\N{NOT EQUAL TO}", "write `!=`"),
    ("=", "`=` belongs to `define` and `list`; a comparison is `==`"),
    ("&", "write `and`"),
    ("|", "write `or`"),
    ("!", "write `not`, or `!=` for a comparison"),
    ("//", "a comment begins with `#`"),
    ("/*", "a comment begins with `#`, on each of its lines"),
    (";", "write each statement on its own line; a comment begins with `#`"),
    ("--", 'rules are sentences such as `spare comm "sshd"`, not options'),
    ("'", 'quote with `"`'),
    ("`", 'quote with `"`'),
    ("%", "a percentage is a number with `%` behind it, as in `25%`"),
    ("\N{NO-BREAK SPACE}", "this is a no-break space; write a plain one"),
    ("\N{LEFT DOUBLE QUOTATION MARK}", 'quote with the plain `"`'),
    ("\N{RIGHT DOUBLE QUOTATION MARK}", 'quote with the plain `"`'),
    ("\N{EN DASH}", "this is a typographic dash; write the plain `-`"),
    ("\N{EM DASH}", "this is a typographic dash; write the plain `-`"),
)
# Signs that can mean only one thing.
_CERTAIN = {
    "&&": "and",
    "||": "or",
    "=>": ">=",
    "=<": "<=",
    "=~": "~",
    "<>": "!=",
    "===": "==",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{NO-BREAK SPACE}": " ",
}

# First words that people expect, and the statement that says it.
_STARTS = {
    **dict.fromkeys(
        (
            "protect",
            "keep",
            "save",
            "ignore",
            "exclude",
            "skip",
            "whitelist",
            "no",
            "do",
            "don",
            "dont",
        ),
        "use `never kill` to protect a process completely, or `spare` to make it less likely to "
        "be killed",
    ),
    **dict.fromkeys(
        ("avoid", "dislike", "lower"),
        "use `spare`, or `kill last` to have it killed only after all others",
    ),
    **dict.fromkeys(
        ("target", "sacrifice", "penalize", "blacklist", "raise", "always", "first"),
        "use `prefer`, or `kill first` to have it killed before all others",
    ),
}

# Words inside a statement that mean something in other languages.
_WORDS = {
    **dict.fromkeys(("if", "where", "whose", "having"), "a condition begins with `when`"),
    **dict.fromkeys(
        ("except", "unless", "excluding", "but", "not"), "write `when not …` for an exception"
    ),
    "and": "leave it out: terms side by side must all hold; before a condition write `when`",
    "or": "write one rule for each, or one condition, as in `anything when uid == 0 or uid == 33`",
}

# Terminals of the grammar that may begin a statement, and a value.
STATEMENT = {"NEVER", "PREFER", "SCORE"}
_VALUE = {"STRING", "LISTREF"}
_SIDE_BY_SIDE = "leave it out here: an attribute and its value stand side by side"


@dataclass(frozen=True)
class Unexpected:
    """A place where the parser met something else than it expected.

    Attributes:
        text: the whole file.
        at: the offset of the place.
        word: what stands there; empty at the end of the text.
        terminals: what may stand there, as the grammar calls it.
    """

    text: str
    at: int
    word: str
    terminals: set[str]

    @property
    def before(self) -> str:
        """The line up to the place."""
        return self.text[self.text.rfind("\n", 0, self.at) + 1 : self.at]

    @property
    def place(self) -> habits.Place:
        """The line around the place."""
        return habits.place(self.before, self.rest)

    @property
    def rest(self) -> str:
        """The line from the place on."""
        return self.text[self.at :].partition("\n")[0]


def sign(rest: str) -> str:
    """Return the sign of another language that a text begins with, or an empty text."""
    return next((sign for sign, _ in _SIGNS if rest.startswith(sign)), "")


def of_sign(met: Unexpected) -> str:
    """Return what to write for a sign of another language; an empty text if it is none."""
    written = sign(met.text[met.at : met.at + 2])
    if written == "--":
        option = foreign.of_line(met.rest)
        if option:
            return option.help
    quoted = re.match(r"'([^'\"\n]*)'", met.rest)
    if quoted:
        name = re.search(r"([\w.]+)[ \t]*([=!<>]=?)?[ \t]*$", met.before)
        value = quoted.group(1)
        if name and habits.is_text(name[1]):
            value = as_value(name[1], value, exactly=bool(name[2]))
        return f'quote with `"`, as in `"{value}"`'
    percentage = habits.quantity(met.place) if written == "%" else ""
    if percentage:
        return percentage
    searched = habits.not_found(met.place) if written == "!~" else ""
    if searched:
        return searched
    if written == "=" and met.before.strip() == "score":
        return "leave it out: `score EXPRESSION`"
    # After an attribute in a selector its value stands by itself.
    if written == "=" and met.terminals >= {*_VALUE, "NAME"}:
        return _SIDE_BY_SIDE
    return dict(_SIGNS).get(written, "")


def fix_of_sign(met: Unexpected) -> Fix | None:
    """Return the fix of a sign that can mean only one thing: a word needs spaces around it."""
    for written, meant in _CERTAIN.items():
        if not met.text.startswith(written, met.at):
            continue
        end = met.at + len(written)
        shown = meant.strip() or "a plain space"
        if meant.isalpha():
            meant = f"{'' if met.text[met.at - 1 : met.at].isspace() else ' '}{meant}"
            meant += "" if met.text[end : end + 1].isspace() else " "
        return Fix(f"write `{shown}`", (Edit(Span(met.at, end), meant),))
    return None


def fix_of_word(met: Unexpected, span: Span) -> Fix | None:
    """Return the fix of a word or sign out of place that can mean only one thing."""
    at = span.start
    fix = fix_of_sign(met)
    if fix:
        return fix
    # In a selector a name may follow, and what was meant may be a glob.
    if met.text.startswith("=", at) and "COMPARE" in met.terminals and "NAME" not in met.terminals:
        return replacing(Span(at, at + 1), "==")
    same = only_the_case(met.word, [word for word in KEYWORDS if word.upper() in met.terminals])
    if same:
        return replacing(span, same)
    quantity = re.search(r"\b\d[\d_.]*([ \t]+)$", met.before)
    if met.word in UNITS and quantity:
        written = quantity.group().strip() + met.word
        start = at - len(quantity.group(1))
        return Fix(f"write `{written}`", (Edit(Span(start, at), ""),))
    return None


def of_word(met: Unexpected) -> str:
    """Return what to do about a word that may not stand here."""
    word, terminals, before = met.word, met.terminals, met.before.split()
    guard = guard_help.of_beginning(met.place) if "WHEN" in terminals else ""
    guard = guard or (guard_help.of_clause(met.place, word) if word == "," else "")
    quantity = guard or habits.quantity(met.place)
    if quantity:
        return quantity
    if terminals >= STATEMENT:
        return _of_start(met)
    said = (
        guard_help.of_clause(met.place, word)
        or _of_clause(met)
        or habits.bare_word(met.place)
        or habits.condition(met.place)
        or _of_account(met)
        or habits.statement(met.place)
    )
    if said:
        return said
    close = similar(word, [known for known in KEYWORDS if known.upper() in terminals])
    if before == ["kill"] and not close:
        return (
            "write `kill first …`, `kill last …` or `kill whole UNIT`, or give a weight with "
            "`prefer` or `spare`; when to kill says `kill when …`"
        )
    if before[:2] == ["kill", "whole"]:
        if word == "by":
            return "leave it out: a unit is in the most protective tier of its processes"
        return _of_whole(met)
    if word.startswith('"') and "_COMMA" in terminals:
        return "put a comma between the texts"
    if word.startswith('"') and before and habits.is_text(before[-1]):
        return (
            f"in a condition compare a text, as in `{before[-1]} == {word}`, search it with `~`, "
            "or look for it `in @list`; globs belong in selectors and lists"
        )
    quoted = with_quotes(met)
    if quoted:
        return f"quote the text, as in `{quoted}`"
    if "WHEN" in terminals and word in _WORDS:
        return _WORDS[word]
    if "ANYTHING" in terminals and word in ("when", "not"):
        return f"say which processes: `anything {'when ' if word == 'not' else ''}{word} …`"
    if "WHEN" in terminals and "NAME" not in terminals and word in ATTRIBUTES:
        if _CONDITION.search(met.before):
            return (
                "write `and` or `or` between: in a condition a word joins what stands side by side"
            )
        return "a condition begins with `when`"
    if word == ":" and before and before[-1] in KEYWORDS:
        return "leave it out: a selector follows the words without a sign"
    if word == ":" and terminals >= _VALUE:
        return _SIDE_BY_SIDE
    if word == "," and _several(met):
        return _several(met)
    if re.match(r"[=!<>]=?", word) and "ANYTHING" not in terminals and "COMPARE" not in terminals:
        return "a comparison comes after `when`, as in `anything when rss > 1GiB`"
    if terminals == {"QUANTITY"} and word.startswith("-"):
        return "a factor has no sign: `prefer` multiplies the points by it, and `spare` divides"
    if close:
        return f"did you mean `{close[0]}`?"
    if word in FORMS and not before:
        return "the statement above it is not complete; look at the end of its line"
    if word == "when" and before[:1] == ["score"]:
        return (
            "a score holds for every process; for some of them write `prefer` or `spare`, and for "
            "a unit `in UNIT: score EXPRESSION`"
        )
    if word in KEYWORDS:
        return f"`{word}` is a keyword and stands in the wrong place"
    return _form(met)


_ACCOUNT = re.compile(r"in[ \t]+(user|group)[ \t]+\"?([\w.-]+)\"?[ \t]*[:{]")


def _of_account(met: Unexpected) -> str:
    """Return what to do about a block for a user; empty if it is something else."""
    found = met.place.around(_ACCOUNT)
    if not found:
        return ""
    said = as_term(*found.groups())
    return f"a block is about a unit; a rule says whose process it is: `prefer {said}`"


def _of_start(met: Unexpected) -> str:
    """Return what to do about a word that begins no statement."""
    if met.word in ("do", "don", "dont", "no") and habits.statement(met.place):
        return habits.statement(met.place)
    guard = guard_help.of_start(met.place)
    if guard:
        return guard
    if met.word in _STARTS:
        return _STARTS[met.word]
    if met.word in ("", "\n") and met.before.split()[:1] == ["in"]:
        return "write the statement on this line, or several between `{` and `}`"
    return did_you_mean(met.word, FORMS, _BEGINNINGS)


_BEGINNINGS = f"a statement begins with {either(f'`{word}`' for word in FORMS)}"


def _form(met: Unexpected) -> str:
    """Return the form of the statement around a place."""
    statement = re.split(r"[:{]", met.before)[-1].split()
    form = FORMS.get((statement or [met.word])[0])
    if not form:
        return _BEGINNINGS
    form = form.replace("first", "last") if "last" in statement[1:2] else form
    form = "kill whole UNIT" if "whole" in statement[1:2] else form
    form = guard_help.form("kill") if statement[:2] == ["kill", "when"] else form
    return f"the statement's form is `{form}`"


# A condition that goes on to the end.
_CONDITION = re.compile(
    r"(?<![\w.])when(?![\w.])(?!.*(?<![\w.])(?:with|without|under|of)(?![\w.]))"
)


def _of_clause(met: Unexpected) -> str:
    """Return what to do where a clause about another process is not as it has to be."""
    before = met.before.split()
    if met.word in ("and", "or") and _ANCESTOR.search(met.before):
        return f"put brackets around what the other process satisfies: `under (… {met.word} …)`"
    for word in (met.word, *before[-1:]):
        if word in ("under", "child"):
            return type_help.CLAUSES[word]
    if met.word == "anything" and before[-1:] == ["not"]:
        return "say which processes: `not anything` is none of them"
    return ""


# A clause about another process that goes on to the end.
_ANCESTOR = re.compile(
    r"(?<![\w.])(?:under|child[ \t]+of)(?![\w.])(?!.*(?<![\w.])with)(?!.*\bwhen\b)"
)


def _of_whole(met: Unexpected) -> str:
    """Return what to do about a unit that is to be killed whole."""
    named = re.search(r"\bunit\s+$", met.before)
    if named and met.word.startswith('"'):
        return f"leave `unit` out: `kill whole {met.word}`"
    return (
        'write which unit, as in `kill whole "batch-*.service"`; about processes it is '
        "`kill first …`"
    )


def _several(met: Unexpected) -> str:
    """Return how a term takes several texts, where a comma stands between two of them."""
    before = re.search(r"([\w.]+)\s+(\"[^\"\n]*\")\s*$", met.before)
    after = re.match(r"(?:\s*,\s*\"[^\"\n]*\")+", met.text[met.at :])
    if not before or not after:
        return ""
    name, first = before.groups()
    more = " ".join(after.group().split())
    return f"put them into a list: `list NAME = {first}{more}`, and write `{name} @NAME`"


# Each word with the next one, which may be the first of the next such pair.
_TERM = re.compile(r"(?<![\w.])(?=([\w.]+)[ \t]+([^\s\"'`#{}()<>=!&|,;%]+))")


def with_quotes(met: Unexpected) -> str:
    """Return the term around a place as it is with quotes, if only they are missing."""
    column = len(met.before)
    for term in _TERM.finditer(met.before + met.rest):
        name, value = term.groups()
        if term.start(2) <= column <= term.end(2):
            word = value in KEYWORDS or not habits.is_text(name)
            return "" if word else as_term(name, value)
    return ""


# The head of a block with a name that has more in it than a unit's name has without quotes.
_HEAD = re.compile(
    r"\bin[ \t]+(?:(?:user[ \t]+unit|units[ \t]+(?:wanted[ \t]+by|part[ \t]+of))[ \t]+)?"
    r"(?P<name>[^\s\"'{#]*[^\s\"'{#\w.@\\*?\[\]-][^\s\"'{#]*?)[ \t]*(?::(?=\s|$)|(?=\{))"
)


def target_with_quotes(met: Unexpected) -> str:
    """Return the head of a block as it is with quotes, if only they are missing."""
    column, line = len(met.before), met.before + met.rest
    for head in _HEAD.finditer(line[:_LONGEST_HEAD]):
        # What the lexer stumbles over may stand a word behind the sign that ended the name.
        if head.start("name") <= column <= head.end():
            start = line[head.start() : head.start("name")]
            return f'{start}"{head["name"]}"{":" if head.group().endswith(":") else " {"}'
    return ""
