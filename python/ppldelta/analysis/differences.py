"""Which comparisons of a family differ, and by how much: paired differences with an interval and a p value.

For comparisons a and b on the same D documents, with N_d scored tokens and sums x_d of a metric in document d:

    difference = θ = Σ (x_d(a) - x_d(b)) / Σ N_d        the metric of a less that of b, every token weighs the same
    se² = Σ (x_d(a) - x_d(b) - θ N_d)² / (Σ N_d)²       of a ratio of sums (Cochran 1977, section 6.3)

Both are computed of each resample of documents as well (θ*, se*; the resamples of all other numbers, `uncertainty`, so
that what makes a text hard for both cancels), and with t* = (θ* - θ) / se*:

    low, high = θ ± se · (95th percentile of |t*|)      symmetric bootstrap-t interval (Hall 1988)
    p = (1 + number of |t*| >= |θ / se|) / (1 + resamples)       two-sided

(Efron and Tibshirani 1993, sections 12.5 and 16.2; the 1 keeps p above 0, Davison and Hinkley 1997, section 4.2).
Interval and p agree: 0 lies outside the interval where p < 0.05. The percentile intervals of other numbers are too
narrow to decide on a few documents: where nothing differed, 18 of 100 of 5 documents left 0 out, 11 of 12 and 7 of 60;
these 2, 4 and 5 (4000 drawn pairs each; `tests/test_differences.py` is a part of that).

``p_holm`` is p after Holm (1979): of m tests the i-th smallest p times m - i + 1, at most 1, and not below the one
before. The m tests are all pairs and categories of one metric in one family, since a reader looks through them together
for whatever stands out. Metrics are questions of their own, and depend on each other so much that to count them as well
would be paid twice. Many tests need more resamples, or no p could be small enough: 40 for each. Where documents are too
many for that, a p with fewer than 10 resamples beyond it is that of the tenth of them, t_10, times what a normal tail
loses from there on, erfc(t / √2) / erfc(t_10 / √2); with thousands of documents t* is as good as normal.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.corrections import holm
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, Resamples
from ppldelta.schema import DIFFERENCES

METRICS = ("gain", "loss", "delta", "damage", "kld", "same_top")
"""What is compared, as far as both comparisons have it."""

EACH = 40
"""Resamples that Holm's correction needs for each test, or no p could be small enough."""

_CELLS = 20_000_000  # resamples times documents, at most, beyond `n_resamples`
_MOST = 20_000  # resamples, beyond `n_resamples`
_ANCHOR = 10  # resamples further out than a difference: fewer say too little of its p
_SMALLEST = 1e-12
_TESTS = 200  # at a time


