"""Pareto fronts: the models that no other one beats in everything at once.

A row is on the front of two costs x and y if no other row has x' <= x and y' <= y with one of them smaller. Rows that
are equal are on the front together. A value that is better when it is large becomes a cost by turning its sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppldelta.errors import PpldeltaError


def gain_loss_front(gain: ArrayLike, loss: ArrayLike) -> NDArray[np.bool_]:
    """Rows that no other row beats in gain or loss without being worse in the other.

    Args:
        gain: shape (n,), any unit, up is better.
        loss: shape (n,), the same unit, down is better.

    Returns:
        Shape (n,). A row with a value that is not finite is never on the front.

    Raises:
        PpldeltaError: shapes that differ.
    """
    return pareto_front(np.negative(np.asarray(gain, dtype=np.float64)), loss)


def size_delta_front(size: ArrayLike, delta: ArrayLike) -> NDArray[np.bool_]:
    """Rows that no other row beats in size or delta without being worse in the other; otherwise as `gain_loss_front`.

    Args:
        size: shape (n,), bytes or bits per weight, down is better.
        delta: shape (n,), any unit, up is better.
    """
    return pareto_front(size, np.negative(np.asarray(delta, dtype=np.float64)))


def pareto_front(x: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
    """Rows that are on the front of two costs, both better when smaller.

    Args:
        x: shape (n,); None counts as NaN.
        y: shape (n,).

    Returns:
        Shape (n,). A row with a value that is not finite is never on the front.

    Raises:
        PpldeltaError: shapes that differ.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise PpldeltaError(f"both costs must be rows of the same length, got shapes {x.shape} and {y.shape}")
    on_front = np.zeros(len(x), dtype=np.bool_)
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not finite.size:
        return on_front
    order = finite[np.lexsort((y[finite], x[finite]))]
    x, y = x[order], y[order]
    # the first row of each x has its least y; it is beaten if a smaller x had a y as low
    first = np.flatnonzero(np.diff(x, prepend=-np.inf) > 0)
    group = np.cumsum(np.diff(x, prepend=-np.inf) > 0) - 1
    least = y[first]
    before = np.concatenate([[np.inf], np.minimum.accumulate(least)[:-1]])
    on_front[order] = (y == least[group]) & (least < before)[group]
    return on_front
