"""A paired bootstrap-t of documents, resample by resample, to hold the vectorized one against."""

from __future__ import annotations

import numpy as np


def literal(x: np.ndarray, n: np.ndarray, n_resamples: int) -> tuple[float, float, float, float]:
    """Difference, ends of its interval of 95 % and p value, for sums x and weights n of shape (n_documents,)."""

    def estimate(draw: np.ndarray) -> tuple[float, float]:
        theta = x[draw].sum() / n[draw].sum()
        return theta, np.sqrt(((x[draw] - theta * n[draw]) ** 2).sum()) / n[draw].sum()

    theta, error = estimate(np.arange(len(n)))
    draws = np.random.default_rng(0).integers(0, len(n), size=(n_resamples, len(n)))
    t = np.array([abs(one - theta) / se for one, se in map(estimate, draws)])
    half = np.quantile(t, 0.95) * error
    return theta, theta - half, theta + half, (1 + (t >= abs(theta) / error).sum()) / (n_resamples + 1)
