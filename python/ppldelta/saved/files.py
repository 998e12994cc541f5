"""Writing: a folder that is tried beforehand, files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppldelta.errors import ResultError
from ppldelta.wording.names import printable


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Makes a folder to save in and sees whether it can be written to, before hours are spent on what goes there.

    Raises:
        ResultError: it cannot.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResultError(
            f"cannot write to `{printable(folder)}`: {error.strerror}",
            hint="name a folder that can be made or written to",
        ) from error
    return folder


@contextmanager
def prepared_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """As `prepare_folder`; if the context fails, folders that were made for it and are still empty are removed."""
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        yield prepare_folder(folder)
    except BaseException:
        with contextlib.suppress(OSError):  # not empty
            for each in made:
                each.rmdir()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a full disk, never leaves half of one in its place.

    Raises:
        ResultError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ResultError(
            f"cannot write `{printable(path)}`: {error.strerror}",
            hint="name a file that can be written, or free some space",
        ) from error
