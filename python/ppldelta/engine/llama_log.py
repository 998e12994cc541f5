"""What llama.cpp logs: forwarded to `logging`, and where a call fails, the reason in the error's message."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ppldelta import _core
from ppldelta.engine.causes import CONVERT, hint_for, without_prefix
from ppldelta.errors import ModelError
from ppldelta.wording.names import printable

logger = logging.getLogger("ppldelta.llama_cpp")
logger.addHandler(logging.NullHandler())  # quiet where nobody has set up logging: Python would print warnings on stderr

unstarted: list[str] = []
"""What those backends said that could not start."""

# enum ggml_log_level (ggml.h) → logging; llama.cpp's INFO is some hundred lines per model
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
_ALL, _FROM_WARNING = 0, 3
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
    """Turns a failure of the extension into a `ModelError` with llama.cpp's reason: the first error that it logged.

    Args:
        what: what cannot be done.
        hint: the next step, unless the reason has a better one (`engine.causes`).
    """
    forward_log()
    _errors.clear()
    try:
        yield
    except RuntimeError as error:
        forward_log()
        reason = without_prefix(_errors[0] if _errors else str(error))
        hint = _ROWS_HINT if isinstance(error, _core.RowsError) else hint_for(reason, hint)
        raise ModelError(f"{what}: {printable(reason)}", hint=hint) from None
    except IndexError as error:  # std::out_of_range
        forward_log()
        raise ModelError(
            f"{what}: llama.cpp looks up a token that the vocabulary lacks ({error})", hint=CONVERT
        ) from None
    finally:
        forward_log()
