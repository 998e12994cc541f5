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

_KEYS = ["document", "pos"]


@dataclass(frozen=True)
class Common:
    """What several families have in common.

    Attributes:
        tokens: their token records, columns of `schema.TOKENS`, without those that other families have no bytes for.
        n_bytes: bytes that all of them scored.
        n_scored: bytes that each family scored, by its name; where records are spans of text, that each of its models
            scored, by `family/model`.
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
    readings = _readings(tokens)
    read = {name: _read(rows, texts, pieces, family) for name, (family, rows) in readings.items()}
    documents = list(dict.fromkeys(document for each in read.values() for document in each))
    kept: dict[str, list[pl.DataFrame]] = {name: [] for name in readings}
    missing: list[str] = []
    n_bytes = 0
    for document in documents:
        of_all = [each[document] for each in read.values() if document in each]
        if len(of_all) < len(readings) or len({each.text for each in of_all}) > 1:
            missing.append(document)
            continue
        counting, covered = agreeing([each.bounds for each in of_all])
        n_bytes += covered
        for name, each, mine in zip(readings, of_all, counting, strict=True):
            kept[name].append(pl.DataFrame({"document": document, "pos": each.pos[mine]}))
    n_scored = {name: sum(each.n_scored for each in mine.values()) for name, mine in read.items()}
    if len(missing) == len(documents):
        return Common(tokens.clear(), 0, n_scored, missing)
    parts = []
    for name, (_, rows) in readings.items():
        which = pl.concat(kept[name]).with_columns(pl.col(key).cast(tokens.schema[key]) for key in _KEYS)
        parts.append(rows.join(which, on=_KEYS, how="semi", maintain_order="left"))
    return Common(pl.concat(parts), n_bytes, n_scored, missing)


def _readings(tokens: pl.DataFrame) -> dict[str, tuple[str, pl.DataFrame]]:
    """By name the family and the records of what was scored as a whole: a family, or where records are spans of text,
    which differ from model to model, each of its models."""
    found: dict[str, tuple[str, pl.DataFrame]] = {}
    for name in tokens["family"].cast(pl.String).unique(maintain_order=True):
        rows = tokens.filter(pl.col("family") == name)
        if not any((rows[column] > 1).any() for column in ("n_tokens_ref", "n_tokens_cmp")):  # null in older results
            found[name] = (name, rows)
            continue
        for model in rows["model"].cast(pl.String).unique(maintain_order=True):
            found[f"{name}/{model}"] = (name, rows.filter(pl.col("model") == model))
    return found


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


def _read(rows: pl.DataFrame, texts: pl.DataFrame, pieces: pl.DataFrame, family: str) -> dict[str, _Read]:
    """Documents of some records of a family by their names, without those whose tokens do not spell their text."""
    known = pieces.filter(pl.col("family") == family)
    piece = dict(zip(known["token"].to_list(), known["piece"].to_list(), strict=True))
    read = texts.filter(pl.col("family") == family)
    whole = dict(zip(read["document"].to_list(), read["tokens"].to_list(), strict=True))
    rows = rows.filter(pl.col("model") == rows["model"].head(1), pl.col("byte_end").is_not_null())
    found = {}
    columns = [pl.col("document").cast(pl.String), "pos", "byte_start", "byte_end"]
    columns.append(pl.col("n_tokens_ref").fill_null(1))
    for (document,), some in rows.select(columns).group_by("document", maintain_order=True):
        pos, start, end = (some[name].to_numpy() for name in ("pos", "byte_start", "byte_end"))
        spelt = [piece[token] for token in whole[str(document)]]
        sizes = np.array([len(each) for each in spelt], np.int64)
        before = np.concatenate([[0], np.cumsum(sizes)])
        after = pos.astype(np.int64) + some["n_tokens_ref"].to_numpy()
        n_added = int(before[after[0]]) - int(end[0])  # the space before a text, or nothing
        bounds = start.astype(np.int64), end.astype(np.int64)
        mine = bounds[1] - bounds[0] == before[after] - before[pos]
        text = b"".join(spelt)[n_added:]
        found[str(document)] = _Read(text, pos[mine], (bounds[0][mine], bounds[1][mine]))
    return found
