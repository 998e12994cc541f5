"""A model is its content: a hash over all of its files, so that a renamed copy is the same model.

Hashing reads whole files. That is why a hash is remembered (`store.notes`) for as long as the stamp of the
files stays the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.source import ModelSource
from ppldelta.wording.names import printable

_BLOCK = 1 << 22
_SETTLED_NS = 2 * 10**9  # the coarsest clock of a file system, FAT's


def content_hash(source: ModelSource, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
    """The key of a model, as 64 hexadecimal digits: sha256 over its files in order.

    The key of a model with adapters is sha256 over the key that it has without them and over the content and the scale
    of each adapter.

    Args:
        source: the model.
        on_read: called after each block with the number of bytes in it; what it raises ends the reading.

    Raises:
        ModelError: a file of the model is missing or cannot be read.
    """
    own = _sha256(source.parts, on_read)
    if not source.adapters:
        return own
    applied = [[_sha256([each.path], on_read), each.scale.hex()] for each in source.adapters]
    return hashlib.sha256(json.dumps({"model": own, "adapters": applied}).encode()).hexdigest()


def _sha256(files: Iterable[Path], on_read: Callable[[int], object]) -> str:
    """Hash over the bytes of several files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    on_read(len(block))
        except OSError as error:
            raise ModelError(f"cannot read the model file `{printable(path)}`: {error.strerror}") from error
    return digest.hexdigest()


@dataclass(frozen=True)
class Stamp:
    """What tells that a model's files are unchanged, without reading them.

    Attributes:
        name: the absolute path of the model's file (of several, the first), as the file system's bytes; after it the
            path and the scale of each adapter.
        text: for each file the path behind all links, its size and its times, and for an adapter its scale. The
            inode's time is among them, since `mv` and `touch` can leave the other as it was.
        size_bytes: of all files together.
        settled: whether the last change is at least two seconds old. A file that is younger may change once more and
            bear the same times afterwards, because file systems round them.
    """

    name: bytes
    text: str
    size_bytes: int
    settled: bool

    @classmethod
    def of(cls, source: ModelSource) -> Stamp | None:
        """None if a file is missing."""
        try:
            files = [(path.resolve(), path.stat()) for path in source.files]
        except (OSError, RuntimeError):  # the latter for links in a circle
            return None
        rows: list[list[str | int]] = [
            [str(name), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in files
        ]
        for row, adapter in zip(rows[len(source.parts) :], source.adapters, strict=True):
            row.append(adapter.scale.hex())
        newest = max(max(stat.st_mtime_ns, stat.st_ctime_ns) for _, stat in files)
        applied = "".join(f"+{each.path.absolute()}:{each.scale}" for each in source.adapters)
        return cls(
            name=os.fsencode(f"{source.path.absolute()}{applied}"),
            text=json.dumps(rows),
            size_bytes=sum(stat.st_size for _, stat in files),
            settled=abs(time.time_ns() - newest) > _SETTLED_NS,
        )
