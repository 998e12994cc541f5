"""What runs where the models are: tasks that load, tokenize and score.

Every task is a module-level function with picklable arguments and results, so that it runs in any
`concurrent.futures.Executor`; in the local worker process (`engine.process`) it shows how far it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ppldelta import posix
from ppldelta.engine import kept, llama_log, looking, native, process, trusted
from ppldelta.engine.chats import ChatFacts, Rendered
from ppldelta.engine.kept import KeptRows
from ppldelta.engine.loaded import ContextSize, PinnedSource, Shelf, Weights
from ppldelta.engine.looking import Looked, View
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.recognition import Recognition, recognise
from ppldelta.engine.trusted import Trust
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.text.document import Message
from ppldelta.text.ragged import Ragged
from ppldelta.text.special import Spelt
from ppldelta.text.windows import Batch
from ppldelta.wording.names import printable

T = TypeVar("T")
"""What a task gives."""


@dataclass(frozen=True)
class Described:
    """What a model says of itself, and what the worker that has loaded it is built from."""

    info: ModelInfo
    build: Build


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of a shard.

    Attributes:
        logp: of each window, in the order of the windows: float32, in nats.
        time_s: seconds that the shard took.
        kernels: what computed the numbers (`native.Build.kernels`); another worker may be another machine.
        trusted: kernels that the worker has checked so far.
        best: of each window what is most probable at each place (`pairs.BEST`), if that was asked for.
    """

    logp: Sequence[NDArray[np.float32]]
    time_s: float
    kernels: str
    trusted: frozenset[Trust]
    best: list[NDArray[np.void]] = field(default_factory=list)


@dataclass(frozen=True)
class Paired:
    """A shard of windows under a reference and its comparisons.

    Attributes:
        models: what each model gave, the reference first; the error of a comparison that failed.
        pairs: records of type `pairs.record` of each window, for each comparison; none where it failed.
        infos: what each model says of itself; None where it failed.
        time_s: seconds that all of it took, with loading.
    """

    models: list[Scored | ModelError]
    pairs: list[list[NDArray[np.void]]]
    infos: list[ModelInfo | None]
    time_s: float


@dataclass(frozen=True)
class Reply(Generic[T]):
    """What comes back from a task.

    Attributes:
        value: the task's.
        error: what it raised instead.
        log: what llama.cpp logged where the caller cannot see it.
        release: `native.release()` of the process that ran it; empty from a version that does not say it.
    """

    value: T | None = None
    error: PpldeltaError | None = None
    log: list[tuple[int, str]] = field(default_factory=list)
    release: str = ""


