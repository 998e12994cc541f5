"""Rows of frames, read with the type that a column has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

Row = Mapping[str, object]
"""One row of a frame: what polars gives with `named=True`."""


def number(row: Row, column: str) -> float | None:
    """A value of a column of numbers; None if it is null.

    Raises:
        TypeError: the column holds something else.
    """
    value = row[column]
    if value is None or isinstance(value, (int, float)):
        return value
    raise TypeError(f"`{column}` must hold numbers, got {value!r}")


def whole(row: Row, column: str) -> int | None:
    """A value of a column of whole numbers; None if it is null.

    Raises:
        TypeError: the column holds something else.
    """
    value = row[column]
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"`{column}` must hold whole numbers, got {value!r}")


def text(row: Row, column: str) -> str:
    """A value of a column of names, "" if it is null."""
    value = row[column]
    return "" if value is None else str(value)


def ends(row: Row, column: str) -> tuple[float | None, float | None]:
    """Both ends of a value's interval; None if there is no interval, or the frame has no such columns."""
    low, high = f"{column}_low", f"{column}_high"
    return (number(row, low), number(row, high)) if low in row and high in row else (None, None)


def in_category(category: str | None) -> pl.Expr:
    """Of rows of `schema.MODELS`, those of a category, or with None those of all documents."""
    return pl.col("category").is_null() if category is None else pl.col("category") == category


def overall_of(rows: Iterable[Row]) -> Row:
    """Of one model's rows of `schema.MODELS` under one weighting, that of all documents."""
    return next(row for row in rows if row["category"] is None)
