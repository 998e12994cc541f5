"""KL divergence by the reference's confidence: against plain means, a literal bootstrap, and where bins are empty."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import ppldelta
from helpers.synthetic import WITHOUT_PAIRS
from ppldelta import demo, schema
from ppldelta.analysis.confidence import BOUNDS, confidence
from ppldelta.merging import merge
from test_metrics import random_records

VALUES = ["n_scored", "kld", "kld_low", "kld_high", "same_top", "same_top_low", "same_top_high"]


def records(n_documents: int = 20, models: tuple[str, ...] = ("m2", "m1"), seed: int = 0) -> pl.DataFrame:
    """Records whose reference is of any confidence, each bound included."""
    tokens = random_records(seed=seed, models=models, n_documents=n_documents)
    p = np.random.default_rng(seed).uniform(0, 1, len(tokens))
    p[:10] = [*BOUNDS[1:], *BOUNDS[1:]]
    return tokens.with_columns(logp_top_ref=pl.Series(np.log(p)).cast(pl.Float32))


def test_means_are_those_of_the_tokens_of_a_bin() -> None:
    tokens = records()
    found = confidence(tokens)
    assert found.schema == pl.Schema(schema.CONFIDENCE)
    assert found["model"].unique(maintain_order=True).to_list() == ["m2", "m1"]
    assert list(itertools.pairwise(BOUNDS)) * 2 == found.select("bin_low", "bin_high").rows()
    for row in found.iter_rows(named=True):
        mine = tokens.filter(pl.col("model") == row["model"])
        p = np.exp(mine["logp_top_ref"].to_numpy().astype(np.float64)).round(6)
        inside = (p >= row["bin_low"]) & ((p < row["bin_high"]) | (row["bin_high"] == 1))
        assert row["n_scored"] == inside.sum() > 0
        kld, same = mine["kld"].to_numpy().astype(np.float64)[inside], mine["same_top"].to_numpy()[inside]
        assert (row["kld"], row["same_top"]) == pytest.approx((kld.mean(), same.mean()), rel=1e-12)
    assert found.group_by("model").agg(pl.col("n_scored").sum())["n_scored"].sum() == len(tokens)


def test_intervals_are_those_of_documents_drawn_one_by_one() -> None:
    tokens = records(models=("m",))
    found = confidence(tokens, n_resamples=300)
    names = tokens["document"].cast(pl.String).to_numpy()
    p, kld = (tokens[name].to_numpy().astype(np.float64) for name in ("logp_top_ref", "kld"))
    places = [np.flatnonzero(names == name) for name in sorted(set(names))]
    draws = [np.concatenate([places[i] for i in draw]) for draw in np.random.default_rng(0).integers(0, 20, (300, 20))]
    for row in found.iter_rows(named=True):
        low, high = (np.float32(np.log(row[name] or 1e-30)) for name in ("bin_low", "bin_high"))
        inside = (p >= low) & ((p < high) | (row["bin_high"] == 1))
        means = [kld[draw][inside[draw]].mean() for draw in draws]
        assert (row["kld_low"], row["kld_high"]) == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-9)


def test_a_bin_without_tokens_is_there_and_empty() -> None:
    sure = records().with_columns(logp_top_ref=pl.lit(-0.1, pl.Float32))
    found = confidence(sure)
    assert found["n_scored"].to_list() == [0, 0, 0, len(sure) // 2, 0] * 2
    empty = found.filter(pl.col("n_scored") == 0)
    assert empty.select(VALUES[1:]).null_count().row(0) == (len(empty),) * 6
    assert found.filter(pl.col("n_scored") > 0).select(VALUES).null_count().row(0) == (0,) * 7


def test_few_documents_have_means_and_no_interval() -> None:
    found = confidence(records(n_documents=4)).filter(pl.col("n_scored") > 0)
    assert found["kld"].null_count() == 0
    assert found["kld_low"].null_count() == found["same_top_high"].null_count() == len(found)


def test_records_without_kld_have_no_row() -> None:
    tokens = records()
    found = confidence(tokens.with_columns(WITHOUT_PAIRS))
    assert found.is_empty() and found.schema == pl.Schema(schema.CONFIDENCE)
    both = pl.concat(
        [tokens, tokens.with_columns(WITHOUT_PAIRS).with_columns(model=pl.lit("other").cast(schema.NAMES))]
    )
    assert_frame_equal(confidence(both), confidence(tokens))


def test_a_result_has_them() -> None:
    prose = sorted((demo.CORPUS / "prose").glob("*.txt"))[:6]
    result = ppldelta.score(
        prose, demo.REFERENCE, demo.COMPARISONS[1:], kld=True, store=None, progress=False, n_ctx=128
    )
    tokens, found = result.tokens, result.confidence
    assert (tokens["logp_top_ref"] >= tokens["logp_ref"]).all()
    top = tokens["rank_ref"] == 1
    assert tokens.filter(top)["logp_top_ref"].equals(tokens.filter(top)["logp_ref"])
    kld = (found["kld"] * found["n_scored"]).fill_null(0.0).sum() / found["n_scored"].sum()
    assert kld == pytest.approx(tokens["kld"].cast(pl.Float64).mean(), rel=1e-9)
    assert result.confidence is found, "computed once"
    assert set(result.differences["metric"]) >= {"gain", "kld", "same_top"}
    merged = merge([result, result])
    assert merged.confidence.drop("family").equals(pl.concat([found, found]).drop("family"))
    assert len(merged.differences) == 2 * len(result.differences)
