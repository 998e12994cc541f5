"""Files that hold a document in each row: which they are, and what becomes of rows that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ppldelta.errors import LeftOut
from ppldelta.text import jsonl, parquet
from ppldelta.text.document import Document
from ppldelta.text.rows import BrokenRow, BrokenTable, document_of
from ppldelta.wording.names import counted, printable, quoted

_Reader = Callable[[Path, Callable[[int], object]], Iterator[tuple[int, object]]]
_READERS: dict[str, tuple[_Reader, str]] = {
    ".jsonl": (jsonl.rows, "line"),
    ".ndjson": (jsonl.rows, "line"),
    ".parquet": (parquet.rows, "row"),
}
"""For each ending what reads such a file, and how its rows are called."""

_SHOWN = 3
"""Broken rows of a file of which a warning says what is wrong."""


def is_table(path: Path) -> bool:
    """Whether a file's rows are documents, by the ending of its name."""
    return path.suffix.lower() in _READERS


def table_documents(
    path: Path, name: str, warnings: list[str], on_bytes: Callable[[int], object] = lambda n_bytes: None
) -> list[Document]:
    """The documents of a table, in the order of its rows.

    Args:
        path: the file.
        name: its path below the corpus root; rows without `id` and `category` are called after it.
        warnings: one sentence for each kind of thing that is left out or worth knowing is added.
        on_bytes: called now and then with the bytes of the file that were read since the last call.

    Raises:
        BrokenTable: not one row is a document.
        OSError: the file cannot be read.
    """
    read, what = _READERS[path.suffix.lower()]
    category = name.split("/")[0] if "/" in name else ""
    documents: list[Document] = []
    broken: list[str] = []
    reasons: list[str] = []
    ignored: set[str] = set()
    for number, row in read(path, on_bytes):
        own = f"{name}:{number}"
        try:
            if isinstance(row, BrokenRow):
                raise row
            documents.append(document_of(row, own, category, ignored))
        except BrokenRow as error:
            broken.append(own)
            if len(reasons) < _SHOWN:
                reasons.append(f"{what} {number:,} {error}")
    if not documents:
        if not broken:
            raise BrokenTable("it has no rows")
        if read is jsonl.rows and (other := jsonl.other_form(path)):
            raise BrokenTable(other)
        none = "its only row is no document" if len(broken) == 1 else f"none of its {len(broken):,} rows is a document"
        raise BrokenTable(f"{none}: {_joined(reasons, len(broken))}")
    shown = printable(name)
    if broken:
        verb = "is" if len(broken) == 1 else "are"
        text = f"{counted(len(broken), 'row')} of `{shown}` {verb} left out: {_joined(reasons, len(broken))}."
        warnings.append(LeftOut(text, "document", *broken))
    if ignored:
        keys = quoted(sorted(ignored))
        warnings.append(f"Messages in `{shown}` have more than `role` and `content`, which is not read: {keys}.")
    return documents


def _joined(reasons: list[str], n: int) -> str:
    more = f"; and {n - len(reasons):,} more" if n > len(reasons) else ""
    return "; ".join(map(printable, reasons)) + more
