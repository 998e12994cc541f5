"""Local worker processes (loky), and those that wait for the next call."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from concurrent.futures import BrokenExecutor, wait
from multiprocessing import util
from pathlib import Path

from ppldelta import posix
from ppldelta.engine import process
from ppldelta.engine.executor import OneProcess
from ppldelta.engine.process import Board
from ppldelta.errors import PpldeltaError
from ppldelta.surroundings import need_working_folder
from ppldelta.wording.names import printable

IDLE_S = 120.0
"""Seconds after which a local worker that has nothing to do ends, and with it the models that it keeps."""

_ANSWER_S = 10.0  # an idle worker needs less than a millisecond; more if the machine is busy


class LocalWorker:
    """One local worker process, the board that it shares with this one, and the file that its stderr goes to.

    Both files stay open here, so that a folder for temporary files that is cleared meanwhile disturbs nothing.

    Args:
        rpc: servers whose devices it uses, beside its own, for as long as it lives.

    Raises:
        PpldeltaError: there is no room for the files, or no working folder.
    """

    def __init__(self, rpc: tuple[str, ...] = ()) -> None:
        need_working_folder()  # the process will begin in it
        self.rpc = rpc
        folder = _folder()
        weakref.finalize(self, _remove, folder, os.getpid())
        self.stderr = folder / "stderr"
        for path in (folder / "board", self.stderr):
            path.touch()
        self._log = self.stderr.open("r+b", buffering=0)
        weakref.finalize(self, self._log.close)
        self.board = Board(str(folder / "board"))
        weakref.finalize(self, self.board.close)
        self.executor = OneProcess(
            timeout_s=IDLE_S,
            initializer=process.start,
            initargs=(str(folder / "board"), str(self.stderr), os.getpid(), rpc),
            env=_environment(),
        )
        _note(self)

    def answers(self) -> bool:
        """Whether the process, which has nothing to do, is there; one that was just killed may not have ended yet."""
        if self.executor.ended:
            return False
        try:
            with posix.signals_blocked():
                answer = self.executor.submit(os.getpid)
        except BrokenExecutor:
            return False
        return answer in wait([answer], timeout=_ANSWER_S).done and answer.exception() is None

    def forget_lines(self) -> None:
        """What the worker has written to stderr so far shall not be among its last lines."""
        self._log.truncate(0)

    def last_lines(self, most: int = 3) -> str:
        """The end of what the worker wrote to stderr, on one line of at most 200 characters for each; may be empty."""
        self._log.seek(max(0, os.fstat(self._log.fileno()).st_size - 4096))
        text = self._log.read().decode("utf-8", "replace")
        lines = [printable(" ".join(line.split()))[:200] for line in text.splitlines()]
        return " | ".join([line for line in lines if line][-most:])


def _folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="ppldelta-"))
    except OSError as error:
        where = f" in `{printable(tempfile.tempdir)}`" if tempfile.tempdir else ""
        raise PpldeltaError(
            f"cannot make a folder for a worker process's files{where}: {error.strerror}",
            hint="set the variable `TMPDIR` to a folder that exists and can be written to, and start again",
        ) from error


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """What the worker's environment has beside ours; what the user set stays."""
    defaults = {
        # ggml would start a debugger and print a backtrace after the line that says what is wrong; Python as well
        "GGML_NO_BACKTRACE": "1",
        "PYTHONFAULTHANDLER": "",
        # NumPy multiplies no matrices there, but its BLAS's threads would spin beside llama.cpp's
        "OPENBLAS_NUM_THREADS": "1",
        # loky would take a model that was loaded for a leak, and restart the worker
        "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


idle: list[LocalWorker] = []  # workers of calls that are over; a call takes one, so that two threads do not share one
_lock = threading.Lock()
_started: weakref.WeakSet[LocalWorker] = weakref.WeakSet()
_ends_at_exit = False


def _note(worker: LocalWorker) -> None:
    """Ends the worker with this process: a child process of multiprocessing waits at its end for its own children."""
    global _ends_at_exit
    _started.add(worker)
    if not _ends_at_exit:
        _ends_at_exit = True
        util.Finalize(None, _end_all, exitpriority=20)  # before loky removes its semaphores, with priority 0


def _end_all() -> None:
    for worker in list(_started):
        worker.executor.end()


def _forget_all() -> None:
    global _ends_at_exit
    idle.clear()
    _started.clear()
    _ends_at_exit = False


posix.at_fork(_forget_all)  # the workers are children of the process that was forked, not of the fork


def take(rpc: tuple[str, ...] = ()) -> LocalWorker:
    """A worker that waits and has the devices of these servers, or a new one; those that no longer answer are ended."""
    while True:
        with _lock:
            worker = next((each for each in reversed(idle) if each.rpc == rpc), None)
            if worker:
                idle.remove(worker)
        if worker is None:
            return LocalWorker(rpc)
        if worker.answers():
            return worker
        worker.executor.end()


def give_back(worker: LocalWorker) -> None:
    """Keeps a worker for the next call."""
    with _lock:
        idle.append(worker)
