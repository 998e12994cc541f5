"""The raw extension: numerics against NumPy, the shared struct, errors as exceptions, one version on both sides."""

from __future__ import annotations

import importlib.metadata
import os

import numpy as np
import pytest

import ppldelta
from helpers.llama_ctypes import log_softmax
from ppldelta import _core, demo


def test_both_sides_bear_one_version() -> None:
    assert _core.__version__ == ppldelta.__version__ == importlib.metadata.version("ppldelta")


@pytest.mark.parametrize("n_vocab", [1, 2, 15, 16, 17, 63, 64, 65, 4096, 151_936])
@pytest.mark.parametrize("scale", [0.01, 4.0, 60.0])
def test_log_softmax_errs_no_more_than_float32(n_vocab: int, scale: float) -> None:
    """The engine may err no more than the naive float32 way, and hardly more than rounding the result to float32."""
    rng = np.random.default_rng(n_vocab)
    logits = (rng.standard_normal((8, n_vocab)) * scale + 3).astype(np.float32)
    targets = rng.integers(0, n_vocab, 8).astype(np.int32)
    exact = log_softmax(logits)[np.arange(8), targets]
    ours = _core.log_softmax(logits, targets, 2)
    shifted = logits - logits.max(axis=1, keepdims=True)
    naive = (shifted - np.log(np.exp(shifted).sum(axis=1, dtype=np.float32, keepdims=True)))[np.arange(8), targets]
    rounding = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert np.abs(ours - exact).max() <= max(np.abs(naive - exact).max(), (rounding / 2).max() + 1e-7)


def test_log_softmax_is_the_same_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((37, 50_000)).astype(np.float32)
    targets = rng.integers(0, 50_000, 37).astype(np.int32)
    one = _core.log_softmax(logits, targets, 1)
    assert np.array_equal(one, _core.log_softmax(logits, targets, 5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 100, 199])  # among the lanes and in what is left over
def test_log_softmax_shows_logits_that_are_not_finite(bad: float, where: int) -> None:
    logits = np.zeros((1, 200), np.float32)
    logits[0, where] = bad
    assert not np.isfinite(_core.log_softmax(logits, np.array([7], np.int32), 1)).any()


def test_masked_logits_get_no_probability() -> None:
    logits = np.zeros((2, 40), np.float32)
    logits[:, 10:] = -np.inf
    logp = _core.log_softmax(logits, np.array([3, 20], np.int32), 1)
    assert logp[0] == pytest.approx(-np.log(10), abs=1e-6)
    assert logp[1] == -np.inf


def test_signed_sums_of_the_shared_header_equal_numpy() -> None:
    rng = np.random.default_rng(1)
    ref, cmp = -rng.exponential(2, (2, 1000)).astype(np.float32)
    gain, loss, n = _core.signed_sums(ref, cmp)
    delta = cmp.astype(np.float64) - ref.astype(np.float64)
    assert gain == pytest.approx(delta[delta > 0].sum(), rel=1e-12)
    assert loss == pytest.approx(-delta[delta < 0].sum(), rel=1e-12)
    assert n == 1000


def test_record_dtype_is_the_documented_one() -> None:
    assert _core.record_dtype == np.dtype(
        [("chunk", "<i4"), ("pos", "<i4"), ("token", "<i4"), ("logp_ref", "<f4"), ("logp_cmp", "<f4"), ("kld", "<f4")]
    )


def test_a_model_that_cannot_be_loaded_raises() -> None:
    with pytest.raises(RuntimeError, match="cannot load"):
        _core.Model(b"/nonexistent.gguf", 0, False)
    assert any("nonexistent" in text for _, text in _core.drain_log(0))


def test_tokens_are_the_text() -> None:
    """A byte-level vocabulary loses nothing: the pieces of the tokens put together are the document."""
    model = _core.Model(os.fsencode(demo.REFERENCE), 0, True)
    for path in sorted(demo.CORPUS.glob("*/*.*")):
        text = path.read_bytes()
        tokens = model.tokenize(text)
        assert b"".join(model.pieces(tokens)) == text
        assert tokens[0] != model.info()["bos"]


def test_special_tokens_spelt_out_in_a_text_are_text() -> None:
    model = _core.Model(os.fsencode(demo.REFERENCE), 0, True)
    info = model.info()
    spelt = model.pieces(np.array([info["bos"]], np.int32))[0]
    assert spelt
    assert info["bos"] not in model.tokenize(spelt)


@pytest.mark.parametrize("n_tokens", [4, 5, 7, 64])
@pytest.mark.parametrize("n_outputs", [1, 3, 64])
def test_a_cut_feeds_every_token_once_within_the_limits(n_tokens: int, n_outputs: int) -> None:
    for n in range(1, 30):
        for first_output in range(n):
            steps = _core.cut([(n, first_output)], n_tokens, n_outputs)
            assert [i for step in steps for w, begin, end in step for i in range(begin, end)] == list(range(n))
            for step in steps:
                [(_, begin, end)] = step
                assert 0 < end - begin <= n_tokens
                assert end - max(begin, first_output) <= n_outputs


def test_a_windows_last_token_never_comes_alone() -> None:
    """The numbers of a step of one token depend on the number of threads."""
    for n in range(2, 40):
        for n_tokens in range(4, 12):
            [(_, begin, end)] = _core.cut([(n, 0)], n_tokens, n_tokens)[-1]
            assert end - begin >= 2


def test_several_windows_go_in_together() -> None:
    assert _core.cut([(3, 1), (4, 0), (2, 1)], 16, 1) == [[(0, 0, 3), (1, 0, 4), (2, 0, 2)]]
