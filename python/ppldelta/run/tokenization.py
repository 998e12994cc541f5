"""How a model's vocabulary splits the documents, and the windows in which the model reads them.

A tokenization belongs to a model. Today's comparisons all split texts as their reference does (`run.checks`) and share
its tokenization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.native import ModelInfo
from ppldelta.errors import CorpusError, LeftOut
from ppldelta.run.batches import make_batches
from ppldelta.run.settings import ResolvedSettings
from ppldelta.text.documents import Document
from ppldelta.text.spans import lengths_of, token_bounds
from ppldelta.text.windows import Batch, Window, completion_windows, cut_windows
from ppldelta.wording.names import counted, printable


class Vocabulary(Protocol):
    """What is needed of a model to split texts; `engine.remote.RemoteModel` has it."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, documents: Sequence[Document], on_bytes: Callable[[int], object]) -> list[NDArray[np.int32]]: ...

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]: ...


@dataclass(frozen=True, eq=False)
class TokenizedDocument:
    """A document with its tokens (int32, without BOS) and the windows in which they are evaluated."""

    document: Document
    tokens: NDArray[np.int32]
    windows: list[Window]


@dataclass(frozen=True, eq=False)
class Tokenization:
    """The documents as a model reads them.

    Attributes:
        documents: those that can be scored.
        batches: which of their windows are evaluated together.
        distinct_tokens: every token that occurs in them, once, ascending, int32 of shape [n].
        pieces: the bytes of each of those.
    """

    documents: list[TokenizedDocument]
    batches: list[Batch]
    distinct_tokens: NDArray[np.int32]
    pieces: list[bytes]

    @cached_property
    def windows(self) -> list[Window]:
        """The windows of all documents, in their order; `Batch.at` counts them."""
        return [window for each in self.documents for window in each.windows]

    @property
    def n_tokens(self) -> int:
        """Tokens of all documents, in windows or not."""
        return sum(len(each.tokens) for each in self.documents)

    @property
    def n_scored(self) -> int:
        """Tokens that are scored."""
        return sum(len(window.targets) for window in self.windows)

    @property
    def longest(self) -> int:
        """Tokens in the longest window."""
        return max(window.n_fed for window in self.windows)

    @cached_property
    def _windows_before(self) -> NDArray[np.int64]:
        """For each document the number of windows before its own; the last entry is the number of all windows."""
        return np.cumsum([0, *(len(each.windows) for each in self.documents)])

    def document_of(self, window: int) -> Document:
        """The document to which the window with this index belongs."""
        return self.documents[int(np.searchsorted(self._windows_before, window, side="right")) - 1].document

    def batches_of(self, wanted: Iterable[int]) -> list[Batch]:
        """The batches, reduced to the wanted windows; a batch that has none of them is left out."""
        some, left = set(wanted), []
        for batch in self.batches:
            if at := tuple(i for i in batch.at if i in some):
                left.append(Batch(self.document_of(at[0]).name, at, tuple(self.windows[i] for i in at)))
        return left

    def bounds(self, document: TokenizedDocument) -> NDArray[np.uint32] | None:
        """Which bytes of a document each of its tokens covers, as `text.spans.token_bounds` gives them."""
        text = document.document.text
        return token_bounds(text, document.tokens, self.distinct_tokens, self.pieces, self._lengths)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return lengths_of(self.pieces)


def tokenize(
    documents: Sequence[Document],
    model: Vocabulary,
    settings: ResolvedSettings,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> tuple[Tokenization, list[str]]:
    """A model's tokenization of the documents, and warnings that name those from which nothing can be scored.

    Args:
        documents: of the corpus.
        model: whose vocabulary splits them.
        settings: resolved for the reference.
        on_bytes: called with the bytes of text that were split into tokens since the last call; prompts are split once
            more.

    Raises:
        CorpusError: nothing can be scored at all.
    """
    bos = model.info.bos if model.info.add_bos else None
    all_tokens = model.tokenize(documents, on_bytes)
    n_prompts = _prompt_tokens(documents, all_tokens, model, on_bytes)
    kept, too_short, names, cut = [], [], [], []
    for document, tokens, n_prompt in zip(documents, all_tokens, n_prompts, strict=True):
        if document.prompt_bytes:
            windows = completion_windows(tokens, n_prompt=n_prompt, n_ctx=settings.n_ctx, bos=bos)[
                : settings.max_windows
            ]
            if len(tokens) + (bos is not None) - 1 > settings.n_ctx:
                cut.append(document.name)
        else:
            windows = cut_windows(
                tokens, rule=settings.windows, n_ctx=settings.n_ctx, bos=bos, max_windows=settings.max_windows
            )
        if windows:
            kept.append(TokenizedDocument(document, tokens, windows))
        elif document.prompt_bytes:
            too_short.append(f"`{printable(document.name)}` (no token behind the prompt)")
            names.append(document.name)
        else:
            too_short.append(f"`{printable(document.name)}` ({counted(len(tokens), 'token')})")
            names.append(document.name)
    if not kept:
        raise CorpusError(
            f"no document is long enough to score: {_some(too_short)}",
            hint="a document needs at least three tokens; `windows='every'` scores the shortest texts",
        )
    distinct_tokens = np.unique(np.concatenate([each.tokens for each in kept]))
    batches = make_batches(
        [(each.document.name, each.windows) for each in kept], n_seq_max=settings.n_seq_max, n_ctx=settings.n_ctx
    )
    whole = Tokenization(kept, batches, distinct_tokens, model.pieces(distinct_tokens))
    warnings = [_cut_prompts(cut, settings.n_ctx)] if cut else []
    if names:
        warnings.append(LeftOut(f"Too short to score, left out: {_some(too_short)}.", "document", *names))
    return whole, warnings


def _prompt_tokens(
    documents: Sequence[Document],
    all_tokens: Sequence[NDArray[np.int32]],
    model: Vocabulary,
    on_bytes: Callable[[int], object],
) -> list[int]:
    """How many tokens of each document are its prompt: those that it shares from the start with its prompt alone.

    A token that spans the border belongs to the completion, as with lm-evaluation-harness, which moves the spaces at a
    prompt's end there (`_encode_pair` in its ``lm_eval/api/model.py``).
    """
    with_prompt = [i for i, document in enumerate(documents) if document.prompt_bytes]
    prompts = [replace(documents[i], text=documents[i].text[: documents[i].prompt_bytes]) for i in with_prompt]
    n_prompts = [0] * len(documents)
    if not prompts:
        return n_prompts
    for i, prompt in zip(with_prompt, model.tokenize(prompts, on_bytes), strict=True):
        n = min(len(prompt), len(all_tokens[i]))
        differ = np.flatnonzero(prompt[:n] != all_tokens[i][:n])
        n_prompts[i] = int(differ[0]) if len(differ) else n
    return n_prompts


def _cut_prompts(names: list[str], n_ctx: int) -> str:
    """A warning about prompts that do not fit a window together with their completion."""
    which = f"`{printable(names[0])}`" + (f" and {counted(len(names) - 1, 'other document')}" if names[1:] else "")
    return (
        f"Prompt and completion of {which} have more than {n_ctx} tokens: the prompt's beginning is cut off. A larger "
        "`n_ctx` (`-c`) keeps it, if the model was trained on one."
    )


def _some(names: list[str], most: int = 5) -> str:
    """A list for people: the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
