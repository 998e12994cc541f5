"""The gain/loss plane of a card: density contours of the documents, marks of the models, gain = loss at 45 degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ppldelta.analysis.density import Density
from ppldelta.cards.content import CardModel, Content
from ppldelta.cards.drawing import Drawing, Point, shown
from ppldelta.cards.panel import HINT, Panel, ticks
from ppldelta.reporting.rows import ends, number
from ppldelta.reporting.units import COLUMNS, UNITS
from ppldelta.wording import numbers

MOST_DOCUMENTS = 600
"""Marks of documents beyond which contours alone say where they are."""
BELOW_ZERO = 0.03


def draw(drawing: Drawing, content: Content, at: Point, side: float) -> str:
    """Draws the plane, and says what its contours are; nothing if it has none.

    Args:
        drawing: to draw on.
        content: of the card.
        at: upper left corner of the plotting area.
        side: of it, which is square, with equal axes.
    """
    densities = [content.density(model) for model in content.models]
    reach = _reach(content, densities)
    ends_of = (-BELOW_ZERO * reach, reach)
    panel = Panel(*at, side, side, ends_of, ends_of)
    corner = panel.corners[1]
    if any(not model.quant for model in content.models):
        rising = [panel.place(0, 0), panel.place(reach, reach), panel.place(reach, 0)]
        drawing.area([rising], "better", fill=1)
    marks = ticks(0, reach)
    unit = UNITS[content.unit]
    panel.draw_axes(drawing, marks, marks, f"gain, {unit} →", f"↑ loss, {unit}")
    drawing.line(panel.place(0, 0), panel.place(reach, reach), "muted", width=1.2, dash="5 4")
    drawing.clipped(*panel.corners)
    _noise_floor(drawing, content, panel)
    _documents(drawing, content, panel, densities)
    drawing.unclipped()
    points = [_model(drawing, content, panel, model) for model in content.models]
    names, boxes = [], []
    for model, point in zip(content.models, points, strict=True):
        if point is not None:
            names.append(shown(model.name))
            boxes.append(point)
    steps = np.linspace(0, reach, 90).tolist()
    taken = [(x - 3, -y - 3, x + 3, -y + 3) for x, y in (panel.place(each, each) for each in steps)]
    far = _free_on_diagonal(boxes, panel, reach)
    x, y = panel.place(far, far)
    drawing.text((x - 6, y - 8), "gain = loss", HINT, anchor="middle", turn=-45, halo=True)
    taken += [(x - 42 + 8 * i, -y - 40 + 8 * i, x - 26 + 8 * i, -y - 20 + 8 * i) for i in range(9)]
    if any(not model.quant for model in content.models):
        drawing.text((corner[0] - 10, panel.place(0, 0)[1] - 12), "better ↘", HINT, anchor="end")
        taken.append((corner[0] - 80, -corner[1], corner[0], -corner[1] + 36))
    if (floor := _floor(content)) is not None:
        x, y = panel.place(0, floor[1])
        wide = drawing.text((x + 4, y - 6), "noise floor", HINT, halo=True)
        taken.append((x, -y, x + wide + 8, -y + 22))
    if len(content.models) > 1:
        panel.name_marks(drawing, boxes, names, taken)
    if all(density is None for density in densities):
        return ""
    return f"contours hold {'half' if _crowded(content) else 'half and nine tenths'} of the documents"


def _crowded(content: Content) -> bool:
    """Whether there are so many models that contours of all documents, and their marks, would hide each other."""
    return len(content.models) > 4


def _reach(content: Content, densities: Sequence[Density | None]) -> float:
    """How far both axes go, to show all models with their intervals and the wider contours."""
    found: list[float | None] = [part for density in densities if density is not None for part in density.reach]
    for model in content.models:
        for column in COLUMNS[content.unit]:
            found += [number(model.overall, column), ends(model.overall, column)[1]]
    return 1.06 * (max((value for value in found if numbers.known(value)), default=0.0) or 1.0)


def _floor(content: Content) -> tuple[float, float] | None:
    """Gain and loss of one family's noise floor."""
    floor = content.families[0].noise_floor if len(content.families) == 1 else None
    if floor is None or content.spans:
        return floor.bits_per_byte if floor else None
    return floor.gain, floor.loss


def _noise_floor(drawing: Drawing, content: Content, panel: Panel) -> None:
    """The region in which a model is equal to the reference."""
    if (floor := _floor(content)) is None:
        return
    drawing.box(panel.place(0, 0), panel.place(*floor), "noise", edge="muted", dash="3 3")


def _documents(drawing: Drawing, content: Content, panel: Panel, densities: Sequence[Density | None]) -> None:
    """Contours that hold 90 and 50 % of a model's documents, and the documents where they are few."""
    for model, density in zip(content.models, densities, strict=True):
        if density is None:
            continue
        for level, fill in sorted(zip(density.levels, (0.16, 0.09), strict=True)):
            if _crowded(content) and level < max(density.levels):
                continue
            rings = [[panel.place(*point) for point in ring] for ring in density.outlines[level]]
            drawing.area(rings, model.color, fill=fill, stroke=1.5)
    if _crowded(content) or content.documents.height > MOST_DOCUMENTS:
        return
    gain, loss = COLUMNS[content.unit]
    for model in content.models:
        mine = content.documents.filter(family=model.family.name, model=model.facts.label)
        for x, y in mine.select(gain, loss).iter_rows():
            if numbers.known(x) and numbers.known(y):
                drawing.mark(panel.place(x, y), model.color, size=2.6, opacity=0.6)


def _model(drawing: Drawing, content: Content, panel: Panel, model: CardModel) -> Point | None:
    """The mark of a model with its intervals; None if its numbers are not finite."""
    gain, loss = COLUMNS[content.unit]
    x, y = number(model.overall, gain), number(model.overall, loss)
    if not (numbers.known(x) and numbers.known(y)):
        return None
    low, high = ends(model.overall, gain)
    if numbers.known(low) and numbers.known(high):
        drawing.line(panel.place(low, y), panel.place(high, y), model.color, width=3)
    low, high = ends(model.overall, loss)
    if numbers.known(low) and numbers.known(high):
        drawing.line(panel.place(x, low), panel.place(x, high), model.color, width=3)
    point = panel.place(x, y)
    drawing.mark(point, model.color, shape="square" if model.quant else "circle", size=9, rim=model.rim)
    return point


def _free_on_diagonal(points: Sequence[Point], panel: Panel, reach: float) -> float:
    """Where on the diagonal its name stays farthest from all marks."""

    def room(share: float) -> float:
        x, y = panel.place(share * reach, share * reach)
        return min(min((math.dist((x, y), point) for point in points), default=math.inf), 0.35 * panel.width)

    return reach * max((0.84, 0.7, 0.55, 0.4, 0.25), key=room)
