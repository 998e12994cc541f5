"""Writes a card: pictures in both shapes and on both grounds, and the same numbers for pages and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import resvg_py

from ppldelta.cards.content import Content
from ppldelta.cards.hub import eval_results
from ppldelta.cards.layout import FILES, card
from ppldelta.cards.markdown import markdown
from ppldelta.cards.records import results
from ppldelta.saved.files import write_whole


def write_card(content: Content, folder: Path) -> list[Path]:
    """Writes the files of a card into a folder, which is made if it is not there, and returns their paths.

    Args:
        content: of the card.
        folder: where to.

    Raises:
        ResultError: a file cannot be written.
    """
    paths = []
    for name, data in _files(content):
        write_whole(folder / name, data)
        paths.append(folder / name)
    return paths


def _files(content: Content) -> Iterator[tuple[str, bytes]]:
    for shape in FILES:
        for dark in (False, True):
            name = "card" + ("" if shape == "wide" else f"-{shape}") + ("-dark" if dark else "")
            svg = card(content, shape, dark=dark)
            yield f"{name}.svg", svg.encode()
            yield f"{name}.png", rasterised(svg)
    yield "card.md", markdown(content).encode()
    yield "results.json", results(content).encode()
    yield ".eval_results/ppldelta.yaml", eval_results(content).encode()


def rasterised(svg: str) -> bytes:
    """A picture as PNG, in its own size, without the fonts of the machine: all text is outlines."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))
