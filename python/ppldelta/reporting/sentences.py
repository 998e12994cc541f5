"""What the numbers say, in plain English: one line on what was compared, one sentence for each model.

A sentence claims "better" or "worse" only where the 95 % interval of the mean delta leaves out 0, or says
that there is no interval. Sentences are lists of `Piece`, not strings, so that the page can set names as code and
escape every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ppldelta.wording import numbers

SHOWN = 3
"""Categories named on either side of a sentence; the rest are counted."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a sentence: plain text, a `name` set as code, or a `number` (with its interval)."""

    text: str
    kind: str = "text"


def corpus(documents: pl.DataFrame) -> str:
    """`36 documents (12 code, 12 multilingual, 12 prose)`: the documents of one family, each counted once."""
    unique = documents.unique(["document"], keep="first", maintain_order=True)
    total = unique.height
    groups = unique.group_by("category", maintain_order=True).len().rows()
    head = f"{numbers.count(total)} {'document' if total == 1 else 'documents'}"
    if len(groups) < 2:
        return head
    named = [f"{numbers.count(n)} {category or 'without category'}" for category, n in groups[:6]]
    if len(groups) > 6:
        named.append(f"{len(groups) - 6} more categories")
    return f"{head} ({', '.join(named)})"


def finding(rows: Sequence[dict[str, Any]]) -> list[Piece]:
    """The sentence about one model.

    Args:
        rows: the model's rows of `schema.MODELS` under one weighting: a row for each category and one with
            category null for all documents.
    """
    overall = next(row for row in rows if row["category"] is None)
    by_category = [row for row in rows if row["category"] is not None and numbers.known(row["delta"])]
    name = Piece(overall["model"], "name")
    if not numbers.known(overall["delta"]):
        return [name, Piece(" gave numbers that are not finite, so nothing can be said about it.")]
    if len(by_category) < 2:
        verdict = {1: "better than", -1: "worse than", 0: "neither clearly better nor worse than"}[_direction(overall)]
        return [name, Piece(f" predicts the text {verdict} the reference "), *_amount(overall, unit=True), Piece(".")]

    better, worse, even = (
        sorted((row for row in by_category if _direction(row) == way), key=lambda row: -abs(row["delta"]))
        for way in (1, -1, 0)
    )
    pieces = [name, Piece(" predicts ")]
    groups = [(better, "better"), (worse, "worse"), (even, "neither clearly better nor worse")]
    for at, (group, word) in enumerate((group, word) for group, word in groups if group):
        if at:
            pieces.append(Piece(", "))
        pieces += _group(group, word, unit=at == 0)
    pieces += [Piece(". Over all tokens: "), *_amount(overall, unit=False, bare=True), Piece(".")]
    return pieces


def _group(rows: Sequence[dict[str, Any]], word: str, *, unit: bool) -> list[Piece]:
    """`code better (+0.13)`, or of several `prose (−0.29) and code (−0.11) worse`."""
    pieces: list[Piece] = []
    several = len(rows) > 1
    for i, row in enumerate(rows[:SHOWN]):
        if i:
            pieces.append(Piece(" and " if i == len(rows) - 1 else ", "))
        pieces.append(Piece(row["category"] or "documents without category", "category"))
        pieces.append(Piece(" " if several else f" {word} "))
        pieces += _amount(row, unit=unit and i == 0)
    if len(rows) > SHOWN:
        rest = len(rows) - SHOWN
        pieces.append(Piece(f" and {rest} more {'category' if rest == 1 else 'categories'}"))
    return [*pieces, Piece(f" {word}")] if several else pieces


def marked(text: str) -> list[Piece]:
    """A message with `names` between backticks, as ppldelta writes them, with the names told apart."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return [Piece(text)]
    return [Piece(part, "name" if i % 2 else "text") for i, part in enumerate(parts) if part]


def _direction(row: dict[str, Any]) -> int:
    """1 better, -1 worse, 0 when the interval spans 0. Where there is none, the sign decides and the text says so."""
    low, high = row["delta_low"], row["delta_high"]
    if not (numbers.known(low) and numbers.known(high)):
        low = high = row["delta"]
    return 1 if low > 0 else -1 if high < 0 else 0


def _amount(row: dict[str, Any], *, unit: bool, bare: bool = False) -> list[Piece]:
    digits = max(numbers.decimals(row["delta"]) - 1, 2)
    text = numbers.signed(row["delta"], digits) + (" nats/token" if unit else "")
    interval = numbers.interval(row["delta_low"], row["delta_high"], digits, sign=True)
    if not interval:
        interval = "too few documents for an interval"
    elif unit:
        interval = f"95\N{NO-BREAK SPACE}% interval {interval}"
    number = Piece(text, "number")
    if bare:
        return [number, Piece(" "), Piece(f"({interval})", "interval")]
    return [Piece("("), number, Piece(", "), Piece(f"{interval})", "interval")]
