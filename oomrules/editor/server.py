"""The language server: the protocol's words for what ``document`` knows."""

from __future__ import annotations

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from oomrules import __version__
from oomrules.editor import document as documents
from oomrules.editor.document import Document
from oomrules.language.diagnostics import Diagnostic, Fix, Level
from oomrules.language.text import RuleText, Span

_SEVERITIES = {
    Level.ERROR: lsp.DiagnosticSeverity.Error,
    Level.WARNING: lsp.DiagnosticSeverity.Warning,
    Level.INFO: lsp.DiagnosticSeverity.Information,
}
_KINDS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "attribute": lsp.CompletionItemKind.Property,
    "name": lsp.CompletionItemKind.Variable,
    "list": lsp.CompletionItemKind.Variable,
    "capability": lsp.CompletionItemKind.Constant,
}


def make() -> LanguageServer:
    """Return the server, with all requests that it answers."""
    server = LanguageServer("oomrules", __version__)

    def read(uri: str) -> tuple[TextDocument, Document]:
        text = server.workspace.get_text_document(uri)
        return text, documents.read(text.path, text.source)

    def publish(uri: str) -> None:
        text, document = read(uri)
        diagnostics = [_diagnostic(finding) for finding in document.findings]
        server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri, diagnostics, text.version)
        )

    def changed(given: lsp.DidOpenTextDocumentParams | lsp.DidChangeTextDocumentParams) -> None:
        publish(given.text_document.uri)

    def formatting(given: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        _, document = read(given.text_document.uri)
        text = documents.formatted(document)
        if text is None or text == document.text.text:
            return []
        return [lsp.TextEdit(_range(document.text, Span(0, len(document.text.text))), text)]

    def completion(given: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        _, document = read(given.text_document.uri)
        offers = documents.offers(document, _offset(document.text, given.position))
        return [
            lsp.CompletionItem(offer.word, kind=_KINDS[offer.kind], detail=offer.about or None)
            for offer in offers
        ]

    def hover(given: lsp.HoverParams) -> lsp.Hover | None:
        _, document = read(given.text_document.uri)
        about = documents.about(document, _offset(document.text, given.position))
        if about is None:
            return None
        span, meaning = about
        content = lsp.MarkupContent(lsp.MarkupKind.Markdown, meaning)
        return lsp.Hover(content, _range(document.text, span))

    def actions(given: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        uri = given.text_document.uri
        _, document = read(uri)
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
    units = 0
    for number, char in enumerate(lines[position.line]):
        if units >= position.character:
            return start + number
        units += 2 if ord(char) > 0xFFFF else 1
    return start + len(lines[position.line])
