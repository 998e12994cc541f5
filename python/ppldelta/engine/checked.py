"""Windows as the extension takes them, which trusts what it gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.windows import Window

CoreWindow = tuple[NDArray[np.int32], int, NDArray[np.int32], int]
"""Tokens, first output, targets, prefix."""


def as_core(windows: Sequence[Window], *, n_ctx: int, n_seq_max: int, n_vocab: int) -> list[CoreWindow]:
    """The windows of one call.

    Args:
        windows: side by side, or behind a prefix that is the same for all of them.
        n_ctx: most tokens in the context: of all windows together, or behind a prefix of each.
        n_seq_max: most windows side by side.
        n_vocab: entries of the vocabulary.

    Raises:
        ValueError: they do not fit the context, the vocabulary or one another.
    """
    prefix = windows[0].prefix if windows else 0
    lengths = [len(window.tokens) for window in windows]
    if not windows or (len(windows) > n_seq_max and not prefix):
        raise ValueError(f"{len(windows)} windows in a context for {n_seq_max}")
    if (max(lengths) if prefix else sum(lengths)) > n_ctx or not all(lengths):
        raise ValueError(f"{len(windows)} windows of {sum(lengths)} tokens in a context of {n_ctx}")
    for window in windows:
        n_rows = len(window.tokens) - window.first_output
        if window.first_output < 0 or len(window.targets) != n_rows:
            raise ValueError(f"{len(window.targets)} targets for {n_rows} rows")
        if not 0 <= window.prefix <= min(window.first_output, len(window.tokens) - 1):
            raise ValueError(f"a prefix of {window.prefix} tokens before row {window.first_output}")
        if window.prefix != prefix or not np.array_equal(window.tokens[:prefix], windows[0].tokens[:prefix]):
            raise ValueError("the windows have different prefixes")
        check_tokens(window.tokens, n_vocab)
        check_tokens(window.targets, n_vocab)
    return [(window.tokens, window.first_output, window.targets, window.prefix) for window in windows]


def check_tokens(tokens: NDArray[np.int32], n_vocab: int) -> None:
    """
    Raises:
        ValueError: they are not int32 of one dimension, or outside the vocabulary.
    """
    if tokens.ndim != 1 or tokens.dtype != np.int32:
        raise ValueError(f"tokens must be int32 of one dimension, not {tokens.dtype} of shape {tokens.shape}")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= n_vocab):
        raise ValueError(f"tokens outside the vocabulary of {n_vocab}: {tokens.min()} … {tokens.max()}")
