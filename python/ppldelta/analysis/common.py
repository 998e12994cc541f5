"""The bytes of the documents that all families scored, so that families with other tokenizers stand on the same text.

Each tokenizer cuts a text in other places, and a window rule counts tokens: the bytes that one family scored are not
those that another did. A token counts here if every byte that it covers is covered by tokens that count in all
families. Leaving out a token uncovers its bytes, so that this is asked again until nothing changes; the tokens that
are left cover the same bytes in each family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

_KEYS = ["family", "document", "pos"]


@dataclass(frozen=True)
class Common:
    """What several families have in common.

    Attributes:
        tokens: their token records, columns of `schema.TOKENS`, without those that other families have no bytes for.
        n_bytes: bytes that all of them scored.
        n_scored: bytes that each family scored, by its name.
        missing: documents that not all of them scored, or of which not all know the same text.
    """

    tokens: pl.DataFrame
    n_bytes: int
    n_scored: dict[str, int]
    missing: list[str]


def common_bytes(tokens: pl.DataFrame, texts: pl.DataFrame, pieces: pl.DataFrame) -> Common:
    """Leaves out the token records of several families that do not lie on bytes that all of them scored.

    A token also counts nowhere if it covers other bytes than its piece has: a first one with the space that
    SentencePiece vocabularies put before a text.

    Args:
        tokens: columns of `schema.TOKENS`; the comparisons of a family have the same tokens.
        texts: columns of `schema.TEXTS`.
        pieces: columns of `schema.PIECES`.
    """
    names = tokens["family"].cast(pl.String).unique(maintain_order=True).to_list()
    read = {name: _read(tokens, texts, pieces, name) for name in names}
    documents = list(dict.fromkeys(document for name in names for document in read[name]))
    kept: list[pl.DataFrame] = []
    missing: list[str] = []
    n_bytes = 0
    for document in documents:
        of_families = [read[name][document] for name in names if document in read[name]]
        if len(of_families) < len(names) or len({each.text for each in of_families}) > 1:
            missing.append(document)
            continue
        counting, covered = agreeing([each.bounds for each in of_families])
        n_bytes += covered
        for name, each, mine in zip(names, of_families, counting, strict=True):
            kept.append(pl.DataFrame({"family": name, "document": document, "pos": each.pos[mine]}))
    n_scored = {name: sum(each.n_scored for each in read[name].values()) for name in names}
    if not kept:
        return Common(tokens.clear(), 0, n_scored, missing)
    which = pl.concat(kept).with_columns(pl.col(key).cast(tokens.schema[key]) for key in _KEYS)
    return Common(tokens.join(which, on=_KEYS, how="semi", maintain_order="left"), n_bytes, n_scored, missing)


Bounds = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Where tokens begin and end, in bytes; int64 of shape [n] each."""


def agreeing(bounds: Sequence[Bounds]) -> tuple[list[NDArray[np.bool_]], int]:
    """Which tokens of each of several tokenizations of one text cover bytes that all of them cover.

    Args:
        bounds: of each tokenization's tokens, in any order; they do not overlap.

    Returns:
        For each tokenization a bool for each token, and the bytes that are covered by those that count.
    """
    n = max((int(end.max(initial=0)) for _, end in bounds), default=0)
    counting = [np.ones(len(start), np.bool_) for start, _ in bounds]
    n_counting = -1
    covered = np.zeros(n, np.bool_)
    while n_counting != (now := sum(int(each.sum()) for each in counting)):
        n_counting = now
        covered = np.ones(n, np.bool_)
        for (start, end), each in zip(bounds, counting, strict=True):
            edges = np.zeros(n + 1, np.int64)
            np.add.at(edges, start[each], 1)
            np.add.at(edges, end[each], -1)
            covered &= np.cumsum(edges[:-1]) > 0
        bare = np.concatenate([[0], np.cumsum(~covered)])
        for (start, end), each in zip(bounds, counting, strict=True):
            each &= bare[end] == bare[start]
    return counting, int(covered.sum())


@dataclass(frozen=True)
class _Read:
    """A document as a family read it: its text, and of the tokens that may count `pos` and bounds."""

    text: bytes
    pos: NDArray[np.uint32]
    bounds: Bounds

    @property
    def n_scored(self) -> int:
        start, end = self.bounds
        return int((end - start).sum())


def _read(tokens: pl.DataFrame, texts: pl.DataFrame, pieces: pl.DataFrame, family: str) -> dict[str, _Read]:
    """Documents of a family by their names, without those whose tokens do not spell their text."""
    known = pieces.filter(pl.col("family") == family)
    piece = dict(zip(known["token"].to_list(), known["piece"].to_list(), strict=True))
    read = texts.filter(pl.col("family") == family)
    whole = dict(zip(read["document"].to_list(), read["tokens"].to_list(), strict=True))
    rows = tokens.filter(pl.col("family") == family)
    rows = rows.filter(pl.col("model") == rows["model"].head(1), pl.col("byte_end").is_not_null())
    found = {}
    columns = [pl.col("document").cast(pl.String), "pos", "byte_start", "byte_end"]
    for (document,), some in rows.select(columns).group_by("document", maintain_order=True):
        pos, start, end = (some[name].to_numpy() for name in ("pos", "byte_start", "byte_end"))
        spelt = [piece[token] for token in whole[str(document)]]
        sizes = np.array([len(each) for each in spelt], np.int64)
        n_added = int(sizes[: pos[0] + 1].sum()) - int(end[0])  # the space before a text, or nothing
        bounds = start.astype(np.int64), end.astype(np.int64)
        mine = bounds[1] - bounds[0] == sizes[pos]
        text = b"".join(spelt)[n_added:]
        found[str(document)] = _Read(text, pos[mine], (bounds[0][mine], bounds[1][mine]))
    return found
