"""What did a change do to a GGUF language model? Gain and loss against a reference, token by token."""

from __future__ import annotations

from ppldelta._load import __version__  # before all others: they need the extension
from ppldelta.errors import CorpusError, ModelError, PpldeltaError, ResultError, StoreError, TokenizerMismatchError
from ppldelta.planning import Plan, plan
from ppldelta.result import Result, load, report
from ppldelta.scoring import score

__all__ = [
    "CorpusError",
    "ModelError",
    "Plan",
    "PpldeltaError",
    "Result",
    "ResultError",
    "StoreError",
    "TokenizerMismatchError",
    "__version__",
    "load",
    "plan",
    "report",
    "score",
]
