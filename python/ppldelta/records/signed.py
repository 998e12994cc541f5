"""Records of tokens: as the patched llama-perplexity writes them (`--signed-deltas FILE`), and of two `.kld` files."""

from __future__ import annotations

import os
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import RecordsError
from ppldelta.records.kld import RANGE, KldFile, read_kld
from ppldelta.records.rows import of_both, require_same_tokens
from ppldelta.wording.names import printable

DTYPE = np.dtype(
    [("chunk", "<i4"), ("pos", "<i4"), ("token", "<i4"), ("logp_ref", "<f4"), ("logp_cmp", "<f4"), ("kld", "<f4")]
)
"""A record: chunk, the token's place in it (BOS included), the token, log-probabilities and KL divergence in nats."""

_KLD_LEAST = -2e-3
"""The tool's divergence falls below 0 by what 16 bits lose of the reference."""

_LOGP_MOST = 1e-3
"""A log-probability of the reference is above 0 by what 16 bits lose of it."""

_LOGP_REF_LEAST = -RANGE - np.log(2**22)
"""The reference's are cut off below the most probable token, which has at least one part in the vocabulary's size."""

_NATS_MOST = 1e3
"""No model's logits lie further apart; that bounds log-probabilities of a comparison, and divergences."""

_TOKENS_MOST = 2**22
"""More tokens than a vocabulary has."""

_AGAIN = "write the file again with `ppldelta perplexity --kl-divergence --signed-deltas FILE`"


def read_records(path: str | os.PathLike[str]) -> NDArray[np.void]:
    """Reads the records of a patched `llama-perplexity --kl-divergence --signed-deltas FILE`.

    Args:
        path: the file.

    Returns:
        A structured array of shape [n_scored] and type `DTYPE`. The format has no checksum: damage that leaves values
        possible cannot be seen.

    Raises:
        RecordsError: the file cannot be read, is something else, or holds values that cannot be log-probabilities.
    """
    path = Path(path)
    shown = printable(path)
    try:
        records = np.load(path, allow_pickle=False)
    except OSError as error:
        raise RecordsError(f"cannot read `{shown}`: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, tokenize.TokenError, MemoryError) as error:
        # the file's head is Python, which NumPy parses: a damaged one can raise any of these
        raise RecordsError(f"`{shown}` is no NumPy file, or a damaged one", hint=_AGAIN) from error
    if not isinstance(records, np.ndarray) or records.dtype != DTYPE or records.ndim != 1:
        found = f"{records.dtype} of shape {records.shape}" if isinstance(records, np.ndarray) else "several arrays"
        raise RecordsError(f"`{shown}` holds no records of tokens: it holds {found}", hint=_AGAIN)
    if not _possible(records):
        raise RecordsError(f"`{shown}` is damaged: it holds values that no log-probabilities have", hint=_AGAIN)
    return records


def _possible(records: NDArray[np.void]) -> bool:
    """Whether chunks and places follow one another, and whether all values are those of probabilities."""
    logp = np.stack([records["logp_ref"], records["logp_cmp"]])
    if not (np.isfinite(logp).all() and (logp <= _LOGP_MOST).all()):
        return False
    if (records["logp_ref"] < _LOGP_REF_LEAST).any() or (records["logp_cmp"] < -_NATS_MOST).any():
        return False
    if not ((records["kld"] >= _KLD_LEAST) & (records["kld"] <= _NATS_MOST)).all():
        return False
    if not len(records):
        return True
    if records["token"].max() >= _TOKENS_MOST:
        return False
    if min(records["token"].min(), records["pos"].min()) < 0 or records["chunk"][0] != 0:
        return False
    step = np.diff(records["chunk"])
    first = int(records["pos"][0])
    follows = np.where(step == 0, np.diff(records["pos"]) == 1, records["pos"][1:] == first)
    return bool(np.isin(step, (0, 1)).all() and follows.all())


def compare_kld(
    ref: KldFile | str | os.PathLike[str], cmp: KldFile | str | os.PathLike[str]
) -> Iterator[NDArray[np.void]]:
    """Records made from two `.kld` files of the same tokens, a chunk at a time; no model is needed.

    The divergence is summed as the tool does, over what the reference gives a log-probability above -16 nats. Memory
    does not grow with the files: a chunk's rows are read some at a time. `ppldelta.score(None, ref, cmp)` gives more.

    Args:
        ref: the reference's, opened or by its path.
        cmp: the comparison's.

    Yields:
        For each chunk a structured array of shape [n_scored] and type `DTYPE`.

    Raises:
        RecordsError: the files are not of the same tokens, or one is damaged.
    """
    ref, cmp = (each if isinstance(each, KldFile) else read_kld(each) for each in (ref, cmp))
    require_same_tokens(ref, cmp)
    for chunk in range(ref.n_chunks):
        found = of_both(ref, cmp, chunk)
        records = np.empty(ref.n_scored, DTYPE)
        records["chunk"], records["pos"] = chunk, np.arange(ref.first + 1, ref.n_ctx)
        records["token"] = ref.targets[chunk]
        for name in ("logp_ref", "logp_cmp", "kld"):
            records[name] = found[name]
        yield records
