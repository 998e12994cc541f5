"""From files to documents: what is read, what it is called, what is left out and why.

A document's bytes go to the tokenizer as they are: no newline is converted and a byte order mark stays (and is
scored), because that is what stock llama-perplexity does with ``-bf FILE``; only then do the numbers match.
(With ``-f FILE`` llama.cpp drops one final newline.)
"""

from __future__ import annotations

import codecs
import fnmatch
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppldelta.errors import CorpusError, LeftOut
from ppldelta.wording.names import as_utf8, printable, shown_type

Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | bytes]
"""What `load_documents` takes."""

_PROBE = 1 << 16
"""Bytes that are read before it is clear that a file is no text."""

_KINDS = "a folder, a file, a glob such as `corpus/**/*.txt`, a list of paths, or a mapping from names to texts"


@dataclass(frozen=True)
class Document:
    """One text of the corpus.

    Attributes:
        name: path below the corpus root with forward slashes (``code/13.txt``); unique in its corpus.
        category: first folder of the name, ``""`` for a file that lies in the root itself.
        text: valid UTF-8, never empty, exactly as in the file.
        special: whether special tokens that the text spells out count as such.
    """

    name: str
    category: str
    text: bytes
    special: bool = False


def load_documents(files: Files) -> tuple[list[Document], list[str]]:
    """Reads the corpus.

    What `files` may be, and what the names are relative to (the root):

    - a folder: every file below it, at any depth; the root is the folder. Symbolic links are followed, also where they
      leave it, and what they lead to bears the link's name; each folder is read once, so that links in a circle end;
    - a glob (``*``, ``?``, ``[…]``, ``**`` for any number of folders): every file that it matches; the root is the
      part before the first wildcard. A path that exists is taken as it stands, wildcards or not;
    - one file: the root is the folder that holds it;
    - several paths, files or folders: the root is the folder common to all. A list of one path is that path;
    - a mapping from names to texts (str or UTF-8 bytes), for texts that are in no file.

    Hidden files and folders (a leading dot) and ``__pycache__`` are skipped below the root; a path given by its own
    name is not. Every other regular file counts, whatever its ending. Empty, binary (with a NUL byte), non-UTF-8 and
    unreadable ones are left out with a warning. Bytes of a name that are not UTF-8 are written as ``\\xNN``.

    Args:
        files: the corpus, as above.

    Returns:
        The documents sorted by name, and the warnings: one sentence for each thing left out (a `LeftOut`) or worth
        knowing.

    Raises:
        CorpusError: a path does not exist, nothing matched, or nothing that matched can be scored; `files`, a path in
            it, or a text in it is of another type.
    """
    warnings: list[str] = []
    if isinstance(files, Mapping):
        found: _Found = [(name, _encoded(name, text)) for name, text in files.items()]
        where = "the mapping"
    elif isinstance(files, (str, os.PathLike)):
        found = _below_path(files, warnings)
        where = f"`{printable(os.fspath(files))}`"
    elif isinstance(files, Iterable) and not isinstance(files, (bytes, bytearray)):
        paths = list(files)
        found = _below_path(paths[0], warnings) if len(paths) == 1 else _below_paths(paths, warnings)
        where = "the paths given"
    else:
        raise CorpusError(f"`files` must name documents, got {shown_type(files)}", hint=f"give {_KINDS}")
    if not found:
        said = "".join(f"\n  {warning}" for warning in warnings[:3])
        raise CorpusError(f"no document in {where}{said}", hint=_empty_hint(files))

    documents: dict[str, Document] = {}
    for raw_name, source in sorted(found, key=lambda item: item[0]):
        name = as_utf8(raw_name)
        text, reason = _read(source)
        if text is None:
            warnings.append(LeftOut(f"`{printable(name)}` is left out: {reason}.", "document", name))
            continue
        if name in documents:
            name = _unique(name, documents)
            warnings.append(f"Two documents have the same name; the second is called `{printable(name)}`.")
        if text.startswith(codecs.BOM_UTF8):
            warnings.append(f"`{printable(name)}` starts with a byte order mark, which is scored like any other text.")
        documents[name] = Document(name, name.split("/")[0] if "/" in name else "", text)
    if not documents:
        shown = "".join(f"\n  {warning}" for warning in warnings[:3])
        more = f"\n  … and {len(warnings) - 3} more" if len(warnings) > 3 else ""
        raise CorpusError(
            f"no document in {where} can be scored:{shown}{more}", hint="a document is a UTF-8 text that is not empty"
        )
    return [documents[name] for name in sorted(documents)], warnings


