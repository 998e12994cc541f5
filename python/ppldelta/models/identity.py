"""A model is its content: a hash over all of its files, so that a renamed copy is the same model.

Hashing reads whole files, so a hash is remembered (`engine.store`) for as long as their stamp stays the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.references import model_files
from ppldelta.wording.names import printable

_BLOCK = 1 << 22
_SETTLED_NS = 2 * 10**9  # the coarsest clock of a file system, FAT's


def content_hash(path: Path, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
    """sha256 over the model's files in order, as 64 hexadecimal digits.

    Args:
        path: the model's file (of several, the first).
        on_read: called after each block with the number of bytes in it; what it raises ends the reading.

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


@dataclass(frozen=True)
class Stamp:
    """What tells that a model's files are unchanged, without reading them.

    Attributes:
        name: the absolute path of the model's file (of several, the first), as the file system's bytes.
        text: path behind all links, size and times of each file. The inode's time is in it, since `mv` and `touch` can
            leave the other as it was.
        size_bytes: of all files together.
        settled: whether they changed so long ago that another change cannot leave their times as they are.
    """

    name: bytes
    text: str
    size_bytes: int
    settled: bool

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None where a file is missing."""
        try:
            parts = [(part.resolve(), part.stat()) for part in model_files(path)]
        except (OSError, RuntimeError):  # the latter for links in a circle
            return None
        text = json.dumps([[str(name), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in parts])
        newest = max(max(stat.st_mtime_ns, stat.st_ctime_ns) for _, stat in parts)
        return cls(
            name=os.fsencode(path.absolute()),
            text=text,
            size_bytes=sum(stat.st_size for _, stat in parts),
            settled=abs(time.time_ns() - newest) > _SETTLED_NS,
        )
