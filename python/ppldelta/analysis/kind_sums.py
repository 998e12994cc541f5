"""What a comparison gained and lost by the kind of the token: of each kind the means, an interval, and its share.

Over the n scored tokens of a kind, in nats:

    delta = Σ delta / n,   gain = Σ max(delta, 0) / n,   loss = Σ max(-delta, 0) / n

and its share of gain (loss) is its Σ max(delta, 0) by that of all kinds. Intervals are those of all other numbers
(`uncertainty`). Some twenty kinds are asked at once, and with a few documents a percentile interval leaves 0 out too
often: what is *clear* is decided by the bootstrap-t of `differences` over the documents that have the kind, and by the
false discovery rate over all kinds of a model (Benjamini and Hochberg 1995).

A span of text (`align="bytes"`) has the kind of the reference's first token in it that is not white space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.corrections import false_discovery_rate
from ppldelta.analysis.differences import ratio_test
from ppldelta.analysis.kinds import KINDS, WHITE, Pieces, token_kinds
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, Resamples, percentile_interval
from ppldelta.schema import KINDS as COLUMNS

_MOST_WHITE = 8  # tokens of white space at the beginning of a span that are passed over


@dataclass(frozen=True, eq=False)
class TextKinds:
    """The kinds of all tokens of a family's texts, scored or not.

    Attributes:
        begins: document → the place of its first token.
        kinds: uint8, shape (n_tokens,); places in `kinds.KINDS`.
        byte: int64, shape (n_tokens + 1,); bytes before each token.
    """

    begins: dict[str, int]
    kinds: NDArray[np.uint8]
    byte: NDArray[np.int64]

    def at(self, places: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The kinds of records whose first token stands at a place and which hold n tokens."""
        found = self.kinds[places]
        for i in range(1, _MOST_WHITE):
            more = (found < WHITE) & (n > i)
            if not more.any():
                break
            found[more] = self.kinds[places[more] + i]
        return found


def text_kinds(texts: pl.DataFrame, pieces: pl.DataFrame, family: str) -> TextKinds | None:
    """The kinds of a family's tokens; None if its texts or the bytes of its tokens are not known.

    Args:
        texts: columns of `schema.TEXTS`.
        pieces: columns of `schema.PIECES`.
        family: whose texts are taken.
    """
    mine, known = (frame.filter(pl.col("family") == family) for frame in (texts, pieces))
    tokens = mine["tokens"].explode(empty_as_null=False).to_numpy()
    spelt = [piece or b"" for piece in known["piece"]]
    if not len(tokens) or not any(spelt):
        return None
    most = max(int(known["token"].to_numpy().max()), int(tokens.max()))
    number = np.zeros(most + 1, np.int64)
    number[known["token"].to_numpy()] = np.arange(len(known))
    row = number[tokens]
    offsets = np.concatenate([[0], np.cumsum(mine["tokens"].list.len().to_numpy(), dtype=np.int64)])
    table = Pieces.of(spelt)
    byte = np.concatenate([[0], np.cumsum((table.end - table.begin)[row])])
    begins = dict(zip(mine["document"].to_list(), offsets[:-1].tolist(), strict=True))
    return TextKinds(begins, token_kinds(row, offsets, table), byte)


