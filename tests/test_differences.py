"""Paired differences: against a literal bootstrap, Holm's definition, and how often they err where there is nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helpers.bootstrap import literal
from ppldelta import schema
from ppldelta.analysis import differences as module
from ppldelta.analysis.corrections import holm
from ppldelta.analysis.differences import METRICS, differences
from test_metrics import documents_of, random_records


def documents_frame(x: np.ndarray, n: np.ndarray) -> pl.DataFrame:
    """Documents of two models without loss, whose gains differ by x, shape (n_documents,), with n scored tokens."""
    rows = [
        {"family": "f", "model": model, "document": f"{i:04}", "category": "", "n_scored": int(n[i])}
        | {"gain": 3.0 + (float(x[i]) if model == "a" else 0.0), "loss": 0.0}
        | {"delta": 0.0, "kld": None, "same_top": None}
        for model in "ab"
        for i in range(len(x))
    ]
    return pl.DataFrame(rows, schema_overrides={"kld": pl.Float64, "same_top": pl.Float64})


def test_a_literal_bootstrap_gives_the_same() -> None:
    documents = documents_of(random_records(n_documents=21))
    found = differences(documents, n_resamples=500).filter(pl.col("category").is_null())
    assert found["metric"].to_list() == list(METRICS)
    a, b = (documents.filter(pl.col("model") == model).sort("document") for model in ("m2", "m1"))
    n = a["n_scored"].to_numpy().astype(float)
    for row in found.iter_rows(named=True):
        x = (a[row["metric"]] - b[row["metric"]]).to_numpy() * n
        if row["metric"] == "same_top":
            assert not x.any() and row["p"] == 1, "both have the same"
            continue
        wanted = literal(x, n, 500)
        assert [row[name] for name in ("difference", "low", "high", "p")] == pytest.approx(wanted, rel=1e-4), row


def test_difference_is_that_of_the_models() -> None:
    from test_metrics import models_frame

    documents = documents_of(random_records(models=("x", "y", "z"), n_documents=18))
    models = models_frame(documents).filter(pl.col("weighting") == "tokens")
    found = differences(documents)
    assert found.schema == pl.Schema(schema.DIFFERENCES)
    assert found.select("model_a", "model_b").unique(maintain_order=True).rows() == [("x", "y"), ("x", "z"), ("y", "z")]
    assert len(found) == 3 * 4 * len(METRICS)
    for row in found.iter_rows(named=True):
        mine = models.filter(pl.col("category").eq_missing(row["category"]))
        a, b = (mine.filter(pl.col("model") == row[name])[row["metric"]][0] for name in ("model_a", "model_b"))
        assert row["difference"] == pytest.approx(a - b, abs=1e-12)
        assert row["low"] <= row["difference"] <= row["high"]
        assert (row["p"] < 0.05) == (not row["low"] <= 0 <= row["high"])
        assert row["p"] <= row["p_holm"] <= 1


def test_the_other_way_round_the_sign_changes() -> None:
    documents = documents_of(random_records(n_documents=18))
    there = differences(documents)
    back = differences(pl.concat([documents.filter(pl.col("model") == model) for model in ("m1", "m2")]))
    assert back["model_a"].unique().to_list() == ["m1"] and there["model_a"].unique().to_list() == ["m2"]
    turned = back.select(
        "family", model_a="model_b", model_b="model_a", category="category", metric="metric",
        difference=-pl.col("difference"), low=-pl.col("high"), high=-pl.col("low"), p="p", p_holm="p_holm",
    )  # fmt: skip
    assert_frame_equal(turned, there, rel_tol=1e-5)


def test_a_model_against_itself_does_not_differ() -> None:
    documents = documents_of(random_records(models=("m",), n_documents=18))
    found = differences(pl.concat([documents, documents.with_columns(model=pl.lit("twin"))]))
    assert len(found) == 4 * len(METRICS)
    assert not found.select("difference", "low", "high").to_numpy().any()
    assert found["p"].to_list() == found["p_holm"].to_list() == [1.0] * len(found)


def test_holm_is_what_its_definition_says() -> None:
    """Literally: test after test from the smallest p, until one is not rejected, at any level."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.uniform(0, 0.2, 6).round(3)
        found = holm(p)
        for level in rng.uniform(0, 1, 50):
            rejected = np.zeros(6, bool)
            for i, at in enumerate(np.argsort(p, kind="stable")):
                if p[at] > level / (6 - i):
                    break
                rejected[at] = True
            assert np.array_equal(found <= level, rejected)
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.06, 0.06])
    assert holm(np.array([])).shape == (0,)


