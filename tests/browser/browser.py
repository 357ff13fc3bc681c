"""Debian's chromium by Debian's driver, which need no network to find one another."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from oomrules.commands.main import main
from tests.browser import hosts
from tests.commands.test_picture_of import EVIL, lines


class NoBrowser(Exception):
    """There is no browser here."""


def draw(snapshot: Path, path: Path, *more: str) -> None:
    """Draw a snapshot by the rules of ``hosts``."""
    rules = hosts.rules(snapshot.with_suffix(".oom"))
    arguments = ["picture", "--snapshot", str(snapshot), "--rules", str(rules)]
    assert main([*arguments, "-o", str(path), *more]) == 0


def recount(path: Path, name: str = EVIL) -> None:
    """Draw a recording in which memory goes, with three guards.

    Args:
        path: of the picture.
        name: of the processes that are killed.
    """
    recording, rules = path.with_suffix(".jsonl"), path.with_suffix(".oom")
    recording.write_text("".join(json.dumps(one) + "\n" for one in lines(name)), encoding="utf-8")
    rules.write_text(
        "kill when host.available < 5%\nwarn when host.stall > 10%\n"
        "terminate when host.available < 10% and host.swap_free < 50%\n",
        encoding="utf-8",
    )
    arguments = ["--of", str(recording), "--rules", str(rules), "-o", str(path)]
    assert main(["picture", *arguments]) == 0


def start(profile: Path) -> Chrome:
    """Start a browser without a screen.

    Raises:
        NoBrowser: there is none.
    """
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        raise NoBrowser("there is no chromium with its driver; `make test-picture` installs them")
    options = ChromeOptions()
    options.binary_location = browser
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    if os.geteuid() == 0:
        # chromium refuses root with it.
        arguments.append("--no-sandbox")
    for argument in (*arguments, "--hide-scrollbars", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    chrome.set_page_load_timeout(120)
    chrome.set_script_timeout(120)
    return chrome


def look(chrome: Chrome, width: int, height: int, **media: str) -> None:
    """Give the window a size in pixels, and its page a medium.

    Args:
        media: ``scheme``, ``motion`` and ``medium``, in the words of CSS.
    """
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": media.get("scheme", "light")},
        {"name": "prefers-reduced-motion", "value": media.get("motion", "reduce")},
    ]
    wanted = {"media": media.get("medium", ""), "features": features}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
