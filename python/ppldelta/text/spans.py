"""Where in a document's text each of its tokens lies, in bytes of its UTF-8.

Tokenizers cut one text in different places. By the bytes that tokens cover, records of two tokenizations can be laid
side by side. The arithmetic is a running sum over the tokens' pieces, which are compared with the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.ragged import Ragged


def lengths_of(pieces: Sequence[bytes]) -> NDArray[np.int64]:
    """Bytes of each piece, for `token_bounds` of several texts."""
    return np.array([len(piece) for piece in pieces], np.int64)


def token_bounds(
    text: bytes,
    tokens: NDArray[np.int32],
    distinct_tokens: NDArray[np.int32],
    pieces: Sequence[bytes],
    lengths: NDArray[np.int64] | None = None,
) -> NDArray[np.uint32] | None:
    """The bytes of a text that each of its tokens covers.

    Pieces that follow one another are the text, or a space and the text: SentencePiece vocabularies put a space before
    a text and behind each special token, and the token with it then covers one byte less than its piece has. Any other
    difference means that the text did not survive its tokenizer: one that normalises, or that has no token for a
    character. Then nobody can say which bytes a token covers.

    Args:
        text: the document, UTF-8 as the tokenizer got it, of less than 4 GiB.
        tokens: all of its tokens, without BOS, int32 of shape [n_tokens].
        distinct_tokens: ascending, int32 of shape [n]; all of `tokens` are among them.
        pieces: the bytes of each of these.
        lengths: `lengths_of` the pieces; without it they are counted, which for short texts takes longer than the rest.

    Returns:
        uint32 of shape [n_tokens + 1]: token ``i`` covers ``text[bounds[i] : bounds[i + 1]]``. None if the pieces are
        not the text.
    """
    which = np.searchsorted(distinct_tokens, tokens)
    bounds = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum((lengths_of(pieces) if lengths is None else lengths)[which], out=bounds[1:])
    n_added = int(bounds[-1]) - len(text)
    if n_added < 0:
        return None
    spelt = [pieces[i] for i in which.tolist()]
    whole = b"".join(spelt) if n_added < 2 else b""
    if n_added < 2 and whole[n_added:] == text and whole[:n_added] in (b"", b" "):
        return np.maximum(bounds - n_added, 0).astype(np.uint32)
    return _with_added_spaces(text, spelt)


def bounds_of_each(
    texts: Sequence[bytes],
    tokens: Ragged[np.int32],
    distinct_tokens: NDArray[np.int32],
    pieces: Sequence[bytes],
    lengths: NDArray[np.int64],
) -> list[NDArray[np.uint32] | None]:
    """`token_bounds` of several texts; where all of them are what their tokens spell, that takes one comparison."""
    which = np.searchsorted(distinct_tokens, tokens.values)
    ends = np.concatenate([[0], np.cumsum(lengths[which])])  # as if the texts were one
    begins = ends[tokens.starts]
    n_added = np.diff(begins) - [len(text) for text in texts]
    if ((n_added == 0) | (n_added == 1)).all():
        read = b"".join([b" " * n + text for n, text in zip(n_added.tolist(), texts, strict=True)])
        if b"".join([pieces[i] for i in which.tolist()]) == read:
            starts = tokens.starts.tolist()
            return [
                np.maximum(ends[start : end + 1] - (begin + n), 0).astype(np.uint32)
                for start, end, begin, n in zip(starts, starts[1:], begins.tolist(), n_added.tolist(), strict=False)
            ]
    return [token_bounds(text, own, distinct_tokens, pieces, lengths) for text, own in zip(texts, tokens, strict=True)]


def _with_added_spaces(text: bytes, spelt: list[bytes]) -> NDArray[np.uint32] | None:
    """The same of pieces some of which begin with a space that the text lacks, such as those behind special tokens."""
    bounds = [0]
    for piece in spelt:
        at = bounds[-1]
        if not text.startswith(piece, at):
            if not piece.startswith(b" ") or not text.startswith(piece[1:], at):
                return None
            at -= 1
        bounds.append(at + len(piece))
    return np.array(bounds, np.uint32) if bounds[-1] == len(text) else None
