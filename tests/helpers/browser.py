"""A headless Chromium, and pages that are opened in it from a file and watched for trouble.

Without Playwright or a browser the tests are skipped; with PPLDELTA_REQUIRE_BROWSER=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # drawn by the processor


def missing(reason: str) -> None:
    if os.environ.get("PPLDELTA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and PPLDELTA_REQUIRE_BROWSER=1 wants the browser tests", pytrace=False)
    pytest.skip(reason)


@contextmanager
def launched() -> Iterator[Any]:
    """The browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright for Python is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing(f"no browser found (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking", *WEBGL]
        )
        yield browser
        browser.close()


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


@contextmanager
def opened(browser: Any, path: Path, **context: Any) -> Iterator[Any]:
    """The page of a report, closed at the end, when there must have been no trouble."""
    page, trouble = open_page(browser, path, **context)
    yield page
    assert trouble == [], trouble
    page.context.close()