def _empty_hint(files: Files) -> str:
    """The next step if nothing was found."""
    if isinstance(files, Mapping):
        return "a mapping holds a text for each name; give at least one"
    if not isinstance(files, (str, os.PathLike)):
        return f"give {_KINDS}"
    if Path(files).expanduser().is_dir():
        return "put UTF-8 texts into the folder, or name another one; hidden files are not read"
    return "hidden files are not read; in a glob, `**/*` reaches files in subfolders"


def corpus_path(files: Files) -> str | None:
    """Where a corpus lies, for people: its folder, file or glob, or the folder common to several paths.

    Returns:
        An absolute path, or None for a mapping and for an iterator that has been read already.
    """
    if isinstance(files, Mapping):
        return None
    paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    absolute = [os.path.abspath(_path(path)) for path in paths]
    return as_utf8(os.path.commonpath(absolute)) if absolute else None


_Found = list[tuple[str, Path | bytes]]  # name (may hold surrogates) and where its text is


def _below_path(given: str | os.PathLike[str], warnings: list[str]) -> _Found:
    """Files of a folder, a glob or one file."""
    path = _path(given)
    if path.is_dir():
        return [("/".join(parts), file) for parts, file in _walk(path, warnings)]
    if os.path.lexists(path):
        return [(path.name, path)]
    first = next((i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")), None)
    if first is None:
        raise CorpusError(f"`{printable(str(given))}` does not exist", hint=f"give {_KINDS}")
    root, pattern = Path(*path.parts[:first]), path.parts[first:]
    if not root.is_dir():
        raise CorpusError(
            f"the glob `{printable(str(given))}` starts in `{printable(str(root))}`, which is not a folder"
        )
    below = _walk(root, warnings, enter=lambda parts: _may_lead(parts, pattern))
    return [("/".join(parts), file) for parts, file in below if _matches(parts, pattern)]


def _below_paths(given: list[str | os.PathLike[str]], warnings: list[str]) -> _Found:
    """Files of several paths; the root is the folder common to all of them."""
    paths = [Path(os.path.abspath(_path(item))) for item in given]
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
            warnings.append(LeftOut(f"The folder `{label}` is left out: {_said(error)}.", "folder", name))
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


def _read(source: Path | bytes) -> tuple[bytes, None] | tuple[None, str]:
    """The text, or why there is none."""
    if isinstance(source, Path):
        try:
            if not stat.S_ISREG(os.stat(source).st_mode):  # opening a pipe would wait for ever
                return None, "it is not a regular file"
            with source.open("rb") as file:
                source = file.read(_PROBE)
                if b"\0" not in source:  # or a model that lies in the corpus folder would be read whole
                    source += file.read()
        except OSError as error:
            return None, _said(error)
    if not source:
        return None, "it is empty"
    nul = source.find(b"\0")
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return None, "it is UTF-16, not UTF-8, by the byte order mark at byte offset 0"
        if nul < 0 or error.start < nul:
            return None, f"it is not UTF-8, byte 0x{source[error.start]:02x} at byte offset {error.start}"
    if nul >= 0:
        return None, f"it is binary, a NUL byte at byte offset {nul}"
    return source, None


def _path(given: str | os.PathLike[str]) -> Path:
    if not isinstance(given, (str, os.PathLike)):
        raise CorpusError(f"a path of `files` must be a str or a path, got {shown_type(given)}", hint=f"give {_KINDS}")
    if not os.fspath(given):
        raise CorpusError("a path must not be empty", hint=f"give {_KINDS}; `.` is the current folder")
    return Path(given).expanduser()


def _encoded(name: str, text: str | bytes) -> bytes:
    if not isinstance(name, str) or not isinstance(text, (str, bytes)):
        raise CorpusError(
            f"a mapping as `files` must be from names (str) to texts (str or bytes), got {type(name).__name__} to "
            f"{type(text).__name__}",
            hint="for paths, give a list of them",
        )
    # A lone surrogate becomes bytes that are not UTF-8, which `_read` then names with their offset.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _unique(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def _said(error: OSError) -> str:
    return f"it cannot be read ({error.strerror or type(error).__name__})"
