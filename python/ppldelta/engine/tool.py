"""Runs a program of llama.cpp that the package carries, while somebody waits for the file that it writes.

Nothing is read from the program's log but the reason of a failure. The program has a session of its own, so that Ctrl-C
reaches only the caller, who ends it; if the caller is killed, the next line that the program writes ends it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ppldelta import posix
from ppldelta.engine import llama_log
from ppldelta.errors import ModelError, ProcessLostError
from ppldelta.wording.names import printable

FOLDER = Path(__file__).parents[1] / "bin"
"""Where the programs lie."""

_POLL_S = 0.1
_LINES = 40
_REASON = re.compile(r"(?:^| E )error: (.*)")
"""The patched tool's last line, with a time and a level before it if it logs them."""
_ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # ggml would start a debugger
    "GOMP_SPINCOUNT": "1000",  # as ppldelta._load says
}


def run_tool(
    name: str,
    arguments: Sequence[str],
    *,
    label: str,
    doing: str,
    written: Path,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> None:
    """Runs a program to its end; an interrupt ends the program.

    Args:
        name: the program's.
        arguments: its flags.
        label: the model's that it evaluates.
        doing: what it does, for people.
        written: the file that it writes.
        on_bytes: called several times a second with the bytes of `written` that are new since the last call.

    Raises:
        ModelError: it cannot be started, or it failed; the message has the reason that it gave.
        ProcessLostError: something ended it.
    """
    # llama.cpp's programs read settings from variables too, and no signature would name those
    ours = {key: value for key, value in os.environ.items() if not key.startswith("LLAMA_ARG_")}
    try:
        program = subprocess.Popen(
            [str(FOLDER / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT | ours,
            start_new_session=True,
        )
    except OSError as error:
        raise ModelError(
            f"cannot start `{printable(FOLDER / name)}`: {error.strerror}", hint="install ppldelta again"
        ) from error
    lines: deque[str] = deque(maxlen=_LINES)
    try:
        assert program.stdout is not None
        rest, n_bytes = b"", 0
        while (data := posix.read_some(program.stdout.fileno(), _POLL_S)) != b"":
            *whole, rest = (rest + (data or b"")).split(b"\n")
            _keep(whole, lines)
            n_now = written.stat().st_size if written.exists() else 0
            on_bytes(max(n_now - n_bytes, 0))
            n_bytes = max(n_now, n_bytes)
        _keep([rest], lines)
        status = program.wait()
    finally:
        if program.poll() is None:
            program.kill()
        program.wait()
        if program.stdout:
            program.stdout.close()
    if status:
        raise _failure(status, lines, f"{name}, which was {doing} `{printable(label)}`,")


def _keep(raw: Sequence[bytes], lines: deque[str]) -> None:
    """Keeps the last lines, and passes all of them on to whoever wants to see llama.cpp's log."""
    for line in raw:
        if text := " ".join(line.decode("utf-8", "replace").split()):
            lines.append(printable(text)[:300])
            llama_log.logger.log(logging.DEBUG, "%s", text)


def _failure(status: int, lines: deque[str], what: str) -> ModelError:
    """What the end of a program means: it said why, or it was ended."""
    if status > 0 and (reasons := [found[1] for line in lines if (found := _REASON.search(line))]):
        return ModelError(f"{what} failed: {reasons[-1]}")
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    said = " | ".join(list(lines)[-3:])
    return ProcessLostError(
        f"{what} {how}" + (f"; its last log lines: {said}" if said else ""),
        hint="SIGKILL often means that the memory ran out: the tool needs n_ctx / 2 · n_vocab float32 logits beside "
        "the model; SIGILL or SIGSEGV that a kernel does not fit this processor (`ppldelta doctor`)",
    )
