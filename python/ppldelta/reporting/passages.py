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
    number of its tokens (of spans, where the records are spans), and its text with what stands around it."""

    document: int
    start: int
    end: int
    sum: float
    n: int
    before: str
    text: str
    after: str


def passages(family: FamilyRecords, m: int, spans: Iterable[Span], values: NDArray[np.float32]) -> list[Passage]:
    """Spans of a model's records as passages.

    Args:
        family: whose records they are.
        m: number of the model.
        spans: places in the rows that the model has (`AlignedRecords.of_model`).
        values: float32, one for each of these rows, nats; what is summed up.
    """
    records = family.records
    rows, _ = records.of_model(m)
    return [
        Passage(
            document=records.document(first),
            start=int(records.pos[first]),
            end=records.end(m, last) - 1,
            sum=round(float(values[span.first : span.last + 1].sum(dtype=np.float64)), 6),
            n=span.last - span.first + 1,
            **family.excerpt(m, first, last),
        )
        for span in spans
        for first, last in [(int(rows[span.first]), int(rows[span.last]))]
    ]
