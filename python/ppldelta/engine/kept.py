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
from ppldelta.pairs import PAIR
from ppldelta.text.windows import Batch, Window
from ppldelta.wording import numbers

BUDGET_BYTES = min(posix.memory_bytes() // 4, 4 * 2**30)
"""The rows that are kept at a time take at most a quarter of this machine's memory, and never more than 4 GiB."""


@dataclass(frozen=True, eq=False)
class KeptRows:
    """The rows of some windows (`native.Scorer.keep`).

    Attributes:
        n_vocab: logits in a row.
        targets: of each window.
        values: what the rows of each window say (`_core.describe_rows`).
        rows: the extension's.
    """

    n_vocab: int
    targets: list[NDArray[np.int32]]
    values: list[NDArray[np.void]]
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

    def records(self, found: Sequence[NDArray[np.void]]) -> list[NDArray[np.void]]:
        """Of each window records of type `PAIR`, from what `_core.Scorer.compare` found."""
        records = [np.empty(len(each), PAIR) for each in found]
        for record, ref, each in zip(records, self.values, found, strict=True):
            record["kld"] = each["kld"]
            for name in ("entropy", "logp_top", "rank", "top"):
                record[f"{name}_ref"], record[f"{name}_cmp"] = ref[name], each["cmp"][name]
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


def blocks(batches: Sequence[Batch], n_vocab: int) -> Iterator[range]:
    """Consecutive batches whose rows are kept together, as many as `BUDGET_BYTES` allow.

    Raises:
        ModelError: the rows of a single batch take more.
    """
    start = 0
    n_rows = 0
    for i, batch in enumerate(batches):
        refuse_too_many(batch.n_scored, n_vocab)
        if (n_rows + batch.n_scored) * n_vocab * 4 > BUDGET_BYTES:
            yield range(start, i)
            start, n_rows = i, 0
        n_rows += batch.n_scored
    if start < len(batches):
        yield range(start, len(batches))
