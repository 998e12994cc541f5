"""A model is its content: a hash over all of its files, so that a renamed copy is the same model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.references import model_files
from ppldelta.text.names import printable

_BLOCK = 1 << 22


def content_hash(path: Path, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
    """sha256 over the model's files in order, as 64 hexadecimal digits.

    Args:
        path: the model's file (of several, the first).
        on_read: called after each block with the number of bytes in it.

    Raises:
        ModelError: a file of the model is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for part in model_files(path):
        try:
            with part.open("rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    on_read(len(block))
        except OSError as error:
            raise ModelError(f"cannot read the model file `{printable(part)}`: {error.strerror}") from error
    return digest.hexdigest()
