"""How a model's vocabulary splits the documents, and the windows in which the model reads them.

A tokenization belongs to a model. Comparisons that split the texts as their reference does share its tokenization; with
`align="bytes"` another one has its own (`run.admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.native import ModelInfo
from ppldelta.errors import CorpusError, LeftOut
from ppldelta.run.batches import make_batches, reduced
from ppldelta.run.settings import ResolvedSettings
from ppldelta.text.alignment import n_alike
from ppldelta.text.documents import Document
from ppldelta.text.spans import lengths_of, token_bounds
from ppldelta.text.windows import Batch, Window, completion_windows, cut_windows
from ppldelta.wording.names import counted, printable, quoted, some_of


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
        return reduced(self.batches, wanted, self.windows, lambda i: self.document_of(i).name)

    def spelt(self, document: TokenizedDocument) -> bytes:
        """What a document's tokens spell, one piece after the other."""
        which = np.searchsorted(self.distinct_tokens, document.tokens)
        return b"".join([self.pieces[i] for i in which.tolist()])

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the documents' texts by their tokens: how long a token is."""
        return sum(len(each.document.text) for each in self.documents) / self.n_tokens

    def n_bytes(self, batches: Iterable[Batch]) -> int:
        """Bytes of the pieces that are scored in some batches."""
        targets = np.concatenate([window.targets for batch in batches for window in batch.windows])
        lengths = np.array([len(piece) for piece in self.pieces], np.int64)
        return int(lengths[np.searchsorted(self.distinct_tokens, targets)].sum())

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
    read = as_tokenization(documents, model.tokenize(documents, on_bytes), model, settings, on_bytes)
    shown = [f"`{printable(each.document.name)}` ({_why_short(each)})" for each in read.too_short]
    if read.whole is None:
        raise CorpusError(
            f"no document is long enough to score: {some_of(shown)}",
            hint="a document needs at least three tokens; `windows='every'` scores the shortest texts"
            if settings.windows == "perplexity"
            else "a document needs at least two tokens, or one if the vocabulary adds a BOS",
        )
    warnings = cut_prompts(read.cut, settings.n_ctx)
    if read.too_short:
        names = [each.document.name for each in read.too_short]
        warnings.append(LeftOut(f"Too short to score, left out: {some_of(shown)}.", "document", *names))
    return read.whole, warnings


class Read(NamedTuple):
    """What a model makes of documents.

    Attributes:
        whole: the tokenization; None if nothing can be scored.
        too_short: the documents that are not in it.
        cut: names of those whose prompt has no room in a window beside the completion.
    """

    whole: Tokenization | None
    too_short: list[TokenizedDocument]
    cut: list[str]


def as_tokenization(
    documents: Sequence[Document],
    tokens: Sequence[NDArray[np.int32]],
    model: Vocabulary,
    settings: ResolvedSettings,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> Read:
    """What a model makes of documents whose tokens are known.

    Args:
        documents: any of the corpus.
        tokens: of each, as the model splits it.
        model: whose vocabulary that is.
        settings: resolved for the model.
        on_bytes: called with the bytes of prompts that were split into tokens since the last call.
    """
    bos = model.info.bos if model.info.add_bos else None
    kept: list[TokenizedDocument] = []
    too_short: list[TokenizedDocument] = []
    cut: list[str] = []
    n_prompts = _prompt_tokens(documents, tokens, model, on_bytes)
    for document, own, n_prompt in zip(documents, tokens, n_prompts, strict=True):
        if document.prompt_bytes:
            windows = completion_windows(own, n_prompt=n_prompt, n_ctx=settings.n_ctx, bos=bos)[: settings.max_windows]
            if len(own) + (bos is not None) - 1 > settings.n_ctx:
                cut.append(document.name)
        else:
            windows = cut_windows(
                own, rule=settings.windows, n_ctx=settings.n_ctx, bos=bos, max_windows=settings.max_windows
            )
        (kept if windows else too_short).append(TokenizedDocument(document, own, windows))
    if not kept:
        return Read(None, too_short, cut)
    distinct_tokens = np.unique(np.concatenate([each.tokens for each in kept]))
    batches = make_batches(
        [(each.document.name, each.windows) for each in kept], n_seq_max=settings.n_seq_max, n_ctx=settings.n_ctx
    )
    return Read(Tokenization(kept, batches, distinct_tokens, model.pieces(distinct_tokens)), too_short, cut)


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
        n_prompts[i] = n_alike(prompt, all_tokens[i])
    return n_prompts


def cut_prompts(names: Sequence[str], n_ctx: int) -> list[str]:
    """A warning about prompts that do not fit a window together with their completion, if there are any."""
    if not names:
        return []
    return [
        f"Prompt and completion of {counted(len(names), 'document')} have more than {n_ctx} tokens, and the prompt's "
        f"beginning is cut off: {quoted(names)}. A larger `n_ctx` (`-c`) keeps it, if the model was trained on one."
    ]


def _why_short(each: TokenizedDocument) -> str:
    return "no token behind the prompt" if each.document.prompt_bytes else counted(len(each.tokens), "token")
