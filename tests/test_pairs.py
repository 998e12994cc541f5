"""What rows of logits say of each other, against NumPy's float64; and rows that the engine kept and compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.llama_ctypes import log_softmax
from ppldelta import _core, demo

N_ROWS = 6


def rows(
    n_vocab: int, scale: float, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Logits of a reference and of a comparison near it, and targets."""
    rng = np.random.default_rng(n_vocab)
    ref = (rng.standard_normal((N_ROWS, n_vocab)) * scale).astype(np.float32)
    cmp = (ref + rng.standard_normal(ref.shape) * noise).astype(np.float32)
    return ref, cmp, rng.integers(0, n_vocab, N_ROWS).astype(np.int32)


@pytest.mark.parametrize("n_vocab", [1, 2, 15, 17, 63, 64, 1025, 151_936])
@pytest.mark.parametrize(("scale", "noise"), [(0.1, 0.01), (3.0, 0.1), (20.0, 5.0)])
def test_pair_values_equal_float64(n_vocab: int, scale: float, noise: float) -> None:
    ref, cmp, targets = rows(n_vocab, scale, noise)
    values = _core.compare_rows(ref, cmp, targets, 2)
    log_p, log_q = log_softmax(ref), log_softmax(cmp)
    kld = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    assert values["kld"] == pytest.approx(kld, rel=3e-6, abs=1e-7)
    check_row_values(values["cmp"], cmp, targets)
    check_row_values(_core.describe_rows(ref, targets, 2), ref, targets)


def check_row_values(values: NDArray[np.void], logits: NDArray[np.float32], targets: NDArray[np.int32]) -> None:
    log_p = log_softmax(logits)
    assert values["entropy"] == pytest.approx(-np.sum(np.exp(log_p) * log_p, axis=1), rel=1e-6, abs=3e-7)
    assert values["logp_top"] == pytest.approx(log_p.max(axis=1), rel=1e-6, abs=1e-7)
    assert np.array_equal(values["top"], logits.argmax(axis=1))
    at_target = logits[np.arange(N_ROWS), targets]
    assert np.array_equal(values["rank"], 1 + (logits > at_target[:, None]).sum(axis=1))
    assert np.array_equal(values["logp"], _core.log_softmax(logits, targets, 1)), "the same bits as without a pair"


@pytest.mark.parametrize("n_vocab", [1, 2, 100, 4097])
def test_a_row_is_at_no_distance_from_itself(n_vocab: int) -> None:
    ref, _, targets = rows(n_vocab, 7.0, 0.0)
    values = _core.compare_rows(ref, ref.copy(), targets, 3)
    assert not values["kld"].any()
    assert np.array_equal(values["cmp"], _core.describe_rows(ref, targets, 1))


def test_masked_logits() -> None:
    """What both rule out adds nothing; what only the comparison rules out is infinitely far."""
    ref, cmp, targets = rows(200, 1.0, 0.1)
    ref[:, 100:] = cmp[:, 100:] = -np.inf
    targets %= 100
    kld = _core.compare_rows(ref, cmp, targets, 1)["kld"]
    short = _core.compare_rows(ref[:, :100].copy(), cmp[:, :100].copy(), targets, 1)["kld"]
    assert kld == pytest.approx(short, rel=1e-5)
    cmp[0, :100] = np.where(np.arange(100) == ref[0, :100].argmax(), -np.inf, cmp[0, :100])
    assert _core.compare_rows(ref, cmp, targets, 1)["kld"][0] == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 100, 199])
@pytest.mark.parametrize("in_ref", [True, False])
def test_logits_that_are_not_finite_show(bad: float, where: int, in_ref: bool) -> None:
    ref, cmp, targets = rows(200, 1.0, 0.1)
    (ref if in_ref else cmp)[0, where] = bad
    values = _core.compare_rows(ref, cmp, targets, 1)
    assert not np.isfinite(values["kld"][0])
    assert np.isfinite(values["kld"][1:]).all()


# --- the most probable tokens ---------------------------------------------------------------------------------------


