"""Where texts spell special tokens of a vocabulary, such as `<|im_start|>`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Spelt(NamedTuple):
    """A text of which special tokens are parsed, but not where they touch one of the ranges of bytes in `plain`."""

    text: bytes
    plain: tuple[tuple[int, int], ...] = ()


class SpecialTokens:
    """How a vocabulary spells the tokens that stand for no text.

    Args:
        names: of its control tokens.
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        wanted = {name for name in names if name}
        self._pattern = re.compile(_pattern(wanted)) if wanted else None

    def found(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where they are spelt: ranges of bytes, from left to right, of two that begin together the longer one."""
        return iter(()) if self._pattern is None else (match.span() for match in self._pattern.finditer(text))

    def pieces(self, spelt: Spelt) -> list[tuple[bytes, bool]]:
        """The text cut where a special token is spelt in a plain range, and whether each piece is to be parsed.

        Nearly every text is one piece: cut, it might have other tokens than the whole.
        """
        if not spelt.plain:
            return [(spelt.text, True)]
        pieces, at = [], 0
        for begin, end in self.found(spelt.text):
            if _touches(begin, end, spelt.plain):
                pieces += [(spelt.text[at:begin], True), (spelt.text[begin:end], False)]
                at = end
        pieces.append((spelt.text[at:], True))
        return [(text, parsed) for text, parsed in pieces if text]


def _pattern(names: set[bytes]) -> bytes:
    """A regular expression for any of the names, by what they have in common from the start.

    Gemma has 6250 of them; tried one after the other they would take as long as the tokenizer.
    """
    branches = [
        re.escape(first) + _pattern({name[1:] for name in names if name.startswith(first)})
        for first in sorted({name[:1] for name in names if name})
    ]
    if not branches:
        return b""
    if len(branches) == 1 and b"" not in names:
        return branches[0]
    return b"(?:" + b"|".join(branches) + b")" + (b"?" if b"" in names else b"")


def _touches(begin: int, end: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low < end and begin < high for low, high in ranges)
