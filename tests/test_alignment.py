"""The arithmetic of `align="bytes"`, held on drawn tokenizations of drawn texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from ppldelta.text.alignment import align, sums, whole

SEEDS = range(200)


def tokenized(rng: np.random.Generator, n_bytes: int, part: float, n_empty: int = 0) -> NDArray[np.uint32]:
    """The bounds of a tokenization of a text that cuts at a part of its bytes, with tokens that cover none."""
    inside = np.flatnonzero(rng.random(n_bytes - 1) < part) + 1
    bounds = np.concatenate([[0], inside, [n_bytes]])
    return np.sort(np.concatenate([bounds, rng.choice(bounds, n_empty)])).astype(np.uint32)


def drawn(seed: int) -> tuple[np.random.Generator, NDArray[np.uint32], NDArray[np.uint32]]:
    rng = np.random.default_rng(seed)
    n_bytes = int(rng.integers(1, 200))
    parts, empty = rng.uniform(0.02, 0.9, 2), rng.integers(0, 3, 2) * (seed % 3 == 0)
    ref, cmp = (tokenized(rng, n_bytes, part, int(n)) for part, n in zip(parts, empty, strict=True))
    return rng, ref, cmp


def test_spans_hold_every_token_once() -> None:
    for seed in SEEDS:
        _, ref, cmp = drawn(seed)
        found = align(ref, cmp)
        for spans, bounds in ((found.ref, ref), (found.cmp, cmp)):
            assert spans[0] == 0 and spans[-1] == len(bounds) - 1
            assert (np.diff(spans) >= 1).all()


def test_spans_cover_the_same_bytes_and_are_minimal() -> None:
    """Both sides of a span begin and end at the same byte, and no boundary inside it is one of both."""
    for seed in SEEDS:
        _, ref, cmp = drawn(seed)
        found = align(ref, cmp)
        assert np.array_equal(ref[found.ref], cmp[found.cmp])
        assert set(ref[found.ref].tolist()) == set(ref.tolist()) & set(cmp.tolist())
        for a, b, c, d in zip(found.ref, found.ref[1:], found.cmp, found.cmp[1:], strict=False):
            inside = set(ref[a + 1 : b].tolist()) & set(cmp[c + 1 : d].tolist())
            assert inside <= {int(ref[a]), int(ref[b])}, "only boundaries of tokens without a byte"


def test_equal_tokenizations_give_one_token_each() -> None:
    for seed in SEEDS:
        rng, ref, _ = drawn(seed)
        found = align(ref, ref)
        assert np.array_equal(found.ref, np.arange(len(ref))) and np.array_equal(found.cmp, found.ref)
        n = len(ref) - 1
        pos = rng.permutation(n)[: n // 2 + 1].astype(np.uint32)
        logp = -rng.gamma(1.0, 2.0, len(pos)).astype(np.float32)
        assert np.array_equal(sums(found.ref, pos, logp)[pos], logp)
        assert np.array_equal(np.flatnonzero(whole(found.ref, pos)), np.sort(pos))


def test_totals_are_kept() -> None:
    for seed in SEEDS:
        rng, ref, cmp = drawn(seed)
        found = align(ref, cmp)
        for spans in (found.ref, found.cmp):
            n = int(spans[-1])
            logp = -rng.gamma(1.0, 2.0, n).astype(np.float32)
            total = sums(spans, np.arange(n, dtype=np.uint32), logp)
            assert total.sum(dtype=np.float64) == pytest.approx(logp.sum(dtype=np.float64), rel=1e-6)


def test_a_span_counts_only_where_all_of_it_was_scored() -> None:
    for seed in SEEDS:
        rng, ref, cmp = drawn(seed)
        spans = align(ref, cmp).ref
        scored = rng.random(int(spans[-1])) < 0.8
        pos = rng.permutation(np.flatnonzero(scored)).astype(np.uint32)
        assert whole(spans, pos).tolist() == [bool(scored[a:b].all()) for a, b in pairwise(spans)]


def test_an_example() -> None:
    """`unbelievable things`, cut as un|believ|able| things and as unbeliev|ab|le|  thing|s."""
    ref, cmp = np.array([0, 2, 8, 12, 19], np.uint32), np.array([0, 8, 10, 12, 18, 19], np.uint32)
    found = align(ref, cmp)
    assert found.ref.tolist() == [0, 2, 3, 4] and found.cmp.tolist() == [0, 1, 3, 5]


@pytest.mark.parametrize(
    ("ref", "cmp", "spans"),
    [
        ([0, 0, 5], [0, 5], ([0, 2], [0, 1])),  # a space before the text, which only one tokenizer puts there
        ([0, 3, 5, 5], [0, 3, 5], ([0, 1, 3], [0, 1, 2])),
        ([0, 3, 3, 5], [0, 3, 5], ([0, 1, 3], [0, 1, 2])),
        ([0, 0, 5], [0, 0, 5], ([0, 1, 2], [0, 1, 2])),
    ],
)
def test_tokens_without_a_byte(ref: list[int], cmp: list[int], spans: tuple[list[int], list[int]]) -> None:
    found = align(np.array(ref, np.uint32), np.array(cmp, np.uint32))
    assert (found.ref.tolist(), found.cmp.tolist()) == spans
