"""The language server: a rule file as it stands in an editor, and what is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from oomrules import __version__, resources
from oomrules.attributes import ATTRIBUTES
from oomrules.capabilities import CAPABILITIES
from oomrules.language import formatter, guard_help, rulefiles
from oomrules.language.diagnostics import Diagnostic, Fix, Level, Rejected
from oomrules.language.rulefiles import Found
from oomrules.language.syntax import FORMS, KEYWORDS, WORDS
from oomrules.language.text import RuleText, Span
from oomrules.language.typing import FUNCTION_FORMS
from oomrules.lint import linter
from oomrules.lint.ruleset import RuleSet
from oomrules.program import nodes, program

_SEVERITIES = {
    Level.ERROR: lsp.DiagnosticSeverity.Error,
    Level.WARNING: lsp.DiagnosticSeverity.Warning,
    Level.INFO: lsp.DiagnosticSeverity.Information,
}
_FUNCTIONS = {form.partition("(")[0]: form for form in FUNCTION_FORMS}
_WORD = re.compile(r"@?[A-Za-z_][\w.]*")
_BEFORE_CAPABILITY = re.compile(r"(\b(with|without|any of)\b[\s\w,]*|\bcap\()\s*\w*$")


@dataclass(frozen=True)
class Document:
    """A text, the files that are in force with it, and all findings in it."""

    text: RuleText
    rules: RuleSet
    findings: tuple[Diagnostic, ...]


def read(path: str, text: str) -> Document:
    """Return a text with its findings, beside the other files of its directory and the shipped."""
    found = _together(RuleText(path, text.removeprefix("\ufeff"), 0))
    document = next(file for file in found.files if file.name == path)
    rules, findings = linter.lint(found)
    own = tuple(finding for finding in findings if finding.source == document)
    return Document(text=document, rules=rules, findings=own)


def _together(document: RuleText) -> Found:
    folder = Path(document.name).parent
    shipped: list[RuleText] = []
    if folder in rulefiles.directories():
        others = list(rulefiles.system().files)
    else:
        # Each preset may be linked without the others, and states its own score.
        beside = folder.is_dir() and folder.name != rulefiles.PRESETS
        others = list(rulefiles.given([str(folder)]).files) if beside else []
        here = {Path(file.name).name for file in (document, *others)}
        shipped = [
            # Definitions of the shipped rules have the lowest precedence.
            replace(file, level=rulefiles.LOWEST)
            for file in rulefiles.given([str(resources.rules())]).files
            if Path(file.name).name not in here
        ]
    before = next((file for file in others if file.name == document.name), document)
    files = {file.name: file for file in [*shipped, *others]}
    files.pop(document.name, None)
    return Found((*files.values(), replace(document, level=before.level)))


def make() -> LanguageServer:
    """Return the server, with all requests that it answers."""
    server = LanguageServer("oomrules", __version__)

    def document_of(uri: str) -> tuple[TextDocument, Document]:
        text = server.workspace.get_text_document(uri)
        return text, read(text.path, text.source)

    def changed(given: lsp.DidOpenTextDocumentParams | lsp.DidChangeTextDocumentParams) -> None:
        uri = given.text_document.uri
        text, document = document_of(uri)
        diagnostics = [_diagnostic(finding) for finding in document.findings]
        server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri, diagnostics, text.version)
        )

    def formatting(given: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        _, document = document_of(given.text_document.uri)
        try:
            text = formatter.formatted(document.text)
        except Rejected:
            return []
        if text == document.text.text:
            return []
        return [lsp.TextEdit(_range(document.text, Span(0, len(document.text.text))), text)]

    def completion(given: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        _, document = document_of(given.text_document.uri)
        return _offers(document, _offset(document.text, given.position))

    def hover(given: lsp.HoverParams) -> lsp.Hover | None:
        _, document = document_of(given.text_document.uri)
        offset = _offset(document.text, given.position)
        words = _WORD.finditer(document.text.text)
        word = next((word for word in words if word.start() <= offset <= word.end()), None)
        meaning = _meaning(document, word.group()) if word else ""
        if not word or not meaning:
            return None
        content = lsp.MarkupContent(lsp.MarkupKind.Markdown, meaning)
        return lsp.Hover(content, _range(document.text, Span(*word.span())))

    def actions(given: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        uri = given.text_document.uri
        _, document = document_of(uri)
        return [
            _action(uri, finding, finding.fix)
            for finding in document.findings
            if finding.fix is not None
            and _range(finding.source, finding.span).start <= given.range.end
            and given.range.start <= _range(finding.source, finding.span).end
        ]

    server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)(changed)
    server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)(changed)
    server.feature(lsp.TEXT_DOCUMENT_FORMATTING)(formatting)
    triggers = lsp.CompletionOptions(trigger_characters=["@", " "])
    server.feature(lsp.TEXT_DOCUMENT_COMPLETION, triggers)(completion)
    server.feature(lsp.TEXT_DOCUMENT_HOVER)(hover)
    kinds = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])
    server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, kinds)(actions)
    return server


def _offers(document: Document, offset: int) -> list[lsp.CompletionItem]:
    """Return the words that may stand at an offset."""
    item, kinds = lsp.CompletionItem, lsp.CompletionItemKind
    checked, text = document.rules.checked, document.text.text
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if re.search(r"@\w*$", line):
        return [item(f"@{name}", kind=kinds.Variable) for name in sorted(checked.listed)]
    if _BEFORE_CAPABILITY.search(line):
        return [item(name, kind=kinds.Constant, detail=f"CAP_{name}") for name in CAPABILITIES]
    verb = re.search(r"(?:^|[:{])\s*(kill|terminate|warn)\s+\w*$", line)
    if verb:
        words = ("first", "last", "whole", "when") if verb[1] == "kill" else ("when",)
        forms = {**WORDS, "when": guard_help.form(verb[1])}
        return [item(word, kind=kinds.Keyword, detail=forms[word]) for word in words]
    guard = _GUARD.search(_statement_before(text, offset))
    if guard:
        return _of_guard(document, guard, in_block=_in_block(text, offset))
    if not line.strip() or re.fullmatch(r"\s*\w*|.*[:{]\s*\w*", line):
        return [item(word, kind=kinds.Keyword, detail=form) for word, form in FORMS.items()]
    return [
        *(item(name, kind=kinds.Property, detail=of.doc) for name, of in ATTRIBUTES.items()),
        *(item(name, kind=kinds.Variable) for name in sorted(checked.defined)),
        *(
            item(word, kind=kinds.Keyword, detail=WORDS.get(word))
            for word in dict.fromkeys((*KEYWORDS, *WORDS))
        ),
        *(item(word, kind=kinds.Function, detail=form) for word, form in _FUNCTIONS.items()),
    ]


# A guard up to where the cursor stands in it.
_GUARD = re.compile(r"(?:^|[:{])\s*(?P<verb>kill|terminate|warn)\s+when\s(?P<rest>[^{}]*)$")


def _statement_before(text: str, offset: int) -> str:
    """Return the statement around an offset, up to there, on one line."""
    *above, line = text[:offset].split("\n")
    while above and re.search(r"(?:,|\\|(?<![\w.])(?:and|or))\s*$", above[-1].partition("#")[0]):
        line = f"{above.pop().rstrip().removesuffix(chr(92))} {line}"
    return line


def _in_block(text: str, offset: int) -> bool:
    """Return whether an offset is inside a block."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if re.match(r"\s*in\s.*:", line):
        return True
    signs = re.sub(r'"(?:\\"|[^"\n])*"|#[^\n]*', "", text[:offset])
    return signs.count("{") > signs.count("}")


