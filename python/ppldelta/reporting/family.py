"""What the frames of a result hold of one family: its documents, records, whole texts and the bytes of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.aligned import AlignedRecords, align
from ppldelta.errors import ResultError

CONTEXT = 60
"""Characters around a passage."""

_CONTEXT_TOKENS = 4 * (CONTEXT + 1)  # a character takes at most four bytes, and a token gives at least one

TEXT = 4000
"""Characters of a passage that are shown: as good as all, but for tokens of hundreds of spaces."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The bytes of a family's tokens; a token that has none, or whose text nobody knows, is shown as its number.

    Attributes:
        family: its name.
        pieces: the bytes of each token.
        beyond: is larger than all tokens.
    """

    family: str
    pieces: dict[int, bytes]
    beyond: int

    @classmethod
    def of(cls, family: str, pieces: pl.DataFrame) -> Vocabulary:
        """Takes a family's rows out of a frame with the columns of `schema.PIECES`."""
        rows = pieces.filter(pl.col("family") == family)
        pairs = zip(rows["token"], rows["piece"], strict=True)
        known = {token: piece or f"⟨{token}⟩".encode() for token, piece in pairs}
        return cls(family, known, max(known, default=-1) + 2)

    def __getitem__(self, tokens: NDArray[np.int32]) -> list[bytes]:
        """The bytes of each token.

        Raises:
            ResultError: a token has none.
        """
        try:
            return [self.pieces[token] for token in tokens.tolist()]
        except KeyError as error:
            raise self._lacks(error.args[0]) from None

    def require(self, tokens: NDArray[np.int32]) -> None:
        """Sees to it that each token has its bytes.

        Raises:
            ResultError: a token has none.
        """
        for token in np.unique(tokens).tolist():
            if token not in self.pieces:
                raise self._lacks(token)

    def _lacks(self, token: int) -> ResultError:
        return ResultError(
            f"`pieces` lacks token {token} of family `{self.family}`, which its documents hold", hint="score again"
        )

    def text(self, tokens: NDArray[np.int32]) -> str:
        """The text of tokens that follow one another; a character that is split at an end becomes U+FFFD."""
        return b"".join(self[tokens]).decode("utf-8", "replace")


