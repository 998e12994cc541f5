"""llama-perplexity's `.kld` file (`--save-all-logits`): a reference's log-probabilities of every token at every place.

The format, as `perplexity()` and `log_softmax()` of llama.cpp's tools/perplexity/perplexity.cpp write it: `_logits_`,
then n_ctx, n_vocab and the number of chunks (uint32), all tokens (int32), and for each scored place a row: two float32
(the step and the least log-probability), n_vocab uint16 (how many steps above the least), and one more if n_vocab is
odd.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import RecordsError
from ppldelta.models.references import KLD_MAGIC
from ppldelta.wording.names import counted, printable

_HEADER = np.dtype([("magic", "S8"), ("n_ctx", "<u4"), ("n_vocab", "<i4"), ("n_chunks", "<i4")])
RANGE = 16.0
"""Nats below the most probable token at which the tool cuts off."""

STEP = RANGE / 65535
"""Nats between two values of a row at most."""

_ROUNDING = 1.5e-4
"""How far from 1 a row's probabilities may sum up, beside what was cut off: half a step moves each by 1.2e-4 of itself,
and float32 by a few millionths. Of 5,000 rows of SmolLM2's, none is outside even without it."""

_BLOCK_BYTES = 2**21
"""Of float32 in the rows that are in memory at a time; what a processor's cache holds is twice as fast as 16 MiB."""

_AGAIN = "write the file again with `ppldelta perplexity --save-all-logits FILE`"


