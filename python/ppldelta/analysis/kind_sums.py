"""What a comparison gained and lost by the kind of the token: of each kind the means, an interval, and its share.

Over the n scored tokens of a kind, in nats:

    delta = Σ delta / n,   gain = Σ max(delta, 0) / n,   loss = Σ max(-delta, 0) / n

The share of gain is the kind's Σ max(delta, 0) divided by that of all kinds, and likewise of loss. A span of text
(`align="bytes"`) has the kind of the reference's first token in it that is not white space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.corrections import false_discovery_rate
from ppldelta.analysis.differences import ratio_test
from ppldelta.analysis.kinds import KINDS, WHITE, Pieces, token_kinds
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN, LEVEL, N_RESAMPLES, SEED, Resamples, percentile_interval
from ppldelta.schema import KINDS as COLUMNS

_MOST_CELLS = 1 << 25  # sums held at a time, about a quarter of a gigabyte
_MOST_WHITE = 8  # tokens of white space at the beginning of a span that are passed over


@dataclass(frozen=True, eq=False)
class TextKinds:
    """The kinds of all tokens of a family's texts, scored or not.

    Attributes:
        begins: document → the place of its first token.
        kinds: uint8, shape (n_tokens,); places in `kinds.KINDS`.
        sizes: bytes of each token, shape (n_tokens,), as small as they can be kept.
    """

    begins: dict[str, int]
    kinds: NDArray[np.uint8]
    sizes: NDArray[np.unsignedinteger[Any]]

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
    sizes = table.end - table.begin
    sizes = sizes.astype(np.min_scalar_type(int(sizes.max())))
    begins = dict(zip(mine["document"].to_list(), offsets[:-1].tolist(), strict=True))
    return TextKinds(begins, token_kinds(row, offsets, table), sizes[row])


def kinds_by_family(texts: pl.DataFrame, pieces: pl.DataFrame) -> dict[str, TextKinds]:
    """`text_kinds` of each family, without those that have none."""
    families = texts["family"].cast(pl.String).unique(maintain_order=True)
    found = {family: text_kinds(texts, pieces, family) for family in families}
    return {family: read for family, read in found.items() if read is not None}


def kinds(
    tokens: pl.DataFrame,
    read: Mapping[str, TextKinds],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> pl.DataFrame:
    """Gain, loss and delta of each comparison by kind.

    Intervals are those of all other numbers (`uncertainty`). Some twenty kinds are tested at once, and with few
    documents a percentile interval leaves out 0 too often. Whether a kind is *clear* is therefore decided by the
    bootstrap-t of `differences` over the documents that have the kind, and by the false discovery rate over all kinds
    of a model (Benjamini and Hochberg 1995).

    Args:
        tokens: columns of `schema.TOKENS`. Those of documents whose text is not known are left out.
        read: of each family the kinds of its texts (`kinds_by_family`).
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
        if family in read:
            for cells, moved in _alike(tokens.filter(pl.col("family") == family), read[family]):
                by_model = _rows(cells, list(moved.values()), resamples, level)
                for model, of_model in zip(moved, by_model, strict=True):
                    rows += [{"family": family, "model": model, **row} for row in of_model]
    return pl.DataFrame(rows, schema=COLUMNS, infer_schema_length=None)


@dataclass(frozen=True, eq=False)
class _Cells:
    """The document and the kind of each record, shared by all models that have the same records.

    Attributes:
        known: bool, shape (n_records,); whether a record's text is known.
        cell: int64, shape (n_known,); document times kinds plus kind.
        n: float64, shape (n_documents, n_kinds, 2); records and bytes.
    """

    known: NDArray[np.bool_]
    cell: NDArray[np.int64]
    n: NDArray[np.float64]

    @classmethod
    def of(cls, records: pl.DataFrame, read: TextKinds) -> _Cells:
        """The cells of a model's records."""
        runs = records.select(pl.col("document").rle()).unnest("document").with_columns(pl.col("value").cast(pl.String))
        names = {name: i for i, name in enumerate(sorted(set(runs["value"]) & read.begins.keys()))}
        begins = [read.begins.get(name, -1) for name in runs["value"]]
        document = np.repeat([names.get(name, 0) for name in runs["value"]], runs["len"].to_numpy())
        begin = np.repeat(np.array(begins, np.int64), runs["len"].to_numpy())
        known = begin >= 0
        places = (begin + records["pos"].to_numpy())[known]
        n = records["n_tokens_ref"].fill_null(1).to_numpy().astype(np.int64)[known]
        cell = np.asarray(document[known] * len(KINDS) + read.at(places, n), np.int64)
        byte = np.concatenate([[0], np.cumsum(read.sizes, dtype=np.int64)])
        weights = np.ones(len(cell)), byte[places + n] - byte[places]
        return cls(known, cell, _added(cell, weights, len(names)))

    def moved(self, delta: NDArray[np.float32]) -> NDArray[np.float64]:
        """Σ gain and Σ loss of a model by document and kind: shape (n_documents, n_kinds, 2)."""
        known = delta.astype(np.float64)[self.known]
        return _added(self.cell, (np.maximum(known, 0), np.maximum(-known, 0)), len(self.n))


