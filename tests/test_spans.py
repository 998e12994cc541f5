"""Passages against a search of every one; what a passage may and may not be."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.analysis.spans import Span, best_spans
from ppldelta.errors import PpldeltaError


def naive(delta: np.ndarray, starts: np.ndarray, most: int, longest: int) -> list[tuple[int, int]]:
    """Every passage there is, the best that overlaps none before it, again and again; ties: first, then shortest."""
    run = np.cumsum(starts)
    taken = ~np.isfinite(delta)
    found: list[tuple[int, int]] = []
    while len(found) < most:
        best = (0.0, 0, 0)
        for last in range(len(delta)):
            for first in range(last, max(-1, last - longest), -1):
                if taken[first] or run[first] != run[last]:
                    break
                value = float(delta[first : last + 1].sum(dtype=np.float64))
                if value > best[0]:
                    best = (value, first, last)
        if best[0] <= 0:
            break
        found.append(best[1:])
        taken[best[1] : best[2] + 1] = True
    return found


def ends(spans: list[Span]) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in spans]


@pytest.mark.parametrize("seed", range(40))
def test_as_a_search_of_every_passage_finds_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, longest = int(rng.integers(1, 120)), int(rng.choice([1, 2, 3, 5, 7, 8, 20, 64]))
    # multiples of 1/8: sums are exact, and many are equal
    delta = (np.round(rng.normal(rng.choice([-0.3, 0.0, 0.2]), 1, n) * 8) / 8).astype(np.float32)
    delta[rng.random(n) < 0.2] = 0
    delta[rng.random(n) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    starts = rng.random(n) < rng.choice([0.0, 0.05, 0.3])
    for sign in (1, -1):
        wanted = naive(sign * delta, starts, 12, longest)
        spans = best_spans(sign * delta, starts, longest=longest)
        assert ends(spans) == wanted
        for span in spans:
            assert span.sum == (sign * delta)[span.first : span.last + 1].sum(dtype=np.float64)


def test_passages_end_in_gains_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    delta = rng.normal(0, 1, 20_000).astype(np.float32)
    starts = rng.random(20_000) < 0.01
    spans = best_spans(delta, starts, most=50)
    assert len(spans) == 50
    assert [span.sum for span in spans] == sorted((span.sum for span in spans), reverse=True)
    covered = np.concatenate([np.arange(span.first, span.last + 1) for span in spans])
    assert len(np.unique(covered)) == len(covered)
    for span in spans:
        assert delta[span.first] > 0 and delta[span.last] > 0
        assert span.last - span.first < 64
        assert not starts[span.first + 1 : span.last + 1].any()


def test_a_small_part_of_a_long_sum_is_not_lost() -> None:
    """Ten million nats before it do not blur a passage of a ten-thousandth."""
    delta = np.full(100_000, -100, np.float32)
    starts = np.zeros(100_000, np.bool_)
    delta[70_000:70_003] = 1e-5, -1e-6, 1e-5
    (span,) = best_spans(delta, starts)
    assert (span.first, span.last) == (70_000, 70_002)
    assert span.sum == pytest.approx(1.9e-5, rel=1e-6)


def test_no_gain_no_passage() -> None:
    none = np.zeros(0, np.float32)
    assert best_spans(none, none.astype(np.bool_)) == []
    for value in (0.0, -1.0, np.nan):
        delta = np.full(10, value, np.float32)
        assert best_spans(delta, np.zeros(10, np.bool_)) == []


def test_wrong_arguments_are_refused() -> None:
    delta = np.zeros(3, np.float32)
    with pytest.raises(PpldeltaError, match="same length"):
        best_spans(delta, np.zeros(2, np.bool_))
    with pytest.raises(PpldeltaError, match="at least 1"):
        best_spans(delta, np.zeros(3, np.bool_), longest=0)
