"""The passages that a model predicts best and worst compared with the reference, anywhere in the corpus.

A passage is a run of scored tokens that follow one another in one document. Its value is Σ delta (nats): by how much
the text of the passage became more probable, as a whole. Long good stretches count more than single lucky tokens.

The sum over tokens i to j is P[j + 1] - P[i] with prefix sums P, so the best passage that ends at j starts where P is
least among the last places of its run: a sliding minimum, found for all j together in log2(longest) steps, each of
which doubles the window. Sums are taken of integers, in units of 2^-24 nats (float32's spacing below 1 and finer than
that above): exact, and the same in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError

LONGEST = 64
"""Tokens of a passage at most: a few sentences, and short enough that the passage says what happened."""

MOST = 12
"""Passages that are given."""

_UNIT = 2.0**-24  # nats; the sums of a corpus may reach 5e11 nats
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Span:
    """A passage: rows `first` to `last` (inclusive) of the tokens, and their summed delta in nats."""

    first: int
    last: int
    sum: float


def best_spans(
    delta: NDArray[np.float32], starts: NDArray[np.bool_], *, most: int = MOST, longest: int = LONGEST
) -> list[Span]:
    """The passages with the largest summed delta, one after the other: each is the best that overlaps none before it.

    No passage begins or ends with a token that is not a gain, since without it the sum would be larger. Of equal ones
    the first in the corpus is taken. For the worst passages give ``-delta``.

    Args:
        delta: shape (n_tokens,), nats, in reading order, document after document. A value that is not finite belongs to
            no passage.
        starts: shape (n_tokens,), True if a token does not follow the one before it: a document's first, and the
            first after a hole.
        most: passages wanted; there are fewer if no gain is left.
        longest: tokens of a passage at most.

    Returns:
        Passages by falling sum, all above 0.

    Raises:
        PpldeltaError: shapes that differ, or `most` or `longest` below 1.
    """
    delta, starts = np.asarray(delta), np.asarray(starts, dtype=np.bool_)
    if delta.ndim != 1 or delta.shape != starts.shape:
        raise PpldeltaError(
            f"`delta` and `starts` must be rows of the same length, got shapes {delta.shape} and {starts.shape}"
        )
    if most < 1 or longest < 1:
        raise PpldeltaError(f"`most` and `longest` must be at least 1, got {most} and {longest}")
    if not delta.size:
        return []
    units, place = _units(delta), _places(delta, starts)
    value = _best_ending_at(units, place, longest)
    spans: list[Span] = []
    while len(spans) < most:
        last = int(np.argmax(value))
        if value[last] <= 0:
            break
        first = _first_of(units, place, value, last, longest)
        spans.append(Span(first, last, float(delta[first : last + 1].sum(dtype=np.float64))))
        _take_out(units, place, value, first, last, longest)
    return spans


def _units(delta: NDArray[np.float32]) -> NDArray[np.int64]:
    """Deltas in whole units; 0 for those that are not finite."""
    scaled = delta.astype(np.float64)
    scaled *= 1 / _UNIT
    np.rint(scaled, out=scaled)
    scaled[~np.isfinite(scaled)] = 0.0
    return scaled.astype(np.int64)


def _places(delta: NDArray[np.float32], starts: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many tokens of the same run stand before each token; -1 for a token that belongs to no run."""
    odd = ~np.isfinite(delta)
    starts = starts | odd
    starts[0] = True
    starts[1:] |= odd[:-1]
    at = np.flatnonzero(starts)
    place = np.arange(len(delta), dtype=np.int32)
    place -= np.repeat(at.astype(np.int32), np.diff(at, append=len(delta)))
    place[odd] = -1
    return place


def _best_ending_at(units: NDArray[np.int64], place: NDArray[np.int32], longest: int) -> NDArray[np.int64]:
    """Sum of the best passage that ends at each token and has at least one."""
    after = np.cumsum(units)
    lowest = after - units  # the prefix sum before each token; then its minimum over a growing window that ends here
    window = 1
    while window < longest:
        step = min(window, longest - window)
        # a token with fewer than `step` tokens before it in its run has them all in its window already
        np.minimum(lowest[step:], lowest[:-step], out=lowest[step:], where=place[step:] >= step)
        window += step
    after -= lowest
    after[place < 0] = _NEVER
    return after


def _first_of(
    units: NDArray[np.int64], place: NDArray[np.int32], value: NDArray[np.int64], last: int, longest: int
) -> int:
    """Where the best passage that ends at `last` begins: the latest such place, which leaves zeros out."""
    begin = last - min(int(place[last]), longest - 1)
    sums = np.cumsum(units[begin : last + 1][::-1])
    return last - int(np.argmax(sums == value[last]))


def _take_out(
    units: NDArray[np.int64],
    place: NDArray[np.int32],
    value: NDArray[np.int64],
    first: int,
    last: int,
    longest: int,
) -> None:
    """Takes tokens `first` to `last` out of all passages to come; what follows them becomes a run of its own."""
    rises = np.diff(place[last : last + longest]) > 0
    end = last + 1 + (int(np.argmin(rises)) if not rises.all() else len(rises))
    place[first : last + 1] = -1
    value[first : last + 1] = _NEVER
    if end > last + 1:
        near = slice(last + 1, end)
        place[near] = np.arange(end - last - 1)  # tokens further on have `longest` of their run before them either way
        value[near] = _best_ending_at(units[near], place[near], longest)
