"""What the page holds of divergences, where a run has them (`kld`): apart from the other numbers, and left out first.

For family number i: more fields of `f{i}.documents`, more lists of `f{i}.passages`, and `f{i}.k{k}`, what the models
say of each token of document k as a pair. A document can be read without it; so these blocks get the room that the
token views leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis.aligned_pairs import AlignedPairs, align_pairs, divergences
from ppldelta.analysis.spans import MOST, Span
from ppldelta.reporting.alternatives import TOP_STEP, Alternatives
from ppldelta.reporting.blocks import Json, encoded_size, pack
from ppldelta.reporting.family import FamilyRecords
from ppldelta.reporting.passages import Passage, different, extreme, passages

KLD_POWER = -8
"""Power of ten of the smallest `kld` that is not written as 0, in nats."""

_PER_DECADE = 900  # numbers of three digits
_TWO = 9.95e-5  # nats below which two digits are shown

ENTROPY_STEP = 1 / 256
"""Nats in a step of an entropy."""

_UNKNOWN = 2**32 - 1
_NONE = 65535  # what stands for a kld or an entropy that is unknown
_DIFFERENCE_NONE = -32768
_DIFFERENCE_MOST = 32767

DIVERGENCE_STEPS: dict[str, Json] = {
    "kld_power": KLD_POWER,
    "kld_none": _NONE,
    "entropy": ENTROPY_STEP,
    "entropy_none": _NONE,
    "difference_none": _DIFFERENCE_NONE,
    "top": TOP_STEP,
}
"""How the numbers of a block `f{i}.k{k}` are written, for the page (`detail_block`)."""


def document_fields(family: FamilyRecords) -> list[tuple[str, str, object]]:
    """Fields for the block of documents: mean `kld` of each under each model, and at how many tokens the tops agree
    (more than a document has: nobody knows)."""
    rows = family.rows
    place = rows["m"].to_numpy(), rows["k"].to_numpy()
    kld = np.full((len(family.models), len(family.documents)), np.nan, np.float32)
    n_same = np.zeros(kld.shape, np.uint32)
    kld[place] = rows["kld"].to_numpy()  # null becomes NaN
    same = (rows["same_top"] * rows["n_scored"]).fill_null(float("nan")).to_numpy()
    n_same[place] = np.where(np.isnan(same), _UNKNOWN, np.rint(np.nan_to_num(same)))
    return [("kld", "~f32", kld), ("n_same", "~u32", n_same)]


def divergence_lists(family: FamilyRecords) -> list[dict[str, list[Passage]]]:
    """For each model the passages that diverge most, and the single tokens.

    Since a divergence is never negative, a longer passage always has a larger sum: of each token the model's mean is
    taken off, so that a passage ends where the divergence is no more than usual.
    """
    kld = divergences(family.tokens, family.records, family.name, family.models, family.documents)
    lists = []
    for m, all_values in enumerate(kld):
        rows, starts = family.records.of_model(m)
        values = all_values[rows]
        known = np.isfinite(values)
        usual = np.float32(values[known].mean(dtype=np.float64)) if known.any() else np.float32(0)
        tail = (Span(i, i, float(values[i])) for i in _largest(values, known))
        lists.append(
            {
                # found by how far they are above the mean, so that a long passage is one; listed by what is shown
                "divergent": sorted(
                    different(family, m, partial(extreme, values - usual, starts), values), key=lambda each: -each.sum
                ),
                "tail": passages(family, m, tail, values),
            }
        )
    return lists


def detail_blocks(
    families: Sequence[FamilyRecords],
    wanted: Sequence[tuple[int, int]],
    included: Sequence[Sequence[int]],
    room: int | None,
) -> list[dict[int, bytes]]:
    """Blocks of documents that have a token view, as far as there is room.

    Args:
        families: in the order of the page.
        wanted: family and document, the most important first.
        included: for each family the documents that have a token view.
        room: characters that all of them may take; None for no limit.

    Returns:
        For each family document → block.
    """
    pairs = [
        _pairs(family, views) if family.diverging else None for family, views in zip(families, included, strict=True)
    ]
    alternatives = [Alternatives(family, views) for family, views in zip(families, included, strict=True)]
    made: list[dict[int, bytes]] = [{} for _ in families]
    for i, k in wanted:
        records = pairs[i]
        if records is None or k not in records.offsets:
            continue
        block = detail_block(records, alternatives[i], k)
        size = encoded_size(len(block))
        if room is not None and size > room:
            continue
        room = None if room is None else room - size
        made[i][k] = block
    return made


def _pairs(family: FamilyRecords, documents: Sequence[int]) -> AlignedPairs:
    return align_pairs(family.tokens, family.records, family.name, family.models, family.documents, documents)


def detail_block(pairs: AlignedPairs, alternatives: Alternatives, k: int) -> bytes:
    """What the models say of each scored token of a document as a pair, in the order of the document's token view.

    `kld` has the digits that the page shows, so that it agrees with all other numbers of a token (`_three_digits`).
    `entropy_ref` is in whole steps of `ENTROPY_STEP`, `entropy` what a model's is above it. `rank_ref` and `rank` are
    exact, 0 for unknown; `same` is 1 or 0, and 2 for unknown. `Alternatives.fields` says what a run with `top_k` adds.
    """
    rows = pairs.offsets[k]
    kld = np.maximum(pairs.kld[:, rows].astype(np.float64), 0)  # of a `.kld` file it may come out below
    known = np.isfinite(kld)
    entropy_ref = _first_known(pairs.entropy_ref[:, rows])
    entropy = np.rint(entropy_ref / ENTROPY_STEP)
    difference = np.rint(pairs.entropy_cmp[:, rows] / np.float32(ENTROPY_STEP)) - entropy
    return pack(
        [
            ("kld", "~u16", np.where(known, _three_digits(kld), _NONE)),
            ("same", "u8", _or(pairs.same_top[:, rows], 2)),
            ("rank_ref", "~u32", _or(_first_known(pairs.rank_ref[:, rows]), 0)),
            ("rank", "~u32", _or(pairs.rank_cmp[:, rows], 0)),
            ("entropy_ref", "~u16", _or(np.clip(entropy, 0, _NONE - 1), _NONE)),
            ("entropy", "~i16", _or(np.clip(difference, -_DIFFERENCE_MOST, _DIFFERENCE_MOST), _DIFFERENCE_NONE)),
            *alternatives.fields(k),
        ]
    )


def _three_digits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values from 0 on as steps: 0 below 10 ** `KLD_POWER`, else 1 and how many numbers of three significant digits lie
    between; below about 0.0001 of two, as `numbers.significant` writes them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.floor(np.log10(values))
        unit = np.power(10.0, np.where(values < _TWO, power - 1, power - 2))
        digits = np.rint(values / unit) * np.where(values < _TWO, 10, 1)
    power, digits = np.where(digits >= 1000, power + 1, power), np.where(digits >= 1000, 100, digits)
    steps = (power - KLD_POWER) * _PER_DECADE + digits - 100 + 1
    return np.where(values >= 10.0**KLD_POWER, np.minimum(steps, _NONE - 1), 0)


def _largest(values: NDArray[np.float32], known: NDArray[np.bool_]) -> list[int]:
    """The rows of the largest values above 0, the first of equal ones first."""
    value = np.where(known, values, 0)
    near = np.argpartition(-value, min(MOST, len(value) - 1))[: MOST + 1] if len(value) else np.empty(0, np.int64)
    least = value[near].min(initial=np.inf)
    candidates = np.flatnonzero((value >= least) & (value > 0))
    return [int(row) for row in candidates[np.argsort(-value[candidates], kind="stable")][:MOST]]


def _first_known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the reference says of each token: as the first model has it that knows it."""
    first = np.full(values.shape[1], np.nan, np.float32)
    for row in values[::-1]:
        first = np.where(np.isfinite(row), row, first)
    return first


def _or(values: NDArray[np.floating], unknown: int) -> NDArray[np.floating]:
    return np.where(np.isfinite(values), values, unknown)