def kinds(
    tokens: pl.DataFrame,
    texts: pl.DataFrame,
    pieces: pl.DataFrame,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> pl.DataFrame:
    """Gain, loss and delta of each comparison by kind.

    Args:
        tokens: columns of `schema.TOKENS`. Those of documents whose text is not known are left out.
        texts: columns of `schema.TEXTS`.
        pieces: columns of `schema.PIECES`.
        n_resamples: resamples of the bootstrap.
        seed: seed of the bootstrap; with the seed of `metrics.model_metrics` the resamples are the same.
        level: part of the resamples between ``*_low`` and ``*_high``.

    Returns:
        A frame with exactly `schema.KINDS`: models in the order of `tokens`, kinds in that of `kinds.KINDS`, without
        kinds of which a model has no token. No row of a family without texts.

    Raises:
        PpldeltaError: `n_resamples` is below 1, or `level` not between 0 and 1.
    """
    rows: list[dict[str, object]] = []
    resamples = Resamples(n_resamples, seed)
    for family in tokens["family"].cast(pl.String).unique(maintain_order=True):
        read = text_kinds(texts, pieces, family)
        if read is None:
            continue
        mine = tokens.filter(pl.col("family") == family)
        for model in mine["model"].cast(pl.String).unique(maintain_order=True):
            sums = _sums(mine.filter(pl.col("model") == model), read)
            rows += [{"family": family, "model": model, **row} for row in _rows(sums, resamples, level)]
    return pl.DataFrame(rows, schema=COLUMNS, infer_schema_length=None)


def _sums(records: pl.DataFrame, read: TextKinds) -> NDArray[np.float64]:
    """Records, bytes, Σ gain and Σ loss by document and kind: shape (n_documents, n_kinds, 4)."""
    runs = records.select(pl.col("document").rle()).unnest("document").with_columns(pl.col("value").cast(pl.String))
    names = {name: i for i, name in enumerate(sorted(set(runs["value"]) & read.begins.keys()))}
    begins = [read.begins.get(name, -1) for name in runs["value"]]
    document = np.repeat([names.get(name, 0) for name in runs["value"]], runs["len"].to_numpy())
    begin = np.repeat(np.array(begins, np.int64), runs["len"].to_numpy())
    known = begin >= 0
    places = (begin + records["pos"].to_numpy())[known]
    n = records["n_tokens_ref"].fill_null(1).to_numpy().astype(np.int64)[known]
    delta = records["delta"].to_numpy().astype(np.float64)[known]
    cell = document[known] * len(KINDS) + read.at(places, n)
    weights = (
        np.ones(len(cell)),
        read.byte[places + n] - read.byte[places],
        np.maximum(delta, 0),
        np.maximum(-delta, 0),
    )
    most = len(names) * len(KINDS)
    sums = [np.bincount(cell, weight, minlength=most) for weight in weights]
    found: NDArray[np.float64] = np.column_stack(sums).astype(np.float64)
    return found.reshape(len(names), len(KINDS), len(weights))


def _rows(sums: NDArray[np.float64], resamples: Resamples, level: float) -> list[dict[str, object]]:
    """The rows of a comparison."""
    whole = sums.sum(axis=0)
    present = np.flatnonzero(whole[:, 0])
    if not len(present):
        return []
    total = whole.sum(axis=0)
    flat = sums[:, present].reshape(len(sums), -1)
    drawn = resamples.sums(flat).reshape(-1, len(present), 4)
    p = np.full(len(present), np.nan)
    rows: list[dict[str, object]] = []
    for i, kind in enumerate(present.tolist()):
        n, n_bytes, gain, loss = whole[kind].tolist()
        row: dict[str, object] = {"kind": KINDS[kind], "n_scored": int(n), "n_bytes": int(n_bytes)}
        row |= {"gain": gain / n, "loss": loss / n, "delta": (gain - loss) / n}
        row |= {
            f"share_{way}": x / of if of else None
            for way, x, of in zip(("gain", "loss"), (gain, loss), total[2:], strict=True)
        }
        row["delta_bpb"] = (gain - loss) / np.log(2) / n_bytes if n_bytes else None
        some = np.flatnonzero(sums[:, kind, 0])
        if len(some) >= DOCUMENTS_MIN:
            there = drawn[drawn[:, i, 0] > 0, i]
            moved = there[:, 2] - there[:, 3]
            for name, by in (("delta", there[:, 0]), ("delta_bpb", there[:, 1] * np.log(2))):
                if row[name] is not None:
                    low, high = percentile_interval(moved / by, level=level)
                    row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
            each = sums[some, kind]
            if np.isfinite(each).all():
                p[i] = ratio_test((each[:, 2] - each[:, 3])[:, None], each[:, 0], resamples, level)[0][3]
        rows.append(row)
    for row, adjusted in zip(rows, false_discovery_rate(p).tolist(), strict=True):
        row["p_fdr"] = None if np.isnan(adjusted) else adjusted
    return rows
