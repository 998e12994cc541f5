"""What the head of a GGUF file says: its metadata, and the names, types and shapes of its tensors.

Read here in plain Python, so that adapters are checked where no model may be loaded. The layout is that of
ggml's docs/gguf.md, versions 2 and 3, little-endian, as this llama.cpp reads it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ppldelta.errors import ModelError
from ppldelta.wording.names import printable

Value = int | float | bool | str | list[int | float | bool]
"""Of a key; arrays of texts or of arrays are left out."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY, _F32 = 8, 9, 0
_LONGEST_ARRAY = 4096


@dataclass(frozen=True)
class Shape:
    """A tensor as the head names it: sizes of its dimensions in ggml's order, and whether it holds float32."""

    sizes: tuple[int, ...]
    is_f32: bool


@dataclass(frozen=True)
class Header:
    """The head of one file.

    Attributes:
        metadata: values by key, without arrays of texts and arrays of more than 4096 values, which stand here empty.
        tensors: by name.
    """

    metadata: dict[str, Value]
    tensors: dict[str, Shape]

    def text(self, key: str) -> str:
        """A text, empty if the key is missing or holds something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """A whole number; None if the key is missing or holds something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """Reads a file's head; with a vocabulary of 262 thousand tokens that takes 0.03 s of one core.

    Raises:
        ModelError: the file cannot be read, or its head is cut short or damaged.
    """
    try:
        with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            return _parsed(data)
    except OSError as error:
        raise ModelError(f"cannot read `{printable(path)}`: {error.strerror}") from error
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ModelError(
            f"the head of `{printable(path)}` is damaged or cut short", hint="compare its size with the original's"
        ) from error


def _parsed(data: mmap.mmap) -> Header:
    """
    Raises:
        ValueError, struct.error, IndexError: it is no head.
    """
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version not in (2, 3) or max(n_tensors, n_keys) > len(data):
        raise ValueError("no head of a GGUF file")
    at = 24
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key, at = _text(data, at)
        (type,) = struct.unpack_from("<I", data, at)
        metadata[key], at = _value(data, at + 4, type)
    return Header(metadata, dict(_tensors(data, at, n_tensors)))


def _tensors(data: mmap.mmap, at: int, n_tensors: int) -> Iterator[tuple[str, Shape]]:
    for _ in range(n_tensors):
        name, at = _text(data, at)
        (n_dims,) = struct.unpack_from("<I", data, at)
        if n_dims > 8:
            raise ValueError("more dimensions than a tensor has")
        sizes = struct.unpack_from(f"<{n_dims}Q", data, at + 4)
        (type,) = struct.unpack_from("<I", data, at + 4 + 8 * n_dims)
        at += 4 + 8 * n_dims + 4 + 8
        yield name, Shape(sizes, type == _F32)


def _value(data: mmap.mmap, at: int, type: int) -> tuple[Value, int]:
    """A value and where the next thing begins."""
    if type == _STRING:
        return _text(data, at)
    if type != _ARRAY:
        (value,) = struct.unpack_from(_scalar(type), data, at)
        return value, at + struct.calcsize(_scalar(type))
    of, n = struct.unpack_from("<IQ", data, at)
    at += 12
    if of in (_STRING, _ARRAY):
        for _ in range(n):
            at = _value(data, at, of)[1] if of == _ARRAY else at + 8 + struct.unpack_from("<Q", data, at)[0]
        return [], at
    size = struct.calcsize(_scalar(of))
    if n * size > len(data) - at:
        raise ValueError("an array that is longer than the file")
    kept = struct.unpack_from(f"<{n}{_scalar(of)[1]}", data, at) if n <= _LONGEST_ARRAY else ()
    return list(kept), at + n * size


def _scalar(type: int) -> str:
    if type not in _SCALARS:
        raise ValueError(f"no type of a value: {type}")
    return _SCALARS[type]


def _text(data: mmap.mmap, at: int) -> tuple[str, int]:
    """A text and where the next thing begins."""
    (n,) = struct.unpack_from("<Q", data, at)
    if n > len(data) - at - 8:
        raise ValueError("a text that is longer than the file")
    return data[at + 8 : at + 8 + n].decode("utf-8", "replace"), at + 8 + n
