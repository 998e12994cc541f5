"""What runs where the models are: tasks that load, tokenize and score, and the models that are kept between them.

Every task is a module-level function with picklable arguments and results, so that it runs in any
`concurrent.futures.Executor`. In the local worker process, `start` has prepared a board on which the caller reads how
far a task is, also after the process was killed.
"""

from __future__ import annotations

import logging
import os
import signal
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine import native
from ppldelta.engine.native import Build, Model, ModelInfo, Scorer
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.models.references import model_files
from ppldelta.text.names import printable
from ppldelta.text.windows import Window


@dataclass(frozen=True)
class ModelFile:
    """A model as a worker needs to know it; equal only where the files on disk are the same.

    Attributes:
        path: the GGUF file (of several, the first), absolute.
        n_gpu_layers: layers on the GPU; None for all where a GPU backend is built in.
        stamp: size in bytes and modification time in ns of each of its files, as the caller found them.
    """

    path: Path
    n_gpu_layers: int | None
    stamp: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, path: Path, n_gpu_layers: int | None) -> ModelFile:
        path = Path(os.path.abspath(path))
        return cls(path, n_gpu_layers, _stamp(path))

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.stamp)


def _stamp(path: Path) -> tuple[tuple[int, int], ...]:
    stats = [part.stat() for part in model_files(path) if part.exists()]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


@dataclass(frozen=True)
class ContextSize:
    """What a context is made from (see `native.Scorer`)."""

    n_ctx: int
    n_ubatch: int
    threads: int
    n_seq_max: int = 1


@dataclass(frozen=True)
class Described:
    """What a model says of itself, and what the worker that has loaded it is built from."""

    info: ModelInfo
    build: Build


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of each document of a shard in its order (float32, nats), and the seconds that they took."""

    logp: list[NDArray[np.float32]]
    time_s: float


@dataclass(frozen=True)
class Reply:
    """What comes back from a task: its value or its error, and what llama.cpp logged where the caller cannot see it."""

    value: object = None
    error: PpldeltaError | None = None
    log: list[tuple[int, str]] = field(default_factory=list)


class Board:
    """Three numbers in a file that the caller and its local worker both see.

    A file rather than a queue: writing costs about a microsecond, nothing has to be throttled or drained, and what the
    worker wrote last is still there when it was killed.

    Attributes of the layout (int64 each):
        run: set by the caller; a task of another run ends at its next micro-batch.
        item: set by the worker: number of the document that it is at, or `NO_ITEM`.
        n_fed: set by the worker: tokens that it has evaluated since the board was made.
    """

    NO_ITEM = -1
    _WORD = struct.Struct("=q")

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self._fd).st_size == 0:
            os.pwrite(self._fd, bytes(3 * self._WORD.size), 0)

    def close(self) -> None:
        os.close(self._fd)

    def _get(self, word: int) -> int:
        return self._WORD.unpack(os.pread(self._fd, self._WORD.size, word * self._WORD.size))[0]

    def _set(self, word: int, value: int) -> None:
        os.pwrite(self._fd, self._WORD.pack(value), word * self._WORD.size)

    run = property(lambda self: self._get(0), lambda self, value: self._set(0, value))
    item = property(lambda self: self._get(1), lambda self, value: self._set(1, value))
    n_fed = property(lambda self: self._get(2), lambda self, value: self._set(2, value))


class Stopped(Exception):
    """The caller waits for this task no longer."""


# --- the local worker process ---------------------------------------------------------------------------------------


class _Process:
    """The local worker: its board, and the log lines that go back with the next reply."""

    def __init__(self, board: Board, parent: int) -> None:
        self.board = board
        self.parent = parent
        self.n_fed = board.n_fed
        self.log = _Collector()
        logger = logging.getLogger(native.logger.name)
        logger.addHandler(self.log)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False

    def step(self, run: int, n_tokens: int) -> None:
        """After every micro-batch: shows progress, and ends the task where nobody waits for it."""
        self.n_fed += n_tokens
        self.board.n_fed = self.n_fed
        self.check(run)

    def check(self, run: int) -> None:
        if os.getppid() != self.parent:  # the caller was killed
            os._exit(1)
        if self.board.run != run:
            raise Stopped


class _Collector(logging.Handler):
    """Keeps log lines for the next reply, and writes them to stderr, whose end the caller reads after a death."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))
        os.write(2, (record.getMessage().rstrip() + "\n").encode("utf-8", "replace"))

    def drain(self) -> list[tuple[int, str]]:
        lines, self.lines = self.lines, []
        return lines


_process: _Process | None = None


def start(board: str, stderr: str, parent: int) -> None:
    """Prepares a local worker process: Ctrl-C is the caller's affair, and stderr goes to a file that the caller reads.

    Args:
        board: path of the file for a `Board`.
        stderr: path of the file for stderr.
        parent: process id of the caller, without which the worker ends itself.
    """
    global _process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fd = os.open(stderr, os.O_WRONLY | os.O_APPEND)
    os.dup2(fd, 2)
    os.close(fd)
    _process = _Process(Board(board), parent)


# --- tasks ----------------------------------------------------------------------------------------------------------


_one_at_a_time = threading.RLock()  # in an executor of threads; an evaluation has all cores to itself


