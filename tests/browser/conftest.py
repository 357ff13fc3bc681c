"""A browser, and pages to look at. Where there is none, the tests fail with the reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from oomrules.commands.main import main
from tests.browser import hosts

Draw = Callable[..., Path]


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="session")
def drawn(places: Path) -> Draw:
    """Draw a host of ``hosts`` by its name, once."""
    (places / "root").mkdir()
    rules = places / "rules.oom"
    rules.write_text(
        'score footprint\nnever kill comm "sshd"\nkill last user "postgres"\n'
        'prefer cmdline "*python3*" by 3\nspare comm "gnome-shell" by 8\n',
        encoding="utf-8",
    )

    def draw(name: str, ending: str = "html", *more: str) -> Path:
        path = places / f"{name}{'-'.join(more)}.{ending}"
        if not path.exists():
            made = {"busy": hosts.snapshot, "hostile": hosts.hostile, "crowded": hosts.crowded}
            snapshot = made[name](places / f"{name}.jsonl")
            arguments = ["picture", "--snapshot", str(snapshot), "--rules", str(rules)]
            assert main([*arguments, "-o", str(path), *more]) == 0
        return path

    return draw


@pytest.fixture(scope="session")
def chrome(places: Path) -> Iterator[Chrome]:
    """Debian's chromium by Debian's driver, which need no network to find one another."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.fail("there is no chromium with its driver; `make test-picture` installs them")
    options = ChromeOptions()
    options.binary_location = browser
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    if os.geteuid() == 0:
        # chromium refuses root with it.
        arguments.append("--no-sandbox")
    for argument in (*arguments, f"--user-data-dir={places / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    chrome.set_page_load_timeout(120)
    chrome.set_script_timeout(120)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(chrome: Chrome, drawn: Draw) -> Callable[..., Chrome]:
    """Open a picture in a window of a size, under a medium."""

    def show(name: str = "busy", width: int = 1280, ending: str = "html", **media: str) -> Chrome:
        path = drawn(name, ending)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": media.get("scheme", "light")},
            {"name": "prefers-reduced-motion", "value": media.get("motion", "reduce")},
        ]
        wanted = {"media": media.get("medium", ""), "features": features}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        # As if nobody worked in another window.
        chrome.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        chrome.get_log("browser")
        chrome.get(path.as_uri())
        return chrome

    return show
