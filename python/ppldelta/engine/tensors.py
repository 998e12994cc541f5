"""The tensors of a model's files: where each lies, and the values of some of its rows.

Nothing is loaded for that. The extension reads a file's table and makes floats of a tensor's bytes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.errors import ModelError
from ppldelta.wording.names import printable

FLOATS = ("f32", "bf16", "f16")
"""Types that hold floats, the most exact first by the range of their values."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    Attributes:
        name: as the file calls it.
        type: of its values, as ggml names it.
        n_rows: in all of its dimensions but the first.
        n_columns: values in a row.
        shape: all dimensions, such as "576x1536".
        file: that holds it.
        offset: of its first byte there.
    """

    name: str
    type: str
    n_rows: int
    n_columns: int
    shape: str
    file: Path
    offset: int


def tensors_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of a model by name, in the order of its files.

    Raises:
        ModelError: a file is missing, cannot be read, or is no GGUF.
    """
    found = {}
    for file in files:
        try:
            for name, type, n_rows, n_columns, shape, offset in _core.tensors_in(os.fsencode(file)):
                found[name] = Tensor(name, type, n_rows, n_columns, shape, file, offset)
        except (RuntimeError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read `{printable(file)}`: {error}", hint="start the run again") from None
    return found


def readable(tensor: Tensor) -> bool:
    """Whether its values can be read: not so tensors of whole numbers."""
    return tensor.type in _blocks()


def rows(tensor: Tensor, which: NDArray[np.int64], most_columns: int) -> NDArray[np.float32]:
    """The values of some rows.

    Args:
        tensor: one that is `readable`.
        which: numbers of the rows.
        most_columns: of each row as many values, from the first on; whole blocks of the type, at least one.

    Returns:
        Shape [n_rows, n_columns].

    Raises:
        ModelError: the file is missing, or ends before the tensor does.
    """
    block, block_bytes = _blocks()[tensor.type]
    n_blocks = min(tensor.n_columns, max(most_columns, block)) // block
    row_bytes = tensor.n_columns // block * block_bytes
    try:
        mapped = np.memmap(tensor.file, np.uint8, "r", tensor.offset, (tensor.n_rows, row_bytes))
        chosen = np.ascontiguousarray(mapped[which, : n_blocks * block_bytes])
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read `{tensor.name}` of `{printable(tensor.file)}`: {error}") from None
    return _core.dequantize(tensor.type, chosen.reshape(-1), len(which), n_blocks * block)


def rounded(values: NDArray[np.float32], type: str) -> NDArray[np.float32]:
    """What becomes of rows if they are written in a type and read again."""
    return _core.dequantize(type, _core.quantize(type, values), *values.shape)


def block_size(type: str) -> int:
    """Values that a type keeps together; rows are multiples of it."""
    return _blocks()[type][0]


@functools.cache
def _blocks() -> dict[str, tuple[int, int]]:
    """Values and bytes of a block, by type."""
    return {name: (size, n_bytes) for name, size, n_bytes in _core.tensor_types()}
