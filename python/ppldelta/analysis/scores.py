"""Scores of models from sums over documents: what a resample adds up, and the formulas of both weightings.

`metrics` has the formulas in its head; a resample of documents is a sum of their rows (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

LN2 = float(np.log(2.0))
SUMS = [
    *("n_scored", "n_bytes", "nats_ref", "nats_cmp", "nats_gain", "nats_loss"),
    *("sum_dp", "sum_dp2", "squares_ref", "squares_cmp", "products", "nats_kld", "n_same"),
]
"""Over the tokens of a document."""
TOKENS_ONLY = ("logp_sd_ref", "logp_sd_cmp", "logp_cor")
"""Scores that the weighting "documents" lacks: they concern all tokens at once."""
_MEANS = [
    *("ln_ppl_ref", "ln_ppl_cmp", "gain", "loss", "ppl_gain", "ppl_loss", "bpb_ref", "bpb_cmp"),
    *("gain_bpb", "loss_bpb", "dp_mean", "dp_rms", "kld", "same_top"),
]
_COLUMNS = ("n_documents", *SUMS, *_MEANS)


def statistics(documents: pl.DataFrame) -> NDArray[np.float64]:
    """What a resample adds up: a row for each document, its columns as named in `by_name`; NaN for what is null."""
    n = pl.col("n_scored")
    common = pl.col("logp_sd_ref") * pl.col("logp_sd_cmp") * pl.col("logp_cor").fill_null(0.0)  # null: one is 0
    ln_ppl = {f"ln_{name}": pl.col(name).log() for name in ("ppl_ref", "ppl_cmp")}
    return (
        documents.with_columns(**ln_ppl)
        .with_columns(
            n_documents=pl.lit(1.0),
            nats_ref=pl.col("ln_ppl_ref") * n,
            nats_cmp=pl.col("ln_ppl_cmp") * n,
            nats_gain=pl.col("gain") * n,
            nats_loss=pl.col("loss") * n,
            sum_dp=pl.col("dp_mean") * n,
            sum_dp2=pl.col("dp_rms") ** 2 * n,
            squares_ref=n * (pl.col("ln_ppl_ref") ** 2 + pl.col("logp_sd_ref") ** 2),
            squares_cmp=n * (pl.col("ln_ppl_cmp") ** 2 + pl.col("logp_sd_cmp") ** 2),
            products=n * (pl.col("ln_ppl_ref") * pl.col("ln_ppl_cmp") + common),
            nats_kld=pl.col("kld") * n,
            n_same=pl.col("same_top") * n,
        )
        .select(pl.col(name).cast(pl.Float64()).fill_null(float("nan")) for name in _COLUMNS)
        .to_numpy()
    )


def by_name(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The last axis of such rows, or of sums of them, by the name of the column."""
    return {name: sums[..., i] for i, name in enumerate(_COLUMNS)}


def token_scores(sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Weighting "tokens": sums over all tokens, divided by their number or by their bytes."""
    n, n_bytes = sums["n_scored"], sums["n_bytes"]
    bits = 1.0 / (LN2 * np.where(n_bytes > 0, n_bytes, np.nan))
    gain, loss = sums["nats_gain"] / n, sums["nats_loss"] / n
    return {
        "ppl_ref": np.exp(sums["nats_ref"] / n),
        "ppl_cmp": np.exp(sums["nats_cmp"] / n),
        "delta": gain - loss,
        "gain": gain,
        "loss": loss,
        "ppl_gain": np.exp(np.minimum(loss - gain, 0.0)),
        "ppl_loss": np.exp(np.maximum(loss - gain, 0.0)),
        "bpb_ref": sums["nats_ref"] * bits,
        "bpb_cmp": sums["nats_cmp"] * bits,
        "gain_bpb": sums["nats_gain"] * bits,
        "loss_bpb": sums["nats_loss"] * bits,
        "delta_bpb": (sums["nats_gain"] - sums["nats_loss"]) * bits,
        "damage": gain + loss,
        "damage_bpb": (sums["nats_gain"] + sums["nats_loss"]) * bits,
        "ppl_ratio": np.exp(loss - gain),
        "dp_mean": sums["sum_dp"] / n,
        "dp_rms": np.sqrt(sums["sum_dp2"] / n),
        **_spread(sums),
        "kld": sums["nats_kld"] / n,
        "same_top": sums["n_same"] / n,
    }


def _spread(sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Of the log-probabilities of all tokens: what is left if one perplexity or mean is taken from another."""
    n = sums["n_scored"]
    ref, cmp = sums["nats_ref"] / n, sums["nats_cmp"] / n
    with np.errstate(invalid="ignore", divide="ignore"):  # where one is infinite, or none varies
        sd_ref = np.sqrt(np.maximum(sums["squares_ref"] / n - ref**2, 0.0))
        sd_cmp = np.sqrt(np.maximum(sums["squares_cmp"] / n - cmp**2, 0.0))
        difference = np.exp(cmp) - np.exp(ref)
        correlation = (sums["products"] / n - ref * cmp) / (sd_ref * sd_cmp)
    return {"ppl_diff": difference, "logp_sd_ref": sd_ref, "logp_sd_cmp": sd_cmp, "logp_cor": correlation}


def document_scores(sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Weighting "documents": plain means of the documents' values."""
    means = {name: sums[name] / sums["n_documents"] for name in _MEANS}
    ppl_ref, ppl_cmp = np.exp(means.pop("ln_ppl_ref")), np.exp(means.pop("ln_ppl_cmp"))
    with np.errstate(invalid="ignore"):  # both may be infinite
        difference = ppl_cmp - ppl_ref
    return {
        "ppl_ref": ppl_ref,
        "ppl_cmp": ppl_cmp,
        "delta": means["gain"] - means["loss"],
        "delta_bpb": means["gain_bpb"] - means["loss_bpb"],
        "damage": means["gain"] + means["loss"],
        "damage_bpb": means["gain_bpb"] + means["loss_bpb"],
        "ppl_ratio": np.exp(means["loss"] - means["gain"]),
        "ppl_diff": difference,
        **dict.fromkeys(TOKENS_ONLY, np.full_like(ppl_ref, np.nan)),
        **means,
    }
