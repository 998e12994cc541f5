"""The one family of errors that ppldelta raises on purpose.

A message says what was wanted, what came, and (after ``hint:``) what to do next, so that the command line
can print it as it is.
"""

from __future__ import annotations


class PpldeltaError(Exception):
    """Base of every error that ppldelta raises on purpose.

    Args:
        message: what was wanted and what came instead.
        hint: the next step, printed on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.message = message
        self.hint = hint


class CorpusError(PpldeltaError):
    """No document matched, or none can be scored."""


class ModelError(PpldeltaError):
    """A model cannot be found, read, loaded or evaluated."""


class TokenizerMismatchError(PpldeltaError):
    """Reference and comparison split a document into different tokens, so that nothing lines up."""


class ResultError(PpldeltaError):
    """A saved result cannot be read, or results cannot be put together."""


class StoreError(PpldeltaError):
    """The store of computed log-probabilities cannot be opened, read or written, or is not one."""
