"""Records of pairs as the store keeps them: what both models say of each token, and beside it what they find best.

These are two values, so that a run with more best tokens, fewer or none finds all that it can use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ppldelta.pairs import PAIR, joined, part, tops
from ppldelta.store.keys import Key, WindowKeys
from ppldelta.store.store import Store


def complete(store: Store, keys: WindowKeys, top_k: int) -> NDArray[np.bool_]:
    """Of which pairs the store has the record and as many best tokens; `keys` are those of one pair's windows."""
    has = store.has(keys)
    if top_k:
        has &= np.any([np.zeros(len(keys), np.bool_), *map(store.has, _wide(store, keys, top_k))], axis=0)
    return has


def stored(store: Store, keys: WindowKeys, top_k: int) -> dict[Key, NDArray[np.void]]:
    """Records of type `pairs.record` of those pairs."""
    records = store.get(keys)
    if not top_k:
        return records
    best: dict[Key, NDArray[np.void]] = {}
    for some in _wide(store, keys, top_k):
        for key, values in store.get(key for key in some if replace(key, top_k=0) not in best).items():
            best[replace(key, top_k=0)] = _narrowed(values, top_k)
    return {key: joined([records[key], best[key]]) for key in records if key in best}


def rows(key: Key, records: NDArray[np.void]) -> list[tuple[Key, NDArray[np.void], float]]:
    """A window's records as what the store is to keep; computing them is counted with the log-probabilities."""
    if records.dtype == PAIR:
        return [(key, records, 0.0)]
    top_k = records.dtype["top_tokens_ref"].shape[0]
    return [(key, part(records, PAIR), 0.0), (replace(key, top_k=top_k), part(records, tops(top_k)), 0.0)]


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