@dataclass(frozen=True, eq=False)
class KldFile:
    """A `.kld` file, of which only the tokens are in memory.

    Attributes:
        path: the file.
        n_ctx: tokens in a chunk.
        n_vocab: entries of the vocabulary.
        tokens: int32 of shape [n_chunks, n_ctx], without the BOS that may have replaced the first of each chunk.
    """

    path: Path
    n_ctx: int
    n_vocab: int
    tokens: NDArray[np.int32]

    @property
    def n_chunks(self) -> int:
        return len(self.tokens)

    @property
    def first(self) -> int:
        """The place in a chunk whose row predicts the first target."""
        return self.n_ctx // 2

    @property
    def n_scored(self) -> int:
        """Scored tokens in a chunk."""
        return self.n_ctx - 1 - self.first

    @property
    def targets(self) -> NDArray[np.int32]:
        """The scored tokens: int32 of shape [n_chunks, n_scored]."""
        return self.tokens[:, self.first + 1 :]

    def logp(self, chunk: int) -> NDArray[np.float32]:
        """Log-probabilities of every token at each scored place of a chunk, read from the file.

        What was cut off has the least value of its row, which is too high.

        Args:
            chunk: its number, from 0 on.

        Returns:
            float32 of shape [n_scored, n_vocab], in nats.

        Raises:
            RecordsError: the values of a row cannot be log-probabilities, or the file cannot be read.
        """
        found = np.empty((self.n_scored, self.n_vocab), np.float32)
        for rows, logp, _ in self.blocks(chunk):
            found[rows] = logp
        return found

    def blocks(self, chunk: int) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
        """What `logp` gives, some rows at a time: a chunk of long context and large vocabulary takes gigabytes.

        Yields:
            Which scored places, their log-probabilities (nats) and probabilities, float32 of shape [n_rows, n_vocab].
        """
        dtype = _row_dtype(self.n_vocab)
        offset = _HEADER.itemsize + self.tokens.nbytes + chunk * self.n_scored * dtype.itemsize
        n_rows = max(1, _BLOCK_BYTES // (4 * self.n_vocab))
        for begin in range(0, self.n_scored, n_rows):
            rows = slice(begin, min(begin + n_rows, self.n_scored))
            raw = _read(self.path, dtype, rows.stop - begin, offset + begin * dtype.itemsize)
            steps, step, least = raw["steps"], raw["step"], raw["least"]
            logp = steps.astype(np.float32)
            with np.errstate(all="ignore"):  # of a damaged row
                logp *= step[:, None]
                logp += least[:, None]
                p = np.exp(logp)
                possible = _possible_heads(step, least, self.n_vocab) & _possible_rows(steps, step, least, p)
            if not possible.all():
                raise self._impossible(chunk, begin + int(np.argmin(possible)))
            yield rows, logp, p

    def _impossible(self, chunk: int, row: int) -> RecordsError:
        return RecordsError(
            f"`{printable(self.path)}` is damaged: what it holds for chunk {chunk}, token {self.first + 1 + row} "
            "are no log-probabilities",
            hint=_AGAIN,
        )


def read_kld(path: str | os.PathLike[str]) -> KldFile:
    """Opens a `.kld` file and reads its tokens; `KldFile.logp` reads the rows of a chunk.

    Args:
        path: what `llama-perplexity --save-all-logits` (`--kl-divergence-base`) wrote.

    Raises:
        RecordsError: the file cannot be read, is something else, or is damaged.
    """
    path = Path(path)
    shown = printable(path)
    [header] = _read(path, _HEADER, 1, 0)
    if header["magic"] != KLD_MAGIC:
        raise RecordsError(
            f"`{shown}` is no file of log-probabilities: it does not begin with `{KLD_MAGIC.decode()}`",
            hint="name what `ppldelta perplexity --save-all-logits FILE` wrote",
        )
    n_ctx, n_vocab, n_chunks = (int(header[name]) for name in ("n_ctx", "n_vocab", "n_chunks"))
    if not (4 <= n_ctx < 2**31 and n_vocab > 0 and n_chunks > 0):
        raise RecordsError(
            f"`{shown}` is damaged: it claims {counted(n_chunks, 'chunk')} of {counted(n_ctx, 'token')} and a "
            f"vocabulary of {n_vocab:,}",
            hint=_AGAIN,
        )
    n_rows = n_chunks * (n_ctx - 1 - n_ctx // 2)
    wanted = _HEADER.itemsize + 4 * n_ctx * n_chunks + n_rows * _row_bytes(n_vocab)
    if (size := path.stat().st_size) != wanted:
        raise RecordsError(
            f"`{shown}` is damaged: {counted(n_chunks, 'chunk')} of {counted(n_ctx, 'token')} take {wanted:,} bytes, "
            f"and it has {size:,}",
            hint=f"the disk may have been full; {_AGAIN}",
        )
    tokens = _read(path, np.dtype("<i4"), n_ctx * n_chunks, _HEADER.itemsize).astype(np.int32).reshape(n_chunks, n_ctx)
    if tokens.min() < 0 or tokens.max() >= n_vocab:
        raise RecordsError(f"`{shown}` is damaged: it holds tokens that are not in its vocabulary", hint=_AGAIN)
    return KldFile(path, n_ctx, n_vocab, tokens)


def _possible_heads(step: NDArray[np.float32], least: NDArray[np.float32], n_vocab: int) -> NDArray[np.bool_]:
    """Whether each row's head can be one: of n tokens, the least is at most 16 nats and twice ln n below 1."""
    lowest = -RANGE - 2 * np.log(n_vocab)
    possible: NDArray[np.bool_] = (step >= 0) & (step <= STEP * 1.001) & (least <= 1e-6) & (least >= lowest)
    return possible


def _possible_rows(
    steps: NDArray[np.uint16], step: NDArray[np.float32], least: NDArray[np.float32], p: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Whether each row runs from no step to all of them, and whether its probabilities sum up to 1.

    What was cut off is known: it stands at no step.
    """
    cut_off = np.count_nonzero(steps == 0, axis=1) * np.exp(least, dtype=np.float64)
    sums, most = p.sum(axis=1, dtype=np.float64), steps.max(axis=1)
    spread = np.where(step > 0, (steps.min(axis=1) == 0) & (most >= 65534), most == 0)
    possible: NDArray[np.bool_] = spread & (sums > 1 - _ROUNDING) & (sums < 1 + _ROUNDING + cut_off)
    return possible


def _row_bytes(n_vocab: int) -> int:
    return 2 * (2 * ((n_vocab + 1) // 2) + 4)


def _row_dtype(n_vocab: int) -> np.dtype[np.void]:
    padding = 2 * ((n_vocab + 1) // 2) - n_vocab
    return np.dtype([("step", "<f4"), ("least", "<f4"), ("steps", "<u2", (n_vocab,)), ("padding", "<u2", (padding,))])


def _read(path: Path, dtype: np.dtype[Any], count: int, offset: int) -> NDArray[Any]:
    """Reads `count` items of a file from `offset` (bytes) on.

    Raises:
        RecordsError: they are not there.
    """
    try:
        items = np.fromfile(path, dtype, count, offset=offset)
    except OSError as error:
        raise RecordsError(f"cannot read `{printable(path)}`: {error.strerror or error}") from error
    if len(items) < count:
        raise RecordsError(f"`{printable(path)}` is damaged: it ends too early", hint=_AGAIN)
    return items
