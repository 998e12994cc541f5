"""Whole synthetic results of any size: token records, texts and pieces, and the frames that are computed of them.

Seeded and made with arrays, so that 10 000 documents under 10 models take seconds. The texts are nonsense in several
scripts; the vocabulary splits some characters over two tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from helpers import facts
from ppldelta import schema
from ppldelta.analysis.metrics import document_metrics, model_metrics
from ppldelta.analysis.tails import find_tails
from ppldelta.family import Signature

CATEGORIES = ("code", "multilingual", "prose")
WORDS = " the of and a to in is it that was he for on are with as his they be at one have this from or had by word"
SPLIT = "éß漢字かתш🙂"  # each a token for its first byte and one for the rest
N_VOCAB = 2000
WITHOUT_PAIRS = [pl.lit(None, schema.TOKENS[name]).alias(name) for name in (*schema.PAIR, *schema.TOPS)]
"""Columns that make token records of a run without `kld` of others."""

ONE_TOKEN = [pl.lit(1, schema.TOKENS[name]).alias(name) for name in ("n_tokens_ref", "n_tokens_cmp")]
"""Columns of records that are single tokens."""


def vocabulary(n_vocab: int = N_VOCAB) -> list[bytes]:
    """The bytes of each token: words with their space, letters, and characters in two parts."""
    halves = [half for each in SPLIT for half in (each.encode()[:1], each.encode()[1:])]
    words = [f" {word}".encode() for word in WORDS.split()]
    fixed = [*halves, *words, b"\n", b"    ", b".", b",", "עברית ".encode(), "日本".encode()]
    return [*fixed, *(f"w{i:x} ".encode() for i in range(n_vocab - len(fixed)))]


def make(
    *,
    n_documents: int = 30,
    n_models: int = 3,
    n_tokens: int = 300,
    family: str = "tiny-ref.Q8_0",
    rename: dict[str, str] | None = None,
    seed: int = 0,
    kld: bool = False,
) -> dict[str, Any]:
    """The frames of a result and its families, by the names of `Result`'s fields.

    Args:
        n_documents: documents, in three categories in turn.
        n_models: comparisons.
        n_tokens: tokens of each document, give or take a half; the second half of each is scored, in two runs.
        family: name of the family and label of its reference.
        rename: other names for documents and models.
        seed: of the generator.
        kld: whether the records have what a pair of models says of a token.
    """
    rng, pair_rng = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    pieces, rename = vocabulary(), rename or {}
    names = [f"{CATEGORIES[k % 3]}/{k:05}.txt" for k in range(n_documents)]
    names = [rename.get(name, name) for name in names]
    models = [rename.get(f"model-{m}", f"model-{m}") for m in range(n_models)]

    length = rng.integers(max(4, n_tokens // 2), max(5, n_tokens * 3 // 2), n_documents)
    begin = np.cumsum(length) - length
    # half of all tokens are halves of characters that stand together, or words
    text = rng.integers(2 * len(SPLIT), len(pieces), int(length.sum())).astype(np.int32)
    first = np.flatnonzero(rng.random(len(text)) < 0.05)
    first = first[first + 1 < len(text)]
    text[first] = 2 * rng.integers(0, len(SPLIT), len(first))
    text[first + 1] = text[first] + 1

    place = np.repeat(np.arange(n_documents), length)
    pos = np.arange(len(text)) - begin[place]
    n_bytes = np.array([len(piece) for piece in pieces])[text]
    byte_end = np.cumsum(n_bytes)
    byte_start = byte_end - n_bytes
    ends = {"byte_start": byte_start - byte_start[begin][place], "byte_end": byte_end - byte_start[begin][place]}
    middle, hole = length // 2, length * 3 // 4
    scored = (pos > middle[place]) & (pos != hole[place])
    place, pos, token = place[scored], pos[scored].astype(np.uint32), text[scored]
    logp_ref = -rng.gamma(1.2, 2.0, len(pos)).astype(np.float32)
    of_document = np.arange(n_documents) % 3
    frames = []
    for m, model in enumerate(models):
        shift = np.where(of_document == m % 3, 0.15, -0.1) + rng.normal(0, 0.08, n_documents)
        delta = shift[place] + rng.normal(0, 0.2 + 0.1 * m, len(pos))
        delta[rng.random(len(pos)) < 0.3] *= 0.01
        logp_cmp = np.minimum(logp_ref + delta, -1e-6).astype(np.float32)
        document = pl.Series("document", names, dtype=schema.NAMES).gather(place)
        columns = {"pos": pos, "token": token, "logp_ref": logp_ref, "logp_cmp": logp_cmp, "delta": logp_cmp - logp_ref}
        columns |= {name: values[scored].astype(np.uint32) for name, values in ends.items()}
        frames.append(
            pl.DataFrame({"document": document, **columns})
            .with_columns(family=pl.lit(family, schema.NAMES), model=pl.lit(model, schema.NAMES))
            .with_columns(ONE_TOKEN)
            .with_columns(_pairs(pair_rng, m, len(pos), kld))
            .select(*schema.TOKENS)
        )
    tokens = pl.concat(frames) if frames else pl.DataFrame(schema=schema.TOKENS)
    corpus = pl.DataFrame(
        {
            "family": [family] * n_documents,
            "document": names,
            "category": [CATEGORIES[k % 3] for k in range(n_documents)],
            "n_tokens": length,
        },
        schema=schema.CORPUS,
    )
    known = {"family": [family] * n_models, "model": models}
    known |= {"size_bytes": [3_340_000 - 200_000 * m for m in range(n_models)]}
    known |= {"bits_per_weight": [8.5 - 0.5 * m for m in range(n_models)], "n_params": [3_145_728] * n_models}
    known = pl.DataFrame(known, schema={name: schema.MODELS[name] for name in known})
    all_pieces = pl.DataFrame(
        {"family": [family] * len(pieces), "token": range(len(pieces)), "piece": pieces}, schema=schema.PIECES
    )
    tails = find_tails(tokens, corpus)
    documents = document_metrics(tokens, all_pieces, corpus, tails)
    rows = known.drop("family").to_dicts()
    return {
        "tokens": tokens,
        "documents": documents,
        "models": model_metrics(documents, known, tails),
        "pieces": all_pieces,
        "texts": pl.DataFrame(
            {
                "family": [family] * n_documents,
                "document": names,
                "tokens": pl.Series(np.split(text, begin[1:]) if n_documents else [], dtype=schema.TEXTS["tokens"]),
            },
            schema=schema.TEXTS,
        ),
        "families": [
            facts.family(
                family,
                facts.model(family, architecture="llama", size_bytes=3_340_000, n_params=3_145_728),
                [facts.model(row.pop("model"), architecture="llama", **row) for row in rows],
                signature=Signature.of({"ppldelta": 0, "windows": "perplexity", "n_ctx": 512}),
            )
        ],
    }


def _pairs(rng: np.random.Generator, m: int, n: int, kld: bool) -> list[pl.Series]:
    """The columns of `schema.PAIR`, drawn or null, and of `schema.TOPS`, null. All models share the reference's."""
    absent = schema.TOPS if kld else (*schema.PAIR, *schema.TOPS)
    nulls = [pl.repeat(None, n, dtype=schema.TOKENS[name], eager=True).alias(name) for name in absent]
    if not kld:
        return nulls
    reference = np.random.default_rng(n)
    rank_ref, entropy_ref = reference.geometric(0.4, n), reference.gamma(2.0, 1.0, n)
    values = {
        "kld": rng.lognormal(-5.0 + m, 1.5, n),
        "same_top": rng.random(n) < 0.95 - 0.1 * m,
        "rank_ref": rank_ref,
        "rank_cmp": np.maximum(1, rank_ref + rng.integers(-1 - m, 3 + m, n)),
        "entropy_ref": entropy_ref,
        "entropy_cmp": np.maximum(0, entropy_ref + rng.normal(0, 0.1 + 0.1 * m, n)),
        "logp_top_ref": -entropy_ref / (1 + entropy_ref),
    }
    return [*nulls, *(pl.Series(name, values[name]).cast(schema.TOKENS[name]) for name in schema.PAIR)]