def best(logits: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Indices of the k largest numbers of each row; of equal ones the first first."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("n_vocab", [1, 65, 4096, 4097, 151_936])
@pytest.mark.parametrize("k", [1, 64, 65])
@pytest.mark.parametrize("what", ["drawn", "few numbers", "equal", "rising", "falling"])
def test_best_tokens_equal_float64(n_vocab: int, k: int, what: str) -> None:
    rng = np.random.default_rng(k)
    logits = {
        "drawn": lambda: rng.standard_normal((4, n_vocab)) * 5,
        "few numbers": lambda: rng.integers(0, 9, (4, n_vocab)),
        "equal": lambda: np.full((4, n_vocab), 3.0),
        "rising": lambda: np.tile(np.arange(n_vocab), (4, 1)) / 1000,
        "falling": lambda: -np.tile(np.arange(n_vocab), (4, 1)) / 1000,
    }[what]().astype(np.float32)
    k = min(k, n_vocab)
    tops = _core.top_tokens(logits, k, 2)
    assert np.array_equal(tops["token"], best(logits, k))
    expected = np.take_along_axis(log_softmax(logits), best(logits, k), axis=1)
    assert tops["logp"] == pytest.approx(expected, rel=1e-6, abs=2e-7)


def test_best_tokens_of_rows_with_tokens_that_are_ruled_out() -> None:
    logits, _, _ = rows(200, 1.0, 0.0)
    logits[:, 5:] = -np.inf
    tops = _core.top_tokens(logits, 7, 1)
    assert np.array_equal(tops["token"], best(logits, 7)), "ruled out, and yet first among them"
    assert np.isneginf(tops["logp"][:, 5:]).all()


def test_best_tokens_of_rows_that_are_no_numbers() -> None:
    logits, _, _ = rows(200, 1.0, 0.0)
    logits[0], logits[1, 3:] = np.nan, np.nan
    tops = _core.top_tokens(logits, 7, 1)
    assert (tops["token"][0] == -1).all() and np.isnan(tops["logp"][:2]).all()
    assert sorted(tops["token"][1]) == [-1, -1, -1, -1, 0, 1, 2]
    assert np.array_equal(tops["token"][2:], best(logits[2:], 7))


# --- in the engine ----------------------------------------------------------------------------------------------------


def scorer(path: Path, n_seq_max: int) -> _core.Scorer:
    return _core.Scorer(_core.Model(str(path).encode(), 0, False), 256, 64, 16, n_seq_max, 2)


@pytest.mark.parametrize("lengths", [[200], [60, 71]])
def test_kept_rows_are_compared_with_those_of_the_same_place(lengths: list[int]) -> None:
    """Two windows share a step, and rows go back to their windows; the log-probabilities are those of scoring."""
    windows = []
    for n in lengths:
        tokens = np.arange(n, dtype=np.int32) % 50 + n
        windows.append((tokens[:-1], n // 3, tokens[n // 3 + 1 :], 0))
    ref, cmp = (scorer(path, len(lengths)) for path in (demo.REFERENCE, demo.COMPARISONS[0]))
    described, tops_ref, kept = ref.keep(windows, 3, lambda n_tokens: None)
    compared, tops_cmp = cmp.compare(windows, kept, lambda n_tokens: None)
    logp_ref, logp_cmp = (each.score(windows, lambda n_tokens: None) for each in (ref, cmp))
    for i, (_, _, targets, _) in enumerate(windows):
        assert len(compared[i]) == len(targets)
        assert np.array_equal(described[i]["logp"], logp_ref[i])
        assert np.array_equal(compared[i]["cmp"]["logp"], logp_cmp[i])
        assert (compared[i]["kld"] > 0).all()
        for tops, values in ((tops_ref[i], described[i]), (tops_cmp[i], compared[i]["cmp"])):
            assert tops.shape == (len(targets), 3)
            assert np.array_equal(tops["token"][:, 0], values["top"])
            assert np.array_equal(tops["logp"][:, 0], values["logp_top"])
    again, tops_again = ref.compare(windows, kept, lambda n_tokens: None)
    assert not any(each["kld"].any() for each in again), "at no distance"
    assert all(map(np.array_equal, tops_again, tops_ref))
