"""The columns of a run with `kld`: means, tails and intervals against NumPy's float64, and null where there is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ppldelta import schema
from ppldelta.analysis.divergence import PERCENTILES, model_tails
from ppldelta.analysis.metrics import document_metrics, model_metrics
from test_metrics import corpus_frame, pieces_frame, random_records

OF_PAIRS = ["kld", "same_top", *PERCENTILES]


def frames(tokens: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    documents = document_metrics(tokens, pieces_frame(), corpus_frame(tokens))
    facts = documents.select("family", "model").unique().with_columns(size_bytes=8, bits_per_weight=8.5, n_params=4)
    return documents, model_metrics(documents, facts, model_tails(tokens, documents))


def check(row: dict[str, object], records: pl.DataFrame) -> None:
    kld, same = records["kld"].to_numpy().astype(np.float64), records["same_top"].to_numpy()
    assert row["kld"] == pytest.approx(kld.mean(), rel=1e-12)
    assert row["same_top"] == pytest.approx(same.mean(), rel=1e-12)
    for name, part in PERCENTILES.items():
        assert row[name] == pytest.approx(np.percentile(kld, 100 * part), rel=1e-6)
    ref, cmp = (records[name].to_numpy().astype(np.float64) for name in ("logp_ref", "logp_cmp"))
    dp = np.exp(cmp) - np.exp(ref)
    assert row["dp_mean"] == pytest.approx(dp.mean(), rel=1e-9, abs=1e-15)
    assert row["dp_rms"] == pytest.approx(np.sqrt((dp**2).mean()), rel=1e-9)
    assert row["damage"] == pytest.approx(np.abs(cmp - ref).mean(), rel=1e-12)
    assert row["ppl_ratio"] == pytest.approx(np.exp(ref.mean() - cmp.mean()), rel=1e-12)


def test_values_of_documents_and_models() -> None:
    tokens = random_records(n_documents=12)
    names = tokens.with_columns(pl.col("model", "document").cast(pl.String))
    documents, models = frames(tokens)
    for row in documents.iter_rows(named=True):
        check(row, names.filter(pl.col("model") == row["model"], pl.col("document") == row["document"]))
    for row in models.filter(pl.col("weighting") == "tokens").iter_rows(named=True):
        mine = names.filter(pl.col("model") == row["model"])
        if row["category"] is not None:
            mine = mine.join(documents.select("document", "category").unique(), on="document")
            mine = mine.filter(pl.col("category") == row["category"])
        check(row, mine)
    for row in models.filter(pl.col("weighting") == "documents", pl.col("category").is_null()).iter_rows(named=True):
        mine = documents.filter(pl.col("model") == row["model"])
        for name in ("kld", "same_top", "dp_mean", "dp_rms", "damage"):
            assert row[name] == pytest.approx(mine[name].mean(), rel=1e-12)
        assert [row[name] for name in PERCENTILES] == [None] * len(PERCENTILES)


def test_a_run_without_kld_has_none() -> None:
    """One of two comparisons, or of both: null, neither 0 nor NaN, and the other one's numbers stay."""
    tokens = random_records(n_documents=12)
    absent = [pl.lit(None, schema.TOKENS[name]).alias(name) for name in schema.PAIR]
    without = pl.concat([
        part.with_columns(absent) if model == "m1" else part
        for (model,), part in tokens.with_columns(key=pl.col("model").cast(pl.String))
        .partition_by("key", include_key=False, as_dict=True, maintain_order=True).items()
    ]).select(list(schema.TOKENS))  # fmt: skip
    for frame, whole in zip(frames(without), frames(tokens), strict=True):
        ends = [
            f"{name}_{end}" for name in ("kld", "same_top") for end in ("low", "high") if "weighting" in frame.columns
        ]
        here, other = (each.filter(pl.col("model") == "m1") for each in (frame, whole))
        for name in (*OF_PAIRS, *ends):
            assert here[name].null_count() == len(here), name
        assert here.drop(*OF_PAIRS, *ends).equals(other.drop(*OF_PAIRS, *ends))
        assert frame.filter(pl.col("model") == "m2").equals(whole.filter(pl.col("model") == "m2"))
