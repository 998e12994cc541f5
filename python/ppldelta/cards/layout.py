"""A card of either shape: verdict, picture, table, source. All places follow from how many lines the verdict takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ppldelta.cards import paragraph, plane, sizes, table
from ppldelta.cards.content import Content
from ppldelta.cards.drawing import Drawing, Page, Style, fitted
from ppldelta.cards.paragraph import Word
from ppldelta.reporting.rows import ends
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.units import COLUMNS, DAMAGE
from ppldelta.wording import numbers

Format = Literal["wide", "square", "narrow"]

SIZES: dict[Format, tuple[int, int]] = {"wide": (1200, 675), "square": (1080, 1080), "narrow": (480, 980)}
"""Pixels of each shape; the narrow one is for pages on a phone."""

FILES: tuple[Format, ...] = ("wide", "square")
"""The shapes of pictures that stand alone."""

EDGES: dict[Format, int] = {"wide": 44, "square": 44, "narrow": 22}
LEADING = 25
"""Pixels between the lines of a legend."""
VERDICTS: dict[Format, tuple[tuple[int, int], ...]] = {
    "wide": ((34, 2), (30, 2), (26, 3), (23, 3), (21, 4), (19, 5)),
    "square": ((38, 3), (34, 3), (30, 4), (26, 5), (23, 6)),
    "narrow": ((27, 5), (24, 6), (21, 7), (19, 9), (17, 12)),
}
"""Sizes of the verdict's type, and how many lines each may take; the first that fits is taken."""
SOURCE = Style(17, color="muted")
SMALL = Style(15, color="muted")
NARROW = Style(14.5, color="muted")
FEET: dict[Format, int] = {"wide": 84, "square": 84, "narrow": 152}
"""Pixels below the pictures."""


