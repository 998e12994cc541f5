"""Which files a corpus has: a folder's, those that a glob matches, or those that are named."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ppldelta.errors import CorpusError, LeftOut
from ppldelta.wording.names import as_utf8, printable, shown_type

KINDS = "a folder, a file, a glob such as `corpus/**/*.txt`, a list of paths, or a mapping from names to texts"
"""What may name the documents of a corpus."""

Found = list[tuple[str, Path | bytes]]  # name (may hold surrogates) and where its text is


def below_path(given: str | os.PathLike[str], warnings: list[str]) -> Found:
    """Files of a folder, a glob or one file."""
    path = as_path(given)
    if path.is_dir():
        return [("/".join(parts), file) for parts, file in _walk(path, warnings)]
    if os.path.lexists(path):
        return [(path.name, path)]
    first = next((i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")), None)
    if first is None:
        raise CorpusError(f"`{printable(str(given))}` does not exist", hint=f"give {KINDS}")
    root, pattern = Path(*path.parts[:first]), path.parts[first:]
    if not root.is_dir():
        raise CorpusError(
            f"the glob `{printable(str(given))}` starts in `{printable(str(root))}`, which is not a folder"
        )
    below = _walk(root, warnings, enter=lambda parts: _may_lead(parts, pattern))
    return [("/".join(parts), file) for parts, file in below if _matches(parts, pattern)]


def below_paths(given: list[str | os.PathLike[str]], warnings: list[str]) -> Found:
    """Files of several paths; the root is the folder common to all of them."""
    paths = [Path(os.path.abspath(as_path(item))) for item in given]
    for item, path in zip(given, paths, strict=True):
        if not os.path.lexists(path):
            raise CorpusError(
                f"`{printable(str(item))}` does not exist",
                hint="in a list every item is a path; a glob is given on its own",
            )
    if not paths:
        return []
    try:
        root = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError as error:  # Windows: paths on several drives
        raise CorpusError("the paths given have no common folder", hint="give a mapping from names to texts") from error
    found: dict[Path, str] = {}
    for path in paths:
        files = [file for _, file in _walk(path, warnings)] if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(root).as_posix()
            if file in found:
                warnings.append(f"`{printable(name)}` is given more than once; it is read once.")
            found[file] = name
    return [(name, file) for file, name in found.items()]


def _walk(
    root: Path, warnings: list[str], enter: Callable[[tuple[str, ...]], bool] = lambda parts: True
) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Every file below `root` with the parts of its path below it; hidden ones and folders not to `enter` are skipped.

    Linked folders wait until all real ones are read, so that a folder keeps its real name. A folder is read once:
    links that lead back up, or to one another, come to an end.
    """
    folders: list[tuple[tuple[str, ...], Path]] = [((), root)]
    links: list[tuple[tuple[str, ...], Path]] = []
    seen: set[str] = set()
    while folders or links:
        parts, folder = folders.pop() if folders else links.pop(0)
        label = printable("/".join(parts) or str(root))
        try:
            real = os.path.realpath(folder)
            if real in seen:
                warnings.append(f"`{label}` leads to a folder that is read already; it is read once.")
                continue
            seen.add(real)
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if not _is_skipped(entry.name))
        except OSError as error:
            name = as_utf8("/".join(parts) or str(root))
            warnings.append(LeftOut(f"The folder `{label}` is left out: {said(error)}.", "folder", name))
            continue
        for name in names:
            path, below = folder / name, (*parts, name)
            if not os.path.isdir(path):  # Path.is_dir() raises where a folder may be listed but not entered
                yield below, path
            elif enter(below):
                (links if path.is_symlink() else folders).append((below, path))


def _is_skipped(name: str) -> bool:
    """Hidden files and folders, and the bytecode that Python leaves beside sources."""
    return name.startswith(".") or name == "__pycache__"


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return len(pattern) == 1 or any(_matches(parts[i:], pattern[1:]) for i in range(len(parts)))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _may_lead(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a file below this folder can match, so that `/data/*.txt` does not read all of `/data`."""
    for part, segment in zip(parts, pattern, strict=False):
        if segment == "**":
            return True
        if not fnmatch.fnmatch(part, segment):
            return False
    return len(parts) < len(pattern)


def as_path(given: str | os.PathLike[str]) -> Path:
    if not isinstance(given, (str, os.PathLike)):
        raise CorpusError(f"a path of `files` must be a str or a path, got {shown_type(given)}", hint=f"give {KINDS}")
    if not os.fspath(given):
        raise CorpusError("a path must not be empty", hint=f"give {KINDS}; `.` is the current folder")
    return Path(given).expanduser()


def said(error: OSError) -> str:
    return f"it cannot be read ({error.strerror or type(error).__name__})"