def _of_guard(
    document: Document, guard: re.Match[str], *, in_block: bool
) -> list[lsp.CompletionItem]:
    """Return the words that may stand in a guard, behind its `when`."""
    item, kinds = lsp.CompletionItem, lsp.CompletionItemKind
    verb, rest = guard["verb"], guard["rest"]
    if re.search(r"(?<![\w.])then\s+\w*$", rest):
        return [item("stop", kind=kinds.Keyword, detail=WORDS["then"])]
    if re.search(r"(?<![\w.])(?:for|within)\s+\w*$", rest):
        return [item(time, kind=kinds.Unit) for time in ("1s", "5s", "10s", "1min")]
    asked = program.GUARDED if in_block else program.GUARDED_HOST
    defined = document.rules.checked.definitions
    usable = [
        name
        for name, node in sorted(defined.items())
        if nodes.attributes(node) <= asked and not nodes.names(node) - defined.keys()
    ]
    words = ["and", "or", "not", "for"]
    words += ["within"] if verb == "terminate" else []
    words += [] if verb == "warn" else ["then"]
    functions = {word: form for word, form in _FUNCTIONS.items() if word != "cap"}
    return [
        *(item(name, kind=kinds.Property, detail=ATTRIBUTES[name].doc) for name in sorted(asked)),
        *(item(name, kind=kinds.Variable) for name in usable),
        *(item(word, kind=kinds.Keyword, detail=WORDS.get(word)) for word in words),
        *(item(word, kind=kinds.Function, detail=form) for word, form in functions.items()),
    ]


def _meaning(document: Document, word: str) -> str:
    checked = document.rules.checked
    if word in ATTRIBUTES:
        attribute = ATTRIBUTES[word]
        kind, provider = attribute.type.value, attribute.provider.value
        return f"`{word}`: {kind}; {attribute.doc} (from {provider})"
    named = checked.listed.get(word[1:]) if word.startswith("@") else checked.defined.get(word)
    if named is not None:
        return f"`{named.text}`\n\n{named.place}"
    form = {**WORDS, **FORMS, **_FUNCTIONS}.get(word)
    if word == "kill":
        return f"`{form}`\n\n`{guard_help.form(word)}`"
    return f"`{form}`" if form else ""


def _diagnostic(finding: Diagnostic) -> lsp.Diagnostic:
    return lsp.Diagnostic(
        _range(finding.source, finding.span),
        f"{finding.message}\n{finding.help}",
        severity=_SEVERITIES[finding.level],
        code=finding.code,
        source="oomrules",
    )


def _action(uri: str, finding: Diagnostic, fix: Fix) -> lsp.CodeAction:
    edits = [lsp.TextEdit(_range(finding.source, edit.span), edit.text) for edit in fix.edits]
    return lsp.CodeAction(
        fix.says,
        kind=lsp.CodeActionKind.QuickFix,
        diagnostics=[_diagnostic(finding)],
        edit=lsp.WorkspaceEdit(changes={uri: edits}),
    )


# The protocol counts lines from 0, and columns in units of UTF-16.


def _range(source: RuleText, span: Span) -> lsp.Range:
    return lsp.Range(_position(source, span.start), _position(source, span.end))


def _position(source: RuleText, offset: int) -> lsp.Position:
    line, column = source.position(offset)
    before = source.text[offset - column + 1 : offset]
    return lsp.Position(line - 1, len(before.encode("utf-16-le", "surrogatepass")) // 2)


def _offset(source: RuleText, position: lsp.Position) -> int:
    lines = source.text.split("\n")
    if position.line >= len(lines):
        return len(source.text)
    start = sum(len(line) + 1 for line in lines[: position.line])
    line = lines[position.line].encode("utf-16-le", "surrogatepass")
    return start + len(line[: 2 * position.character].decode("utf-16-le", "surrogatepass"))
