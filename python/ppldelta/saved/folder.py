"""A result's folder on disk: the frames as parquet, the report, and `run.json`, which holds a hash of each of them.

A flipped bit in a compressed table can be read as another number, so that `read` looks at the hashes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ppldelta import schema
from ppldelta.errors import ResultError
from ppldelta.saved.files import prepare_folder
from ppldelta.wording.names import printable

FORMAT = 1
"""Version of the folder, in `run.json`."""

FRAMES = {
    "tokens": schema.TOKENS,
    "documents": schema.DOCUMENTS,
    "models": schema.MODELS,
    "pieces": schema.PIECES,
    "texts": schema.TEXTS,
}

_ADDED_LATER = {"texts"}
"""Frames that older folders of the same format lack; they are empty then."""

_COLUMNS_ADDED_LATER = {"tokens": ("byte_start", "byte_end")}
"""Columns that older folders of the same format lack; they are null then."""

_REPORT = "report.html"
_RUN = "run.json"
_BLOCK = 1 << 20
_AGAIN = "copy the folder again if it is a copy; else score again, which takes from the store what it has"


def write(
    folder: str | os.PathLike[str],
    frames: Mapping[str, pl.DataFrame],
    run: Mapping[str, Any],
    draw: Callable[[Path], object],
) -> Path:
    """Writes a folder: all of it beside the folder's own files first; `run.json` takes its place last.

    Args:
        folder: is made where it is not there.
        frames: those of `FRAMES`.
        run: what `run.json` says beside the format and the hashes.
        draw: writes the report to a path.

    Raises:
        ResultError: something cannot be written.
    """
    folder = prepare_folder(folder)
    names = [*(f"{name}.parquet" for name in FRAMES), _REPORT]
    try:
        with tempfile.TemporaryDirectory(prefix=".ppldelta-", dir=folder) as temporary:
            fresh = Path(temporary)
            for name in FRAMES:
                frames[name].write_parquet(fresh / f"{name}.parquet")
            draw(fresh / _REPORT)
            content = {"format": FORMAT, **run, "files": {name: _described(fresh / name) for name in names}}
            text = json.dumps({**content, "sha256": _content_hash(content)}, indent=2, ensure_ascii=False)
            (fresh / _RUN).write_bytes(text.encode() + b"\n")
            (folder / _RUN).unlink(missing_ok=True)
            for name in (*names, _RUN):
                (fresh / name).replace(folder / name)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ResultError(
            f"cannot write to `{printable(folder)}`: {error}", hint="free some space or name another folder"
        ) from error
    return folder


def read(folder: Path) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """The frames of a folder and what `run.json` says.

    Raises:
        ResultError: the folder holds no result, one that is not as it was saved, or one of a newer format.
    """
    for name in (_RUN, *(f"{name}.parquet" for name in FRAMES if name not in _ADDED_LATER)):
        if not (folder / name).is_file():
            raise ResultError(
                f"`{printable(folder)}` holds no result: there is no `{name}`",
                hint="name a folder that `ppldelta score -o` or `Result.save` wrote",
            )
    run = _read_run(folder)
    return {name: _read_frame(folder, name, run.get("files")) for name in FRAMES}, run


def verify(folder: str | os.PathLike[str]) -> list[str]:
    """Compares every file of a saved result, the report included, with the hashes that `run.json` holds.

    Other files in the folder are not looked at.

    Args:
        folder: one that `ppldelta score -o` or `Result.save` wrote.

    Returns:
        What differs, in words; empty where everything is as it was saved.
    """
    folder = Path(folder)
    try:
        files = _read_run(folder).get("files")
    except ResultError as error:
        return [error.message]
    if files is None:
        return [f"`{_RUN}` holds no hashes: an older version saved it (`ppldelta.load(…).save(…)` adds them)"]
    differences = (_difference(folder / name, expected) for name, expected in files.items())
    return [difference for difference in differences if difference]


def _read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says; older ones hold no hashes, neither of the files nor of themselves."""
    path = folder / _RUN
    try:
        run = json.loads(path.read_bytes())
        files, sha256 = run.get("files"), run.pop("sha256", None)
        if (files is not None or sha256 is not None) and sha256 != _content_hash(run):
            raise ResultError(f"`{printable(path)}` is damaged: its content is not what was saved", hint=_AGAIN)
        if run["format"] > FORMAT:
            raise ResultError(
                f"`{printable(folder)}` was written in format {run['format']}; this version reads up to {FORMAT}",
                hint="upgrade ppldelta",
            )
        for name, expected in (files or {}).items():
            if Path(name).name != name or not {"sha256", "size_bytes"} <= set(expected):
                raise ValueError(name)
        return {"families": run["families"], "warnings": run["warnings"], **run}
    except OSError as error:
        raise ResultError(f"`{printable(path)}` cannot be read: {error.strerror}", hint=_AGAIN) from error
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResultError(f"`{printable(path)}` is damaged: it does not hold what was saved", hint=_AGAIN) from error


def _read_frame(folder: Path, name: str, files: Mapping[str, Mapping[str, Any]] | None) -> pl.DataFrame:
    """One of the frames, with exactly the columns that its schema names."""
    path = folder / f"{name}.parquet"
    if files is not None:
        difference = _difference(path, files[path.name]) if path.name in files else f"`{_RUN}` does not name it"
        if difference:
            raise ResultError(f"`{printable(path)}` is not what was saved: {difference}", hint=_AGAIN)
    elif name in _ADDED_LATER and not path.exists():
        return pl.DataFrame(schema=FRAMES[name])
    try:
        frame = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ResultError(f"`{printable(path)}` is damaged: {error}", hint=_AGAIN) from error
    absent = [column for column in _COLUMNS_ADDED_LATER.get(name, ()) if column not in frame.schema]
    frame = frame.with_columns(pl.lit(None, dtype=FRAMES[name][column]).alias(column) for column in absent)
    for column, dtype in FRAMES[name].items():
        found = frame.schema.get(column)
        if found != dtype:
            raise ResultError(
                f"`{printable(path)}` needs a column `{column}` of {dtype}, got {found or 'none'}", hint="score again"
            )
    return frame.select(list(FRAMES[name]))


def _difference(path: Path, expected: Mapping[str, Any]) -> str | None:
    """In which way a file is not the one that was saved; the size tells without reading it."""
    name = printable(path.name)
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            return f"`{name}` is missing"
        if size != expected["size_bytes"]:
            return f"`{name}` has {size:,} bytes instead of {expected['size_bytes']:,}"
        found = _file_hash(path)
    except OSError as error:
        return f"`{name}` cannot be read ({error.strerror})"
    if found != expected["sha256"]:
        return f"`{name}` has sha256 {found[:12]}… instead of {expected['sha256'][:12]}…"
    return None


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": _file_hash(path), "size_bytes": path.stat().st_size}


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _content_hash(content: Mapping[str, Any]) -> str:
    """Hash over what `run.json` says beside this hash, however it is laid out in the file."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
