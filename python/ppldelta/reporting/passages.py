"""Passages as the page lists them: where they are, what they sum up to, and their text with what stands around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis.spans import Span
from ppldelta.reporting.family import FamilyRecords


@dataclass(frozen=True)
class Passage:
    """A passage: number of its document, positions of its first and last token, what its tokens sum up to in nats,
    number of tokens, and its text with what stands around it."""

    document: int
    start: int
    end: int
    sum: float
    n: int
    before: str
    text: str
    after: str


def passages(family: FamilyRecords, spans: Iterable[Span], values: NDArray[np.float32]) -> list[Passage]:
    """Spans of a family's records as passages.

    Args:
        family: whose records they are.
        spans: rows of its records.
        values: float32, shape (n_rows,), nats; what is summed up.
    """
    records = family.records
    return [
        Passage(
            document=records.document(span.first),
            start=int(records.pos[span.first]),
            end=int(records.pos[span.last]),
            sum=round(float(values[span.first : span.last + 1].sum(dtype=np.float64)), 6),
            n=span.last - span.first + 1,
            **family.excerpt(span.first, span.last),
        )
        for span in spans
    ]
