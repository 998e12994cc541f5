"""Local worker processes (loky), and those that wait for the next call."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

import loky

from ppldelta.engine import process
from ppldelta.engine.process import Board
from ppldelta.text.names import printable

IDLE_S = 120.0
"""Seconds after which a local worker that has nothing to do ends, and with it the models that it keeps."""


class LocalWorker:
    """One local worker process, the board that it shares with this one, and the file that its stderr goes to.

    Args:
        rpc: servers whose devices it uses, beside its own, for as long as it lives.
    """

    def __init__(self, rpc: tuple[str, ...] = ()) -> None:
        self.rpc = rpc
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
            initializer=process.start,
            initargs=(str(folder / "board"), str(self.stderr), os.getpid(), rpc),
            env=_environment(),
        )

    def last_lines(self, most: int = 3) -> str:
        """The end of what the worker wrote to stderr, on one line of at most 200 characters for each; may be empty."""
        with self.stderr.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = [
                printable(" ".join(line.split()))[:200] for line in file.read().decode("utf-8", "replace").splitlines()
            ]
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
        # NumPy multiplies no matrices there, but its BLAS's threads would spin beside llama.cpp's
        "OPENBLAS_NUM_THREADS": "1",
        # loky would take a model that was loaded for a leak, and restart the worker
        "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


idle: list[LocalWorker] = []  # workers of calls that are over; a call takes one, so that two threads do not share one
_lock = threading.Lock()
os.register_at_fork(after_in_child=idle.clear)


def take(rpc: tuple[str, ...] = ()) -> LocalWorker:
    """A worker with the devices of these servers that waits, or a new one."""
    with _lock:
        for worker in reversed(idle):
            if worker.rpc == rpc:
                idle.remove(worker)
                return worker
    return LocalWorker(rpc)


def give_back(worker: LocalWorker) -> None:
    """Keeps a worker for the next call."""
    with _lock:
        idle.append(worker)
