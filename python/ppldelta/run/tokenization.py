"""How a model's vocabulary splits the documents, and the windows in which the model reads them.

A tokenization belongs to a model. Comparisons that split the texts as their reference does share its tokenization; with
`align="bytes"` another one has its own (`run.admission`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import Meter, meter, watched
from ppldelta.engine.native import ModelInfo
from ppldelta.errors import CorpusError, LeftOut
from ppldelta.run.batches import make_batches
from ppldelta.run.settings import ResolvedSettings
from ppldelta.run.tokenized import TokenizedDocument, TokenizedDocuments
from ppldelta.text.alignment import n_alike
from ppldelta.text.documents import Document
from ppldelta.text.many import Batches, Windows
from ppldelta.text.ragged import Ragged
from ppldelta.text.spans import bounds_of_each, lengths_of
from ppldelta.text.windows import Batch, Window, completion_windows, cut_windows
from ppldelta.wording.names import counted, printable, quoted, some_of


class Vocabulary(Protocol):
    """What is needed of a model to split texts; `engine.remote.RemoteModel` has it."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, documents: Sequence[Document], on_bytes: Callable[[int], object]) -> Ragged[np.int32]: ...

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]: ...


@dataclass(frozen=True, eq=False)
class Tokenization:
    """The documents as a model reads them.

    Attributes:
        documents: those that can be scored.
        batches: which of their windows are evaluated together.
        distinct_tokens: every token that occurs in them, once, ascending, int32 of shape [n].
        pieces: the bytes of each of those.
    """

    documents: TokenizedDocuments
    batches: Batches
    distinct_tokens: NDArray[np.int32]
    pieces: list[bytes]

    @property
    def texts(self) -> list[Document]:
        """The documents themselves."""
        return self.documents.texts

    @property
    def windows(self) -> Windows:
        """The windows of all documents, in their order; `Batch.at` counts them."""
        return self.documents.windows

    @property
    def n_tokens(self) -> int:
        """Tokens of all documents, in windows or not."""
        return len(self.documents.tokens.values)

    @property
    def n_scored(self) -> int:
        """Tokens that are scored."""
        return len(self.windows.pos)

    @property
    def scored(self) -> NDArray[np.int64]:
        """Index of each document's first scored token among all scored tokens, in the order of the windows, and their
        number at the end; int64 of shape [n_documents + 1]."""
        return self.windows.targets.starts[self.windows.before]

    @property
    def longest(self) -> int:
        """Tokens in the longest window."""
        return int(self.windows.n_fed.max())

    def places_in(self, other: Tokenization) -> NDArray[np.int64]:
        """Of each document its index in another tokenization, which has all of them."""
        place = {each.name: i for i, each in enumerate(other.texts)}
        return np.array([place[each.name] for each in self.texts], np.int64)

    def document_of(self, window: int) -> Document:
        """The document to which the window with this index belongs."""
        return self.texts[int(self.windows.document[window])]

    def batches_of(self, wanted: Iterable[int] | NDArray[np.int64]) -> Batches:
        """The batches, reduced to the wanted windows; a batch that has none of them is left out."""
        return self.batches.only(np.array(wanted if isinstance(wanted, np.ndarray) else list(wanted), np.int64))

    def spelt(self, document: TokenizedDocument) -> bytes:
        """What a document's tokens spell, one piece after the other."""
        which = np.searchsorted(self.distinct_tokens, document.tokens)
        return b"".join([self.pieces[i] for i in which.tolist()])

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the documents' texts by their tokens: how long a token is."""
        return sum(len(each.text) for each in self.texts) / self.n_tokens

    def n_bytes(self, batches: Iterable[Batch]) -> int:
        """Bytes of the pieces that are scored in some batches."""
        targets = np.concatenate([window.targets for batch in batches for window in batch.windows])
        return int(self._lengths[np.searchsorted(self.distinct_tokens, targets)].sum())

    def bounds_of(self, some: Sequence[int]) -> list[NDArray[np.uint32] | None]:
        """Of some documents which bytes each of their tokens covers, as `text.spans.token_bounds` says it."""
        texts, tokens = [self.texts[i].text for i in some], self.documents.tokens.taken(np.array(some, np.int64))
        return bounds_of_each(texts, tokens, self.distinct_tokens, self.pieces, self._lengths)

    def all_bounds(self) -> Iterator[tuple[range, list[NDArray[np.uint32] | None]]]:
        """`bounds_of` all documents, some at a time, with their indices."""
        for at in range(0, len(self.texts), _TOGETHER):
            some = range(at, min(at + _TOGETHER, len(self.texts)))
            yield some, self.bounds_of(some)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return lengths_of(self.pieces)


