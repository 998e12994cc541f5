"""Records of pairs as the store keeps them: what both models say of each token, and beside it what they find best.

These are two values, so that a run with more best tokens, fewer or none finds all that it can use.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ppldelta.pairs import PAIR, joined, part, tops
from ppldelta.run.values import Values
from ppldelta.store.keys import WindowKeys
from ppldelta.store.store import Part, Store
from ppldelta.text.ragged import Ragged


def complete(store: Store, keys: WindowKeys, top_k: int) -> NDArray[np.bool_]:
    """Of which pairs the store has the record and as many best tokens; `keys` are those of one pair's windows."""
    has = store.has(keys)
    if top_k:
        has &= np.any([np.zeros(len(keys), np.bool_), *map(store.has, _wide(store, keys, top_k))], axis=0)
    return has


def read(store: Store, keys: WindowKeys, top_k: int, into: Values[np.void]) -> None:
    """Puts records of type `pairs.record` of those pairs.

    Args:
        store: which has some of them.
        keys: those of one pair's windows.
        top_k: how many best tokens of each model there are in a record.
        into: the records of these windows.
    """
    if not top_k:
        for at, records in store.read(keys):
            into.put(at, records, "")
        return
    best: Values[np.void] = Values(into.starts, keys.first, tops(top_k))
    for some in _wide(store, keys, top_k):
        if len(left := np.flatnonzero(~best.known)):
            for at, wide in store.read(some.taken(left)):
                best.put(left[at], Ragged(_narrowed(wide.values, top_k), wide.starts), "")
    for at, records in store.read(keys):
        both = np.flatnonzero(best.known[at])
        some_records = records.taken(both)
        of_best = best.at(at[both])
        into.put(at[both], Ragged(joined([some_records.values, of_best.values]), some_records.starts), "")


def parts(keys: WindowKeys, records: Ragged[np.void]) -> list[Part]:
    """Windows' records as what the store is to keep; computing them is counted with the log-probabilities."""
    times_s = np.zeros(len(keys))
    if records.values.dtype == PAIR:
        return [(keys, records, times_s)]
    top_k = records.values.dtype["top_tokens_ref"].shape[0]
    return [
        (some, Ragged(part(records.values, dtype), records.starts), times_s)
        for some, dtype in ((keys, PAIR), (keys.having(top_k=top_k), tops(top_k)))
    ]


def _wide(store: Store, keys: WindowKeys, top_k: int) -> Iterator[WindowKeys]:
    """For each number of best tokens that the store has, from `top_k` upwards: the keys of all windows."""
    for k in store.wider(keys.having(top_k=top_k).common) if keys else ():
        yield keys.having(top_k=k)


def _narrowed(values: NDArray[np.void], top_k: int) -> NDArray[np.void]:
    """The first `top_k` of the best tokens."""
    some = np.empty(len(values), tops(top_k))
    for name in some.dtype.names or ():
        some[name] = values[name][:, :top_k]
    return some
