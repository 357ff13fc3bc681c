"""Syntax errors in a person's words: what stood there, what was expected, what to do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from oomrules.attributes import ATTRIBUTES, Type
from oomrules.language import foreign
from oomrules.language.diagnostics import (
    Diagnostic,
    Edit,
    Fix,
    did_you_mean,
    either,
    only_the_case,
    replacing,
    similar,
)
from oomrules.language.quantities import UNITS
from oomrules.language.text import RuleText, Span

# A unit's name has at most 255 characters (systemd.unit(5)).
_LONGEST_HEAD = 400

# How each statement goes, by its first word.
FORMS = {
    "never": "never kill SELECTOR",
    "only": "only kill SELECTOR",
    "kill": "kill first SELECTOR",
    "prefer": "prefer SELECTOR [by N]",
    "spare": "spare SELECTOR [by N]",
    "score": "score EXPRESSION",
    "define": "define NAME = CONDITION",
    "list": 'list NAME = "TEXT", "TEXT"',
    "in": "in UNIT: STATEMENT",
}
KEYWORDS = (
    "never kill only first last prefer spare by score define list in anything with without "
    "any of when and or not"
).split()

# What the terminals of the grammar are called when they were expected.
_NAMES = {
    "NAME": "an attribute or a defined name",
    "QUANTITY": "a number",
    "STRING": "a quoted text",
    "LISTREF": "a `@list`",
    "TARGET": "a unit",
    "UNITS": "a unit",
    "USER": "a unit",
    "UNIT": "`unit`",
    "COMPARE": "a comparison",
    "EQUAL": "`=`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COLON": "`:`",
    "_COMMA": "`,`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "TILDE": "`~`",
    "PLUS": "an operator",
    "MINUS": "an operator",
    "TIMES": "an operator",
    "OVER": "an operator",
    "_NL": "the end of the line",
    "$END": "the end of the line",
}

# Habits from other languages, and what they are here. The longest comes first.
_HABITS = (
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
_CERTAIN = {"&&": "and", "||": "or", "=>": ">=", "=<": "<=", "\N{NO-BREAK SPACE}": " "}


def explain(error: UnexpectedInput, source: RuleText, at: int, in_block: bool) -> Diagnostic:
    """Make the diagnostic of a syntax error at an offset."""
    text = source.text
    if text[at : at + 1] == '"' and isinstance(error, UnexpectedCharacters):
        end = at + len(text[at:].split("\n", 1)[0].rstrip())
        return Diagnostic(
            "OOM102",
            "this text is not closed",
            source,
            Span(at, end),
            'end the text with `"` on the same line',
            'no closing `"`',
        )
    habit, advice = next(
        ((start, advice) for start, advice in _HABITS if text.startswith(start, at)), ("", "")
    )
    found = habit if len(habit) > 1 and habit != "--" else _word(error, text, at)
    terminals = _expected_terminals(error)
    if terminals >= _STATEMENT:
        known = foreign.of_line(text[at:].partition("\n")[0].rstrip())
        if known:
            span = Span(at, at + len(text[at:].partition("\n")[0].rstrip()))
            return Diagnostic("OOM101", known.message, source, span, known.help)
    span = (
        Span(at, at + max(1, len(found)))
        if text[at : at + 1] not in ("\n", "\r", "")
        else Span(at, at)
    )
    wanted = _expected(error)
    what = _named(found)
    if found == "}" and not in_block:
        return Diagnostic(
            "OOM105",
            "this brace closes nothing",
            source,
            span,
            "remove it, or open the block it belongs to",
        )
    advice = _better(habit, text, at, terminals) or advice
    head = _unquoted_target(text, at)
    if head:
        return Diagnostic(
            "OOM103",
            f"unexpected {what}: without quotes a unit's name ends there",
            source,
            span,
            f"quote the name, as in `{head}`",
        )
    if isinstance(error, UnexpectedCharacters):
        quoted = _unquoted(text, at)
        advice = advice or (f"quote the text, as in `{quoted}`" if quoted else "")
        help_ = advice or (
            f"expected {wanted}" if wanted else "remove it, or put it in a quoted text"
        )
        fix = next(
            (_instead(text, at, *one) for one in _CERTAIN.items() if text[at:].startswith(one[0])),
            None,
        )
        return Diagnostic("OOM103", f"unexpected character {what}", source, span, help_, fix=fix)
    return Diagnostic(
        "OOM101",
        f"unexpected {what}, expected {wanted}" if wanted else f"unexpected {what}",
        source,
        span,
        advice or _advice(found, text, at, terminals),
        fix=_certain(found, text, span, terminals),
    )


def _better(habit: str, text: str, at: int, terminals: set[str]) -> str:
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


def _instead(text: str, at: int, written: str, meant: str) -> Fix:
    """Replace a sign by a word, which needs spaces around it."""
    end = at + len(written)
    if meant.isalpha():
        meant = f"{'' if text[at - 1 : at].isspace() else ' '}{meant}"
        meant += "" if text[end : end + 1].isspace() else " "
    return Fix(f"write `{meant.strip() or 'a plain space'}`", (Edit(Span(at, end), meant),))


def _certain(found: str, text: str, span: Span, terminals: set[str]) -> Fix | None:
    """Give the fix of a word out of place, where only one thing can be meant."""
    at = span.start
    for written, meant in _CERTAIN.items():
        if text.startswith(written, at):
            return _instead(text, at, written, meant)
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


# A line that ends in one of these goes on in the next.
_GO_ON = ("and", "or", ",", "\\")
_PIECES = re.compile(r'"(?:\\"|[^"\n])*"|#[^\n]*|\\(?=\r?\n)|[\w.]+|\S')


def unfinished(error: UnexpectedInput, source: RuleText, begin: int, at: int) -> Diagnostic | None:
    """Make the diagnostic of a statement that has to go on, and does not.

    Args:
        error: what the parser met instead.
        begin: where the statement began.
        at: where the next one begins, or the block ends, or the text.

    Returns:
        None where it is another mistake.
    """
    pieces = [one for one in _PIECES.finditer(source.text, begin, at) if one.group()[0] != "#"]
    # Behind `and` a backslash adds nothing.
    while len(pieces) > 1 and pieces[-1].group() == "\\" and pieces[-2].group() in _GO_ON:
        pieces.pop()
    last = pieces[-1] if pieces else None
    found = _word(error, source.text, at)
    if last is None or last.group() not in _GO_ON or found not in ("", "}", *FORMS):
        return None
    if last.group() == "\\":
        missing = "the rest of it"
    elif last.group() == ",":
        missing = "a text" if "STRING" in _expected_terminals(error) else "a capability"
    else:
        missing = "a condition"
    return Diagnostic(
        "OOM101",
        f"the statement of line {source.position(begin)[0]} is not complete: {missing} is "
        f"missing behind `{last.group()}`",
        source,
        Span(*last.span()),
        f"write it, or remove the `{last.group()}`, with which a line goes on in the next",
    )


# What editors and terminals show as the end of a line, and the language does not take for one.
_LIKE_A_LINE_END = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)")


def hidden(source: RuleText) -> Iterator[Diagnostic]:
    """Find comments that seem to end before they do: what stands behind looks like a statement."""
    text = source.text
    if not _LIKE_A_LINE_END.search(text):
        return
    for piece in _PIECES.finditer(text):
        sign = _LIKE_A_LINE_END.search(text, *piece.span()) if text[piece.start()] == "#" else None
        if sign and text[sign.end() : piece.end()].strip():
            yield Diagnostic(
                "OOM103",
                f"this comment is shown as if it ended at {_named(sign.group())}, and does not",
                source,
                Span(*sign.span()),
                "put the end of a line there, or remove the character",
            )


def not_closed(source: RuleText, span: Span) -> Diagnostic:
    """A block whose closing brace never comes."""
    return Diagnostic(
        "OOM104", "this block is not closed", source, span, "end it with `}` on a line of its own"
    )


def too_many(source: RuleText, at: int, most: int) -> Diagnostic:
    """A file that was not meant for us."""
    return Diagnostic(
        "OOM101",
        f"this is the {most}th syntax error; the rest of this file is not read",
        source,
        Span(at, at + 1),
        "mend those above; is it a rule file?",
    )


def too_deep(source: RuleText, span: Span, depth: int) -> Diagnostic:
    """Nesting that no person wrote."""
    return Diagnostic(
        "OOM106",
        f"nested more than {depth} levels deep",
        source,
        span,
        "give parts of it names with `define`",
    )


def too_long(source: RuleText, span: Span, longest: int) -> Diagnostic:
    """A text that no value can be equal to."""
    return Diagnostic(
        "OOM406",
        f"this text has {span.end - span.start} characters, and nothing is longer than {longest}",
        source,
        Span(span.start, span.start + 1),
        "write the part that tells, or several texts",
    )


def _named(found: str) -> str:
    """Name what was found, so that a person sees it."""
    if found in ("", "\n"):
        return "the end of the line"
    if len(found) == 1 and (found.isspace() or not found.isprintable()):
        name = unicodedata.name(found, "")
        return f"U+{ord(found):04X}{f' ({name})' if name else ''}"
    return f"`{found}`"


def _word(error: UnexpectedInput, text: str, at: int) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        word = re.match(r"[\w.]+", text[at:])
        return word.group() if word else str(error.token).strip()
    return text[at : at + 1]


def _expected_terminals(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected)
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


_STATEMENT = {"NEVER", "PREFER", "SCORE"}
_VALUE = {"STRING", "LISTREF"}
_SIDE_BY_SIDE = "leave it out here: an attribute and its value stand side by side"


def _expected(error: UnexpectedInput) -> str:
    """Say what may stand here; a statement's start is one thing, not ten."""
    terminals = _expected_terminals(error) - {"COMMENT", "SPACE"}
    if terminals >= _STATEMENT:
        return "a statement"
    words = sorted({_NAMES.get(name, f"`{name.lower()}`") for name in terminals})
    # More than this many possibilities explain nothing.
    if not 0 < len(words) <= 6:
        return ""
    return either(part for word in words for part in word.split(" or "))


def _advice(found: str, text: str, at: int, terminals: set[str]) -> str:
    before = text[text.rfind("\n", 0, at) + 1 : at].split()
    if found in UNITS and before and before[-1].replace(".", "").isdigit():
        return f"write the unit without a space: `{before[-1]}{found}`"
    if terminals >= _STATEMENT and found in _STARTS:
        return _STARTS[found]
    if terminals >= _STATEMENT and found in ("", "\n") and before[:1] == ["in"]:
        return "write the statement on this line, or several between `{` and `}`"
    if terminals >= _STATEMENT:
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
    quoted = _unquoted(text, at)
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


def _unquoted(text: str, at: int) -> str:
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


def _unquoted_target(text: str, at: int) -> str:
    """Give the head of a block as it is with quotes, if only they are missing."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    for head in _HEAD.finditer(line[:_LONGEST_HEAD]):
        # What the lexer stumbles over may stand a word behind the sign that ended the name.
        if begin + head.start("name") <= at <= begin + head.end():
            said = f'"{head["name"]}"'.join((line[head.start() : head.start("name")], ""))
            return f"{said}{':' if head.group().endswith(':') else ' {'}"
    return ""
