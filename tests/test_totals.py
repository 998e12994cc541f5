"""Totals of tokens against sums one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppldelta.analysis.totals import token_totals
from ppldelta.errors import PpldeltaError


@pytest.mark.parametrize("seed", range(5))
def test_as_adding_up_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    token = rng.integers(0, 300, 5000).astype(np.int32)
    delta = (np.round(rng.normal(0, 1, 5000) * 4) / 4).astype(np.float32)  # exact sums, some of them equal
    delta[::97] = np.nan
    finite = np.isfinite(delta)
    sums = {int(v): delta[finite & (token == v)].astype(float).tolist() for v in np.unique(token[finite])}
    for sign, entries in zip((1, -1), token_totals(token, delta), strict=True):
        wanted = sorted((v for v in sums if sign * math.fsum(sums[v]) > 0), key=lambda v: (-sign * sum(sums[v]), v))
        assert [each.token for each in entries] == wanted[:50]
        for each in entries:
            values = sums[each.token]
            assert each.n == len(values)
            assert each.sum == math.fsum(values)
            assert each.gain == math.fsum(value for value in values if value > 0)
            assert each.loss == -math.fsum(value for value in values if value < 0)


def test_turning_the_sign_swaps_gained_and_lost() -> None:
    rng = np.random.default_rng(1)
    token, delta = rng.integers(0, 50, 400), rng.normal(0, 1, 400).astype(np.float32)
    gained, lost = token_totals(token, delta, most=5)
    turned_gained, turned_lost = token_totals(token, -delta, most=5)
    assert [each.token for each in gained] == [each.token for each in turned_lost]
    assert [each.token for each in lost] == [each.token for each in turned_gained]
    assert [each.gain for each in gained] == pytest.approx([each.loss for each in turned_lost])


def test_no_record_no_total() -> None:
    assert token_totals(np.zeros(0, np.int32), np.zeros(0, np.float32)) == ([], [])
    assert token_totals(np.zeros(3, np.int32), np.zeros(3, np.float32)) == ([], [])
    assert token_totals(np.zeros(3, np.int32), np.full(3, np.nan)) == ([], [])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(PpldeltaError, match="same length"):
        token_totals(np.zeros(2, np.int32), np.zeros(3))
    with pytest.raises(PpldeltaError, match="negative"):
        token_totals(np.array([-1]), np.ones(1))
    with pytest.raises(PpldeltaError, match="at least 1"):
        token_totals(np.array([1]), np.ones(1), most=0)
