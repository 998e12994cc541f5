"""What the command line writes, and how it ends: control sequences, encodings, broken pipes, full disks, signals.

Whatever becomes of stdout or stderr, there is no traceback and what was computed stays.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from ppldelta import posix
from ppldelta.console import progress
from ppldelta.wording.names import escaped, printable

_ASCII = {
    "…": "...",
    "±": "~",
    "−": "-",
    "–": "-",
    "─": "-",
    "═": "=",
    "│": "|",
    "┆": "|",
    "\u00a0": " ",
    "\u202f": " ",
}
_REPLACE = "ppldelta.replace"


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end a command as Ctrl-C does.

    Attributes:
        name: the signal's.
        status: the exit status, as a shell says it of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.name = signal.Signals(signum).name
        self.status = 128 + signum


class _OutputError(Exception):
    """stdout cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


def show(text: str) -> None:
    """Lines for stdout, without the control characters that a name may hold."""
    write(f"{escaped(text)}\n", sys.stdout)


def show_path(path: str | os.PathLike[str]) -> None:
    """A path for stdout: as it is if a program reads it, and fit for a line of a terminal."""
    write(f"{printable(path) if sys.stdout.isatty() else os.fspath(path)}\n", sys.stdout)


def say(text: str) -> None:
    """Lines for stderr, as `show`; they are lost if stderr is closed or full."""
    progress.line(escaped(text))


def write(text: str, stream: TextIO) -> None:
    """A text as it is, for stdout or stderr."""
    try:
        stream.write(text)
    except OSError as error:
        if stream is sys.stdout:
            raise _OutputError(error) from error


class LogLines(logging.Handler):
    """Log records on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def guarded(command: Callable[[], int]) -> int:
    """Runs a command of the command line and returns the exit status.

    Within, SIGTERM and SIGHUP raise `Ended`, unless they were ignored from the start as `nohup` does. If stdout
    cannot be written, the status is 1 and a line on stderr says why; a closed pipe, such as that of `| head`, is no
    news: 141 without a word, as a shell says it of SIGPIPE. A command that failed keeps its own status.
    """
    _open_missing()
    with _any_encoding(), _signals():
        try:
            status = command()
        except SystemExit as ended:  # argparse's
            raise SystemExit(_flushed(int(ended.code or 0))) from None
        except _OutputError as failed:
            return _flushed(_unwritten(0, failed.error))
        return _flushed(status)


def _flushed(status: int) -> int:
    """The exit status when everything is written: nothing is left to Python's end, which would complain."""
    try:
        sys.stdout.flush()
    except OSError as error:
        status = _unwritten(status, error)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


def _unwritten(status: int, error: OSError) -> int:
    """The exit status if stdout cannot be written."""
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return status or posix.CLOSED_PIPE_STATUS
    say(f"ppldelta: error: cannot write to stdout: {error.strerror}")
    return status or 1


def _discard(stream: TextIO) -> None:
    """What the stream still holds, and all that is written to it from now on, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _open_missing() -> None:
    """Opens what the shell closed (`>&-`), or the next file would get its number and what is printed.

    The new stdout cannot be written either, which then is an error like any other; a closed stderr is no error.
    """
    for fd, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            if os.open(os.devnull, flags) == fd:  # the lowest number that is free
                os.set_inheritable(fd, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextmanager
def _any_encoding() -> Iterator[None]:
    """Characters that stdout or stderr cannot encode are replaced, not refused."""
    codecs.register_error(_REPLACE, _replaced)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=_REPLACE)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """The first character that cannot be encoded, in ASCII; a byte of a path that was none is that byte again."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    c = error.object[error.start]
    if "\udc80" <= c <= "\udcff":
        return c.encode("utf-8", "surrogateescape"), error.start + 1
    if "\u2500" <= c <= "\u257f":  # the borders of tables
        return _ASCII.get(c, "+"), error.start + 1
    return _ASCII.get(c) or c.encode("ascii", "backslashreplace").decode("ascii"), error.start + 1


@contextmanager
def _signals() -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {signum: signal.signal(signum, _end) for signum in posix.ENDINGS if _is_deadly(signum)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _is_deadly(signum: int) -> bool:
    """Whether a signal would end this process: neither ignored nor handled."""
    return signal.getsignal(signum) == signal.SIG_DFL


def _end(signum: int, frame: FrameType | None) -> None:
    for each in posix.ENDINGS:  # once is enough: a second one shall not end the clearing up
        signal.signal(each, signal.SIG_IGN)
    raise Ended(signum)
