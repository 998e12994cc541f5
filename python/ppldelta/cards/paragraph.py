"""A paragraph of pieces of a sentence, broken into lines; names, numbers and intervals have weights and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ppldelta.cards.drawing import Drawing, Point, Style, fitted, shown
from ppldelta.reporting.sentences import Piece

LEADING = 1.32
"""From base line to base line, by the size of the type."""


@dataclass(frozen=True)
class Word:
    """What is never broken: stretches of text, each with its style."""

    parts: tuple[tuple[str, Style], ...]

    @property
    def width(self) -> float:
        """Pixels."""
        return sum(style.width(text) for text, style in self.parts)


def lines(pieces: Sequence[Piece], style: Style, most: float, colors: Mapping[str, str]) -> list[list[Word]]:
    """Breaks a sentence into lines of at most so many pixels; a name that is longer loses its middle.

    Args:
        pieces: of the sentence.
        style: of plain text.
        most: pixels of a line.
        colors: of the models whose name has one.
    """
    space = style.width(" ")
    found: list[list[Word]] = [[]]
    left = most
    for word in _words(pieces, style, most, colors):
        if found[-1] and word.width > left:
            found.append([])
            left = most
        found[-1].append(word)
        left -= word.width + space
    return found


def height(n_lines: int, style: Style) -> float:
    """Pixels from the top of the first line's capitals to the last base line."""
    return style.size * (0.73 + LEADING * (n_lines - 1))


def write(drawing: Drawing, at: Point, broken: Sequence[Sequence[Word]], style: Style) -> None:
    """Draws lines; `at` is where the first base line begins."""
    for i, line in enumerate(broken):
        x, y = at[0], at[1] + i * style.size * LEADING
        for word in line:
            for text, own in word.parts:
                x += drawing.text((x, y), text, own)
            x += style.width(" ")


def _words(pieces: Sequence[Piece], style: Style, most: float, colors: Mapping[str, str]) -> list[Word]:
    """Words at plain spaces; what follows without a space, such as a comma behind a name, belongs to the word."""
    words: list[list[tuple[str, Style]]] = []
    glued = False
    for piece in pieces:
        own = _style(piece, style, colors)
        if piece.kind in ("name", "category"):
            text = [fitted(shown(piece.text), own, most)]
            starts = ends = False
        else:
            text = [each for each in piece.text.split(" ") if each]  # other spaces do not break
            starts, ends = piece.text[:1] == " ", piece.text[-1:] == " "
        for i, each in enumerate(text):
            if i == 0 and glued and not starts and words:
                words[-1].append((each, own))
            else:
                words.append([(each, own)])
        glued = not ends if text else glued and not piece.text
    return [Word(tuple(parts)) for parts in words]


def _style(piece: Piece, style: Style, colors: Mapping[str, str]) -> Style:
    if piece.kind == "interval":
        return replace(style, color="muted")
    if piece.kind == "name":
        return replace(style, weight="bold", color=colors.get(piece.text, style.color))
    return replace(style, weight="bold") if piece.kind in ("number", "category") else style
