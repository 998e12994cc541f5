"""A card as the first screen of a page: all shapes as parts of it, in its colours."""

from __future__ import annotations

from ppldelta.cards.content import Content
from ppldelta.cards.drawing import Drawing, Page
from ppldelta.cards.layout import SIZES, drawn
from ppldelta.reporting.cover import Cover
from ppldelta.reporting.theme import variable


def cover(content: Content) -> Cover:
    """What a page begins with."""
    pages = {shape: Page(lambda color: f"var({variable(color)})", shape, "letter-", selectable=True) for shape in SIZES}
    drawings = {shape: drawn(content, shape, Drawing(*SIZES[shape], page=page)) for shape, page in pages.items()}
    letters = {key: path for drawing in drawings.values() for key, path in drawing.outlines.items()}
    return Cover(
        verdict=content.headline,
        source=content.source,
        pictures={shape: drawing.part() for shape, drawing in drawings.items()},
        outlines="".join(path for _, path in sorted(letters.items())),
    )