def with_top(made: dict[str, Any], most: int = 3) -> dict[str, Any]:
    """The same result with the most probable tokens of both models (`top_k`), the reference's the same for each."""
    rows = []
    for model, part in made["tokens"].partition_by("model", as_dict=True).items():
        for who, seed in (("ref", 0), ("cmp", len(str(model)) + len(rows))):
            rng = np.random.default_rng(seed)
            tokens = rng.integers(0, N_VOCAB, (len(part), most)).astype(np.int32)
            logp = np.sort(-rng.gamma(2.0, 1.0, tokens.shape), axis=1)[:, ::-1].astype(np.float32)
            part = part.with_columns(
                pl.Series(f"top_tokens_{who}", tokens.tolist(), dtype=pl.List(pl.Int32())),
                pl.Series(f"top_logp_{who}", logp.tolist(), dtype=pl.List(pl.Float32())),
            )
        rows.append(part)
    return {**made, "tokens": pl.concat(rows)}


def with_spans(made: dict[str, Any], model: str = "model-0") -> dict[str, Any]:
    """The same result with `align="bytes"`: of one model two scored tokens that follow one another are a span each,
    for which it needs three."""
    others, mine = (made["tokens"].filter((pl.col("model") == model) == same) for same in (False, True))
    runs = mine.with_columns(run=(pl.col("pos").diff().fill_null(0) != 1).cum_sum())
    pairs = pl.int_range(pl.len()).over("run") // 2
    total = [pl.col(name).sum() for name in ("logp_ref", "logp_cmp")]
    spans = (
        runs.with_columns(pair=pairs)
        .group_by("run", "pair", maintain_order=True)
        .agg(
            *total,
            pl.col("family", "model", "document", "pos", "token", "byte_start").first(),
            pl.col("byte_end").last(),
            n_tokens_ref=pl.len().cast(pl.UInt32()),
            n_tokens_cmp=(2 * pl.len() - 1).cast(pl.UInt32()),
        )
        .with_columns(*WITHOUT_PAIRS, delta=pl.col("logp_cmp") - pl.col("logp_ref"))
        .select(*schema.TOKENS)
    )
    tokens = pl.concat([spans, others])
    corpus = made["documents"].select(*schema.CORPUS).unique(maintain_order=True)
    tails = find_tails(tokens, corpus)
    documents = document_metrics(tokens, made["pieces"], corpus, tails)
    known = made["models"].select("family", "model", "size_bytes", "bits_per_weight", "n_params").unique()
    families = [replace(family, align="bytes") for family in made["families"]]
    models = model_metrics(documents, known, tails)
    return {**made, "tokens": tokens, "documents": documents, "models": models, "families": families}


def confidence(made: dict[str, Any], n_bins: int = 5) -> pl.DataFrame:
    """A frame like `Result.confidence` for a result with `kld`; how sure the reference was is drawn as well."""
    rng = np.random.default_rng(2)
    rows = []
    for family in made["families"]:
        for model in family.models:
            for i in range(n_bins):
                kld, top = float(0.1 * rng.random() / (i + 1)), 0.7 + 0.05 * i
                rows.append(
                    {
                        **{"family": family.name, "model": model, "bin_low": i / n_bins, "bin_high": (i + 1) / n_bins},
                        **{"n_scored": 100 + i, "kld": kld, "kld_low": 0.8 * kld, "kld_high": 1.3 * kld},
                        **{"same_top": top, "same_top_low": top - 0.02, "same_top_high": top + 0.02},
                    }
                )
    return pl.DataFrame(rows)
