"""What did a change do to a GGUF language model? Gain and loss against a reference, token by token."""

from __future__ import annotations

try:
    from ppldelta._core import __version__
except ImportError as error:  # a source folder on the path, or a library that the loader cannot find
    raise ImportError(
        f"ppldelta's native extension cannot be loaded ({error}).\n"
        "hint: install the package with `pip install .` and run Python outside of its source folder"
    ) from error

from ppldelta.errors import CorpusError, ModelError, PpldeltaError, ResultError, TokenizerMismatchError
from ppldelta.result import Result, load, report
from ppldelta.scoring import score

__all__ = [
    "CorpusError",
    "ModelError",
    "PpldeltaError",
    "Result",
    "ResultError",
    "TokenizerMismatchError",
    "__version__",
    "load",
    "report",
    "score",
]
