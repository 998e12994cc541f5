"""Models from the Hugging Face hub: a name → a commit and its files → files in the hub's cache on this machine.

huggingface_hub asks the hub and keeps the cache. Only the transfer is done here: huggingface_hub 2 throws away what an
interrupted process has of a file, and models have gigabytes. A partial file is `blobs/HASH.incomplete`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ppldelta.errors import ModelError
from ppldelta.models import hub_errors
from ppldelta.models.hub import HubName, choose
from ppldelta.models.hub_cache import CachedRepo, cache_folder, is_offline
from ppldelta.models.source import HubFile, ModelSource
from ppldelta.wording import numbers
from ppldelta.wording.names import printable

if TYPE_CHECKING:
    from hashlib import _Hash

_TIMEOUT_S = 30.0
_PAUSE_S = 1.0
_TRIES = 5
"""Attempts without a single new byte before a transfer is given up."""
_CHUNK = 1 << 20
_MOST_HTTP_BYTES = 50_000_000_000
"""The hub serves larger files only through its own protocol, xet, which huggingface_hub speaks."""


class Advance(Protocol):
    """What is told how far a download is."""

    def update(self, n: int) -> None:
        """So many bytes more are there."""


class Silent:
    """An `Advance` that shows nothing."""

    def update(self, n: int) -> None:
        """Shows nothing."""


Shown = Callable[[str, int, int], AbstractContextManager[Advance]]
"""Makes what shows a download: from the file's name, its bytes, and those that are there already."""


