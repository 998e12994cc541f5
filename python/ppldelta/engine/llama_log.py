"""What llama.cpp logs: forwarded to `logging`, and where a call fails, the reason in the error's message."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ppldelta import _core
from ppldelta.errors import ModelError
from ppldelta.wording.names import printable

logger = logging.getLogger("ppldelta.llama_cpp")

unstarted: list[str] = []
"""What those backends said that could not start."""

# enum ggml_log_level (ggml.h) → logging; llama.cpp's INFO is some hundred lines per model
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
_ALL, _FROM_WARNING = 0, 3
_PRE_TOKENIZER_HINT = (
    "the file wants texts to be split in a way that this llama.cpp does not know: it was converted for a newer one, or "
    "by another program; take another conversion of the model"
)
_errors: deque[str] = deque(maxlen=64)

_ROWS_HINT = (
    "llama.cpp's graph of this architecture makes a row for every token, and llama-perplexity takes the wrong ones "
    "without a word; until llama.cpp mends that, leave the model out"
)


def forward_log() -> None:
    """Passes what llama.cpp logged since the last call to the logger `ppldelta.llama_cpp`."""
    for ggml_level, text in _core.drain_log(_ALL if logger.isEnabledFor(logging.DEBUG) else _FROM_WARNING):
        level = _LEVELS.get(ggml_level, logging.DEBUG)
        if level >= logging.ERROR and text.strip():
            _errors.append(text.strip())
            if "failed to initialize" in text:
                unstarted.append(text.strip().partition(": ")[2])  # without the function's name
        logger.log(level, "%s", text)


def mirror_log(fd: int) -> None:
    """From now on every line of llama.cpp's log, but those for debugging, is also written to an open file at once."""
    _core.mirror_log(fd)


@contextmanager
def guard(what: str, hint: str | None = None) -> Iterator[None]:
    """Turns a failure of the extension into a `ModelError` with llama.cpp's reason: the first error that it logged."""
    forward_log()
    _errors.clear()
    try:
        yield
    except RuntimeError as error:
        forward_log()
        hint = _ROWS_HINT if isinstance(error, _core.RowsError) else hint
        if any("unknown pre-tokenizer type" in each for each in _errors):
            hint = _PRE_TOKENIZER_HINT
        raise ModelError(f"{what}: {printable(_errors[0]) if _errors else error}", hint=hint) from None
    finally:
        forward_log()
