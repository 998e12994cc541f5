"""The words of a text and what they are like: a number of bits for each word, found for all words together.

A word is a run of letters, digits and underscores, with the apostrophes inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis import characters as c

DIGIT, UPPER, LOWER, ACCENT, UNDERSCORE, SCRIPT, HEX_LETTER, NOT_HEX = (1 << i for i in range(8))
"""What a word holds: characters of these classes, letters from a to f in either case, and others."""

CAMEL, JOINED, HEX, NAME, SEVERAL = (1 << i for i in range(8, 13))
"""What a word is: with a capital behind a small letter; called, indexed or joined to another by a dot; a number in
hexadecimal; with a capital in the middle of a sentence; of two or more characters."""

LETTER = UPPER | LOWER | ACCENT | SCRIPT

_OF_CLASS = np.zeros(c.N_CLASSES, np.uint16)
_OF_CLASS[[c.DIGIT, c.UPPER, c.LOWER, c.UNDERSCORE]] = DIGIT, UPPER, LOWER, UNDERSCORE | NOT_HEX
_OF_CLASS[[c.UPPER_ACCENT, c.LOWER_ACCENT]] = UPPER | ACCENT | NOT_HEX, LOWER | ACCENT | NOT_HEX
_OF_CLASS[c.FIRST_SCRIPT :] = SCRIPT | NOT_HEX


@dataclass(frozen=True, eq=False)
class Words:
    """The words of a text.

    Attributes:
        inside: bool, shape (n_characters,); whether a character belongs to a word.
        number: int64, shape (n_characters,); the word of each character that belongs to one.
        start: int64, shape (n_words,); the first character of each.
        traits: uint16, shape (n_words,); bits.
    """

    inside: NDArray[np.bool_]
    number: NDArray[np.int64]
    start: NDArray[np.int64]
    traits: NDArray[np.uint16]


def last_of(which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each place the last one up to it where `which` holds; -1 if there is none."""
    found: NDArray[np.int64] = np.maximum.accumulate(np.where(which, np.arange(len(which)), -1))
    return found


def next_of(which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each place the next one from it on where `which` holds; their number if there is none."""
    places = np.where(which, np.arange(len(which)), len(which))
    found: NDArray[np.int64] = np.minimum.accumulate(places[::-1])[::-1]
    return found


def words(code: NDArray[np.uint32], kind: NDArray[np.uint8]) -> Words:
    """Finds them.

    Args:
        code: uint32, shape (n_characters,); code points, the first of which is a line break.
        kind: uint8, of the same shape; the class of each (`characters.classes`).
    """
    plain = _OF_CLASS[kind] != 0
    inside = plain.copy()
    apostrophe = (code[1:-1] == ord("'")) | (code[1:-1] == 0x2019)
    inside[1:-1] |= apostrophe & plain[:-2] & plain[2:] & (_OF_CLASS[kind[:-2]] & LETTER != 0)
    begins = np.diff(inside, prepend=False) & inside
    start = np.flatnonzero(begins)
    if not len(start):
        return Words(inside, np.zeros(len(code), np.int64), start, np.empty(0, np.uint16))
    end = np.flatnonzero(np.diff(inside, append=False) & inside) + 1
    return Words(inside, np.cumsum(begins) - 1, start, _traits(code, kind, inside, start, end))


def _traits(
    code: NDArray[np.uint32],
    kind: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
) -> NDArray[np.uint16]:
    bits = np.where(inside, _OF_CLASS[kind], np.uint16(0))
    letter = (kind == c.LOWER) | (kind == c.UPPER)
    low = code | 0x20
    hexadecimal = letter & (low >= ord("a")) & (low <= ord("f"))
    bits[hexadecimal] |= HEX_LETTER
    bits[letter & ~hexadecimal] |= NOT_HEX
    lower = (kind == c.LOWER) | (kind == c.LOWER_ACCENT)
    upper = (kind == c.UPPER) | (kind == c.UPPER_ACCENT)
    bits[1:][upper[1:] & lower[:-1]] |= CAMEL
    # between the words stand others' characters, without bits
    traits: NDArray[np.uint16] = np.bitwise_or.reduceat(bits, start)
    size = end - start
    before, second = code[start - 1], code[np.minimum(start + 1, len(code) - 1)]
    after, behind = (np.append(code, [0, 0]).astype(np.uint32)[end + i] for i in (0, 1))

    letters = traits & LETTER != 0
    mixed = letters & (traits & DIGIT != 0)
    traits[(letters & (traits & UNDERSCORE != 0)) | mixed] |= CAMEL
    word_before = np.append(inside, [False, False])[np.maximum(start - 2, 0)] & (start >= 2)
    word_behind = np.append(inside, [False, False, False])[end + 1]
    joined = ((before == ord(".")) & word_before) | ((after == ord(".")) & word_behind & (behind != 0))
    joined |= (after == ord("(")) | (after == ord("["))
    traits[joined & letters] |= JOINED
    traits[size > 1] |= SEVERAL

    plain_hex = (traits & NOT_HEX == 0) & (size >= 4) & (traits & DIGIT != 0) & (traits & HEX_LETTER != 0)
    color = (traits & NOT_HEX == 0) & (before == ord("#")) & ((size == 6) | (size == 8))
    odd = np.add.reduceat((bits & NOT_HEX != 0).astype(np.int64), start)
    prefixed = (code[start] == ord("0")) & (second | 0x20 == ord("x")) & (odd == 1) & (size > 2)
    traits[plain_hex | color | prefixed] |= HEX

    space = kind == c.SPACE
    earlier = kind[last_of(~space)[start - 1]]  # of what stands before the spaces; the first character is a line break
    continues = (_OF_CLASS[earlier] != 0) | (code[last_of(~space)[start - 1]] == ord(","))
    small_second = lower[np.minimum(start + 1, len(code) - 1)] & (size > 1)
    traits[space[start - 1] & continues & upper[start] & small_second & (traits & (CAMEL | DIGIT) == 0)] |= NAME
    return traits
