"""The pages in headless Chromium for readers of every kind: axe-core and the contrast of each text, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ppldelta
from helpers import synthetic
from helpers.access import draw_all, too_faint, violations
from helpers.browser import opened
from ppldelta import demo
from ppldelta.merging import merge
from ppldelta.result import Result

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def plain(path: Path) -> Path:
    return Result(**synthetic.make(n_documents=9, n_models=3, n_tokens=160)).report(path)


def diverging(path: Path) -> Path:
    return Result(**synthetic.with_top(synthetic.make(n_documents=6, n_models=2, n_tokens=120, kld=True))).report(path)


def families(path: Path) -> Path:
    one, other = (Result(**synthetic.make(n_documents=6, n_models=2, n_tokens=80, family=name)) for name in "ab")
    return merge([one, other]).report(path)


def prompts(path: Path) -> Path:
    made = synthetic.make(n_documents=12, n_models=2, n_tokens=80)
    rank = pl.col("document").rank("dense") - 1
    labels = pl.when(rank % 2 == 0).then(pl.lit("comply")).otherwise(pl.lit("refuse"))
    grouped = made["documents"].with_columns(group=rank.floordiv(2).cast(pl.String), label=labels)
    return Result(**{**made, "documents": grouped}).report(path)


def look(path: Path) -> Path:
    text = "def add(a, b):\n    return a + b\n"
    return ppldelta.look(demo.REFERENCE, text, {"other": demo.COMPARISONS[2]}, columns=12, progress=False).html(path)


@pytest.mark.parametrize("make", [plain, diverging, families, prompts, look], ids=lambda make: make.__name__)
def test_axe_finds_nothing_and_texts_stand_out(browser: Any, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with opened(browser, make(tmp_path / "page.html"), viewport=WIDE) as page:
        if make is not look:
            page.evaluate("document.querySelectorAll('.kind').forEach((kind) => { kind.open = true; })")
            page.locator("[data-jump=gain]").click()
        for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            draw_all(page)
            assert size is PHONE or violations(page) == []
            assert too_faint(page) == []


def test_a_faint_text_and_a_nameless_button_are_found(browser: Any, tmp_path: Path) -> None:
    (path := tmp_path / "page.html").write_text(
        "<!doctype html><html lang=en data-drawn><title>t</title><main><h1>t</h1><button></button>"
        "<p style='color:#777;background:#888'>faint</p><svg><text y=20 fill=#ccc>faint</text></svg>"
    )
    with opened(browser, path) as page:
        assert any(each.startswith("button-name") for each in violations(page))
        assert len(too_faint(page)) == 2
