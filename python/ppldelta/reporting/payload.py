"""The numbers and texts of a report as the page wants them: an index, and binary blocks that it decodes on demand.

For family number i: `f{i}.documents` (the numbers of every document under every model), `f{i}.passages` and
`f{i}.totals` (what gained and lost most), `f{i}.d{k}` (document k token by token) and `f{i}.pieces` (the bytes of the
tokens that these use). `payload_divergence` says what a run with `kld` adds. How a block is put together stands in
`blocks`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.aligned import AlignedRecords, AlignedSpans
from ppldelta.analysis.kind_sums import TextKinds
from ppldelta.errors import PpldeltaError
from ppldelta.family import Family
from ppldelta.reporting.blocks import Json, encoded_size, pack
from ppldelta.reporting.budget import BUDGET, DEFAULT_VIEWS
from ppldelta.reporting.family import FamilyRecords, take_family
from ppldelta.reporting.kinds import documents_of_kinds, kinds_of_families
from ppldelta.reporting.listed_totals import totals
from ppldelta.reporting.passages import Passage, different, extreme
from ppldelta.reporting.payload_divergence import (
    DIVERGENCE_STEPS,
    detail_blocks,
    divergence_lists,
    document_fields,
)
from ppldelta.reporting.short import SHORT
from ppldelta.reporting.tour import tour
from ppldelta.reporting.units import unit_of

NLL_STEP = 1 / 2048
"""Nats in a step of a token's `nll_ref`."""

DELTA_STEP = 1 / 1024
"""Nats in a step of a token's `delta`."""

_NLL_NONE, _DELTA_NONE = 65535, -32768  # what stands for a value that is not finite
_DELTA_MOST = 32767


@dataclass(frozen=True)
class Payload:
    """What the page needs beside its figures.

    Attributes:
        index: to be written as JSON. ``families``: for each its ``name``, ``models``, ``categories``, ``n_documents``,
            ``token_documents`` (the documents that have a token view, by falling |delta| under any model) and
            ``complete`` (whether the texts are there as a whole) and ``spans`` (whether rows are spans of text).
            ``token_views``: how many documents were ``wanted`` and how many are ``included``. ``steps``: how the
            numbers of token views are written (`_view_block`). ``tour``: see there. Of a
            run with ``kld`` also ``divergence_steps``, and of each family ``details``, the documents with divergences.
        blocks: by name, compressed; `blocks.encode` makes text of one.
    """

    index: dict[str, Json]
    blocks: dict[str, bytes]


def make_payload(
    *,
    tokens: pl.DataFrame,
    documents: pl.DataFrame,
    pieces: pl.DataFrame,
    texts: pl.DataFrame,
    families: Sequence[Family],
    kinds: pl.DataFrame | None = None,
    text_kinds: Sequence[TextKinds | None] = (),
    models: pl.DataFrame | None = None,
    n_views: int | Literal["all"] = DEFAULT_VIEWS,
    budget: int | None = BUDGET,
) -> Payload:
    """Puts together what the page needs of finished frames.

    Args:
        tokens: columns of `schema.TOKENS`.
        documents: columns of `schema.DOCUMENTS`.
        pieces: columns of `schema.PIECES`.
        texts: columns of `schema.TEXTS`; a document that is not there is shown with its scored tokens only.
        families: in the order of the page.
        kinds: columns of `schema.KINDS`; None to list no kinds.
        text_kinds: of each family the kinds of its texts, which `kinds` was made of.
        models: columns of `schema.MODELS`, for the tour.
        n_views: documents to be read token by token: so many with the largest |delta| under any model, all families
            together, and those with a listed passage; or "all".
        budget: characters of all blocks together, beyond which a token view is left out; None for no limit. "all"
            takes every document whatever comes of it.

    Raises:
        PpldeltaError: `n_views` is out of its range.
        ResultError: frames that do not fit together.
    """
    if n_views != "all" and (isinstance(n_views, bool) or not isinstance(n_views, int) or n_views < 0):
        raise PpldeltaError(f"the number of token views must be 0 or more, or `all`, got `{n_views}`")
    chosen = [
        take_family(each.name, each.models, tokens=tokens, documents=documents, pieces=pieces, texts=texts)
        for each in families
    ]
    moved = [_passages(family) for family in chosen]
    blocks = {}
    for i, (family, listed) in enumerate(zip(chosen, moved, strict=True)):
        blocks[f"f{i}.documents"] = _document_block(family)
        plain = [{way: list(map(asdict, spans)) for way, spans in by_way.items()} for by_way in listed]
        blocks[f"f{i}.passages"] = pack([("passages", "json", plain)])
        blocks[f"f{i}.totals"] = pack([("totals", "json", totals(family))])
    by_kind = kinds_of_families(chosen, kinds, text_kinds, unit_of(families))
    blocks |= {f"f{i}.kinds": pack([("kinds", "json", each)]) for i, each in enumerate(by_kind) if each}

    ranks = [_ranks(family) for family in chosen]
    wanted = _wanted(chosen, ranks, moved, n_views)
    if n_views:
        wanted = list(dict.fromkeys([*wanted, *documents_of_kinds(by_kind)]))
    limit = None if n_views == "all" else budget
    size = sum(encoded_size(len(block)) for block in blocks.values())
    included: list[list[int]] = [[] for _ in chosen]
    tables = [_PieceTable(family) for family in chosen]
    for i, k in wanted:
        view, fresh = _view_block(chosen[i], k, tables[i])
        more = encoded_size(len(view)) + encoded_size(tables[i].size(fresh))
        if limit is not None and size + more > limit:
            tables[i].forget(fresh)
            continue
        size += more
        blocks[f"f{i}.d{k}"] = view
        included[i].append(k)
    for i, table in enumerate(tables):
        blocks[f"f{i}.pieces"] = table.block()
    details = detail_blocks(chosen, wanted, included, None if limit is None else limit - size)
    blocks |= {f"f{i}.k{k}": block for i, by_document in enumerate(details) for k, block in by_document.items()}
    index: dict[str, Json] = {
        "families": [
            {
                "name": family.name,
                "models": family.models,
                "categories": family.categories,
                "n_documents": len(family.documents),
                "token_documents": (those := sorted(included[i], key=partial(_rank, ranks[i]))),
                "opens": family.most_changed(those[0]) if those else 0,
                "complete": family.complete,
                "spans": family.records.spans is not None,
                **({"details": sorted(details[i])} if family.diverging else {}),
            }
            for i, family in enumerate(chosen)
        ],
        "token_views": {"wanted": len(wanted), "included": sum(map(len, included))},
        "steps": {"nll": NLL_STEP, "nll_none": _NLL_NONE, "delta": DELTA_STEP, "delta_none": _DELTA_NONE},
    }
    steps = tour(chosen, families, included, unit_of(families), models)
    if steps is not None:
        index["tour"] = steps
    if any(family.diverging for family in chosen):
        index["divergence_steps"] = DIVERGENCE_STEPS
    return Payload(index, blocks)


