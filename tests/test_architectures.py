"""Architectures of every kind, with random weights: the numbers are those of llama-perplexity.

They stand for the ways in which llama.cpp computes: attention to all tokens and in sliding windows, states, both,
experts, MLA. The worker and the check of the kernels take part, as in any run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import printed_nll
from helpers import architectures

N_CTX, N_UBATCH, N_WINDOWS = 256, 128, 3


@pytest.mark.parametrize("name", architectures.ALL)
def test_mean_nll_of_every_window_is_what_llama_perplexity_prints(name: str, document: Path, tmp_path: Path) -> None:
    model = architectures.write(tmp_path / "m.gguf", name)
    printed = printed_nll(model, document, "--chunks", N_WINDOWS, n_ctx=N_CTX, n_ubatch=N_UBATCH)
    result = ppldelta.score(
        document, model, model, windows="perplexity", n_ctx=N_CTX, n_ubatch=N_UBATCH, max_windows=N_WINDOWS,
        store=None, progress=False,
    )  # fmt: skip
    assert (result.tokens["delta"] == 0).all()
    nll = -result.tokens["logp_ref"].cast(pl.Float64).to_numpy().reshape(N_WINDOWS, -1)
    assert nll.mean() > 3, "random weights know nothing of the text"
    assert np.cumsum(nll.mean(axis=1)) / np.arange(1, N_WINDOWS + 1) == pytest.approx(printed, abs=6e-7)
