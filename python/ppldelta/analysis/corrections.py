"""Corrections of p values for their number, where many questions are asked at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's (1979) step-down correction.

    Args:
        p: float64, shape (n_tests,); NaN is no test.

    Returns:
        Adjusted p values in the same order; NaN where `p` is.
    """
    return _in_order(p, lambda ascending: np.maximum.accumulate(ascending * np.arange(len(ascending), 0, -1)))


def false_discovery_rate(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's (1995) step-up adjustment: min over j >= i of p_(j) m / j.

    Args:
        p: float64, shape (n_tests,); NaN is no test.

    Returns:
        Adjusted p values in the same order; NaN where `p` is.
    """

    def adjusted(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = ascending * len(ascending) / np.arange(1, len(ascending) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _in_order(p, adjusted)


def _in_order(
    p: NDArray[np.float64], adjusted: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What `adjusted` makes of the tests' p values in ascending order, at most 1, each in its place."""
    found = np.full(p.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    found[order] = np.minimum(adjusted(p[order]), 1.0)
    return found
