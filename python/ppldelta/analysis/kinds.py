"""Of which kind each token of a text is, by rules that one can read: its characters, its word, and what stands before.

A token has one kind. White space at its ends decides nothing unless it is all of the token; then the first rule of
`RULES` that fits decides. A *word* is a run of letters, digits and underscores, with the apostrophes inside it, and a
token belongs to the word of its first such character. A token that holds part of a character counts as the whole of it.

Texts are taken as long rows of characters, some hundred thousand tokens at a time, and each rule is a few operations
on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.analysis import characters as c
from ppldelta.analysis.words import (
    ACCENT,
    CAMEL,
    HEX,
    JOINED,
    LETTER,
    LOWER,
    NAME,
    SEVERAL,
    UPPER,
    last_of,
    next_of,
    words,
)

RULES: dict[str, str] = {
    "indentation": "white space from the beginning of a line up to its text",
    "line breaks": "other white space with a line break",
    "spaces": "other white space",
    **{name: "the first letter is of this script" for name in c.SCRIPTS},
    "hex digits": "of a word of 0-9 and a-f alone: at least 4 with both a digit and a letter, behind 0x, or 6 or 8 "
    "behind #",
    "digits": "digits without letters",
    "identifiers": "of a word with an underscore, with a capital behind a small letter, with digits and letters, "
    "or that is called, indexed or joined to another by a dot: `n_ctx`, `camelCase`, `x1`, `print(`, `self.path`",
    "accented words": "of a word with a Latin letter outside a-z",
    "capitals": "of a word of two or more capitals",
    "names": "of a word with a capital in the middle of a sentence: behind a word or a comma, and a space",
    "starts of words": "from the first letter of any other word: mostly all of it",
    "insides of words": "from a later letter of any other word",
    "brackets and operators": "ASCII without letters and digits, and not punctuation alone",
    "symbols and emoji": "without letters and digits, with a symbol beyond ASCII",
    "punctuation": "punctuation of sentences alone",
    "other": "nothing of all that: control characters, bytes that are no text, tokens without bytes",
}
"""The kinds, and the rule of each; the first that fits decides."""

KINDS = tuple(RULES)

WHITE = 3
"""Kinds that are white space: the first ones."""


_LETTERS = (c.LOWER, c.UPPER, c.LOWER_ACCENT, c.UPPER_ACCENT, *range(c.FIRST_SCRIPT, c.N_CLASSES))

_CHUNK = 1 << 18  # tokens at a time, about a megabyte of text
_LINE = 1 << 16  # tokens in which the end of a line is looked for


@dataclass(frozen=True, eq=False)
class Pieces:
    """The bytes of a vocabulary's tokens, one after the other: token number i has ``buffer[begin[i]:end[i]]``."""

    buffer: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(cls, pieces: list[bytes]) -> Pieces:
        """Takes them as they come; one more is added, a line break, which stands before each text."""
        sizes = np.array([*map(len, pieces), 1], np.int64)
        end = np.cumsum(sizes)
        return cls(np.frombuffer(b"".join(pieces) + b"\n", np.uint8), end - sizes, end)

    def text(self, tokens: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of some tokens, and where each of them ends."""
        sizes = self.end[tokens] - self.begin[tokens]
        ends = np.cumsum(sizes)
        places = np.repeat(self.begin[tokens] - (ends - sizes), sizes)
        places += np.arange(len(places))
        return self.buffer[places], ends


def token_kinds(tokens: NDArray[np.int64], offsets: NDArray[np.int64], pieces: Pieces) -> NDArray[np.uint8]:
    """The kind of each token of some texts.

    Args:
        tokens: int64, shape (n_tokens,); places in `pieces`, text after text.
        offsets: int64, shape (n_texts + 1,); text k has the tokens ``offsets[k]`` up to ``offsets[k + 1]``.
        pieces: the vocabulary.

    Returns:
        uint8, shape (n_tokens,); places in `KINDS`.
    """
    breaks = np.unique(offsets[:-1][offsets[:-1] < offsets[1:]])
    found = np.empty(len(tokens), np.uint8)
    start = 0
    while start < len(tokens):
        end = _chunk_end(tokens, start, breaks, pieces)
        inside = breaks[np.searchsorted(breaks, start) : np.searchsorted(breaks, end)] - start
        # a chunk that begins within a long text begins with a line, if it can
        before = inside if len(inside) and inside[0] == 0 else np.concatenate([[0], inside])
        row = np.insert(tokens[start:end], before, len(pieces.begin) - 1)
        mine = np.ones(len(row), np.bool_)
        mine[before + np.arange(len(before))] = False
        found[start:end] = _kinds(*pieces.text(row))[mine]
        start = end
    return found


def _chunk_end(tokens: NDArray[np.int64], start: int, breaks: NDArray[np.int64], pieces: Pieces) -> int:
    """Where the chunk ends that begins at `start`: with a text, else with a line."""
    most = start + _CHUNK
    if most >= len(tokens):
        return len(tokens)
    last = int(breaks[np.searchsorted(breaks, most, side="right") - 1])
    if last > start:
        return last
    near = tokens[most : most + _LINE]
    some = pieces.end[near] > pieces.begin[near]
    line = np.flatnonzero(some & (pieces.buffer[np.minimum(pieces.begin[near], len(pieces.buffer) - 1)] == ord("\n")))
    following = np.searchsorted(breaks, most, side="right")
    end = most + (int(line[0]) if len(line) else len(near))
    return min(end, int(breaks[following])) if following < len(breaks) else end


def _kinds(text: NDArray[np.uint8], token_ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The kinds of the tokens of a text, which begins with a line break."""
    written = text.tobytes().decode("utf-8", "surrogateescape").encode("utf-32-le", "surrogatepass")
    code = np.frombuffer(written, np.uint32)
    wide = 1 + (code >= 0x80).astype(np.int8) + (code >= 0x800) + (code >= 0x10000)
    wide[(code >= 0xDC80) & (code < 0xDD00)] = 1  # a byte that is no UTF-8
    of_byte = np.repeat(np.arange(len(code)), wide)
    begins = np.concatenate([[0], token_ends[:-1]])
    first, last = of_byte[np.minimum(begins, len(text) - 1)], of_byte[np.maximum(token_ends - 1, 0)]

    kind = c.classes(code)
    space, newline = kind == c.SPACE, kind == c.NEWLINE
    found = words(code, kind)
    key = next_of(found.inside)[first]  # the first character that belongs to a word
    has_word = key <= last
    key = np.minimum(key, len(code) - 1)
    of_word = found.number[key]
    traits = found.traits[of_word] if len(found.start) else np.zeros(len(key), np.uint16)
    begins_word = found.start[of_word] == key if len(found.start) else has_word
    white = next_of(~(space | newline))[first] > last
    line_so_far = newline[last_of(~space)[last]]  # nothing but spaces stands in it
    bits = np.bitwise_or.reduceat(np.append(np.uint32(1) << kind.astype(np.uint32), np.uint32(0)), _pairs(first, last))
    holds = bits[::2]
    script = np.where(has_word, kind[key].astype(np.int64) - c.FIRST_SCRIPT, -1)

    def has(*which: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (holds & np.uint32(sum(1 << each for each in which))) != 0
        return found

    def word(*which: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = has_word & (traits & np.uint16(sum(which)) != 0)
        return found

    letters = has(*_LETTERS)
    rules: list[tuple[str, NDArray[np.bool_]]] = [
        ("other", begins == token_ends),
        ("indentation", white & space[last] & line_so_far),
        ("line breaks", white & has(c.NEWLINE)),
        ("spaces", white),
        *((name, script == i) for i, name in enumerate(c.SCRIPTS)),
        ("hex digits", word(HEX)),
        ("digits", has_word & has(c.DIGIT) & ~letters),
        ("identifiers", word(CAMEL, JOINED)),
        ("accented words", word(ACCENT)),
        ("capitals", word(UPPER) & word(SEVERAL) & ~word(LOWER)),
        ("names", word(NAME)),
        ("starts of words", word(LETTER) & begins_word),
        ("insides of words", word(LETTER)),
        ("symbols and emoji", has(c.SYMBOL)),
        ("brackets and operators", has(c.OPERATOR, c.UNDERSCORE)),
        ("punctuation", has(c.MARK)),
    ]
    kinds = np.full(len(key), KINDS.index("other"), np.uint8)
    for name, which in reversed(rules):
        kinds[which] = KINDS.index(name)
    return kinds


def _pairs(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Beginnings and ends of stretches as `reduceat` takes them, which gives what lies between them at even places."""
    return np.column_stack([first, last + 1]).ravel()
