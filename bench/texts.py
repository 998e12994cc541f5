"""What the benchmark models read: real English text of any length, and a vocabulary made for it.

The text is the prose of the demo's corpus, from its beginning again where it ends. The vocabulary is a byte-level BPE:
every word of that prose is one token with its space (merges from left to right), everything else falls into short
pieces, and any bytes can be encoded.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import cache

from package import PACKAGE


@cache
def prose() -> str:
    """The demo's English documents as one text."""
    return "\n".join(path.read_text("utf-8") for path in sorted((PACKAGE / "demo/corpus/prose").glob("*.txt")))


@cache
def _words() -> list[str]:
    return re.findall(r"\s*\S+", prose())


def text(n_words: int, start: int = 0) -> str:
    """`n_words` words from word `start` on. The benchmark models make about 1.2 tokens of a word."""
    begin = start % len(_words())
    return "".join(itertools.islice(itertools.cycle(_words()), begin, begin + n_words)).lstrip()


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def vocabulary(n_vocab: int) -> tuple[list[str], list[str]]:
    """Tokens and merges: first the words of the prose, frequent ones first, then one letter more to what is there."""
    symbols = byte_symbols()
    tokens, merges, known = list(symbols), [], set(symbols)

    def merge(left: str, right: str) -> None:
        if left + right not in known and len(tokens) < n_vocab - 1:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")

    for word, _ in Counter(re.findall(r" [^\W\d_]+", prose())).most_common():
        word = "".join(symbols[byte] for byte in word.encode())
        for i in range(1, len(word)):
            merge(word[:i], word[i])
    for token in tokens:  # grows while it is read
        for letter in "etaoinshrdlucmfwygpbvkxqjz":
            merge(token, letter)
        if len(tokens) == n_vocab - 1:
            return [*tokens, "<|endoftext|>"], merges
    raise AssertionError("never runs out of letters")
