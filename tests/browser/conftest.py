"""A browser, and pages to look at. Where there is none, the tests fail with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser import browser, hosts

Draw = Callable[..., Path]


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="session")
def drawn(places: Path) -> Draw:
    """Draw a host of ``hosts`` by its name, once."""

    def draw(name: str, ending: str = "html", *more: str) -> Path:
        path = places / f"{name}{'-'.join(more)}.{ending}"
        if name == "course" and not path.exists():
            browser.recount(path)
        elif not path.exists():
            made = {"busy": hosts.snapshot, "hostile": hosts.hostile, "crowded": hosts.crowded}
            snapshot = made[name](places / f"{name}.jsonl")
            browser.draw(snapshot, path, *more)
        return path

    return draw


@pytest.fixture(scope="session")
def chrome(places: Path) -> Iterator[Chrome]:
    """One browser for all tests."""
    try:
        chrome = browser.start(places / "profile")
    except browser.NoBrowser as why:
        pytest.fail(str(why), pytrace=False)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(chrome: Chrome, drawn: Draw) -> Callable[..., Chrome]:
    """Open a picture in a window of a size, under a medium."""

    def show(
        name: str = "busy", width: int = 1280, ending: str = "html", height: int = 900, **media: str
    ) -> Chrome:
        path = drawn(name, ending)
        browser.look(chrome, width, height, **media)
        # As if nobody worked in another window.
        chrome.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        chrome.get_log("browser")
        chrome.get(path.as_uri())
        return chrome

    return show