@dataclass(frozen=True)
class HubEntry:
    """A file of a repository.

    Attributes:
        path: in the repository.
        size_bytes: its size; 0 if only the cache was asked.
        digest: its sha256, or the id that git gives a small file; empty if only the cache was asked.
    """

    path: str
    size_bytes: int = 0
    digest: str = ""

    def hasher(self) -> _Hash:
        """What computes `digest` from the file's bytes."""
        if len(self.digest) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub, found and not yet downloaded.

    Attributes:
        name: as the user named it.
        commit: what its revision is.
        files: the model's, in order.
    """

    name: HubName
    commit: str
    files: tuple[HubEntry, ...]


class Hub:
    """The hub during one call of ppldelta: a repository is asked once, so that all models of it are of one commit.

    Args:
        shown: makes what shows each download.
    """

    def __init__(self, shown: Shown = lambda what, total, initial: nullcontext(Silent())) -> None:
        self.warnings: list[str] = []
        """Sentences for the reader of the numbers."""
        self._shown = shown
        self._cache = cache_folder()
        self._repos: dict[tuple[str, str | None], tuple[str, list[HubEntry]]] = {}

    def find(self, name: HubName) -> HubModel:
        """Asks the hub which files a name means; without a network the cache says what it has.

        Raises:
            ModelError: there is no such repository, revision or file, or the hub does not let the user in; there is no
                network and the cache does not hold the model; huggingface_hub is missing.
        """
        try:
            if is_offline():
                raise hub_errors.offline(name, self._cache)
            key = name.repo, name.revision
            if key not in self._repos:
                self._repos[key] = self._ask(name)
            commit, entries = self._repos[key]
        except hub_errors.UnreachableError as error:
            return self._find_in_cache(name, error)
        by_path = {entry.path: entry for entry in entries}
        return HubModel(name, commit, tuple(by_path[path] for path in choose(name, list(by_path))))

    def fetch(self, model: HubModel) -> ModelSource:
        """Downloads what the cache lacks of a model. If that is interrupted, the next call goes on from there.

        Raises:
            ModelError: the disk is full, the cache cannot be written, or the download failed.
        """
        repo = CachedRepo(self._cache, model.name.repo)
        snapshot = repo.snapshot(model.commit)
        missing = [entry for entry in model.files if not (snapshot / entry.path).exists()]
        try:
            self._refuse_full_disk(model, [entry for entry in missing if not repo.blob(entry.digest).exists()])
            for entry in missing:
                with hub_errors.translated(model.name):
                    self._download(model, entry)
            if repo.commit(model.name.revision) != model.commit:
                repo.note_commit(model.name.revision, model.commit)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise hub_errors.full_disk(model.name, self._cache) from error
            raise ModelError(
                f"cannot write to the hub's cache `{printable(self._cache)}`: {error.strerror or error}",
                hint="let LLAMA_CACHE or HF_HOME name a folder that you may write to",
            ) from error
        first = model.files[0].path
        return ModelSource(snapshot / first, origin=HubFile(model.name.repo, first, model.commit))

    def _ask(self, name: HubName) -> tuple[str, list[HubEntry]]:
        """The commit that the revision is, and all files of the repository in the hub's order.

        Raises:
            ModelError: as `find`.
        """
        with hub_errors.translated(name):
            from huggingface_hub import HfApi
            from huggingface_hub.hf_api import RepoFile

            api = HfApi(endpoint=_endpoint(), library_name="ppldelta")
            commit = api.model_info(name.repo, revision=name.revision, timeout=_TIMEOUT_S).sha
            if commit is None:
                raise ModelError(f"the hub names no commit of `{name}`", hint="see what HF_ENDPOINT names")
            tree = api.list_repo_tree(name.repo, revision=commit, recursive=True)
            files = [each for each in tree if isinstance(each, RepoFile)]
        return commit, [
            HubEntry(
                each.path,
                each.lfs.size if each.lfs else each.size,
                each.lfs.sha256 if each.lfs else each.blob_id,
            )
            for each in files
        ]

    def _find_in_cache(self, name: HubName, error: hub_errors.UnreachableError) -> HubModel:
        """
        Raises:
            ModelError: the cache does not hold the model.
        """
        repo = CachedRepo(self._cache, name.repo)
        commit = repo.commit(name.revision)
        if commit is None:
            raise error
        held = repo.files(commit)
        try:
            paths = choose(name, held)
        except ModelError:
            raise error.with_held([path for path in held if path.endswith(".gguf")]) from None
        if not is_offline():
            self.warnings.append(
                f"The hub does not answer: `{name}` is `{paths[0]}` as this machine's cache has it, of commit "
                f"{commit[:12]}."
            )
        return HubModel(name, commit, tuple(map(HubEntry, paths)))

    def _refuse_full_disk(self, model: HubModel, entries: list[HubEntry]) -> None:
        """
        Raises:
            ModelError: the files do not fit.
        """
        repo = CachedRepo(self._cache, model.name.repo)
        needed = sum(max(0, entry.size_bytes - _size(_partial(repo.blob(entry.digest)))) for entry in entries)
        there = self._cache
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        if needed > free:
            raise hub_errors.full_disk(
                model.name, self._cache, f"{numbers.size(needed)} more, {numbers.size(free)} free"
            )

    def _download(self, model: HubModel, entry: HubEntry) -> None:
        """Puts a file into the cache, under its name in the commit's snapshot.

        Raises:
            ModelError: the file that came is not the one that was asked for, or the transfer broke off.
            OSError: it cannot be written.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported without __all__

        repo = CachedRepo(self._cache, model.name.repo)
        blob, lock = repo.blob(entry.digest), repo.lock(entry.digest)
        if not blob.exists() and entry.size_bytes <= _MOST_HTTP_BYTES:
            for folder in (blob.parent, lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):  # another process may be at it, ppldelta or huggingface_hub
                if not blob.exists():
                    self._transfer(model, entry, blob)
        # what is a blob already gets only its name; what is none yet is larger than HTTP may carry
        hf_hub_download(model.name.repo, entry.path, revision=model.commit, cache_dir=self._cache, endpoint=_endpoint())

    def _transfer(self, model: HubModel, entry: HubEntry, blob: Path) -> None:
        """Downloads a file, or the rest of it.

        Raises:
            ModelError: as `_download`.
            OSError: it cannot be written.
        """
        partial, digest, n = _partial(blob), entry.hasher(), 0
        if _size(partial) > entry.size_bytes:
            partial.unlink()
        with partial.open("a+b", buffering=0) as file:
            file.seek(0)
            while block := file.read(_CHUNK):
                digest.update(block)
                n += len(block)
            with self._shown(entry.path.rpartition("/")[2], entry.size_bytes, n) as shown:
                tries = 0
                while n < entry.size_bytes:
                    tries, before, why = tries + 1, n, "the connection was closed"
                    try:
                        for chunk in _chunks(model, entry, n):
                            file.write(chunk)
                            digest.update(chunk)
                            n += len(chunk)
                            shown.update(len(chunk))
                    except hub_errors.transient() as error:
                        if not hub_errors.is_worth_another_try(error):
                            raise
                        why = hub_errors.first_line(error)
                    tries = tries if n == before else 0
                    if tries == _TRIES:
                        raise hub_errors.broken_off(model.name, entry.path, n, entry.size_bytes, why)
                    if n < entry.size_bytes:
                        time.sleep(_PAUSE_S)
        if n > entry.size_bytes or digest.hexdigest() != entry.digest:
            partial.unlink()
            raise ModelError(
                f"what came as `{printable(entry.path)}` from the repository `{model.name.repo}` is not what the hub "
                "has: its hash is another",
                hint="run the same command again, which downloads the file anew",
            )
        partial.replace(blob)


def _chunks(model: HubModel, entry: HubEntry, start: int) -> Iterator[bytes]:
    """A file's bytes from a position on. Its address may redirect to another host, which gets no token.

    Raises:
        Exception: what huggingface_hub and its HTTP library raise.
    """
    from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported without __all__

    url = hf_hub_url(model.name.repo, entry.path, revision=model.commit, endpoint=_endpoint())
    headers = {**build_hf_headers(library_name="ppldelta"), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        skip = start if response.status_code == 200 else 0  # no range came, but all of it
        for chunk in response.iter_bytes():
            rest = chunk[skip:]
            skip -= len(chunk) - len(rest)
            if rest:
                yield rest


def _endpoint() -> str | None:
    """Where the hub is; None for huggingface.co. huggingface_hub reads the variable only once."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
