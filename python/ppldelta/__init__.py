"""What did a change do to a GGUF language model? Gain and loss against a reference, token by token."""

from __future__ import annotations

import os

# A thread of llama.cpp that waits for the others spins for milliseconds before it sleeps (GNU OpenMP's default). Where
# something else runs on the machine, that made runs many times slower; a short spin costs nothing where nothing does.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

try:
    from ppldelta._core import __version__
except ImportError as error:  # a source folder on the path, or a library that the loader cannot find
    raise ImportError(
        f"ppldelta's native extension cannot be loaded ({error}).\n"
        "hint: install the package with `pip install .` and run Python outside of its source folder"
    ) from error

from ppldelta.errors import CorpusError, ModelError, PpldeltaError, ResultError, StoreError, TokenizerMismatchError
from ppldelta.result import Result, load, report
from ppldelta.scoring import score

__all__ = [
    "CorpusError",
    "ModelError",
    "PpldeltaError",
    "Result",
    "ResultError",
    "StoreError",
    "TokenizerMismatchError",
    "__version__",
    "load",
    "report",
    "score",
]
