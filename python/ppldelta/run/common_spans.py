"""The spans that two models' readings of a document have in common: of one text, or of a completion in two texts.

With `align="bytes"` and chat templates of their own, reference and comparison are asked in other words, and only the
completion is the same text. Its spans are found from where it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppldelta.run.tokenization import Tokenization
from ppldelta.text.alignment import Alignment, align, align_stretch, n_alike, whole
from ppldelta.text.document import Document
from ppldelta.text.ragged import Ragged


class Stretch(NamedTuple):
    """What two texts have in common.

    Attributes:
        ref: where it begins in the reference's text, in bytes.
        cmp: where it begins in the comparison's.
        n_bytes: its length.
        whole: whether it is all of both completions, but for what the templates put behind them.
    """

    ref: int
    cmp: int
    n_bytes: int
    whole: bool


def common_stretch(ref: Document, cmp: Document) -> Stretch:
    """What a document's completion has in common, as two chat templates write it, from its beginning on.

    If all that follows the prompts is the same, it is all of that; else what templates put behind a message is no part
    of it: ends of turns may begin alike.
    """
    one, other = ref.text[ref.prompt_bytes :], cmp.text[cmp.prompt_bytes :]
    if one == other:
        return Stretch(ref.prompt_bytes, cmp.prompt_bytes, len(one), True)
    one, other = (
        each.text[each.prompt_bytes : each.plain[-1][1] if each.plain else len(each.text)] for each in (ref, cmp)
    )
    n = n_alike(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8))
    return Stretch(ref.prompt_bytes, cmp.prompt_bytes, n, one == other)


class SharedDocument(NamedTuple):
    """A document that two models read.

    Attributes:
        ref: its index in the reference's tokenization.
        cmp: its index in the comparison's.
        spelt: whether the tokens of each model spell its text.
        ref_bounds: which bytes each of the reference's tokens covers; None if they do not spell its text.
        spans: the smallest spans that both tokenizations cut out; None if there are none.
        scored: which of the spans both models scored as a whole.
    """

    ref: int
    cmp: int
    spelt: bool
    ref_bounds: NDArray[np.uint32] | None
    spans: Alignment | None
    scored: NDArray[np.int64]


def shared_documents(ref: Tokenization, cmp: Tokenization, at: NDArray[np.int64]) -> Iterator[SharedDocument]:
    """Documents that two tokenizations have in common; their prompts may differ.

    Args:
        ref: the reference's.
        cmp: the comparison's.
        at: of each document of `cmp` its index in `ref`.
    """
    pos_of_ref, pos_of_cmp = (Ragged(each.windows.pos, each.scored) for each in (ref, cmp))
    for some, cmp_bounds in cmp.all_bounds():
        theirs = at[some.start : some.stop].tolist()
        for i, k, ref_bounds, bounds in zip(theirs, some, ref.bounds_of(theirs), cmp_bounds, strict=True):
            if ref_bounds is None or bounds is None:
                yield SharedDocument(i, k, False, ref_bounds, None, _NONE)
                continue
            spans = _common_spans(ref.texts[i], ref_bounds, cmp.texts[k], bounds)
            scored = _NONE
            if spans is not None:
                scored = np.flatnonzero(whole(spans.ref, pos_of_ref[i]) & whole(spans.cmp, pos_of_cmp[k]))
            yield SharedDocument(i, k, True, ref_bounds, spans, scored)


_NONE = np.empty(0, np.int64)


def _common_spans(
    ref: Document, ref_bounds: NDArray[np.uint32], cmp: Document, cmp_bounds: NDArray[np.uint32]
) -> Alignment | None:
    if ref.text == cmp.text:
        return align(ref_bounds, cmp_bounds)
    stretch = common_stretch(ref, cmp)
    return align_stretch(ref_bounds, cmp_bounds, (stretch.ref, stretch.cmp), stretch.n_bytes)
