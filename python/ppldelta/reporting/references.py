"""Which of several references predicts the text better, in a sentence: the only comparison between families.

"Better" is said only where the interval of the paired difference leaves out 0 (`analysis.references`); of categories
and of more than two references, through which one looks for whatever stands out, only where p does so after Holm's
correction. The best of several is better than each of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ppldelta.analysis.uncertainty import LEVEL, side
from ppldelta.reporting.rows import Row, number, text
from ppldelta.reporting.sentences import INTERVAL, SHOWN, TOO_FEW, Piece
from ppldelta.reporting.units import SHORT_UNITS
from ppldelta.wording import numbers

_DIGITS = 3


@dataclass(frozen=True)
class _Pair:
    """The reference that is best over all documents against another one, on all documents or those of a category.

    Attributes:
        first: its family.
        other: that of the other one.
        category: of the documents; None: all.
        bits: bits per byte under the first.
        bits_other: under the other one.
        low: end of the interval of how many bits the other one needs more; None if there is none.
        high: the other end.
        p: of no difference; after Holm's correction if it is of a category, or if there are more than two references.
    """

    first: str
    other: str
    category: str | None
    bits: float
    bits_other: float
    low: float | None
    high: float | None
    p: float | None

    @property
    def way(self) -> int:
        """1 where the first predicts the text better, -1 where the other one does, 0 where that cannot be told."""
        if self.low is None or self.high is None or self.p is None or self.p >= 1 - LEVEL:
            return 0
        return side(self.low, self.high)


def finding(references: pl.DataFrame) -> list[Piece]:
    """The sentence on which reference predicts the text better; empty if no two families can be compared.

    Args:
        references: `schema.REFERENCES`.
    """
    bpb = bpb_of(references)
    if not bpb:
        return []
    first, second, *more = sorted(bpb, key=bpb.__getitem__)
    pairs = [pair for row in references.iter_rows(named=True) for pair in _pairs(row, first, corrected=bool(more))]
    overall = {each.other: each for each in pairs if each.category is None}
    near = overall.get(second)
    if near is None or near.way < 0:  # they are compared with a third one, on texts of their own
        return []
    every = f"of {numbers.count(len(bpb))} references"
    which = f"{every} predicts this text best" if more else "reference predicts this text better"
    both = [Piece(first, "name"), Piece(" "), _bits(near.bits), Piece(", "), Piece(second, "name"), Piece(" ")]
    both.append(Piece(numbers.fixed(near.bits_other, _DIGITS), "number"))
    if near.low is None:
        return [*both, Piece(f": {TOO_FEW} which {which}.")]
    rest = [Piece(", difference "), *_difference(near), *_categories(pairs, near), Piece(".")]
    if near.way == 0:
        return [Piece(f"Which {which} cannot be told: "), *both, *rest]
    against = [_bits(near.bits), Piece(" against "), Piece(numbers.fixed(near.bits_other, _DIGITS), "number")]
    alike = [other for other in more if other not in overall or overall[other].way <= 0]
    if alike:
        said = [Piece(first, "name"), Piece(" predicts this text better than "), Piece(second, "name"), Piece(": ")]
        return [*said, *against, *rest[:-1], Piece("; over all it cannot be told from "), *_names(alike), Piece(".")]
    said = [Piece(first, "name"), Piece(f" predicts this text {f'best {every}' if more else 'better'}: ")]
    return [*said, *against, Piece(" of "), Piece(second, "name"), *rest]


def bpb_of(references: pl.DataFrame) -> dict[str, float]:
    """Bits per byte of each reference over all documents, by the name of its family, in the order of the families."""
    found: dict[str, float] = {}
    for row in references.filter(pl.col("category").is_null()).iter_rows(named=True):
        for which in "ab":
            found.setdefault(row[f"family_{which}"], row[f"bpb_{which}"])
    return found


def _names(families: Sequence[str]) -> Iterator[Piece]:
    for i, family in enumerate(families):
        if i:
            yield Piece(" and " if i == len(families) - 1 else ", ")
        yield Piece(family, "name")


def _pairs(row: Row, first: str, *, corrected: bool) -> Iterator[_Pair]:
    """The row as a pair, if it is of the first family. `corrected` says whether the p of all documents is Holm's."""
    a, b = text(row, "family_a"), text(row, "family_b")
    if first not in (a, b):
        return
    category = None if row["category"] is None else text(row, "category")
    p = number(row, "p" if category is None and not corrected else "p_holm")
    bits_a, bits_b = number(row, "bpb_a") or 0.0, number(row, "bpb_b") or 0.0
    low, high = number(row, "low"), number(row, "high")
    if first == b:
        yield _Pair(b, a, category, bits_b, bits_a, low, high, p)
    elif low is None or high is None:
        yield _Pair(a, b, category, bits_a, bits_b, None, None, p)
    else:
        yield _Pair(a, b, category, bits_a, bits_b, -high, -low, p)


def _categories(pairs: Iterable[_Pair], near: _Pair) -> Iterator[Piece]:
    """On which categories the first is clearly better than the second, and on which another one than the first."""
    of_categories = [each for each in pairs if each.category is not None]
    mine = [each for each in of_categories if each.other == near.other]
    better = sorted((each for each in mine if each.way > 0), key=lambda each: each.bits - each.bits_other)
    if better:
        yield from [Piece("; ")] if near.way else [Piece("; "), Piece(near.first, "name"), Piece(" is ")]
        yield Piece("clearly on " if near.way else "clearly better on ")
        yield from _named(better)
        if unclear := [each for each in mine if each.way == 0]:
            yield Piece(", not on ")
            yield from _named(unclear, bare=True)
    for other in dict.fromkeys(each.other for each in of_categories):
        if worse := [each for each in of_categories if each.other == other and each.way < 0]:
            yield from [Piece("; "), Piece(other, "name"), Piece(" is better on ")]
            yield from _named(worse)


def _named(pairs: Sequence[_Pair], *, bare: bool = False) -> Iterator[Piece]:
    """Names categories. Unless they are `bare`, each has both bits per byte behind it, the lower one first."""
    for i, each in enumerate(pairs[:SHOWN]):
        if i:
            yield Piece(" and " if i == len(pairs) - 1 else ", ")
        yield Piece(each.category or "documents without category", "category")
        if not bare:
            low, high = (numbers.fixed(bits, _DIGITS) for bits in sorted((each.bits, each.bits_other)))
            yield from [Piece(" ("), Piece(f"{low} against {high}", "number"), Piece(")")]
    if len(pairs) > SHOWN:
        yield Piece(f" and {len(pairs) - SHOWN} more")


def _difference(pair: _Pair) -> list[Piece]:
    interval = numbers.interval(pair.low, pair.high, _DIGITS)
    value = Piece(numbers.fixed(pair.bits_other - pair.bits, _DIGITS), "number")
    return [value, Piece(" "), Piece(f"({INTERVAL} {interval})", "interval")]


def _bits(value: float) -> Piece:
    return Piece(f"{numbers.fixed(value, _DIGITS)} {SHORT_UNITS['bpb']}", "number")