def _document_block(family: FamilyRecords) -> bytes:
    """The numbers of every document: what does not depend on a model once, gain and loss by model; where records are
    spans, all by model."""
    rows, n_documents = family.rows, len(family.documents)
    first = rows.unique("k", keep="first", maintain_order=True).sort("k")
    place = {name: i for i, name in enumerate(family.categories)}

    def by_model(name: str) -> NDArray[np.float32]:
        values = np.full((len(family.models), n_documents), np.nan, np.float32)
        values[rows["m"].to_numpy(), rows["k"].to_numpy()] = rows[name].to_numpy()
        return values

    if family.records.spans is None:
        shared: list[tuple[str, str, object]] = [
            ("n_scored", "u32", first["n_scored"].to_numpy()),
            ("n_bytes", "f64", first["n_bytes"].to_numpy()),
            ("nll_ref", "f32", first["ppl_ref"].log().to_numpy()),
        ]
    else:  # each model has spans of its own
        shared = [(name, "~f32", by_model(name)) for name in ("n_scored", "n_bytes")]
        shared.append(("nll_ref", "~f32", np.log(by_model("ppl_ref"))))
    return pack(
        [
            ("n_tokens", "u32", first["n_tokens"].to_numpy()),
            *shared,
            ("category", "u16", np.array([place[name] for name in first["category"]], np.int64)),
            ("gain", "~f32", by_model("gain")),
            ("loss", "~f32", by_model("loss")),
            *(document_fields(family) if family.diverging else ()),
            ("names", "json", family.documents),
        ]
    )


def _passages(family: FamilyRecords) -> list[dict[str, list[Passage]]]:
    """For each model its best and worst passages."""
    lists = []
    for m, all_deltas in enumerate(family.records.delta):
        rows, starts = family.records.of_model(m)
        delta = all_deltas[rows]
        best, worst = (different(family, m, partial(extreme, sign * delta, starts), delta) for sign in (1, -1))
        lists.append({"best": best, "worst": worst})
    if family.diverging:
        lists = [moved | more for moved, more in zip(lists, divergence_lists(family), strict=True)]
    return lists


def _rank(ranks: list[tuple[bool, float, int]], k: int) -> tuple[bool, float, int]:
    return ranks[k]


def _ranks(family: FamilyRecords) -> list[tuple[bool, float, int]]:
    """What documents are ordered by: whether it is short, then largest |mean delta| under any model first."""
    largest, n_scored = np.full(len(family.documents), -1.0), np.zeros(len(family.documents))
    delta, k = np.abs(family.rows["delta"].to_numpy()), family.rows["k"].to_numpy()
    finite = np.isfinite(delta)
    np.maximum.at(largest, k[finite], delta[finite])
    np.maximum.at(n_scored, k, family.rows["n_scored"].to_numpy())
    return list(zip((n_scored < SHORT).tolist(), (-largest).tolist(), range(len(largest)), strict=True))


