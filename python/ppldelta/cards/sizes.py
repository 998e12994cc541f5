"""Damage and KL divergence of quants against their size: what each byte buys. Of several families also how well each
model and each reference predicts the text, which damage does not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ppldelta.analysis.front import pareto_front
from ppldelta.cards.content import CardModel, Content
from ppldelta.cards.drawing import Drawing, Point, shown
from ppldelta.cards.panel import HINT, Panel, ticks
from ppldelta.reporting.plane import decimal_ticks
from ppldelta.reporting.rows import ends, number
from ppldelta.reporting.units import DAMAGE, SHORT_UNITS, UNITS, damage_of
from ppldelta.wording import numbers

TITLES = {"damage": "damage (gain + loss)", "kld": "KL divergence", "bpb_cmp": "of text (lower is better)"}
MARGIN = 0.1
"""How far an axis reaches beyond its values, as a part of their range."""


@dataclass(frozen=True)
class _Reference:
    """What a panel shows of a reference: its name and size, its bits per byte, and their interval."""

    name: str
    size: int
    bpb: float = 0.0
    ends: tuple[float | None, float | None] = (None, None)


def columns(content: Content) -> list[str]:
    """What is drawn: damage, and KL divergence if any model has one; of families that can be compared how well all
    models predict the text, and damage."""
    if len(content.reference_pairs):
        return ["bpb_cmp", "damage"]
    known = any(numbers.known(number(model.overall, "kld")) for model in content.models)
    return ["damage", "kld"] if known else ["damage"]


def draw(drawing: Drawing, content: Content, column: str, at: Point, size: tuple[float, float]) -> None:
    """Draws one panel.

    Args:
        drawing: to draw on.
        content: of the card.
        column: one of `columns`.
        at: upper left corner of the plotting area.
        size: its width and height.
    """
    placed = [
        (model, x, y)
        for model in content.models
        for x, y in [(number(model.overall, "size_bytes"), _value(content, model, column))]
        if numbers.known(x) and numbers.known(y) and (column != "kld" or y > 0)
    ]
    if not placed:
        return
    references = _references(content, column)
    sizes = [*(x for _, x, _ in placed), *(each.size for each in references)]
    scale, unit_of_size = (1e9, "GB") if max(sizes) >= 1e9 else (1e6, "MB")
    low, high = min(sizes) / scale, max(sizes) / scale
    margin = 0.12 * (high - low) or 0.1 * high
    x_ends = (max(0.0, low - margin), high + margin)
    values = [y for _, _, y in placed]
    logarithmic = column == "kld" and max(values) > 8 * min(values)
    if logarithmic:
        references = []
    intervals = [*(_ends(content, model, column) for model, _, _ in placed), *(each.ends for each in references)]
    values += [each.bpb for each in references if column == "bpb_cmp"]
    values += [end for interval in intervals for end in interval if numbers.known(end) and end > 0]
    bottom, top = min(values), max(values)
    if logarithmic:
        y_ends = (bottom / 1.35, top * 1.6)
        span = math.log10(y_ends[1] / y_ends[0])
        decades = decimal_ticks(math.log10(y_ends[0]), math.log10(y_ends[1]), span)
        marks = [value for value in decades if y_ends[0] <= value <= y_ends[1]]
    else:
        bottom = bottom if column == "bpb_cmp" else 0.0
        margin = MARGIN * (top - bottom) or MARGIN
        y_ends = (max(0.0, bottom - margin), top + margin)
        marks = ticks(*y_ends, most=max(2, min(5, round(size[1] / 34))))
    panel = Panel(*at, *size, x_ends, y_ends, logarithmic)
    unit = SHORT_UNITS[content.unit if column == "damage" else "nats"]
    title = f"↑ {TITLES[column]}, {unit}" + (", log scale" if logarithmic else "")
    if column == "bpb_cmp":
        title = f"↑ {UNITS['bpb']} {TITLES[column]}"
    panel.draw_axes(drawing, ticks(*x_ends), marks, f"size of the tensors, {unit_of_size} →", title)
    _noise_floor(drawing, content, panel, column)
    fronts = [placed]
    if column != "bpb_cmp":  # of damage, which is from each family's own reference
        fronts = [[each for each in placed if each[0].family.name == family.name] for family in content.families]
    way = [place for some in fronts for place in _front(drawing, panel, some, scale)]
    for each in references:
        _whisker(drawing, panel, each.size / scale, each.ends, "ink")
        drawing.mark(panel.place(each.size / scale, each.bpb), "ink", shape="ring", size=7.5)
    points = [_mark(drawing, panel, model, (x / scale, y), _ends(content, model, column)) for model, x, y in placed]
    names = [shown(model.mark) for model, _, _ in placed]
    points += [panel.place(each.size / scale, each.bpb) for each in references]
    names += ["reference"] if len(references) == 1 else [each.name for each in references]
    panel.name_marks(drawing, points, names, [(x - 3, -y - 3, x + 3, -y + 3) for x, y in way])


def _references(content: Content, column: str) -> list[_Reference]:
    """The references whose size is known.

    On the panel of bits per byte each stands at its own value; on the others at 0, one for each size.
    """
    if column != "bpb_cmp":
        names: dict[int, list[str]] = {}
        for family in content.families:
            if family.ref.size_bytes:
                names.setdefault(family.ref.size_bytes, []).append(shown(content.family_names[family.name]))
        return [_Reference(", ".join(those), size) for size, those in names.items()]
    found = []
    for family in content.families:
        row = next(model.overall for model in content.models if model.family.name == family.name)
        bpb = number(row, "bpb_ref")
        if family.ref.size_bytes and numbers.known(bpb):
            found.append(
                _Reference(shown(content.family_names[family.name]), family.ref.size_bytes, bpb, ends(row, "bpb_ref"))
            )
    return found


def _noise_floor(drawing: Drawing, content: Content, panel: Panel, column: str) -> None:
    """The band in which a quant is equal to the reference."""
    floor = content.families[0].noise_floor
    if floor is None or len(content.families) > 1:
        return
    of_both = (floor.gain, floor.loss) if content.unit == "nats" else floor.bits_per_byte
    top = floor.kld if column == "kld" else None if of_both is None else sum(of_both)
    if top is None or not panel.y[0] < top < panel.y[1]:
        return
    drawing.box(panel.place(panel.x[0], panel.y[0]), panel.place(panel.x[1], top), "noise")
    x, y = panel.place(panel.x[0], top)
    drawing.text((x + 8, y + 16 if panel.place(0, panel.y[0])[1] - y > 20 else y - 6), "noise floor", HINT)


def _front(
    drawing: Drawing, panel: Panel, placed: Sequence[tuple[CardModel, float, float]], scale: float
) -> list[Point]:
    """Draws a stepped line through the models that no smaller one equals, and returns places along it."""
    on_front = pareto_front([x for _, x, _ in placed], [y for _, _, y in placed]).tolist()
    points = sorted((x / scale, y) for (_, x, y), on in zip(placed, on_front, strict=True) if on)
    corners = [(x, y) for (_, y), (x, _) in pairwise(points)]  # right as far as the next one, then down
    steps: list[Point] = [panel.place(*point) for point in sorted([*points, *corners], key=lambda at: (at[0], -at[1]))]
    if len(points) > 1:
        drawing.path(steps, "muted", width=1.4)
    return [
        (a[0] + part / 8 * (b[0] - a[0]), a[1] + part / 8 * (b[1] - a[1]))
        for a, b in pairwise(steps)
        for part in range(1, 9)
    ]


def _value(content: Content, model: CardModel, column: str) -> float | None:
    return damage_of(model.overall, content.unit) if column == "damage" else number(model.overall, column)


def _ends(content: Content, model: CardModel, column: str) -> tuple[float | None, float | None]:
    return ends(model.overall, DAMAGE[content.unit] if column == "damage" else column)


def _mark(
    drawing: Drawing, panel: Panel, model: CardModel, at: Point, interval: tuple[float | None, float | None]
) -> Point:
    _whisker(drawing, panel, at[0], interval, model.color)
    point = panel.place(*at)
    drawing.mark(point, model.color, shape="square", size=9, rim=model.rim)
    return point


def _whisker(drawing: Drawing, panel: Panel, x: float, interval: tuple[float | None, float | None], color: str) -> None:
    low, high = interval
    if numbers.known(low) and numbers.known(high) and (low > 0 or not panel.log_y):
        drawing.line(panel.place(x, low), panel.place(x, high), color, width=3)
