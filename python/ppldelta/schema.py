"""Columns of every frame that ppldelta hands out: name, dtype, unit and sign, said once.

Log-probabilities are natural logs (nats, never positive). ``delta = logp_cmp - logp_ref``: up means that
the comparison predicted the real text better. ``gain`` and ``loss`` are both >= 0 and
``gain - loss = mean(delta)``. Columns that end in ``_bpb`` are bits per byte of the scored tokens' text.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from ppldelta.family import Family

NAMES = pl.Categorical()
"""dtype of names in `TOKENS`, where one name stands in millions of rows."""

TOKENS: dict[str, pl.DataType] = {
    "family": NAMES,
    "model": NAMES,
    "document": NAMES,
    "pos": pl.UInt32(),  # index of the target in the document's own tokens (a BOS is not counted)
    "token": pl.Int32(),
    # what of the document's UTF-8 the token covers: bytes byte_start up to, without, byte_end. Null for a document
    # whose tokens do not spell its text (its tokenizer normalises, or lacks a character), and in older results
    "byte_start": pl.UInt32(),
    "byte_end": pl.UInt32(),
    # With `align="bytes"` a row is a span, a smallest stretch of text at whose ends both models' tokens end: `pos` and
    # `token` are those of its first token under the reference, the bytes and log-probabilities those of all of it.
    # Then these are how many tokens each model has in it; else 1, and null in older results
    "n_tokens_ref": pl.UInt32(),
    "n_tokens_cmp": pl.UInt32(),
    "logp_ref": pl.Float32(),  # nats
    "logp_cmp": pl.Float32(),  # nats
    "delta": pl.Float32(),  # nats, logp_cmp - logp_ref
    # of the models' whole distributions; null unless `kld` was asked for
    "kld": pl.Float32(),  # nats, Kullback-Leibler divergence of the comparison from the reference, >= 0
    "same_top": pl.Boolean(),  # whether both find the same token most probable
    "rank_ref": pl.UInt32(),  # of the token that came next: 1 and how many the reference finds more probable
    "rank_cmp": pl.UInt32(),
    "entropy_ref": pl.Float32(),  # nats
    "entropy_cmp": pl.Float32(),
    "logp_top_ref": pl.Float32(),  # nats, of the token that the reference finds most probable
    # the tokens that each model finds most probable here, the best first, as many as `top_k` says; null without it
    "top_tokens_ref": pl.List(pl.Int32()),
    "top_tokens_cmp": pl.List(pl.Int32()),
    "top_logp_ref": pl.List(pl.Float32()),  # nats
    "top_logp_cmp": pl.List(pl.Float32()),
}

PAIR = ("kld", "same_top", "rank_ref", "rank_cmp", "entropy_ref", "entropy_cmp", "logp_top_ref")
"""Columns of `TOKENS` that only a run with `kld` has."""

TOPS = ("top_tokens_ref", "top_tokens_cmp", "top_logp_ref", "top_logp_cmp")
"""Columns of `TOKENS` that only a run with `top_k` has."""

PIECES: dict[str, pl.DataType] = {
    "family": pl.String(),
    "token": pl.Int32(),
    # its bytes; several tokens may share one multi-byte character. SentencePiece vocabularies put a space before
    # a text, which the first token then holds: one byte more than the text has
    "piece": pl.Binary(),
}

LIKELIHOODS: dict[str, pl.DataType] = {
    "logp": pl.Float64(),  # nats, ln p(continuation | context): the sum over its tokens
    "is_greedy": pl.Boolean(),  # whether each of its tokens is the most probable one at its place
    "n_tokens": pl.UInt32(),  # of the continuation
    "n_context": pl.UInt32(),  # tokens before it that the model has read, a BOS or EOS in front included
    "n_dropped": pl.UInt32(),  # tokens at the beginning of the context for which `n_ctx` has no room
    "tokens": pl.List(pl.Int32()),  # of the continuation
    "token_logp": pl.List(pl.Float32()),  # nats, of each of them
    "top_tokens": pl.List(pl.Int32()),  # the most probable token at each place, of several the first
    "top_logp": pl.List(pl.Float32()),  # nats, of these
}
"""Columns of `Loglikelihood.frame`, which has a row for each pair of context and continuation."""

TEXTS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "document": pl.String(),
    "tokens": pl.List(pl.Int32()),  # all of the document, scored or not, without BOS; `pos` of `TOKENS` counts them
}

CORPUS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "document": pl.String(),  # path below the corpus root, forward slashes
    "category": pl.String(),  # first folder below the corpus root, "" for files that lie in the root itself
    "n_tokens": pl.UInt32(),  # of the whole document, without BOS
}

GROUPS: dict[str, pl.DataType] = {
    "group": pl.String(),  # what several rows of a table have in common, such as their prompt
    "label": pl.String(),  # which completion of its group one is, such as "comply"
}
"""Further columns of a corpus that has rows of tables; null where a row, or a text of its own, says nothing."""

_LEVELS = {
    "kld": ("min", "p001", "p01", "p05", "p10", "p50", "p90", "p95", "p99", "p999", "max"),
    "dp": ("min", "p001", "p01", "p05", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p999", "max"),
}
PERCENTILES: dict[str, tuple[str, ...]] = {
    values: tuple(f"{values}_{level}" for level in levels) for values, levels in _LEVELS.items()
}
"""Columns of `DOCUMENTS` and `MODELS` with percentiles over tokens, those of llama-perplexity --kl-divergence.

