"""Small `.kld` files as llama-perplexity writes them, from random logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_VOCAB = 96


def write_random_kld(
    path: Path, *, seed: int, n_ctx: int = 16, n_vocab: int = N_VOCAB, n_chunks: int = 2, tokens_of: int | None = None
) -> NDArray[np.float32]:
    """Writes a file and returns its log-probabilities before they were rounded.

    Args:
        path: the file.
        seed: of the logits and the tokens.
        n_ctx: tokens in a chunk.
        n_vocab: entries of the vocabulary.
        n_chunks: chunks.
        tokens_of: seed of the tokens, if that is another.
    """
    rng = np.random.default_rng(seed)
    tokens = np.random.default_rng([1, seed if tokens_of is None else tokens_of]).integers(0, n_vocab, n_chunks * n_ctx)
    header = b"_logits_" + np.array([n_ctx, n_vocab, n_chunks], "<i4").tobytes()
    found = []
    with path.open("wb") as file:
        file.write(header + tokens.astype("<i4").tobytes())
        for _ in range(n_chunks):
            logits = rng.standard_normal((n_ctx - 1 - n_ctx // 2, n_vocab), np.float32) * 6
            most = logits.max(axis=1, keepdims=True)
            least = np.maximum(logits.min(axis=1, keepdims=True), most - 16)
            log_sum = np.log(np.exp(logits - most, dtype=np.float64).sum(axis=1, keepdims=True))
            step = ((most - least) / 65535).astype(np.float32)
            steps = np.rint(np.maximum(logits - least, 0) / step).astype("<u2")
            heads = np.concatenate([step, (least - most - log_sum).astype(np.float32)], axis=1).astype("<f4")
            padding = np.zeros((len(steps), n_vocab % 2), "<u2")
            rows = np.concatenate([heads.view("<u2"), steps, padding], axis=1)
            file.write(rows.tobytes())
            found.append((logits - most - log_sum).astype(np.float32))
    return np.concatenate(found)
