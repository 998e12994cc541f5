"""The spans that two models' readings of a document have in common: of one text, or of a completion in two texts.

With `align="bytes"` and chat templates of their own, reference and comparison are asked in other words, and only the
completion is the same text. Its spans are found from where it begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ppldelta.run.tokenization import Tokenization
from ppldelta.run.tokenized import TokenizedDocument
from ppldelta.text.alignment import Alignment, align, align_stretch, n_alike
from ppldelta.text.document import Document


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


def common_spans(
    ref: Tokenization, own: TokenizedDocument, cmp: Tokenization, other: TokenizedDocument
) -> Alignment | None:
    """The smallest spans that both tokenizations of a document cut out; None if there are none, or if the tokens of one
    do not spell its text.

    Args:
        ref: the reference's tokenization.
        own: the document in it.
        cmp: the comparison's.
        other: the same document in that, of which the prompt may be in other words.
    """
    bounds, other_bounds = ref.bounds(own), cmp.bounds(other)
    if bounds is None or other_bounds is None:
        return None
    if own.document.text == other.document.text:
        return align(bounds, other_bounds)
    stretch = common_stretch(own.document, other.document)
    return align_stretch(bounds, other_bounds, (stretch.ref, stretch.cmp), stretch.n_bytes)