The digits are those after the point: of all values, 0.001 lie below ``p001``, 0.1 below ``p10``, 0.999 below ``p999``.
"""

_METRICS: dict[str, pl.DataType] = {
    "n_scored": pl.UInt32(),  # scored tokens
    "n_bytes": pl.UInt64(),  # bytes of the scored tokens' text
    "ppl_ref": pl.Float64(),
    "ppl_cmp": pl.Float64(),
    "delta": pl.Float64(),  # nats per token, mean(delta) = gain - loss
    "gain": pl.Float64(),  # nats per token
    "loss": pl.Float64(),  # nats per token
    "ppl_gain": pl.Float64(),  # exp(min(d, 0)) <= 1 with d = ln ppl_cmp - ln ppl_ref
    "ppl_loss": pl.Float64(),  # exp(max(d, 0)) >= 1
    "bpb_ref": pl.Float64(),  # bits per byte
    "bpb_cmp": pl.Float64(),
    "gain_bpb": pl.Float64(),
    "loss_bpb": pl.Float64(),
    "delta_bpb": pl.Float64(),  # bits per byte, gain_bpb - loss_bpb
    "damage": pl.Float64(),  # nats per token, gain + loss
    "damage_bpb": pl.Float64(),  # bits per byte, gain_bpb + loss_bpb
    "ppl_ratio": pl.Float64(),  # ppl_cmp / ppl_ref
    "dp_mean": pl.Float64(),  # of p_cmp - p_ref of the token that came next, between -1 and 1
    "dp_rms": pl.Float64(),
    "ppl_diff": pl.Float64(),  # ppl_cmp - ppl_ref
    # over the tokens; all that follows but `kld` and `same_top` is null in `MODELS` for the weighting "documents"
    "logp_sd_ref": pl.Float64(),  # nats, standard deviation of logp_ref
    "logp_sd_cmp": pl.Float64(),
    "logp_cor": pl.Float64(),  # correlation of both, between -1 and 1; null or NaN where one does not vary
    # percentiles of p_cmp - p_ref
    **{name: pl.Float64() for name in PERCENTILES["dp"]},
    # null unless `kld` was asked for
    "kld": pl.Float64(),  # nats per token
    "same_top": pl.Float64(),  # part of the tokens
    **{name: pl.Float64() for name in PERCENTILES["kld"]},  # nats
}

DOCUMENTS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "document": pl.String(),
    "category": pl.String(),
    "n_tokens": pl.UInt32(),
    **_METRICS,
    **GROUPS,
}

_TAIL = tuple(name for names in PERCENTILES.values() for name in names)
_MOMENTS = ("logp_sd_ref", "logp_sd_cmp")
_LATER = (
    *("delta_bpb", "damage", "damage_bpb", "ppl_ratio", "dp_mean", "dp_rms", "ppl_diff", "logp_cor"),
    *("kld", "same_top"),
)
_WITH_INTERVALS_LATER = ("ppl_ref", "ppl_cmp", "bpb_ref", "bpb_cmp", *_LATER)
INTERVALS = ("delta", "gain", "loss", "ppl_gain", "ppl_loss", "gain_bpb", "loss_bpb", *_WITH_INTERVALS_LATER)
"""Metrics of `MODELS` that carry a confidence interval, in columns ``*_low`` and ``*_high``."""

PERCENTILE_INTERVALS = tuple(name for name in _TAIL if not name.endswith(("_min", "_max")))
"""Percentiles of `MODELS` that carry one as well.

