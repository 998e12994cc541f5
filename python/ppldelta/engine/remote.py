"""The caller's side of the workers: hands tasks to an executor, shards of documents in, results per document out.

By default the executor is one local process (loky). What ends it (an abort of ggml, a kill, memory that ran out)
becomes a `ModelError` that names the model, the document and the last log lines; the next task gets a new process.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType

import loky
import numpy as np
from numpy.typing import NDArray

from ppldelta.engine import native, worker
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.plan import PlannedDocument
from ppldelta.engine.worker import Board, ContextSize, ModelFile, Reply
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.models.references import ModelReference
from ppldelta.text.documents import Document
from ppldelta.text.names import printable

IDLE_S = 120.0
"""Seconds after which a local worker that has nothing to do ends, and with it the models that it keeps."""

_SHARD_S = 0.25  # of evaluation: a hand-over costs about a millisecond, and a shard is what a dead worker loses
_SHARD_BYTES = 2**20  # of text to tokenize
_POLL_S = 0.1  # between two looks at the board
_GRACE_S = 1.0  # for a task to see that nobody waits for it any longer
_IN_FLIGHT_LOCAL = 3
_IN_FLIGHT = 32  # an executor does not say how many workers it has


class _Local:
    """One local worker process, the board that it shares with this one, and the file that its stderr goes to."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="ppldelta-"))
        weakref.finalize(self, _remove, folder, os.getpid())
        self.stderr = folder / "stderr"
        for path in (folder / "board", self.stderr):
            path.touch()
        self.board = Board(str(folder / "board"))
        weakref.finalize(self, self.board.close)
        self.executor = loky.ProcessPoolExecutor(
            max_workers=1,
            timeout=IDLE_S,
            initializer=worker.start,
            initargs=(str(folder / "board"), str(self.stderr), os.getpid()),
            env=_environment(),
        )

    def last_lines(self, most: int = 5) -> str:
        """The end of what the worker wrote to stderr, on one line; empty where it wrote nothing."""
        with self.stderr.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
        return " | ".join([line for line in lines if line][-most:])


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """What the worker's environment has beside ours; what the user set stays."""
    defaults = {
        # ggml would start a debugger and print a backtrace after the line that says what is wrong; Python as well
        "GGML_NO_BACKTRACE": "1",
        "PYTHONFAULTHANDLER": "",
        # loky would take a model that was loaded for a leak, and restart the worker
        "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


_idle: list[_Local] = []  # workers of calls that are over; a call takes one, so that two threads do not share one
_idle_lock = threading.Lock()
os.register_at_fork(after_in_child=_idle.clear)
_runs = itertools.count(1)


class Session:
    """Where one call has its models evaluated; a context manager that leaves nothing computing behind.

    Args:
        executor: runs the tasks; None for a local worker process, which stays for the next call until it was idle for
            `IDLE_S` seconds.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._foreign = executor
        self._local: _Local | None = None
        self._run = 0
        self._in_flight: set[Future[Reply]] = set()

    def __enter__(self) -> Session:
        if self._foreign is None:
            self._own()
            self._submit(worker.ready)  # starts while the caller reads the documents
            self._in_flight.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()
        if self._local:
            with _idle_lock:
                _idle.append(self._local)
            self._local = None

    def model(self, reference: ModelReference, *, n_gpu_layers: int | None = None) -> RemoteModel:
        """A model, of which nothing is loaded yet."""
        return RemoteModel(self, reference, ModelFile.of(reference.path, n_gpu_layers))

    @property
    def local(self) -> bool:
        """Whether the executor is our own."""
        return self._foreign is None

    def abandon(self) -> None:
        """Ends what is in flight: softly, so that the models stay loaded, or else by ending the worker."""
        pending = [future for future in self._in_flight if not future.cancel() and not future.done()]
        self._in_flight.clear()
        if not pending or not self._local:
            return
        self._local.board.run = 0
        try:
            wait(pending, timeout=_GRACE_S)
        finally:
            if all(future.done() for future in pending):
                self._begin()
            else:
                self._end_local()

    def _own(self) -> None:
        """Makes sure that there is a local worker."""
        if self._local is None:
            with _idle_lock:
                self._local = _idle.pop() if _idle else _Local()
            self._begin()

    def _begin(self) -> None:
        self._run = next(_runs)
        self._local.board.run = self._run

    def _end_local(self) -> None:
        local, self._local = self._local, None
        local.executor.shutdown(wait=True, kill_workers=True)

    def _submit(self, task: Callable[..., object], *arguments: object) -> Future[Reply]:
        """
        Raises:
            BrokenExecutor: of an executor that was handed in.
        """
        if self._foreign is not None:
            future = self._foreign.submit(worker.perform, task, 0, *arguments)
        else:
            self._own()
            with _interrupts_blocked():
                try:
                    future = self._local.executor.submit(worker.perform, task, self._run, *arguments)
                except BrokenExecutor:  # ended while it was idle
                    self._end_local()
                    self._own()
                    future = self._local.executor.submit(worker.perform, task, self._run, *arguments)
        self._in_flight.add(future)
        return future

    def _take(self, future: Future[Reply], label: str, doing: str, names: Sequence[str] = ()) -> object:
        """The value of a task that is done.

        Args:
            future: the task.
            label: the model's.
            doing: what the worker does, for people.
            names: of the caller's documents from the first one in flight on.

        Raises:
            PpldeltaError: the task's.
            ModelError: its process was ended.
        """
        try:
            reply = future.result()
        except Exception as error:
            if not isinstance(error, BrokenExecutor) and type(error).__name__ != "KilledWorker":  # Dask's
                raise
            raise self._death(error, label, doing, names) from None
        finally:
            self._in_flight.discard(future)
        for level, text in reply.log:
            native.logger.log(level, "%s", text)
        if reply.error:
            raise reply.error
        return reply.value

    def _death(self, error: Exception, label: str, doing: str, names: Sequence[str]) -> ModelError:
        signal_name = re.search(r"\bSIG[A-Z]+\b", str(error))
        cause = f"was ended by {signal_name[0]}" if signal_name else "ended unexpectedly"
        at, said = f", near `{printable(names[0])}`" if names else "", ""
        if self._local:
            item = self._local.board.item
            at = f", at `{printable(names[item])}`" if 0 <= item < len(names) else ""
            said = self._local.last_lines()
            self._end_local()
        return ModelError(
            f"the process that was {doing} `{label}` {cause}{at}" + (f"; its last log lines: {said}" if said else ""),
            hint="SIGKILL often means that the memory ran out: a smaller `n_ctx` or model needs less"
            if cause.endswith("SIGKILL")
            else "llama.cpp or its backend gave up; what it logged last may say why",
        )

    def call(self, task: Callable[..., object], *arguments: object, label: str, doing: str) -> object:
        """The value of one task, while nothing else is in flight."""
        if self._local:
            os.truncate(self._local.stderr, 0)  # the last lines shall be of this model
        future = self._guarded(label, doing, (), task, *arguments)
        while not wait(
            [future], timeout=_POLL_S
        ).done:  # with a timeout, so that Ctrl-C is seen whatever thread it hits
            pass
        return self._take(future, label, doing)

    def stream(
        self,
        task: Callable[..., object],
        shards: Iterator[range],
        arguments: Callable[[range], tuple],
        *,
        label: str,
        doing: str,
        names: Sequence[str],
        on_tokens: Callable[[int], object] | None = None,
    ) -> Iterator[tuple[range, object]]:
        """Values of a task on shards of documents, several in flight, in the order in which they are done.

        Args:
            task: a function of `engine.worker`.
            shards: which documents go together; asked for the next one when it is handed over.
            arguments: of the task, for a shard.
            label: the model's.
            doing: what the worker does, for people.
            names: of all documents.
            on_tokens: called with the number of tokens that a local worker has evaluated since the last call.
        """
        waiting: dict[Future[Reply], range] = {}
        most = _IN_FLIGHT_LOCAL if self.local else _IN_FLIGHT
        if self.local:
            self._own()
        n_fed = self._local.board.n_fed if self._local else 0
        try:
            while True:
                for shard in itertools.islice(shards, most - len(waiting)):
                    waiting[self._guarded(label, doing, names[shard.start :], task, *arguments(shard))] = shard
                if not waiting:
                    return
                done, _ = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                if self._local and on_tokens:
                    n_fed, before = self._local.board.n_fed, n_fed
                    on_tokens(n_fed - before)
                for future in sorted(done, key=lambda future: waiting[future].start):
                    rest = names if self._local else names[min(shard.start for shard in waiting.values()) :]
                    value = self._take(future, label, doing, rest)
                    yield waiting.pop(future), value
        finally:
            if waiting:
                self.abandon()

    def _guarded(
        self, label: str, doing: str, names: Sequence[str], task: Callable[..., object], *arguments: object
    ) -> Future[Reply]:
        try:
            return self._submit(task, *arguments)
        except BrokenExecutor as error:
            raise self._death(error, label, doing, names) from None


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started within ignores Ctrl-C from its first instruction on; ours sees it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class RemoteModel:
    """A model whose weights are where it is evaluated.

    Args:
        session: where that is.
        reference: its label and file.
        file: the same for the worker.
    """

    def __init__(self, session: Session, reference: ModelReference, file: ModelFile) -> None:
        self.reference = reference
        self._session = session
        self._file = file
        self._described: worker.Described | None = None
        self.load_s = 0.0
        """Seconds that loading the weights took, where `load` had to."""

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself; loads its vocabulary where nothing is loaded yet.

        Some of it (file type, sizes) is known only where `load` was called.
        """
        return self._describe(weights=False).info

    @property
    def build(self) -> Build:
        """What the worker is built from."""
        return self._describe(weights=False).build

    def load(self) -> ModelInfo:
        """Loads the weights where they are not there yet.

        Raises:
            ModelError: llama.cpp cannot load the file; the message carries its reason.
            PpldeltaError: the worker has another version of ppldelta.
        """
        started = time.perf_counter()
        self._described = None
        info = self._describe(weights=True).info
        self.load_s = max(self.load_s, time.perf_counter() - started)
        return info

    def _describe(self, weights: bool) -> worker.Described:
        if self._described is None:
            described = self._session.call(
                worker.describe, self._file, weights, label=self.reference.label, doing="loading"
            )
            theirs = described.build
            if theirs.release != native.release():
                raise PpldeltaError(
                    f"the executor's worker has {theirs.release}, this process {native.release()}",
                    hint="install the same ppldelta on all machines",
                )
            self._described = described
        return self._described

    def tokenize(self, documents: Sequence[Document]) -> list[NDArray[np.int32]]:
        """Tokens of each document, shape [n_tokens], without the BOS that the vocabulary may add.

        Raises:
            ModelError: the tokenizer fails.
        """
        tokens: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(documents)
        done = self._session.stream(
            worker.tokenize,
            _shards([len(document.text) for document in documents], lambda: _SHARD_BYTES),
            lambda shard: (self._file, shard.start, [documents[i].text for i in shard]),
            label=self.reference.label,
            doing="tokenizing for",
            names=[document.name for document in documents],
        )
        for shard, values in done:
            tokens[shard.start : shard.stop] = values
        return tokens

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]:
        """The bytes of each token; one character may be spread over several tokens."""
        return self._session.call(worker.pieces, self._file, tokens, label=self.reference.label, doing="reading")

    def score(
        self,
        planned: Sequence[PlannedDocument],
        size: ContextSize,
        on_tokens: Callable[[int], object] = lambda n_tokens: None,
    ) -> Iterator[list[tuple[int, NDArray[np.float32], float]]]:
        """Log-probabilities of each document's targets.

        Args:
            planned: the documents.
            size: of the context.
            on_tokens: called with the number of tokens evaluated since the last call, several times a second where
                the worker is local, else after each shard.

        Yields:
            As shards of documents are done, for each document: its index in `planned`; float32 of shape [n_scored] in
            nats, not finite where the model's logits are not; the seconds that its evaluation took (its part of the
            shard's).

        Raises:
            ModelError: llama.cpp fails, or the worker's process is ended.
        """
        batches = _batches(planned)
        n_fed = [sum(planned[i].n_fed for i in batch) for batch in batches]
        names = [planned[batch[0]].document.name for batch in batches]
        most_tokens = 1
        done = self._session.stream(
            worker.score,
            _shards(n_fed, lambda: most_tokens),
            lambda shard: (
                self._file,
                size,
                [(item, names[item], [planned[i].windows for i in batches[item]]) for item in shard],
            ),
            label=self.reference.label,
            doing="evaluating",
            names=names,
            on_tokens=on_tokens,
        )
        with closing(done):
            for shard, scored in done:
                n_shard = sum(n_fed[item] for item in shard)
                if not self._session.local:
                    on_tokens(n_shard)
                most_tokens = int(n_shard / max(scored.time_s, 1e-6) * _SHARD_S)
                documents = [i for item in shard for i in batches[item]]
                yield [
                    (i, logp, scored.time_s * planned[i].n_fed / n_shard)
                    for i, logp in zip(documents, scored.logp, strict=True)
                ]


def _batches(planned: Sequence[PlannedDocument]) -> list[list[int]]:
    """Indices of the documents that are evaluated together, in the order of the first of each."""
    batches: dict[int, list[int]] = {}
    for i, plan in enumerate(planned):
        batches.setdefault(plan.batch, []).append(i)
    return list(batches.values())


def _shards(sizes: Sequence[int], most: Callable[[], int]) -> Iterator[range]:
    """Consecutive items whose sizes sum up to at most what `most` says at the time, at least one each."""
    start = 0
    while start < len(sizes):
        stop, total, limit = start + 1, sizes[start], most()
        while stop < len(sizes) and total + sizes[stop] <= limit:
            total += sizes[stop]
            stop += 1
        yield range(start, stop)
        start = stop
