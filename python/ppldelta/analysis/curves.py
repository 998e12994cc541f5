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


MOST_PLACES = 300
"""Places of a curve of documents that are kept: a page shows no more of them."""

_FEWEST = 5  # documents below which an interval says nothing


def running_documents(documents: pl.DataFrame, *, bits: bool = False) -> pl.DataFrame:
    """The same along the documents of a corpus, in their order, with 95 % intervals.

    After the first documents the value is a ratio, of summed deltas to tokens (or bytes); its variance is that of a
    ratio of means over documents, ``n / (n - 1) Σ (d_i - m w_i)² / (Σ w_i)²`` (Cochran, *Sampling Techniques* (1977),
    equation 6.13), so that an interval stands at each place without resampling.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        bits: whether the value is the difference of bits per byte instead of the ratio of perplexities.

    Returns:
        Rows by model: ``model``, ``n_documents``, ``n_scored`` (so far), ``category`` (of the last document),
        ``value``, ``low``, ``high`` (null below five documents). At most `MOST_PLACES` for each model, the first and
        the last among them.
    """
    weight = pl.col("n_bytes" if bits else "n_scored").cast(pl.Float64)
    total = pl.col("delta") * pl.col("n_scored")
    known = documents.filter(pl.col("delta").is_finite(), weight > 0)
    sums = known.select("model", "category", "n_scored", d=total, w=weight).with_columns(
        pl.int_range(1, pl.len() + 1).over("model").alias("n"),
        pl.len().over("model").alias("of"),
        pl.col("n_scored").cum_sum().over("model"),
        *(pl.col(name).cum_sum().over("model").alias(f"sum_{name}") for name in ("d", "w")),
        *(expr.cum_sum().over("model").alias(name) for name, expr in _SQUARES.items()),
    )
    mean = pl.col("sum_d") / pl.col("sum_w")
    squares = (pl.col("dd") - 2 * mean * pl.col("dw") + mean**2 * pl.col("ww")).clip(0)
    error = (pl.col("n") / (pl.col("n") - 1) * squares).sqrt() / pl.col("sum_w")
    reach = pl.when(pl.col("n") >= _FEWEST).then(1.96 * error)
    step = (pl.col("of") / MOST_PLACES).ceil().cast(pl.Int64)
    kept = (pl.col("n") == 1) | (pl.col("n") == pl.col("of")) | (pl.col("n") % step == 0)
    written = _bits_of if bits else _ratio_of
    return sums.filter(kept).select(
        "model",
        pl.col("n").alias("n_documents"),
        "n_scored",
        "category",
        value=written(mean),
        low=written(mean + reach),
        high=written(mean - reach),
    )


_SQUARES = {
    "dd": pl.col("d") ** 2,
    "dw": pl.col("d") * pl.col("w"),
    "ww": pl.col("w") ** 2,
}


def _ratio_of(mean: pl.Expr) -> pl.Expr:
    return (-mean).exp()


def _bits_of(mean: pl.Expr) -> pl.Expr:
    return -mean / math.log(2)