The least and the greatest value have none: those of resamples never lie beyond them, and say nothing of other documents
(Efron and Tibshirani 1993, section 7.4).
"""

WEIGHTINGS = ("tokens", "documents")
"""How a model's value is put together: every token counts the same, or every document does."""

MODELS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "category": pl.String(),  # null: all documents
    "weighting": pl.String(),  # one of `WEIGHTINGS`
    "n_documents": pl.UInt32(),
    **_METRICS,
    **{f"{name}_{end}": pl.Float64() for name in (*INTERVALS, *PERCENTILE_INTERVALS) for end in ("low", "high")},
    "size_bytes": pl.UInt64(),  # of the comparison's tensors
    "bits_per_weight": pl.Float64(),
    "n_params": pl.UInt64(),
}

CONFIDENCE: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "bin_low": pl.Float64(),  # probability of the reference's most probable token, from here
    "bin_high": pl.Float64(),  # up to here
    "n_scored": pl.UInt32(),  # scored tokens
    "kld": pl.Float64(),  # nats per token
    "kld_low": pl.Float64(),
    "kld_high": pl.Float64(),
    "same_top": pl.Float64(),  # part of the tokens
    "same_top_low": pl.Float64(),
    "same_top_high": pl.Float64(),
}

KINDS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "kind": pl.String(),  # of the token or span: one of `analysis.kinds.KINDS`, which says the rule of each
    "n_scored": pl.UInt32(),  # scored tokens (spans) of the kind
    "n_bytes": pl.UInt64(),  # of their text
    "gain": pl.Float64(),  # nats per token (span) of the kind
    "loss": pl.Float64(),
    "delta": pl.Float64(),
    "delta_low": pl.Float64(),
    "delta_high": pl.Float64(),
    "delta_bpb": pl.Float64(),  # the same in bits per byte of their text
    "delta_bpb_low": pl.Float64(),
    "delta_bpb_high": pl.Float64(),
    "share_gain": pl.Float64(),  # part of all that the model gained, in nats; null if it gained nothing
    "share_loss": pl.Float64(),
    # of delta being 0, two-sided, adjusted for all kinds of the model: of those below 0.05, one in twenty is false
    "p_fdr": pl.Float64(),
}

DIFFERENCES: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model_a": pl.String(),
    "model_b": pl.String(),
    "category": pl.String(),  # null: all documents
    "metric": pl.String(),  # a column of `MODELS`, under the weighting "tokens"
    "difference": pl.Float64(),  # of model_a less that of model_b, in the unit of the metric
    "low": pl.Float64(),
    "high": pl.Float64(),
    "p": pl.Float64(),  # of no difference, two-sided
    "p_holm": pl.Float64(),  # p, corrected for all pairs and categories of the metric in the family
}

