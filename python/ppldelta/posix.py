"""All that needs POSIX in the package's Python: whoever brings it to Windows begins here.

    signals_blocked, leave_signals_…   a new process group for the worker (CREATE_NEW_PROCESS_GROUP)
    ENDINGS, CLOSED_PIPE_STATUS        SIGBREAK, and the error of a closed pipe
    parent_lives                       a handle on the caller's process: there, a parent's id stays after its end
    read_some                          reading in a thread: select knows only sockets there
    open_shared, read_at, write_at     seek, read and write under a lock of their own
    memory_bytes                       GlobalMemoryStatusEx, and what a job object allows
    at_fork                            nothing: processes are not forked there
    replace_process                    a child process whose exit status is passed on
    SIGNAL_NAME                        exit statuses of exceptions, such as 0xC000001D for an illegal instruction

Three more places are to be looked at: `engine/executor.py` reads from the pipe of loky's results, `cpp/model.cpp`
writes to a file descriptor, and loky has classes of its own for Windows.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NoReturn

SIGNAL_NAME = re.compile(r"\bSIG[A-Z]+\b")
"""Finds in what loky says of an ended process which signal ended it."""

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a process to end, beside that of Ctrl-C."""

CLOSED_PIPE_STATUS = 128 + signal.SIGPIPE
"""Exit status of a process whose output nobody reads any longer, as a shell says it."""


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Holds back signals that the caller may handle, so that none leaves a process half started.

    A process that is started meanwhile is born with these signals blocked: Ctrl-C and the terminal's end never hit it,
    not even before `leave_signals_to_the_caller`.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it with the first semaphore, and then unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDINGS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_the_caller() -> None:
    """For a process started while `signals_blocked` lasts: what a terminal sends to all is its caller's affair."""
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the caller blocked it for the start alone


def parent_lives(parent: int) -> bool:
    """Whether the process that has started this one is still there."""
    return os.getppid() == parent


def open_shared(path: str) -> int:
    """A descriptor of a file that several processes read and write (`read_at`, `write_at`)."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def read_at(fd: int, n_bytes: int, offset: int) -> bytes:
    """Bytes of a file, whatever other processes and threads do with it."""
    return os.pread(fd, n_bytes, offset)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Writes into a file, whatever other processes and threads do with it."""
    os.pwrite(fd, data, offset)


def read_some(fd: int, timeout_s: float) -> bytes | None:
    """What can be read from a pipe by now: nothing at its end, None if nothing came in time."""
    ready, _, _ = select.select([fd], [], [], timeout_s)
    return os.read(fd, 2**16) if ready else None


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less if a container limits it."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(installed, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file; "max"
            continue
    return installed


def at_fork(in_child: Callable[[], object]) -> None:
    """From now on something is called in every process that this one forks."""
    os.register_at_fork(after_in_child=in_child)


def replace_process(program: Path, arguments: Sequence[str], *, ends_with_a_closed_pipe: bool) -> NoReturn:
    """Goes on as another program, which has the terminal, the signals and the exit status.

    Args:
        program: its file.
        arguments: those of the program.
        ends_with_a_closed_pipe: whether it ends if nobody reads what it writes, as a tool in a pipeline should; a
            server should not end with one of its clients.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL if ends_with_a_closed_pipe else signal.SIG_IGN)  # it is inherited
    os.execv(program, [str(program), *arguments])
