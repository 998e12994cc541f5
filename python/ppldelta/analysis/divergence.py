"""The tail of the Kullback-Leibler divergence: its percentiles over tokens, where a run has it (`kld`).

The mean hides the few tokens at which a comparison is far from its reference. A percentile lies between two values as
in llama-perplexity's ``percentile()`` (tools/perplexity/perplexity.cpp): of n sorted values x, with h = q (n - 1) and
i = ⌊h⌋, it is x[i] + (h - i) (x[i + 1] - x[i]), the seventh definition of Hyndman and Fan (1996) and NumPy's default.
"""

from __future__ import annotations

import polars as pl

PERCENTILES = {"kld_p50": 0.5, "kld_p90": 0.9, "kld_p95": 0.95, "kld_p99": 0.99, "kld_p999": 0.999, "kld_max": 1.0}
"""Columns of `schema.DOCUMENTS` and `schema.MODELS`, and which part of the values lies below."""

_KEYS = ["family", "model", "document"]


def document_tails(tokens: pl.DataFrame) -> pl.DataFrame:
    """`PERCENTILES` of each document under each comparison that has divergences; ``family, model, document`` before."""
    return _tails(tokens.lazy(), _KEYS)


def model_tails(tokens: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    """`PERCENTILES` of each comparison that has divergences, over all its tokens and over those of each category.

    Args:
        tokens: the token records, columns of `schema.TOKENS`.
        documents: columns ``family, document, category`` for every document that occurs.

    Returns:
        Columns ``family, model, category`` (null: all documents), ``weighting`` ("tokens") and `PERCENTILES`.
    """
    whole = _tails(tokens.lazy(), _KEYS[:2]).with_columns(category=pl.lit(None, pl.String()))
    names = documents.select("family", "document", "category").unique()
    dtypes = {name: tokens.schema[name] for name in ("family", "document")}
    categories = tokens.lazy().join(
        names.lazy().with_columns(pl.col(name).cast(dtype) for name, dtype in dtypes.items()),
        on=["family", "document"],
        how="left",
    )
    each = _tails(categories, [*_KEYS[:2], "category"])
    return pl.concat([whole.select(each.columns), each]).with_columns(weighting=pl.lit("tokens"))


def _tails(tokens: pl.LazyFrame, keys: list[str]) -> pl.DataFrame:
    """`PERCENTILES` of each group; names are strings."""
    percentiles = {
        name: pl.col("kld").quantile(part, "linear").cast(pl.Float64()) for name, part in PERCENTILES.items()
    }
    return (
        tokens.filter(pl.col("kld").is_not_null())
        .group_by(keys, maintain_order=True)
        .agg(**percentiles)
        .with_columns(pl.col(keys).cast(pl.String()))
        .collect()
    )
