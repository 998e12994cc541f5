"""(g) The bootstrap of everything that a result shows: 2000 resamples of 10 000 documents under 10 models.

Means, percentiles, the reference's confidence and the differences of 45 pairs, over all documents and five categories,
from random records of 50 tokens a document with KL divergence. The baseline is what no bootstrap can do without: a loop
that draws documents and adds up one mean of one model, over all documents. Its intervals are the check, and of one
percentile those of a loop that puts the tokens of each resample together. Each contestant runs in a fresh Python; the
time is that of the analysis alone, the peak memory that of the process while it works, token records included.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

import harness

N_RESAMPLES, N_MODELS, N_TOKENS, N_CATEGORIES = 2000, 10, 50, 5
LIMIT_S, LIMIT_MB = 10, 2000


def values_of(model: int, n_documents: int) -> dict[str, np.ndarray]:
    """Columns of one model's records, shape (n_documents, N_TOKENS); documents differ in how much changed."""
    shared, own = np.random.default_rng(0), np.random.default_rng((0, model))
    shape = (n_documents, N_TOKENS)
    ref = -shared.standard_exponential(shape, np.float32) * np.float32(2.5)
    top = np.maximum(-shared.standard_exponential(shape, np.float32), ref)
    size = shared.uniform(0.05, 0.3, (n_documents, 1)).astype(np.float32) * np.float32(1 + model / 10)
    cmp = np.minimum(ref + size * own.standard_normal(shape, np.float32), 0)
    kld = size**2 * own.standard_exponential(shape, np.float32)
    return {"logp_ref": ref, "logp_cmp": cmp, "kld": kld, "logp_top_ref": top, "same_top": kld < 0.1}


def everything(n_documents: int, out: str) -> dict[str, float]:
    """All frames with intervals, from token records."""
    from ppldelta import schema
    from ppldelta.analysis.confidence import confidence
    from ppldelta.analysis.differences import differences
    from ppldelta.analysis.metrics import document_metrics, model_metrics
    from ppldelta.analysis.tails import find_tails

    names = [f"category{i * N_CATEGORIES // n_documents}/{i:05}.txt" for i in range(n_documents)]
    document = pl.Series("document", np.repeat(names, N_TOKENS), dtype=schema.NAMES)
    frames = []
    for model in range(N_MODELS):
        values = {name: each.ravel() for name, each in values_of(model, n_documents).items()}
        frame = pl.DataFrame({"document": document, **values}).with_columns(
            pl.lit("ref").alias("family"), pl.lit(f"cmp{model}").alias("model"), pl.lit(0).alias("token")
        )
        absent = [pl.lit(None).alias(name) for name in schema.TOKENS if name not in frame.columns]
        frames.append(
            frame.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in schema.TOKENS.items())
        )
    tokens = pl.concat(frames)
    category = [name.split("/")[0] for name in names]
    corpus = pl.DataFrame({"family": "ref", "document": names, "category": category, "n_tokens": 100}, schema.CORPUS)
    pieces = pl.DataFrame({"family": ["ref"], "token": [0], "piece": [b"four"]}, schema.PIECES)
    facts = ("family", "model", "size_bytes", "bits_per_weight", "n_params")
    facts = pl.DataFrame(schema={name: schema.MODELS[name] for name in facts})

    def analyse() -> dict[str, pl.DataFrame]:
        tails = find_tails(tokens, corpus, n_resamples=N_RESAMPLES)
        documents = document_metrics(tokens, pieces, corpus, tails)
        return {
            "models": model_metrics(documents, facts, tails, n_resamples=N_RESAMPLES),
            "confidence": confidence(tokens, n_resamples=N_RESAMPLES),
            "differences": differences(documents, n_resamples=N_RESAMPLES),
        }

    found, cost = harness.watched(analyse)
    for name, frame in found.items():
        frame.write_parquet(f"{out}.{name}")
    return cost


def one_mean(n_documents: int, out: str) -> dict[str, float]:
    """The baseline: the mean kld of the last model in each resample, one resample after the other."""
    sums = values_of(N_MODELS - 1, n_documents)["kld"].astype(np.float64).sum(axis=1)
    means = np.empty(N_RESAMPLES)

    def draw() -> None:
        rng = np.random.default_rng(0)
        for i in range(N_RESAMPLES):
            means[i] = sums[rng.integers(0, n_documents, n_documents)].mean() / N_TOKENS

    _, cost = harness.watched(draw)
    np.save(out, means)
    return cost


