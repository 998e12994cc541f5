"""The signature is a mapping that keeps its order and is printed as a line; families hold what a file can hold."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest

from helpers import facts
from ppldelta.family import Noise, Signature
from ppldelta.saved.strict import Misfit, as_json, read


def test_a_signature_is_an_ordered_mapping_of_texts() -> None:
    signature = Signature.of({"windows": "every", "n_ctx": 512})
    assert dict(signature) == {"windows": "every", "n_ctx": "512"} and list(signature) == ["windows", "n_ctx"]
    assert str(signature) == "windows:every|n_ctx:512" and len(signature) == 2
    assert signature == pickle.loads(pickle.dumps(signature)) and hash(signature) == hash(Signature.of(signature))
    assert signature != Signature.of({"n_ctx": 512, "windows": "every"}), "its line would be another"
    with pytest.raises(KeyError):
        signature["kernels"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        signature.parts = ()


def test_a_line_is_not_read_back() -> None:
    """A value may hold what stands between parts."""
    old = Signature(line="windows:every|n_ctx:512")
    assert dict(old) == {} and str(old) == "windows:every|n_ctx:512"
    assert read(Signature, as_json(old)) == old
    odd = Signature.of({"a": "1|b:2", "b": ""})
    assert read(Signature, as_json(odd)) == odd and dict(odd) == {"a": "1|b:2", "b": ""}


def test_on_spans_of_text_the_noise_floor_is_in_bits_per_byte() -> None:
    noise = Noise("threads 1", gain=0.02, loss=0.03, kld=None, delta_max=1.0, n_scored=100, n_bytes=400)
    per_byte = 100 / 400 / math.log(2)
    assert noise.bits_per_byte == pytest.approx((0.02 * per_byte, 0.03 * per_byte))
    tokens = facts.family("f", noise=(noise,))
    spans = dataclasses.replace(tokens, align="bytes")
    assert tokens.is_within_noise(0.019, 0.029) and not spans.is_within_noise(0.019, 0.029)
    assert spans.is_within_noise(0.019 * per_byte, 0.029 * per_byte)
    older = dataclasses.replace(spans, noise=(dataclasses.replace(noise, n_bytes=None),))
    assert not older.is_within_noise(0.0, 0.0), "of an older result nobody knows the bytes"


def test_a_family_comes_back_from_json() -> None:
    family = facts.family("f", cmp=[facts.model("m", bos=1, kernels=("CPU",))], devices=("CPU: x",), n_fed=3)
    assert family.models == ["m"] and as_json(family)["family"] == "f"
    assert read(type(family), as_json(family)) == family
    with pytest.raises(Misfit, match=r"`cmp\[0\]\.bos` must be a whole number from 0 to \d+ or null, got -1"):
        read(type(family), as_json(dataclasses.replace(family, cmp=(facts.model("m", bos=-1),))))
