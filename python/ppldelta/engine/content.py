"""Whether a model file that a worker of another machine finds has the content that the caller knows.

Times of files say nothing across machines, so the worker reads the file: once in its life, and again only where the
file's stamp has changed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.models.identity import Stamp, content_hash
from ppldelta.models.references import model_files
from ppldelta.wording.names import printable

_HINT = "every machine needs the same file under the same path: copy it there, or use a folder that they share"

_read: dict[str, str] = {}  # `Stamp.text` → content


def sizes(path: Path) -> tuple[int, ...]:
    """Bytes of each of a model's files that are there."""
    return tuple(part.stat().st_size for part in model_files(path) if part.exists())


def refuse_other(path: Path, expected_sizes: Sequence[int], sha256: str) -> None:
    """Compares a model with the caller's, first by its size.

    Args:
        path: the model's file (of several, the first).
        expected_sizes: bytes of each of the caller's files.
        sha256: the content of the caller's files.

    Raises:
        ModelError: a file is missing here, cannot be read, or has another content.
    """
    shown, where = f"`{printable(path)}`", f"the worker on `{printable(socket.gethostname())}`"
    here = sizes(path)
    if len(here) < len(expected_sizes):
        raise ModelError(f"{where} does not have the model file {shown}", hint=_HINT)
    if here != tuple(expected_sizes):
        raise ModelError(
            f"{where} has another model file {shown}: {sum(here):,} bytes instead of {sum(expected_sizes):,}",
            hint=_HINT,
        )
    try:
        found = _content(path)
    except ModelError as error:
        raise ModelError(f"{where} {error.message}", hint=_HINT) from None
    if found != sha256:
        raise ModelError(
            f"{where} has another model file {shown}: its sha256 begins with {found[:12]} instead of {sha256[:12]}",
            hint=_HINT,
        )


def _content(path: Path) -> str:
    """The content's hash, remembered where the files did not change while they were read nor a moment before."""
    before = Stamp.of(path)
    if before and before.text in _read:
        return _read[before.text]
    sha256 = content_hash(path)
    if before and before.settled and Stamp.of(path) == before:
        _read[before.text] = sha256
    return sha256
