"""Models as users write them: what is found, what it is called, and what the errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppldelta.errors import ModelError
from ppldelta.models.identity import content_hash
from ppldelta.models.references import resolve, resolve_many, unique_labels
from ppldelta.models.source import ModelSource


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in (
        "a/m.Q8_0.gguf",
        "b/m.Q8_0.gguf",
        "b/other.gguf",
        "s/big-00001-of-00002.gguf",
        "s/big-00002-of-00002.gguf",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"GGUF" + name.encode())
    return tmp_path


def test_a_label_is_the_name_without_its_ending(models: Path) -> None:
    assert resolve(models / "a/m.Q8_0.gguf").label == "m.Q8_0"
    assert resolve(models / "s/big-00001-of-00002.gguf").label == "big"
    assert resolve(models / "b/other.gguf", label="mine").label == "mine"


def test_equal_labels_are_told_apart_by_folder_and_number(models: Path) -> None:
    a, b = models / "a/m.Q8_0.gguf", models / "b/m.Q8_0.gguf"

    def labels(many: object) -> list[str]:
        return [r.label for r in unique_labels(resolve_many(many))]

    assert labels([a, b]) == ["a/m.Q8_0", "b/m.Q8_0"]
    assert labels([a, a, a]) == ["a/m.Q8_0", "a/m.Q8_0 (2)", "a/m.Q8_0 (3)"]
    assert labels({"x": a, "y": a}) == ["x", "y"]
    assert labels(str(a)) == ["m.Q8_0"]
    assert labels([resolve(a, label="m.Q8_0"), b]) == ["m.Q8_0", "b/m.Q8_0"], "a label that was given stays"
    assert labels([resolve(a, label="x"), resolve(b, label="x")]) == ["x", "x (2)"]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("a/missing.gguf", "no model file", "m.Q8_0.gguf"),
        ("nowhere/deep/missing.gguf", "no model file", "does not exist"),
        ("a", "is a folder", "m.Q8_0.gguf"),
        ("text.gguf", "not a GGUF file", "convert"),
        ("empty.gguf", "not a GGUF file: it is empty", "convert"),
        ("s/big-00002-of-00002.gguf", "part 2", "big-00001-of-00002.gguf"),
    ],
)
def test_errors_name_the_value_and_the_next_step(models: Path, name: str, message: str, hint: str) -> None:
    (models / "text.gguf").write_text("hello")
    (models / "empty.gguf").touch()
    with pytest.raises(ModelError, match=message) as caught:
        resolve(models / name)
    assert name.split("/")[-1] in caught.value.message
    assert hint in caught.value.hint


def test_no_comparison_is_an_error() -> None:
    with pytest.raises(ModelError, match="no comparison"):
        resolve_many([])


def test_identity_is_the_content_of_all_files(models: Path) -> None:
    first = models / "s/big-00001-of-00002.gguf"
    assert [path.name for path in ModelSource(first).parts] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    before = content_hash(ModelSource(first))
    renamed = models / "renamed-00001-of-00002.gguf"
    renamed.write_bytes(first.read_bytes())
    (models / "renamed-00002-of-00002.gguf").write_bytes((models / "s/big-00002-of-00002.gguf").read_bytes())
    assert content_hash(ModelSource(renamed)) == before
    (models / "s/big-00002-of-00002.gguf").write_bytes(b"GGUF changed")
    assert content_hash(ModelSource(first)) != before
    (models / "s/big-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelError, match="big-00002-of-00002"):
        content_hash(ModelSource(first))