@dataclass(frozen=True)
class _Frame:
    """What is left between verdict and source, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def card(content: Content, shape: Format = "wide", *, dark: bool = False, page: Page | None = None) -> str:
    """A card as SVG.

    Args:
        content: what it says.
        shape: of it.
        dark: whether it stands on a dark ground.
        page: as `Drawing.page`.
    """
    drawing = drawn(content, shape, Drawing(*SIZES[shape], dark, page))
    return drawing.svg(f"ppldelta: compared with {content.reference}", f"{content.said} {content.source}")


def drawn(content: Content, shape: Format, drawing: Drawing) -> Drawing:
    """Draws a card.

    Args:
        content: what it says.
        shape: of it.
        drawing: to draw on, of the shape's size; it is returned.
    """
    edge = EDGES[shape]
    style, broken = _verdict(content, shape, drawing.width - 2 * edge)
    for i, model in enumerate(content.models):
        part = drawing.width / len(content.models)
        drawing.box((i * part, 0), ((i + 1) * part, 8), model.color)
    top = edge + 6 + style.size * 0.73
    paragraph.write(drawing, (edge, top), broken, style)
    below = top + (len(broken) - 1) * style.size * paragraph.LEADING + 26
    frame = _Frame(edge, below, drawing.width - edge, drawing.height - FEET[shape])
    notes = _quants(drawing, content, frame, shape) if content.only_quants else _plane(drawing, content, frame, shape)
    (_narrow_source if shape == "narrow" else _source)(drawing, content, notes, edge)
    return drawing


def _verdict(content: Content, shape: Format, width: float) -> tuple[Style, list[list[Word]]]:
    for size, most in VERDICTS[shape]:
        style = Style(size)
        broken = paragraph.lines(content.headline, style, width, content.colors)
        if len(broken) <= most:
            return style, broken
    size, most = VERDICTS[shape][-1]
    last = broken[most - 1]
    return style, [*broken[: most - 1], [*last, Word((("…", replace(style, color="muted")),))]]


def _plane(drawing: Drawing, content: Content, frame: _Frame, shape: Format) -> list[str]:
    """Plane and table, side by side or one below the other."""
    several = len(content.models) > 1
    above, below, axis = 36, 56, 56
    figures = list(table.figures(content, content.models[0]))
    if shape == "narrow":
        figures = figures[2:]  # the plane has gain and loss
    if shape == "wide":
        side = min(frame.height - above - below, 440)
        contours = plane.draw(drawing, content, (frame.left + axis, frame.top + above), side)
        left = frame.left + axis + side + 62
        place, size = (left, frame.top + 22), (frame.right - left, frame.height - 30)
    else:
        needed = (
            table.height(content, min(frame.height * 0.47, 30 + 62 * len(content.models)))
            if several
            else min((46.0 if shape == "narrow" else 56.0) * len(figures), 300)
        )
        side = min(frame.height - above - below - needed - 26, 620, frame.width - axis - 8)
        left = (drawing.width - side) / 2 + axis / 2
        contours = plane.draw(drawing, content, (left, frame.top + above), side)
        place, size = (frame.left, frame.top + above + side + below + 26), (frame.width, needed)
    if several:
        table.draw(drawing, content, place, size)
    else:
        table.draw_figures(drawing, figures, place, size)
    return [contours] if contours else []


def _quants(drawing: Drawing, content: Content, frame: _Frame, shape: Format) -> list[str]:
    """Damage against size, and KL divergence against size beside or below it; of one quant its figures."""
    columns = sizes.columns(content)
    above, below, axis = 44, 56, 52
    if len(content.models) == 1:
        return _plane(drawing, content, frame, shape)
    gap = 34
    written = table.legend(content, frame.width)
    foot = LEADING * len(written) + 4
    if shape == "wide":
        width = (frame.width - (len(columns) - 1) * gap) / len(columns) - axis
        size = (width, frame.height - above - below - foot)
        places = [(frame.left + axis + i * (width + axis + gap), frame.top + above) for i in range(len(columns))]
    else:
        height = (frame.height - foot) / len(columns) - above - below
        size = (frame.width - axis, height)
        places = [(frame.left + axis, frame.top + above + i * (height + above + below)) for i in range(len(columns))]
    for column, place in zip(columns, places, strict=True):
        sizes.draw(drawing, content, column, place, size)
    first = frame.bottom + 2 - LEADING * (len(written) - 1)
    table.draw_legend(drawing, written, (frame.left, first), LEADING)
    return []


def _source(drawing: Drawing, content: Content, notes: Sequence[str], edge: float) -> None:
    """Two lines at the foot: what was compared on what, and what the marks mean."""
    y = drawing.height - 44
    drawing.line((edge, y - 26), (drawing.width - edge, y - 26), "line")
    most = drawing.width - 2 * edge
    reference = fitted(content.references, SOURCE, most * 0.45)
    wide = drawing.text((edge, y), reference, replace(SOURCE, weight="bold", color="ink"))
    wanted = [(text, replace(SOURCE, size=n)) for text in (content.corpus, content.brief_corpus) for n in (17, 16, 15)]
    fits = (each for each in wanted if each[1].width(f" · {each[0]}") <= most - wide)
    corpus, style = next(fits, wanted[-1])
    drawing.text((edge + wide, y), fitted(f" · {corpus}", style, most - wide), style)
    drawing.text((edge, y + 22), _meaning(content, notes), SMALL)
    drawing.text((drawing.width - edge, y + 22), content.made, SMALL, anchor="end")


def _narrow_source(drawing: Drawing, content: Content, notes: Sequence[str], edge: float) -> None:
    """The same in as many lines as it takes."""
    y = drawing.height - FEET["narrow"] + 18.0
    drawing.line((edge, y), (drawing.width - edge, y), "line")
    most = drawing.width - 2 * edge
    bold = replace(NARROW, weight="bold", color="ink")
    drawing.text((edge, y + 23), fitted(content.references, bold, most), bold)
    for text, n_lines in ((content.corpus, 2), (_meaning(content, notes), 2), (content.made, 1)):
        broken = paragraph.lines([Piece(text)], NARROW, most, {})[:n_lines]
        y += NARROW.size * paragraph.LEADING
        paragraph.write(drawing, (edge, y + 23), broken, NARROW)
        y += NARROW.size * paragraph.LEADING * (len(broken) - 1)


def _meaning(content: Content, notes: Sequence[str]) -> str:
    """What bars, contours and shapes of marks mean."""
    shapes = {model.quant for model in content.models}
    key = "squares are quants" if shapes == {True, False} else ""
    return "; ".join(filter(None, ["bars are 95 % intervals" if _has_bars(content) else "", *notes, key]))


def _has_bars(content: Content) -> bool:
    """Whether a mark of the pictures has an interval."""
    if content.only_quants:
        drawn = [DAMAGE[content.unit] if each == "damage" else each for each in sizes.columns(content)]
    else:
        drawn = [COLUMNS[content.unit][0]]
    return any(numbers.known(ends(model.overall, each)[0]) for model in content.models for each in drawn)
