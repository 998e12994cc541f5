"""What a page begins with: the verdict in words, and pictures that say it, in a shape for each width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppldelta.reporting.sentences import Piece


@dataclass(frozen=True)
class Cover:
    """The first screen of a page. Its pictures are SVG that is safe as it stands.

    Attributes:
        verdict: the sentence.
        source: reference, corpus, day and release, in one line.
        pictures: by shape, which is their class as well; in the custom properties of the page.
        outlines: of their letters.
    """

    verdict: list[Piece]
    source: str
    pictures: Mapping[str, str]
    outlines: str
