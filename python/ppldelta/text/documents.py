"""From files to documents: what is read, what it is called, what is left out and why.

A document's bytes go to the tokenizer as they are: no newline is converted and a byte order mark stays (and is
scored), because that is what stock llama-perplexity does with ``-bf FILE``; only then do the numbers match.
(With ``-f FILE`` llama.cpp drops one final newline.)
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from ppldelta.errors import CorpusError, LeftOut
from ppldelta.text.document import Document
from ppldelta.text.paths import KINDS, Found, as_path, below_path, below_paths, said
from ppldelta.text.rows import FORMS, BrokenTable
from ppldelta.text.tables import is_table, table_documents
from ppldelta.wording.names import as_utf8, counted, printable, shown_type

__all__ = ["Document", "Files", "corpus_path", "load_documents"]

Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | bytes]
"""What `load_documents` takes."""

Show = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Is told how many bytes of tables there are, and gives what is told how many were read since it was last told."""


def _unseen(n_bytes: int) -> AbstractContextManager[Callable[[int], object]]:
    return nullcontext(lambda n_bytes: None)


_PROBE = 1 << 16
"""Bytes that are read before it is clear that a file is no text."""


def load_documents(files: Files, show: Show = _unseen) -> tuple[list[Document], list[str]]:
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

    Each row of a ``.jsonl``, ``.ndjson`` or ``.parquet`` file is a document (`text.rows`); rows that are none are left
    out with one warning for the file.

    Args:
        files: the corpus, as above.
        show: shows how far the reading of tables is.

    Returns:
        The documents sorted by name, those of a table in the order of its rows in its place, and the warnings: one
        sentence for each thing left out (a `LeftOut`) or worth knowing.

    Raises:
        CorpusError: a path does not exist, nothing matched, or nothing that matched can be scored; `files`, a path in
            it, or a text in it is of another type.
    """
    warnings: list[str] = []
    if isinstance(files, Mapping):
        found: Found = [(name, _encoded(name, text)) for name, text in files.items()]
        where = "the mapping"
    elif isinstance(files, (str, os.PathLike)):
        found = below_path(files, warnings)
        where = f"`{printable(os.fspath(files))}`"
    elif isinstance(files, Iterable) and not isinstance(files, (bytes, bytearray)):
        paths = list(files)
        found = below_path(paths[0], warnings) if len(paths) == 1 else below_paths(paths, warnings)
        where = "the paths given"
    else:
        raise CorpusError(f"`files` must name documents, got {shown_type(files)}", hint=f"give {KINDS}")
    if not found:
        listed = "".join(f"\n  {warning}" for warning in warnings[:3])
        raise CorpusError(f"no document in {where}{listed}", hint=_empty_hint(files))

    read: list[tuple[str, list[Document]]] = []
    names = _Names()
    with show(sum(_table_bytes(source) for _, source in found)) as on_bytes:
        for raw_name, source in sorted(found, key=lambda item: item[0]):
            name = as_utf8(raw_name)
            try:
                if isinstance(source, Path) and is_table(source):
                    rows = _read_table(source, name, warnings, on_bytes)
                    read.append((name, names.of_rows(rows, name, warnings)))
                    continue
                text = _read(source)
            except _Unreadable as error:
                warnings.append(LeftOut(f"`{printable(name)}` is left out: {error}.", "document", name))
                continue
            if (unique := names.unique(name)) != name:
                name = unique
                warnings.append(f"Two documents have the same name; the second is called `{printable(name)}`.")
            if text.startswith(codecs.BOM_UTF8):
                begins = f"`{printable(name)}` starts with a byte order mark"
                warnings.append(f"{begins}, which is scored like any other text.")
            read.append((name, [Document(name, name.split("/")[0] if "/" in name else "", text)]))
    if not read:
        shown = "".join(f"\n  {warning}" for warning in warnings[:3])
        more = f"\n  … and {len(warnings) - 3} more" if len(warnings) > 3 else ""
        tables = [isinstance(source, Path) and is_table(source) for _, source in found]
        hints = [FORMS] * any(tables) + ["a document is a UTF-8 text that is not empty"] * (not all(tables))
        raise CorpusError(f"no document in {where} can be scored:{shown}{more}", hint="; ".join(hints))
    return [each for _, some in sorted(read, key=lambda item: item[0]) for each in some], warnings


class _Names:
    """The names that documents have so far."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}  # and the last number behind each

    def unique(self, name: str) -> str:
        """The name, or if it is taken the name with a number behind it; it is taken from now on."""
        if name not in self._taken:
            self._taken[name] = 1
            return name
        number = self._taken[name] + 1
        while (numbered := f"{name} ({number})") in self._taken:
            number += 1
        self._taken[name] = number
        self._taken[numbered] = 1
        return numbered

    def of_rows(self, documents: list[Document], table: str, warnings: list[str]) -> list[Document]:
        """The same documents under names that are unique, and a warning if some were not."""
        renamed: list[tuple[str, str]] = []
        for i, each in enumerate(documents):
            if (name := self.unique(each.name)) != each.name:
                renamed.append((each.name, name))
                documents[i] = replace(each, name=name)
        if renamed:
            before, name = map(printable, renamed[0])
            others = f", and {counted(len(renamed) - 1, 'other row')} likewise" if len(renamed) > 1 else ""
            warnings.append(
                f"`{before}` in `{printable(table)}` is another document's name as well: it is called `{name}`{others}."
            )
        return documents


