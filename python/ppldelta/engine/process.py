"""The local worker process: how the caller sees how far it is, also after it was killed, and how it is ended."""

from __future__ import annotations

import atexit
import logging
import os
import struct
import threading
import time

from ppldelta import posix
from ppldelta.engine import llama_log

_WATCH_S = 1.0  # between two looks whether the caller is still there


class Board:
    """Three numbers in a file that the caller and its local worker both see.

    A file rather than a queue: writing costs about a microsecond, nothing has to be throttled or drained, and what the
    worker wrote last is still there when it was killed.

    Attributes of the layout (int64 each):
        run: set by the caller; a task of another run ends at its next micro-batch.
        item: set by the worker: number of the item (a document, or a batch of windows) that it is at, or `NO_ITEM`.
        n_fed: set by the worker: tokens that it has evaluated since the board was made.
    """

    NO_ITEM = -1
    _WORD = struct.Struct("=q")

    def __init__(self, path: str) -> None:
        self._fd = posix.open_shared(path)
        if os.fstat(self._fd).st_size == 0:
            posix.write_at(self._fd, bytes(3 * self._WORD.size), 0)

    def close(self) -> None:
        os.close(self._fd)

    def _get(self, word: int) -> int:
        value: int
        (value,) = self._WORD.unpack(posix.read_at(self._fd, self._WORD.size, word * self._WORD.size))
        return value

    def _set(self, word: int, value: int) -> None:
        posix.write_at(self._fd, self._WORD.pack(value), word * self._WORD.size)

    run = property(lambda self: self._get(0), lambda self, value: self._set(0, value))
    item = property(lambda self: self._get(1), lambda self, value: self._set(1, value))
    n_fed = property(lambda self: self._get(2), lambda self, value: self._set(2, value))


class Stopped(Exception):
    """The caller waits for this task no longer."""


class Process:
    """The local worker: its board, and the log lines that go back with the next reply."""

    def __init__(self, board: Board, parent: int, rpc: tuple[str, ...]) -> None:
        self.board = board
        self.rpc = rpc
        self.parent = parent
        self.n_fed = board.n_fed
        self.log = _Collector()
        llama_log.logger.addHandler(self.log)
        llama_log.logger.propagate = False

    def step(self, run: int, n_tokens: int) -> None:
        """After every micro-batch: shows progress, and ends the task if nobody waits for it."""
        self.n_fed += n_tokens
        self.board.n_fed = self.n_fed
        self.check(run)

    def check(self, run: int) -> None:
        if not posix.parent_lives(self.parent):  # the caller was killed
            os._exit(1)
        if self.board.run != run:
            raise Stopped


class _Collector(logging.Handler):
    """Keeps log lines for the next reply."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))

    def drain(self) -> list[tuple[int, str]]:
        lines, self.lines = self.lines, []
        return lines


current: Process | None = None
"""This process, if it is a local worker."""


def start(board: str, stderr: str, parent: int, rpc: tuple[str, ...]) -> None:
    """Prepares a local worker process: it leaves Ctrl-C and a terminal's end to the caller, who reads its stderr.

    Args:
        board: path of the file for a `Board`.
        stderr: path of the file for stderr.
        parent: process id of the caller, without which the worker ends itself.
        rpc: servers whose devices it uses, beside its own.
    """
    global current
    posix.leave_signals_to_the_caller()
    fd = os.open(stderr, os.O_WRONLY | os.O_APPEND)
    os.dup2(fd, 2)
    os.close(fd)
    llama_log.mirror_log(2)  # the caller reads the end of it after a death
    atexit.register(os._exit, 0)  # whoever waits for the end does not wait for models to be freed
    current = Process(Board(board), parent, rpc)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Ends this process soon after its caller, also while it has nothing to do."""
    while posix.parent_lives(parent):
        time.sleep(_WATCH_S)
    os._exit(1)
