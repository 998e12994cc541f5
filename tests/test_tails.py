"""The columns of a run with `kld`: means, tails and intervals against NumPy's float64, and null where there is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helpers.synthetic import WITHOUT_PAIRS
from ppldelta import schema
from ppldelta.analysis.metrics import document_metrics, model_metrics
from ppldelta.analysis.tails import find_tails
from test_metrics import corpus_frame, pieces_frame, random_records, tokens_frame

PARTS = {"p001": 0.001, "p01": 0.01, "p05": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9}
PARTS |= {"p95": 0.95, "p99": 0.99, "p999": 0.999, "min": 0.0, "max": 1.0}
OF_PAIRS = ["kld", "same_top", *schema.PERCENTILES["kld"]]
PERCENTILES = [name for names in schema.PERCENTILES.values() for name in names]


def frames(tokens: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    tails = find_tails(tokens, corpus_frame(tokens))
    documents = document_metrics(tokens, pieces_frame(), corpus_frame(tokens), tails)
    facts = documents.select("family", "model").unique().with_columns(size_bytes=8, bits_per_weight=8.5, n_params=4)
    return documents, model_metrics(documents, facts, tails)


def check(row: dict[str, object], records: pl.DataFrame) -> None:
    kld, same = records["kld"].to_numpy().astype(np.float64), records["same_top"].to_numpy()
    assert row["kld"] == pytest.approx(kld.mean(), rel=1e-12)
    assert row["same_top"] == pytest.approx(same.mean(), rel=1e-12)
    ref, cmp = (records[name].to_numpy().astype(np.float64) for name in ("logp_ref", "logp_cmp"))
    dp = np.exp(cmp) - np.exp(ref)
    assert row["dp_mean"] == pytest.approx(dp.mean(), rel=1e-9, abs=1e-15)
    assert row["dp_rms"] == pytest.approx(np.sqrt((dp**2).mean()), rel=1e-9)
    for kind, values in (("kld", kld), ("dp", dp)):
        for name in schema.PERCENTILES[kind]:
            wanted = np.percentile(values, 100 * PARTS[name.removeprefix(f"{kind}_")])
            assert row[name] == pytest.approx(wanted, rel=3e-6, abs=1e-9), name
    assert row["logp_sd_ref"] == pytest.approx(ref.std(), rel=1e-9)
    if len(ref) > 1:
        assert row["logp_cor"] == pytest.approx(np.corrcoef(ref, cmp)[0, 1], rel=1e-9)
    assert row["ppl_diff"] == pytest.approx(np.exp(-cmp.mean()) - np.exp(-ref.mean()), rel=1e-9)
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
    without = pl.concat([
        part.with_columns(WITHOUT_PAIRS) if model == "m1" else part
        for (model,), part in tokens.with_columns(key=pl.col("model").cast(pl.String))
        .partition_by("key", include_key=False, as_dict=True, maintain_order=True).items()
    ]).select(list(schema.TOKENS))  # fmt: skip
    for frame, whole in zip(frames(without), frames(tokens), strict=True):
        ends = [
            f"{name}_{end}"
            for name in ("kld", "same_top", *(each for each in schema.PERCENTILE_INTERVALS if each.startswith("kld")))
            for end in ("low", "high")
            if "weighting" in frame.columns
        ]
        here, other = (each.filter(pl.col("model") == "m1") for each in (frame, whole))
        for name in (*OF_PAIRS, *ends):
            assert here[name].null_count() == len(here), name
        assert here.drop(*OF_PAIRS, *ends).equals(other.drop(*OF_PAIRS, *ends))
        assert frame.filter(pl.col("model") == "m2").equals(whole.filter(pl.col("model") == "m2"))


def many_records(n_documents: int, seed: int = 1) -> pl.DataFrame:
    """Longer documents of differing spread, so that resamples of documents move the tail more than those of tokens."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_documents):
        n, spread = int(rng.integers(100, 400)), float(rng.uniform(0.2, 1.5))
        ref = -rng.gamma(1, 2, n)
        cmp = np.minimum(ref + rng.normal(0, spread, n), 0)
        rows += [("f", "m", f"{i:04}.txt", 1, *both) for both in zip(ref, cmp, strict=True)]
    return tokens_frame(rows)


