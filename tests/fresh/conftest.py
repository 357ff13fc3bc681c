"""The fixtures: a bare machine, and a way to say what is going on.

Where a machine cannot be had, the tests fail with the reason. They are never skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.fresh import root
from tests.fresh.root import Root
from tests.vm import host
from tests.vm.host import NoGuest


@pytest.fixture
def say(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Show a line at once, past pytest's capturing."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def output(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    # What builds the machine tells through it how long that takes.
    monkeypatch.setattr(host, "output", output)
    return output


@pytest.fixture
def machine(say: Callable[[str], None]) -> Iterator[Callable[[str], Root]]:
    """Make a bare machine of a suite of Debian, for this test alone."""
    with contextlib.ExitStack() as stack:

        def make(suite: str) -> Root:
            try:
                return stack.enter_context(root.fresh(suite))
            except NoGuest as why:
                pytest.fail(f"no bare {suite} can be had here: {why}", pytrace=False)

        yield make
