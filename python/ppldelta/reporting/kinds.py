"""What changed by the kind of token: the rows and passages that the page lists, and the sentence about a model.

A kind is named in the sentence if it is clear (`analysis.kind_sums`): of those gained and of those lost, the ones whose
mean delta is furthest from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.kind_sums import TextKinds
from ppldelta.analysis.kinds import KINDS, RULES
from ppldelta.analysis.spans import Span, best_spans
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.family import FamilyRecords
from ppldelta.reporting.passages import Passage, different
from ppldelta.reporting.rows import Row, number, text
from ppldelta.reporting.sentences import SHOWN, Piece
from ppldelta.reporting.units import DELTA, SHORT_UNITS, Unit
from ppldelta.wording import numbers

CLEAR = 0.05
"""Part of the kinds called clear that may be so by chance (`p_fdr`)."""

SHOWN_PASSAGES = 3
"""Passages of each kind."""

_LONGEST, _NEAR = 24, 3  # tokens of the kind in a passage, and how many others may stand between two of them


def clear(row: Row) -> bool:
    """Whether a row of `schema.KINDS` says something beyond chance."""
    p = number(row, "p_fdr")
    return numbers.known(p) and p < CLEAR


def finding(rows: Sequence[Row], unit: Unit) -> list[Piece]:
    """The sentence about a model; nothing if it has no rows.

    Args:
        rows: the model's rows of `schema.KINDS`.
        unit: in which delta is told.
    """
    if not rows:
        return []
    name = Piece(text(rows[0], "model"), "name")
    column = DELTA[unit]
    moved = [(number(row, column) or 0.0, row) for row in rows if clear(row) and numbers.known(number(row, column))]
    moved.sort(key=lambda each: -abs(each[0]))
    gained, lost = ([each for each in moved if (each[0] > 0) is up] for up in (True, False))
    if not moved:
        return [name, Piece(": no kind is clearly gained or lost, as far as these documents tell.")]
    per = SHORT_UNITS[unit]
    pieces = [name, Piece(" ")]
    if gained:
        pieces += [Piece("gains "), *_listed(gained, per)]
    if gained and lost:
        pieces.append(Piece("; it "))
    if lost:
        pieces += [Piece("loses "), *_listed(lost, "" if gained else per)]
    rest = "nothing is clearly lost" if not lost else "nothing is clearly gained" if not gained else ""
    return [*pieces, Piece(f"; {rest}." if rest else ".")]


def _listed(moved: list[tuple[float, Row]], unit: str) -> list[Piece]:
    """`digits (+0.31 nats per token), names (+0.2) and 3 other kinds`."""
    pieces: list[Piece] = []
    shown, rest = moved[:SHOWN], len(moved) - SHOWN
    for i, (delta, row) in enumerate(shown):
        if i:
            pieces.append(Piece(" and " if i == len(shown) - 1 and rest <= 0 else ", "))
        amount = numbers.signed(delta, 2 if abs(delta) >= 0.095 else 3)
        unit_here = f" {unit}" if unit and i == 0 else ""
        pieces += [Piece(text(row, "kind"), "category"), Piece(" ("), Piece(amount + unit_here, "number"), Piece(")")]
    if rest > 0:
        pieces.append(Piece(f" and {rest} other {'kind' if rest == 1 else 'kinds'}"))
    return pieces


def listed(family: FamilyRecords, read: TextKinds, kinds: pl.DataFrame, unit: Unit) -> list[list[dict[str, Json]]]:
    """For each model its kinds by falling delta, each with its numbers and passages; last those without an interval.

    Args:
        family: whose records they are.
        read: the kinds of its texts.
        kinds: columns of `schema.KINDS`.
        unit: of delta and its interval.
    """
    column = DELTA[unit]
    found: list[list[dict[str, Json]]] = []
    for m, model in enumerate(family.models):
        rows = kinds.filter(family=family.name, model=model).sort(pl.col(f"{column}_low").is_null(), -pl.col(column))
        own = _Rows(family, m, read)
        found.append([_entry(own, row, column) for row in rows.iter_rows(named=True)])
    return found


def kinds_of_families(
    families: Sequence[FamilyRecords], kinds: pl.DataFrame | None, reads: Sequence[TextKinds | None], unit: Unit
) -> list[list[list[dict[str, Json]]]]:
    """For each family what `listed` says; nothing of one without texts.

    Args:
        families: whose records they are.
        kinds: columns of `schema.KINDS`; None lists nothing.
        reads: the kinds of each family's texts; without any, nothing is listed.
        unit: as for `listed`.
    """
    return [
        listed(family, read, kinds, unit) if read and kinds is not None and family.name in kinds["family"] else []
        for family, read in zip(families, reads or [None] * len(families), strict=True)
    ]


def documents_of_kinds(by_family: Sequence[list[list[dict[str, Json]]]]) -> list[tuple[int, int]]:
    """(family, document) of the passages: the first of each kind, then the second, then the third."""
    found = []
    for turn in range(SHOWN_PASSAGES):
        for i, models in enumerate(by_family):
            for entry in itertools.chain.from_iterable(models):
                passages = entry["passages"]
                assert isinstance(passages, list)
                found += [(i, each["document"]) for each in passages[turn : turn + 1]]
    return found


class _Rows:
    """The rows of a model, and of which kind each is; one more than there are kinds where no text is known."""

    def __init__(self, family: FamilyRecords, m: int, read: TextKinds) -> None:
        records = family.records
        self.family, self.m = family, m
        rows, starts = records.of_model(m)
        self.run = np.cumsum(starts)
        self.delta = records.delta[m][rows]
        begin = np.repeat(family.begins, np.diff(records.offsets))[rows]
        n = np.ones(len(rows), np.int64) if records.spans is None else records.spans.n_ref[m][rows].astype(np.int64)
        known = begin >= 0
        self.kind = np.full(len(rows), len(KINDS), np.uint8)
        self.kind[known] = read.at((begin + records.pos[rows])[known], n[known])

    def passages(self, kind: int, sign: int) -> list[Passage]:
        """Where the tokens of a kind moved most; others may stand between them, and have no value."""
        mine = np.flatnonzero(self.kind == kind)
        starts = np.ones(len(mine), np.bool_)
        starts[1:] = (np.diff(mine) > _NEAR + 1) | (np.diff(self.run[mine]) > 0)
        values = np.where(self.kind == kind, self.delta, np.float32(0))
        return different(
            self.family, self.m, partial(_spans, mine, sign * self.delta[mine], starts), values, most=SHOWN_PASSAGES
        )


def _spans(rows: NDArray[np.int64], delta: NDArray[np.float32], starts: NDArray[np.bool_], most: int) -> list[Span]:
    found = best_spans(delta, starts, most=most, longest=_LONGEST)
    return [Span(int(rows[each.first]), int(rows[each.last]), each.sum) for each in found]


def _entry(own: _Rows, row: Row, column: str) -> dict[str, Json]:
    kind = text(row, "kind")
    values = {name: number(row, f"{column}{end}") for name, end in (("delta", ""), ("low", "_low"), ("high", "_high"))}
    shares = {name: number(row, name) for name in ("share_gain", "share_loss")}
    passages = own.passages(KINDS.index(kind), 1 if (values["delta"] or 0) > 0 else -1)
    return {
        "kind": kind,
        "rule": RULES[kind],
        "n": int(number(row, "n_scored") or 0),
        **{name: value if numbers.known(value) else None for name, value in (values | shares).items()},
        "clear": clear(row),
        "passages": [asdict(each) for each in passages],
    }