def _added(
    cell: NDArray[np.int64], weights: Sequence[NDArray[np.float64] | NDArray[np.int64]], n_documents: int
) -> NDArray[np.float64]:
    """Sums of some weights by document and kind: shape (n_documents, n_kinds, n_weights)."""
    sums = [np.bincount(cell, weight, minlength=n_documents * len(KINDS)) for weight in weights]
    found: NDArray[np.float64] = np.column_stack(sums).astype(np.float64)
    return found.reshape(n_documents, len(KINDS), len(weights))


def _alike(records: pl.DataFrame, read: TextKinds) -> Iterator[tuple[_Cells, dict[str, NDArray[np.float64]]]]:
    """What each model of a family gained and lost, in groups of models that have the same records.

    A group ends where it would hold more than `_MOST_CELLS` sums.
    """
    cells, moved, before = None, dict[str, NDArray[np.float64]](), None
    for model in records["model"].cast(pl.String).unique(maintain_order=True):
        mine = records.filter(pl.col("model") == model)
        here = mine.select("document", "pos", "n_tokens_ref")
        same = before is not None and here.equals(before)
        if cells is not None and not (same and (len(moved) + 1) * cells.n.size <= _MOST_CELLS):
            yield cells, moved
            moved = {}
        if cells is None or not same:
            cells, before = _Cells.of(mine, read), here
        moved[model] = cells.moved(mine["delta"].to_numpy())
    if cells is not None:
        yield cells, moved


def _rows(
    cells: _Cells, moved: Sequence[NDArray[np.float64]], resamples: Resamples, level: float
) -> list[list[dict[str, object]]]:
    """The rows of some comparisons that have the same records."""
    whole = cells.n.sum(axis=0)
    present = np.flatnonzero(whole[:, 0])
    if not len(present):
        return [[] for _ in moved]
    sums = [each.sum(axis=0) for each in moved]
    drawn = resamples.sums(np.column_stack([each[:, present].reshape(len(each), -1) for each in (cells.n, *moved)]))
    n_drawn, *moved_drawn = drawn.reshape(len(drawn), -1, len(present), 2).swapaxes(0, 1)
    rows: list[list[dict[str, object]]] = [[] for _ in moved]
    p = np.full((len(moved), len(present)), np.nan)
    for i, kind in enumerate(present.tolist()):
        n, n_bytes = whole[kind].tolist()
        some = np.flatnonzero(cells.n[:, kind, 0])
        for of_model, sum_ in zip(rows, sums, strict=True):
            of_model.append(_row(kind, n, n_bytes, sum_))
        if len(some) < DOCUMENTS_MIN:
            continue
        there = n_drawn[:, i, 0] > 0
        for name, by in (("delta", n_drawn[there, i, 0]), ("delta_bpb", n_drawn[there, i, 1] * np.log(2))):
            for of_model, each in zip(rows, moved_drawn, strict=True):
                if of_model[-1][name] is not None:
                    low, high = percentile_interval((each[there, i, 0] - each[there, i, 1]) / by, level=level)
                    of_model[-1] |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        of_kind = [each[some, kind] for each in moved]
        tested = [m for m, each in enumerate(of_kind) if np.isfinite(each).all()]
        if tested:
            x = np.column_stack([of_kind[m][:, 0] - of_kind[m][:, 1] for m in tested])
            p[tested, i] = [each[3] for each in ratio_test(x, cells.n[some, kind, 0], resamples, level)]
    for of_model, own in zip(rows, p, strict=True):
        for row, adjusted in zip(of_model, false_discovery_rate(own).tolist(), strict=True):
            row["p_fdr"] = None if np.isnan(adjusted) else adjusted
    return rows


def _row(kind: int, n: float, n_bytes: float, sums: NDArray[np.float64]) -> dict[str, object]:
    """What needs no resamples; `sums` are gain and loss by kind."""
    gain, loss = sums[kind].tolist()
    shares = zip(("gain", "loss"), (gain, loss), sums.sum(axis=0), strict=True)
    return {
        "kind": KINDS[kind],
        "n_scored": int(n),
        "n_bytes": int(n_bytes),
        "gain": gain / n,
        "loss": loss / n,
        "delta": (gain - loss) / n,
        **{f"share_{way}": x / of if of else None for way, x, of in shares},
        "delta_bpb": (gain - loss) / np.log(2) / n_bytes if n_bytes else None,
    }
