"""What characters are, as far as the kinds of tokens ask: letters of which script, digits, punctuation, white space.

Unicode's general category (`unicodedata`) tells letters, digits and punctuation apart. It does not name scripts, so
that blocks stand for them here, those of Unicode 15 that living languages are mostly written in.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

OTHER, SPACE, NEWLINE, DIGIT, LOWER, UPPER, LOWER_ACCENT, UPPER_ACCENT, UNDERSCORE, MARK, OPERATOR, SYMBOL = range(12)
"""Classes of characters. `LOWER` and `UPPER` are ASCII letters, `MARK` is punctuation of sentences, `OPERATOR` every
other printable ASCII character, `SYMBOL` all that is drawn and no letter: emoji, arrows, mathematics."""

SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "Cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Hebrew": ((0x590, 0x5FF), (0xFB1D, 0xFB4F)),
    "Devanagari": ((0x900, 0x963), (0x966, 0x97F), (0xA8E0, 0xA8FF)),
    "other Indic scripts": ((0x980, 0xDFF), (0xA830, 0xA83F)),
    "Thai": ((0xE00, 0xE7F),),
    "Chinese characters": ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
                           (0x20000, 0x3FFFF)),
    "kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "other scripts": (),
}  # fmt: skip
"""Scripts other than Latin by the blocks of their letters and of the signs that belong to these."""

FIRST_SCRIPT = SYMBOL + 1
"""The class of letters of the first of `SCRIPTS`; those of the others follow."""

N_CLASSES = FIRST_SCRIPT + len(SCRIPTS)

_MARKS = frozenset(".,;:!?'\"-")
_UNKNOWN = 255
_ESCAPED = range(0xDC80, 0xDD00)  # bytes that are no UTF-8, as Python's "surrogateescape" has them
_LATIN = ((0xAA, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x1D00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF))


def classes(characters: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The class of each code point, of the same shape. Each code point is looked up once in the life of a process."""
    table = _table()
    found: NDArray[np.uint8] = table[characters]
    if (found == _UNKNOWN).any():
        for each in np.unique(characters[found == _UNKNOWN]).tolist():
            table[each] = _class_of(each)
        found = table[characters]
    return found


@functools.cache
def _table() -> NDArray[np.uint8]:
    return np.full(0x110000, _UNKNOWN, np.uint8)


def _class_of(code: int) -> int:
    """The class of one code point."""
    character = chr(code)
    category = "Cs" if code in _ESCAPED else unicodedata.category(character)
    if character in "\n\r\v\f\x85\u2028\u2029":
        return NEWLINE
    if character == "\t" or category == "Zs":
        return SPACE
    if character == "_":
        return UNDERSCORE
    if category == "Nd":
        return DIGIT
    if category[0] in "LM" and code not in range(0xFE00, 0xFE10):  # these choose how a symbol is drawn
        return _letter(code, category)
    if category[0] == "P" and (code > 0x7F or character in _MARKS):
        return MARK
    if 0x20 < code < 0x7F:
        return OPERATOR
    return SYMBOL if category[0] in "SN" or code in (0x200D, *range(0xFE00, 0xFE10)) else OTHER


def _letter(code: int, category: str) -> int:
    """The class of a letter, or of a sign that is put on one."""
    if code < 0x80:
        return UPPER if category == "Lu" else LOWER
    if any(low <= code <= high for low, high in _LATIN):
        return UPPER_ACCENT if category in ("Lu", "Lt") else LOWER_ACCENT
    for number, blocks in enumerate(SCRIPTS.values()):
        if any(low <= code <= high for low, high in blocks):
            return FIRST_SCRIPT + number
    return N_CLASSES - 1
