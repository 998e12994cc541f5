"""Whether a comparison is a quant of its reference: the same weights in other types, and nothing else changed.

That is decided on the weights. Both files hold the same tensors in the same shapes, and in a seeded sample of rows:

1. What both files keep as floats (norms, biases, and where there are any, matrices) is equal, up to the rounding to the
   less exact of the two. Quantising leaves them alone, and training hardly ever does.
2. For every matrix of the sample, let e be the root mean square of the difference by that of the reference's values,
   and q what the two types explain: q² = q_ref² + q_cmp², each the error of writing such values in that type. That is
   measured: sums of two of the reference's rows, which lie on nobody's grid, are quantised and read again. e / q is 1
   for a quant, or less; `MOST` is granted, and more where a type takes an importance matrix, which makes e larger.
3. Errors of rounding are as good as independent, and a trained change is not: most of it lies in few directions. Let s
   be the largest singular value of the difference, rows and columns scaled to one size, by √m + √n, which it is for
   independent values (Marchenko and Pastur 1967). It is compared with the same of the measured rounding error.

The figures behind the limits, and what is too small to be seen, stand in docs/quants.md.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.loaded import PinnedSource
from ppldelta.engine.tensors import FLOATS, Tensor, block_size, readable, rounded, rows, tensors_of
from ppldelta.errors import ModelError
from ppldelta.wording.names import counted, printable

RULE = 1
"""Number of this rule: what another one has decided is decided again."""

MOST = {True: 1.5, False: 1.25}
"""The largest e / q of a quant, by whether one of the types takes an importance matrix."""

MOST_STRUCTURE = 1.6
"""The largest s of a quant, in times of the rounding error's."""

_N_ROWS, _MOST_COLUMNS = 64, 1024
_BLOCKS_OF_EACH = 2
_MOST_TENSORS = 32
_ROUNDING = {"f32": 1e-6, "f16": 2.0**-11, "bf16": 2.0**-8}
"""The largest relative rounding of each float type."""

_EQUAL = 1e-6
"""The e that is no difference."""

_UNWEIGHTED = {*FLOATS, "q8_0", "mxfp4", "nvfp4", "tq1_0", "tq2_0"}
"""Types for which llama-quantize uses no importance matrix."""

_COMPUTED = re.compile(r"rope_freqs|rope_factors")
"""Tensors that a converter computes from the model's settings, or leaves out."""

_TIED = ("output.weight", "token_embd.weight")
"""The head, and what it is where a file has none."""

_KNOWN = {
    "iq1_s": 0.50, "iq1_m": 0.46, "iq2_xxs": 0.35, "iq2_xs": 0.305, "iq2_s": 0.26, "iq3_xxs": 0.185, "iq3_s": 0.142,
}  # fmt: skip
"""q of those types whose tables for quantising take seconds to make, as measured on rows of Gemma 3 270M."""


@dataclass(frozen=True)
class Recognition:
    """What a comparison is, "quant" or "finetune" (None if it is not known), and why: a part of a sentence."""

    kind: str | None
    reason: str


@dataclass(frozen=True)
class Difference:
    """How far a tensor is from the reference's.

    Attributes:
        name: the tensor's.
        types: in the reference and in the comparison.
        error: e, the relative root mean square of the difference.
        explained: q, what the two types explain of it.
        structure: s of the difference, in times of the s of the rounding error; 0 if that is not known.
    """

    name: str
    types: tuple[str, str]
    error: float
    explained: float
    structure: float

    @property
    def excess(self) -> float:
        """The error by the largest that a quant may have."""
        return self.error / (MOST[not _UNWEIGHTED.issuperset(self.types)] * self.explained + _EQUAL)


