"""A page of several families in headless Chromium: every figure is drawn, and that of all families fits a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers import synthetic
from helpers.browser import opened
from ppldelta.merging import merge
from ppldelta.result import Result


def test_every_figure_is_drawn_and_the_common_plane_fits_a_screen(browser: Any, tmp_path: Path) -> None:
    one, other = (Result(**synthetic.make(n_documents=6, n_models=2, family=name)) for name in ("one", "other"))
    path = merge([one, other]).report(tmp_path / "report.html")
    with opened(browser, path, viewport={"width": 1440, "height": 900}) as page:
        canvases = page.locator("#models .canvas, #documents .canvas")
        assert canvases.count() >= 5
        for canvas in canvases.all():
            canvas.scroll_into_view_if_needed()
            canvas.locator(".main-svg").first.wait_for()
            assert "cannot be drawn" not in canvas.inner_text()
        common = page.locator("#models .canvas").first
        names = common.evaluate(
            "(canvas) => [...new Set(canvas.data.map((trace) => trace.meta?.family).filter(Boolean))]"
        )
        assert names == ["one", "other"]
        assert common.bounding_box()["height"] < 900
        kinds = page.locator("#kinds-list .kind")
        assert kinds.count() > 0, "before anything is clicked"
        deltas = [each.replace("\N{MINUS SIGN}", "-") for each in kinds.locator(".kind-delta").all_inner_texts()]
        clear = [float(each.split()[0]) for each in deltas if "too few" not in each]
        assert len(clear) > 2 and clear == sorted(clear, reverse=True)
        assert "`" not in page.locator("#kinds").inner_text()
        page.locator("[data-set=kinds][data-value=share_loss]").click()
        page.wait_for_function("() => document.querySelector('.kinds-head').innerText.includes('part of all loss')")
        shares = [float(each.split()[0]) for each in kinds.locator(".kind-shares small").all_inner_texts()]
        assert shares == sorted(shares, reverse=True)
        colors = page.locator("#models .chip i").evaluate_all(
            "(all) => all.map((e) => getComputedStyle(e).backgroundColor)"
        )
        assert len(set(colors)) == 4, "a model keeps its colour through all families, and no other has it"
        rows = page.locator("table[data-view=summary] th.model i").evaluate_all(
            "(all) => all.map((e) => getComputedStyle(e).backgroundColor)"
        )
        assert rows == colors
        on_plane = common.evaluate(
            "(canvas) => canvas.data.filter((trace) => trace.meta?.model).map((trace) => trace.marker.color)"
        )
        assert len(set(on_plane)) == 4
