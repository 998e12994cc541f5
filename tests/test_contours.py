"""Outlines hold exactly what lies above a level: area and inside are compared with the function itself."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.analysis.contours import Ring, outlines
from ppldelta.errors import PpldeltaError


def area(ring: Ring) -> float:
    """Signed: positive counterclockwise."""
    x, y = np.array(ring).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_a_circle_has_its_area_and_every_point_its_radius() -> None:
    x = y = np.linspace(-2, 2, 81)
    (ring,) = outlines(x, y, -np.hypot(*np.meshgrid(x, y)), -1.3)
    assert np.hypot(*np.array(ring).T) == pytest.approx(1.3, abs=0.003)
    assert area(ring) == pytest.approx(np.pi * 1.3**2, rel=0.003)


def test_a_hole_runs_the_other_way_round() -> None:
    x = y = np.linspace(-2, 2, 101)
    radius = np.hypot(*np.meshgrid(x, y))
    rings = outlines(x, y, -np.abs(radius - 1), -0.4)
    assert sorted(map(area, rings)) == pytest.approx([-np.pi * 0.36, np.pi * 1.96], rel=0.01)


def test_a_region_at_the_border_is_closed_along_it() -> None:
    x, y = np.array([0.0, 0.5, 2.0]), np.array([0.0, 1.0, 3.0])
    (ring,) = outlines(x, y, np.ones((3, 3)), 0.5)
    assert area(ring) == pytest.approx(6.0)


def test_corners_that_alternate_are_joined_or_not_by_their_mean() -> None:
    x = y = np.arange(4.0)
    z = np.zeros((4, 4))
    z[1, 1] = z[2, 2] = 1.0
    assert len(outlines(x, y, z, 0.4)) == 1
    assert len(outlines(x, y, z, 0.6)) == 2


def test_random_regions_hold_the_points_above_the_level() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = np.cumsum(rng.random(12) + 0.1), np.cumsum(rng.random(9) + 0.1)
        z = rng.random((9, 12))
        rings = outlines(x, y, z, 0.55)
        for j in range(9):
            for i in range(12):
                inside = sum(winding(ring, x[i], y[j]) for ring in rings)
                if 0 < i < 11 and 0 < j < 8:
                    assert (inside == 1) == (z[j, i] >= 0.55)


def winding(ring: Ring, x: float, y: float) -> int:
    turns = 0
    for (ax, ay), (bx, by) in zip(ring, [*ring[1:], ring[0]], strict=True):
        side = (bx - ax) * (y - ay) - (x - ax) * (by - ay)
        if ay <= y < by and side > 0:
            turns += 1
        elif by <= y < ay and side < 0:
            turns -= 1
    return turns


def test_nothing_is_above_a_level_that_is_too_high() -> None:
    assert outlines(np.arange(3.0), np.arange(3.0), np.zeros((3, 3)), 1.0) == []


def test_shapes_must_fit() -> None:
    with pytest.raises(PpldeltaError, match="shape"):
        outlines(np.arange(3.0), np.arange(4.0), np.zeros((3, 4)), 1.0)
