"""Documents with their tokens, and with the windows in which these are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.document import Document
from ppldelta.text.many import Windows
from ppldelta.text.ragged import MadeOnDemand, Ragged
from ppldelta.text.windows import Window


@dataclass(frozen=True, eq=False)
class TokenizedDocument:
    """A document with its tokens (int32, without BOS) and the windows in which they are evaluated."""

    document: Document
    tokens: NDArray[np.int32]
    windows: Sequence[Window]

    @property
    def pos(self) -> NDArray[np.uint32]:
        """Which of the tokens are scored, in the order of the windows."""
        return np.concatenate([window.pos for window in self.windows])


@dataclass(frozen=True, eq=False)
class TokenizedDocuments(MadeOnDemand[TokenizedDocument]):
    """Many of them, in arrays; each that is looked at is made then.

    Attributes:
        texts: the documents.
        tokens: of each.
        windows: of all of them.
    """

    texts: list[Document]
    tokens: Ragged[np.int32]
    windows: Windows

    @staticmethod
    def of(documents: Iterable[TokenizedDocument]) -> TokenizedDocuments:
        """The same documents."""
        several = list(documents)
        return TokenizedDocuments(
            [each.document for each in several],
            Ragged.of((each.tokens for each in several), np.int32),
            Windows.of((each.document.name, each.windows) for each in several),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def at_index(self, i: int) -> TokenizedDocument:
        before = self.windows.before
        return TokenizedDocument(self.texts[i], self.tokens[i], self.windows[before[i] : before[i + 1]])