_TOGETHER = 4096
"""Documents of which it is found out at a time which bytes their tokens cover."""
_PROMPTS = 2**17
"""Prompts that are in memory at a time."""


def tokenize(
    documents: Sequence[Document], model: Vocabulary, settings: ResolvedSettings, progress: bool = False
) -> tuple[Tokenization, list[str]]:
    """A model's tokenization of the documents, and warnings that name those from which nothing can be scored.

    Args:
        documents: of the corpus.
        model: whose vocabulary splits them.
        settings: resolved for the reference.
        progress: whether to show how far it is.

    Raises:
        CorpusError: nothing can be scored at all.
    """
    with tokenizing(documents, progress, prompts=True) as bar:
        tokens = model.tokenize(documents, bar.update)
        n_prompts = prompt_tokens(documents, tokens, model, bar.update)
    read = as_tokenization(documents, tokens, n_prompts, model, settings, progress)
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
    tokens: Ragged[np.int32],
    n_prompts: Sequence[int],
    model: Vocabulary,
    settings: ResolvedSettings,
    progress: bool = False,
) -> Read:
    """What a model makes of documents whose tokens are known.

    Args:
        documents: any of the corpus.
        tokens: of each, as the model splits it.
        n_prompts: of each, how many of them are its prompt (`prompt_tokens`).
        model: whose vocabulary that is.
        settings: resolved for the model.
        progress: whether to show how far it is.
    """
    bos = model.info.bos if model.info.add_bos else None
    kept, too_short = array("q"), list[TokenizedDocument]()
    cut: list[str] = []

    def cut_up() -> Iterator[tuple[str, list[Window]]]:
        """Name and windows of each document that has any."""
        read = zip(range(len(documents)), documents, tokens, n_prompts, strict=True)
        shown = watched(read, "cutting windows", len(documents), "document", visible=progress)
        for i, document, own, n_prompt in shown:
            if document.prompt_bytes:
                windows = completion_windows(own, n_prompt=n_prompt, n_ctx=settings.n_ctx, bos=bos)
                windows = windows[: settings.max_windows]
                if len(own) + (bos is not None) - 1 > settings.n_ctx:
                    cut.append(document.name)
            else:
                windows = cut_windows(
                    own, rule=settings.windows, n_ctx=settings.n_ctx, bos=bos, max_windows=settings.max_windows
                )
            if windows:
                kept.append(i)
                yield document.name, windows
            else:
                too_short.append(TokenizedDocument(document, own, windows))

    windows = Windows.of(cut_up())
    if not kept:
        return Read(None, too_short, cut)
    if too_short:
        tokens = tokens.taken(np.array(kept, np.int64))
    read = TokenizedDocuments([documents[i] for i in kept], tokens, windows)
    distinct_tokens = np.unique(tokens.values)
    batches = make_batches(windows, n_seq_max=settings.n_seq_max, n_ctx=settings.n_ctx)
    return Read(Tokenization(read, batches, distinct_tokens, model.pieces(distinct_tokens)), too_short, cut)


def prompt_tokens(
    documents: Sequence[Document],
    all_tokens: Ragged[np.int32],
    model: Vocabulary,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> array[int]:
    """How many tokens of each document are its prompt: those that it shares from the start with its prompt alone.

    A token that spans the border belongs to the completion, as with lm-evaluation-harness, which moves the spaces at a
    prompt's end there (`_encode_pair` in its ``lm_eval/api/model.py``).

    Args:
        documents: any of the corpus.
        all_tokens: of each.
        model: whose vocabulary splits them.
        on_bytes: called with the bytes of prompts that were split into tokens since the last call.
    """
    n_prompts = array("q", bytes(8 * len(documents)))
    with_prompt = [i for i, document in enumerate(documents) if document.prompt_bytes]
    for begin in range(0, len(with_prompt), _PROMPTS):
        some = with_prompt[begin : begin + _PROMPTS]
        prompts = [replace(documents[i], text=documents[i].text[: documents[i].prompt_bytes]) for i in some]
        for i, prompt in zip(some, model.tokenize(prompts, on_bytes), strict=True):
            n_prompts[i] = n_alike(prompt, all_tokens[i])
    return n_prompts


def tokenizing(
    documents: Sequence[Document], progress: bool, *, prompts: bool = False
) -> AbstractContextManager[Meter]:
    """Shows how many texts a model has split into tokens. Within a long text only the time on display changes.

    Args:
        documents: of the corpus.
        progress: whether it is shown at all.
        prompts: whether their prompts are split by themselves too.
    """
    n_bytes = sum(len(document.text) + (document.prompt_bytes if prompts else 0) for document in documents)
    return meter("tokenizing", n_bytes, "byte", brief=True, visible=progress)


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
