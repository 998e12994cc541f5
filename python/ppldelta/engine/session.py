"""Hands tasks to an executor, each with a shard of documents or of batches, and yields results as they are done.

By default the executor is one local process. What ends it (an abort of ggml, a kill, memory that ran out) becomes a
`ModelError` that names the model, the document and the last log lines; the next task gets a new process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from types import TracebackType
from typing import Any, TypeVar, cast

from ppldelta import posix
from ppldelta.engine import llama_log, local, native, worker
from ppldelta.engine.local import LocalWorker
from ppldelta.engine.lost import Watch
from ppldelta.engine.rpc import refuse_unreachable
from ppldelta.engine.worker import Reply
from ppldelta.errors import PpldeltaError, ProcessLostError
from ppldelta.wording.names import printable, shown_type

_POLL_S = 0.1  # between two looks at the board
_GRACE_S = 1.0  # for a task to see that nobody waits for it any longer
_IN_FLIGHT_LOCAL = 3
_IN_FLIGHT = 32  # an executor does not say how many workers it has
_KERNELS = "a kernel of llama.cpp may not fit this processor: `ppldelta doctor` checks them"
_LOGGED = "llama.cpp or its backend gave up: what it logged last may say why, or `ppldelta doctor` what fails here"
_HINTS = {
    "SIGKILL": "SIGKILL often means that the memory ran out: a smaller `n_ctx` or model needs less",
    "SIGILL": _KERNELS,
    "SIGSEGV": _KERNELS,
}
"""The next step, by what has ended a worker."""

_runs = itertools.count(1)

T = TypeVar("T")
"""What a task gives."""


class Session:
    """Where one call has its models evaluated; a context manager that leaves nothing computing behind.

    Args:
        executor: runs the tasks; None for a local worker process, which stays for the next call until it was idle for
            `IDLE_S` seconds.
        rpc: `HOST:PORT` of servers whose devices the local worker uses, beside its own.

    Raises:
        PpldeltaError: `executor` is no executor, or `rpc` is given beside it.
    """

    def __init__(self, executor: Executor | None = None, rpc: tuple[str, ...] = ()) -> None:
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise PpldeltaError(
                f"`executor` must be a concurrent.futures.Executor, got {shown_type(executor)}",
                hint="such as Dask's `client.get_executor()`; without one, a worker process on this machine is used",
            )
        if executor is not None and rpc:
            raise PpldeltaError(
                "`rpc` is for the worker process on this machine, and `executor` puts the models elsewhere",
                hint="leave one of them out",
            )
        self._foreign = executor
        self._watch = Watch(executor)
        self._rpc = rpc
        self._local: LocalWorker | None = None
        self._run = 0
        self._in_flight: set[Future[Reply[Any]]] = set()

    def __enter__(self) -> Session:
        if self._foreign is None:
            refuse_unreachable(self._rpc)
            self._own()
            self._submit(worker.ready)  # starts while the caller reads the documents
            self._in_flight.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()
        if self._local:
            local.give_back(self._local)
            self._local = None

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
        own = self._local
        own.board.run = 0
        try:
            wait(pending, timeout=_GRACE_S)
        finally:
            if all(future.done() for future in pending):
                self._begin(own)
            else:
                self._end_local()

    def _own(self) -> LocalWorker:
        """The local worker: the one that is there, or a new one if there is none or it has ended while it was idle."""
        if self._local and not self._in_flight and self._local.executor.ended:
            self._end_local()
        if self._local is None:
            with posix.signals_blocked():
                self._local = local.take(self._rpc)
            self._begin(self._local)
        return self._local

    def _begin(self, own: LocalWorker) -> None:
        """Begins a run, so that the worker does not go on with tasks of the one before."""
        self._run = next(_runs)
        own.board.run = self._run

    def _end_local(self) -> None:
        """Ends the local worker, if there is one, whatever it does."""
        ended, self._local = self._local, None
        if ended:
            ended.executor.end()

    def _submit(self, task: Callable[..., T], *arguments: object) -> Future[Reply[T]]:
        """Hands a task to the executor.

        Raises:
            BrokenExecutor: an executor that was handed in is broken, or as `_submit_locally`.
        """
        log_level = llama_log.logger.getEffectiveLevel()
        if self._foreign is not None:
            future = self._foreign.submit(worker.perform, task, 0, log_level, *arguments)
        else:
            future = self._submit_locally(task, log_level, *arguments)
        self._in_flight.add(future)
        return future

    def _submit_locally(self, task: Callable[..., T], log_level: int, *arguments: object) -> Future[Reply[T]]:
        """Hands a task to the local worker, and starts another one if an idle one has ended.

        Raises:
            BrokenExecutor: the worker has ended while it had something to do.
        """
        while True:
            own = self._own()
            try:
                with posix.signals_blocked():
                    future: Future[Reply[T]] = own.executor.submit(
                        worker.perform, task, self._run, log_level, *arguments
                    )
                return future
            except BrokenExecutor:
                if self._in_flight:
                    raise
                self._end_local()

    def _take(self, future: Future[Reply[T]], label: str, doing: str, names: Sequence[str] = (), first: int = 0) -> T:
        """The value of a task that is done.

        Args:
            future: the task.
            label: the model's.
            doing: what the worker does, for people.
            names: the document of each of the caller's items.
            first: the first item that is in flight.

        Raises:
            PpldeltaError: the task raised it, the executor could not run the task, or a worker of another release of
                ppldelta ran it.
            ProcessLostError: the process that ran it was ended.
        """
        self._watch.begin()
        try:
            reply = future.result()
        except Exception as error:
            if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":  # Dask's
                raise self._death(error, label, doing, names, first) from None
            if self._foreign is not None and isinstance(error, (CancelledError, ImportError, OSError)):
                raise _not_run(error) from error
            raise
        finally:
            self._in_flight.discard(future)
        if reply.release != native.release():
            raise PpldeltaError(
                f"a worker of the executor has {reply.release or 'another version of ppldelta'}, this process has "
                f"{native.release()}",
                hint="install the same ppldelta on all machines",
            )
        for level, text in reply.log:
            llama_log.logger.log(level, "%s", text)
        if reply.error:
            raise reply.error
        return cast("T", reply.value)

    def _death(
        self, error: Exception, label: str, doing: str, names: Sequence[str], first: int = 0
    ) -> ProcessLostError:
        signal_name = posix.SIGNAL_NAME.search(f"{error} {error.__cause__}")
        cause = f"was ended by {signal_name[0]}" if signal_name else "ended unexpectedly"
        if failures := getattr(error, "allowed_failures", 0):  # Dask's, which has tried so many others
            cause += f" on {failures + 1} workers of the cluster"
        at, said = f", near `{printable(names[first])}`" if names else "", ""
        if self._local:
            item = self._local.board.item
            at = f", at `{printable(names[item])}`" if 0 <= item < len(names) else ""
            said = self._local.last_lines()
            self._end_local()
        return ProcessLostError(
            f"the process that was {doing} `{printable(label)}` {cause}{at}"
            + (f"; its last log lines: {said}" if said else ""),
            hint=_HINTS.get(signal_name[0] if signal_name else "", _LOGGED),
        )

    def call(self, task: Callable[..., T], *arguments: object, label: str, doing: str) -> T:
        """The value of one task, while nothing else is in flight."""
        if self._local:
            self._local.forget_lines()  # the last lines shall be of this model
        future = self._guarded(label, doing, (), 0, task, *arguments)
        self._watch.begin()
        # with a timeout, so that Ctrl-C is seen whatever thread it hits
        while not wait([future], timeout=_POLL_S).done:
            self._watch.look()
        return self._take(future, label, doing)

    def stream(
        self,
        task: Callable[..., T],
        shards: Iterator[range],
        arguments: Callable[[range], tuple[object, ...]],
        *,
        label: str,
        doing: str,
        names: Sequence[str],
        on_tokens: Callable[[int], object] | None = None,
    ) -> Generator[tuple[range, T], None, None]:
        """Values of a task on shards of items, several in flight, in the order in which they are done.

        Args:
            task: a function of `engine.worker`.
            shards: which items go together; each shard is asked for only when it is handed over.
            arguments: of the task, for a shard.
            label: the model's.
            doing: what the worker does, for people.
            names: the document of each item.
            on_tokens: called with the number of tokens that a local worker has evaluated since the last call.
        """
        waiting: dict[Future[Reply[T]], range] = {}
        most = _IN_FLIGHT_LOCAL if self.local else _IN_FLIGHT
        if self.local:
            self._own()
        n_fed = self._local.board.n_fed if self._local else 0
        self._watch.begin()
        try:
            while True:
                for shard in itertools.islice(shards, most - len(waiting)):
                    waiting[self._guarded(label, doing, names, shard.start, task, *arguments(shard))] = shard
                if not waiting:
                    return
                done, _ = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                if self._local and on_tokens:
                    n_fed, before = self._local.board.n_fed, n_fed
                    on_tokens(n_fed - before)
                if not done:
                    self._watch.look()
                for future in sorted(done, key=lambda future: waiting[future].start):
                    first = 0 if self._local else min(shard.start for shard in waiting.values())
                    value = self._take(future, label, doing, names, first)
                    yield waiting.pop(future), value
        finally:
            if waiting:
                self.abandon()

    def _guarded(
        self, label: str, doing: str, names: Sequence[str], first: int, task: Callable[..., T], *arguments: object
    ) -> Future[Reply[T]]:
        try:
            return self._submit(task, *arguments)
        except BrokenExecutor as error:
            raise self._death(error, label, doing, names, first) from None


def _not_run(error: Exception) -> PpldeltaError:
    """What an executor that was handed in could not do."""
    if isinstance(error, ImportError):
        return PpldeltaError(
            f"a worker of the executor cannot import what it needs: {error}",
            hint="install the same ppldelta on all machines",
        )
    return PpldeltaError(
        f"the executor does not finish a task: {str(error) or type(error).__name__}",
        hint="see whether it and what it runs on are still there; what was computed is in the store, if one is used",
    )