def recognise(reference: PinnedSource, comparison: PinnedSource) -> Recognition:
    """Compares the weights of two models, as described above.

    Raises:
        ModelError: a file cannot be read, is not the one that the caller found, or holds values that are not finite.
    """
    if reference.source.adapters or comparison.source.adapters:
        return Recognition("finetune", "an adapter is applied")
    ref, cmp = _tensors(reference), _tensors(comparison)
    if unlike := _unlike(ref, cmp):
        return Recognition("finetune", unlike)
    pairs = _pairs(ref, cmp)
    floats = [pair for pair in pairs if _is_float(pair)]
    for a, b in floats if len(floats) < 4 * _MOST_TENSORS else _sample(floats):
        if a.n_rows == 1 and (moved := _moved(a, b)):
            return Recognition("finetune", moved)
    found = [_difference(*pair) for pair in _sample(pair for pair in pairs if pair[0].n_rows > 1)]
    return _decided(found, len(ref))


@functools.lru_cache(maxsize=2)  # the reference's is asked for with every comparison
def _tensors(pinned: PinnedSource) -> dict[str, Tensor]:
    pinned.refuse_other()
    return tensors_of(pinned.source.parts)


def _decided(found: list[Difference], n_tensors: int) -> Recognition:
    """The decision over the matrices of the sample."""
    worst = max(found, key=lambda each: each.excess, default=None)
    if worst and worst.excess > 1.0:
        return Recognition(
            "finetune",
            f"the weights of `{printable(worst.name)}` differ by {_percent(worst.error)}, of which "
            f"{_types(worst)} {_percent(worst.explained)}",
        )
    bent = max(found, key=lambda each: each.structure, default=None)
    if bent and bent.structure > MOST_STRUCTURE:
        return Recognition(
            "finetune",
            f"the weights of `{printable(bent.name)}` differ by {_percent(bent.error)}, as much as {_types(bent)}, "
            f"but {bent.structure:.1f} times as much as that in one direction",
        )
    same = f"the same {counted(n_tensors, 'tensor')}"
    if not any(each.error for each in found):
        return Recognition("quant", f"{same} with the same values")
    middle = sorted(found, key=lambda each: each.error)[len(found) // 2]
    return Recognition(
        "quant",
        f"{same}, whose weights differ by {_percent(middle.error)} (the median tensor's) and by at most "
        f"{_percent(max(each.error for each in found))}: no more than rounding explains",
    )


def _types(found: Difference) -> str:
    names = dict.fromkeys(name.upper() for name in found.types if name not in FLOATS)
    return f"rounding to {' and '.join(names or ['floats'])} explains"


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %"


def _unlike(ref: dict[str, Tensor], cmp: dict[str, Tensor]) -> str:
    """In what the tensors differ by name or shape; "" if they do not."""
    for others, more, words in ((ref, cmp, "that the reference lacks"), (cmp, ref, "less than the reference")):
        names = [name for name in more if name not in others and not _may_lack(name)]
        if names:
            return f"it has {counted(len(names), 'tensor')} {words}, such as `{printable(names[0])}`"
    for a, b in _pairs(ref, cmp):
        if a.shape != b.shape:
            return f"its `{printable(b.name)}` has the shape {b.shape}, and the reference's {a.shape}"
    return ""


def _may_lack(name: str) -> bool:
    return name == _TIED[0] or bool(_COMPUTED.search(name))


def _pairs(ref: dict[str, Tensor], cmp: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each tensor with the reference's, the tied head included, as far as the values of both can be read."""
    pairs = [(ref[name], cmp[name]) for name in ref if name in cmp]
    head, embedding = _TIED
    if (head in ref) != (head in cmp) and embedding in ref and embedding in cmp:
        pairs.append((ref.get(head, ref[embedding]), cmp.get(head, cmp[embedding])))
    return [(a, b) for a, b in pairs if (readable(a) and readable(b)) or a.shape != b.shape]


def _is_float(pair: tuple[Tensor, Tensor]) -> bool:
    return all(each.type in FLOATS for each in pair)


def _sample(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Of each kind of tensor those of some blocks, the same each time."""
    rng = np.random.default_rng(0)
    kinds: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for pair in pairs:
        kinds.setdefault(re.sub(r"\d+", "", pair[1].name), []).append(pair)
    chosen = [
        some[i] for some in kinds.values() for i in np.sort(rng.permutation(len(some))[:_BLOCKS_OF_EACH]).tolist()
    ]
    return [chosen[i] for i in np.sort(rng.permutation(len(chosen))[:_MOST_TENSORS]).tolist()]


def _values(a: Tensor, b: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of both the same rows, or as much of them as is read."""
    rng = np.random.default_rng(0)
    which = np.sort(rng.permutation(a.n_rows)[:_N_ROWS]) if a.n_rows < 1 << 22 else rng.integers(0, a.n_rows, _N_ROWS)
    block = max(block_size(a.type), block_size(b.type))
    most = max(_MOST_COLUMNS // block, 1) * block
    ref, cmp = rows(a, which, most), rows(b, which, most)
    for tensor, values in ((a, ref), (b, cmp)):
        if not np.isfinite(values).all():
            where = f"`{printable(tensor.name)}` of `{printable(tensor.file)}`"
            raise ModelError(f"{where} holds values that are not finite")
    return ref, cmp


def _moved(a: Tensor, b: Tensor) -> str:
    """How a row of floats has changed more than by rounding; "" if it has not."""
    ref, cmp = _values(a, b)
    precision = [_precision(ref, a.type), _precision(cmp, b.type)]
    granted = _ROUNDING["f32"] if precision[0] == precision[1] else max(map(_ROUNDING.__getitem__, precision))
    moved = np.abs(cmp - ref) > granted * np.abs(ref) + 1e-7 * np.abs(ref).max(initial=0.0)
    if not (n := int(moved.sum())):
        return ""
    return (
        f"`{printable(b.name)}`, which quantising leaves alone, differs by {_percent(_relative(cmp - ref, ref))} "
        f"in {n} of {moved.size} values"
    )


def _precision(values: NDArray[np.float32], type: str) -> str:
    """The least exact float type that holds the values: files keep as F32 what once was BF16."""
    if type == "f32" and not (values.view(np.uint32) & 0xFFFF).any():
        return "bf16"
    return type


def _difference(a: Tensor, b: Tensor) -> Difference:
    ref, cmp = _values(a, b)
    change = cmp - ref
    error = _relative(change, ref)
    if error <= _EQUAL:
        return Difference(b.name, (a.type, b.type), 0.0, 0.0, 0.0)
    mixed = np.ascontiguousarray((ref + np.roll(ref, 1, axis=0)) * np.float32(0.5**0.5))
    errors = [_rounding(mixed, a.type), _rounding(mixed, b.type)]
    explained = float(np.hypot(errors[0][0], errors[1][0]))
    usual = max(_rounding(ref, b.type)[1], *(s for _, s in errors))
    return Difference(b.name, (a.type, b.type), error, explained, _structure(change) / usual if usual else 0.0)


def _rounding(values: NDArray[np.float32], type: str) -> tuple[float, float]:
    """q of a type for such values, and s of its rounding error; 0 if that is not measured."""
    if type in _KNOWN:
        return _KNOWN[type], 0.0
    if type == "f32":
        return 0.0, 0.0
    change = rounded(values, type) - values
    return _relative(change, values), _structure(change)


def _relative(change: NDArray[np.float32], values: NDArray[np.float32]) -> float:
    """Root mean square of a change by that of the values; 0 if nothing changes."""
    size = float(np.mean(np.square(change, dtype=np.float64)))
    return float(np.sqrt(size / max(float(np.mean(np.square(values, dtype=np.float64))), 1e-30))) if size else 0.0


def _structure(change: NDArray[np.float32]) -> float:
    """s; see above."""
    scaled = change.astype(np.float64)
    for axis in (0, 1):
        scaled /= np.sqrt(np.mean(scaled**2, axis=axis, keepdims=True)) + 1e-30
    n_rows, n_columns = scaled.shape
    largest: float = np.linalg.eigvalsh(scaled @ scaled.T)[-1]
    return float(np.sqrt(largest) / (n_rows**0.5 + n_columns**0.5))
