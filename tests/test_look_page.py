"""The page of a look in headless Chromium, from a file: drawn, quiet, offline, light and dark, zoomed as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ppldelta
from helpers.browser import opened
from ppldelta import demo

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> `and` a few words more, so that there is a text."


@pytest.fixture(scope="module")
def page_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = ppldelta.look(demo.REFERENCE, EVIL, {EVIL: demo.COMPARISONS[2]}, columns=30, progress=False)
    return found.html(tmp_path_factory.mktemp("look") / "look.html")


def wait_until(page: Any, expression: str) -> None:
    """Playwright's own `wait_for_function` evaluates text within the page, which the page's policy forbids."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def draw_all(page: Any) -> list[str]:
    """Scrolls to each figure until it is drawn; their names."""
    names = page.evaluate("[...document.querySelectorAll('.canvas')].map((each) => each.dataset.figure)")
    for name in names:
        page.locator(f"#{name} .canvas").scroll_into_view_if_needed()
        page.wait_for_selector(f"#{name} .canvas .plot-container", timeout=30_000)
        wait_until(page, f"document.querySelector('#{name} .canvas').data?.length > 0")
    return names


def test_every_figure_is_drawn_without_trouble(browser: Any, page_of_two: Path) -> None:
    with opened(browser, page_of_two) as page:
        names = draw_all(page)
        assert names == ["difference", "logp", "logp_cmp", "depth", "departure", "states", "states_difference", "norms"]
        assert page.locator(".heatmaplayer image").count() == len(names) - 1
        assert EVIL in page.locator(".excerpt").text_content()


def test_pointing_at_a_cell_says_its_probability(browser: Any, page_of_two: Path) -> None:
    with opened(browser, page_of_two) as page:
        draw_all(page)
        page.evaluate(
            "document.querySelector('#logp .canvas').scrollIntoView({ block: 'center', behavior: 'instant' })"
        )
        page.wait_for_timeout(300)
        box = page.locator("#logp .canvas .nsewdrag").bounding_box()
        n = page.evaluate("document.querySelector('#logp .canvas').data[0].x.length")
        row = page.evaluate("document.querySelector('#logp .canvas').data[0].y[1]")
        for part in (0.4, 0.5):  # at rest a pointer says nothing
            page.mouse.move(box["x"] + box["width"] * (2 + part) / n, box["y"] + box["height"] * (1 + part) / 30)
            page.wait_for_timeout(200)
        page.wait_for_selector("#logp .hoverlayer .hovertext")
        said = page.locator("#logp .hoverlayer").text_content()
        assert (
            "ln p" in said
            and "%" in said
            and "(token" in row
            and row.split(" (token")[0] in said
            and "undefined" not in said
        )


def test_a_zoom_along_the_text_is_one_in_all_figures(browser: Any, page_of_two: Path) -> None:
    with opened(browser, page_of_two) as page:
        draw_all(page)
        assert page.locator("#reset").is_hidden()
        page.evaluate(
            "Plotly.relayout(document.querySelector('#logp .canvas'), {'xaxis.range[0]': 1.5, 'xaxis.range[1]': 9.5})"
        )
        page.wait_for_selector("#reset:not([hidden])")
        draw_all(page)
        ranges = (
            "[...document.querySelectorAll('.canvas')]"
            ".map((each) => (each.layout?.xaxis?.range ?? []).map(Number).join())"
        )
        wait_until(page, f"{ranges}.filter((each) => each === '1.5,9.5').length === 7")
        page.locator("#reset").click()
        for name in ("states", "logp"):
            page.locator(f"#{name} .canvas").scroll_into_view_if_needed()
            wait_until(page, f"document.querySelector('#{name} .canvas').layout?.xaxis?.range?.[0] === -0.5")
        assert page.locator("#reset").is_hidden()


def test_light_and_dark(browser: Any, page_of_two: Path) -> None:
    with opened(browser, page_of_two, color_scheme="dark") as page:
        draw_all(page)
        background = "document.querySelector('#logp .canvas')._fullLayout.paper_bgcolor"
        scale = "JSON.stringify(document.querySelector('#logp .canvas').data[0].colorscale)"
        dark = page.evaluate(background), page.evaluate(scale)
        assert page.locator("#theme-word").inner_text() == "Light"
        page.locator("#theme").click()
        assert page.locator("#theme-word").inner_text() == "Dark"
        page.locator("#logp .canvas").scroll_into_view_if_needed()
        wait_until(page, f"{background} !== '{dark[0]}'")
        light = page.evaluate(background), page.evaluate(scale)
        assert "#191c20" in dark[1] and "#fffffe" in light[1]


def test_one_model_and_a_corner(browser: Any, tmp_path: Path) -> None:
    found = ppldelta.look(demo.REFERENCE, "A text of a few words.", columns=range(1000), progress=False)
    with opened(browser, found.html(tmp_path / "look.html"), viewport={"width": 390, "height": 800}) as page:
        assert draw_all(page) == ["logp", "states", "norms"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