_shelf = Shelf(posix.memory_bytes() // 4)
_one_at_a_time = threading.RLock()  # in an executor of threads; an evaluation has all cores to itself


def perform(task: Callable[..., T], run: int, log_level: int, *arguments: object) -> Reply[T]:
    """Runs one of the tasks below; what ppldelta raises on purpose comes back in the reply.

    From a local worker the log comes back too, as far as the caller listens to it (`log_level`, as in `logging`).
    """
    value: T | None = None
    error: PpldeltaError | None = None
    with _one_at_a_time:
        if process.current:
            process.current.board.item = process.Board.NO_ITEM
            process.current.check(run)
            llama_log.logger.setLevel(log_level)
        try:
            if process.current:
                native.connect(process.current.rpc)
            value = task(run, *arguments)
        except PpldeltaError as caught:
            error = caught.with_traceback(None)
        return Reply(value, error, process.current.log.drain() if process.current else [], native.release())


def ready(run: int) -> None:
    """Does nothing: a worker that has done it has started."""


def describe(run: int, pinned: PinnedSource, weights: Weights) -> Described:
    """Loads a model.

    Raises:
        ModelError: see `native.Model`.
    """
    loaded = _shelf.get(pinned, weights)
    return Described(loaded.model.info, native.build())


def tokenize(run: int, pinned: PinnedSource, first: int, texts: Sequence[bytes | Spelt]) -> Ragged[np.int32]:
    """Tokens of texts; `first` is the number of the first text among the caller's documents."""
    loaded = _shelf.get(pinned, Weights.NOT_NEEDED)
    tokens = []
    for item, text in enumerate(texts, first):
        _show(run, item)
        tokens.append(loaded.chats.tokenize(text) if isinstance(text, Spelt) else loaded.model.tokenize(text))
    return Ragged.of(tokens, np.int32)


def chat_facts(run: int, pinned: PinnedSource) -> ChatFacts:
    """What a model says of chats."""
    return _shelf.get(pinned, Weights.NOT_NEEDED).chats.facts


def render(
    run: int, pinned: PinnedSource, first: int, template: str, chats: Sequence[Sequence[Message]]
) -> list[Rendered | str]:
    """Chats as texts (`Chats.render`); `first` is the number of the first one among the caller's documents.

    Raises:
        ModelError: the template cannot be parsed.
    """
    _show(run, first)
    return _shelf.get(pinned, Weights.NOT_NEEDED).chats.render(template, chats)


def recognised(run: int, reference: PinnedSource, comparison: PinnedSource) -> Recognition:
    """Whether a comparison is a quant of a reference; neither is loaded.

    Raises:
        ModelError: a file cannot be read, or is not the one that the caller found.
    """
    return recognise(reference, comparison)


def pieces(run: int, pinned: PinnedSource, tokens: NDArray[np.int32]) -> list[bytes]:
    """The bytes of each token."""
    return _shelf.get(pinned, Weights.NOT_NEEDED).model.pieces(tokens)


def score(
    run: int,
    pinned: PinnedSource,
    size: ContextSize,
    first: int,
    batches: Sequence[Batch],
    known: Set[Trust] = frozenset(),
    best: bool = False,
) -> Scored:
    """Log-probabilities of a shard; `first` is the number of its first batch among the caller's batches. If `best` is
    asked for, what is most probable at each place comes with them.

    Before the first window, those kernels are checked that are not `known` to be right.

    Raises:
        ModelError: a kernel is wrong, or llama.cpp fails; the message then names the batch's first document.
    """
    found = trusted.check(pinned, native.on_gpu(pinned.n_gpu_layers), known)
    scorer = _shelf.get(pinned, Weights.NEEDED).scorer(size)
    started = time.perf_counter()
    logp, tops = [], []
    for item, batch in enumerate(batches, first):
        with _on(batch, run, item):
            if best:
                values, of_batch = scorer.describe(batch.windows, _on_step(run))
                tops += of_batch
            else:
                values = scorer.score_together(batch.windows, _on_step(run))
            logp += values
    time_s = time.perf_counter() - started
    return Scored(Ragged.of(logp, np.float32), time_s, native.build().kernels, found, tops)


def look(run: int, models: Sequence[PinnedSource], size: ContextSize, view: View) -> Looked:
    """What one model or two see in a short text (`engine.looking`).

    Raises:
        ModelError: a kernel is wrong, or as `looking.look`.
    """
    for pinned in models:
        trusted.check(pinned, native.on_gpu(pinned.n_gpu_layers), frozenset())
    _show(run, 0)
    return looking.look(_shelf, models, size, view, _on_step(run))


def refuse_too_many_rows(run: int, n_rows: int, n_vocab: int) -> None:
    """Raises `ModelError` where a batch has more rows than this worker keeps at a time (`kept.BUDGET_BYTES`)."""
    kept.refuse_too_many(n_rows, n_vocab)


def score_pairs(
    run: int,
    reference: PinnedSource,
    comparisons: Sequence[PinnedSource],
    sizes: Sequence[ContextSize],
    first: int,
    batches: Sequence[Batch],
    known: Set[Trust] = frozenset(),
    top_k: int = 0,
) -> Paired:
    """Evaluates a reference and its comparisons in lockstep: a block of batches under each, so that a block of the
    reference's rows is kept and every comparison is compared with it. No rows are kept between two tasks; models and
    their contexts are, where they have room.

    A comparison that fails is left out from there on. The arguments are as for `score`; `top_k` is how many of the best
    tokens the records have, and `sizes` are those of each model's context, the reference's first.

    Raises:
        ModelError: the reference fails, or the rows of a single batch take more memory than there is for them.
    """
    began = time.perf_counter()
    models = [reference, *comparisons]
    passes = [_Pass() for _ in models]

    def attend(i: int, block: range, rows: list[KeptRows]) -> None:
        """Model i reads a block; the reference fills `rows`, a comparison is compared with them."""
        mine = passes[i]
        mine.trusted = trusted.check(models[i], native.on_gpu(models[i].n_gpu_layers), known)
        loaded = _shelf.get(models[i], Weights.NEEDED, beside=beside)
        mine.info = loaded.model.info
        scorer = loaded.scorer(sizes[i])
        started = time.perf_counter()
        for item in block:
            with _on(batches[item], run, first + item):
                if i == 0:
                    logp, of_batch = scorer.keep(batches[item].windows, _on_step(run), top_k)
                    rows.append(of_batch)
                else:
                    of_batch = rows[item - block.start]
                    logp, pairs = scorer.compare(batches[item].windows, of_batch, _on_step(run))
                    mine.pairs += pairs
                mine.logp += logp
        mine.time_s += time.perf_counter() - started

    first_loaded = _shelf.get(reference, Weights.NEEDED, beside=True)
    n_vocab = first_loaded.model.info.n_vocab
    others_bytes = first_loaded.scorer(sizes[0]).size_bytes * len(comparisons)  # a comparison's context is as large
    beside = kept.leaves_room(others_bytes, max(batch.n_scored for batch in batches), n_vocab)
    for block in kept.blocks(batches, n_vocab, others_bytes if beside else 0):
        rows: list[KeptRows] = []  # the last block's are free by now
        attend(0, block, rows)
        for i, mine in enumerate(passes[1:], 1):
            if mine.error is None:
                try:
                    attend(i, block, rows)
                except ModelError as error:
                    passes[i] = _Pass(error=error.with_traceback(None))
    kernels = native.build().kernels
    return Paired(
        [mine.error or Scored(mine.logp, mine.time_s, kernels, mine.trusted) for mine in passes],
        [mine.pairs for mine in passes[1:]],
        [mine.info for mine in passes],
        time.perf_counter() - began,
    )


@dataclass
class _Pass:
    """What one of several models in lockstep has given so far."""

    logp: list[NDArray[np.float32]] = field(default_factory=list)
    pairs: list[NDArray[np.void]] = field(default_factory=list)
    time_s: float = 0.0
    trusted: frozenset[Trust] = frozenset()
    info: ModelInfo | None = None
    error: ModelError | None = None


@contextmanager
def _on(batch: Batch, run: int, item: int) -> Iterator[None]:
    """While a batch is evaluated: shows which it is, and an error names its first document."""
    _show(run, item)
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{error.message} (in `{printable(batch.document)}`)", hint=error.hint) from None


def _show(run: int, item: int) -> None:
    if process.current:
        process.current.check(run)
        process.current.board.item = item


def _on_step(run: int) -> Callable[[int], None]:
    current = process.current
    return (lambda n_tokens: current.step(run, n_tokens)) if current else (lambda n_tokens: None)
