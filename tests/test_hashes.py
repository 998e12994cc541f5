"""Content hashes: read once, remembered until a file changes, read in a thread that ends when nobody waits."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppldelta.errors import ModelError
from ppldelta.models import identity
from ppldelta.models.source import ModelSource
from ppldelta.store import hashes as hashes_module
from ppldelta.store.hashes import Hashes
from ppldelta.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> Path:
    parts = [tmp_path / f"big-0000{i}-of-00002.gguf" for i in (1, 2)]
    for i, part in enumerate(parts):
        part.write_bytes(b"GGUF" + bytes([i]) * 100)
        _age(part)
    return parts[0]


def _age(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been made long ago; the inode's time cannot be set."""
    monkeypatch.setattr(identity, "_SETTLED_NS", -1)


def content_hash(path: Path, store: Store | None) -> tuple[str, int]:
    """The hash, and how many bytes were read for it."""
    reads: list[int] = []
    source = ModelSource(path)
    with Hashes([source], store) as hashes:
        assert (hashes.known(source) is None) == (hashes.n_bytes > 0)
        sha256 = hashes.wait(source, reads.append)
        assert hashes.known(source) == hashes.wait(source) == sha256
        assert sum(reads) == hashes.n_bytes
    return sha256, sum(reads)


def test_a_hash_is_remembered_until_a_file_changes(store: Store, path: Path, model: Path, settled: None) -> None:
    second = model.with_name("big-00002-of-00002.gguf")
    first = hashlib.sha256(model.read_bytes() + second.read_bytes()).hexdigest()
    assert content_hash(model, None) == (first, 208)
    assert content_hash(model, store) == (first, 208)
    with Store(path) as another:
        assert content_hash(model, another) == (first, 0)

    second.write_bytes(b"GGUF" + bytes([7]) * 100)
    _age(second)  # same size, same time of change: the inode's tells
    changed = hashlib.sha256(model.read_bytes() + second.read_bytes()).hexdigest()
    assert content_hash(model, store) == (changed, 208)
    assert changed != first
    second.unlink()
    with pytest.raises(ModelError, match="big-00002"), Hashes([ModelSource(model)], store) as hashes:
        hashes.wait(ModelSource(model))


def test_a_link_to_another_file_is_another_model(store: Store, tmp_path: Path, settled: None) -> None:
    link = tmp_path / "m.gguf"
    for name in "ab":
        (tmp_path / name).write_bytes(b"GGUF" + name.encode())
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        assert content_hash(link, store) == (hashlib.sha256(b"GGUF" + name.encode()).hexdigest(), 5)


def test_a_hash_of_a_fresh_file_is_not_remembered(store: Store, model: Path) -> None:
    for _ in range(2):
        assert content_hash(model, store)[1] == 208


def test_files_that_change_while_they_are_read_are_not_remembered(
    store: Store, model: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(source: ModelSource, on_read: object) -> str:
        sha256 = identity.content_hash(source)
        model.write_bytes(b"GGUF, and more")
        return sha256

    monkeypatch.setattr(hashes_module, "content_hash", slow)
    with Hashes([ModelSource(model)], store) as hashes:
        hashes.wait(ModelSource(model))
    monkeypatch.undo()
    with Hashes([ModelSource(model)], store) as hashes:
        assert hashes.known(ModelSource(model)) is None


def test_reading_ends_when_nobody_waits(tmp_path: Path) -> None:
    for name in "ab":
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 34)  # a hole: 16 GiB to read
    with Hashes([ModelSource(tmp_path / name) for name in "ab"], None):
        assert any(thread.name.startswith("ppldelta-hashes") for thread in threading.enumerate())
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("ppldelta-hashes") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