def _wanted(
    families: list[FamilyRecords],
    ranks: list[list[tuple[bool, float, int]]],
    passages: list[list[dict[str, list[Passage]]]],
    n_views: int | Literal["all"],
) -> list[tuple[int, int]]:
    """(family, document) of each token view that is wanted, the most important first: the last are left out if need be.

    Documents of large |delta| and documents of listed passages take turns, so that neither list goes without views.
    """
    shown = [(i, k) for i, family in enumerate(families) for k in np.flatnonzero(np.diff(family.records.offsets) > 0)]
    shown.sort(key=lambda each: (ranks[each[0]][each[1]][:2], each))
    large = [(i, int(k)) for i, k in (shown if n_views == "all" else shown[:n_views])]
    turns = itertools.zip_longest(large, _of_passages(passages) if n_views else [])
    return list(dict.fromkeys(each for turn in turns for each in turn if each is not None))


def _of_passages(passages: list[list[dict[str, list[Passage]]]]) -> Iterator[tuple[int, int]]:
    """(family, document) of the passages: first the first of each list, then the second of each."""
    lists = [[(i, span.document) for span in spans] for i, by_model in enumerate(passages)
             for model in by_model for spans in model.values()]  # fmt: skip
    return (each for turn in itertools.zip_longest(*lists) for each in turn if each is not None)


class _PieceTable:
    """The tokens that the included views use, numbered in order of first use."""

    def __init__(self, family: FamilyRecords) -> None:
        self._vocabulary = family.vocabulary
        self._numbers = np.full(family.vocabulary.beyond, -1, np.int64)
        self._tokens: list[NDArray[np.int32]] = []
        self._n = 0

    def add(self, tokens: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The number of each token, and the tokens that got one just now."""
        self._vocabulary.require(tokens)
        new, first = np.unique(tokens[self._numbers[tokens] < 0], return_index=True)
        new = new[np.argsort(first)]
        self._numbers[new] = np.arange(self._n, self._n + len(new))
        self._tokens.append(new)
        self._n += len(new)
        return self._numbers[tokens], new

    def forget(self, last: NDArray[np.int32]) -> None:
        """Takes back what the last `add` numbered."""
        self._tokens.pop()
        self._numbers[last] = -1
        self._n -= len(last)

    def size(self, tokens: NDArray[np.int32]) -> int:
        """Bytes that tokens take in the block, before compression."""
        return sum(len(piece) + 4 for piece in self._vocabulary[tokens])

    def block(self) -> bytes:
        """`offset` (where each piece begins, and the end of the last) and `bytes`."""
        pieces = self._vocabulary[np.concatenate([np.empty(0, np.int32), *self._tokens])]
        offset = np.cumsum([0, *map(len, pieces)])
        return pack([("offset", "u32", offset), ("bytes", "u8", np.frombuffer(b"".join(pieces), np.uint8))])


def _view_block(family: FamilyRecords, k: int, table: _PieceTable) -> tuple[bytes, NDArray[np.int32]]:
    """One document token by token, and the tokens that are new in the table of pieces.

    `nll_ref` and `delta` are whole steps of `NLL_STEP` and `DELTA_STEP`. They end at about 32 nats, and a number of its
    own stands for a value that is not finite. Where records are spans, both are nats, `nll_ref` by model as well, and
    `n_ref` and `n_cmp` say how many tokens each model's span has: 0 where it has none that begins there. If the whole
    text is unknown, `token` holds only the scored tokens, run after run; `start` is a position in the document either
    way.
    """
    records, rows = family.records, family.records.rows(k)
    text = family.text(k)
    pos = records.pos[rows]
    begins = np.flatnonzero(records.starts[rows])
    numbers, new = table.add(records.token[rows] if text is None else text)
    block = pack(
        [
            ("token", "~u32", numbers),
            ("start", "u32", pos[begins]),
            ("length", "u32", np.diff(begins, append=len(pos))),
            *(_spans(records.spans, records.delta, rows) if records.spans else _steps(records, rows)),
        ],
        complete=text is not None,
    )
    return block, new


def _steps(records: AlignedRecords, rows: slice) -> list[tuple[str, str, object]]:
    """Numbers of scored tokens, in whole steps."""
    with np.errstate(invalid="ignore"):
        nll = np.rint(-records.logp_ref[rows].astype(np.float64) / NLL_STEP)
        delta = np.rint(records.delta[:, rows].astype(np.float64) / DELTA_STEP)
    nll = np.where(np.isfinite(nll), np.clip(nll, 0, _NLL_NONE - 1), _NLL_NONE)
    finite = np.isfinite(delta)
    delta = np.where(finite, np.clip(delta, -_DELTA_MOST, _DELTA_MOST), _DELTA_NONE)
    return [("nll_ref", "~u16", nll), ("delta", "~i16", delta)]


def _spans(spans: AlignedSpans, delta: NDArray[np.float32], rows: slice) -> list[tuple[str, str, object]]:
    """Numbers of spans, each model's in turn: a span may have more nats than steps reach."""
    return [
        ("nll_ref", "~f32", -spans.logp_ref[:, rows]),
        ("delta", "~f32", delta[:, rows]),
        ("n_ref", "~u32", spans.n_ref[:, rows]),
        ("n_cmp", "~u32", spans.n_cmp[:, rows]),
    ]
