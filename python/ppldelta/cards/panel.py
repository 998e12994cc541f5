"""A panel of a card: two axes with ticks, and where a value lies between them. Names of marks find a free place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ppldelta.cards.drawing import Drawing, Point, Style, fitted
from ppldelta.reporting import labels
from ppldelta.wording import numbers

Ends = tuple[float, float]
"""Least and greatest value of an axis."""

TICK = Style(15, color="muted")
HINT = Style(15, color="muted")
"""Of words inside a panel."""
TITLE = Style(17, "bold")
NAME = Style(18, "bold")
LONGEST_NAME = 215
"""Pixels of a name beside a mark."""


@dataclass(frozen=True)
class Panel:
    """Where a panel stands, in pixels, and which values it shows.

    Attributes:
        left: of the plotting area.
        top: of it.
        width: of it.
        height: of it.
        x: values of the left and right edge.
        y: values of the lower and upper edge.
        log_y: whether `y` runs by powers of ten.
    """

    left: float
    top: float
    width: float
    height: float
    x: Ends
    y: Ends
    log_y: bool = False

    def place(self, x: float, y: float) -> Point:
        """Where a pair of values lies."""
        low, high = map(math.log10, self.y) if self.log_y else self.y
        up = (math.log10(y) if self.log_y else y) - low
        return (
            self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * self.width,
            self.top + self.height - up / (high - low) * self.height,
        )

    @property
    def corners(self) -> tuple[Point, Point]:
        """Upper left and lower right."""
        return (self.left, self.top), (self.left + self.width, self.top + self.height)

    def draw_axes(self, drawing: Drawing, x_ticks: Sequence[float], y_ticks: Sequence[float], x: str, y: str) -> None:
        """Draws grid, axes, ticks and their titles.

        Args:
            drawing: to draw on.
            x_ticks: values with a line and a number.
            y_ticks: likewise.
            x: title below the panel.
            y: title above it, on the left.
        """
        (left, top), (right, bottom) = self.corners
        x_digits, y_digits = _digits(x_ticks), _digits(y_ticks)
        for value in x_ticks:
            at = self.place(value, self.y[0])[0]
            drawing.line((at, top), (at, bottom), "grid")
            drawing.text((at, bottom + 22), numbers.fixed(value, x_digits), TICK, anchor="middle")
        for value in y_ticks:
            at = self.place(self.x[0], value)[1]
            drawing.line((left, at), (right, at), "grid")
            said = f"{value:g}" if self.log_y else numbers.fixed(value, y_digits)
            drawing.text((left - 9, at + 5.5), said, TICK, anchor="end")
        drawing.line((left, top), (left, bottom), "line", width=1.5)
        drawing.line((left, bottom), (right, bottom), "line", width=1.5)
        drawing.text(((left + right) / 2, bottom + 48), fitted(x, TITLE, self.width + 60), TITLE, anchor="middle")
        drawing.text((left - 44, top - 14), fitted(y, TITLE, self.width + 44), TITLE)

    def name_marks(
        self,
        drawing: Drawing,
        points: Sequence[Point],
        names: Sequence[str],
        taken: Sequence[labels.Box] = (),
    ) -> int:
        """Writes names beside marks where they cover nothing, and returns how many found no place.

        Args:
            drawing: to draw on.
            points: of the marks, in pixels.
            names: escaped.
            taken: boxes that names should keep clear of: left, bottom, right, top in pixels, upwards from 0.
        """
        obstacles = [(x - 11, -y - 11, x + 11, -y + 11) for x, y in points] + list(taken)
        (left, top), (right, bottom) = self.corners
        lost = 0
        for (x, y), name in zip(points, names, strict=True):
            text = fitted(name, NAME, LONGEST_NAME)
            wide = NAME.width(text)
            boxes = {where: labels.box(x, -y, wide, where) for where in labels.PLACES}
            frame = (left + 4, -bottom + 2, right + 24, -top - 2)
            costs = {
                where: sum(labels.overlap(each, other) for other in obstacles) + 4 * labels.outside(each, frame)
                for where, each in boxes.items()
            }
            best = min(labels.PLACES, key=costs.__getitem__)
            if costs[best] > labels.CROWDED * wide * labels.LINE:
                lost += 1
                continue
            obstacles.append(boxes[best])
            drawing.text((boxes[best][0], -boxes[best][1] - 3), text, NAME, halo=True)
        return lost


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values from `low` to `high`, at most so many."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (factor * power) <= most)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _digits(values: Sequence[float]) -> int:
    """Digits after the point that all ticks need."""
    return next((n for n in range(6) if all(abs(round(value, n) - value) < 1e-9 for value in values)), 6)
