"""Content hashes of the models of a run.

The store gives those that it remembers at once. For the others a thread reads the files, while the caller loads and
tokenizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType

from ppldelta.console.progress import meter
from ppldelta.models.identity import Stamp, content_hash
from ppldelta.models.source import ModelSource
from ppldelta.store.store import Store

_POLL_S = 0.1


class _Stopped(Exception):
    """Nobody waits for the hash any longer."""


class Hashes:
    """Content hashes of models, each file read once; a context manager that stops reading at its end.

    A hash is remembered in the store unless the files changed while they were read or just before.

    Args:
        sources: the models.
        store: where hashes are remembered; None for nowhere.
    """

    def __init__(self, sources: Iterable[ModelSource], store: Store | None) -> None:
        self._store = store
        self._stopped = False
        self._n_read = self._n_told = 0
        self._stamps = {source: Stamp.of(source) for source in sources}
        self._known: dict[ModelSource, str] = {}
        if store:
            found = ((source, store.notes.remembered_hash(stamp)) for source, stamp in self._stamps.items() if stamp)
            self._known = {source: sha256 for source, sha256 in found if sha256}
        self._reader = ThreadPoolExecutor(1, "ppldelta-hashes")
        self._reading: dict[ModelSource, Future[str]] = {
            source: self._reader.submit(content_hash, source, self._on_read)
            for source in self._stamps
            if source not in self._known
        }
        self.n_bytes = sum(stamp.size_bytes for source in self._reading if (stamp := self._stamps[source]))
        """Bytes that are read, of all files together."""

    def known(self, source: ModelSource) -> str | None:
        """The hash; None if a file has to be read for it."""
        return self._known.get(source)

    def wait(self, source: ModelSource, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
        """The hash.

        Args:
            source: one of the models.
            on_read: called now and then with the number of bytes that were read, of any file, since the last call.

        Raises:
            ModelError: a file of the model is missing or cannot be read.
            StoreError: the hash cannot be remembered.
        """
        if future := self._reading.get(source):
            while not wait([future], timeout=_POLL_S).done:
                self._tell(on_read)
            self._known[source] = future.result()
            del self._reading[source]
            stamp = self._stamps[source]
            if self._store and stamp and stamp.settled and Stamp.of(source) == stamp:
                self._store.notes.remember_hash(stamp, self._known[source])
        self._tell(on_read)
        return self._known[source]

    def wait_visibly(self, source: ModelSource, visible: bool = True) -> str:
        """As `wait`; if that takes long, stderr shows how much of all files was read."""
        with meter(
            "reading the models", self.n_bytes, "byte", initial=self._n_told, brief=True, visible=visible
        ) as shown:
            return self.wait(source, shown.update)

    def __enter__(self) -> Hashes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _on_read(self, n_bytes: int) -> None:
        self._n_read += n_bytes
        if self._stopped:
            raise _Stopped

    def _tell(self, on_read: Callable[[int], object]) -> None:
        n_read = self._n_read
        on_read(n_read - self._n_told)
        self._n_told = n_read
