"""Short names of models and categories, for planes, tables, sections and the tour: what tells them apart stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

LONGEST = 26
"""Characters of a name that fit on a plane; the hover shows all of them."""


def shorten(names: Sequence[str]) -> list[str]:
    """Names without the beginning and the end that all share, up to a separator; a long rest loses its middle."""
    return [crop(name) for name in trimmed(names)]


def trimmed(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Names without the beginning and the end that all share, up to a separator, if one is longer than `longest`."""
    if len(names) > 1 and max(map(len, names)) > longest:
        head = _shared(names)
        tail = _shared([name[::-1] for name in names], "-. /")  # the K_M of a quant belongs to its name
        if all(len(name) > head + tail for name in names):
            return [name[head : len(name) - tail] for name in names]
    return list(names)


def in_families(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A short name for each model, without the beginning and the end that all models of its family share.

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


def of_families(families: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A short name for each family. One that bears its reference's name keeps what all its models begin with.

    Args:
        families: the labels of the models of each.
    """
    cut = {family: _before(family, labels) for family, labels in families.items()}
    return cut if len(set(cut.values())) == len(cut) else {family: family for family in families}


def _before(family: str, labels: Sequence[str]) -> str:
    """The part of a family's name, up to a separator, with which all its labels begin; else the whole name."""
    head = family[: _shared([family, *labels])].rstrip("-_. /")
    return family if all(label.startswith(family) for label in labels) else head or family


def crop(name: str) -> str:
    """The name, without its middle if it is longer than `LONGEST`: heads and tails tell names apart."""
    if len(name) <= LONGEST:
        return name
    tail = LONGEST // 2
    return f"{name[: LONGEST - tail - 1]}…{name[-tail:]}"


def common_start(names: Sequence[str]) -> str:
    """The beginning that all names share; there must be at least one name."""
    first, last = min(names), max(names)  # what these two share, all between them share
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n]


def _shared(names: Sequence[str], separators: str = "-_. /") -> int:
    """Characters that all names begin with, up to and with the last separator among them."""
    return max(map(common_start(names).rfind, separators)) + 1
