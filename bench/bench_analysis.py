"""(e) The analysis layer on 100 million token records: frames of documents and models, bootstrap included.

Four models, 10 000 documents, 2500 tokens each; the records are random but look like real ones. The baseline is the
least that such a job can do: NumPy adding up each document's sums in float64, from plain arrays in order, without a
bootstrap. Its sums are the check. Each contestant runs in a fresh Python; the time is that of the analysis alone, the
peak memory that of the process while it works, token records included.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import harness

N_MODELS, N_DOCUMENTS, N_VOCAB, N_CATEGORIES = 4, 10_000, 151_936, 5
NAMES = [f"category{i % N_CATEGORIES}/{i:05}.txt" for i in range(N_DOCUMENTS)]


def logp_of(model: int, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (float32, never positive) under the reference and under a comparison, document by document."""
    rng, own = np.random.default_rng(0), np.random.default_rng((0, model))
    logp_ref = -rng.standard_exponential(N_DOCUMENTS * n_tokens, np.float32) * np.float32(2.5)
    logp_cmp = logp_ref * (1 + np.float32(0.1) * own.standard_normal(logp_ref.size, np.float32))
    return logp_ref, np.minimum(logp_cmp, 0, out=logp_cmp)


def tokens_of(n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """The token of each record, document by document, and how many bytes each token of the vocabulary has."""
    rng = np.random.default_rng(1)
    return rng.integers(0, N_VOCAB, (N_DOCUMENTS, n_tokens), np.int32), rng.integers(1, 9, N_VOCAB)


def numpy_sums(n_tokens: int, out: str) -> dict[str, float]:
    """The baseline: sums of nats, gain, loss and bytes by document; one model's arrays in memory at a time."""
    token, lengths = tokens_of(n_tokens)
    costs, sums = [], np.empty((N_MODELS, 5, N_DOCUMENTS))

    def add_up(model: int, logp_ref: np.ndarray, logp_cmp: np.ndarray) -> None:
        for some in (slice(i, i + 100) for i in range(0, N_DOCUMENTS, 100)):
            ref, cmp = (logp.reshape(N_DOCUMENTS, n_tokens)[some].astype(np.float64) for logp in (logp_ref, logp_cmp))
            gain, loss = np.maximum(cmp - ref, 0), np.maximum(ref - cmp, 0)
            sums[model, :, some] = [values.sum(axis=1) for values in (-ref, -cmp, gain, loss, lengths[token[some]])]

    for model in range(N_MODELS):
        logp = logp_of(model, n_tokens)
        costs.append(harness.watched(partial(add_up, model, *logp))[1])
    np.save(out, sums)
    return {key: (sum if key.endswith("_s") else max)(cost[key] for cost in costs) for key in costs[0]}


def ppldelta_frames(n_tokens: int, out: str) -> dict[str, float]:
    """Token records as `ppldelta.score` makes them, then percentiles, `document_metrics` and `model_metrics`."""
    from ppldelta import schema
    from ppldelta.analysis.metrics import document_metrics, model_metrics
    from ppldelta.analysis.tails import find_tails

    token, lengths = tokens_of(n_tokens)

    def records() -> pl.DataFrame:
        place = np.repeat(np.arange(N_DOCUMENTS, dtype=np.uint32), n_tokens)
        document = pl.Series("document", NAMES, dtype=schema.NAMES).gather(place)
        pos = np.tile(np.arange(n_tokens, dtype=np.uint32), N_DOCUMENTS)
        frames = []
        for model in range(N_MODELS):
            ref, cmp = logp_of(model, n_tokens)
            values = {"pos": pos, "token": token.ravel(), "logp_ref": ref, "logp_cmp": cmp, "delta": cmp - ref}
            labels = {"family": "ref", "model": f"cmp{model}"}
            frames.append(
                pl.DataFrame({"document": document, **values})
                .with_columns(pl.lit(label, dtype=schema.NAMES).alias(name) for name, label in labels.items())
                .with_columns(pl.lit(None, schema.TOKENS[name]).alias(name) for name in schema.ADDED_LATER["tokens"])
                .select(*schema.TOKENS)
            )
        return pl.concat(frames)

    tokens = records()
    category, piece = [name.split("/")[0] for name in NAMES], [b"x" * int(length) for length in lengths]
    corpus = {"family": "ref", "document": NAMES, "category": category, "n_tokens": n_tokens}
    pieces = {"family": "ref", "token": np.arange(N_VOCAB, dtype=np.int32), "piece": piece}
    corpus, pieces = pl.DataFrame(corpus, schema.CORPUS), pl.DataFrame(pieces, schema.PIECES)
    facts = ("family", "model", "size_bytes", "bits_per_weight", "n_params")
    facts = pl.DataFrame(schema={name: schema.MODELS[name] for name in facts})

    def analyse() -> tuple[pl.DataFrame, pl.DataFrame]:
        tails = find_tails(tokens, corpus)
        documents = document_metrics(tokens, pieces, corpus, tails)
        return documents, model_metrics(documents, facts, tails)

    (documents, models), cost = harness.watched(analyse)  # the records stay alive, as in a `Result`
    documents.write_parquet(f"{out}.documents")
    models.write_parquet(f"{out}.models")
    return cost


def check(sums: np.ndarray, documents: pl.DataFrame, models: pl.DataFrame, n_tokens: int) -> None:
    """Every document's values and the models' token-weighted ones, against NumPy's sums."""
    order = sorted(range(N_DOCUMENTS), key=NAMES.__getitem__)
    nats_ref, nats_cmp, gain, loss, n_bytes = sums[:, :, order].transpose(1, 0, 2).reshape(5, -1)
    expected = {
        "n_bytes": n_bytes,
        "gain": gain / n_tokens,
        "loss": loss / n_tokens,
        "ppl_ref": np.exp(nats_ref / n_tokens),
        "ppl_cmp": np.exp(nats_cmp / n_tokens),
        "bpb_cmp": nats_cmp / np.log(2) / n_bytes,
    }
    for name, wanted in expected.items():
        harness.require(np.allclose(documents[name], wanted, rtol=1e-10, atol=0), f"`{name}` of the documents")
    overall = models.filter(pl.col("category").is_null())
    by_token, by_document = (overall.filter(pl.col("weighting") == weighting) for weighting in ("tokens", "documents"))
    for i, name in ((2, "gain"), (3, "loss")):
        wanted = sums[:, i].sum(axis=1) / (N_DOCUMENTS * n_tokens)
        harness.require(np.allclose(by_token[name], wanted, rtol=1e-10, atol=0), f"`{name}` of the models")
        # the interval of a mean over documents: nearly 1.96 standard errors to each side
        half = 1.96 * (sums[:, i] / n_tokens).std(axis=1) / N_DOCUMENTS**0.5
        width = by_document[f"{name}_high"] - by_document[f"{name}_low"]
        harness.require(np.allclose(width, 2 * half, rtol=0.1, atol=0), f"the bootstrap's intervals of `{name}`")


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3)
    n_tokens = 25 if chosen.quick else 2500
    out = chosen.work / "analysis"

    def run(function: Callable[..., Any], suffix: str) -> harness.Run:
        cost = harness.call(function, n_tokens=n_tokens, out=f"{out}{suffix}").answer
        return harness.Run(cost["wall_s"], cost["cpu_s"], cost["peak_mb"], None, cost["before_mb"])

    contestants = {
        "NumPy, sums by document": partial(run, numpy_sums, ".npy"),
        "find_tails + document_metrics + model_metrics": partial(run, ppldelta_frames, ""),
    }
    runs = harness.interleave(contestants, chosen.runs, warm_up=False)
    made = [Path(f"{out}{suffix}") for suffix in (".npy", ".documents", ".models")]
    check(np.load(made[0]), pl.read_parquet(made[1]), pl.read_parquet(made[2]), n_tokens)
    for path in made:
        path.unlink()
    n = N_MODELS * N_DOCUMENTS * n_tokens
    print("wanted for 100 million: at most 30 s and 8000 MB")
    frame = harness.rows(f"{n / 1e6:g} million records", runs, n_units=n)
    for row, each in zip(frame, runs.values(), strict=True):
        row["before_mb"] = each[0].answer
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
