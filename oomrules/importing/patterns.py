"""Regular expressions of other tools, for the language's own dialect, which is Python's."""

from __future__ import annotations

import re

from oomrules.importing.translation import Selector, Untranslatable, literal, quoted

# Names in brackets, as in [[:alpha:]] (regex(7)), for the C locale.
_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "0-9A-Za-z",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\t\n\v\f\r ",
    "blank": r"\t ",
    "punct": r"!-/:-@\[-`{-~",
    "print": " -~",
    "graph": "!-~",
    "cntrl": r"\x00-\x1f\x7f",
    "xdigit": "0-9A-Fa-f",
}
# Escapes of GNU's regcomp(3) outside of brackets.
_GNU = {
    "<": r"\b",
    ">": r"\b",
    "`": r"\A",
    "'": r"\Z",
    "w": r"\w",
    "W": r"\W",
    "s": r"\s",
    "S": r"\S",
    "b": r"\b",
    "B": r"\B",
}
_BOUND = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_PLAIN = re.compile(r"\^((?:[\w@ :/+-]|\\[.+*?()\[\]{}|^$-])+)\$", re.ASCII)


def matching(attribute: str, regex: str) -> Selector:
    """Return a selector of the processes in whose attribute a pattern is found.

    Raises:
        Untranslatable: the text cannot stand in a rule.
    """
    plain = _PLAIN.fullmatch(regex)
    # A plus behind a character repeats it.
    if plain and not re.search(r"(?<!\\)\+", plain.group(1)):
        name = re.sub(r"\\(.)", r"\1", plain.group(1))
        return Selector(f"{attribute} {literal(name)}")
    return Selector(conditions=(f"{attribute} ~ {quoted(_safe(regex))}",))


def _safe(regex: str) -> str:
    """Return the same expression without a backslash at its end or a quotation mark."""
    if regex.endswith("\\\\"):
        regex = regex[:-2] + r"[\\]"
    return regex


def posix(pattern: str) -> str:
    r"""Return an extended regular expression of POSIX in Python's syntax (regex(7)).

    In brackets a backslash is a character like others, and there are classes such as
    ``[[:alpha:]]``. Outside, GNU's ``\<``, ``\w`` and their kin are known.

    Raises:
        Untranslatable: Python's syntax has nothing like it.
    """
    made, at, repeats = list[str](), 0, False
    while at < len(pattern):
        char = pattern[at]
        bound = _BOUND.match(pattern, at) if char == "{" else None
        repeating = char in "*+?" or bool(bound)
        if repeating and (repeats or (char == "?" and made[-1:] == ["("])):
            # Python takes it for something else: `a*?` and `a*+` are no repetitions of `a*`.
            raise Untranslatable("In Python's syntax nothing repeats a repetition.")
        if bound:
            piece, at = bound.group(), bound.end()
        elif char == "[":
            piece, at = _bracket(pattern, at)
        elif char == "\\":
            piece, at = _escape(pattern[at + 1 : at + 2]), at + 2
        else:
            piece, at = r"\{" if char == "{" else char, at + 1
        made.append(piece)
        repeats = repeating
    return "".join(made)


def _escape(char: str) -> str:
    """Return what a backslash and a character stand for outside of brackets."""
    if char.isdigit():
        raise Untranslatable("Back references are refused: they take too long to search.")
    if (char.isascii() and char.isalnum()) or char in "<>`'":
        return _GNU.get(char, char)
    return f"\\{char}"


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Return a bracket expression in Python's syntax, and where it ends."""
    at = start + 1
    made = "["
    if pattern[at : at + 1] == "^":
        made, at = "[^", at + 1
    first = at
    while pattern[at : at + 1] != "]" or at == first:
        char = pattern[at : at + 1]
        if not char:
            raise Untranslatable("A bracket expression has no end.")
        if char == "[" and pattern[at + 1 : at + 2] in (":", ".", "="):
            kind = pattern[at + 1]
            end = pattern.find(f"{kind}]", at + 2)
            name = pattern[at + 2 : end]
            if end < 0 or kind != ":" or name not in _CLASSES:
                raise Untranslatable("Of the names in brackets only classes are known.")
            made, at = made + _CLASSES[name], end + 2
        else:
            made, at = made + (f"\\{char}" if char in "\\[]^&~|" else char), at + 1
    return made + "]", at + 1
