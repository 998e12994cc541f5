"""One family's token records as arrays in which every model has the same rows.

The frame of records holds a row per model and scored token. Here a row is a scored token, and the models stand side by
side, so that what concerns a document is a slice. With `align="bytes"` models of other tokenizers have spans of several
tokens instead, each model its own: a row is then where one of them begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.errors import ResultError

_COUNTS = ("n_tokens_ref", "n_tokens_cmp")


@dataclass(frozen=True, eq=False)
class AlignedSpans:
    """What differs from model to model where rows are spans; all of shape (n_models, n_rows).

    Attributes:
        n_ref: uint32, tokens of the reference in a model's span; 0 where the model has none that begins there.
        n_cmp: uint32, tokens of the model in it.
        logp_ref: float32, nats, the reference's of the whole span; NaN where there is none.
    """

    n_ref: NDArray[np.uint32]
    n_cmp: NDArray[np.uint32]
    logp_ref: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AlignedRecords:
    """The scored tokens of all documents of a family, document after document, in reading order.

    Attributes:
        offsets: int64, shape (n_documents + 1,); document k has the rows ``offsets[k]`` up to ``offsets[k + 1]``.
        pos: uint32, shape (n_rows,); index of the token in its document.
        token: int32, shape (n_rows,).
        logp_ref: float32, shape (n_rows,), nats.
        delta: float32, shape (n_models, n_rows), nats; NaN for a model that has no such record.
        starts: bool, shape (n_rows,); False if a row is the next token of the same text after the row before it.
        spans: where rows are spans of text; None where each is one token of every model, as `logp_ref` has it.
    """

    offsets: NDArray[np.int64]
    pos: NDArray[np.uint32]
    token: NDArray[np.int32]
    logp_ref: NDArray[np.float32]
    delta: NDArray[np.float32]
    starts: NDArray[np.bool_]
    spans: AlignedSpans | None = None
    _rows: dict[int, tuple[NDArray[np.int64], NDArray[np.bool_]]] = field(default_factory=dict, repr=False)

    def of_model(self, m: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows that model m has, and which of them do not follow the one before in the same text."""
        which = 0 if self.spans is None else m  # else all models have the same
        if which not in self._rows:  # they are asked for with every passage
            self._rows[which] = self._found(m)
        return self._rows[which]

    def _found(self, m: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self.spans is None:
            return np.arange(len(self.pos)), self.starts
        rows = np.flatnonzero(self.spans.n_ref[m])
        ends = self.pos[rows].astype(np.int64) + self.spans.n_ref[m][rows]
        place = np.searchsorted(self.offsets, rows, side="right")
        starts = np.ones(len(rows), np.bool_)
        starts[1:] = (place[1:] != place[:-1]) | (self.pos[rows][1:] != ends[:-1])
        return rows, starts

    def end(self, m: int, row: int) -> int:
        """The position behind the last token of the reference that a row of model m holds."""
        return int(self.pos[row]) + (1 if self.spans is None else int(self.spans.n_ref[m][row]))

    def rows(self, document: int) -> slice:
        """The rows of a document."""
        return slice(int(self.offsets[document]), int(self.offsets[document + 1]))

    def document(self, row: int) -> int:
        """The document to which a row belongs."""
        return int(np.searchsorted(self.offsets, row, side="right")) - 1


def align(tokens: pl.DataFrame, family: str, models: Sequence[str], documents: Sequence[str]) -> AlignedRecords:
    """Puts the records of a family's models side by side.

    Args:
        tokens: columns of `schema.TOKENS`, in any order.
        family: whose records are taken.
        models: labels, in the order wanted. One without records gets NaN everywhere.
        documents: names, in the order wanted, each once.

    Raises:
        ResultError: a record names a document that is not in `documents`.
    """
    rows = tokens.filter(pl.col("family") == family)
    places = pl.DataFrame({"document": list(documents)}, schema={"document": pl.String()}).with_row_index("place")
    has_spans = any((rows[name] > 1).any() for name in _COUNTS)  # null in older results
    keys: list[NDArray[np.uint64]] = []
    columns: list[dict[str, NDArray[np.generic]]] = []
    for label in models:
        part = rows.filter(pl.col("model") == label).select("document", "pos", "token", "logp_ref", "delta", *_COUNTS)
        key = row_keys(part, places)
        order = slice(None) if np.all(key[1:] > key[:-1]) else np.argsort(key, kind="stable")
        key = key[order]
        same = bool(keys) and np.array_equal(key, keys[0])
        keys.append(keys[0] if same else key)
        known = part.columns[2:] if has_spans or not same else ["delta"]
        columns.append({name: part[name].to_numpy()[order] for name in known})

    keys = keys or [np.empty(0, np.uint64)]
    key = keys[0] if all(each is keys[0] for each in keys) else np.unique(np.concatenate(keys))
    token, logp_ref = np.zeros(len(key), np.int32), np.full(len(key), np.nan, np.float32)
    delta = np.full((len(models), len(key)), np.nan, np.float32)
    for i in reversed(range(len(models))):  # backwards, so that the first model that has a row gives token and logp_ref
        at = slice(None) if keys[i] is key else np.searchsorted(key, keys[i])
        delta[i][at] = columns[i]["delta"]
        if "token" in columns[i]:
            token[at] = columns[i]["token"]
            logp_ref[at] = columns[i]["logp_ref"]
    spans = _spans(keys, key, columns) if has_spans else None
    starts = np.ones(len(key), np.bool_)
    starts[1:] = key[1:] != key[:-1] + np.uint64(1)
    ends = np.arange(len(documents) + 1, dtype=np.uint64) << np.uint64(32)
    return AlignedRecords(
        np.searchsorted(key, ends).astype(np.int64), key.astype(np.uint32), token, logp_ref, delta, starts, spans
    )


def _spans(
    keys: Sequence[NDArray[np.uint64]], key: NDArray[np.uint64], columns: Sequence[dict[str, NDArray[np.generic]]]
) -> AlignedSpans:
    """Each model's spans on the rows of all of them."""
    shape = len(keys), len(key)
    found = AlignedSpans(np.zeros(shape, np.uint32), np.zeros(shape, np.uint32), np.full(shape, np.nan, np.float32))
    for m, (own, column) in enumerate(zip(keys, columns, strict=True)):
        at = np.searchsorted(key, own)
        for name, values in zip((*_COUNTS, "logp_ref"), (found.n_ref, found.n_cmp, found.logp_ref), strict=True):
            values[m][at] = column[name]
    return found


def row_keys(part: pl.DataFrame, places: pl.DataFrame) -> NDArray[np.uint64]:
    """A number for each record that sorts by document, then by position.

    Args:
        part: records of one model, columns ``document, pos``.
        places: ``document`` and its ``place``.

    Returns:
        uint64, shape (n_records,); the place in the upper half, the position in the lower.

    Raises:
        ResultError: a record names a document that has no place.
    """
    runs = (
        part.select(pl.col("document").rle()).unnest("document").select("len", document=pl.col("value").cast(pl.String))
    )
    runs = runs.join(places, on="document", how="left", maintain_order="left")
    if runs["place"].null_count():
        missing = runs.filter(pl.col("place").is_null())["document"][0]
        raise ResultError(f"`documents` lacks `{missing}`, which has token records")
    place = np.repeat(runs["place"].to_numpy().astype(np.uint64), runs["len"].to_numpy())
    keys: NDArray[np.uint64] = (place << np.uint64(32)) | part["pos"].to_numpy().astype(np.uint64)
    return keys
