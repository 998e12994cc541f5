"""Fronts against the definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.analysis.front import gain_loss_front, pareto_front, size_delta_front
from ppldelta.errors import PpldeltaError


def naive(x: np.ndarray, y: np.ndarray) -> list[bool]:
    finite = np.isfinite(x) & np.isfinite(y)
    return [
        bool(finite[i])
        and not any(finite[j] and x[j] <= x[i] and y[j] <= y[i] and (x[j] < x[i] or y[j] < y[i]) for j in range(len(x)))
        for i in range(len(x))
    ]


@pytest.mark.parametrize("seed", range(60))
def test_as_the_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 40))
    x, y = (rng.integers(0, rng.choice([3, 10, 1000]), n).astype(float) for _ in range(2))
    x[rng.random(n) < 0.1] = np.nan
    y[rng.random(n) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    front = pareto_front(x, y)
    assert front.tolist() == naive(x, y)
    assert pareto_front(y, x).tolist() == front.tolist()
    assert pareto_front(np.arctan(x), 3 * y + 1).tolist() == front.tolist(), "only the order counts"
    assert gain_loss_front(-x, y).tolist() == front.tolist()
    assert size_delta_front(x, -y).tolist() == front.tolist()


def test_a_finetune_and_a_quant() -> None:
    #       learnt much, forgot little; learnt less, forgot nothing; learnt less and forgot more; the best one's equal
    gain, loss = [0.3, 0.1, 0.2, 0.3], [0.1, 0.0, 0.2, 0.1]
    assert gain_loss_front(gain, loss).tolist() == [True, True, False, True]


def test_a_model_of_unknown_size_is_not_on_the_front() -> None:
    assert size_delta_front([None, 5, 3], [0.0, -0.1, -0.2]).tolist() == [False, True, True]


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(PpldeltaError, match="same length"):
        pareto_front([1, 2], [1])
