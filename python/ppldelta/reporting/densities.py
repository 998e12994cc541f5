"""Where the documents of each model lie in the gain/loss plane: computed once for the planes of a page and its card."""

from __future__ import annotations

import polars as pl

from ppldelta.analysis.density import Density, density_grid
from ppldelta.reporting.units import COLUMNS, Unit

GRID = 64
"""Points along each axis: smooth at the width of a plane, and 20 kB for each contour."""


class Densities:
    """Densities, each made when it is first asked for.

    Args:
        documents: rows of `schema.DOCUMENTS`.
    """

    def __init__(self, documents: pl.DataFrame) -> None:
        columns = [name for pair in COLUMNS.values() for name in pair]
        rows = documents.select("family", "model", "category", *columns)
        self._rows = rows.partition_by("family", "model", as_dict=True)
        self._known: dict[tuple[str, str, Unit, str | None], Density | None] = {}

    def of(self, family: str, model: str, unit: Unit, category: str | None = None) -> Density | None:
        """Of one model's documents, also of those of one category alone; None if there are too few."""
        key = family, model, unit, category
        if key not in self._known:
            self._known[key] = self._made(*key)
        return self._known[key]

    def _made(self, family: str, model: str, unit: Unit, category: str | None) -> Density | None:
        rows = self._rows.get((family, model))
        if rows is None:
            return None
        gain, loss = COLUMNS[unit]
        if category is not None:
            rows = rows.filter(pl.col("category") == category)
        finite = rows.filter(pl.col(gain).is_finite() & pl.col(loss).is_finite())
        return density_grid(finite[gain].to_numpy(), finite[loss].to_numpy(), n_grid=GRID)
