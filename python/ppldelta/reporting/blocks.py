"""Binary blocks of numbers for the page: what `page/blocks.js` decodes on demand, and the form in which they travel.

A block before compression: u32 (little-endian) with the length of a header, the header (JSON in UTF-8, padded with
spaces until the arrays begin at a multiple of 8), then the arrays that its `fields` name, each at a multiple of 8. A
field is ``[name, dtype, count]``; dtype is f64, f32, u32, i32, u16, i16 or u8, little-endian, or `json`, count bytes
of UTF-8. A leading `~` means that first all lowest bytes stand there, then all second ones and so on, which deflate
packs better. Raw deflate (`DecompressionStream("deflate-raw")` in browsers) and base64 make text of it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
"""What can be written as JSON."""

_DTYPES = {"f64": "<f8", "f32": "<f4", "u32": "<u4", "i32": "<i4", "u16": "<u2", "i16": "<i2", "u8": "<u1"}


def pack(fields: Iterable[tuple[str, str, object]], **more: Json) -> bytes:
    """A block as compressed bytes.

    Args:
        fields: name, dtype and values of each array (flattened row by row), or what is to be JSON.
        more: further entries of the header.

    Raises:
        PpldeltaError: a whole number does not fit its dtype.
    """
    listed, parts = [], []
    for name, dtype, values in fields:
        if dtype == "json":
            data = _json(values)
            listed.append([name, dtype, len(data)])
        else:
            array = _cast(name, np.asarray(values), _DTYPES[dtype.removeprefix("~")])
            listed.append([name, dtype, array.size])
            if dtype.startswith("~"):
                array = array.view(np.uint8).reshape(array.size, array.itemsize).T
            data = array.tobytes()
        parts.append(data + b"\0" * (-len(data) % 8))
    header = _json({"fields": listed, **more})
    header += b" " * (-(4 + len(header)) % 8)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = b"".join([len(header).to_bytes(4, "little"), header, *parts])
    return deflate.compress(raw) + deflate.flush()


def encode(block: bytes) -> str:
    """A block of `pack` as text, base64."""
    return base64.b64encode(block).decode("ascii")


def encoded_size(n_bytes: int) -> int:
    """Characters that `encode` makes of so many bytes."""
    return -(-n_bytes // 3) * 4


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _cast(name: str, values: NDArray[np.generic], dtype: str) -> NDArray[np.generic]:
    """Values as a flat array of another dtype; whole numbers that would wrap are refused."""
    target = np.dtype(dtype)
    if target.kind in "iu" and values.size:
        limits = np.iinfo(target)
        low, high = values.min(), values.max()
        if not (limits.min <= low and high <= limits.max):  # NaN neither
            raise PpldeltaError(f"`{name}` must lie between {limits.min} and {limits.max}, got {low} to {high}")
    return np.ascontiguousarray(values, dtype=target).ravel()
