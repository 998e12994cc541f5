"""The check that a model file on a worker's machine has the content that the caller knows.

Times of files say nothing across machines. That is why the worker reads the file: once in its life, and again only if
the file's stamp has changed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ppldelta.errors import ModelError
from ppldelta.models.identity import Stamp, content_hash
from ppldelta.models.source import ModelSource
from ppldelta.wording.names import printable

_HINT = "every machine needs the same file under the same path: copy it there, or use a folder that they share"

_read: dict[str, str] = {}  # `Stamp.text` → content


def sizes(source: ModelSource) -> tuple[int, ...]:
    """Bytes of each of a model's files that are there."""
    return tuple(file.stat().st_size for file in source.files if file.exists())


def refuse_other(source: ModelSource, expected_sizes: Sequence[int], sha256: str) -> None:
    """Compares a model with the caller's, first by its size.

    Args:
        source: the model.
        expected_sizes: bytes of each of the caller's files.
        sha256: the content of the caller's files.

    Raises:
        ModelError: a file is missing here, cannot be read, or has another content.
    """
    shown, where = f"`{printable(source.path)}`", f"the worker on `{printable(socket.gethostname())}`"
    here = sizes(source)
    if len(here) < len(expected_sizes):
        raise ModelError(f"{where} does not have the model file {shown}", hint=_HINT)
    if here != tuple(expected_sizes):
        raise ModelError(
            f"{where} has another model file {shown}: {sum(here):,} bytes instead of {sum(expected_sizes):,}",
            hint=_HINT,
        )
    try:
        found = _content(source)
    except ModelError as error:
        raise ModelError(f"{where} {error.message}", hint=_HINT) from None
    if found != sha256:
        raise ModelError(
            f"{where} has another model file {shown}: its sha256 begins with {found[:12]} instead of {sha256[:12]}",
            hint=_HINT,
        )


def _content(source: ModelSource) -> str:
    """The content's hash. It is remembered unless the files changed while they were read or just before."""
    before = Stamp.of(source)
    if before and before.text in _read:
        return _read[before.text]
    sha256 = content_hash(source)
    if before and before.settled and Stamp.of(source) == before:
        _read[before.text] = sha256
    return sha256
