"""Mean KL divergence and agreement by how sure the reference was: by the probability of its most probable token.

Where the reference hardly has a preference, a small change of its logits moves much probability, and changes nothing
for whoever reads the text; where it is sure, a change of the most probable token is an error. The bins are those of
exllamav3's qbench (`CONF_BUCKETS` in eval/qbench/measure.py), so that its numbers can be laid beside these: narrow
where models are sure, which is where most tokens are, and few, so that each holds tokens of many documents. A bin holds
its lower bound and not its upper one; the last holds 1.

    kld = Σ kld / n,  same_top = Σ same_top / n        over the n tokens of a bin

Intervals come from the bootstrap over documents of all other numbers (`uncertainty`). Resamples without any token in a
bin say nothing of it and are left out of its interval.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, Resamples, percentile_interval
from ppldelta.schema import CONFIDENCE

BOUNDS = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the bins: probabilities of the reference's most probable token."""

_SLICE = 1 << 20  # tokens at a time
_SUMS = ["n_scored", "kld", "same_top"]


def confidence(
    tokens: pl.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> pl.DataFrame:
    """KL divergence and agreement of each comparison in each bin of the reference's confidence.

    Args:
        tokens: the token records, columns of `schema.TOKENS`; those without ``logp_top_ref`` are left out.
        n_resamples: resamples of the bootstrap.
        seed: seed of the bootstrap; with the seed of `metrics.model_metrics` the resamples are the same.
        level: part of the resamples between ``*_low`` and ``*_high``.

    Returns:
        A frame with exactly `schema.CONFIDENCE`, all bins of each (family, model) in the order of `tokens`. Means of an
        empty bin are null, intervals where fewer than `DOCUMENTS_MIN` documents have a token in it.

    Raises:
        PpldeltaError: `n_resamples` is below 1, or `level` not between 0 and 1.
    """
    names = ["family", "model", "document"]
    bin_ = pl.sum_horizontal(
        (pl.col("logp_top_ref") >= pl.lit(math.log(bound), pl.Float32())).cast(pl.Int64()) for bound in BOUNDS[1:-1]
    )
    sums = [
        part.lazy()
        .filter(pl.col("logp_top_ref").is_not_null())
        .group_by(*names, bin=bin_, maintain_order=True)
        .agg(
            n_scored=pl.len().cast(pl.Float64()),
            kld=pl.col("kld").cast(pl.Float64()).sum(),
            same_top=pl.col("same_top").cast(pl.Float64()).fill_null(float("nan")).sum(),
        )
        .collect()
        .with_columns(pl.col(names).cast(pl.String()))
        for part in tokens.iter_slices(_SLICE)
    ]
    if not sums:
        return pl.DataFrame(schema=CONFIDENCE)
    whole = pl.concat(sums).group_by(*names, "bin", maintain_order=True).agg(pl.col(_SUMS).sum())
    resamples = Resamples(n_resamples, seed)
    rows = [
        {"family": family, "model": model, **row}
        for (family, model), part in whole.group_by("family", "model", maintain_order=True)
        for row in _bins(part, resamples, level)
    ]
    return pl.DataFrame(rows, schema=CONFIDENCE, infer_schema_length=None)


def _bins(part: pl.DataFrame, resamples: Resamples, level: float) -> list[dict[str, float | int | None]]:
    """The rows of one comparison, from its sums for each document and bin."""
    documents = part.select(pl.col("document").unique().sort()).with_row_index("place")
    places = part.select("document").join(documents, on="document", how="left", maintain_order="left")["place"]
    table = np.zeros((len(documents), len(BOUNDS) - 1, len(_SUMS)))
    table[places.to_numpy(), part["bin"].to_numpy()] = part.select(_SUMS).to_numpy()
    whole = table.sum(axis=0)
    drawn = resamples.sums(table.reshape(len(documents), -1)).reshape(-1, *whole.shape)
    n_documents = np.count_nonzero(table[:, :, 0], axis=0)
    rows = []
    for i, sums in enumerate(whole):
        row: dict[str, float | int | None] = {"bin_low": BOUNDS[i], "bin_high": BOUNDS[i + 1], "n_scored": int(sums[0])}
        some = drawn[drawn[:, i, 0] > 0, i]
        for j, name in enumerate(_SUMS[1:], start=1):
            if np.isnan(sums[j]):
                continue  # nobody knows, as of same_top against a `.kld` file
            if sums[0]:
                row[name] = sums[j] / sums[0]
            if n_documents[i] >= DOCUMENTS_MIN:
                low, high = percentile_interval(some[:, j] / some[:, 0], level=level)
                row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row)
    return rows
