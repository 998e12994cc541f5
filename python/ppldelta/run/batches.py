"""Which windows are evaluated together; pure arithmetic on their lengths."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.many import Batches, Windows
from ppldelta.text.ragged import starts_of


def make_batches(windows: Windows, *, n_seq_max: int, n_ctx: int) -> Batches:
    """Puts the windows of all documents into batches. The batches come in the order of their first windows.

    Windows with one prefix come together, and of the others, with flash attention or without, those that
    `shared_batches` says.

    Args:
        windows: all of them.
        n_seq_max: most windows in one batch.
        n_ctx: most tokens in one batch.
    """
    numbers = np.empty(len(windows), np.int64)
    behind = np.flatnonzero(windows.prefix)
    numbers[behind] = _behind_prefixes(windows, behind, n_ctx)
    for k, flash in enumerate((True, False), 1):  # a context evaluates with flash attention or without
        others = np.flatnonzero((windows.prefix == 0) & (windows.flash == flash))
        numbers[others] = k * len(windows) + _beside(windows, others, n_seq_max, n_ctx)
    _, first, own = np.unique(numbers, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers = rank[own]
    at = np.argsort(numbers, kind="stable")
    return Batches(windows, at, at, starts_of(np.bincount(numbers, minlength=len(first))))


def _behind_prefixes(windows: Windows, at: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
    """Which windows share a prefix and go in together, wherever they stand: a number for each.

    A batch is evaluated in one task, and what a killed task has done is lost. So a batch is full when it has four times
    as many tokens behind the prefix as in it, and as many as a window: the next one reads the prefix again, which costs
    a quarter more at most.

    Args:
        windows: all of them.
        at: those with a prefix.
        n_ctx: most tokens of a window.
    """
    tokens, starts = windows.tokens.values, windows.tokens.starts
    prefix = windows.prefix[at]
    digests = np.empty((len(at), 2), np.uint64)  # a table of them takes less than a dictionary of prefixes
    for k, (begin, n) in enumerate(zip(starts[at].tolist(), prefix.tolist(), strict=True)):
        digest = hashlib.blake2b(tokens[begin : begin + n].tobytes(), digest_size=16).digest()
        digests[k] = np.frombuffer(digest, np.uint64)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    digests, prefix = digests[order], prefix[order]
    begins = np.ones(len(at), np.bool_)
    begins[1:] = (digests[1:] != digests[:-1]).any(axis=1)
    n_behind = windows.n_fed[at[order]] - prefix
    full = True
    number, n_tokens, found = -1, 0, array("q")
    for new, n, enough in zip(begins.tolist(), n_behind.tolist(), np.maximum(4 * prefix, n_ctx).tolist(), strict=True):
        if new or full:
            number, n_tokens = number + 1, 0
        found.append(number)
        n_tokens += n
        full = n_tokens >= enough
    numbers = np.empty(len(at), np.int64)
    numbers[order] = np.array(found, np.int64)
    return numbers


def _beside(windows: Windows, at: NDArray[np.int64], n_seq_max: int, n_ctx: int) -> NDArray[np.int64]:
    """The same of windows without a prefix, some of which may go in side by side."""
    if n_seq_max == 1:
        return np.arange(len(at))
    of_documents = np.split(windows.n_fed[at], np.flatnonzero(np.diff(windows.document[at])) + 1)
    return np.array(shared_batches([each.tolist() for each in of_documents], n_seq_max=n_seq_max, n_ctx=n_ctx))


def shared_batches(lengths: Sequence[Sequence[int]], *, n_seq_max: int, n_ctx: int) -> list[int]:
    """Says which windows are evaluated together, from all of them at once, so that every model gets the same batches.

    Only documents of one window share a batch: one of several windows fills its micro-batches itself. Windows of
    similar length come together.

    Args:
        lengths: for each document, the tokens of its windows.
        n_seq_max: most windows in one batch.
        n_ctx: most tokens in one batch.

    Returns:
        For each window of each document the number of its batch; numbers begin with 0 and rise in the order of windows.
    """
    windows = [(length, len(each) == 1 and n_seq_max > 1) for each in lengths for length in each]
    groups = [[i] for i, (_, shares) in enumerate(windows) if not shares]
    n_tokens = n_ctx + 1  # as if the last group were full, so that the first window begins a new one
    for i in sorted((i for i, (_, shares) in enumerate(windows) if shares), key=lambda i: windows[i]):
        length, _ = windows[i]
        if n_tokens + length > n_ctx or len(groups[-1]) == n_seq_max:
            groups.append([])
            n_tokens = 0
        groups[-1].append(i)
        n_tokens += length
    batches = [0] * len(windows)
    for batch, group in enumerate(sorted(groups, key=min)):
        for i in group:
            batches[i] = batch
    return batches
