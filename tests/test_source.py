"""What a model is: equality and content hash, with adapters and without."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from ppldelta.errors import ModelError
from ppldelta.models.identity import Stamp, content_hash
from ppldelta.models.references import LabelledSource, unique_labels
from ppldelta.models.source import Adapter, ModelSource
from ppldelta.store.hashes import Hashes
from ppldelta.store.store import Store


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}.gguf" for name in ("base", "a", "b", "copy")}
    for name, path in found.items():
        path.write_bytes(b"GGUF" + (b"a" if name == "copy" else name.encode()) * 10)
    return found


@pytest.fixture
def different(files: dict[str, Path]) -> list[ModelSource]:
    """Models of which no two are the same."""
    base, a, b = (files[name] for name in ("base", "a", "b"))
    applied: list[tuple[Adapter, ...]] = [
        (),
        (Adapter(a),),
        (Adapter(a, 0.5),),
        (Adapter(a, -0.5),),
        (Adapter(a, 0.1 + 0.2),),
        (Adapter(a, 0.3),),
        (Adapter(a, 0.0),),
        (Adapter(b),),
        (Adapter(a), Adapter(b)),
        (Adapter(b), Adapter(a)),
        (Adapter(a), Adapter(a)),
    ]
    return [ModelSource(base, adapters) for adapters in applied] + [ModelSource(a), ModelSource(a, (Adapter(base),))]


def test_no_two_models_share_a_key(different: list[ModelSource]) -> None:
    for key in (lambda each: each, hash, content_hash, lambda each: Stamp.of(each).text):
        assert all(key(one) != key(other) for one, other in combinations(different, 2))
    assert len({Stamp.of(each).name for each in different}) == len(different)


def test_without_adapters_the_key_is_the_hash_of_the_file(files: dict[str, Path]) -> None:
    """What stores of before have filed their rows under."""
    source = ModelSource(files["base"])
    assert content_hash(source) == hashlib.sha256(files["base"].read_bytes()).hexdigest()
    stamp, stat = Stamp.of(source), files["base"].stat()
    assert stamp.name == str(files["base"]).encode()
    assert stamp.text == f'[["{files["base"]}", {stat.st_size}, {stat.st_mtime_ns}, {stat.st_ctime_ns}]]'


def test_an_adapter_is_its_content(files: dict[str, Path]) -> None:
    one, other = (ModelSource(files["base"], (Adapter(files[name], 0.5),)) for name in ("a", "copy"))
    assert one != other
    assert content_hash(one) == content_hash(other)
    files["copy"].write_bytes(b"GGUF")
    assert content_hash(one) != content_hash(other)
    files["copy"].unlink()
    with pytest.raises(ModelError, match=r"cannot read the model file `.*copy\.gguf`"):
        content_hash(other)
    assert Stamp.of(other) is None


def test_equal_scales_are_one(files: dict[str, Path]) -> None:
    for one, other in ((1, 1.0), (0.0, -0.0)):
        a, b = (ModelSource(files["base"], (Adapter(files["a"], scale),)) for scale in (one, other))
        assert a == b
        assert content_hash(a) == content_hash(b)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ModelError, match=r"the scale of the adapter `.*a\.gguf` must be a finite number"):
            Adapter(files["a"], wrong)


def test_names_and_labels_say_what_is_applied(different: list[ModelSource]) -> None:
    assert [each.name for each in different[:4]] == ["base", "base+a:1", "base+a:0.5", "base+a:-0.5"]
    labelled = [LabelledSource(each.name, each) for each in different]
    assert len({each.label for each in unique_labels(labelled)}) == len(different)


def test_files_are_all_that_is_read(files: dict[str, Path], tmp_path: Path) -> None:
    first = tmp_path / "big-00001-of-00002.gguf"
    source = ModelSource(first, (Adapter(files["a"]), Adapter(files["b"])))
    assert [path.name for path in source.parts] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert source.files == [*source.parts, files["a"], files["b"]]
    for path in source.parts:
        path.write_bytes(b"GGUF")
    assert source.size_bytes == sum(path.stat().st_size for path in source.files)
    assert replace(source, path=Path("a.gguf")).absolute().path == Path("a.gguf").absolute()


def test_a_store_remembers_each_of_them(different: list[ModelSource], tmp_path: Path) -> None:
    expected = [content_hash(each) for each in different]
    with Store(tmp_path / "s.sqlite") as store:
        for each, sha256 in zip(different, expected, strict=True):
            store.notes.remember_hash(Stamp.of(each), sha256)
        with Hashes(different, store) as hashes:
            assert hashes.n_bytes == 0
            assert [hashes.known(each) for each in different] == expected
    with Hashes(different, None) as hashes:
        assert [hashes.wait(each) for each in different] == expected
