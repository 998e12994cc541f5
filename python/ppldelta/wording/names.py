"""Names of files as text: what can be written anywhere, and what fits one line of a terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

LONGEST_NAME = 48
"""Columns of a terminal that a name takes at most in a table."""


def as_utf8(name: str | os.PathLike[str]) -> str:
    """A name that can be written anywhere; Python holds bytes of a file's name that are not UTF-8 as surrogates."""
    name = os.fspath(name)
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # another surrogate, from a mapping
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(name: str | os.PathLike[str]) -> str:
    """A name for one line of a terminal: control characters and stray bytes escaped."""
    name = os.fspath(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def escaped(text: str) -> str:
    """A text for a terminal: as `printable`, but lines and every kind of space stay as they are."""
    return "".join(c if c in " \n" or unicodedata.category(c) == "Zs" else printable(c) for c in text)


def width(text: str) -> int:
    """Columns that a printable text takes in a terminal: East Asian characters two, marks upon others none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def shortened(text: str, most: int) -> str:
    """A text in at most so many columns, the middle left out: the end of a model's name says which copy it is."""
    if width(text) <= most:
        return text
    head, tail = text[: 2 * most], text[-2 * most :]
    while width(head) > most // 2:
        head = head[:-1]
    while width(tail) > most - 1 - width(head) or unicodedata.combining(tail[:1] or " "):
        tail = tail[1:]
    return f"{head}…{tail}"


def columns(rows: Sequence[tuple[str, ...]], *, n_left: int) -> list[str]:
    """Lines of a table for a terminal; the first `n_left` columns are aligned on the left."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for at, (cell, most) in enumerate(zip(row, widths, strict=True)):
            space = " " * (most - width(cell))
            cells.append(cell + space if at < n_left else space + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def shown_name(name: str | os.PathLike[str], most: int = LONGEST_NAME) -> str:
    """A name for a cell of a table or a bar: printable, and not so long that it takes the place of the rest."""
    return shortened(printable(name), most)


def counted(n: int, noun: str) -> str:
    """A number of things for people: `1 token`, `1,234 tokens`, `2 families`."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else several}"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """A list for people: the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def quoted(names: Sequence[str], most: int = 5) -> str:
    """The same, each name printable and between backticks."""
    return some_of([f"`{printable(name)}`" for name in names], most)


def shown_type(value: object) -> str:
    """A value of a wrong type for people: what it is, and of which type."""
    text = printable(repr(value))
    return f"{text if len(text) <= 40 else text[:39] + '…'} ({type(value).__name__})"
