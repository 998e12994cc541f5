"""Where the name of a mark goes on a plane, so that names cover neither marks, crosses nor each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

Box = tuple[float, float, float, float]
"""left, bottom, right, top in pixels."""

CHARACTER = 7.0
LINE = 16.0
GAP = 9.0
CROWDED = 0.12
"""Part of a name's area that may lie over something else."""

PLACES = (
    "top right",
    "bottom right",
    "middle right",
    "top left",
    "bottom left",
    "middle left",
    "top center",
    "bottom center",
)


def apart(values: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Spreads rising values out between `low` and `high`: each keeps a distance of `least` from the one before it."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + least) if placed else max(value, low))
    top = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], top)
        top = placed[i] - least
    return placed


def place(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    crosses: Sequence[Box],
    reach: tuple[float, float],
    *,
    below_zero: float,
    width: float = 430,
    height: float = 430,
    diagonal: bool = True,
) -> list[str | None]:
    """Picks a plotly `textposition` for each name, one after the other: the one in which it covers least.

    A name that would hide too much in every position gets None; the legend and the hover still show it.

    Args:
        points: marks, in data units.
        names: one name for each mark.
        crosses: what the marks' intervals cover, in data units (low x, low y, high x, high y).
        reach: ends of the axes, in data units.
        below_zero: share of `reach` by which each axis starts below 0.
        width: of the plotting area in pixels, as far as it is known.
        height: likewise.
        diagonal: whether one is drawn, of which names keep clear.
    """

    def across(x: float) -> float:
        return (x / reach[0] + below_zero) / (1 + below_zero) * width

    def up(y: float) -> float:
        return (y / reach[1] + below_zero) / (1 + below_zero) * height

    steps = [i / 80 * min(reach) for i in range(81)] if diagonal else []
    obstacles = [(across(d) - 2, up(d) - 2, across(d) + 2, up(d) + 2) for d in steps]  # the diagonal
    if diagonal:  # and its own name, which is turned
        middle = along_diagonal(points, reach) * min(reach)
        obstacles.append((across(middle) - 34, up(middle) - 20, across(middle) + 20, up(middle) + 34))
    for (x, y), (left, low, right, high) in zip(points, crosses, strict=True):
        obstacles.append((across(x) - 7, up(y) - 7, across(x) + 7, up(y) + 7))
        obstacles.append((across(left), up(y) - 2, across(right), up(y) + 2))
        obstacles.append((across(x) - 2, up(low), across(x) + 2, up(high)))

    chosen: list[str | None] = []
    written: list[Box] = []
    for (x, y), name in zip(points, names, strict=True):
        boxes = {where: box(across(x), up(y), len(name) * CHARACTER, where) for where in PLACES}
        hidden = _overlaps(list(boxes.values()), obstacles)
        costs = {
            where: sum(hidden[i])
            + 1e6 * any(overlap(each, other) > 0 for other in written)  # a name over a name can read neither
            + 3 * outside(each, (0.0, 0.0, width, height))
            for i, (where, each) in enumerate(boxes.items())
        }
        best = min(PLACES, key=costs.__getitem__)
        if costs[best] > CROWDED * len(name) * CHARACTER * LINE:
            chosen.append(None)
            continue
        chosen.append(best)
        obstacles.append(boxes[best])
        written.append(boxes[best])
    return chosen


def along_diagonal(points: Sequence[tuple[float, float]], reach: tuple[float, float]) -> float:
    """Where on the diagonal (as a share of its length) its own name stays farthest from all marks."""
    end = min(reach)

    def room(share: float) -> float:
        return min(
            (((x - share * end) / reach[0]) ** 2 + ((y - share * end) / reach[1]) ** 2 for x, y in points), default=1.0
        )

    return max((0.8, 0.65, 0.5, 0.35, 0.2), key=lambda share: min(room(share), 0.04))


def box(x: float, y: float, wide: float, where: str) -> Box:
    """What a name of a width takes beside a mark at (x, y), upwards positive."""
    vertical, horizontal = where.split()
    left = {"left": x - GAP - wide, "center": x - wide / 2, "right": x + GAP}[horizontal]
    low = {"bottom": y - GAP - LINE, "middle": y - LINE / 2, "top": y + GAP}[vertical]
    return left, low, left + wide, low + LINE


def overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _overlaps(boxes: Sequence[Box], others: Sequence[Box]) -> list[list[float]]:
    """`overlap` of each of some boxes with each of others."""
    left, low, right, high = np.array(boxes).T[:, :, None]
    left_, low_, right_, high_ = np.array(others).T
    wide = np.minimum(right, right_) - np.maximum(left, left_)
    tall = np.minimum(high, high_) - np.maximum(low, low_)
    areas: list[list[float]] = np.where((wide > 0) & (tall > 0), wide * tall, 0.0).tolist()
    return areas


def outside(box: Box, frame: Box) -> float:
    """The part of a box's area that lies outside another."""
    return (box[2] - box[0]) * (box[3] - box[1]) - overlap(box, frame)


def unique(frame: pl.DataFrame, column: str) -> list[str]:
    """The values of a column, each once, in the order in which the frame first has them."""
    return frame[column].unique(maintain_order=True).to_list()
