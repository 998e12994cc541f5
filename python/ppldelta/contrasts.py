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
        answers: of each what it shares with those that it is compared with, such as its group and label, and the text
            or the tokens that begin with the prompt.

    Returns:
        For the number of each such answer that of the shortest one in it, of equal ones the first. What is left of the
        answers excludes one another, so that their probabilities sum up to at most 1.
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
