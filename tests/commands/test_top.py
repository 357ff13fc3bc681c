"""The live ranking, on a terminal that the test makes up."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import DataTable

from oomrules.commands.parts.screen import Ranks, Screen, cells, texts
from oomrules.commands.parts.verdicts import COLUMNS, Row
from oomrules.language import compiler
from oomrules.language.text import RuleText
from oomrules.processes import turns
from oomrules.terminal import layout
from tests.children import Child


def shown(screen: Screen) -> list[list[str]]:
    table = screen.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


def test_names_are_neither_markup_nor_escapes() -> None:
    evil = "[red]x[/red][@click=app.quit]y\x1b]0;PWNED\x07\x9b31m\u202e"
    row = Row(1, 2, evil, evil, 3, 4, evil, evil, "")
    found = cells(row, layout(COLUMNS, [texts(row)], 0))
    assert all(cell.plain.isprintable() and not cell.spans for cell in found)
    assert found[2].plain.strip().startswith("[red]x[/red][@click=app.quit]y")


def test_it_follows_the_host_and_sorts(spawn: Callable[..., Child]) -> None:
    first = spawn()
    made = compiler.compile_texts(
        [RuleText("mine.oom", f"score 10\nprefer pid {first.pid} by 3\n")]
    )

    async def look() -> None:
        screen = Screen(made, None, None, 0.2)
        async with screen.run_test(size=(120, 40)) as pilot:

            async def until(holds: Callable[[], Any]) -> None:
                for _ in range(300):
                    if holds():
                        return
                    await pilot.pause(0.1)
                raise AssertionError(shown(screen)[:3])

            await until(lambda: shown(screen))
            assert shown(screen)[0][1] == str(first.pid)
            assert shown(screen)[0][5] == "30" and "x3 pid" in shown(screen)[0][7]
            second = spawn()
            await until(lambda: str(second.pid) in [row[1] for row in shown(screen)])
            first.die()
            await until(lambda: str(first.pid) not in [row[1] for row in shown(screen)])
            await pilot.press("p")
            pids = [int(row[1]) for row in shown(screen)]
            assert pids == sorted(pids)
            under = shown(screen)[screen.query_one(DataTable).cursor_row][1]
            await pilot.press("m")
            by_memory = sorted(screen._rows, key=lambda row: -(row.rss or 0))
            assert [row[1] for row in shown(screen)] == [str(row.pid) for row in by_memory]
            # The cursor stays on its process.
            assert shown(screen)[screen.query_one(DataTable).cursor_row][1] == under
            await pilot.press("q")
        assert screen.failure is None

    asyncio.run(look())


def test_whom_a_rule_protects_from_now_on_is_not_first_any_more(
    spawn: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_LEAST", 0.0)
    first, second = spawn(), spawn()
    text = f"score 10\nonly kill anything when pid == {first.pid} or pid == {second.pid}\n"
    text += f"never kill oom_score_adj 500\nprefer pid {first.pid}\n"
    ranks = Ranks(compiler.compile_texts([RuleText("mine.oom", text)]), None, None)
    assert [row.pid for row in ranks.rows()[0]] == [first.pid, second.pid]
    first.do("open('/proc/self/oom_score_adj', 'w').write('500')")
    assert [row.pid for row in ranks.rows()[0]] == [second.pid]


def test_without_its_library_it_says_what_to_install(
    oomrules: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "oomrules.commands.parts.screen":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    done = oomrules("top")
    assert done.code == 2
    assert "needs the Python library textual" in done.err and ".[top]" in done.err


def test_it_is_for_a_terminal(oomrules: Callable[..., Any]) -> None:
    done = oomrules("top")
    assert done.code == 2
    assert "oomrules rank" in done.err
