"""A table of values and their spreads that fits into the width of a terminal.

Where there is too little room, names are shortened, then spreads go below their values, then the least important
columns go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from ppldelta.wording.names import LONGEST_NAME, shown_name, width

NAMES = (LONGEST_NAME, 30, 22)
"""Columns of a terminal that a name takes at most, the first that fits; the last also where nothing does."""

_LEAST = 16
"""Likewise of each of several names."""


@dataclass(frozen=True)
class Cell:
    """A value and its spread, as `0.268` and `± 0.035`; the spread may be empty."""

    value: str
    spread: str = ""


@dataclass(frozen=True)
class Column:
    """A column of values.

    Attributes:
        title: its heading.
        cells: a row each.
        importance: those with the least go first.
    """

    title: str
    cells: Sequence[Cell]
    importance: int


@dataclass(frozen=True)
class Fitted:
    """A table that fits, with its frame, and the titles of columns that had no room."""

    lines: list[str]
    left_out: list[str]


def fit(names: dict[str, list[str]], columns: Sequence[Column], most: int) -> Fitted:
    """The best form of a table that has room.

    Args:
        names: title → names, for the columns on the left.
        columns: the others.
        most: columns of the terminal.
    """
    for kept, longest, stacked in _forms(columns):
        lines = _drawn(names, kept, max(longest // len(names), _LEAST), stacked)
        if width(lines[0]) <= most:
            break
    return Fitted(lines, [column.title for column in columns if column not in kept])


def _forms(columns: Sequence[Column]) -> Iterator[tuple[list[Column], int, bool]]:
    """What to draw, how long names may be, and whether spreads stand below values: the best first."""
    every = list(columns)
    spread = any(cell.spread for column in columns for cell in column.cells)
    for stacked, longest in product([False, True] if spread else [False], NAMES):
        yield every, longest, stacked
    going = sorted(columns, key=lambda column: column.importance)
    for n in range(1, len(columns)):
        yield [column for column in every if column not in going[:n]], NAMES[-1], spread


def _drawn(names: dict[str, list[str]], columns: Sequence[Column], longest: int, stacked: bool) -> list[str]:
    left = [[title, *(shown_name(name, longest) for name in some)] for title, some in names.items()]
    right = [[[column.title], *(_lines(column, i, stacked) for i in range(len(column.cells)))] for column in columns]
    wide = [max(map(width, each)) for each in left] + [
        max(width(line) for cell in each for line in cell) for each in right
    ]
    gap = "  " if stacked else "   "
    rows = []
    for i in range(len(left[0])):
        for k in range(max((len(each[i]) for each in right), default=1)):
            cells = [each[i] if k == 0 else "" for each in left] + [
                each[i][k] if k < len(each[i]) else "" for each in right
            ]
            padded = [
                cell + " " * (most - width(cell)) if at < len(left) else " " * (most - width(cell)) + cell
                for at, (cell, most) in enumerate(zip(cells, wide, strict=True))
            ]
            rows.append(f"│ {gap.join(padded)} │")
    line = "─" * (sum(wide) + len(gap) * (len(wide) - 1) + 2)
    return [f"┌{line}┐", rows[0], f"╞{line.replace('─', '═')}╡", *rows[1:], f"└{line}┘"]


def _lines(column: Column, i: int, stacked: bool) -> list[str]:
    """The lines of a cell: spreads are as wide as each other, so that values stand below each other."""
    cell = column.cells[i]
    if stacked:
        return [cell.value, cell.spread.replace(" ", "")] if any(each.spread for each in column.cells) else [cell.value]
    most = max(width(each.spread) for each in column.cells)
    return [cell.value + (" " + cell.spread.rjust(most) if most else "")]
