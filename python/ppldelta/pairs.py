"""What two models that are evaluated in lockstep say of each token, as one record.

The contract between the engine that computes it, the store that keeps it, and the frames that show it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PAIR = np.dtype(
    [
        ("kld", "<f4"),  # Σ p_ref (ln p_ref - ln p_cmp) over the vocabulary, nats (Kullback and Leibler 1951)
        ("entropy_ref", "<f4"),  # -Σ p ln p, nats (Shannon 1948)
        ("entropy_cmp", "<f4"),
        ("logp_top_ref", "<f4"),  # ln of the largest probability
        ("logp_top_cmp", "<f4"),
        ("rank_ref", "<i4"),  # of the token that really came next: 1 and how many are more probable
        ("rank_cmp", "<i4"),
        ("top_ref", "<i4"),  # the most probable token, of several the first
        ("top_cmp", "<i4"),
    ]
)
"""Fields of a record."""


BEST = np.dtype([("top", "<i4"), ("logp_top", "<f4")])
"""What one model alone finds most probable at a place: the token (of several the first), and ln of its probability."""


def tops(top_k: int) -> np.dtype[np.void]:
    """Fields of what both models find most probable: the `top_k` best tokens of each, best first.

    Of equally probable tokens the one with the smaller number comes first; `top_logp_*` are float32 in nats, and
    `top_tokens_*` int32.
    """
    return np.dtype(
        [
            ("top_tokens_ref", "<i4", (top_k,)),
            ("top_tokens_cmp", "<i4", (top_k,)),
            ("top_logp_ref", "<f4", (top_k,)),
            ("top_logp_cmp", "<f4", (top_k,)),
        ]
    )


def record(top_k: int) -> np.dtype[np.void]:
    """Type of a record: `PAIR`, and with a `top_k` above 0 the fields of `tops` behind it."""
    return np.dtype(PAIR.descr + tops(top_k).descr) if top_k else PAIR


def joined(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Arrays of one length as one that has the fields of all of them."""
    whole = np.empty(len(parts[0]), np.dtype([field for part in parts for field in part.dtype.descr]))
    for part in parts:
        for name in part.dtype.names or ():
            whole[name] = part[name]
    return whole


def part(records: NDArray[np.void], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """A copy of records with the fields of `dtype` alone."""
    some = np.empty(len(records), dtype)
    for name in dtype.names or ():
        some[name] = records[name]
    return some
