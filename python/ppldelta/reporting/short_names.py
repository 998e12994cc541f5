"""Short names of models and categories, for planes, tables, sections and the tour: what tells them apart stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LONGEST = 26
"""Characters of a name that fit on a plane; the hover shows all of them."""


def shorten(names: Sequence[str]) -> list[str]:
    """Names that fit: without what all begin and end with, up to a separator; a long rest loses its middle."""
    return [crop(name) for name in trimmed(names)]


def trimmed(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Names without what all begin and end with, up to a separator, if any is longer than `longest`."""
    if len(names) > 1 and max(map(len, names)) > longest:
        head = _shared(names)
        tail = _shared([name[::-1] for name in names], "-. /")  # the K_M of a quant belongs to its name
        if all(len(name) > head + tail for name in names):
            return [name[head : len(name) - tail] for name in names]
    return list(names)


def in_families(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A short name of each model beside that of its family: without what all models of the family begin and end with.

    Args:
        keys: families and labels. If one label of several families is long, those of all are cut, to look alike.
    """
    families: dict[str, list[str]] = {}
    for family, label in dict.fromkeys(keys):
        families.setdefault(family, []).append(label)
    longest = max((len(label) for each in families.values() for label in each), default=0)
    least = 0 if len(families) > 1 and longest > LONGEST else LONGEST
    return {
        (family, label): short
        for family, each in families.items()
        for label, short in zip(each, trimmed(each, least), strict=True)
    }


def crop(name: str) -> str:
    """The name, without its middle if it is longer than `LONGEST`: heads and tails tell names apart."""
    if len(name) <= LONGEST:
        return name
    tail = LONGEST // 2
    return f"{name[: LONGEST - tail - 1]}…{name[-tail:]}"


def common_start(names: Sequence[str]) -> str:
    """What all of at least one name begin with."""
    first, last = min(names), max(names)  # what these two share, all between them share
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n]


def _shared(names: Sequence[str], separators: str = "-_. /") -> int:
    """Characters that all names begin with, up to and with the last separator among them."""
    return max(map(common_start(names).rfind, separators)) + 1
