"""The page of a recording: it loads, is readable, and runs nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from axe_selenium_python import Axe
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.browser.test_looks import GRAPHIC, MEDIA, TEXT, WRITTEN, contrast
from tests.browser.test_page import overlap

Show = Callable[..., Chrome]
# Each text and each line of the drawing, with its colour.
PLOTTED = """
const colour = (one, key) => getComputedStyle(one)[key];
const seen = (wanted) => [...document.querySelectorAll(wanted)]
  .filter((one) => one.getClientRects().length);
return [seen('.plot text').map((one) => [one.textContent, colour(one, 'fill')]),
  seen('.plot .curve, .plot .mark path').map((one) => [one.getAttribute('class') || 'mark',
    colour(one, 'stroke')]), colour(document.body, 'backgroundColor')];
"""


def test_it_loads_without_a_word_and_runs_nothing(page: Show) -> None:
    chrome = page("course")
    assert chrome.get_log("browser") == []
    state = chrome.execute_script(
        "return [document.scripts.length, performance.getEntriesByType('resource').length,"
        " document.querySelectorAll('#events tbody tr').length > 2]"
    )
    assert state == [0, 0, True]


@pytest.mark.parametrize("width", [1280, 320])
def test_it_fits_the_screen_and_no_text_leaves_it(width: int, page: Show) -> None:
    chrome = page("course", width)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    outside = chrome.execute_script(
        "return [...document.querySelectorAll('.plot text')].filter((one) =>"
        " one.getClientRects().length).map((one) => [one.textContent,"
        " one.getBoundingClientRect()]).filter(([_, box]) => box.left < 0 ||"
        " box.right > innerWidth).map(([text]) => text)"
    )
    assert outside == []
    boxes = chrome.execute_script(
        "return [...document.querySelectorAll('.plot text')].filter((one) =>"
        " one.getClientRects().length).map((one) => { const box = one.getBoundingClientRect();"
        " return [one.textContent, [box.left, box.top, box.right, box.bottom]]; })"
    )
    for (text, box), (other, another) in combinations(boxes, 2):
        # The boxes of two lines touch.
        assert overlap(box, another) < 0.2 * (box[3] - box[1]) * (box[2] - box[0]), (text, other)


@pytest.mark.parametrize("medium", MEDIA)
def test_texts_and_lines_are_seen(medium: str, page: Show) -> None:
    chrome = page("course", **MEDIA[medium])
    texts, lines, paper = chrome.execute_script(PLOTTED)
    assert len(texts) > 30 and len(lines) > 8
    for text, colour in texts:
        assert contrast(colour, paper) >= TEXT, text
    for look, colour in lines:
        assert contrast(colour, paper) >= GRAPHIC, look
    for text, colour, (ground,) in chrome.execute_script(WRITTEN):
        assert contrast(colour, ground) >= TEXT, text


@pytest.mark.parametrize("width", [1280, 320])
def test_axe_finds_nothing(width: int, page: Show) -> None:
    axe = Axe(page("course", width))
    axe.inject()
    violations = axe.run()["violations"]
    assert violations == [], axe.report(violations)


def test_a_drawing_is_shown_by_itself(page: Show) -> None:
    chrome = page("course", ending="svg")
    assert chrome.get_log("browser") == []
    assert chrome.find_elements(By.CSS_SELECTOR, ".curve")
