"""The numbers of documents and models, from the log-probabilities of their tokens.

Per token, in nats: ``delta = logp_cmp - logp_ref``; up means that the comparison predicted the real text better.

Per document, over its N scored tokens whose text has B bytes:

    ln ppl = -(1/N) Σ logp                         perplexity (Jelinek et al. 1977), per token
    gain   =  (1/N) Σ max(delta, 0)                nats per token, >= 0
    loss   =  (1/N) Σ max(-delta, 0)               nats per token, >= 0
    delta  =  (1/N) Σ delta = gain - loss = ln ppl_ref - ln ppl_cmp = -d
    ppl_gain = exp(min(d, 0)) <= 1                 the first definition of the post the project grew from
    ppl_loss = exp(max(d, 0)) >= 1
    bpb    = -Σ logp / ln 2 / B                    bits per byte (Gao et al. 2020, The Pile, section 3.1)
    gain_bpb = gain N / ln 2 / B                   and the same for loss
    delta_bpb = gain_bpb - loss_bpb = bpb_ref - bpb_cmp
    damage = gain + loss = (1/N) Σ |delta|         nats per token: how much changed, in either direction
    damage_bpb = gain_bpb + loss_bpb
    ppl_ratio = ppl_cmp / ppl_ref = exp(d)
    ppl_diff = ppl_cmp - ppl_ref
    logp_sd_ref = √((1/N) Σ (logp_ref + ln ppl_ref)²)      nats, and the same for logp_sd_cmp
    logp_cor                                       Pearson's correlation of logp_ref and logp_cmp over the tokens
    dp_mean = (1/N) Σ Δp, dp_rms = √((1/N) Σ Δp²)  with Δp = exp(logp_cmp) - exp(logp_ref), between -1 and 1
    dp_min, dp_p001 … dp_p999, dp_max              the least, percentiles over the tokens, the greatest (`tails`)

and of a run with ``kld``, null in others:

    kld    =  (1/N) Σ kld                          nats per token, >= 0 (Kullback and Leibler 1951)
    same_top                                       part of the tokens where both find the same token most probable
    kld_min, kld_p001 … kld_p999, kld_max          as those of Δp

With ``align="bytes"``, where models have several tokenizers, a row of the records is a span of text (`text.alignment`)
and N the number of spans: what is "per token" here is then per span, and only bits per byte are comparable.

``gain`` and ``loss`` keep apart what ``delta`` lets cancel. Nats and perplexity compare models of one tokenizer; only
bits per byte compare across tokenizers.

Per model, twice, over all its documents and over those of each category:

    weighting "tokens"      the formulas above over all tokens at once: Σ over all tokens / all N or all B
    weighting "documents"   each document counts the same: the plain mean of the documents' values; ppl_ref and
                            ppl_cmp are exp of the mean of ln ppl (the geometric mean); percentiles, logp_sd_* and
                            logp_cor are null

Intervals come from a bootstrap over documents (`uncertainty`); the comparisons of a family share their resamples.

How other tools differ:

- llama-perplexity prints exp of the mean over all scored tokens of *one* text: our "tokens" weighting of a corpus of
  one document. Of what its --kl-divergence prints, from a reference rounded to 16 bits, everything is here: "Mean
  ln(PPL(Q)/PPL(base))" is ``-delta``, "Mean PPL(Q)/PPL(base)" ``ppl_ratio``, "Mean PPL(Q)-PPL(base)" ``ppl_diff``,
  "Cor(ln(PPL(Q)), ln(PPL(base)))" ``logp_cor``, "Mean KLD" ``kld``, "Mean Δp", "RMS Δp" and "Same top p" (in percent
  there) ``dp_mean``, ``dp_rms`` and ``same_top``, and its percentiles have ours beside them. It has nothing like gain
  and loss. Its ± is a standard error that takes tokens as independent, such as logp_sd / √(N - 1) for ln ppl; ours are
  intervals from whole documents, and wider where the tokens of a text resemble each other.
- lm-evaluation-harness's ``bits_per_byte`` divides by the bytes of the whole document and scores each token: our
  "tokens" weighting with ``windows="every"``. We divide by the bytes of the tokens that are scored, also if half are.
- Its ``word_perplexity`` divides by words and is not given here.

Sums are taken in float64 from the float32 log-probabilities, not from the rounded ``delta`` column, so the
identities hold to about 1e-12. A log-probability that is not finite makes the document's and the model's values NaN.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from ppldelta.analysis.scores import LN2, SUMS, TOKENS_ONLY, by_name, document_scores, statistics, token_scores
from ppldelta.analysis.tails import Tails, no_tails
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, percentile_interval, resampled_sums
from ppldelta.errors import ResultError
from ppldelta.schema import DOCUMENTS, GROUPS, INTERVALS, MODELS, WEIGHTINGS

_SLICE = 1 << 20  # tokens at a time: the float64 columns of one slice, not of 100 million tokens
_KEYS = ["family", "model", "document"]


def document_metrics(
    tokens: pl.DataFrame, pieces: pl.DataFrame, corpus: pl.DataFrame, tails: Tails | None = None
) -> pl.DataFrame:
    """Values of each document under each comparison.

    Args:
        tokens: the token records, columns of `schema.TOKENS`; of the log-probabilities only ``logp_ref`` and
            ``logp_cmp`` are read.
        pieces: bytes of each family's tokens, `schema.PIECES`; a row for every token that occurs.
        corpus: `schema.CORPUS`, and if it says so `schema.GROUPS`; a row for every document that occurs. Documents
            without a token are left out.
        tails: what `tails.find_tails` gives of the same records; without it, the percentiles are null.

    Returns:
        A frame with exactly `schema.DOCUMENTS`; (family, model) in the order in which `tokens` first has them, then
        by document name. Bits per byte are null if the scored tokens have no bytes.

    Raises:
        ResultError: a token or a document is missing in `pieces` or `corpus`, or stands there twice.
    """
    _require_unique(pieces, ["family", "token"], "pieces")
    _require_unique(corpus, ["family", "document"], "corpus")
    if tokens.is_empty():
        return pl.DataFrame(schema=DOCUMENTS)
    n_bytes = {family: _piece_bytes(rows) for (family,), rows in pieces.group_by("family")}
    parts = [
        _slice_sums(part, n_bytes.get(family, pl.Series([None], dtype=pl.UInt64())), family)
        for rows in tokens.iter_slices(_SLICE)
        for (family,), part in rows.partition_by("family", as_dict=True, maintain_order=True).items()
    ]
    sums = pl.concat(parts).group_by(_KEYS, maintain_order=True).agg(pl.col("n_kld", *SUMS).sum())
    sums = sums.with_columns(pl.col(_KEYS).cast(pl.String()))

    corpus = corpus.with_columns(
        pl.lit(None, GROUPS[name]).alias(name) for name in GROUPS if name not in corpus.columns
    )
    documents = sums.join(corpus, on=["family", "document"], how="left")
    if documents["n_tokens"].null_count():
        missing = documents.filter(pl.col("n_tokens").is_null())["document"][0]
        raise ResultError(f"`corpus` lacks the document `{missing}`, which has token records")
    order = sums.select("family", "model").unique(maintain_order=True).with_row_index("order")
    return (
        documents.join(order, on=["family", "model"], how="left")
        .join((tails or no_tails()).documents, on=_KEYS, how="left")
        .sort("order", "document")
        .with_columns(**_from_sums())
        .select(pl.col(name).cast(dtype) for name, dtype in DOCUMENTS.items())
    )


def _piece_bytes(pieces: pl.DataFrame) -> pl.Series:
    """Number of bytes of each token of a family, indexed by token; null if it does not occur, and in the last place."""
    n_bytes = pieces.select("token", n_bytes=pl.col("piece").bin.size().cast(pl.UInt64()))
    places = pl.DataFrame({"token": np.arange(pieces["token"].to_numpy().max() + 2, dtype=np.int32)})
    return places.join(n_bytes, on="token", how="left", maintain_order="left")["n_bytes"]


def _slice_sums(tokens: pl.DataFrame, n_bytes: pl.Series, family: str) -> pl.DataFrame:
    """Sums for each document in a slice of one family's records; the caller adds up what a document has in several.

    The records of a document usually follow one another, and adding up such runs first is several times faster than
    grouping by names; if they do not, the second step adds them up all the same.
    """
    unknown = len(n_bytes) - 1
    places = tokens["token"].cast(pl.UInt32(), strict=False).fill_null(unknown).clip(upper_bound=unknown)
    lengths = n_bytes.gather(places)
    if lengths.null_count():
        token = tokens["token"].filter(lengths.is_null())[0]
        raise ResultError(f"`pieces` lacks token {token} of family `{family}`, which has token records")
    of_span = pl.when(pl.col("n_tokens_ref") > 1).then(pl.col("byte_end") - pl.col("byte_start"))
    logp_ref, logp_cmp = (pl.col(name).cast(pl.Float64()) for name in ("logp_ref", "logp_cmp"))
    delta = logp_cmp - logp_ref
    # exp(a) - exp(b) = expm1(a) - expm1(b), which NumPy computes several at a time where it does exp alone one by one
    dp = np.subtract(*(np.expm1(tokens[name].to_numpy().astype(np.float64)) for name in ("logp_cmp", "logp_ref")))
    return (
        tokens.select(
            *_KEYS,
            run=pl.struct(_KEYS).rle_id(),
            n_scored=pl.lit(1, pl.UInt64()),
            n_bytes=of_span.otherwise(pl.lit(lengths)),
            nats_ref=-logp_ref,
            nats_cmp=-logp_cmp,
            nats_gain=delta.clip(lower_bound=0.0),
            nats_loss=(-delta).clip(lower_bound=0.0),
            sum_dp=pl.Series(dp),
            sum_dp2=pl.Series(dp * dp),
            squares_ref=logp_ref**2,
            squares_cmp=logp_cmp**2,
            products=logp_ref * logp_cmp,
            n_kld=pl.col("kld").is_not_null().cast(pl.UInt64()),
            nats_kld=pl.col("kld").cast(pl.Float64()),
            # NaN where it is not known, as of a `.kld` file's reference: a sum would take null for 0
            n_same=pl.col("same_top").cast(pl.Float64()).fill_null(float("nan")),
        )
        .group_by("run", maintain_order=True)
        .agg(pl.col(_KEYS).first(), pl.col("n_kld", *SUMS).sum())
        .group_by(_KEYS, maintain_order=True)
        .agg(pl.col("n_kld", *SUMS).sum())
    )


def _from_sums() -> dict[str, pl.Expr]:
    """The formulas of a document, as in the head of this file."""
    n, gain, loss = pl.col("n_scored"), pl.col("nats_gain"), pl.col("nats_loss")
    d = (loss - gain) / n
    bits_per_byte = pl.when(pl.col("n_bytes") > 0).then(1.0 / (LN2 * pl.col("n_bytes")))
    mean_ref, mean_cmp = pl.col("nats_ref") / n, pl.col("nats_cmp") / n
    spread_ref = (pl.col("squares_ref") / n - mean_ref**2).clip(lower_bound=0.0).sqrt()
    spread_cmp = (pl.col("squares_cmp") / n - mean_cmp**2).clip(lower_bound=0.0).sqrt()
    common = pl.col("products") / n - mean_ref * mean_cmp
    in_lockstep = pl.when(pl.col("n_kld") == n)
    return {
        "ppl_ref": mean_ref.exp(),
        "ppl_cmp": mean_cmp.exp(),
        "delta": -d,
        "gain": gain / n,
        "loss": loss / n,
        "ppl_gain": d.clip(upper_bound=0.0).exp(),
        "ppl_loss": d.clip(lower_bound=0.0).exp(),
        "bpb_ref": pl.col("nats_ref") * bits_per_byte,
        "bpb_cmp": pl.col("nats_cmp") * bits_per_byte,
        "gain_bpb": gain * bits_per_byte,
        "loss_bpb": loss * bits_per_byte,
        "delta_bpb": (gain - loss) * bits_per_byte,
        "damage": (gain + loss) / n,
        "damage_bpb": (gain + loss) * bits_per_byte,
        "ppl_ratio": d.exp(),
        "dp_mean": pl.col("sum_dp") / n,
        "dp_rms": (pl.col("sum_dp2") / n).sqrt(),
        "ppl_diff": mean_cmp.exp() - mean_ref.exp(),
        "logp_sd_ref": spread_ref,
        "logp_sd_cmp": spread_cmp,
        "logp_cor": pl.when(spread_ref * spread_cmp > 0).then(common / (spread_ref * spread_cmp)),
        "kld": in_lockstep.then(pl.col("nats_kld") / n),
        "same_top": in_lockstep.then(pl.col("n_same") / n).fill_nan(None),
    }


def model_metrics(
    documents: pl.DataFrame,
    models: pl.DataFrame,
    tails: Tails | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> pl.DataFrame:
    """Values of each comparison over all documents and over each category.

    Args:
        documents: what `document_metrics` gives, `schema.DOCUMENTS`.
        models: columns ``family, model, size_bytes, bits_per_weight, n_params`` with a row for each comparison; one
            that is missing, or a null in it, gives nulls.
        tails: what `tails.find_tails` gives of the same records; without it, the percentiles are null.
        n_resamples: resamples of the bootstrap.
        seed: seed of the bootstrap; the same seed gives the same intervals.
        level: part of the resamples between ``*_low`` and ``*_high``.

    Returns:
        A frame with exactly `schema.MODELS`: for each (family, model), in the order of `documents`, first all
        documents (category null) and then each category by name, for each the two weightings. Intervals are null
        if there are fewer than `DOCUMENTS_MIN` documents. A value that is not finite in the documents is NaN here.

    Raises:
        ResultError: a comparison stands twice in `models`.
        PpldeltaError: `n_resamples` is below 1, or `level` not between 0 and 1.
    """
    _require_unique(models, ["family", "model"], "models")
    rows = [
        row
        for (_,), family in documents.group_by("family", maintain_order=True)
        for category in (None, *family["category"].unique().sort())
        for row in _category_rows(family, category, n_resamples, seed, level)
    ]
    if not rows:
        return pl.DataFrame(schema=MODELS)
    described = models.select("family", "model", "size_bytes", "bits_per_weight", "n_params")
    order = documents.select("family", "model").unique(maintain_order=True).with_row_index("order")
    weighting = pl.col("weighting").cast(pl.Enum(WEIGHTINGS))
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("category").cast(pl.String()))
    keys = ["family", "model", "category", "weighting"]
    return (
        frame.join((tails or no_tails()).models, on=keys, how="left", nulls_equal=True)
        .join(order, on=["family", "model"], how="left")
        .join(described, on=["family", "model"], how="left")
        .sort(pl.col("order"), pl.col("category"), weighting, nulls_last=False)
        .select(pl.col(name).cast(dtype) for name, dtype in MODELS.items())
    )


def _category_rows(
    family: pl.DataFrame, category: str | None, n_resamples: int, seed: int, level: float
) -> Iterator[dict[str, object]]:
    """Rows of all models of a family; those that have the same documents are resampled together."""
    chosen = family if category is None else family.filter(pl.col("category") == category)
    alike: dict[tuple[str, ...], list[pl.DataFrame]] = {}
    for frame in chosen.partition_by("model", maintain_order=True):
        alike.setdefault(tuple(frame["document"]), []).append(frame)
    for names, frames in alike.items():
        sums_of_documents = np.stack([statistics(frame) for frame in frames], axis=1)  # (documents, models, columns)
        sums = by_name(sums_of_documents.sum(axis=0))
        if len(names) >= DOCUMENTS_MIN:
            flat = sums_of_documents.reshape(len(names), -1)
            drawn = resampled_sums(flat, n_resamples=n_resamples, seed=seed)
            resampled = by_name(drawn.reshape(n_resamples, len(frames), -1))
        for weighting, scores_of in (("tokens", token_scores), ("documents", document_scores)):
            values: dict[str, list[float | None]] = {name: each.tolist() for name, each in scores_of(sums).items()}
            if len(names) >= DOCUMENTS_MIN:
                scores = scores_of(resampled)
                for name in INTERVALS:
                    low, high = percentile_interval(scores[name], level=level)
                    values |= {f"{name}_low": low.tolist(), f"{name}_high": high.tolist()}
            else:
                values |= {f"{name}_{end}": [None] * len(frames) for name in INTERVALS for end in ("low", "high")}
            for i, frame in enumerate(frames):
                absent = {name for name in values if _is_absent(name, weighting, frame)}
                yield {
                    "family": frame["family"][0],
                    "model": frame["model"][0],
                    "category": category,
                    "weighting": weighting,
                    "n_documents": len(names),
                    "n_scored": int(frame["n_scored"].sum()),
                    "n_bytes": int(frame["n_bytes"].sum()),
                    **{name: None if name in absent else value[i] for name, value in values.items()},
                }


def _is_absent(name: str, weighting: str, documents: pl.DataFrame) -> bool:
    """Whether a weighting lacks a value, or only a run with `kld` gives it and these documents are not of one, or it is
    bits per byte of documents whose bytes nobody knows."""
    column = name.removesuffix("_low").removesuffix("_high")
    if column in TOKENS_ONLY:
        return weighting == "documents"
    if "bpb" in column:
        return documents[column].null_count() == len(documents)
    return column in ("kld", "same_top") and documents[column].null_count() > 0


def _require_unique(frame: pl.DataFrame, keys: list[str], name: str) -> None:
    twice = frame.select(keys).is_duplicated()
    if twice.any():
        raise ResultError(
            f"`{name}` must hold each {' and '.join(keys)} once, got {frame.filter(twice).row(0)[:2]} twice"
        )
