"""What a reference and its comparisons say of each token as a pair (`schema.PAIR`), on the rows of `aligned`.

They stand apart from `aligned`, since only a run with `kld` has these columns, and since of a large corpus only some
documents' are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.aligned import AlignedRecords, row_keys


@dataclass(frozen=True, eq=False)
class AlignedPairs:
    """Columns of one family's token records in some documents: a model in each row, a scored token in each column.

    All are float32 of shape (n_models, n_rows), in which ranks are exact; NaN where a model has no such record, or no
    divergence.

    Attributes:
        offsets: document → where its rows begin and end.
        kld: nats.
        same_top: 1 if both find the same token most probable, 0 if not.
        rank_ref: rank of the token that came next, from 1.
        rank_cmp: likewise under the comparison.
        entropy_ref: nats.
        entropy_cmp: nats.
    """

    offsets: dict[int, slice]
    kld: NDArray[np.float32]
    same_top: NDArray[np.float32]
    rank_ref: NDArray[np.float32]
    rank_cmp: NDArray[np.float32]
    entropy_ref: NDArray[np.float32]
    entropy_cmp: NDArray[np.float32]


def divergences(
    tokens: pl.DataFrame, records: AlignedRecords, family: str, models: Sequence[str], documents: Sequence[str]
) -> NDArray[np.float32]:
    """The divergence of every scored token under every model.

    Args:
        tokens: columns of `schema.TOKENS`.
        records: the family's, made of the same tokens.
        family: its name.
        models: labels, in the order of `records`.
        documents: names, in the order of `records`.

    Returns:
        float32, shape (n_models, n_rows), nats; NaN where there is none.
    """
    kld = np.full(records.delta.shape, np.nan, np.float32)
    for m, part, at in _by_model(tokens, ["kld"], records, family, models, documents):
        kld[m, at] = part["kld"].to_numpy()  # null becomes NaN
    return kld


def align_pairs(
    tokens: pl.DataFrame,
    records: AlignedRecords,
    family: str,
    models: Sequence[str],
    documents: Sequence[str],
    chosen: Sequence[int],
) -> AlignedPairs:
    """All columns of a pair in some documents.

    Args:
        tokens: columns of `schema.TOKENS`.
        records: the family's, made of the same tokens.
        family: its name.
        models: labels, in the order of `records`.
        documents: names, in the order of `records`.
        chosen: numbers of the documents that are wanted.
    """
    offsets: dict[int, slice] = {}
    place = np.full(int(records.offsets[-1]), -1, np.int64)  # row of the family → row of what is chosen
    n = 0
    for k in sorted(chosen):
        rows = records.rows(k)
        offsets[k] = slice(n, n + rows.stop - rows.start)
        n = offsets[k].stop
        place[rows] = np.arange(offsets[k].start, n)
    names = ("kld", "same_top", "rank_ref", "rank_cmp", "entropy_ref", "entropy_cmp")
    made = {name: np.full((len(models), n), np.nan, np.float32) for name in names}
    for m, part, at in _by_model(tokens, names, records, family, models, documents):
        wanted = place[at] >= 0
        for name, values in made.items():
            values[m, place[at][wanted]] = part[name].cast(pl.Float32()).to_numpy()[wanted]
    return AlignedPairs(offsets, **made)


def row_of(records: AlignedRecords, part: pl.DataFrame, documents: Sequence[str]) -> NDArray[np.int64]:
    """Which row of `records` each record of a model is.

    Args:
        records: of the family.
        part: columns ``document, pos``; every one of them stands in `records`.
        documents: names, in the order of `records`.

    Returns:
        int64, shape (n_records,).
    """
    places = pl.DataFrame({"document": list(documents)}, schema={"document": pl.String()}).with_row_index("place")
    document = np.repeat(np.arange(len(documents), dtype=np.uint64), np.diff(records.offsets))
    keys = (document << np.uint64(32)) | records.pos.astype(np.uint64)
    return np.searchsorted(keys, row_keys(part, places))


def _by_model(
    tokens: pl.DataFrame,
    columns: Sequence[str],
    records: AlignedRecords,
    family: str,
    models: Sequence[str],
    documents: Sequence[str],
) -> Iterator[tuple[int, pl.DataFrame, NDArray[np.int64]]]:
    """For each model its number, some columns of its records, and which row each of them is."""
    for m, label in enumerate(models):
        mine = tokens.lazy().filter(pl.col("family") == family, pl.col("model") == label)
        part = mine.select("document", "pos", *columns).collect()
        if not part.is_empty():
            yield m, part, row_of(records, part, documents)
