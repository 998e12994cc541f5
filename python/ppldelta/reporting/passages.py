"""Passages as the page lists them: where they are, what they sum up to, and their text with what stands around it.

A passage begins and ends at whole characters, which tokens may split, and equal passages of several places are one
entry that counts them: a licence that stands in a hundred files is one finding and not a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis.spans import MOST, Span, best_spans
from ppldelta.reporting.family import TEXT, FamilyRecords

_MOST_SEARCHED = 8 * MOST  # passages that are looked at for different ones


@dataclass(frozen=True)
class Passage:
    """A passage: number of its document, positions of its first and last token, what its tokens sum up to in nats,
    number of its tokens (of spans, where the records are spans), and its text with what stands around it. `parts` is
    the same text in whole characters, each part with its value in nats; `times` says how often the passage was found
    among the most extreme ones, of which this is the first."""

    document: int
    start: int
    end: int
    sum: float
    n: int
    before: str
    text: str
    after: str
    parts: list[tuple[str, float]]
    times: int = 1


def passages(family: FamilyRecords, m: int, spans: Iterable[Span], values: NDArray[np.float32]) -> list[Passage]:
    """Spans of a model's records as passages, as they are.

    Args:
        family: whose records they are.
        m: number of the model.
        spans: places in the rows that the model has (`AlignedRecords.of_model`).
        values: float32, one for each of these rows, nats; what is summed up.
    """
    return [_passage(family, m, span, values, _excerpt(family, m, span)) for span in spans]


def _excerpt(family: FamilyRecords, m: int, span: Span) -> dict[str, str]:
    rows, _ = family.records.of_model(m)
    return family.excerpt(m, int(rows[span.first]), int(rows[span.last]))


def _passage(
    family: FamilyRecords, m: int, span: Span, values: NDArray[np.float32], shown: Mapping[str, str]
) -> Passage:
    records = family.records
    rows = records.of_model(m)[0][span.first : span.last + 1]
    values = values[span.first : span.last + 1]
    return Passage(
        document=records.document(int(rows[0])),
        start=int(records.pos[rows[0]]),
        end=records.end(m, int(rows[-1])) - 1,
        sum=round(float(values.sum(dtype=np.float64)), 6),
        n=len(rows),
        before=shown["before"],
        text=shown["text"],
        after=shown["after"],
        parts=_parts(family, m, rows, values),
    )


def different(
    family: FamilyRecords,
    m: int,
    find: Callable[[int], list[Span]],
    values: NDArray[np.float32],
    *,
    most: int = MOST,
) -> list[Passage]:
    """The first passages that differ in their text, at whole characters.

    Args:
        family: whose records they are.
        m: number of the model.
        find: gives so many spans, the most extreme first, as `passages` takes them.
        values: as for `passages`.
        most: passages wanted.
    """
    searched, looked = most, 0
    found: dict[str, Passage] = {}
    while True:
        spans = find(searched)
        for each in spans[looked:]:  # the first ones are those of the search before
            span = _whole(family, m, each, values)
            shown = _excerpt(family, m, span)
            key = shown["text"].strip()
            same = found.get(key)
            known = _passage(family, m, span, values, shown) if same is None else replace(same, times=same.times + 1)
            found[key] = known
        looked = len(spans)
        if len(found) >= most or len(spans) < searched or searched >= _MOST_SEARCHED:
            return list(found.values())[:most]
        searched = min(2 * searched, _MOST_SEARCHED)


def extreme(values: NDArray[np.float32], starts: NDArray[np.bool_], most: int) -> list[Span]:
    """`spans.best_spans` with the arguments in the order in which `different` wants them."""
    return best_spans(values, starts, most=most)


def _whole(family: FamilyRecords, m: int, span: Span, values: NDArray[np.float32]) -> Span:
    """The span, grown until its end characters are whole. A character whose rest was not scored is left out."""
    rows, starts = family.records.of_model(m)
    first, last = span.first, span.last
    while first and not starts[first] and np.isfinite(values[first - 1]) and _continues(family, m, int(rows[first])):
        first -= 1
    while (
        last + 1 < len(rows)
        and not starts[last + 1]
        and np.isfinite(values[last + 1])
        and _continues(family, m, int(rows[last + 1]))
    ):
        last += 1
    while first < last and _continues(family, m, int(rows[first])):  # what it continues was not scored
        first += 1
    while first < last and _breaks_off(b"".join(family.spelt(m, int(row)) for row in rows[first : last + 1][-3:])):
        last -= 1
    return Span(first, last, span.sum)


def _continues(family: FamilyRecords, m: int, row: int) -> bool:
    """Whether a row begins within a character."""
    return _is_rest(family.spelt(m, row))


def _is_rest(spelt: bytes) -> bool:
    """Whether bytes go on with a character that began before them."""
    return bool(spelt) and 0x80 <= spelt[0] < 0xC0


def _breaks_off(spelt: bytes) -> bool:
    """Whether bytes end within a character that begins in them."""
    for i, byte in enumerate(reversed(spelt[-3:]), 1):
        if byte >= 0xC0:
            return i < 2 + (byte >= 0xE0) + (byte >= 0xF0)
        if byte < 0x80:
            return False
    return False


def _parts(
    family: FamilyRecords, m: int, rows: NDArray[np.int64], values: NDArray[np.float32]
) -> list[tuple[str, float]]:
    """The text of rows that follow one another, with the values of those that a whole character needs added up."""
    parts: list[tuple[bytes, float]] = []
    size = 0
    for row, value in zip(rows.tolist(), values.astype(np.float64).tolist(), strict=True):
        own = family.spelt(m, row)
        if parts and _is_rest(own):
            spelt, before = parts.pop()
            parts.append((spelt + own, before + value))
        elif size > TEXT:
            break
        else:
            parts.append((own, value))
        size += len(own)
    return [(spelt.decode("utf-8", "replace"), round(value, 3)) for spelt, value in parts]
