"""Text as outlines, so that a card looks the same where no font is installed, in a browser and as PNG.

`inter.json` holds what a card needs of Inter 4.001 (SIL Open Font License, `inter-OFL.txt`) in two weights: outlines,
advances, figures of one width, and kerning of ASCII; `docs/make_card_font.py` wrote it. A character that is not among
them (Latin, Greek, Cyrillic) becomes a box with its number in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Weight = Literal["regular", "bold"]

_LIKE = {"\N{NARROW NO-BREAK SPACE}": 200, "\N{NO-BREAK SPACE}": 280, "\N{THIN SPACE}": 200}
"""Spaces that the font lacks, with their advance."""

_SMALL = 0.42
"""Size of the digits in a box, by that of the type."""


@dataclass(frozen=True)
class Placed:
    """An outline of a line of text: its name in `inter.json` or a path of its own, where it begins, and its scale.

    `name` and `path` exclude each other: a box is drawn by its path.
    """

    name: str
    path: str
    x: float
    y: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Face:
    """One weight. Lengths are in thousandths of the type's size, upwards positive."""

    glyphs: dict[str, tuple[float, str]]
    tabular: dict[str, tuple[float, str]]
    kerning: dict[str, dict[str, float]]

    def place(self, text: str, *, tabular: bool = False) -> tuple[list[Placed], float]:
        """The outlines of a line of text, and how far it goes.

        Args:
            text: without control characters, which the caller shows in some other way.
            tabular: figures of one width, for columns.
        """
        found, x, last = [], 0.0, ""
        for character in text:
            if last and not (tabular and (last.isdigit() or character.isdigit())):
                x += self.kerning.get(last, {}).get(character, 0)
            last = character
            if character in _LIKE:
                x += _LIKE[character]
            elif tabular and character in self.tabular:
                found.append(Placed(f"t{character}", "", x))
                x += self.tabular[character][0]
            elif character in self.glyphs:
                advance, outline = self.glyphs[character]
                if outline:
                    found.append(Placed(character, "", x))
                x += advance
            else:
                found += self._box(ord(character), x)
                x += self._box_advance(ord(character))
        return found, x

    def outline(self, name: str) -> str:
        """The path of an outline by the name that `Placed` gives it."""
        return self.tabular[name[1]][1] if len(name) == 2 else self.glyphs[name][1]

    def _box_advance(self, number: int) -> float:
        return 160 + (len(f"{number:04X}") + 1) // 2 * self.tabular["0"][0] * _SMALL + 80

    def _box(self, number: int, x: float) -> Iterator[Placed]:
        """A frame with the character's number in two rows of hexadecimal digits."""
        digits = f"{number:04X}"
        half = (len(digits) + 1) // 2
        wide = self._box_advance(number) - 80
        frame = f"M0 -160H{wide:g}V800H0ZM36 -124V764H{wide - 36:g}V-124Z"
        yield Placed("", frame, x + 40)
        for at, digit in enumerate(digits):
            row, column = divmod(at, half)
            cell = self.tabular["0"][0] * _SMALL
            own = self.tabular.get(digit) or self.glyphs[digit]
            offset = (cell - own[0] * _SMALL) / 2
            name = f"t{digit}" if digit in self.tabular else digit
            yield Placed(name, "", x + 120 + column * cell + offset, 370 - 450 * row, _SMALL)


@cache
def face(weight: Weight) -> Face:
    """A weight of the font."""
    text = resources.files("ppldelta.cards").joinpath("inter.json").read_text(encoding="utf-8")
    found = json.loads(text)["weights"][weight]
    return Face(found["glyphs"], found["tabular"], found["kerning"])


def width(text: str, size: float, weight: Weight = "regular", *, tabular: bool = False) -> float:
    """How wide a line of text is, in the unit of `size`."""
    return face(weight).place(text, tabular=tabular)[1] * size / 1000
