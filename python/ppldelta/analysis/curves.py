"""How a document's numbers settle along its tokens.

After the first k scored tokens: ``delta_sum = Σ delta`` and ``ppl_ratio = ppl_cmp / ppl_ref = exp(-delta_sum / k)``.
"""

from __future__ import annotations

import math

import polars as pl


def running(tokens: pl.DataFrame) -> pl.DataFrame:
    """Running ratio of perplexities and sum of deltas.

    Args:
        tokens: rows of `schema.TOKENS` of one document and model, in the order of the text.

    Returns:
        A row per token: ``pos`` (UInt32), ``delta_sum`` (Float64, nats), ``ppl_ratio`` (Float64), and
        ``bpb_difference`` (Float64, bits per byte of the model less those of the reference; null where bytes are not
        known).
    """
    delta = pl.col("logp_cmp").cast(pl.Float64) - pl.col("logp_ref").cast(pl.Float64)
    n_bytes = (pl.col("byte_end").cast(pl.Int64) - pl.col("byte_start").cast(pl.Int64)).cum_sum()
    return tokens.select("pos", delta_sum=delta.cum_sum(), bytes=n_bytes).select(
        "pos",
        "delta_sum",
        ppl_ratio=(-pl.col("delta_sum") / pl.int_range(1, pl.len() + 1)).exp(),
        bpb_difference=-pl.col("delta_sum") / math.log(2) / pl.col("bytes"),
    )
