"""Which two labels of completions are set against each other: a run warns by it, and `analysis` counts by it.

A corpus whose rows have a `group` and a `label` asks how probable one kind of answer is against another one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
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


def contained(answers: Sequence[tuple[Hashable, bytes]]) -> dict[int, int]:
    """Answers whose probability is a part of another one's: they are equal to it, or begin with it.

    Args:
        answers: for each a key and the bytes of its text or tokens, from the prompt's first on. Only answers of one
            key, such as group and label, are compared.

    Returns:
        The number of each such answer, and the number of the answer that it is a part of: the shortest one, and of
        equal ones the first. The answers that are left exclude one another: their probabilities sum up to at most 1.
    """
    of_each: dict[Hashable, list[int]] = {}
    for i, (shared, _) in enumerate(answers):
        of_each.setdefault(shared, []).append(i)
    found: dict[int, int] = {}
    for mine in of_each.values():
        mine.sort(key=lambda i: answers[i][1])  # what begins with an answer comes right behind it
        kept = mine[0]
        for i in mine[1:]:
            if answers[i][1].startswith(answers[kept][1]):
                found[i] = kept
            else:
                kept = i
    return found
