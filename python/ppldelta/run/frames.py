"""Evaluations as the frames of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from ppldelta import schema
from ppldelta.engine.recognition import Recognition
from ppldelta.family import Family, Noise, today
from ppldelta.result import Result, make_result
from ppldelta.run.evaluation import Evaluation
from ppldelta.run.job import Job
from ppldelta.run.kinds import as_sentence
from ppldelta.run.span_frames import span_records
from ppldelta.run.tokenization import Tokenization
from ppldelta.text.ragged import Ragged


def as_result(
    work: Job,
    ref: Evaluation,
    cmps: list[Evaluation],
    token_pieces: dict[int, bytes],
    corpus_folder: str | None,
    warnings: list[str],
    kinds: Mapping[str, Recognition],
    noise: tuple[Noise, ...] = (),
) -> Result:
    """A result of one family.

    Args:
        work: what was evaluated.
        ref: the reference's log-probabilities.
        cmps: the comparisons'.
        token_pieces: the bytes of each token that occurs in any of it.
        corpus_folder: where the documents are, for people.
        warnings: sentences for the reader.
        kinds: what each comparison is, by its label.
        noise: what the reference differs from itself by.
    """
    tokenization, label = ref.participant.tokenization, ref.label
    documents, tokens = tokenization.texts, tokenization.documents.tokens
    corpus = pl.DataFrame(
        {
            "family": [label] * len(documents),
            "document": [each.name for each in documents],
            "category": [each.category for each in documents],
            "n_tokens": tokens.lengths,
            "group": [each.group for each in documents],
            "label": [each.label for each in documents],
        },
        schema={**schema.CORPUS, **schema.GROUPS},
    )
    texts = pl.DataFrame(
        {
            "family": corpus["family"],
            "document": corpus["document"],
            "tokens": _lists(tokens).cast(schema.TEXTS["tokens"]),
        },
        schema=schema.TEXTS,
    )
    pieces = pl.DataFrame(
        {
            "family": [label] * len(token_pieces),
            "token": list(token_pieces.keys()),
            "piece": list(token_pieces.values()),
        },
        schema=schema.PIECES,
    )
    family = Family(
        name=label,
        ref=ref.facts(),
        cmp=tuple(
            replace(each.facts(), kind=kinds[each.label].kind, kind_reason=as_sentence(kinds[each.label]))
            for each in cmps
        ),
        signature=work.settings.signature(work.build),
        system=work.build.system,
        devices=tuple(work.build.devices),
        corpus=corpus_folder,
        n_fed=ref.participant.n_fed,
        noise=noise,
        date=today(),
        align=work.settings.align,
        only_prompts=all(each.prompt_bytes > 0 for each in documents),
    )
    return make_result(_token_records(tokenization, ref, cmps), pieces, corpus, texts, [family], warnings)


def _token_records(tokenization: Tokenization, ref: Evaluation, cmps: list[Evaluation]) -> pl.DataFrame:
    """One row per model and scored token (or span), as `schema.TOKENS`."""
    documents, windows = tokenization.texts, tokenization.windows
    n_scored = np.diff(tokenization.scored)
    names = pl.Series("document", [each.name for each in documents], dtype=schema.NAMES)
    # the same for every comparison: as columns they are made once, and the frames share them
    shared = pl.DataFrame(
        [
            names.gather(np.repeat(np.arange(len(documents), dtype=np.uint32), n_scored)),
            pl.Series("pos", windows.pos),
            pl.Series("token", windows.targets.values),
            *_byte_columns(tokenization),
            pl.Series("logp_ref", ref.logp),
        ]
    )
    frames = [
        shared.with_columns(
            pl.Series("logp_cmp", cmp.logp),
            *(pl.lit(1).alias(name) for name in ("n_tokens_ref", "n_tokens_cmp")),
            *_pair_columns(cmp),
            *_top_columns(cmp),
        )
        if cmp.participant.shares
        else span_records(ref, cmp).with_columns(
            pl.lit(None, dtype=schema.TOKENS[name]).alias(name) for name in (*schema.PAIR, *schema.TOPS)
        )
        for cmp in cmps
    ]
    frames = [
        frame.with_columns(
            pl.lit(ref.label, dtype=schema.NAMES).alias("family"),
            pl.lit(cmp.label, dtype=schema.NAMES).alias("model"),
            (pl.col("logp_cmp") - pl.col("logp_ref")).alias("delta"),
        ).select(pl.col(name).cast(dtype) for name, dtype in schema.TOKENS.items())
        for frame, cmp in zip(frames, cmps, strict=True)
    ]
    return pl.concat(frames)


def _pair_columns(cmp: Evaluation) -> list[pl.Series]:
    """What lockstep says of each token; null where it was not asked for."""
    if (pairs := cmp.pairs) is None:
        return [
            pl.repeat(None, len(cmp.logp), dtype=schema.TOKENS[name], eager=True).alias(name) for name in schema.PAIR
        ]
    values = {name: pairs[name] for name in schema.PAIR if name != "same_top"}
    values["same_top"] = pairs["top_ref"] == pairs["top_cmp"]
    return [pl.Series(name, np.ascontiguousarray(values[name])).cast(schema.TOKENS[name]) for name in schema.PAIR]


def _top_columns(cmp: Evaluation) -> list[pl.Series] | list[pl.Expr]:
    """The best tokens of both models, as lists; null where they were not asked for."""
    pairs = cmp.pairs
    if pairs is None or schema.TOPS[0] not in (pairs.dtype.names or ()):
        return [pl.lit(None, dtype=schema.TOKENS[name]).alias(name) for name in schema.TOPS]
    return [pl.Series(name, np.ascontiguousarray(pairs[name])).arr.to_list() for name in schema.TOPS]


def _byte_columns(tokenization: Tokenization) -> list[pl.Series]:
    """`byte_start` and `byte_end` of the scored tokens in the order of the windows."""
    windows, tokens = tokenization.windows, tokenization.documents.tokens
    scored = tokenization.scored
    found = np.empty((2, len(windows.pos)), np.uint32)
    unknown = np.zeros(len(windows.pos), np.bool_)
    for some, bounds in tokenization.all_bounds():
        begin, end = scored[some.start], scored[some.stop]
        zeros = (np.zeros(n + 1, np.uint32) for n in tokens.lengths[some.start : some.stop].tolist())
        whole = Ragged.of((zero if each is None else each for zero, each in zip(zeros, bounds, strict=True)), np.uint32)
        n_scored = np.diff(scored[some.start : some.stop + 1])
        at = np.repeat(whole.starts[:-1], n_scored) + windows.pos[begin:end]
        found[:, begin:end] = whole.values[at], whole.values[at + 1]
        unknown[begin:end] = np.repeat([each is None for each in bounds], n_scored)
    return [
        pl.Series(name, values).set(pl.Series(unknown), None)
        for name, values in zip(("byte_start", "byte_end"), found, strict=True)
    ]


def _lists(arrays: Ragged[np.int32]) -> pl.Series:
    """A list for each array, none of which is empty: polars takes a minute for a million that come one by one."""
    row = np.repeat(np.arange(len(arrays), dtype=np.uint32), arrays.lengths)
    values = pl.DataFrame({"row": row, "value": arrays.values})
    return values.group_by("row", maintain_order=True).agg("value")["value"]