def test_correction_is_over_the_pairs_and_categories_of_a_metric() -> None:
    found = differences(documents_of(random_records(models=("x", "y", "z"), n_documents=18)))
    for metric in METRICS:
        mine = found.filter(pl.col("metric") == metric)
        assert len(mine) == 12
        np.testing.assert_allclose(mine["p_holm"], holm(mine["p"].to_numpy()))


@pytest.mark.parametrize("n_documents", [12, 60])
def test_p_values_are_uniform_where_there_is_no_difference(n_documents: int) -> None:
    """1000 pairs of comparisons that differ by noise alone, skewed, in documents of different lengths.

    Of uniform p values, a part q lies below q: with 1000 of them ± 3 standard errors, and a fifth of q for what a
    bootstrap of a dozen documents may be off. Percentile intervals give 0.11 below 0.05 at 12 documents, 0.07 at 60.
    """
    rng = np.random.default_rng(n_documents)
    n = rng.integers(50, 500, n_documents).astype(float)
    noise = rng.gamma(2, 1, (n_documents, 1000)) - rng.gamma(2, 1, (n_documents, 1000))
    x = noise * n[:, None] ** 0.75
    found = module.ratio_test(x, n, module.Resamples(999, 0), 0.95)
    p = np.array([each[3] for each in found])
    for q in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75):
        assert (p <= q).mean() == pytest.approx(q, abs=3 * np.sqrt(q * (1 - q) / 1000) + q / 5), q


def test_a_difference_that_is_there_is_found() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(50, 500, 30)
    found = differences(documents_frame(0.1 + 0.1 * rng.standard_normal(30), n))
    row = found.filter(pl.col("category").is_null(), pl.col("metric") == "gain").row(0, named=True)
    assert row["p_holm"] < 0.01 and row["low"] > 0
    nothing = found.filter(pl.col("metric") == "loss")
    assert set(nothing["p"]) == {1.0}
    assert "kld" not in found["metric"].to_list()


def test_few_documents_and_documents_of_one_alone() -> None:
    documents = documents_of(random_records(models=("x", "y", "z"), n_documents=9))
    fewer = documents.filter((pl.col("model") != "z") | (pl.col("document") < "b"))
    found = differences(fewer)
    with_z = found.filter(pl.col("model_b") == "z")
    assert len(found) > len(with_z) > 0
    few = with_z.filter(pl.col("category").is_null())
    assert few["low"].null_count() + few["p"].null_count() + few["p_holm"].null_count() in (0, 3 * len(few))
    few = found.filter(pl.col("category") == "a")
    assert few.select("low", "high", "p", "p_holm").null_count().row(0) == (len(few),) * 4, "3 documents"
    whole = differences(documents).filter(pl.col("model_b") == "y").drop("p_holm")
    assert_frame_equal(found.filter(pl.col("model_b") == "y").drop("p_holm"), whole)
    assert differences(documents.head(0)).schema == pl.Schema(schema.DIFFERENCES)
    assert len(differences(documents.filter(pl.col("model") == "x"))) == 0


def test_many_tests_have_enough_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten comparisons make 45 pairs: with 100 resamples no p after Holm's correction could be below 0.4."""
    shifted = documents_of(random_records(models=("m",), n_documents=30))
    many = pl.concat([shifted.with_columns(model=pl.lit(f"m{i}"), gain=pl.col("gain") + i) for i in range(10)])
    noisy = many.with_columns(gain=pl.col("gain") + pl.Series(np.random.default_rng(0).normal(0, 0.1, len(many))))
    found = differences(noisy, n_resamples=100).filter(pl.col("metric") == "gain", pl.col("category").is_null())
    assert len(found) == len(list(itertools.combinations(range(10), 2)))
    assert found["p_holm"].max() < 0.05


def test_small_p_values_of_few_resamples_are_those_of_many() -> None:
    """Thousands of documents: from 400 resamples and a normal tail, against the p value that theory gives."""
    rng = np.random.default_rng(0)
    n = np.full(3000, 100.0)
    noise = rng.standard_normal((3000, 3))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0)
    t = np.array([2.0, 4.0, 6.0])
    found = module.ratio_test(noise + t / np.sqrt(3000), n, module.Resamples(400, 0), 0.95, wanted=10_000)
    p = np.array([each[3] for each in found])
    normal = np.array([math.erfc(each / math.sqrt(2)) for each in t])
    np.testing.assert_allclose(np.log(p), np.log(normal), rtol=0.12)
    plain = np.array([each[3] for each in module.ratio_test(noise + t / 3000**0.5, n, module.Resamples(400, 0), 0.95)])
    assert plain[1] == plain[2] == 1 / 401 and plain[0] == p[0]
