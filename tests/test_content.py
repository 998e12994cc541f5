"""Whether a worker's model file is the caller's: by content, whatever its times, and read once."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ppldelta
from ppldelta import demo
from ppldelta.engine import content
from ppldelta.engine.loaded import PinnedSource
from ppldelta.models import identity
from ppldelta.models.identity import content_hash
from ppldelta.models.source import ModelSource


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(demo.REFERENCE, tmp_path / "model.gguf"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from here on; none is too new to be remembered."""
    monkeypatch.setattr(content, "_read", {})
    monkeypatch.setattr(identity, "_SETTLED_NS", -1)
    read: list[Path] = []

    def noted(source: ModelSource) -> str:
        read.append(source.path)
        return content_hash(source)

    monkeypatch.setattr(content, "content_hash", noted)
    return read


def changed(path: Path) -> None:
    """Another content of the same size."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_the_same_content_is_the_same_model_whatever_its_times(path: Path, reads: list[Path]) -> None:
    file = PinnedSource.of(ModelSource(path), None).elsewhere(content_hash(ModelSource(path)))
    os.utime(path, ns=(0, 0))
    file.refuse_other()
    assert file == PinnedSource.of(ModelSource(path), None).elsewhere(file.sha256)
    with pytest.raises(ppldelta.ModelError, match="has changed since the run began"):
        replace(file, times_ns=(1,), sha256=None).refuse_other()


def test_a_file_is_read_once_and_again_when_it_has_changed(path: Path, reads: list[Path]) -> None:
    file = PinnedSource.of(ModelSource(path), None).elsewhere(content_hash(ModelSource(path)))
    for _ in range(3):
        file.refuse_other()
    assert reads == [path]
    changed(path)
    with pytest.raises(ppldelta.ModelError, match=f"its sha256 begins with .* instead of {file.sha256[:12]}"):
        file.refuse_other()
    assert reads == [path] * 2


def test_a_file_that_is_new_is_not_remembered(path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_SETTLED_NS", 10**18)
    file = PinnedSource.of(ModelSource(path), None).elsewhere(content_hash(ModelSource(path)))
    for _ in range(2):
        file.refuse_other()
    assert reads == [path] * 2


def test_another_size_or_no_file_is_refused_unread(path: Path, reads: list[Path]) -> None:
    file = PinnedSource.of(ModelSource(path), None).elsewhere(content_hash(ModelSource(path)))
    n = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ppldelta.ModelError, match=f"another model file .*: {n + 1:,} bytes instead of {n:,}") as caught:
        file.refuse_other()
    assert "the same file under the same path" in caught.value.hint
    path.unlink()
    with pytest.raises(ppldelta.ModelError, match=r"the worker on .* does not have the model file"):
        file.refuse_other()
    assert reads == []


def test_of_a_split_model_every_part_counts(tmp_path: Path, reads: list[Path]) -> None:
    parts = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF" + part.name.encode())
    file = PinnedSource.of(ModelSource(parts[0]), None).elsewhere(content_hash(ModelSource(parts[0])))
    file.refuse_other()
    changed(parts[1])
    with pytest.raises(ppldelta.ModelError, match="sha256"):
        file.refuse_other()
    parts[1].unlink()
    with pytest.raises(ppldelta.ModelError, match="does not have the model file"):
        file.refuse_other()
