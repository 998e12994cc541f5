"""A sample of the documents: windows spread over categories and documents, the same ones whenever the texts are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ppldelta.store.keys import tokens_hash
from ppldelta.text.many import Batches
from ppldelta.text.windows import Batch

N_WINDOWS = 8
"""At least as many windows are wanted, where there are so many."""
PART = 0.02
"""Of all windows, where that is more."""
MOST_TOKENS = 32_768
"""Windows are taken as long as they have at most so many tokens together, and always one batch."""


def sample(batches: Sequence[Batch], category_of: Callable[[Batch], str]) -> list[Batch]:
    """Some batches of a corpus: the first of each document before the second of any, the categories in turn.

    Among equals the hash of the tokens decides, so that neither names nor the order of files matter, and a text that is
    added moves little.

    Args:
        batches: of all windows, which are evaluated together; on a CPU each holds one.
        category_of: gives the category of a batch, which is that of its first document.

    Returns:
        Whole batches in the order of the corpus, of at least `N_WINDOWS` windows and `PART` of all of them, as far as
        `MOST_TOKENS` allow.
    """
    digests = [tokens_hash(batch.windows[0].tokens) for batch in batches]
    names = Batches.of(batches).names
    of_document: dict[tuple[str, str], list[int]] = {}
    for i in sorted(range(len(batches)), key=digests.__getitem__):
        of_document.setdefault((category_of(batches[i]), names[i]), []).append(i)
    n_before: dict[str, int] = {}
    places: dict[int, tuple[int, int, str]] = {}
    for (category, _), own in of_document.items():  # documents in the order of their least digests
        n_before[category] = n_before.get(category, -1) + 1
        places |= {i: (turn, n_before[category], category) for turn, i in enumerate(own)}
    n_wanted = max(N_WINDOWS, math.ceil(PART * len(Batches.of(batches).at)))
    taken: list[int] = []
    n_windows = n_tokens = 0
    for i in sorted(places, key=lambda i: places[i]):
        if n_windows >= n_wanted:
            break
        if taken and n_tokens + batches[i].n_fed > MOST_TOKENS:
            continue  # a shorter one may fit
        taken.append(i)
        n_windows += len(batches[i].at)
        n_tokens += batches[i].n_fed
    return [batches[i] for i in sorted(taken)]
