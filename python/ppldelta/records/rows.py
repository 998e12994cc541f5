"""What the rows of `.kld` files say of each scored token: of one file, or of a reference's and a comparison's.

The names are those of `pairs.PAIR`, and so are the formulas, but for what 16 bits cannot hold. A value is off by up to
half a step, 1.2e-4 nats, and what lies 16 nats below the most probable token or deeper is cut off: sums are taken over
what has a log-probability above -16 nats, as llama-perplexity does (`log_softmax()` with a base in
tools/perplexity/perplexity.cpp), so that entropies are too small by what lies below, and a divergence can come out
somewhat below 0. Tokens that were cut off share one rank, and tokens of one step are ties, of which the first counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import RecordsError
from ppldelta.records.kld import RANGE, STEP, KldFile
from ppldelta.wording.names import printable

Values = dict[str, NDArray[np.generic]]
"""By name, one value for each scored token."""

_ABOVE = np.float32(STEP - RANGE)
"""What counts is above: the floor itself, -16 nats, may be one rounding higher in a row that knows its token surely."""


def require_same_tokens(ref: KldFile, cmp: KldFile) -> None:
    """
    Raises:
        RecordsError: the files are not of the same tokens in the same chunks, or of one vocabulary.
    """
    for name in ("n_vocab", "n_ctx", "n_chunks"):
        if getattr(ref, name) != getattr(cmp, name):
            raise RecordsError(
                f"`{printable(ref.path)}` and `{printable(cmp.path)}` do not belong together: {name} is "
                f"{getattr(ref, name):,} and {getattr(cmp, name):,}",
                hint="write both with the same text, `-c` and `--chunks`",
            )
    differ = np.argwhere(ref.tokens != cmp.tokens)
    if len(differ):
        raise RecordsError(
            f"`{printable(ref.path)}` and `{printable(cmp.path)}` do not belong together: their tokens differ from "
            f"chunk {differ[0][0]}, token {differ[0][1]} on",
            hint="write both with the same text, and with models of one tokenizer",
        )


def of_one(file: KldFile, chunk: int) -> Values:
    """What a chunk's rows say.

    Returns:
        `logp`, `entropy`, `logp_top` (float32, nats), `rank`, `top` (int32), each of shape [n_scored], and `cut`
        (bool): whether `logp` is only a bound, since the token was cut off.

    Raises:
        RecordsError: as `KldFile.logp`.
    """
    return joined([_one(logp, p, file.targets[chunk, rows]) for rows, logp, p in file.blocks(chunk)])


def of_both(ref: KldFile, cmp: KldFile, chunk: int) -> Values:
    """What a chunk's rows in two files say.

    Returns:
        The values of `of_one` with `_ref` and `_cmp` behind their names, and `kld` (float32, nats).

    Raises:
        RecordsError: as `KldFile.logp`.
    """
    parts = []
    for (rows, log_p, p), (_, log_q, q) in zip(ref.blocks(chunk), cmp.blocks(chunk), strict=True):
        targets = ref.targets[chunk, rows]
        found = {f"{name}_ref": each for name, each in _one(log_p, p, targets).items()}
        found |= {f"{name}_cmp": each for name, each in _one(log_q, q, targets).items()}
        parts.append({**found, "kld": _sums(p * (log_p - log_q))})  # `_one` has left in p what was not cut off
    return joined(parts)


def _one(logp: NDArray[np.float32], p: NDArray[np.float32], targets: NDArray[np.int32]) -> Values:
    """The values of some rows; `p` is 0 afterwards where it is of what was cut off."""
    p *= logp > _ABOVE
    of_target = np.take_along_axis(logp, targets[:, None].astype(np.int64), axis=1)
    top = logp.argmax(axis=1)
    logp_top = np.take_along_axis(logp, top[:, None], axis=1)
    return {
        "logp": of_target[:, 0],
        "entropy": -_sums(p * logp),
        "logp_top": logp_top[:, 0],
        "rank": (1 + np.count_nonzero(logp > of_target, axis=1)).astype(np.int32),
        "top": top.astype(np.int32),
        "cut": ((of_target == logp.min(axis=1, keepdims=True)) & (of_target <= logp_top - RANGE + STEP))[:, 0],
    }


def _sums(terms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row, added up in float64."""
    sums: NDArray[np.float64] = terms.sum(axis=1, dtype=np.float64)
    return sums.astype(np.float32)


def joined(parts: list[Values]) -> Values:
    """The values of several parts one after the other; all have the same names."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
