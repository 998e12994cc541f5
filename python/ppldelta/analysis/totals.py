"""Which tokens of the vocabulary gained and lost most, in sum over the whole corpus.

For a token v with the records i where v was the token that really came next:

    n = number of records      sum = Σ delta      gain = Σ max(delta, 0)      loss = Σ max(-delta, 0)      (nats)

so sum = gain - loss. Sums and not means (sum / n): a frequent token with a small change matters more to a text than a
rare one with a large change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError

MOST = 50
"""Tokens that are given each way."""


@dataclass(frozen=True)
class TokenTotal:
    """One token of the vocabulary over the whole corpus; `sum`, `gain` and `loss` in nats, the latter two >= 0."""

    token: int
    n: int
    sum: float
    gain: float
    loss: float


def token_totals(
    token: NDArray[np.int32], delta: NDArray[np.float32], *, most: int = MOST
) -> tuple[list[TokenTotal], list[TokenTotal]]:
    """The tokens with the largest summed delta, and those with the smallest.

    Args:
        token: shape (n_records,), the token of each record, never negative.
        delta: shape (n_records,), nats; records whose delta is not finite are left out.
        most: tokens wanted each way.

    Returns:
        Those that gained, by falling sum (all above 0), and those that lost, by rising sum (all below 0). Of equal sums
        the smaller token comes first.

    Raises:
        PpldeltaError: shapes that differ, a negative token, or `most` below 1.
    """
    token, delta = np.asarray(token), np.asarray(delta)
    if token.ndim != 1 or token.shape != delta.shape:
        raise PpldeltaError(
            f"`token` and `delta` must be rows of the same length, got shapes {token.shape} and {delta.shape}"
        )
    if most < 1:
        raise PpldeltaError(f"`most` must be at least 1, got {most}")
    finite = np.isfinite(delta)
    if not finite.all():
        token, delta = token[finite], delta[finite]
    if not token.size:
        return [], []
    if token.min() < 0:
        raise PpldeltaError(f"`token` must not be negative, got {token.min()}")
    delta = delta.astype(np.float64)
    n = np.bincount(token)
    total = np.asarray(np.bincount(token, weights=delta), np.float64)
    gain = np.bincount(token, weights=np.maximum(delta, 0.0, out=delta))
    loss = np.maximum(gain - total, 0.0)

    def chosen(value: NDArray[np.float64]) -> list[TokenTotal]:
        order = np.argsort(-value, kind="stable")[:most]
        return [
            TokenTotal(int(v), int(n[v]), float(total[v]), float(gain[v]), float(loss[v]))
            for v in order[value[order] > 0]
        ]

    return chosen(total), chosen(-total)
