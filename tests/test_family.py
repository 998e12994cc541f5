"""The signature is a mapping that keeps its order and is printed as a line; families hold what a file can hold."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from helpers import facts
from ppldelta.family import Signature
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


def test_a_family_comes_back_from_json() -> None:
    family = facts.family("f", cmp=[facts.model("m", bos=1, kernels=("CPU",))], devices=("CPU: x",), n_fed=3)
    assert family.models == ["m"] and as_json(family)["family"] == "f"
    assert read(type(family), as_json(family)) == family
    with pytest.raises(Misfit, match=r"`cmp\[0\]\.bos` must be a whole number from 0 to \d+ or null, got -1"):
        read(type(family), as_json(dataclasses.replace(family, cmp=(facts.model("m", bos=-1),))))