REFERENCES: dict[str, pl.DataType] = {
    "family_a": pl.String(),
    "family_b": pl.String(),
    "category": pl.String(),  # null: all documents
    "n_documents": pl.UInt32(),
    "n_bytes": pl.UInt64(),  # of text that both scored
    "bpb_a": pl.Float64(),  # bits per byte under the reference of family_a
    "bpb_b": pl.Float64(),
    "difference": pl.Float64(),  # bpb_a - bpb_b: below 0, the reference of family_a predicts the text better
    "low": pl.Float64(),
    "high": pl.Float64(),
    "p": pl.Float64(),  # of no difference, two-sided
    "p_holm": pl.Float64(),  # p, corrected for all pairs and categories
}
"""Columns of `Result.references`, which has a row for every two families and each category (`analysis.references`)."""

ODDS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "group": pl.String(),
    "category": pl.String(),  # of the group's first document
    "prompt": pl.String(),  # the text before the group's first completion; null if it is not known
    "label": pl.String(),  # log-odds are those of this label, such as "comply",
    "against": pl.String(),  # against this one, such as "refuse"
    "n_label": pl.UInt32(),  # completions of `label`, without those that are counted in another one
    "n_against": pl.UInt32(),
    # nats, ln of the probability of all completions of a label together
    "logp_label_ref": pl.Float64(),
    "logp_against_ref": pl.Float64(),
    "logp_label_cmp": pl.Float64(),
    "logp_against_cmp": pl.Float64(),
    "odds_ref": pl.Float64(),  # nats, log-odds under the reference: above 0, `label` is the more probable one
    "odds_cmp": pl.Float64(),  # nats
    "change": pl.Float64(),  # nats, odds_cmp - odds_ref
    "documents": pl.List(pl.String()),  # the completions
}
"""Columns of `Result.odds`, which has a row for each group under each comparison (`analysis.odds`)."""

ODDS_MODELS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "category": pl.String(),  # null: all groups
    "label": pl.String(),
    "against": pl.String(),
    "n_groups": pl.UInt32(),
    "odds_ref": pl.Float64(),  # nats, mean of the groups
    "odds_cmp": pl.Float64(),
    "change": pl.Float64(),
    # nats, what the change is made of: means of logp_label_cmp - logp_label_ref, and of the same of `against`
    "label_delta": pl.Float64(),
    "against_delta": pl.Float64(),
    "n_more": pl.UInt32(),  # groups whose log-odds rise
    "n_to_label": pl.UInt32(),  # groups in which `against` was the more probable one and `label` is now
    "n_to_against": pl.UInt32(),  # the other way
    # the same as parts of the groups
    "more": pl.Float64(),
    "to_label": pl.Float64(),
    "to_against": pl.Float64(),
    **{
        f"{name}_{end}": pl.Float64()
        for name in ("change", "more", "to_label", "to_against")
        for end in ("low", "high")
    },
}
"""Columns of `Result.odds_models`, what the groups say of each comparison."""

ADDED_LATER: dict[str, tuple[str, ...]] = {
    "tokens": ("byte_start", "byte_end", "n_tokens_ref", "n_tokens_cmp", *PAIR, *TOPS),
    "documents": (*_LATER, *_MOMENTS, *_TAIL, *GROUPS),
    "models": (
        *(*_LATER, *_MOMENTS, *_TAIL),
        *(f"{name}_{end}" for name in (*_WITH_INTERVALS_LATER, *PERCENTILE_INTERVALS) for end in ("low", "high")),
    ),
}
"""Columns that older results lack, by frame; they are null there."""


def sizes(families: Iterable[Family]) -> pl.DataFrame:
    """A row for each comparison: `family`, `model`, and the columns of `MODELS` that its file gives."""
    columns = ("size_bytes", "bits_per_weight", "n_params")
    return pl.DataFrame(
        [
            {"family": family.name, "model": cmp.label, **{column: getattr(cmp, column) for column in columns}}
            for family in families
            for cmp in family.cmp
        ],
        schema={"family": pl.String(), "model": pl.String(), **{column: MODELS[column] for column in columns}},
    )
