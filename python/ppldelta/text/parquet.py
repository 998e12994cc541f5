"""Reads the columns that mean something of a Parquet file, some rows at a time.

Polars is imported where a file is read: a machine that only evaluates may have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ppldelta.text.rows import COLUMNS, FLAGS, NAMES, PAIR, TEXTS, BrokenTable, missing
from ppldelta.wording.names import quoted

if TYPE_CHECKING:
    import polars as pl

_ROWS = 4096


def rows(path: Path, on_bytes: Callable[[int], object]) -> Iterator[tuple[int, object]]:
    """Each row with its number, the first being 1.

    Args:
        path: the file.
        on_bytes: called now and then with the bytes that were read since the last call, as if all rows had as many.

    Raises:
        BrokenTable: it is no Parquet file, is damaged, lacks columns, or one has a type that means nothing here.
        OSError: the file cannot be read.
    """
    import polars as pl

    with path.open("rb") as file:  # an error of the system has its own words
        n_bytes = file.seek(0, os.SEEK_END)
    try:
        frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        schema = frame.collect_schema()
        frame = frame.select(_wanted(column, schema) for column in _columns(schema))
        n_rows = frame.select(pl.len()).collect().item()
        number = n_told = 0
        for batch in frame.collect_batches(chunk_size=_ROWS):
            for row in batch.iter_rows(named=True):
                number += 1
                yield number, row
            n_read = n_bytes * number // n_rows
            on_bytes(n_read - n_told)
            n_told = n_read
    except pl.exceptions.PolarsError as error:
        raise BrokenTable(f"it cannot be read as Parquet ({_said(error)})") from None


def _columns(schema: pl.Schema) -> list[str]:
    columns = [column for column in COLUMNS if column in schema]
    if not {"text", "messages"} & set(columns) and not set(columns) >= PAIR:
        raise BrokenTable(
            f"it {missing(schema)}; its columns are {quoted(list(schema), 20)}" if schema else "it has no columns"
        )
    return columns


def _wanted(column: str, schema: pl.Schema) -> pl.Expr:
    import polars as pl

    dtype = schema[column]
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Null)
    if column in TEXTS:
        fits, want = dtype in texts, "texts"
    elif column in NAMES:
        fits, want = dtype in texts or dtype.is_integer(), "texts or whole numbers"
    elif column in FLAGS:
        fits, want = dtype in (pl.Boolean, pl.Null), "true or false"
    else:
        inner = dtype.inner if isinstance(dtype, (pl.List, pl.Array)) else None
        names = [field.name for field in inner.fields] if isinstance(inner, pl.Struct) else []
        fits, want = {"role", "content"} <= set(names), "lists of `role` and `content`"
    if not fits:
        raise BrokenTable(f"its column `{column}` is of type {dtype}, where {want} are wanted")
    return pl.col(column).cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else pl.col(column)


def _said(error: Exception) -> str:
    """The first line of what Polars says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