def test_intervals_are_those_of_resamples_that_are_sorted() -> None:
    """A literal bootstrap: the tokens of each resample, sorted. An end may be off by a twelfth of the width."""
    tokens = many_records(60)
    values = {"kld": tokens["kld"].to_numpy(), "dp": np.exp(tokens["logp_cmp"]) - np.exp(tokens["logp_ref"])}
    (row,) = find_tails(tokens, corpus_frame(tokens)).models.filter(pl.col("category").is_null()).to_dicts()
    names = tokens["document"].cast(pl.String).to_numpy()
    places = [np.flatnonzero(names == name) for name in sorted(set(names))]
    draws = np.random.default_rng(0).integers(0, 60, size=(2000, 60))
    for kind, each in values.items():
        each = np.asarray(each)
        parts = [PARTS[name.removeprefix(f"{kind}_")] for name in schema.PERCENTILES[kind]]
        found = np.array([np.quantile(each[np.concatenate([places[i] for i in draw])], parts) for draw in draws])
        for i, name in enumerate(schema.PERCENTILES[kind]):
            if name in schema.PERCENTILE_INTERVALS:
                low, high = np.quantile(found[:, i], [0.025, 0.975])
                near = (high - low) / 12
                assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((low, high), rel=0, abs=near), name


@pytest.mark.parametrize("kind", ["kld", "dp"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(kind: str) -> None:
    """100 corpora of 40 documents; the truth is the percentile of 2000 documents of the same kind."""
    whole = many_records(2000, seed=9)
    (truth,) = (
        find_tails(whole, corpus_frame(whole), n_resamples=1).models.filter(pl.col("category").is_null()).to_dicts()
    )
    names = [f"{kind}_p90", f"{kind}_p99"]
    n_corpora, hits = 100, dict.fromkeys(names, 0)
    for seed in range(n_corpora):
        tokens = many_records(40, seed=100 + seed)
        row = find_tails(tokens, corpus_frame(tokens), n_resamples=300).models.row(0, named=True)
        for name in names:
            hits[name] += row[f"{name}_low"] <= truth[name] <= row[f"{name}_high"]
    for name, n in hits.items():
        assert 0.87 <= n / n_corpora <= 0.99, name


def test_values_do_not_depend_on_how_the_records_lie() -> None:
    tokens = random_records(n_documents=12)
    whole = find_tails(tokens, corpus_frame(tokens))
    shuffled = tokens.sample(fraction=1.0, shuffle=True, seed=3)
    other = find_tails(shuffled, corpus_frame(tokens))
    for name, keys in (("documents", ["model", "document"]), ("models", ["model", "category"])):
        one, two = (getattr(each, name).sort(keys) for each in (whole, other))
        assert_frame_equal(one, two, check_exact=True)


def test_small_and_large_changes_of_a_probability_are_right() -> None:
    """Float32 loses all digits of exp(a) - exp(b) if both exponentials are nearly 1, and exp(100) overflows in it."""
    ref = np.array([-1e-6, -1e-3, -2.0, -100.0, -0.5], np.float32)
    cmp = np.array([-1.001e-6, -1.0001e-3, -2.00001, -0.25, -120.0], np.float32)
    tokens = tokens_frame([("f", "m", f"{i}.txt", 0, *pair) for i, pair in enumerate(zip(ref, cmp, strict=True))])
    found = find_tails(tokens, corpus_frame(tokens)).documents["dp_p50"].to_numpy()
    exact = np.exp(cmp.astype(np.float64)) - np.exp(ref.astype(np.float64))
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_values_that_are_no_numbers_show_where_they_are() -> None:
    tokens = random_records(n_documents=12)
    first = pl.int_range(pl.len()) == 0
    broken = tokens.with_columns(logp_cmp=pl.when(first).then(pl.lit(float("nan"), pl.Float32)).otherwise("logp_cmp"))
    whole, found = (find_tails(each, corpus_frame(tokens)) for each in (tokens, broken))
    wrong = found.documents.filter(pl.col("dp_p50").is_nan())
    assert len(wrong) == 1 and wrong["dp_max"].is_nan().all()
    name = pl.col("model") != wrong["model"][0]
    assert_frame_equal(found.models.filter(name), whole.models.filter(name), check_exact=True)
    mine = found.models.filter(~name, pl.col("category").is_null())
    assert mine.select("dp_p50", "dp_p50_low", "dp_max").row(0) == pytest.approx((np.nan,) * 3, nan_ok=True)
    assert mine["kld_p50"].is_finite().all()
