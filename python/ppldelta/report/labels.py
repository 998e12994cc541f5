"""Where the name of a mark goes on a plane, so that names cover neither marks, crosses nor each other."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""left, bottom, right, top in pixels."""

CHARACTER = 7.0
LINE = 16.0
GAP = 9.0
LONGEST = 30
"""Characters of a name that fit on a plane; the hover shows all of them."""

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


def shorten(name: str) -> str:
    """The name with its middle left out where it is longer than `LONGEST`: heads and tails tell models apart."""
    if len(name) <= LONGEST:
        return name
    tail = LONGEST // 2
    return f"{name[: LONGEST - tail - 1]}…{name[-tail:]}"


def place(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    crosses: Sequence[Box],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    width: float = 430,
    height: float = 430,
) -> list[str]:
    """Picks a plotly `textposition` for each name, greedily, from the most crowded corner outwards.

    Args:
        points: marks, in data units.
        names: one name for each mark.
        crosses: what the marks' intervals cover, in data units (low x, low y, high x, high y).
        x_range: ends of the x axis.
        y_range: ends of the y axis.
        width: of the plotting area in pixels, as far as it is known.
        height: likewise.
    """

    def across(x: float) -> float:
        return (x - x_range[0]) / (x_range[1] - x_range[0]) * width

    def up(y: float) -> float:
        return (y - y_range[0]) / (y_range[1] - y_range[0]) * height

    obstacles: list[Box] = []
    for (x, y), (left, low, right, high) in zip(points, crosses):
        obstacles.append((across(x) - 7, up(y) - 7, across(x) + 7, up(y) + 7))
        obstacles.append((across(left), up(y) - 2, across(right), up(y) + 2))
        obstacles.append((across(x) - 2, up(low), across(x) + 2, up(high)))

    chosen: list[str] = []
    for (x, y), name in zip(points, names):
        boxes = {where: _box(across(x), up(y), len(name) * CHARACTER, where) for where in PLACES}
        costs = {
            where: sum(_overlap(box, other) for other in obstacles) + 3 * _outside(box, width, height)
            for where, box in boxes.items()
        }
        best = min(PLACES, key=costs.__getitem__)
        chosen.append(best)
        obstacles.append(boxes[best])
    return chosen


def _box(x: float, y: float, wide: float, where: str) -> Box:
    vertical, horizontal = where.split()
    left = {"left": x - GAP - wide, "center": x - wide / 2, "right": x + GAP}[horizontal]
    low = {"bottom": y - GAP - LINE, "middle": y - LINE / 2, "top": y + GAP}[vertical]
    return left, low, left + wide, low + LINE


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box, width: float, height: float) -> float:
    inside = _overlap(box, (0.0, 0.0, width, height))
    return (box[2] - box[0]) * (box[3] - box[1]) - inside
