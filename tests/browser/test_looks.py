"""Readable for everybody: light and dark, on paper, without colours, without motion."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

Show = Callable[..., Chrome]
MEDIA = {
    "light": {"scheme": "light"},
    "dark": {"scheme": "dark"},
    "print": {"medium": "print"},
    "print of a dark screen": {"medium": "print", "scheme": "dark"},
}
# WCAG 2, 1.4.3 (level AA): of text, and 1.4.11: of what has to be told from its neighbour.
TEXT, GRAPHIC = 4.5, 3.0
# Each text in a drawing with what lies behind it.
DRAWN = """
const colour = (one, key) => one && getComputedStyle(one)[key];
const paper = colour(document.body, 'backgroundColor');
const found = [];
for (const text of document.querySelectorAll('svg.map[role] text')) {
  if (!text.getClientRects().length) continue;
  const tile = text.closest('.tile');
  const behind = tile ? [colour(tile.querySelector('.ground'), 'fill')] : [paper];
  const kind = !tile ? '' : tile.matches('.kept') ? '.stripe'
    : tile.matches('.nobody:not(.free)') ? '.dot' : '';
  if (kind) behind.push(colour(document.querySelector(kind), kind === '.dot' ? 'fill' : 'stroke'));
  found.push([text.textContent, colour(text, 'fill'), behind]);
}
return found;
"""
WRITTEN = """
const found = [];
for (const one of document.querySelectorAll('h1, h2, p, th, td, button, label, pre, li')) {
  if (!one.getClientRects().length || !one.textContent.trim()) continue;
  let around = one;
  while (around && getComputedStyle(around).backgroundColor === 'rgba(0, 0, 0, 0)')
    around = around.parentElement;
  found.push([one.textContent.slice(0, 40), getComputedStyle(one).color,
    [getComputedStyle(around || document.body).backgroundColor]]);
}
return found;
"""


def luminance(colour: str) -> float:
    """The relative luminance, as WCAG 2 defines it."""
    parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_ratio_is_that_of_the_standard() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("gone", [0, 1000])
def test_each_text_is_readable_on_what_lies_behind_it(gone: int, medium: str, page: Show) -> None:
    chrome = page(**MEDIA[medium])
    chrome.execute_script(
        "number.value = arguments[0]; number.dispatchEvent(new Event('input'))", gone
    )
    drawn, written = chrome.execute_script(DRAWN), chrome.execute_script(WRITTEN)
    assert len(drawn) > 30 and len(written) > 100
    for text, colour, behind in [*drawn, *written]:
        for ground in behind:
            assert contrast(colour, ground) >= TEXT, (text, colour, ground)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_has_the_focus_is_seen(scheme: str, page: Show) -> None:
    chrome = page(scheme=scheme)
    chrome.execute_script("document.querySelector('#processes thead button').focus()")
    ring, paper = chrome.execute_script(
        "return [getComputedStyle(document.documentElement).getPropertyValue('--focus'),"
        " getComputedStyle(document.body).backgroundColor]"
    )
    parts = [str(int(ring.strip()[at : at + 2], 16)) for at in (1, 3, 5)]
    assert contrast(f"rgb({','.join(parts)})", paper) >= GRAPHIC


def looks(chrome: Chrome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chrome.execute_script(
        "return [...document.querySelectorAll('.wide .tile')].map((one) => ({"
        " kind: one.classList[1], free: one.matches('.free'),"
        " pattern: one.querySelector('.pattern')?.getAttribute('fill') || '',"
        " first: one.querySelector('text')?.textContent || '',"
        " one: one.dataset.pids.split(' ').length === 1 && one.dataset.pids !== '' }))"
    )
    return found


def test_without_colours_patterns_and_numbers_say_the_same(page: Show) -> None:
    tiles = looks(page())
    assert {tile["kind"] for tile in tiles} == {"taken", "kept", "nobody"}
    for tile in tiles:
        if tile["kind"] == "taken":
            assert tile["pattern"] == ""
            if tile["first"] and tile["one"]:
                assert re.match(r"#\d+", tile["first"]), tile
        elif tile["kind"] == "kept":
            assert "hatch" in tile["pattern"] and not tile["first"].startswith("#")
        else:
            assert ("dots" in tile["pattern"]) != tile["free"]


def test_nothing_moves_for_people_who_want_no_motion(page: Show) -> None:
    for motion, moving in (("reduce", False), ("no-preference", True)):
        chrome = page(motion=motion)
        durations = chrome.execute_script(
            "return [...document.querySelectorAll('*')].map((one) => getComputedStyle(one))"
            ".filter((one) => one.transitionDuration !== '0s' || one.animationName !== 'none')"
            ".length"
        )
        assert (durations > 0) == moving


def test_on_paper_there_is_what_paper_can_show(page: Show) -> None:
    chrome = page("crowded", medium="print", scheme="dark")
    assert not chrome.find_element(By.ID, "kills").is_displayed()
    assert (
        chrome.execute_script(
            "return [...document.querySelectorAll('#processes tbody tr')]"
            ".filter((one) => one.getClientRects().length).length"
        )
        == 60
    )
    assert chrome.find_element(By.CSS_SELECTOR, ".wide .map").is_displayed()
    # Nobody can point at paper; what was chosen before is printed.
    sections = [chrome.find_element(By.ID, name) for name in ("said", "gone", "keys")]
    assert not any(one.is_displayed() for one in sections)
    chrome.execute_script(
        "document.querySelector('.tile').focus();"
        "kills.value = 3; kills.dispatchEvent(new Event('input'))"
    )
    assert [one.is_displayed() for one in sections] == [True, True, False]
    printed = chrome.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    pdf = base64.b64decode(printed["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF") and 1 <= pages <= 8


@pytest.mark.parametrize("medium", MEDIA)
def test_an_area_is_told_from_the_next_one(medium: str, page: Show) -> None:
    """By an edge, or by a ground that the edge is seen on."""
    chrome = page(**MEDIA[medium])
    edges = chrome.execute_script(
        "return [...document.querySelectorAll('.wide .tile .ground')].map((one) =>"
        " [getComputedStyle(one).fill, getComputedStyle(one).stroke])"
    )
    for ground, edge in edges:
        assert ground != edge, ground


def test_a_narrow_screen_has_a_drawing_of_its_own(page: Show) -> None:
    for width, shown in ((1280, "wide"), (320, "narrow")):
        chrome = page(width=width)
        sheets = chrome.find_elements(By.CSS_SELECTOR, ".sheet")
        assert [one.get_attribute("class") for one in sheets if one.is_displayed()] == [
            f"sheet {shown}"
        ]
        size = chrome.execute_script(
            "const text = document.querySelector(`.${arguments[0]} .tile text`);"
            "return text.getBoundingClientRect().height",
            shown,
        )
        assert size >= 10