def perform(task: Callable[..., object], run: int, *arguments: object) -> Reply:
    """Runs one of the tasks below; what ppldelta raises on purpose comes back in the reply, the log beside it."""
    value = error = None
    with _one_at_a_time:
        if _process:
            _process.board.item = Board.NO_ITEM
            _process.check(run)
        try:
            value = task(run, *arguments)
        except PpldeltaError as caught:
            error = caught.with_traceback(None)
        return Reply(value, error, _process.log.drain() if _process else [])


def ready(run: int) -> None:
    """Does nothing: a worker that has done it has started."""


def describe(run: int, file: ModelFile, weights: bool) -> Described:
    """Loads a model, with its weights or only its vocabulary.

    Raises:
        ModelError: see `native.Model`.
    """
    loaded = _models.get(file, weights)
    return Described(loaded.model.info, native.build())


def tokenize(run: int, file: ModelFile, first: int, texts: Sequence[bytes]) -> list[NDArray[np.int32]]:
    """Tokens of texts, the first of which bears the number `first` among the caller's documents."""
    model = _models.get(file, weights=False).model
    tokens = []
    for item, text in enumerate(texts, first):
        _show(run, item)
        tokens.append(model.tokenize(text))
    return tokens


def pieces(run: int, file: ModelFile, tokens: NDArray[np.int32]) -> list[bytes]:
    """The bytes of each token."""
    return _models.get(file, weights=False).model.pieces(tokens)


def score(
    run: int, file: ModelFile, size: ContextSize, batches: Sequence[tuple[int, str, Sequence[Sequence[Window]]]]
) -> Scored:
    """Log-probabilities of a shard of documents, in batches: (number, name, windows of each document) each.

    Documents that share a batch have one window each.

    Raises:
        ModelError: llama.cpp fails; the message names the batch's first document.
    """
    scorer = _models.get(file, weights=True).scorer(size)
    started = time.perf_counter()
    logp = []
    for item, name, documents in batches:
        _show(run, item)
        try:
            if len(documents) == 1:
                logp.append(np.concatenate([scorer.score(window, _on_step(run)) for window in documents[0]]))
            else:
                logp += scorer.score_together([window for (window,) in documents], _on_step(run))
        except ModelError as error:
            raise ModelError(f"{error.message} (in `{printable(name)}`)", hint=error.hint) from None
    return Scored(logp, time.perf_counter() - started)


def _show(run: int, item: int) -> None:
    if _process:
        _process.check(run)
        _process.board.item = item


def _on_step(run: int) -> Callable[[int], None]:
    process = _process
    return (lambda n_tokens: process.step(run, n_tokens)) if process else (lambda n_tokens: None)


# --- models that stay loaded ----------------------------------------------------------------------------------------


class _Loaded:
    """A model and its last context.

    A context is used again only for the same size: models with two sets of RoPE factors (LongRoPE) choose between them
    by the size of the context, so that in a larger one the same window would get other numbers.
    """

    def __init__(self, file: ModelFile, weights: bool) -> None:
        self.weights = weights
        self.model = Model(file.path, n_gpu_layers=file.n_gpu_layers, vocab_only=not weights)
        self.size_bytes = self.model.info.size_bytes if weights else 0
        self._scorer: tuple[ContextSize, Scorer] | None = None

    def scorer(self, size: ContextSize) -> Scorer:
        if self._scorer is None or self._scorer[0] != size:
            self._scorer = None  # its memory first
            self._scorer = size, Scorer(self.model, **asdict(size))
        return self._scorer[1]

    def drop_scorer(self) -> None:
        self._scorer = None


class Models:
    """The models used last, as many as `most_bytes` of tensors allow, and always the current one.

    Only the current one has a context. Of models of which only the vocabulary is loaded, the last one stays. On a GPU,
    whose memory is not known here and where too little of it may end the process, only the current model stays.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.n_loads = 0  # of weights
        self._kept: OrderedDict[ModelFile, _Loaded] = OrderedDict()
        self._vocabulary: tuple[ModelFile, _Loaded] | None = None

    def get(self, file: ModelFile, weights: bool) -> _Loaded:
        """A model with its weights, or one that at least tokenizes.

        Raises:
            ModelError: it cannot be loaded, or its files are no longer those that the caller found.
        """
        if file in self._kept:
            for other in self._others(file):
                self._kept[other].drop_scorer()
            self._kept.move_to_end(file)
            return self._kept[file]
        if not weights and self._vocabulary and self._vocabulary[0] == file:
            return self._vocabulary[1]
        if _stamp(file.path) != file.stamp:
            raise ModelError(
                f"the model file `{printable(file.path)}` has changed since the run began", hint="start the run again"
            )
        self._vocabulary = None
        if not weights:
            loaded = _Loaded(file, weights)
            self._vocabulary = file, loaded
            return loaded
        most_bytes = 0 if native.on_gpu(file.n_gpu_layers) else self.most_bytes
        for other in self._others(file):  # oldest first
            self._kept[other].drop_scorer()
            if sum(kept.size_bytes for kept in self._kept.values()) + file.size_bytes > most_bytes:
                del self._kept[other]
        loaded = self._kept[file] = _Loaded(file, weights)
        self.n_loads += 1
        return loaded

    def _others(self, file: ModelFile) -> Iterator[ModelFile]:
        return (other for other in list(self._kept) if other != file)


def _memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less where a container limits it."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(installed, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file; "max"
            continue
    return installed


_models = Models(_memory_bytes() // 4)


def n_loads(run: int) -> int:
    """How often this process has loaded a model's weights."""
    return _models.n_loads
