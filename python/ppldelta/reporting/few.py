"""Which intervals rest on few documents, so that they are rough: what the page says beside the tables."""

from __future__ import annotations

import polars as pl

from ppldelta.analysis.uncertainty import DOCUMENTS_MIN

FEW = 10
"""Documents below which a percentile interval is rough: resamples of so few hardly vary."""


def few(documents: pl.DataFrame) -> dict[str, int]:
    """The numbers of documents of those categories that have few. Of several families the smallest number counts.

    Args:
        documents: `schema.DOCUMENTS`.

    Returns:
        "=" and the name of the category, or "" for all documents, as the page names its views.
    """
    unique = documents.select("family", "category", "document").unique()
    of_category = unique.group_by("family", "category").len().group_by("category").agg(pl.col("len").min())
    counts = {f"={category}": n for category, n in of_category.sort("category").iter_rows()}
    counts[""] = min(unique.group_by("family").len()["len"].to_list(), default=FEW)
    return {key: n for key, n in counts.items() if n < FEW}


def said(n: int) -> str:
    """What to say of an interval of so few documents, in a part of a sentence."""
    if n < DOCUMENTS_MIN:
        return f"{n} document{'' if n == 1 else 's'}, too few for an interval"
    return f"intervals of {n} documents are rough"


def note(counts: dict[str, int]) -> str:
    """A sentence on all categories that have few documents; "" if none has."""
    named = [f"{key[1:] or '(none)'} has {n}" for key, n in counts.items() if key]
    none = f", of fewer than {DOCUMENTS_MIN} there are none" if any(n < DOCUMENTS_MIN for n in counts.values()) else ""
    return f"Intervals of fewer than {FEW} documents are rough{none}: {', '.join(named)}." if named else ""
