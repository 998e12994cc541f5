"""Columns of every frame that ppldelta hands out: name, dtype, unit and sign, said once.

Log-probabilities are natural logs (nats, never positive). ``delta = logp_cmp - logp_ref``: up means that
the comparison predicted the real text better. ``gain`` and ``loss`` are both >= 0 and
``gain - loss = mean(delta)``. Columns that end in ``_bpb`` are bits per byte of the scored tokens' text.
"""

from __future__ import annotations

import polars as pl

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
    # the tokens that each model finds most probable here, the best first, as many as `top_k` says; null without it
    "top_tokens_ref": pl.List(pl.Int32()),
    "top_tokens_cmp": pl.List(pl.Int32()),
    "top_logp_ref": pl.List(pl.Float32()),  # nats
    "top_logp_cmp": pl.List(pl.Float32()),
}

PAIR = ("kld", "same_top", "rank_ref", "rank_cmp", "entropy_ref", "entropy_cmp")
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
    "damage": pl.Float64(),  # nats per token, gain + loss
    "ppl_ratio": pl.Float64(),  # ppl_cmp / ppl_ref
    "dp_mean": pl.Float64(),  # of p_cmp - p_ref of the token that came next, between -1 and 1
    "dp_rms": pl.Float64(),
    # null unless `kld` was asked for
    "kld": pl.Float64(),  # nats per token
    "same_top": pl.Float64(),  # part of the tokens
    "kld_p50": pl.Float64(),  # nats: percentiles over the tokens; null for the weighting "documents"
    "kld_p90": pl.Float64(),
    "kld_p95": pl.Float64(),
    "kld_p99": pl.Float64(),
    "kld_p999": pl.Float64(),
    "kld_max": pl.Float64(),
}

DOCUMENTS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "document": pl.String(),
    "category": pl.String(),
    "n_tokens": pl.UInt32(),
    **_METRICS,
}

_TAIL = tuple(name for name in _METRICS if name.startswith("kld_"))
_LATER = ("damage", "ppl_ratio", "dp_mean", "dp_rms", "kld", "same_top")
INTERVALS = ("delta", "gain", "loss", "ppl_gain", "ppl_loss", "gain_bpb", "loss_bpb", *_LATER)
"""Metrics of `MODELS` that carry a confidence interval, in columns ``*_low`` and ``*_high``."""

WEIGHTINGS = ("tokens", "documents")
"""How a model's value is put together: every token counts the same, or every document does."""

MODELS: dict[str, pl.DataType] = {
    "family": pl.String(),
    "model": pl.String(),
    "category": pl.String(),  # null: all documents
    "weighting": pl.String(),  # one of `WEIGHTINGS`
    "n_documents": pl.UInt32(),
    **_METRICS,
    **{f"{name}_{end}": pl.Float64() for name in INTERVALS for end in ("low", "high")},
    "size_bytes": pl.UInt64(),  # of the comparison's tensors
    "bits_per_weight": pl.Float64(),
    "n_params": pl.UInt64(),
}

ADDED_LATER: dict[str, tuple[str, ...]] = {
    "tokens": ("byte_start", "byte_end", *PAIR, *TOPS),
    "documents": (*_LATER, *_TAIL),
    "models": (*_LATER, *_TAIL, *(f"{name}_{end}" for name in _LATER for end in ("low", "high"))),
}
"""Columns that older results lack, by frame; they are null there."""