def check(means: np.ndarray, out: str, n_documents: int) -> None:
    """A mean, a percentile, a bin and a difference, each against a loop over resamples."""
    models, confidence, differences = (
        pl.read_parquet(f"{out}.{name}") for name in ("models", "confidence", "differences")
    )
    last = f"cmp{N_MODELS - 1}"
    row = models.filter(pl.col("model") == last, pl.col("category").is_null(), pl.col("weighting") == "tokens")
    row = row.row(0, named=True)

    def near(found: dict[str, float], name: str, drawn: np.ndarray, part: float, what: str) -> None:
        ends = np.quantile(drawn, [0.025, 0.975])
        given = [found[f"{name}_low"], found[f"{name}_high"]]
        harness.require(np.allclose(given, ends, rtol=1e-9, atol=part * np.ptp(ends)), f"{what}: {given} for {ends}")

    near(row, "kld", means, 0, "the interval of kld")
    one, other = (values_of(model, n_documents) for model in (0, N_MODELS - 1))
    top = np.exp(other["logp_top_ref"].astype(np.float64))
    inside = (top >= 0.25) & (top < 0.5)
    in_bin, n_in_bin = np.where(inside, other["kld"], 0).sum(axis=1, dtype=np.float64), inside.sum(axis=1)
    change = (one["kld"].astype(np.float64) - other["kld"]).sum(axis=1)
    theta = change.mean() / N_TOKENS
    rng = np.random.default_rng(0)
    tails, bins, t = np.empty(N_RESAMPLES), np.empty(N_RESAMPLES), np.empty(N_RESAMPLES)
    for i in range(N_RESAMPLES):
        drawn = rng.integers(0, n_documents, n_documents)
        tails[i] = np.quantile(other["kld"][drawn], 0.99)
        bins[i] = in_bin[drawn].sum() / n_in_bin[drawn].sum()
        of_resample = change[drawn] / N_TOKENS
        t[i] = abs(of_resample.mean() - theta) / of_resample.std()
    near(row, "kld_p99", tails, 0.1, "the interval of the 99th percentile")
    found = confidence.filter(pl.col("model") == last, pl.col("bin_low") == 0.25).row(0, named=True)
    near(found, "kld", bins, 1e-3, "the interval of a bin")
    mine = (pl.col("model_a") == "cmp0", pl.col("model_b") == last, pl.col("metric") == "kld")
    found = differences.filter(*mine, pl.col("category").is_null()).row(0, named=True)
    half = np.quantile(t, 0.95) * (change / N_TOKENS).std()
    harness.require(np.isclose(found["difference"], theta, rtol=1e-9), "a difference")
    # in a quick run it has more resamples than these
    near_half = np.isclose(found["high"] - theta, half, rtol=0.05 if n_documents < 10_000 else 1e-3)
    harness.require(near_half, "the interval of a difference")


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3)
    n_documents, out = 500 if chosen.quick else 10_000, chosen.work / "bootstrap"

    def run(function: object, suffix: str) -> harness.Run:
        cost = harness.call(function, n_documents=n_documents, out=f"{out}{suffix}").answer
        return harness.Run(cost["wall_s"], cost["cpu_s"], cost["peak_mb"], None, cost["before_mb"])

    contestants = {"one mean, a loop": partial(run, one_mean, ".npy"), "everything": partial(run, everything, "")}
    runs = harness.interleave(contestants, chosen.runs, warm_up=False)
    check(np.load(f"{out}.npy"), str(out), n_documents)
    for name in ("npy", "models", "confidence", "differences"):
        Path(f"{out}.{name}").unlink()
    frame = harness.rows(f"{n_documents} documents, {N_MODELS} models, {N_RESAMPLES} resamples", runs)
    for row, each in zip(frame, runs.values(), strict=True):
        row["before_mb"] = each[0].answer
    print(f"wanted of everything: at most {LIMIT_S} s and {LIMIT_MB} MB")
    harness.publish(frame, chosen)
    if not chosen.quick:
        worst = runs["everything"]
        harness.require(min(each.wall_s for each in worst) <= LIMIT_S, f"more than {LIMIT_S} s")
        harness.require(max(each.peak_mb for each in worst) <= LIMIT_MB, f"more than {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
