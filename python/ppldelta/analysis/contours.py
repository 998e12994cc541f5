"""Outlines of the regions in which a density is at least as high as a level, for pictures that no library draws.

Marching squares (Lorensen and Cline 1987, in two dimensions): an outline crosses an edge of the grid whose ends lie on
both sides of the level, at the place that linear interpolation gives. A ring of low values around the grid closes a
region that reaches the border. Where a cell's corners alternate, the mean of the four decides whether the two high ones
belong together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError

Ring = list[tuple[float, float]]
"""A closed outline; its first point is not repeated."""

_Edge = tuple[int, int, bool]
"""Column and row of the edge's lower left end, and whether it goes up."""


def outlines(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], level: float) -> list[Ring]:
    """The outlines of the region ``z >= level``.

    Args:
        x: shape (n,), ascending.
        y: shape (m,), ascending.
        z: shape (m, n), finite; ``z[j, i]`` at ``(x[i], y[j])``.
        level: in the unit of `z`.

    Returns:
        Closed rings, the high side on the left of each; holes run the other way round, so that both the even-odd and
        the nonzero rule fill the region. Empty if no value is as high.

    Raises:
        PpldeltaError: shapes that do not fit together.
    """
    if z.shape != (len(y), len(x)):
        raise PpldeltaError(f"`z` must have the shape {(len(y), len(x))}, got {z.shape}")
    x, y, z = np.pad(x, 1, "edge"), np.pad(y, 1, "edge"), np.pad(z, 1, constant_values=min(0.0, level) - 1.0)
    high = z >= level
    follows: dict[_Edge, _Edge] = {}
    n_high = high[:-1, :-1].astype(np.uint8) + high[1:, :-1] + high[:-1, 1:] + high[1:, 1:]
    for j, i in np.argwhere((n_high > 0) & (n_high < 4)).tolist():  # an outline passes where corners differ
        for start, end in _segments(high, z, level, i, j):
            follows[start] = end

    def place(edge: _Edge) -> tuple[float, float]:
        i, j, up = edge
        a, b = z[j, i], z[j + up, i + (not up)]
        part = (level - a) / (b - a)
        return float(x[i] + part * (x[i + (not up)] - x[i])), float(y[j] + part * (y[j + up] - y[j]))

    rings = []
    while follows:
        edge, ring = next(iter(follows)), []
        while edge in follows:
            ring.append(place(edge))
            edge = follows.pop(edge)
        rings.append(ring)
    return rings


def _segments(
    high: NDArray[np.bool_], z: NDArray[np.float64], level: float, i: int, j: int
) -> list[tuple[_Edge, _Edge]]:
    """The pieces of outline in the cell whose lower left corner is (i, j), from edge to edge, the high side left."""
    corners = [bool(high[j, i]), bool(high[j, i + 1]), bool(high[j + 1, i + 1]), bool(high[j + 1, i])]
    edges: list[_Edge] = [(i, j, False), (i + 1, j, True), (i, j + 1, False), (i, j, True)]  # counterclockwise
    # going round counterclockwise, an outline with the high side on its left enters where a low corner follows a high
    enters = [k for k in range(4) if corners[k] and not corners[(k + 1) % 4]]
    leaves = [k for k in range(4) if not corners[k] and corners[(k + 1) % 4]]
    if len(enters) < 2:
        return [(edges[a], edges[b]) for a, b in zip(enters, leaves, strict=True)]
    joined = z[j : j + 2, i : i + 2].mean() >= level
    step = 1 if joined else 3  # cut off the low corner that follows, or the high one before
    return [(edges[k], edges[(k + step) % 4]) for k in enters]
