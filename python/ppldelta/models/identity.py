"""A model is its content: a hash over all of its files, so that a renamed copy is the same model."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ppldelta.errors import ModelError


def model_files(path: Path) -> list[Path]:
    """All files of the model whose first file is `path` (several where llama.cpp's gguf-split made it)."""
    marker = "-00001-of-"
    if marker not in path.name:
        return [path]
    head, tail = path.name.rsplit(marker, 1)
    number = tail.removesuffix(".gguf")
    if not number.isdigit():
        return [path]
    return [path.with_name(f"{head}-{i:05d}-of-{number}.gguf") for i in range(1, int(number) + 1)]


def content_hash(path: Path) -> str:
    """sha256 over the model's files in order, as 64 hexadecimal digits.

    Raises:
        ModelError: a file of the model is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for part in model_files(path):
        try:
            with part.open("rb", buffering=0) as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        except OSError as error:
            raise ModelError(f"cannot read the model file `{part}`: {error.strerror}") from error
    return digest.hexdigest()
