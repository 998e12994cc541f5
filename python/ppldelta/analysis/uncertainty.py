"""Confidence intervals by a bootstrap over documents.

Documents are the unit that is drawn: tokens of one text depend on each other, texts hardly do. As in sacreBLEU,
statistics come first and scores from them: each document is reduced to a row of sums once, a resample adds up rows,
and scores are computed from the sums. Percentile intervals: Efron and Tibshirani, *An Introduction to the Bootstrap*
(1993), chapter 13. They say how much the numbers would move with other documents like these, nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError

_Float = TypeVar("_Float", np.float32, np.float64)

LEVEL = 0.95
"""Part of the resamples that lies between the ends of the intervals."""

DOCUMENTS_MIN = 5
"""Documents that an interval needs: resamples of two or three hardly ever leave the range of their own values."""

N_RESAMPLES = 2000
"""Of all intervals of a result."""

SEED = 0
"""Of the same: numbers of one result are compared on the same resamples."""

_KEPT = 1 << 26  # counts that are kept, for each number of documents
_CELLS = 1 << 22  # counts held at a time, so that 10 000 documents x 2000 resamples need tens of MB, not hundreds


def resampled_sums(statistics: NDArray[np.float64], *, n_resamples: int, seed: int) -> NDArray[np.float64]:
    """Sums of the rows of `statistics` over resamples of the documents, drawn with replacement.

    The draws depend on `seed` and the number of documents alone, so two calls with equally many documents draw the
    same ones: comparisons of one family are paired when their rows stand for the same documents in the same order.

    Args:
        statistics: float64, shape (n_documents, n_columns); a row of sums for each document. A column that holds a
            value that is not finite gives NaN or infinity in that column alone.
        n_resamples: how many resamples, at least 1.
        seed: seed of NumPy's `default_rng`.

    Returns:
        float64, shape (n_resamples, n_columns).

    Raises:
        PpldeltaError: no document, or fewer than one resample.
    """
    return Resamples(n_resamples, seed, keep=False).sums(statistics)


class Resamples:
    """The resamples of one seed, for several calls: they are drawn once for each number of documents.

    Args:
        n_resamples: how many resamples, at least 1.
        seed: seed of NumPy's `default_rng`.
        keep: whether the draws are kept for the next call, where they are not too many.
    """

    def __init__(self, n_resamples: int, seed: int, *, keep: bool = True) -> None:
        self.n_resamples = n_resamples
        self._seed = seed
        self._keep = keep
        self._drawn: dict[int, NDArray[np.float32]] = {}

    def sums(self, statistics: NDArray[_Float]) -> NDArray[_Float]:
        """As `resampled_sums`, also in float32."""
        n_documents, n_columns = statistics.shape
        if n_documents < 1 or self.n_resamples < 1:
            raise PpldeltaError(
                f"a bootstrap needs at least 1 document and 1 resample, got {n_documents} and {self.n_resamples}"
            )
        sums = np.empty((self.n_resamples, n_columns), statistics.dtype)
        for start, counts in self._counts(n_documents):
            with np.errstate(invalid="ignore"):  # 0 * inf
                sums[start : start + len(counts)] = counts.astype(statistics.dtype, copy=False) @ statistics
        return sums

    def _counts(self, n_documents: int) -> Iterator[tuple[int, NDArray[np.number[Any]]]]:
        """How often each document is drawn, some resamples at a time, and the number of the first of these."""
        rows = max(1, _CELLS // n_documents)
        kept = self._drawn.get(n_documents)
        if kept is not None:
            yield from ((start, kept[start : start + rows]) for start in range(0, self.n_resamples, rows))
            return
        small = self._keep and n_documents * self.n_resamples <= _KEPT
        kept = np.empty((self.n_resamples if small else 0, n_documents), np.float32)
        rng = np.random.default_rng(self._seed)
        for start in range(0, self.n_resamples, rows):
            n = min(rows, self.n_resamples - start)
            drawn = rng.integers(0, n_documents, size=(n, n_documents))
            drawn += np.arange(n)[:, None] * n_documents
            counts = np.bincount(drawn.ravel(), minlength=n * n_documents).reshape(n, n_documents)
            if small:
                kept[start : start + n] = counts
            yield start, counts
        if small:
            self._drawn[n_documents] = kept


def side(low: float, high: float) -> int:
    """On which side of 0 an interval lies: 1 above, -1 below, 0 if it holds 0 (or an end is NaN)."""
    return 1 if low > 0 else -1 if high < 0 else 0


def percentile_interval(
    values: NDArray[np.float64], *, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle part of resampled scores.

    Args:
        values: float64, shape (n_resamples, …); scores of the resamples.
        level: part of the resamples between the ends, between 0 and 1; 0.95 gives the 2.5 and the 97.5 percentile.

    Returns:
        Lower and upper ends, each of shape ``values.shape[1:]``; NaN if a score is NaN.

    Raises:
        PpldeltaError: `level` does not lie between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise PpldeltaError(f"`level` must lie between 0 and 1, got {level}", hint="0.95 is usual")
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
