"""The one family of errors that ppldelta raises on purpose, and the warning that something was left out.

A message says what was wanted, what came, and (after ``hint:``) what to do next, so that the command line
can print it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ppldelta.wording.names import escaped


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

    def _render_traceback_(self) -> list[str]:
        """What IPython and notebooks show instead of a traceback; `traceback.print_last()` still has the frames."""
        return escaped(f"{type(self).__name__}: {self}").split("\n")


class CorpusError(PpldeltaError):
    """No document matched, or none can be scored."""


class ModelError(PpldeltaError):
    """A model cannot be found, read, loaded or evaluated."""


class ProcessLostError(ModelError):
    """A process that evaluated models was ended."""


class TokenizerMismatchError(PpldeltaError):
    """Reference and comparison split a document into different tokens, so that nothing lines up."""


class ResultError(PpldeltaError):
    """A saved result cannot be read, or results cannot be put together."""


class UnknownFigureError(ResultError, KeyError):
    """A result has no figure of that name; a `KeyError`, as `in` and `get` of a mapping want it."""

    __str__ = PpldeltaError.__str__  # a KeyError's is the repr of the message


class StoreError(PpldeltaError):
    """The store of computed log-probabilities cannot be opened, read or written, or is not one."""


class RecordsError(PpldeltaError):
    """A file of log-probabilities or of token records cannot be read, is something else, or is damaged."""


class StudyError(PpldeltaError):
    """The description of a study cannot be read, or says what no study has."""


class LeftOut(str):
    """A warning: something that was given is not in the result.

    Attributes:
        kind: `"document"`, `"folder"`, `"comparison"`, `"divergence"` for the KL divergence of one, or `"family"`.
        names: what is left out.
    """

    kind: str
    names: tuple[str, ...]

    def __new__(cls, text: str, kind: str, *names: str) -> LeftOut:
        warning = super().__new__(cls, text)
        warning.kind, warning.names = kind, names
        return warning


def all_left_out(found: Iterable[Mapping[str, Iterable[str]]]) -> dict[str, list[str]]:
    """What several runs left out, kind → names, as one: each name once."""
    names: dict[str, list[str]] = {}
    for each in found:
        for kind, some in each.items():
            names[kind] = list(dict.fromkeys([*names.get(kind, []), *some]))
    return names


def names_left_out(warnings: Iterable[str]) -> dict[str, list[str]]:
    """What warnings say was left out: kind → names."""
    found: dict[str, list[str]] = {}
    for warning in warnings:
        if isinstance(warning, LeftOut):
            found.setdefault(warning.kind, []).extend(warning.names)
    return found
