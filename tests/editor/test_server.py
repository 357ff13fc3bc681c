"""The language server, spoken to as an editor does: over its standard input and output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomrules import resources
from oomrules.commands.main import main
from oomrules.editor import server

CHECKOUT = Path(__file__).parent.parent.parent


class Editor:
    """An editor with one file open."""

    def __init__(self, path: Path) -> None:
        self.uri = path.as_uri()
        self.server = subprocess.Popen(
            [sys.executable, "-m", "oomrules", "lsp", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
        )
        self.number = 0
        self.version = 1
        root: dict[str, Any] = {"processId": None, "rootUri": None, "capabilities": {}}
        self.capabilities = self.ask("initialize", root)["capabilities"]
        self.tell("initialized", {})

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.server.stdin
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.server.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.server.stdout
        length = 0
        while line := self.server.stdout.readline().strip():
            name, _, value = line.partition(b": ")
            length = int(value) if name == b"Content-Length" else length
        message: dict[str, Any] = json.loads(self.server.stdout.read(length))
        return message

    def tell(self, method: str, params: dict[str, Any]) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while (answer := self.receive()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def findings(self) -> list[dict[str, Any]]:
        while (message := self.receive()).get("method") != "textDocument/publishDiagnostics":
            pass
        assert message["params"]["uri"] == self.uri
        found: list[dict[str, Any]] = message["params"]["diagnostics"]
        return found

    def open(self, text: str) -> list[dict[str, Any]]:
        item = {"uri": self.uri, "languageId": "oomrules", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})
        return self.findings()

    def change(self, text: str) -> list[dict[str, Any]]:
        self.version += 1
        document = {"uri": self.uri, "version": self.version}
        self.tell(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]}
        )
        return self.findings()

    def at(self, method: str, line: int, character: int, **more: Any) -> Any:
        place = {"line": line, "character": character}
        given = {"textDocument": {"uri": self.uri}, "position": place, **more}
        return self.ask(f"textDocument/{method}", given)

    def close(self) -> None:
        self.ask("shutdown", {})
        self.tell("exit", {})
        assert self.server.wait(120) == 0
        for stream in (self.server.stdin, self.server.stdout):
            assert stream
            stream.close()


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("rules")
    words = 'define heavy = rss > 1GiB\ndefine low = host.free < 1GiB\nlist shells = "sh"\n'
    (folder / "10-words.oom").write_text(words)
    editor = Editor(folder / "50-mine.oom")
    yield editor
    editor.close()


def test_findings_follow_the_text_and_know_the_other_files(editor: Editor) -> None:
    (one,) = editor.open("spare heavy\nspare comm @shells\nspare niced\nspare usr 0\n")
    assert (one["code"], one["severity"], one["source"]) == ("OOM201", 1, "oomrules")
    assert one["range"] == {
        "start": {"line": 3, "character": 6},
        "end": {"line": 3, "character": 9},
    }
    (one,) = editor.change('spare user "x" by 1\n')
    assert (one["code"], one["severity"]) == ("OOM511", 2)
    assert editor.change("spare uid 0\n") == []
    # The definitions of the shipped rules are there too, and nothing else of them counts.
    assert editor.change("score rss\nspare anything when not contained\n") == []


def test_columns_are_those_of_the_protocol(editor: Editor) -> None:
    (one,) = editor.open('spare comm "\U0001f600\u00e9" usr 0\n')
    assert one["range"]["start"] == {"line": 0, "character": 17}


def test_quick_fixes_are_offered_where_they_are_asked_for(editor: Editor) -> None:
    editor.open("spare uid 1\nspare anything when rss > 5MB\n")

    def actions(line: int) -> list[dict[str, Any]]:
        place = {"start": {"line": line, "character": 28}, "end": {"line": line, "character": 28}}
        given = {
            "textDocument": {"uri": editor.uri},
            "range": place,
            "context": {"diagnostics": []},
        }
        return editor.ask("textDocument/codeAction", given) or []

    assert actions(0) == []
    (action,) = actions(1)
    (edit,) = action["edit"]["changes"][editor.uri]
    assert (edit["newText"], edit["range"]["start"]["character"]) == ("5MiB", 26)


def test_formatting_gives_the_one_form_or_nothing(editor: Editor) -> None:
    def formatted() -> list[dict[str, Any]]:
        given = {
            "textDocument": {"uri": editor.uri},
            "options": {"tabSize": 4, "insertSpaces": True},
        }
        return editor.ask("textDocument/formatting", given) or []

    editor.open("spare   uid 0")
    assert [one["newText"] for one in formatted()] == ["spare uid 0\n"]
    editor.change("spare uid 0\n")
    assert formatted() == []
    editor.change("spare  uid 0\nnevr\n")
    assert formatted() == []


@pytest.mark.parametrize(
    ("text", "offered", "not_offered"),
    [
        ("", {"never", "define", "in"}, {"rss", "SYS_ADMIN"}),
        ("in a.slice: ", {"never", "prefer"}, {"rss"}),
        ("spare anything when ", {"rss", "unit.memory", "heavy", "niced", "not"}, {"SYS_ADMIN"}),
        ("spare anything with ", {"SYS_RAWIO", "BPF"}, {"rss"}),
        ("kill ", {"first", "last", "whole", "when"}, {"rss", "never"}),
        ("terminate ", {"when"}, {"rss", "first"}),
        ("kill when ", {"host.available", "host.stall", "not", "low"}, {"rss", "heavy", "cap"}),
        ("kill when not low or ", {"host.swap_free", "then"}, {"scope.memory", "within"}),
        ("in a.slice: warn when ", {"scope.memory", "for", "max"}, {"then", "within", "uid"}),
        ("in a.slice {\n  terminate when low and\n  ", {"scope.stall", "within"}, {"rss"}),
        ("terminate when low \\\n  ", {"within", "for", "then", "and"}, {"scope.stall", "rss"}),
        ("kill when low then ", {"stop"}, {"rss", "kill"}),
        ("kill when low for ", {"10s"}, {"rss", "stop"}),
        ("kill first anything when ", {"rss", "host.available"}, {"SYS_ADMIN"}),
        ("prefer anything\nkill whole when ", {"rss"}, {"SYS_ADMIN"}),
        ("in a.slice: kill w", {"whole"}, {"rss", "never"}),
        ("never kill ", {"comm", "anything", "not"}, {"SYS_ADMIN"}),
        ("spare uid 0 ", {"under", "child", "max", "min", "and", "or"}, {"SYS_ADMIN"}),
        ("spare anything with BPF, SYS", {"SYS_RAWIO"}, {"rss"}),
        ("define x = cap(", {"SYS_RAWIO"}, {"rss"}),
        ("spare comm @", {"@shells"}, {"rss"}),
    ],
)
def test_words_are_offered_where_they_may_stand(
    text: str, offered: set[str], not_offered: set[str], editor: Editor
) -> None:
    editor.open(f"spare uid 0\n{text}")
    *above, last = text.split("\n")
    words = {one["label"] for one in editor.at("completion", 1 + len(above), len(last))}
    assert offered <= words
    assert not not_offered & words


def test_a_word_is_explained(editor: Editor) -> None:
    editor.open("spare heavy when rss > 5MiB\nspare comm @shells\n")
    assert "resident memory" in editor.at("hover", 0, 18)["contents"]["value"]
    assert "define heavy = rss > 1GiB" in editor.at("hover", 0, 7)["contents"]["value"]
    assert 'list shells = "sh"' in editor.at("hover", 1, 14)["contents"]["value"]
    assert editor.at("hover", 0, 24) is None
    editor.change("kill whole a.service\nspare uid 0 under uid 1 when max(nice, threads) > 1\n")
    for place, form in {
        (0, 6): "`kill whole UNIT`",
        (1, 13): "`SELECTOR under TERMS`",
        (1, 31): "`max(a, b)`",
    }.items():
        assert form in editor.at("hover", *place)["contents"]["value"]


def test_the_words_of_a_guard_are_explained(editor: Editor) -> None:
    editor.open("kill when host.stall > 5% for 5s then stop\n")
    for column, said in {
        1: "`kill when CONDITION [for DURATION] [within DURATION] [then stop]`",
        12: "every task waited for memory",
        27: "`kill when CONDITION for DURATION`",
        34: "`kill when CONDITION then stop`",
    }.items():
        assert said in editor.at("hover", 0, column)["contents"]["value"]


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("oomrules.editor.server")
    monkeypatch.setitem(sys.modules, "oomrules.editor.server", None)
    assert main(["lsp"]) == 2
    assert ".[lsp]" in capsys.readouterr().err


def test_shipped_presets_are_clean_in_an_editor() -> None:
    for path in resources.rules().rglob("*.oom"):
        read = server.read(str(path), path.read_text(encoding="utf-8"))
        assert read.findings == (), path
