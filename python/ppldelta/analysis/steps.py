"""What more bytes buy: the damage of quants of one reference, each against smaller ones and against the best.

damage = gain + loss. A step from the smaller quant a to the larger b saves damage_a - damage_b. The interval of this
paired difference is that of `differences`, from the same resamples. A ladder has the steps for every unit, weighting
and category.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.differences import EACH, enough, ratio_test
from ppldelta.analysis.uncertainty import LEVEL, SEED, Resamples, side


@dataclass(frozen=True)
class Step:
    """From a quant to a larger one.

    Attributes:
        smaller: label of the smaller quant.
        larger: label of the larger quant.
        more_bytes: bytes by which the larger quant's tensors are larger, above 0.
        saved: damage of the smaller quant less that of the larger one, in the unit of the ladder.
        low: end of the interval of `saved`; None if there are too few documents.
        high: the other end.
    """

    smaller: str
    larger: str
    more_bytes: int
    saved: float
    low: float | None
    high: float | None

    @property
    def way(self) -> int:
        """1 where the larger one does less damage, -1 where it does more, 0 where that cannot be told."""
        if self.low is None or self.high is None:
            return 0
        return side(self.low, self.high)


@dataclass(frozen=True)
class Standing:
    """Where a quant stands among those of its reference.

    Attributes:
        after: the step from the next smaller one; None for the smallest.
        beside: the step from the one that does the least damage of all smaller ones; None likewise.
        least: the label of the one that does the least damage of all, which may be itself.
        tied: the labels of all that cannot be told from that one, the smallest first, itself among them; None if
            there are too few documents to tell.
    """

    after: Step | None
    beside: Step | None
    least: str
    tied: tuple[str, ...] | None

    def renamed(self, names: Mapping[str, str]) -> Standing:
        """The same under other labels."""

        def step(each: Step | None) -> Step | None:
            return each and replace(each, smaller=names[each.smaller], larger=names[each.larger])

        tied = None if self.tied is None else tuple(names[each] for each in self.tied)
        return Standing(step(self.after), step(self.beside), names[self.least], tied)


class Ladder:
    """The quants of one family by their size.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family, of all its models.
        sizes: bytes of the tensors of each quant that is looked at; of one size, the first is taken.
    """

    def __init__(self, documents: pl.DataFrame, sizes: Mapping[str, int | None]) -> None:
        self._sizes: dict[str, int] = {}
        for label, size in sorted(sizes.items(), key=lambda each: each[1] or 0):
            if size and size not in self._sizes.values():
                self._sizes[label] = size
        n_models, n_categories = documents["model"].n_unique(), documents["category"].n_unique()
        n_scopes = 1 + n_categories if n_categories > 1 else 1
        self._wanted = EACH * math.comb(n_models, 2) * n_scopes  # as in `differences`
        self._documents = documents.filter(pl.col("model").is_in(list(self._sizes)))
        self._drawn: dict[int, Resamples] = {}
        self._known: dict[tuple[str, str, str | None], dict[str, Standing]] = {}

    def standings(
        self, unit: str = "nats", weighting: str = "tokens", category: str | None = None
    ) -> dict[str, Standing]:
        """Each quant's standing, by label. Empty if fewer than two quants have the same documents and finite numbers.

        Args:
            unit: of damage: "nats" per token, or "bpb".
            weighting: one of `schema.WEIGHTINGS`.
            category: of the documents; None: all.
        """
        choice = unit, weighting, category
        if choice not in self._known:
            self._known[choice] = self._standings(*choice)
        return self._known[choice]

    def _standings(self, unit: str, weighting: str, category: str | None) -> dict[str, Standing]:
        labels, damage, n = self._read(unit, weighting, category)
        if len(labels) < 2:
            return {}
        means = damage.sum(axis=0) / n.sum()
        least = int(np.argmin(means))
        beside = [0, *(int(np.argmin(means[:at])) for at in range(1, len(labels)))]
        pairs = {pair for at in range(1, len(labels)) for pair in ((at - 1, at), (beside[at], at))}
        pairs |= {(min(at, least), max(at, least)) for at in range(len(labels)) if at != least}
        ordered = sorted(pairs)
        most = enough(self._wanted, len(n))
        x = np.column_stack([damage[:, a] - damage[:, b] for a, b in ordered])
        tests = ratio_test(x, n, self._drawn.setdefault(most, Resamples(most, SEED)), LEVEL)
        steps = {
            (a, b): Step(
                labels[a],
                labels[b],
                self._sizes[labels[b]] - self._sizes[labels[a]],
                saved,
                *(None if math.isnan(each) else each for each in (low, high)),
            )
            for (a, b), (saved, low, high, _) in zip(ordered, tests, strict=True)
        }
        against = {at: steps[min(at, least), max(at, least)] for at in range(len(labels)) if at != least}
        tied = None
        if all(step.low is not None for step in against.values()):
            tied = tuple(label for at, label in enumerate(labels) if at == least or against[at].way == 0)
        return {
            label: Standing(steps.get((at - 1, at)), steps.get((beside[at], at)), labels[least], tied)
            for at, label in enumerate(labels)
        }

    def _read(
        self, unit: str, weighting: str, category: str | None
    ) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
        """Quants that can be compared, the smallest first; sums of damage of shape (n_documents, n_quants); weights."""
        chosen = self._documents if category is None else self._documents.filter(category=category)
        value, weight = (
            ("damage", "n_scored") if unit == "nats" else (pl.col("gain_bpb") + pl.col("loss_bpb"), "n_bytes")
        )
        chosen = chosen.select("model", "document", value=value, n=pl.col(weight).cast(pl.Float64()))
        if weighting == "documents":
            chosen = chosen.with_columns(n=pl.lit(1.0))
        first: pl.DataFrame | None = None
        labels, columns = [], []
        for label in self._sizes:
            rows = chosen.filter(model=label).sort("document")
            alike = first is None or rows.select("document", "n").equals(first)
            if alike and len(rows) and rows["value"].is_finite().fill_null(False).all():
                first = rows.select("document", "n")
                labels.append(label)
                columns.append(rows["value"].to_numpy() * rows["n"].to_numpy())
        if first is None:
            return [], np.empty((0, 0)), np.empty(0)
        return labels, np.column_stack(columns), first["n"].to_numpy()
