"""The density behind the contours: it integrates to one, holds what it says, and bears degenerate clouds."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.analysis.density import Density, density_grid
from ppldelta.errors import PpldeltaError


def cloud(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, long-tailed, as gains and losses are."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(1.5, 0.1, n)
    return common * rng.gamma(4, 0.25, n), common * rng.gamma(4, 0.2, n)


def integral(density: Density, chosen: np.ndarray | None = None) -> float:
    """Of `z` over the plane of the square roots, by the trapezoid rule."""
    z = density.z if chosen is None else np.where(chosen, density.z, 0)
    return float(np.trapezoid(np.trapezoid(z, np.sqrt(density.x), axis=1), np.sqrt(density.y)))


def literal(density: Density, x: np.ndarray, y: np.ndarray, j: int, i: int, h: tuple[float, float]) -> float:
    """The kernel sum at one place, written with loops over points and mirror images."""
    u, v = np.sqrt(density.x[i]), np.sqrt(density.y[j])
    total = 0.0
    for a, b in zip(np.sqrt(x), np.sqrt(y), strict=True):
        for s in (a, -a):
            for t in (b, -b):
                total += np.exp(-0.5 * ((u - s) / h[0]) ** 2 - 0.5 * ((v - t) / h[1]) ** 2) / (2 * np.pi * h[0] * h[1])
    return total / len(x)


@pytest.mark.parametrize("n", [8, 36, 2000])
def test_it_integrates_to_one_even_at_the_edge(n: int) -> None:
    density = density_grid(*cloud(n), n_grid=200)
    assert integral(density) == pytest.approx(1, abs=0.01)
    assert density.x.shape == density.y.shape == (200,)
    assert density.z.shape == (200, 200)
    assert (density.z >= 0).all()
    assert density.x[0] >= 0 and (np.diff(density.x) > 0).all() and (np.diff(density.y) > 0).all()


@pytest.mark.parametrize("diagonal", [False, True])
def test_z_is_the_kernel_sum_with_rows_along_y(diagonal: bool) -> None:
    x, y = cloud(40)
    y = 2 * x if diagonal else y
    density = density_grid(x, y, n_grid=200)  # fine enough that no bandwidth is widened to two cells
    roots = np.sqrt([x, y])
    iqr = np.subtract(*np.quantile(roots, [0.75, 0.25], axis=1)) / 1.349
    rho_squared = min(np.corrcoef(roots)[0, 1] ** 2, 0.95)
    shrink = (1 - rho_squared) ** (5 / 12) * (1 + rho_squared / 2) ** (-1 / 6) * 40 ** (-1 / 6)
    h = np.minimum(roots.std(axis=1, ddof=1), iqr) * shrink
    for j, i in ((0, 0), (3, 30), (90, 80), (199, 199)):
        assert density.z[j, i] == pytest.approx(literal(density, x, y, j, i, tuple(h)), rel=1e-9)


def test_contours_hold_the_points_they_promise() -> None:
    x, y = cloud(500)
    density = density_grid(x, y, coverage=(0.5, 0.9, 0.25))
    assert density.coverage == (0.5, 0.9, 0.25)
    assert density.levels[2] > density.levels[0] > density.levels[1] > 0
    columns = np.abs(density.x[:, None] - x).argmin(axis=0)
    rows = np.abs(density.y[:, None] - y).argmin(axis=0)
    at_points = density.z[rows, columns]
    for part, level in zip(density.coverage, density.levels, strict=True):
        assert (at_points >= level).mean() == pytest.approx(part, abs=0.03)  # 0.03: nearest cell, not interpolated


def test_the_peak_lies_where_the_points_do() -> None:
    rng = np.random.default_rng(0)
    density = density_grid(rng.normal(4, 0.3, 300), rng.normal(1, 0.1, 300))
    j, i = np.unravel_index(density.z.argmax(), density.z.shape)
    assert density.x[i] == pytest.approx(4, abs=0.3)
    assert density.y[j] == pytest.approx(1, abs=0.1)


def test_swapping_the_axes_transposes() -> None:
    x, y = cloud(60)
    there, back = density_grid(x, y), density_grid(y, x)
    np.testing.assert_allclose(there.z, back.z.T, rtol=1e-12)
    np.testing.assert_array_equal(there.x, back.y)
    assert there.levels == pytest.approx(back.levels, rel=1e-12)


def test_it_is_deterministic_and_blind_to_order() -> None:
    x, y = cloud(100)
    first, again = density_grid(x, y), density_grid(x, y)
    np.testing.assert_array_equal(first.z, again.z)
    np.testing.assert_allclose(first.z, density_grid(x[::-1], y[::-1]).z, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.linspace(0, 1, 30), np.zeros(30)),  # nothing was lost anywhere
        (np.full(30, 0.2), np.linspace(0, 1, 30)),
        (np.linspace(0, 1, 30), np.linspace(0, 1, 30)),  # perfectly correlated
        (np.r_[np.zeros(40), 1, 2, 3, 4], np.r_[np.zeros(40), 1, 2, 3, 5]),  # most points in one place
        (np.r_[np.linspace(0, 1e-3, 50), 1e3], np.r_[np.linspace(0, 1e-3, 50), 1e-3]),  # one far away
        (np.linspace(0, 1e-30, 9), np.linspace(0, 1e-30, 9)),
    ],
)
def test_degenerate_clouds_still_give_a_density(x: np.ndarray, y: np.ndarray) -> None:
    density = density_grid(x, y)
    assert np.isfinite(density.z).all()
    assert integral(density) == pytest.approx(1, abs=0.02)
    assert density.levels[0] >= density.levels[1] > 0


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        (np.zeros(100), np.zeros(100)),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4] * 10, [1, 2, 3, 4] * 10),
        ([1, 2, 3, 4, np.nan], [1, 2, 3, 4, 5]),
    ],
)
def test_fewer_than_five_places_give_none(x: object, y: object) -> None:
    assert density_grid(np.array(x, dtype=float), np.array(y, dtype=float)) is None


def test_what_is_not_finite_is_ignored() -> None:
    x, y = cloud(30)
    with_holes = density_grid(np.r_[x, np.nan, 1.0], np.r_[y, 1.0, np.inf])
    np.testing.assert_array_equal(with_holes.z, density_grid(x, y).z)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": -np.ones(9)}, "must not be negative, got -1.0"),
        ({"x": np.ones(8)}, r"same length, got shapes \(8,\) and \(9,\)"),
        ({"n_grid": 1}, "`n_grid` must be at least 2"),
        ({"coverage": (0.5, 90)}, "`coverage` between 0 and 1"),
    ],
)
def test_wrong_use_is_named(changed: dict, message: str) -> None:
    x, y = cloud(9)
    with pytest.raises(PpldeltaError, match=message):
        density_grid(**{"x": x, "y": y, **changed})


def test_reach_holds_the_widest_contour() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.exponential(0.1, 200), rng.exponential(0.3, 200)
    density = density_grid(x, y)
    assert density is not None
    right, top = density.reach
    inside = density.z >= min(density.levels)
    assert not inside[:, density.x > right].any()
    assert not inside[density.y > top].any()
    assert right > np.quantile(x, 0.5)
    assert top > np.quantile(y, 0.5)