def differences(
    documents: pl.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> pl.DataFrame:
    """Paired differences between every two comparisons of each family, over all documents and each category.

    Args:
        documents: what `metrics.document_metrics` gives, `schema.DOCUMENTS`. Only documents of both are compared.
        n_resamples: resamples of the bootstrap at least.
        seed: seed of the bootstrap; with the seed of `metrics.model_metrics` the resamples are the same.
        level: confidence of the intervals, between 0 and 1.

    Returns:
        A frame with exactly `schema.DIFFERENCES`: pairs in the order of `documents`, each once, then category (first
        null: all documents; a family's only category would be the same again and has no row), then metric in the order
        of `METRICS`. Two comparisons on other spans of text (`align="bytes"`, other tokenizers) have no row, since what
        is per span is not the same for both. Interval and p values are null where fewer than `DOCUMENTS_MIN` documents
        are shared.

    Raises:
        PpldeltaError: `n_resamples` is below 1.
    """
    rows = [
        row
        for (_,), family in documents.group_by("family", maintain_order=True)
        for row in _family_rows(family, n_resamples, seed, level)
    ]
    return (
        pl.DataFrame(rows, schema={**DIFFERENCES, "at": pl.Int64()}, orient="row", infer_schema_length=None)
        .sort("at", maintain_order=True)
        .drop("at")
    )


def enough(wanted: int, n_documents: int, n_resamples: int = N_RESAMPLES) -> int:
    """How many resamples to draw: as many as Holm's correction needs, or fewer if there are too many documents.

    Args:
        wanted: `EACH` for each test.
        n_documents: documents in each resample.
        n_resamples: resamples to draw at least.
    """
    return max(n_resamples, min(wanted, _CELLS // n_documents, _MOST))


def _family_rows(family: pl.DataFrame, n_resamples: int, seed: int, level: float) -> list[tuple[object, ...]]:
    """Rows of a family, each with the number of its pair behind it."""
    models = family["model"].unique(maintain_order=True).to_list()
    pairs = list(itertools.combinations(range(len(models)), 2))
    found = family["category"].unique().sort()
    categories = [None, *found] if len(found) > 1 else [None]  # the only one would be a second test of the same
    keys: list[tuple[int, str | None, str]] = []
    values: list[tuple[float, ...]] = []
    wanted = EACH * len(pairs) * len(categories)
    resamples: dict[int, Resamples] = {}
    for category in categories:
        chosen = family if category is None else family.filter(pl.col("category") == category)
        names = chosen["document"].unique().sort()
        n, sums = _sums(chosen, names, models)
        shared: dict[bytes, list[int]] = {}
        for at, (a, b) in enumerate(pairs):
            both = np.isfinite(n[a]) & np.isfinite(n[b])
            if np.array_equal(n[a, both], n[b, both]):  # else one of them has other tokens, in spans of its own
                shared.setdefault(both.tobytes(), []).append(at)
        for mask, some in shared.items():
            rows = np.flatnonzero(np.frombuffer(mask, np.bool_))
            if not len(rows):
                continue
            most = enough(wanted, len(rows), n_resamples)
            drawn = resamples.setdefault(most, Resamples(most, seed))
            tests = [(at, i) for at in some for i in range(len(METRICS))]
            tests = [(at, i) for at, i in tests if np.isfinite(sums[pairs[at], i][:, rows]).all()]
            for start in range(0, len(tests), _TESTS):
                part = tests[start : start + _TESTS]
                x = np.column_stack([sums[pairs[at][0], i, rows] - sums[pairs[at][1], i, rows] for at, i in part])
                values += ratio_test(x, n[pairs[part[0][0]][0], rows], drawn, level, wanted)
                keys += [(at, category, METRICS[i]) for at, i in part]
    return _rows(family["family"][0], models, pairs, keys, np.array(values).reshape(-1, 4))


def _rows(
    family: str,
    models: list[str],
    pairs: list[tuple[int, int]],
    keys: list[tuple[int, str | None, str]],
    values: NDArray[np.float64],
) -> list[tuple[object, ...]]:
    """Rows of the frame, with Holm's correction over all tests of a metric."""
    adjusted = np.full(len(keys), np.nan)
    for metric in METRICS:
        mine = [i for i, key in enumerate(keys) if key[2] == metric]
        adjusted[mine] = holm(values[mine, 3])
    return [
        (
            *(family, models[pairs[at][0]], models[pairs[at][1]], category, metric, float(difference)),
            *(None if np.isnan(each) else float(each) for each in (*rest, p_holm)),
            at,
        )
        for (at, category, metric), (difference, *rest), p_holm in zip(keys, values, adjusted, strict=True)
    ]


def _sums(
    documents: pl.DataFrame, names: pl.Series, models: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scored tokens, shape (n_models, n_documents), and sums of each metric, (n_models, n_metrics, n_documents).

    NaN where a model lacks a document.
    """
    n, sums = np.full((len(models), len(names)), np.nan), np.full((len(models), len(METRICS), len(names)), np.nan)
    columns = documents.with_columns(damage=pl.col("gain") + pl.col("loss"))
    for m, model in enumerate(models):
        mine = columns.filter(pl.col("model") == model)
        at = names.search_sorted(mine["document"]).to_numpy()
        n[m, at] = mine["n_scored"].to_numpy()
        for i, metric in enumerate(METRICS):
            sums[m, i, at] = mine[metric].cast(pl.Float64()).fill_null(np.nan).to_numpy() * n[m, at]
    return n, sums


def ratio_test(
    x: NDArray[np.float64], n: NDArray[np.float64], resamples: Resamples, level: float, wanted: int = 0
) -> list[tuple[float, ...]]:
    """Difference, interval and p value of several tests.

    Args:
        x: shape (n_documents, n_tests), sums of a less those of b.
        n: shape (n_documents,), scored tokens.
        resamples: of the documents.
        level: confidence of the interval.
        wanted: resamples that Holm's correction would need; with fewer, small p values are extrapolated.
    """
    total = n.sum()
    theta = x.sum(axis=0) / total
    if len(n) < DOCUMENTS_MIN:
        return [(each, np.nan, np.nan, np.nan) for each in theta.tolist()]
    rest = x - theta * n[:, None]  # sums of what is left beside the sample's difference: little cancels below
    size = np.sqrt((rest**2).sum(axis=0))
    error = size / total
    rest /= np.where(size > 0, size, 1.0)
    k = x.shape[1]
    # half the digits are enough to compare t, and take half the time
    table = np.column_stack([rest, rest**2, rest * n[:, None], n, n**2]).astype(np.float32)
    drawn = resamples.sums(table)
    n_drawn, n_squared = drawn[:, -2, None], drawn[:, -1, None]
    off = drawn[:, :k] / n_drawn
    squares = drawn[:, k : 2 * k] - 2 * off * drawn[:, 2 * k : 3 * k] + off**2 * n_squared
    spread = np.sqrt(np.maximum(squares, 0.0)) / n_drawn
    with np.errstate(divide="ignore", invalid="ignore"):
        # a resample that is one document over and over has no spread, and its t is infinite
        t_drawn = np.where(off == 0, 0.0, np.abs(off) / spread)
        t = np.where(theta == 0, 0.0, np.abs(theta) / error)
    half = np.where(error > 0, np.quantile(t_drawn, level, axis=0) * error, 0.0)
    n_above = (t_drawn >= t).sum(axis=0)
    p = (1 + n_above) / (1 + len(drawn))
    for i in np.flatnonzero(n_above < _ANCHOR) if wanted > len(drawn) > _ANCHOR else ():
        anchor = float(np.partition(t_drawn[:, i], -_ANCHOR)[-_ANCHOR])
        tail = math.erfc(min(t[i], 1e3) / math.sqrt(2)) / math.erfc(min(anchor, t[i], 20.0) / math.sqrt(2))
        p[i] = max(_ANCHOR / (1 + len(drawn)) * tail, _SMALLEST)
    return list(zip(theta.tolist(), (theta - half).tolist(), (theta + half).tolist(), p.tolist(), strict=True))
