"""The first screen of a page in headless Chromium: the card in each width, light and dark, as text and as a picture."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from helpers import synthetic
from helpers.browser import opened
from ppldelta.result import Result

TOKENS = synthetic.make(n_documents=12, n_models=3, n_tokens=80)
SCREEN = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Result(**TOKENS).report(tmp_path_factory.mktemp("head") / "report.html")


@pytest.fixture(scope="module")
def page(browser: Any, path: Path) -> Iterator[Any]:
    with opened(browser, path, viewport=SCREEN) as page:
        yield page


def shown(page: Any) -> list[str]:
    """The classes of the pictures that are in view."""
    return page.eval_on_selector_all(
        ".cover svg", "(all) => all.filter((e) => e.getClientRects().length).map((e) => e.className.baseVal)"
    )


def test_the_card_is_the_first_screen(page: Any) -> None:
    assert shown(page) == ["wide"]
    card, bar = page.locator(".cover svg.wide").bounding_box(), page.locator(".bar").bounding_box()
    assert card["width"] > 1100 and bar["y"] + bar["height"] <= SCREEN["height"]
    verdict = page.locator("h1").inner_text()
    page.locator(".cover svg.wide text").first.evaluate(
        "(text) => getSelection().selectAllChildren(text.closest('figure'))"
    )
    selected = "".join(page.evaluate("getSelection().toString()").split())
    assert "".join(verdict.split()) in selected, "the words on the card are text"
    page.evaluate("getSelection().removeAllRanges()")
    page.set_viewport_size(PHONE)
    assert shown(page) == ["narrow"]
    card = page.locator(".cover svg.narrow").bounding_box()
    assert (
        card["y"] + card["height"] <= PHONE["height"]
        and page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    )
    page.set_viewport_size({"width": 768, "height": 1024})
    assert shown(page) == ["square"]
    page.set_viewport_size(SCREEN)


def test_the_card_is_light_and_dark_and_a_picture_of_its_own(page: Any) -> None:
    def saved(kind: str) -> bytes:
        with page.expect_download() as download:
            page.locator(f"[data-cover={kind}]").click()
        assert re.fullmatch(rf"card(-dark)?\.{kind}", download.value.suggested_filename)
        return Path(download.value.path()).read_bytes()

    grounds = []
    for _ in range(2):
        grounds.append(page.locator(".cover svg.wide > rect").first.evaluate("(e) => getComputedStyle(e).fill"))
        svg = saved("svg").decode()
        ElementTree.fromstring(svg)
        assert "var(" not in svg and "<text" not in svg and page.locator("h1").inner_text() in " ".join(svg.split())
        assert set(re.findall('href="#([^"]+)"', svg)) == set(re.findall('<path id="([^"]+)"', svg))
        page.locator("#theme").click()
    assert grounds[0] != grounds[1]
    assert struct.unpack(">II", saved("png")[16:24]) == (2400, 1350)
