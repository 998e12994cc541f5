"""loky's executor of a single process, with what keeps the caller from waiting for a process that has ended.

loky watches its process and the pipe of results side by side, until a result arrives: it then reads the whole message.
The caller holds the pipe's other end too, for a process that may have to be started again, so that nothing ends such a
read: a process that was killed in the middle of a result longer than the pipe left the caller waiting for ever, at its
exit as well. Here every part of a message is waited for together with the end of the process.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import loky
from loky.backend.utils import get_exitcodes_terminated_worker

_FEEDER_S = 10.0  # the thread that feeds a process ends in less than a millisecond, if no fork holds its pipe open


class OneProcess(loky.ProcessPoolExecutor):  # type: ignore[misc]  # loky has no types
    """An executor of one process.

    Args:
        timeout_s: seconds without a task after which the process ends; the next task starts another one.
        initializer: called in the process before its first task.
        initargs: its arguments.
        env: what the process's environment has beside ours.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        initializer: Callable[..., object],
        initargs: tuple[object, ...],
        env: Mapping[str, str],
    ) -> None:
        super().__init__(max_workers=1, timeout=timeout_s, initializer=initializer, initargs=initargs, env=env)
        self.process: BaseProcess | None = None
        """The process that was started last."""
        reader, processes = self._result_queue._reader, self._processes
        reader._recv = lambda size: _received(reader, processes, size)  # without `self`: loky's thread keeps the reader

    def _adjust_process_count(self) -> None:
        super()._adjust_process_count()
        self.process = next(iter(self._processes.values()), self.process)

    @property
    def ended(self) -> bool:
        """Whether the process has ended, for whatever reason; loky's thread may not have seen it yet."""
        return self.process is not None and bool(wait([self.process.sentinel], 0))

    def end(self) -> None:
        """Ends the process whatever it does, and all that belongs to it here."""
        tasks = self._call_queue
        self.shutdown(wait=True, kill_workers=True)
        if tasks:
            tasks._reader.close()  # the thread that feeds the process may wait for somebody who reads
            if tasks._thread:
                # its end removes semaphores: if this process ended in the midst of that, loky would say that one leaked
                tasks._thread.join(_FEEDER_S)


def _received(reader: Connection, processes: dict[int, BaseProcess], size: int) -> io.BytesIO:
    """The next bytes of a pipe, as `Connection._recv` reads them.

    Raises:
        EOFError: the processes that write to it have ended before.
    """
    received = io.BytesIO()
    while n_left := size - received.tell():
        ends = [process.sentinel for process in list(processes.values())]
        # what an ended process has written was there before its end, but may have come between the two looks of `wait`
        if reader not in wait([reader, *ends]) and not wait([reader], 0):
            raise EOFError(f"the process ended in the middle of a result: {get_exitcodes_terminated_worker(processes)}")
        part = os.read(reader.fileno(), n_left)
        if not part:
            raise EOFError("the pipe was closed in the middle of a result")
        received.write(part)
    return received
