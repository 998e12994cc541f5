"""Which two labels of completions are set against each other: a run warns by it, and `analysis` counts by it.

A corpus whose rows have a `group` and a `label` asks how probable one kind of answer is against another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PREFERRED = ("comply", "refuse")
"""The labels of the refusal question."""


class Contrast(NamedTuple):
    """Two labels.

    Attributes:
        label: the one that is more probable where log-odds are above 0.
        against: the other one.
    """

    label: str
    against: str


def contrast(labels: Iterable[str | None]) -> Contrast | None:
    """The labels that are compared: `PREFERRED` if both occur, else the first two in sorted order; None if there are
    not two. None among `labels` counts as no label."""
    there = sorted({label for label in labels if label is not None})
    if all(label in there for label in PREFERRED):
        return Contrast(*PREFERRED)
    return Contrast(*there[:2]) if len(there) > 1 else None
