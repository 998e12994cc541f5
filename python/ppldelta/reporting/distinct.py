"""Names for the families of several results: if some share a name, what differs between them tells them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from ppldelta.family import Family

_SETTINGS = ("windows", "n_ctx", "max_windows")
"""Parts of the signature that a user chooses for a reason; they are named whenever they differ."""


def distinct_names(families: Sequence[Family], folders: Sequence[str | None]) -> list[str]:
    """A name for each family, all different.

    A family keeps its name unless another has the same; then parentheses say what differs: the corpus, the folder of
    the reference (if one name stands for several models), and the settings that a user chooses. If two families still
    look alike, the other parts of the signature, the models compared and the folder of the result are added one after
    the other, until all differ. Families that differ in nothing get a number.

    Args:
        families: as `Result.families` has them.
        folders: from which each family's result was loaded; None for a fresh result.
    """
    names = [family.name for family in families]
    told = list(names)
    for name in dict.fromkeys(names):
        group = [i for i, each in enumerate(names) if each == name]
        if len(group) > 1:
            differences = _differences([families[i] for i in group], [folders[i] for i in group])
            for i, parts in zip(group, differences, strict=True):
                told[i] = f"{name} ({', '.join(parts)})" if parts else name
    taken: set[str] = set()
    for i, name in enumerate(told):
        number = 1
        while told[i] in taken:
            number += 1
            told[i] = f"{name} ({number})"
        taken.add(told[i])
    return told


def _differences(families: list[Family], folders: list[str | None]) -> list[tuple[str, ...]]:
    """What the parentheses say of each of several families of one name; two get the same only if nothing differs."""

    def setting(key: str) -> list[str | None]:
        values = [family.signature.get(key) for family in families]
        shown = _features(values) if key == "kernels" else values
        return [None if value is None else f"{key} {value}" for value in shown]

    other = len({family.ref.sha256 for family in families}) > 1
    always: list[list[str | None]] = [
        _tails([family.corpus for family in families]),
        _tails([_parent(family.ref.path) if other else None for family in families]),
        *map(setting, _SETTINGS),
        [f"align {family.align}" for family in families],
    ]
    keys = dict.fromkeys(key for family in families for key in family.signature if key not in _SETTINGS)
    otherwise: list[Callable[[], list[str | None]]] = [
        *(partial(setting, key) for key in keys),
        lambda: [_models(family) for family in families],
        lambda: _tails(folders),
    ]
    told: list[tuple[str, ...]] = [() for _ in families]

    def tell(values: list[str | None]) -> None:
        if None not in values and len(set(values)) > 1:
            told[:] = [(*parts, str(value)) for parts, value in zip(told, values, strict=True)]

    for values in always:
        tell(values)
    for values_of in otherwise:
        if len(set(told)) < len(told):
            tell(values_of())
    return told


def _features(lines: Sequence[str | None]) -> list[str | None]:
    """Of each long line of kernels, the features that not all lines have."""
    split = [None if line is None else dict.fromkeys(re.split(r"[\[\],+]+", line)) for line in lines]
    known = [set(features) for features in split if features is not None]
    common = set.intersection(*known) if known else set()
    rest = " ".join(sorted(set().union(*known) - common))
    return [
        None
        if features is None
        else " ".join(each for each in features if each not in common) or (f"without {rest}" if rest else "alike")
        for features in split
    ]


def _parent(path: str | None) -> str | None:
    return path.replace("\\", "/").rpartition("/")[0] or None if path else None


def _models(family: Family) -> str:
    first, *others = family.models or ["no model"]
    return f"{first} and {len(others)} more" if others else first


def _tails(paths: Sequence[str | None]) -> list[str | None]:
    """The last parts of each path, as many as it takes to make different paths look different."""
    split = [path.replace("\\", "/").rstrip("/").split("/") if path else None for path in paths]
    known = [parts for parts in split if parts]
    for n in range(1, 1 + max(map(len, known), default=0)):
        if len({tuple(parts[-n:]) for parts in known}) == len(set(map(tuple, known))):
            break
    else:
        n = 1
    return ["/".join(parts[-n:]) if parts else None for parts in split]
