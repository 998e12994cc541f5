"""What will be evaluated: for each document its tokens and windows, the same for all models.

Models that cannot be compared are refused here, before any time is spent on evaluating.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.native import ModelInfo
from ppldelta.errors import CorpusError, LeftOut, ModelError, TokenizerMismatchError
from ppldelta.models.references import ModelReference
from ppldelta.run.settings import ResolvedSettings
from ppldelta.text.documents import Document
from ppldelta.text.windows import PlannedWindow, Window, plan_windows
from ppldelta.wording.names import counted, printable


@dataclass(frozen=True, eq=False)
class PlannedDocument:
    """A document with its tokens (int32, without BOS) and the windows in which they are evaluated."""

    document: Document
    tokens: NDArray[np.int32]
    windows: list[Window]


class Vocabulary(Protocol):
    """What planning needs of a model; `engine.remote.RemoteModel` has it."""

    @property
    def info(self) -> ModelInfo: ...

    def tokenize(self, documents: Sequence[Document], on_bytes: Callable[[int], object]) -> list[NDArray[np.int32]]: ...

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]: ...


def refuse_unscorable(info: ModelInfo, label: str) -> None:
    """Raises `ModelError` for a model whose log-probabilities are not those of the next token of the text."""
    if not info.causal:
        raise ModelError(
            f"`{printable(label)}` does not read from left to right ({printable(info.architecture)}), "
            "so its perplexity means nothing",
            hint="use a decoder-only language model",
        )
    if info.add_eos:
        raise ModelError(
            f"the vocabulary of `{printable(label)}` adds an end-of-text token to every text, "
            "so that a document's end would be part of its score",
            hint="set `tokenizer.ggml.add_eos_token` to false with gguf-py's gguf_set_metadata.py",
        )


def plan_documents(
    documents: list[Document],
    model: Vocabulary,
    settings: ResolvedSettings,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> tuple[list[PlannedDocument], list[str]]:
    """Tokens and windows of every document, and warnings that name those from which nothing can be scored.

    Args:
        documents: of the corpus.
        model: the reference.
        settings: those of the run.
        on_bytes: called with the bytes of text that were split into tokens since the last call.

    Raises:
        CorpusError: nothing can be scored at all.
    """
    kept, too_short, names = [], [], []
    for document, tokens in zip(documents, model.tokenize(documents, on_bytes), strict=True):
        windows = plan_windows(
            tokens,
            rule=settings.windows,
            n_ctx=settings.n_ctx,
            bos=model.info.bos if model.info.add_bos else None,
            max_windows=settings.max_windows,
        )
        if windows:
            kept.append(PlannedDocument(document, tokens, windows))
        else:
            too_short.append(f"`{printable(document.name)}` ({counted(len(tokens), 'token')})")
            names.append(document.name)
    if not kept:
        raise CorpusError(
            f"no document is long enough to score: {_some(too_short)}",
            hint="a document needs at least three tokens; `windows='every'` scores the shortest texts",
        )
    if not names:
        return kept, []
    return kept, [LeftOut(f"Too short to score, left out: {_some(too_short)}.", "document", *names)]


def plan_batches(planned: Sequence[PlannedDocument], settings: ResolvedSettings) -> list[PlannedWindow]:
    """The windows of all documents in their order, and which of them are evaluated together."""
    lengths = [[len(window.tokens) for window in document.windows] for document in planned]
    batches = iter(shared_batches(lengths, n_seq_max=settings.n_seq_max, n_ctx=settings.n_ctx))
    return [
        PlannedWindow(window, document.document.name, next(batches))
        for document in planned
        for window in document.windows
    ]


def shared_batches(lengths: Sequence[Sequence[int]], *, n_seq_max: int, n_ctx: int) -> list[int]:
    """Which windows are evaluated together: decided from all of them at once, so that every model gets the same.

    Only documents of one window share: one of several windows fills its micro-batches itself. Those of similar length
    come together.

    Args:
        lengths: for each document, the tokens of its windows.
        n_seq_max: most windows in one batch.
        n_ctx: most tokens in one batch.

    Returns:
        For each window of each document the number of its batch; numbers begin with 0 and rise in the order of windows.
    """
    windows = [(length, len(each) == 1 and n_seq_max > 1) for each in lengths for length in each]
    groups = [[i] for i, (_, shares) in enumerate(windows) if not shares]
    n_tokens = n_ctx + 1  # of the last group: full
    for i in sorted((i for i, (_, shares) in enumerate(windows) if shares), key=lambda i: windows[i]):
        length, _ = windows[i]
        if n_tokens + length > n_ctx or len(groups[-1]) == n_seq_max:
            groups.append([])
            n_tokens = 0
        groups[-1].append(i)
        n_tokens += length
    batches = [0] * len(windows)
    for batch, group in enumerate(sorted(groups, key=min)):
        for i in group:
            batches[i] = batch
    return batches


def check_tokens(
    comparison: ModelReference,
    judged: Vocabulary,
    planned: list[PlannedDocument],
    reference: ModelReference,
    model: Vocabulary,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> None:
    """Whether a comparison splits all documents into the reference's tokens. A longer vocabulary is fine.

    Args:
        comparison: the model that is judged.
        judged: the same; only its vocabulary is asked.
        planned: the documents as the reference splits them; not empty.
        reference: the yardstick.
        model: the same.
        on_bytes: as in `plan_documents`.

    Raises:
        TokenizerMismatchError: it splits a document into other tokens.
    """
    for plan, tokens in zip(planned, judged.tokenize([plan.document for plan in planned], on_bytes), strict=True):
        n = min(len(tokens), len(plan.tokens))
        differ = np.flatnonzero(tokens[:n] != plan.tokens[:n])
        if not len(differ) and len(tokens) == len(plan.tokens):
            continue
        at = int(differ[0]) if len(differ) else n
        raise TokenizerMismatchError(
            f"`{printable(comparison.label)}` splits `{printable(plan.document.name)}` into other tokens than the "
            f"reference `{printable(reference.label)}`: they differ from token {at} on, "
            f"{_shown(judged, tokens, at)} instead of {_shown(model, plan.tokens, at)}",
            hint="compare models of one family; across families compare each with its own reference, in bits per byte",
        )


def other_bos(comparison: ModelReference, ours: ModelInfo, reference: ModelReference, theirs: ModelInfo) -> list[str]:
    """A warning where a comparison begins texts in another way than the reference."""
    if (ours.add_bos, ours.bos) == (theirs.add_bos, theirs.bos):
        return []
    return [
        f"`{printable(comparison.label)}` has another rule for the beginning-of-text token than "
        f"`{printable(reference.label)}`; "
        "both are evaluated with the reference's."
    ]


def beyond_training(info: ModelInfo, label: str, planned: list[PlannedDocument]) -> list[str]:
    """A warning where a window is longer than what the model was trained on."""
    longest = max(len(window.tokens) for plan in planned for window in plan.windows)
    if longest <= info.n_ctx_train:
        return []
    return [
        f"Windows of up to {counted(longest, 'token')}, but `{printable(label)}` was trained on contexts of "
        f"{info.n_ctx_train}: "
        "what lies beyond says little about the model."
    ]


def _shown(model: Vocabulary, tokens: NDArray[np.int32], at: int) -> str:
    """A token for people: its number and its text."""
    if at >= len(tokens):
        return "the end of the text"
    piece = model.pieces(tokens[at : at + 1])[0].decode("utf-8", "backslashreplace")
    return f"{tokens[at]} ({piece!r})"


def _some(names: list[str], most: int = 5) -> str:
    """A list for people: the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
