"""Content hashes of the models of a run: those that the store remembers at once, the others from a thread that reads
the files while the caller loads and tokenizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from ppldelta.console.progress import meter
from ppldelta.models.identity import Stamp, content_hash
from ppldelta.store.store import Store

_POLL_S = 0.1


class _Stopped(Exception):
    """Nobody waits for the hash any longer."""


class Hashes:
    """Content hashes of model files, each file read once; a context manager that stops reading at its end.

    A hash is remembered in the store where the files did not change while they were read nor a moment before.

    Args:
        paths: the models' files (of several, the first).
        store: where hashes are remembered; None for nowhere.
    """

    def __init__(self, paths: Iterable[Path], store: Store | None) -> None:
        self._store = store
        self._stopped = False
        self._n_read = self._n_told = 0
        self._stamps = {path: Stamp.of(path) for path in paths}
        self._known: dict[Path, str] = {}
        if store:
            found = ((path, store.remembered_hash(stamp)) for path, stamp in self._stamps.items() if stamp)
            self._known = {path: sha256 for path, sha256 in found if sha256}
        self._reader = ThreadPoolExecutor(1, "ppldelta-hashes")
        self._reading: dict[Path, Future[str]] = {
            path: self._reader.submit(content_hash, path, self._on_read)
            for path in self._stamps
            if path not in self._known
        }
        self.n_bytes = sum(stamp.size_bytes for path in self._reading if (stamp := self._stamps[path]))
        """Bytes that are read, of all files together."""

    def known(self, path: Path) -> str | None:
        """The hash, where no file has to be read for it any more."""
        return self._known.get(path)

    def wait(self, path: Path, on_read: Callable[[int], object] = lambda n_bytes: None) -> str:
        """The hash.

        Args:
            path: one of the files.
            on_read: called now and then with the number of bytes that were read, of any file, since the last call.

        Raises:
            ModelError: a file of the model is missing or cannot be read.
            StoreError: the hash cannot be remembered.
        """
        if future := self._reading.get(path):
            while not wait([future], timeout=_POLL_S).done:
                self._tell(on_read)
            self._known[path] = future.result()
            del self._reading[path]
            stamp = self._stamps[path]
            if self._store and stamp and stamp.settled and Stamp.of(path) == stamp:
                self._store.remember_hash(stamp, self._known[path])
        self._tell(on_read)
        return self._known[path]

    def wait_visibly(self, path: Path, visible: bool = True) -> str:
        """As `wait`; where that takes long, stderr shows how much of all files was read."""
        with meter(
            "reading the models", self.n_bytes, "byte", initial=self._n_told, brief=True, visible=visible
        ) as shown:
            return self.wait(path, shown.update)

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
