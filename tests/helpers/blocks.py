"""The page's side of a payload in Python: text → base64 → raw deflate → header and arrays."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

DTYPES = {"f64": "<f8", "f32": "<f4", "u32": "<u4", "i32": "<i4", "u16": "<u2", "i16": "<i2", "u8": "<u1"}


def decode(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header, and the arrays and JSON values by name."""
    raw = zlib.decompress(base64.b64decode(text, validate=True), wbits=-15)
    at = 4 + int.from_bytes(raw[:4], "little")
    assert at % 8 == 0
    header = json.loads(raw[4:at])
    values: dict[str, Any] = {}
    for name, dtype, count in header["fields"]:
        if dtype == "json":
            values[name] = json.loads(raw[at : at + count])
            at += count
        else:
            form = np.dtype(DTYPES[dtype.removeprefix("~")])
            data = np.frombuffer(raw, np.uint8, count * form.itemsize, at)
            if dtype.startswith("~"):
                data = data.reshape(form.itemsize, count).T
            values[name] = np.frombuffer(data.tobytes(), form)
            at += count * form.itemsize
        assert raw[at : at + -at % 8].strip(b"\0") == b""
        at += -at % 8
    assert at == len(raw)
    return header, values
