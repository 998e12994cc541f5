"""Real English text of any length: the prose of the demo's corpus, from its beginning again where it ends."""

from __future__ import annotations

import itertools
import re
from functools import cache

import harness


@cache
def prose() -> str:
    """The demo's English documents as one text."""
    return "\n".join(path.read_text("utf-8") for path in sorted((harness.PACKAGE / "demo/corpus/prose").glob("*.txt")))


@cache
def _words() -> list[str]:
    return re.findall(r"\s*\S+", prose())


def text(n_words: int, start: int = 0) -> str:
    """`n_words` words from word `start` on. The benchmark models make about 1.2 tokens of a word."""
    begin = start % len(_words())
    return "".join(itertools.islice(itertools.cycle(_words()), begin, begin + n_words)).lstrip()
