"""In which order models stand in tables: as they were given, but quants by their size. Colours do not depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from ppldelta.family import Family, ModelFacts


def ordered(family: Family) -> list[ModelFacts]:
    """The comparisons as they were given, but the quants among them from the largest to the smallest.

    Quants that are in order of size already, rising or falling, stay, and so do all if the size of one is unknown.
    """
    quants = [each for each in family.cmp if each.kind == "quant"]
    sizes = [each.size_bytes or 0 for each in quants]
    falling, rising = (all(sign * (a - b) >= 0 for a, b in pairwise(sizes)) for sign in (1, -1))
    if falling or rising or 0 in sizes:
        return list(family.cmp)
    by_falling = iter(sorted(quants, key=lambda each: -(each.size_bytes or 0)))
    return [next(by_falling) if each.kind == "quant" else each for each in family.cmp]


def in_order(models: pl.DataFrame, families: Sequence[Family]) -> pl.DataFrame:
    """Rows of `schema.MODELS` in this order, those of one model as they were."""
    keys = [(family.name, each.label) for family in families for each in ordered(family)]
    places = pl.DataFrame(keys, schema={"family": pl.String(), "model": pl.String()}, orient="row").with_row_index(
        "place"
    )
    joined = models.join(places, on=["family", "model"], how="left", maintain_order="left")
    return joined.sort("place", maintain_order=True).drop("place")