class _Unreadable(Exception):
    """Why a file is no document."""


def _table_bytes(source: Path | bytes) -> int:
    """The size of a table; 0 for what is none, or cannot be read."""
    try:
        return os.stat(source).st_size if isinstance(source, Path) and is_table(source) else 0
    except OSError:
        return 0


def _read_table(path: Path, name: str, warnings: list[str], on_bytes: Callable[[int], object]) -> list[Document]:
    try:
        _refuse_irregular(path)
        return table_documents(path, name, warnings, on_bytes)
    except OSError as error:
        raise _Unreadable(said(error)) from None
    except BrokenTable as error:
        raise _Unreadable(str(error)) from None


def _refuse_irregular(path: Path) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
        raise _Unreadable("it is not a regular file")


def _empty_hint(files: Files) -> str:
    """The next step if nothing was found."""
    if isinstance(files, Mapping):
        return "a mapping holds a text for each name; give at least one"
    if not isinstance(files, (str, os.PathLike)):
        return f"give {KINDS}"
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
    absolute = [os.path.abspath(as_path(path)) for path in paths]
    return as_utf8(os.path.commonpath(absolute)) if absolute else None


def _read(source: Path | bytes) -> bytes:
    """The text of a file, or bytes that are known to be one.

    Raises:
        _Unreadable: there is none.
    """
    if isinstance(source, Path):
        try:
            _refuse_irregular(source)
            with source.open("rb") as file:
                source = file.read(_PROBE)
                if b"\0" not in source:  # or a model that lies in the corpus folder would be read whole
                    source += file.read()
        except OSError as error:
            raise _Unreadable(said(error)) from None
    if not source:
        raise _Unreadable("it is empty")
    nul = source.find(b"\0")
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise _Unreadable("it is UTF-16, not UTF-8, by the byte order mark at byte offset 0") from None
        if nul < 0 or error.start < nul:
            byte = source[error.start]
            raise _Unreadable(f"it is not UTF-8, byte 0x{byte:02x} at byte offset {error.start}") from None
    if nul >= 0:
        raise _Unreadable(f"it is binary, a NUL byte at byte offset {nul}")
    return source


def _encoded(name: str, text: str | bytes) -> bytes:
    if not isinstance(name, str) or not isinstance(text, (str, bytes)):
        raise CorpusError(
            f"a mapping as `files` must be from names (str) to texts (str or bytes), got {type(name).__name__} to "
            f"{type(text).__name__}",
            hint="for paths, give a list of them",
        )
    # A lone surrogate becomes bytes that are not UTF-8, which `_read` then names with their offset.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
