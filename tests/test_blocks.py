"""Blocks: what is packed comes back, lies where the page looks for it, and never wraps."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from helpers.blocks import DTYPES, decode
from ppldelta.errors import PpldeltaError
from ppldelta.reporting.blocks import encode, encoded_size, pack


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_every_dtype_comes_back(count: int) -> None:
    rng = np.random.default_rng(count)
    arrays = {}
    for dtype, form in DTYPES.items():
        kind = np.dtype(form)
        values = rng.normal(0, 1e9, count).astype(kind) if kind.kind == "f" else None
        if values is None:
            values = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, count, dtype=kind.newbyteorder("="))
        arrays |= {dtype: values, f"~{dtype}": values}
    words = {"a": ['</script>"\u2028', "漢字", ""], "b": 0.5}
    header, values = decode(
        encode(pack([("j", "json", words), *((d, d, v) for d, v in arrays.items())], complete=True))
    )
    assert header["complete"] is True
    assert values.pop("j") == words
    assert [name for name, _, _ in header["fields"]] == ["j", *arrays]
    for dtype, array in arrays.items():
        assert values[dtype].tobytes() == array.astype(DTYPES[dtype.removeprefix("~")]).tobytes()


def test_arrays_lie_at_multiples_of_eight() -> None:
    raw = zlib.decompress(base64.b64decode(encode(pack([("a", "u8", [1]), ("b", "f64", [2.0])]))), wbits=-15)
    n_header = int.from_bytes(raw[:4], "little")
    assert (4 + n_header) % 8 == 0
    assert raw[4 + n_header :] == b"\1" + 7 * b"\0" + np.array([2.0]).tobytes()


def test_a_matrix_is_flattened_row_by_row() -> None:
    _, values = decode(encode(pack([("m", "~i16", np.array([[1, 2, 3], [4, 5, 6]]).T)])))
    assert values["m"].tolist() == [1, 4, 2, 5, 3, 6]


@pytest.mark.parametrize(("dtype", "value"), [("u16", 65536), ("u8", -1), ("i16", 40000), ("u32", 2**32)])
def test_a_number_that_would_wrap_is_refused(dtype: str, value: int) -> None:
    with pytest.raises(PpldeltaError, match="`x` must lie between"):
        pack([("x", dtype, [value])])


def test_json_holds_no_nan() -> None:
    with pytest.raises(ValueError):
        pack([("x", "json", [float("nan")])])


@pytest.mark.parametrize("n_bytes", range(7))
def test_encoded_size(n_bytes: int) -> None:
    assert encoded_size(n_bytes) == len(encode(bytes(n_bytes)))