@dataclass(frozen=True, eq=False)
class FamilyRecords:
    """One reference and the models judged against it.

    Attributes:
        name: of the family.
        models: labels, in the family's order.
        documents: names, in the order in which the frame of documents has them; their number is what the page uses.
        categories: names, likewise.
        rows: the rows of the frame of documents, with the number of their document (`k`) and of their model (`m`).
        records: the token records.
        vocabulary: the bytes of the tokens.
        tokens: the token records of all families, for columns that `records` lacks.
    """

    name: str
    models: list[str]
    documents: list[str]
    categories: list[str]
    rows: pl.DataFrame
    records: AlignedRecords
    vocabulary: Vocabulary
    tokens: pl.DataFrame = field(repr=False)
    _texts: dict[str, tuple[int, int]] = field(repr=False)
    _tokens: NDArray[np.int32] = field(repr=False)

    @property
    def diverging(self) -> bool:
        """Whether any model has divergences."""
        return self.rows["kld"].count() > 0

    def most_changed(self, document: int) -> int:
        """The number of the model under which a document's mean delta is furthest from 0."""
        mine = self.rows.filter(pl.col("delta").is_finite(), k=document)
        return int(mine["m"][mine["delta"].abs().arg_max() or 0]) if len(mine) else 0

    @property
    def complete(self) -> bool:
        """Whether the whole text of every document is known."""
        return self._texts.keys() >= set(self.documents)

    @property
    def begins(self) -> NDArray[np.int64]:
        """Of each document how many tokens the texts before its own have; -1 where its text is not known."""
        return np.array([self._texts.get(name, (-1, -1))[0] for name in self.documents], np.int64)

    def text(self, document: int) -> NDArray[np.int32] | None:
        """All tokens of a document; None if only those that were scored are known.

        Raises:
            ResultError: the records do not fit the text.
        """
        where = self._texts.get(self.documents[document])
        if where is None:
            return None
        tokens, rows = self._tokens[slice(*where)], self.records.rows(document)
        pos = self.records.pos[rows]
        if len(pos) and (pos[-1] >= len(tokens) or not np.array_equal(tokens[pos], self.records.token[rows])):
            raise ResultError(
                f"the token records of `{self.documents[document]}` do not fit its text in family `{self.name}`",
                hint="score again",
            )
        return tokens

    def spelt(self, m: int, row: int) -> bytes:
        """The bytes of what one row of model m holds."""
        records = self.records
        begin, end = int(records.pos[row]), records.end(m, row)
        where = self._texts.get(self.documents[records.document(row)]) if end - begin > 1 else None
        if where is None:
            return self.vocabulary[records.token[row : row + 1]][0]
        return b"".join(self.vocabulary[self._tokens[where[0] + begin : where[0] + end]])

    def excerpt(self, m: int, first: int, last: int) -> dict[str, str]:
        """The text of model m's rows `first` to `last`, which follow one another, and what stands around it.

        Returns:
            ``before`` and ``after`` (at most 60 characters) and ``text`` (at most `TEXT`).
        """
        records = self.records
        document = records.document(first)
        tokens = self.text(document)
        if tokens is not None:
            begin, end = int(records.pos[first]), records.end(m, last)
            parts = tokens[max(0, begin - _CONTEXT_TOKENS) : begin], tokens[begin:end], tokens[end:][:_CONTEXT_TOKENS]
        else:
            rows = records.rows(document)
            near = np.arange(max(rows.start, first - _CONTEXT_TOKENS), min(rows.stop, last + 1 + _CONTEXT_TOKENS))
            near = near[records.pos[near].astype(np.int64) - records.pos[first] == near - first]  # up to the first hole
            parts = tuple(
                records.token[near[chosen]] for chosen in (near < first, (near >= first) & (near <= last), near > last)
            )
        before, text, after = (self.vocabulary.text(part) for part in parts)
        return {"before": before[-CONTEXT:], "text": text[:TEXT], "after": after[:CONTEXT]}


def take_family(
    name: str,
    models: list[str],
    *,
    tokens: pl.DataFrame,
    documents: pl.DataFrame,
    pieces: pl.DataFrame,
    texts: pl.DataFrame,
) -> FamilyRecords:
    """Takes one family out of the frames of a result.

    Args:
        name: of the family.
        models: labels of its comparisons.
        tokens: columns of `schema.TOKENS`.
        documents: columns of `schema.DOCUMENTS`.
        pieces: columns of `schema.PIECES`.
        texts: columns of `schema.TEXTS`; may lack documents.

    Raises:
        ResultError: a record names a document that `documents` lacks.
    """
    rows = documents.filter(pl.col("family") == name)
    names, categories = (rows[column].unique(maintain_order=True).to_list() for column in ("document", "category"))
    rows = rows.join(_numbered("document", names, "k"), on="document", how="left", maintain_order="left")
    rows = rows.join(_numbered("model", models, "m"), on="model", how="inner", maintain_order="left")
    mine = texts.filter(pl.col("family") == name)
    ends = np.cumsum(mine["tokens"].list.len().to_numpy(), dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    return FamilyRecords(
        name,
        models,
        names,
        categories,
        rows,
        align(tokens, name, models, names),
        Vocabulary.of(name, pieces),
        tokens,
        dict(zip(mine["document"].to_list(), zip(begins.tolist(), ends.tolist(), strict=True), strict=True)),
        mine["tokens"].explode(empty_as_null=False).to_numpy(),
    )


def _numbered(column: str, names: Sequence[str], number: str) -> pl.DataFrame:
    return pl.DataFrame({column: list(names)}, schema={column: pl.String()}).with_row_index(number)
