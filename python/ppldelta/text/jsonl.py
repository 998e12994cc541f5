"""Reads a file with a JSON object in each line (JSONL, NDJSON), line by line, whatever its size."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ppldelta.text.rows import MOST_BYTES, BrokenRow, BrokenTable

_LONGEST_LINE = 2 * MOST_BYTES
"""JSON writes some characters with six bytes; lines that are longer are not read into memory."""


def rows(path: Path, on_bytes: Callable[[int], object]) -> Iterator[tuple[int, object]]:
    """Each row with the number of its line, the first being 1; a `BrokenRow` where a line is none. Blank lines count,
    but are no rows.

    Args:
        path: the file.
        on_bytes: called now and then with the bytes that were read since the last call.

    Raises:
        BrokenTable: the file is UTF-16, or its first line opens a JSON array that goes on behind it.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        number = n_told = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if number % _ROWS == 0:
                on_bytes(file.tell() - n_told)
                n_told = file.tell()
            if number == 1:
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise BrokenTable("it is UTF-16, not UTF-8, by the byte order mark at byte offset 0")
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > _LONGEST_LINE and not line.endswith(b"\n"):
                n_bytes = len(line) + _rest_of_line(file)
                yield number, BrokenRow(f"is {n_bytes:,} bytes long; at most {_LONGEST_LINE:,} are read")
            elif not line.isspace():
                row = _parsed(line.rstrip(b"\r\n"))
                if number == 1 and isinstance(row, BrokenRow) and line.lstrip().startswith(b"["):
                    raise BrokenTable(_ARRAY)  # though its last line may be an object by itself
                yield number, row
        on_bytes(file.tell() - n_told)


def other_form(path: Path) -> str | None:
    """What kind of JSON a file without a single row is instead, if its first line says so.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE).removeprefix(codecs.BOM_UTF8).strip()
    if first.startswith(b"["):
        return _ARRAY
    if first == b"{":
        return "it has an object over several lines; write one object a line"
    return None


_ARRAY = "it is one JSON array; write one object a line"
_ROWS = 1024
"""Between two calls of `on_bytes`."""


def _parsed(line: bytes) -> object:
    try:
        return _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        return BrokenRow(f"is not UTF-8, byte 0x{line[error.start]:02x} at byte offset {error.start} of the line")
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at")
        return BrokenRow(f"is no JSON: {said[:1].lower()}{said[1:]} at column {error.pos + 1}")
    except RecursionError:
        return BrokenRow("is nested too deeply")
    except ValueError as error:  # a number of thousands of digits
        return BrokenRow(f"is not read: {error}")


_DECODER = json.JSONDecoder()


def _rest_of_line(file: BinaryIO) -> int:
    """Reads on to the end of a line, keeping nothing of it; how many bytes that were, without the line break."""
    n_bytes = 0
    while part := file.readline(2**20):
        n_bytes += len(part.removesuffix(b"\n"))
        if part.endswith(b"\n"):
            break
    return n_bytes
