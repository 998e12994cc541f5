"""axe-core in a page, and the contrast of every text, which axe leaves open where it cannot see what lies behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CONTRAST = Path(__file__).with_name("contrast.js").read_text()
SETTLED = Path(__file__).with_name("settled.js").read_text()
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


def violations(page: Any) -> list[str]:
    """What axe-core finds, of whatever impact."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options=OPTIONS).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:160]}"
        for rule in found
        for node in rule["nodes"]
    ]


def draw_all(page: Any) -> None:
    """Scrolls through the page, since a figure is drawn in the colours of the moment when it comes into view."""
    for canvas in page.locator(".canvas").all():
        if canvas.is_visible():
            canvas.evaluate("(each) => each.scrollIntoView({ behavior: 'instant', block: 'center' })")
            canvas.locator(".main-svg").first.wait_for()
            page.evaluate(SETTLED)


def too_faint(page: Any) -> list[str]:
    """Texts whose contrast with what lies behind them is below 4.5:1, or 3:1 where they are large."""
    return list(page.evaluate(CONTRAST))
