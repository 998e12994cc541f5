"""A reference's rows of logits, kept in the worker's memory while its comparisons read the same windows.

Rows are large, n_vocab float32 for each scored token, so that only a block of windows is kept at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core, posix
from ppldelta.errors import ModelError
from ppldelta.pairs import PAIR, record
from ppldelta.text.windows import Batch, Window
from ppldelta.wording import numbers

BUDGET_BYTES = min(posix.memory_bytes() // 4, 4 * 2**30)
"""The rows that are kept at a time, and the contexts that stay beside the one in use, take together at most a quarter
of this machine's memory, and never more than 4 GiB."""


@dataclass(frozen=True, eq=False)
class KeptRows:
    """The rows of some windows (`native.Scorer.keep`).

    Attributes:
        n_vocab: logits in a row.
        targets: of each window.
        values: what the rows of each window say (`_core.describe_rows`).
        tops: the most probable tokens of each row of each window (`_core.top_tokens`), of shape [n_rows, top_k].
        rows: the extension's.
    """

    n_vocab: int
    targets: list[NDArray[np.int32]]
    values: list[NDArray[np.void]]
    tops: list[NDArray[np.void]]
    rows: _core.KeptRows

    def refuse_others(self, windows: Sequence[Window], n_vocab: int) -> None:
        """
        Raises:
            ValueError: the rows are those of other windows, or of a vocabulary of another size.
        """
        if n_vocab != self.n_vocab:
            raise ValueError(f"rows of {n_vocab} logits against {self.n_vocab}")
        targets = [window.targets for window in windows]
        if len(targets) != len(self.targets) or not all(map(np.array_equal, targets, self.targets)):
            raise ValueError("the rows were kept for other windows")

    def records(self, found: Sequence[NDArray[np.void]], tops: Sequence[NDArray[np.void]]) -> list[NDArray[np.void]]:
        """Of each window records of type `pairs.record`, from what `_core.Scorer.compare` found."""
        records = [np.empty(len(each), record(of_each.shape[1])) for each, of_each in zip(found, tops, strict=True)]
        for mine, ref, each in zip(records, self.values, found, strict=True):
            mine["kld"] = each["kld"]
            for name in ("entropy", "logp_top", "rank", "top"):
                mine[f"{name}_ref"], mine[f"{name}_cmp"] = ref[name], each["cmp"][name]
        for mine, *both in zip(records, self.tops, tops, strict=True):
            if mine.dtype != PAIR:
                for name, each in zip(("ref", "cmp"), both, strict=True):
                    mine[f"top_tokens_{name}"], mine[f"top_logp_{name}"] = each["token"], each["logp"]
        return records


def refuse_too_many(n_rows: int, n_vocab: int) -> None:
    """
    Raises:
        ModelError: so many rows take more than `BUDGET_BYTES`.
    """
    if n_rows * n_vocab * 4 > BUDGET_BYTES:
        raise ModelError(
            f"a window's {n_rows:,} rows of {n_vocab:,} logits take {numbers.size(n_rows * n_vocab * 4)}, and "
            f"{numbers.size(BUDGET_BYTES)} of memory are for them",
            hint="a smaller `n_ctx` needs less, or leave out `kld`",
        )


def leaves_room(n_bytes: int, n_rows: int, n_vocab: int) -> bool:
    """Whether contexts of so many bytes may stay beside the rows: they take a quarter of `BUDGET_BYTES` at most, and
    the rows of the largest batch, `n_rows`, have room in the rest."""
    return n_bytes <= BUDGET_BYTES // 4 and n_rows * n_vocab * 4 <= BUDGET_BYTES - n_bytes


def blocks(batches: Sequence[Batch], n_vocab: int, n_bytes: int = 0) -> Iterator[range]:
    """Consecutive batches whose rows are kept together, as many as `BUDGET_BYTES` allow; contexts take `n_bytes` of it.

    Raises:
        ModelError: the rows of a single batch take more.
    """
    start = 0
    n_rows = 0
    for i, batch in enumerate(batches):
        refuse_too_many(batch.n_scored, n_vocab)
        if (n_rows + batch.n_scored) * n_vocab * 4 > BUDGET_BYTES - n_bytes:
            yield range(start, i)
            start, n_rows = i, 0
        n_rows += batch.n_scored
    if start < len(batches):
        yield range(start, len(batches))
