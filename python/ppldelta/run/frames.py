"""Evaluations as the frames of a result."""

from __future__ import annotations

import numpy as np
import polars as pl

from ppldelta import schema
from ppldelta.family import Family
from ppldelta.result import Result, make_result
from ppldelta.run.evaluation import Evaluation
from ppldelta.run.job import Job
from ppldelta.run.plan import PlannedDocument


def as_result(
    work: Job, ref: Evaluation, cmps: list[Evaluation], corpus_folder: str | None, warnings: list[str]
) -> Result:
    """A result of one family.

    Args:
        work: what was evaluated.
        ref: the reference's log-probabilities.
        cmps: the comparisons'.
        corpus_folder: where the documents are, for people.
        warnings: sentences for the reader.
    """
    planned, label = work.planned, ref.reference.label
    corpus = pl.DataFrame(
        {
            "family": [label] * len(planned),
            "document": [plan.document.name for plan in planned],
            "category": [plan.document.category for plan in planned],
            "n_tokens": [len(plan.tokens) for plan in planned],
        },
        schema=schema.CORPUS,
    )
    texts = pl.DataFrame(
        {
            "family": corpus["family"],
            "document": corpus["document"],
            "tokens": pl.Series([plan.tokens for plan in planned], dtype=schema.TEXTS["tokens"]),
        },
        schema=schema.TEXTS,
    )
    pieces = pl.DataFrame(
        {"family": [label] * len(work.distinct_tokens), "token": work.distinct_tokens, "piece": work.pieces},
        schema=schema.PIECES,
    )
    family = Family(
        name=label,
        ref=ref.entry(),
        cmp=tuple(each.entry() for each in cmps),
        signature=work.settings.signature(work.build),
        system=work.build.system,
        devices=tuple(work.build.devices),
        corpus=corpus_folder,
        n_fed=work.n_fed,
    )
    return make_result(_token_records(planned, ref, cmps), pieces, corpus, texts, [family], warnings)


def _token_records(planned: list[PlannedDocument], ref: Evaluation, cmps: list[Evaluation]) -> pl.DataFrame:
    """One row per model and scored token, as `schema.TOKENS`."""
    n_scored = [sum(len(window.targets) for window in plan.windows) for plan in planned]
    names = pl.Series("document", [plan.document.name for plan in planned], dtype=schema.NAMES)
    document = names.gather(np.repeat(np.arange(len(planned), dtype=np.uint32), n_scored))
    pos = np.concatenate([window.pos for plan in planned for window in plan.windows])
    token = np.concatenate([window.targets for plan in planned for window in plan.windows])

    frames = []
    for cmp in cmps:
        columns = {
            "document": document,
            "pos": pos,
            "token": token,
            "logp_ref": ref.logp,
            "logp_cmp": cmp.logp,
            "delta": cmp.logp - ref.logp,
        }
        frames.append(
            pl.DataFrame(columns).with_columns(
                pl.lit(ref.reference.label, dtype=schema.NAMES).alias("family"),
                pl.lit(cmp.reference.label, dtype=schema.NAMES).alias("model"),
            )
        )
    return pl.concat(frames).select(pl.col(name).cast(dtype) for name, dtype in schema.TOKENS.items())
