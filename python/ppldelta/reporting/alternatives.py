"""The most probable tokens of a reference and its comparisons at each token, where a run kept them (`top_k`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.aligned_pairs import row_of
from ppldelta.reporting.family import FamilyRecords

TOP_STEP = 1 / 128
"""Nats in a step of the log-probability of such a token: the error of its probability is at most 0.4 %."""

_SIDES = {"ref": ("top_tokens_ref", "top_logp_ref"), "cmp": ("top_tokens_cmp", "top_logp_cmp")}
_MOST_STEPS = 65535


class Alternatives:
    """The most probable tokens in some documents of a family.

    Args:
        family: whose records they are.
        documents: numbers of the documents that are wanted.
    """

    def __init__(self, family: FamilyRecords, documents: Sequence[int]) -> None:
        self._family = family
        columns = [column for side in _SIDES.values() for column in side]
        self._frames: dict[tuple[object, ...], pl.DataFrame] = {}
        if not set(columns) <= set(family.tokens.columns):
            return
        names = [family.documents[k] for k in documents]
        rows = (
            family.tokens.lazy()
            .filter(pl.col("family") == family.name, pl.col("top_tokens_ref").is_not_null())
            .select(pl.col("document", "model").cast(pl.String()), "pos", *columns)
            .filter(pl.col("document").is_in(names))
            .collect()
        )
        self._frames = rows.partition_by(["document", "model"], as_dict=True)

    def fields(self, k: int) -> list[tuple[str, str, object]]:
        """Fields for a document's block; none if no model has such tokens there.

        `words` are the texts of the tokens. `top` holds, of the reference and then of each model, for each scored token
        its most probable tokens as places in `words`, the best first; `len(words)` stands for none. `top_nll` is minus
        their log-probability in whole steps of `TOP_STEP`.
        """
        rows = self._family.records.rows(k)
        n = rows.stop - rows.start
        found = list(self._of_document(k))
        if not found:
            return []
        most = max(int(part[column].list.len().to_numpy().max(initial=0)) for _, part, column, _ in found)
        tokens = np.full((1 + len(self._family.models), n, most), -1, np.int64)
        nll = np.zeros(tokens.shape)
        for who, part, token, logp in reversed(found):  # backwards, so that the first model's reference is taken
            at = row_of(self._family.records, part, self._family.documents) - rows.start
            tokens[who, at] = _padded(part[token], most, -1)
            nll[who, at] = -_padded(part[logp], most, 0)
        known, place = np.unique(tokens[tokens >= 0], return_inverse=True)
        places = np.full(tokens.shape, len(known), np.int64)
        places[tokens >= 0] = place
        steps = np.clip(np.rint(np.nan_to_num(nll, nan=np.inf, posinf=1e9) / TOP_STEP), 0, _MOST_STEPS)
        words = [self._word(token) for token in known.tolist()]
        return [("top", "~u32", places), ("top_nll", "~u16", steps), ("words", "json", words)]

    def _of_document(self, k: int) -> Iterator[tuple[int, pl.DataFrame, str, str]]:
        """For the reference (0) and each model: its number, the records, and the columns of its tokens."""
        for m, model in enumerate(self._family.models):
            part = self._frames.get((self._family.documents[k], model))
            if part is not None:
                yield 0, part, *_SIDES["ref"]
                yield m + 1, part, *_SIDES["cmp"]

    def _word(self, token: int) -> str:
        """The text of a token; its number if the result lacks its bytes, since no document holds it."""
        piece = self._family.vocabulary.pieces.get(token)
        return f"token {token}" if piece is None else piece.decode("utf-8", "backslashreplace")


def _padded(lists: pl.Series, most: int, filling: float) -> NDArray[np.float64]:
    """Lists as rows of one length."""
    lengths = lists.list.len().fill_null(0).to_numpy()
    rows = np.full((len(lists), most), filling, np.float64)
    rows[np.arange(most) < lengths[:, None]] = lists.explode(empty_as_null=False).drop_nulls().to_numpy()
    return rows
