"""A sample of the documents: windows spread over categories and documents, the same ones whenever the texts are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppldelta.store.keys import tokens_hash, unpacked
from ppldelta.text.many import Batches
from ppldelta.text.windows import Batch

N_WINDOWS = 8
"""At least as many windows are wanted, where there are so many."""
PART = 0.02
"""Of all windows, where that is more."""
MOST_TOKENS = 32_768
"""Windows are taken as long as they have at most so many tokens together, and always one batch."""


def sample(batches: Batches, categories: Sequence[str]) -> list[Batch]:
    """Some batches of a corpus: the first of each document before the second of any, the categories in turn.

    Among equals the hash of the tokens decides, so that neither names nor the order of files matter, and a text that is
    added moves little.

    Args:
        batches: of all windows, which are evaluated together; on a CPU each holds one. A batch belongs to the document
            of its first window.
        categories: of each document.

    Returns:
        Whole batches in the order of the corpus, of at least `N_WINDOWS` windows and `PART` of all of them, as far as
        `MOST_TOKENS` allow.
    """
    order = np.argsort(_digests(batches), kind="stable")
    document = batches.windows.document[batches.which[batches.starts[order]]]
    _, first, own = np.unique(document, return_index=True, return_inverse=True)
    code = {each: k for k, each in enumerate(sorted(set(categories)))}
    category = np.array([code[categories[i]] for i in document[first].tolist()])
    # a document's turn is the number of documents of its category with smaller digests; a batch's turn is the number of
    # batches of its document with smaller digests
    n_before = _n_before(category[np.argsort(first)])[np.argsort(np.argsort(first))]
    places = order[np.lexsort((category[own], n_before[own], _n_before(own)))]
    n_wanted = max(N_WINDOWS, math.ceil(PART * len(batches.at)))
    n_fed, n_each = batches.n_fed, np.diff(batches.starts)
    taken: list[int] = []
    n_windows = n_tokens = 0
    for i in places.tolist():
        if n_windows >= n_wanted:
            break
        if taken and n_tokens + n_fed[i] > MOST_TOKENS:
            continue  # a shorter one may fit
        taken.append(i)
        n_windows += int(n_each[i])
        n_tokens += int(n_fed[i])
    return [batches[i] for i in sorted(taken)]


def _digests(batches: Batches) -> NDArray[np.bytes_]:
    """Of each batch the hash of its first window's tokens."""
    tokens = batches.windows.tokens
    which = batches.which[batches.starts[:-1]]
    ends = zip(tokens.starts[which].tolist(), tokens.starts[which + 1].tolist(), strict=True)
    return unpacked(b"".join(tokens_hash(tokens.values[begin:end]) for begin, end in ends))


def _n_before(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each item how many of its kind come before it."""
    order = np.argsort(kinds, kind="stable")
    _, begin, n_each = np.unique(kinds[order], return_index=True, return_counts=True)
    found = np.empty(len(kinds), np.int64)
    found[order] = np.arange(len(kinds)) - np.repeat(begin, n_each)
    return found
