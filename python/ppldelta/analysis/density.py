"""Where the documents of a model lie in the gain/loss plane: a smooth density for contours.

Gain and loss are never negative, crowd near 0 and have long tails, so the estimate is made for their square roots
(which evens out the tail and, unlike a logarithm, keeps 0) and drawn on axes in the original unit. Kernels are
reflected at 0, so that no density leaks to negative values. References: Scott, *Multivariate Density Estimation*
(1992), section 6.3; Hyndman, Computing and graphing highest density regions (1996).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppldelta.analysis.contours import Ring, outlines
from ppldelta.errors import PpldeltaError

_DISTINCT_MIN = 5

_PART = 64
"""Points at a time. Their kernels stay in the cache, and OpenBLAS computes a product of this size on one thread; on a
busy machine its threads waited for each other longer than they computed."""


@dataclass(frozen=True, eq=False)
class Density:
    """A density on a grid, and the levels at which its contours are drawn.

    Attributes:
        x: float64, shape (n_grid,); grid in the unit of the data, ascending, evenly spaced in its square root.
        y: the same for the other axis.
        z: float64, shape (n_grid, n_grid), ``z[j, i]`` at ``(x[i], y[j])`` as plotly wants it; density of
            ``(sqrt(x), sqrt(y))``, which integrates to 1 over the quadrant of the square roots.
        coverage: part of the points inside each contour, as asked for.
        levels: value of `z` on each contour, in the order of `coverage`: the region ``z >= level`` is the densest
            one that holds that part of the points.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    coverage: tuple[float, ...]
    levels: tuple[float, ...]

    @property
    def reach(self) -> tuple[float, float]:
        """Largest x and y of the grid that lie inside the widest contour."""
        inside = self.z >= min(self.levels)
        return float(self.x[inside.any(axis=0)].max()), float(self.y[inside.any(axis=1)].max())

    @cached_property
    def outlines(self) -> dict[float, list[Ring]]:
        """Of each level its contour (`contours.outlines`), the widest first."""
        return {level: outlines(self.x, self.y, self.z, level) for level in sorted(self.levels)}


def density_grid(
    x: ArrayLike, y: ArrayLike, *, n_grid: int = 96, coverage: tuple[float, ...] = (0.5, 0.9)
) -> Density | None:
    """Kernel density of points in the quadrant ``x, y >= 0``.

    A Gaussian product kernel on the square roots. Bandwidths are Scott's for correlated normal data,
    ``h = σ (1 - ρ²)^(5/12) (1 + ρ²/2)^(-1/6) n^(-1/6)``, with σ the smaller of the standard deviation and
    IQR / 1.349, so that neither outliers nor a diagonal cloud blur the contours. Deterministic.

    Args:
        x: shape (n_points,), for example the documents' gains; pairs that are not finite are ignored.
        y: shape (n_points,), for example the documents' losses.
        n_grid: points along each axis of the grid, at least 2.
        coverage: parts of the points that the contours are to hold, each between 0 and 1.

    Returns:
        The density, or None if fewer than 5 distinct points are left: no contour says anything then.

    Raises:
        PpldeltaError: shapes that differ, a negative value, or `n_grid` or `coverage` out of range.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise PpldeltaError(f"`x` and `y` must be rows of the same length, got shapes {x.shape} and {y.shape}")
    finite = np.isfinite(x) & np.isfinite(y)
    points = np.stack([x[finite], y[finite]])
    if points.size and points.min() < 0:
        raise PpldeltaError(
            f"`x` and `y` must not be negative, got {points.min()}", hint="give gains and losses, not deltas"
        )
    if n_grid < 2 or not all(0.0 < part < 1.0 for part in coverage):
        raise PpldeltaError(f"`n_grid` must be at least 2 and `coverage` between 0 and 1, got {n_grid} and {coverage}")
    if len(np.unique(points[0] + 1j * points[1])) < _DISTINCT_MIN:  # by complex numbers, which sort fast
        return None

    roots = np.sqrt(points)
    bandwidths = _bandwidths(roots, n_grid)
    grids = [
        np.linspace(max(0.0, root.min() - 3 * h), root.max() + 3 * h, n_grid)
        for root, h in zip(roots, bandwidths, strict=True)
    ]
    z = np.zeros((n_grid, n_grid))
    for start in range(0, points.shape[1], _PART):
        part = roots[:, start : start + _PART]
        kernel_x, kernel_y = (_kernel(grid, root, h) for grid, root, h in zip(grids, part, bandwidths, strict=True))
        z += kernel_y @ kernel_x.T
    z /= points.shape[1]
    at_points = _interpolate(z, grids, roots)
    levels = tuple(float(np.quantile(at_points, 1.0 - part)) for part in coverage)
    return Density(grids[0] ** 2, grids[1] ** 2, z, tuple(coverage), levels)


def _bandwidths(roots: NDArray[np.float64], n_grid: int) -> NDArray[np.float64]:
    """Bandwidth of each axis: at least two cells of its grid, or of the other axis's if it does not vary at all."""
    n = roots.shape[1]
    sigma = roots.std(axis=1, ddof=1)
    iqr = np.subtract(*np.quantile(roots, [0.75, 0.25], axis=1)) / 1.349
    spread = np.where(iqr > 0, np.minimum(sigma, iqr), sigma)
    # Perfectly correlated points would ask for no width at all.
    rho_squared = min(float(np.asarray(np.corrcoef(roots))[0, 1]) ** 2, 0.95) if sigma.min() > 0 else 0.0
    h = spread * (1 - rho_squared) ** (5 / 12) * (1 + rho_squared / 2) ** (-1 / 6) * n ** (-1 / 6)
    extent = np.ptp(roots, axis=1)
    width: NDArray[np.float64] = np.maximum(h, 2 * np.where(extent > 0, extent, extent.max()) / n_grid)
    return width


def _kernel(grid: NDArray[np.float64], root: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    """Gaussian of every point at every place of the grid, reflected at 0; shape (n_grid, n_points)."""
    both = np.zeros((len(grid), len(root)))
    for distance in (grid[:, None] - root, grid[:, None] + root):
        distance /= h
        distance *= distance
        distance *= -0.5
        both += np.exp(distance, out=distance)
    both /= h * np.sqrt(2 * np.pi)
    return both


def _interpolate(
    z: NDArray[np.float64], grids: list[NDArray[np.float64]], roots: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`z` at the points, bilinear between the places of the grid; shape (n_points,)."""
    cells, parts = [], []
    for grid, root in zip(grids, roots, strict=True):
        place = (root - grid[0]) / (grid[1] - grid[0])
        cell = np.clip(place.astype(np.int64), 0, len(grid) - 2)
        cells.append(cell)
        parts.append(place - cell)
    (i, j), (u, v) = cells, parts
    value: NDArray[np.float64] = (1 - v) * ((1 - u) * z[j, i] + u * z[j, i + 1]) + v * (
        (1 - u) * z[j + 1, i] + u * z[j + 1, i + 1]
    )
    return value
