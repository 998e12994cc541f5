"""The bootstrap against a literal one, against theory, and where there is nothing to resample."""

from __future__ import annotations

import numpy as np
import pytest

from ppldelta.analysis import uncertainty
from ppldelta.analysis.uncertainty import percentile_interval, resampled_sums
from ppldelta.errors import PpldeltaError


def statistics(n_documents: int, n_columns: int = 3, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 2.0, (n_documents, n_columns))


def test_sums_are_those_of_rows_drawn_one_by_one() -> None:
    table = statistics(7)
    draws = np.random.default_rng(11).integers(0, 7, size=(50, 7))
    literal = np.array([sum(table[i] for i in draw) for draw in draws])
    np.testing.assert_allclose(resampled_sums(table, n_resamples=50, seed=11), literal, rtol=1e-12)


def test_each_resample_has_as_many_documents_as_there_are() -> None:
    sums = resampled_sums(np.ones((23, 1)), n_resamples=400, seed=0)
    assert (sums == 23).all()


def test_same_seed_same_sums_another_seed_others() -> None:
    table = statistics(20)
    first = resampled_sums(table, n_resamples=100, seed=3)
    np.testing.assert_array_equal(first, resampled_sums(table, n_resamples=100, seed=3))
    assert not np.allclose(first, resampled_sums(table, n_resamples=100, seed=4))


@pytest.mark.parametrize("cells", [1, 13, 130, 10_000])
def test_sums_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    table = statistics(13)
    whole = resampled_sums(table, n_resamples=101, seed=0)
    monkeypatch.setattr(uncertainty, "_CELLS", cells)
    np.testing.assert_allclose(resampled_sums(table, n_resamples=101, seed=0), whole, rtol=1e-12)


def test_columns_are_resampled_together() -> None:
    table = statistics(15, 1)
    sums = resampled_sums(np.hstack([table, 2 * table]), n_resamples=200, seed=0)
    np.testing.assert_allclose(sums[:, 1], 2 * sums[:, 0], rtol=1e-12)


def test_a_column_that_is_not_finite_leaves_the_others() -> None:
    table = statistics(9)
    broken = table.copy()
    broken[4, 1] = np.nan
    sums = resampled_sums(broken, n_resamples=64, seed=0)
    assert np.isnan(sums[:, 1]).all()
    np.testing.assert_allclose(sums[:, [0, 2]], resampled_sums(table, n_resamples=64, seed=0)[:, [0, 2]], rtol=1e-12)


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    """Normal theory: mean ± 1.96 s / sqrt(n). With 20 000 resamples an end is off by about 2 % of s / sqrt(n)."""
    values = statistics(400, 1)
    error = values.std() / 20
    means = resampled_sums(values, n_resamples=20_000, seed=0)[:, 0] / 400
    low, high = percentile_interval(means, level=0.95)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.12 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.12 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """300 corpora of 40 documents with true mean 1: a percentile interval covers a little below 95 %.

    The tolerance is three standard errors of 300 draws (1.3 % each) around the 94 % expected at n = 40.
    """
    hits = 0
    for corpus in range(300):
        table = statistics(40, 1, seed=1000 + corpus)
        low, high = percentile_interval(resampled_sums(table, n_resamples=400, seed=corpus)[:, 0] / 40, level=0.95)
        hits += bool(low <= 1.0 <= high)
    assert 0.90 <= hits / 300 <= 0.98


def test_equal_documents_leave_no_doubt() -> None:
    sums = resampled_sums(np.full((12, 1), 0.5), n_resamples=100, seed=0)
    assert percentile_interval(sums[:, 0], level=0.95) == (6.0, 6.0)


def test_percentiles_by_hand() -> None:
    low, high = percentile_interval(np.arange(101.0)[:, None] * [1, 10], level=0.9)
    np.testing.assert_allclose(low, [5, 50])
    np.testing.assert_allclose(high, [95, 950])


def test_a_score_that_is_nan_has_ends_that_are_nan() -> None:
    scores = np.arange(10.0)[:, None] * [1, 1]
    scores[3, 1] = np.nan
    low, high = percentile_interval(scores, level=0.5)
    assert np.isnan([low[1], high[1]]).all()
    assert np.isfinite([low[0], high[0]]).all()


def test_ten_thousand_documents_fit_into_bounded_memory() -> None:
    """2000 x 10 000 counts are 160 MB in float64; a chunk may hold at most a few times `_CELLS` numbers."""
    import tracemalloc

    tracemalloc.start()
    resampled_sums(np.ones((10_000, 17)), n_resamples=2000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 8 * uncertainty._CELLS


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, float("nan")])
def test_levels_out_of_range_are_refused(level: float) -> None:
    with pytest.raises(PpldeltaError, match="between 0 and 1"):
        percentile_interval(np.zeros(3), level=level)


@pytest.mark.parametrize(("n_documents", "n_resamples"), [(0, 10), (5, 0), (5, -1)])
def test_nothing_to_resample_is_refused(n_documents: int, n_resamples: int) -> None:
    with pytest.raises(PpldeltaError, match="at least 1 document and 1 resample"):
        resampled_sums(np.zeros((n_documents, 2)), n_resamples=n_resamples, seed=0)
