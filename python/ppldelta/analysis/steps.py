"""What more bytes buy: the damage of quants of one reference, each against the next smaller one.

damage = gain + loss in nats per token, every token weighing the same. A step from the smaller quant a to the larger b
saves damage_a - damage_b; its interval is that of the paired difference, since both are resampled with the same
documents (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from ppldelta.analysis.uncertainty import (
    DOCUMENTS_MIN,
    LEVEL,
    N_RESAMPLES,
    SEED,
    percentile_interval,
    resampled_sums,
)


@dataclass(frozen=True)
class Step:
    """From a quant to a larger one.

    Attributes:
        smaller: the label of the one that does the least damage of all that are smaller.
        larger: of the larger one.
        more_bytes: how much larger its tensors are, above 0.
        saved: nats per token of damage that it does less; negative if it does more.
        low: end of the interval of `saved`; None if there are too few documents.
        high: the other end.
    """

    smaller: str
    larger: str
    more_bytes: int
    saved: float
    low: float | None
    high: float | None


def size_steps(documents: pl.DataFrame, models: pl.DataFrame, quants: Collection[str]) -> list[Step]:
    """For each quant but the smallest the step from the best smaller one, the smallest first: only beside that one does
    its size buy anything.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        models: columns ``model, size_bytes``, a row or more for each model of the family.
        quants: the labels that are looked at. Those of unknown size, with numbers that are not finite, or with other
            documents than the first are left out; of one size, the first is taken.
    """
    sizes = {
        model: size for model, size in models.select("model", "size_bytes").iter_rows() if size and model in quants
    }
    per_model: list[tuple[int, str, pl.DataFrame]] = []
    taken: set[int] = set()
    for model, size in sorted(sizes.items(), key=lambda each: each[1]):
        rows = documents.filter(model=model).sort("document")
        alike = not per_model or rows["document"].equals(per_model[0][2]["document"])
        if size not in taken and alike and len(rows) and rows["damage"].is_finite().all():
            taken.add(size)
            per_model.append((size, model, rows))
    if len(per_model) < 2:
        return []
    n = per_model[0][2]["n_scored"].cast(pl.Float64()).to_numpy()
    damage = np.stack([rows["damage"].to_numpy() * n for _, _, rows in per_model], axis=1)
    sums = np.column_stack([damage, n])
    means = sums.sum(axis=0)[:-1] / n.sum()
    larger = list(range(1, len(means)))
    smaller = [int(np.argmin(means[:at])) for at in larger]
    saved = means[smaller] - means[larger]
    ends: list[tuple[float | None, float | None]] = [(None, None)] * len(saved)
    if len(n) >= DOCUMENTS_MIN:
        drawn = resampled_sums(sums, n_resamples=N_RESAMPLES, seed=SEED)
        of_resamples = drawn[:, :-1] / drawn[:, -1:]
        low, high = percentile_interval(of_resamples[:, smaller] - of_resamples[:, larger], level=LEVEL)
        ends = list(zip(low.tolist(), high.tolist(), strict=True))
    return [
        Step(per_model[a][1], per_model[b][1], per_model[b][0] - per_model[a][0], float(value), *end)
        for a, b, value, end in zip(smaller, larger, saved, ends, strict=True)
    ]
