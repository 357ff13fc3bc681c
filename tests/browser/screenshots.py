"""Photograph the page of a busy host for docs/picture.md: `make screenshots`.

python -m tests.browser.screenshots DIRECTORY
"""

from __future__ import annotations

import base64
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.browser import browser, hosts

# Name, width and height in pixels, and what is to be seen.
SHOTS = (
    ("light", 1000, 1330, "light", 0),
    ("dark", 1000, 1330, "dark", 6),
    ("phone", 320, 900, "light", 0),
)
_CHOSEN = """
number.value = arguments[0];
if (arguments[0]) number.dispatchEvent(new Event('input'));
const shown = [...document.querySelectorAll('.tile.taken')].find((one) =>
  one.getClientRects().length && one.getAttribute('aria-label').includes('rank 1,'));
shown.dispatchEvent(new MouseEvent('click', { bubbles: true }));
document.activeElement.blur();
"""


def main(directory: Path) -> None:
    """Write the photographs."""
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        # The page names the files; nobody needs to know where they lay.
        page = Path("busy-host.html")
        browser.draw(hosts.snapshot(Path("busy-host.jsonl")), page)
        chrome = browser.start(Path(scratch, "profile"))
        try:
            for name, width, height, scheme, kills in SHOTS:
                browser.look(chrome, width, height, scheme=scheme)
                chrome.get(page.resolve().as_uri())
                chrome.execute_script(_CHOSEN, kills)
                shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
                (directory / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
            browser.recount(Path("night.html"), "java")
            browser.look(chrome, 1000, 1010)
            chrome.get(Path("night.html").resolve().as_uri())
            shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
            (directory / "recording.png").write_bytes(base64.b64decode(shot["data"]))
        finally:
            chrome.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
