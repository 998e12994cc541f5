"""The report in headless Chromium, from a file: drawn, quiet, offline, and usable.

Without Playwright or a browser these tests are skipped; with PPLDELTA_REQUIRE_BROWSER=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import frames
from ppldelta.report.render import render_report

DOCUMENTS, MODELS = frames.make()
EVIL_DOCUMENT = "<img src=x onerror=alert(1)>.txt"
EVIL_MODEL = "</script><script>alert(1)</script>"
EVIL = frames.make(rename={"code/00.txt": EVIL_DOCUMENT, "tiny-code.Q8_0": EVIL_MODEL}, per_category=2)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
POINTS = "#f0-documents-nats .scatterlayer .points path"


def missing(reason: str) -> None:
    if os.environ.get("PPLDELTA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and PPLDELTA_REQUIRE_BROWSER=1 wants the browser tests", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright for Python is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing(f"no browser found (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report") / "report.html", DOCUMENTS, MODELS)


@pytest.fixture(scope="module")
def evil_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("evil") / "report.html", *EVIL)


def write(path: Path, documents: Any, models: Any) -> Path:
    path.write_text(
        render_report(
            documents=documents,
            models=models,
            families=frames.families(models),
            signature="signature",
            warnings=["`prose/07.txt` is too short to score and was left out"],
            version="0.1.0",
        ),
        encoding="utf-8",
    )
    return path


def open_page(browser: Any, path: Path, **context: Any) -> tuple[Any, list[str]]:
    """Opens a report, waits until all is drawn, and returns the page and a list that trouble is added to."""
    page = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **context}).new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    return page, trouble


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    page, trouble = open_page(browser, report)
    yield page
    assert trouble == []
    page.context.close()


def hovered(page: Any, point: Any) -> str:
    """What is shown while the pointer is over a mark."""
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    label = page.locator(".hoverlayer .hovertext").first
    label.wait_for()
    return label.text_content()


def visible(page: Any, canvas: str, model: str) -> set[Any]:
    """The values of `visible` of a model's traces in a figure."""
    return set(
        page.evaluate(
            "([id, model]) => document.getElementById(id).data"
            ".filter((trace) => trace.meta?.model === model).map((trace) => trace.visible)",
            [canvas, model],
        )
    )


def test_every_document_is_a_point(page: Any) -> None:
    for unit in ("nats", "bpb"):
        drawn = page.evaluate(
            "(id) => document.getElementById(id).data.filter((t) => t.type === 'scatter')"
            ".reduce((n, t) => n + t.x.length, 0)",
            f"f0-documents-{unit}",
        )
        assert drawn == DOCUMENTS.height
    assert page.locator(POINTS).count() == DOCUMENTS.height
    assert page.locator("#f0-documents-nats .contourlayer path").count() > 0
    assert page.locator(".canvas").count() == page.locator(".canvas .main-svg:first-child").count()


def test_hover_names_the_document(page: Any) -> None:
    text = hovered(page, page.locator(POINTS).first)
    row = DOCUMENTS.row(0, named=True)
    assert row["document"] in text and row["model"] in text and "perplexity" in text


def test_a_click_on_the_legend_hides_the_model_everywhere(page: Any) -> None:
    model = "tiny-spanish.Q8_0"
    chip = page.get_by_role("button", name=model).first
    figures = ("f0-models-nats", "f0-documents-bpb", "f0-category-1", "f0-ratios")
    assert all(visible(page, figure, model) == {True} for figure in figures)
    chip.click()
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length < {DOCUMENTS.height}")
    assert page.locator(POINTS).count() == DOCUMENTS.filter(DOCUMENTS["model"] != model).height
    assert all(visible(page, figure, model) == {False} for figure in figures)
    pressed = [each.get_attribute("aria-pressed") for each in page.get_by_role("button", name=model).all()]
    assert set(pressed) == {"false"}
    chip.press("Enter")
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length == {DOCUMENTS.height}")
    assert all(visible(page, figure, model) == {True} for figure in figures)


def test_a_click_on_a_heading_sorts_the_table(page: Any) -> None:
    table = page.locator("table").first
    button = table.locator("thead button", has_text="gain")
    heading = table.locator("thead th", has_text="gain")
    column = [text.split("\n")[0] for text in table.locator("thead th").all_inner_texts()].index("gain")

    def values() -> list[float]:
        return [
            float(cell.get_attribute("data-sort"))
            for cell in table.locator(f"tbody tr > :nth-child({column + 1})").all()
        ]

    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    table.locator("thead button", has_text="model").first.click()
    names = table.locator("tbody th span").all_inner_texts()
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") == "none"


def test_the_mode_bar_offers_nothing_that_sends_data_away(page: Any) -> None:
    titles = page.evaluate("[...document.querySelectorAll('#f0-models-nats .modebar-btn')].map((e) => e.dataset.title)")
    assert len(titles) == 4
    assert not any(word in title.lower() for title in titles for word in ("share", "cloud", "edit", "plotly"))


def test_planes_stand_side_by_side_where_there_is_room(page: Any) -> None:
    left, right = (page.locator(f"#f0-models-{unit}").bounding_box() for unit in ("nats", "bpb"))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]


def colors(page: Any) -> tuple[str, str, str]:
    return tuple(
        page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " document.getElementById('f0-models-nats')._fullLayout.paper_bgcolor,"
            " document.getElementById('f0-models-nats').data.find((t) => t.meta).marker.color]"
        )
    )


def test_dark_mode_differs_follows_the_system_and_prints_light(browser: Any, report: Path) -> None:
    page, trouble = open_page(browser, report, color_scheme="dark")
    dark = colors(page)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    printed = colors(page)
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert colors(page) == dark
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor != '{dark[0]}'")
    light = colors(page)
    assert all(a != b for a, b in zip(dark, light, strict=True))
    assert printed[1:] == light[1:]
    assert trouble == []
    page.context.close()


def test_a_phone_scrolls_only_down(browser: Any, report: Path) -> None:
    page, trouble = open_page(browser, report, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    nats, bpb = (page.locator(f"#f0-documents-{unit}").bounding_box() for unit in ("nats", "bpb"))
    assert nats["y"] + nats["height"] <= bpb["y"] and nats["x"] == bpb["x"]
    assert nats["width"] > 280
    assert trouble == []
    page.context.close()


def test_hostile_names_are_only_text(browser: Any, evil_report: Path) -> None:
    page, trouble = open_page(browser, evil_report)
    assert page.locator("img").count() == 0
    assert page.get_by_role("button", name=EVIL_MODEL).count() >= 4
    page.get_by_role("button", name=EVIL_MODEL).first.click()
    page.get_by_role("button", name=EVIL_MODEL).first.click()
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length == {EVIL[0].height}")
    text = hovered(page, page.locator(POINTS).first)
    assert EVIL_DOCUMENT in text and EVIL_MODEL in text
    assert trouble == []
    page.context.close()


def test_the_policy_stops_the_network_and_foreign_scripts(browser: Any, report: Path) -> None:
    page, _ = open_page(browser, report)
    assert page.evaluate("fetch('https://example.org/').then(() => 'loaded', () => 'refused')") == "refused"
    ran = page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          return window.ran ?? false;
        }"""
    )
    assert ran is False
    page.context.close()
