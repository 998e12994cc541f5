"""Two tokenizations of one text side by side: the smallest stretches of text that both cut out.

A token of one model has no counterpart in the other's tokens, but a stretch of text at whose ends both have a boundary
does. Over it the log-probabilities of each model's tokens add up to that of the same bytes, by the chain rule. Pure
functions on arrays; where tokens lie is what `spans.token_bounds` says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIGNMENTS = ("tokens", "bytes")
"""What reference and comparison are compared on: the same tokens, or the same bytes of text, which is done here."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The spans of a text, or of a stretch of it: span ``k`` holds the tokens ``ref[k]`` up to, without, ``ref[k + 1]``
    of one tokenization, and of the other those that `cmp` says, at least one of each.

    Attributes:
        ref: int64, shape (n_spans + 1,), strictly rising, of a whole text from 0 to the number of tokens.
        cmp: likewise.
    """

    ref: NDArray[np.int64]
    cmp: NDArray[np.int64]


def align(ref: NDArray[np.uint32], cmp: NDArray[np.uint32]) -> Alignment:
    """The smallest spans at whose ends both tokenizations have a boundary.

    A token that covers no byte (SentencePiece's space before a text that begins with one of its own tokens) makes a
    boundary that stands twice; it ends a span where both have it as often. So equal tokenizations give one token each.

    Args:
        ref: `spans.token_bounds` of one tokenization, shape (n_ref + 1,), n_ref at least 1.
        cmp: of the other, of the same text.

    Returns:
        The spans; together they hold every token once.
    """
    ref_keys, cmp_keys = _keys(ref), _keys(cmp)
    _, at_ref, at_cmp = np.intersect1d(ref_keys, cmp_keys, assume_unique=True, return_indices=True)
    at_ref[-1], at_cmp[-1] = len(ref) - 1, len(cmp) - 1  # tokens without a byte at the end of the text
    return Alignment(at_ref.astype(np.int64), at_cmp.astype(np.int64))


def align_stretch(
    ref: NDArray[np.uint32], cmp: NDArray[np.uint32], starts: tuple[int, int], n_bytes: int
) -> Alignment | None:
    """The smallest spans of a stretch of bytes that two texts have in common.

    Args:
        ref: `spans.token_bounds` of a tokenization of one text, shape (n_ref + 1,).
        cmp: likewise of the other text.
        starts: the byte at which the stretch begins in either text.
        n_bytes: its length.

    Returns:
        The spans, which hold only tokens inside the stretch; None if both have no two boundaries in common there.
    """
    found = []
    for bounds, start in zip((ref, cmp), starts, strict=True):
        at = bounds.astype(np.int64) - start
        inside = np.flatnonzero((at >= 0) & (at <= n_bytes))
        found.append((inside, at[inside]))
    (ref_at, ref_bytes), (cmp_at, cmp_bytes) = found
    _, one, other = np.intersect1d(ref_bytes, cmp_bytes, return_indices=True)
    return Alignment(ref_at[one], cmp_at[other]) if len(one) > 1 else None


def n_alike(one: NDArray[np.generic], other: NDArray[np.generic]) -> int:
    """How many entries, such as tokens or bytes, two rows have in common from the start."""
    n = min(len(one), len(other))
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if len(differ) else n


def whole(spans: NDArray[np.int64], pos: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether a model scored all tokens of each span.

    Args:
        spans: one side of an `Alignment`, shape (n_spans + 1,).
        pos: which tokens of the text the model scored, in any order, each once; shape (n_scored,).

    Returns:
        bool of shape (n_spans,).
    """
    scored = np.zeros(spans[-1], np.bool_)
    scored[pos[pos < spans[-1]]] = True
    return np.logical_and.reduceat(scored, spans[:-1])


def sums(spans: NDArray[np.int64], pos: NDArray[np.uint32], logp: NDArray[np.float32]) -> NDArray[np.float32]:
    """The log-probability of each span under a model.

    Args:
        spans: as in `whole`, and so is the next.
        pos: which tokens were scored.
        logp: their log-probabilities, nats, shape (n_scored,).

    Returns:
        float32 of shape (n_spans,), nats; exact where a span is one token, and without the tokens that were not scored.
    """
    values = np.zeros(spans[-1], np.float64)
    inside = pos < spans[-1]
    values[pos[inside]] = logp[inside]
    return np.add.reduceat(values, spans[:-1]).astype(np.float32)


def _keys(bounds: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """For each boundary its byte, and how many boundaries stand there before it: strictly rising."""
    at = bounds.astype(np.uint64)
    first = np.concatenate([[True], at[1:] != at[:-1]])
    index = np.arange(len(at))
    before = index - np.maximum.accumulate(np.where(first, index, 0))
    keys: NDArray[np.uint64] = (at << np.uint64(32)) | before.astype(np.uint64)
    return keys
