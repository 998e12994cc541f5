"""Percentiles over tokens: of the Kullback-Leibler divergence, where a run has it, and of Δp = p_cmp - p_ref.

Means hide the few tokens at which a comparison is far from its reference. A percentile lies between two values as in
llama-perplexity's ``percentile()`` (tools/perplexity/perplexity.cpp): of n sorted values x, with h = q (n - 1) and
i = ⌊h⌋, it is x[i] + (h - i) (x[i + 1] - x[i]), the seventh definition of Hyndman and Fan (1996) and NumPy's default.
Δp = exp(logp_ref) (exp(delta) - 1) in float32, which keeps seven digits also where both probabilities are nearly equal.

Intervals come from the bootstrap of all other numbers, but no resample is sorted. The part F*(x) of a resample's
values that are at most x is a ratio of sums over documents, as cheap as a mean, and a resample's percentile of q is at
most x where F*(x) >= q. So an interval ends where an end of F*(x) - F(x) is q - F(x): first taken at the percentile
itself (Bahadur 1966; with a normal F* this is the interval of Woodruff 1952), then, where that is far from the end, at
the end. It never reaches beyond the least and the greatest value of the sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, Resamples, percentile_interval
from ppldelta.schema import PERCENTILE_INTERVALS, PERCENTILES

_DOCUMENT: dict[str, pl.DataType] = {"family": pl.String(), "model": pl.String(), "document": pl.String()}
_MODEL: dict[str, pl.DataType] = dict.fromkeys(("family", "model", "category", "weighting"), pl.String())
_IN_DOCUMENTS = [name for names in PERCENTILES.values() for name in names]
_IN_MODELS = [*_IN_DOCUMENTS, *(f"{name}_{end}" for name in PERCENTILE_INTERVALS for end in ("low", "high"))]

_NEAR = 0.05  # of the way from a percentile to an end of its interval: how near the end is found
_ROUNDS = 10
_SLICE = 1 << 20


@dataclass(frozen=True, eq=False)
class Tails:
    """Percentiles of documents and of models.

    Attributes:
        documents: columns ``family, model, document`` and those of `schema.PERCENTILES`.
        models: columns ``family, model, category`` (null: all documents), ``weighting`` ("tokens"), those of
            `schema.PERCENTILES`, and the ends of their intervals.
    """

    documents: pl.DataFrame
    models: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _Values:
    """One kind of value of a model's tokens: float32, sorted within each document.

    A document that has none lies between two equal offsets.
    """

    sorted: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def percentiles(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each document, shape (n_documents, n_parts); NaN for a document with a NaN, or with no value."""
        below, above, weight = _between(parts, self.lengths[:, None])
        first = self.offsets[:-1, None]
        padded = np.append(self.sorted, np.float32(np.nan))  # where the document after the last one would begin
        low, high = padded[first + below].astype(np.float64), padded[first + above].astype(np.float64)
        values: NDArray[np.float64] = low + weight * (high - low)
        last = padded[self.offsets[1:] - 1]  # a NaN is sorted behind all others
        values[(self.lengths == 0) | np.isnan(last)] = np.nan
        return values

    def counts(self, documents: NDArray[np.int64], limits: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many values of each document are at most each limit, by bisection in all documents at once."""
        shape = (len(documents), len(limits))
        low = np.broadcast_to(self.offsets[documents, None], shape).copy()
        high = np.broadcast_to(self.offsets[documents + 1, None], shape).copy()
        while (open_ := low < high).any():
            middle = (low + high) >> 1
            most = self.sorted[np.minimum(middle, len(self.sorted) - 1)] <= limits
            low = np.where(open_ & most, middle + 1, low)
            high = np.where(open_ & ~most, middle, high)
        counts: NDArray[np.int64] = low - self.offsets[documents, None]
        return counts

    def of(self, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """All values of some documents, sorted."""
        chosen = np.zeros(len(self.lengths), np.bool_)
        chosen[documents] = True
        values = self.sorted[np.repeat(chosen, self.lengths)]
        values.sort()
        return values


def find_tails(
    tokens: pl.DataFrame,
    corpus: pl.DataFrame,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Tails:
    """Percentiles of every comparison: of each document, of all of them, and of each category.

    Args:
        tokens: the token records, columns of `schema.TOKENS`.
        corpus: columns ``family, document, category`` for every document that occurs.
        n_resamples: resamples of the bootstrap.
        seed: seed of the bootstrap; with the seed of `metrics.model_metrics` the resamples are the same.
        level: part of the resamples between ``*_low`` and ``*_high``.

    Returns:
        Both frames. Percentiles of kld are null where a token has none, those of values that are not numbers are NaN,
        and intervals are null where there are fewer than `DOCUMENTS_MIN` documents.

    Raises:
        PpldeltaError: `n_resamples` is below 1, or `level` not between 0 and 1.
    """
    resamples = Resamples(n_resamples, seed)
    folders = dict(zip(zip(corpus["family"], corpus["document"], strict=True), corpus["category"], strict=True))
    documents: list[pl.DataFrame] = []
    models: list[pl.DataFrame] = []
    for family, model, names, values in _models(tokens):
        keys = {"family": family, "model": model}
        found = [pl.Series("document", names, dtype=pl.String())]
        for kind, each in values.items():
            table, without = each.percentiles(_parts(kind)), pl.Series(each.lengths == 0)
            found += [pl.Series(name, table[:, i]).set(without, None) for i, name in enumerate(PERCENTILES[kind])]
        documents.append(pl.DataFrame(found).with_columns(pl.lit(value).alias(key) for key, value in keys.items()))
        categories = np.array([folders.get((family, name)) for name in names], dtype=object)
        rows = [
            {**keys, "category": category, "weighting": "tokens", **row}
            for category in (None, *sorted({each for each in categories if each is not None}))
            for row in [_group(values, np.flatnonzero((category is None) | (categories == category)), resamples, level)]
        ]
        models.append(pl.DataFrame(rows, schema_overrides=_MODEL, infer_schema_length=None))
    return Tails(_filled(documents, _DOCUMENT, _IN_DOCUMENTS), _filled(models, _MODEL, _IN_MODELS))


def no_tails() -> Tails:
    """The frames without a row."""
    return Tails(_filled([], _DOCUMENT, _IN_DOCUMENTS), _filled([], _MODEL, _IN_MODELS))


def _filled(frames: list[pl.DataFrame], keys: dict[str, pl.DataType], columns: list[str]) -> pl.DataFrame:
    """All frames as one, with null in the columns that a frame lacks."""
    schema = {**keys, **dict.fromkeys(columns, pl.Float64())}
    whole = pl.concat([pl.DataFrame(schema=keys), *frames], how="diagonal_relaxed")
    whole = whole.with_columns(pl.lit(None, pl.Float64()).alias(name) for name in schema if name not in whole.columns)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _parts(kind: str) -> NDArray[np.float64]:
    """Which parts of the values lie below the percentiles of `schema.PERCENTILES`."""
    ends = {"min": 0.0, "max": 1.0}
    levels = [name.removeprefix(f"{kind}_") for name in PERCENTILES[kind]]
    return np.array([ends[level] if level in ends else float(f"0.{level[1:]}") for level in levels])


def _between(
    parts: NDArray[np.float64], n: NDArray[np.int64] | int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each percentile the places of the two sorted values (of n) between which it lies, and which part of the way
    from the first to the second leads to it."""
    place = parts * np.maximum(np.asarray(n) - 1, 0)
    below = np.floor(place).astype(np.int64)
    return below, np.minimum(below + 1, np.maximum(np.asarray(n) - 1, 0)), place - below


def _group(
    values: dict[str, _Values], documents: NDArray[np.int64], resamples: Resamples, level: float
) -> dict[str, float]:
    """Percentiles over all tokens of some documents, with intervals."""
    found: dict[str, float] = {}
    for kind, each in values.items():
        if not each.lengths[documents].all():
            continue  # some have no divergence
        pooled, parts = each.of(documents), _parts(kind)

        def at(parts: NDArray[np.float64], pooled: NDArray[np.float32] = pooled) -> NDArray[np.float64]:
            if np.isnan(pooled[-1]):
                return np.full(parts.shape, np.nan)
            below, above, weight = _between(parts, len(pooled))
            low, high = pooled[below].astype(np.float64), pooled[above].astype(np.float64)
            return low + weight * (high - low)

        limits = at(parts)
        found |= dict(zip(PERCENTILES[kind], limits.tolist(), strict=True))
        if len(documents) < DOCUMENTS_MIN:
            continue
        inner = [name in PERCENTILE_INTERVALS for name in PERCENTILES[kind]]
        low, high = map(at, _ends(each, documents, parts[inner], at, resamples, level))
        for name, *ends in zip(itertools.compress(PERCENTILES[kind], inner), low, high, strict=True):
            found |= dict(zip((f"{name}_low", f"{name}_high"), map(float, ends), strict=True))
    return found


def _ends(
    values: _Values,
    documents: NDArray[np.int64],
    parts: NDArray[np.float64],
    at: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    resamples: Resamples,
    level: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which parts of the values lie below the ends of the intervals."""
    n = values.lengths[documents].astype(np.float64)

    def shifts(limits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        counts = values.counts(documents, limits)
        table = np.column_stack([counts - n[:, None] * (counts.sum(axis=0) / n.sum()), n])
        drawn = resamples.sums(table.astype(np.float32))  # of a part, seven digits are enough
        return percentile_interval((drawn[:, :-1] / drawn[:, -1:]).astype(np.float64), level=level)

    lower, upper = shifts(at(parts))
    target, shift = np.concatenate([parts, parts]), np.concatenate([upper, lower])
    is_low = np.arange(len(target)) < len(parts)
    found = np.clip(target - shift, 0.0, 1.0)
    # the shift varies as √(q (1 - q)): where it reaches far, it is another one at the end than at the percentile
    open_ = np.flatnonzero(np.abs(shift) > _NEAR * np.minimum(target, 1 - target))
    for _ in range(_ROUNDS):
        if not len(open_):
            break
        lower, upper = shifts(at(found[open_]))
        before = found[open_]
        found[open_] = (before + np.clip(target[open_] - np.where(is_low[open_], upper, lower), 0.0, 1.0)) / 2
        open_ = open_[np.abs(found[open_] - before) > _NEAR / 2 * np.abs(target[open_] - before)]
    return found[: len(parts)], found[len(parts) :]


def _models(tokens: pl.DataFrame) -> Iterator[tuple[str, str, list[str], dict[str, _Values]]]:
    """Of each family and model the names of its documents, sorted, and the values of their tokens."""
    columns = ["family", "model", "document", "logp_ref", "logp_cmp", "kld"]
    seen: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    # of slices first: over 100 million rows it would take gigabytes
    named = [part.unique(maintain_order=True) for part in tokens.select("family", "model").iter_slices(_SLICE)]
    for family, model in pl.concat(named).unique(maintain_order=True).iter_rows() if named else ():
        part = tokens.lazy().select(columns).filter(pl.col("family") == family, pl.col("model") == model).collect()
        logp_ref, logp_cmp = part["logp_ref"].to_numpy(), part["logp_cmp"].to_numpy()
        if seen is None or not np.array_equal(seen[0], logp_ref):  # comparisons share their reference
            seen = logp_ref, np.exp(logp_ref)
        names, begin, order = _runs(part["document"])
        values = {"dp": _sorted(_probability_change(*seen, logp_cmp), begin, order)}
        if part["kld"].null_count() < len(part):
            missing = part["kld"].is_null().to_numpy()
            values["kld"] = _sorted(part["kld"].to_numpy(), begin, order, missing if missing.any() else None)
        yield family, model, names, values


def _probability_change(
    logp_ref: NDArray[np.float32], p_ref: NDArray[np.float32], logp_cmp: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Δp of each token."""
    with np.errstate(invalid="ignore", over="ignore"):
        delta = logp_cmp - logp_ref
        change: NDArray[np.float32] = np.expm1(delta)
        change *= p_ref
    if (far := delta > 80).any():  # exp would overflow, and the reference's probability is nothing beside the other
        change[far] = np.exp(logp_cmp[far]) - p_ref[far]
    return change


def _runs(document: pl.Series) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64] | None]:
    """Names of documents, sorted; where the rows of each begin and end; the order of rows, unless it is theirs."""
    codes, order = document.to_physical().to_numpy(), None
    begin = _begin(codes)
    if len(np.unique(codes[begin[:-1]])) < len(begin) - 1:  # the rows of a document do not lie together
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        begin = _begin(codes)
    first = begin[:-1] if order is None else order[begin[:-1]]
    names = document.gather(first).cast(pl.String()).to_list()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    return [names[i] for i in by_name], np.column_stack([begin[:-1], begin[1:]])[by_name], order


def _begin(codes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where runs of equal codes begin, and the end of the last."""
    inside = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    return np.concatenate([[0], inside, [len(codes)]]).astype(np.int64)


def _sorted(
    values: NDArray[np.float32],
    begin: NDArray[np.int64],
    order: NDArray[np.int64] | None,
    missing: NDArray[np.bool_] | None = None,
) -> _Values:
    """Values of each document, sorted; a document with a missing one gets none."""
    values = values if order is None else values[order]
    missing = missing if missing is None or order is None else missing[order]
    lengths = begin[:, 1] - begin[:, 0]
    if missing is not None:
        lengths *= [not missing[first:last].any() for first, last in begin.tolist()]
    offsets = np.append(0, np.cumsum(lengths))
    found = np.empty(offsets[-1], np.float32)
    for i, first in enumerate(begin[:, 0].tolist()):
        mine = found[offsets[i] : offsets[i + 1]]
        mine[:] = values[first : first + len(mine)]
        mine.sort()
    return _Values(found, offsets)
