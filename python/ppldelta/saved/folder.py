"""A result's folder on disk: the frames as parquet, the report, and `run.json`, which holds a hash of each of them.

A flipped bit in a compressed table can be read as another number, so that `read` looks at the hashes first.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from ppldelta import schema
from ppldelta.errors import ResultError
from ppldelta.family import Family
from ppldelta.saved.files import prepare_folder
from ppldelta.saved.run_file import AGAIN, RUN, Run, SavedFile, damaged, read_run, write_run
from ppldelta.wording.names import printable, shown_name

FRAMES: dict[str, dict[str, pl.DataType]] = {
    "tokens": schema.TOKENS,
    "documents": schema.DOCUMENTS,
    "models": schema.MODELS,
    "pieces": schema.PIECES,
    "texts": schema.TEXTS,
}

_ADDED_LATER = {"texts"}
"""Frames that older folders of the same format lack; they are empty then."""

_REPORT = "report.html"
_NAMES = (*(f"{name}.parquet" for name in FRAMES), _REPORT)
_BLOCK = 1 << 20


def write(
    folder: str | os.PathLike[str],
    frames: Mapping[str, pl.DataFrame],
    run: Run,
    draw: Callable[[Path], object],
) -> Path:
    """Writes a folder. All files are first written beside the ones in place; `run.json` takes its place last.

    Args:
        folder: is made if it is not there.
        frames: those of `FRAMES`.
        run: what `run.json` says; hashes of the files are added.
        draw: writes the report to a path.

    Raises:
        ResultError: something cannot be written.
    """
    folder = prepare_folder(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".ppldelta-", dir=folder) as temporary:
            fresh = Path(temporary)
            for name in FRAMES:
                frames[name].write_parquet(fresh / f"{name}.parquet")
            draw(fresh / _REPORT)
            write_run(fresh / RUN, replace(run, files={name: _described(fresh / name) for name in _NAMES}))
            (folder / RUN).unlink(missing_ok=True)
            for name in (*_NAMES, RUN):
                (fresh / name).replace(folder / name)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ResultError(
            f"cannot write to `{printable(folder)}`: {error}", hint="free some space or name another folder"
        ) from error
    return folder


def read(folder: Path) -> tuple[dict[str, pl.DataFrame], Run]:
    """The frames of a folder and what `run.json` says.

    Raises:
        ResultError: the folder holds no result, one that is not as it was saved, or one of a newer format.
    """
    for name in (RUN, *(f"{name}.parquet" for name in FRAMES if name not in _ADDED_LATER)):
        if not (folder / name).is_file():
            raise ResultError(
                f"`{printable(folder)}` holds no result: there is no `{name}`",
                hint="name a folder that `ppldelta score -o` or `Result.save` wrote",
            )
    run = _read_run(folder)
    frames = {name: _read_frame(folder, name, run.files) for name in FRAMES}
    for name in ("documents", "models"):
        _compare_models(folder, name, frames[name], run.families)
    return frames, run


def verify(folder: str | os.PathLike[str]) -> list[str]:
    """Compares every file of a saved result, the report included, with the hashes that `run.json` holds.

    Other files in the folder are not looked at.

    Args:
        folder: one that `ppldelta score -o` or `Result.save` wrote.

    Returns:
        What differs, in words; empty if everything is as it was saved.
    """
    folder = Path(folder)
    try:
        files = _read_run(folder).files
    except ResultError as error:
        return [error.message]
    if files is None:
        return [f"`{RUN}` holds no hashes: an older version saved it (`ppldelta.load(…).save(…)` adds them)"]
    differences = (_difference(folder / name, expected) for name, expected in files.items())
    return [difference for difference in differences if difference]


def _read_run(folder: Path) -> Run:
    """What `run.json` says; the files that it names are those of a result."""
    run = read_run(folder)
    for name in run.files or ():
        if name not in _NAMES:
            raise damaged(folder / RUN, f"`files` must name a result's files, got `{printable(name)}`")
    for name in _NAMES:
        if run.files is not None and name not in run.files:
            raise damaged(folder / RUN, f"`files` must name `{name}`, got no such field")
    return run


def _read_frame(folder: Path, name: str, files: Mapping[str, SavedFile] | None) -> pl.DataFrame:
    """One of the frames, with exactly the columns that its schema names."""
    path = folder / f"{name}.parquet"
    if files is not None:
        difference = _difference(path, files[path.name])
        if difference:
            raise ResultError(f"`{printable(path)}` is not what was saved: {difference}", hint=AGAIN)
    elif name in _ADDED_LATER and not path.exists():
        return pl.DataFrame(schema=FRAMES[name])
    try:
        frame = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise damaged(path, str(error)) from error
    absent = [column for column in schema.ADDED_LATER.get(name, ()) if column not in frame.schema]
    frame = frame.with_columns(pl.lit(None, dtype=FRAMES[name][column]).alias(column) for column in absent)
    for column, dtype in FRAMES[name].items():
        found = frame.schema.get(column)
        if found != dtype:
            raise ResultError(
                f"`{printable(path)}` needs a column `{column}` of {dtype}, got {found or 'none'}", hint="score again"
            )
    return frame.select(list(FRAMES[name]))


def _compare_models(folder: Path, name: str, frame: pl.DataFrame, families: Sequence[Family]) -> None:
    """Raises `ResultError` if a frame holds other models than `run.json` names."""
    named = {(family.name, label) for family in families for label in family.models}
    held = set(frame.select("family", "model").unique().rows())
    for one, other, models in ((RUN, f"{name}.parquet", named - held), (f"{name}.parquet", RUN, held - named)):
        for family, label in sorted(models, key=str):
            raise ResultError(
                f"the files of `{printable(folder)}` do not belong together: `{one}` names the model "
                f"`{shown_name(str(label))}` in the family `{shown_name(str(family))}`, `{other}` does not",
                hint=AGAIN,
            )


def _difference(path: Path, expected: SavedFile) -> str | None:
    """In which way a file is not the one that was saved; the size tells without reading it."""
    name = printable(path.name)
    try:
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            return f"`{name}` is missing"
        if size != expected.size_bytes:
            return f"`{name}` has {size:,} bytes instead of {expected.size_bytes:,}"
        found = _file_hash(path)
    except OSError as error:
        return f"`{name}` cannot be read ({error.strerror})"
    if found != expected.sha256:
        return f"`{name}` has sha256 {found[:12]}… instead of {printable(expected.sha256[:12])}…"
    return None


def _described(path: Path) -> SavedFile:
    return SavedFile(_file_hash(path), path.stat().st_size)


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
