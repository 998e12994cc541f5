"""What two models that are evaluated in lockstep say of each token, as one record.

The contract between the engine that computes it, the store that keeps it, and the frames that show it.
"""

from __future__ import annotations

import numpy as np

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
