"""The folder form of a report: removes data files that an older report left behind."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from ppldelta.errors import ResultError

_NAME = re.compile(r"(f\d+|shared)\.[a-z]+\d*\.js")
_CONTENT = b'ppldelta.put("'


def remove_stale(folder: Path, keep: Container[str]) -> None:
    """Removes data files of an older report in the same folder; a file that no report wrote stays.

    Args:
        folder: with the `index.html`.
        keep: the data files of the report that is there now, relative to `folder`.

    Raises:
        ResultError: one cannot be read or removed.
    """
    try:
        _remove(folder / "data", keep)
    except OSError as error:
        raise ResultError(
            f"cannot remove what an older report left in `{folder / 'data'}`: {error.strerror}",
            hint="the new report is whole; remove the folder and draw it again to be rid of the rest",
        ) from error


def _remove(data: Path, keep: Container[str]) -> None:
    for path in sorted(data.glob("*.js")):
        if f"data/{path.name}" in keep or not _NAME.fullmatch(path.name) or not path.is_file():
            continue
        with path.open("rb") as file:
            ours = file.read(len(_CONTENT)) == _CONTENT
        if ours:
            path.unlink()
