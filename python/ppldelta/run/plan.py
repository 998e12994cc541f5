"""What will be evaluated: settings, and for each document its tokens and windows, the same for all models.

Models that cannot be compared are refused here, before any time is spent on evaluating.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.native import Build, ModelInfo, build
from ppldelta.errors import CorpusError, LeftOut, ModelError, PpldeltaError, TokenizerMismatchError
from ppldelta.family import Signature
from ppldelta.models.references import ModelReference
from ppldelta.text.documents import Document
from ppldelta.text.windows import N_CTX_MIN, PlannedWindow, Window, check_arguments, default_n_ctx, plan_windows
from ppldelta.wording.names import counted, printable, shown_type

N_OUTPUTS_MAX_CPU = 128
"""Most scored tokens in a micro-batch on the CPU: each takes n_vocab float32 logits, and 256 were 2 % faster.

Decoding a window of 512 with 152 thousand entries in the vocabulary, n_ubatch 256 (2026-11-23, two cores, Q8_0): 0.95 s
with 128, 0.93 s with 256.
"""

N_SEQ_MAX_GPU = 32
"""Most windows in one batch where layers are on a GPU; with 60 tokens each they fill 7 micro-batches of 256."""

RANGES = {
    "n_ctx": (N_CTX_MIN, 2**31 - 1),
    "n_gpu_layers": (-1, 2**31 - 1),
    "n_ubatch": (4, 2**16),  # below that a window's last token may come alone, and then threads matter (cpp/scorer.cpp)
    "n_outputs_max": (1, 2**16),
    "threads": (1, 512),  # GGML_MAX_N_THREADS
    "n_seq_max": (1, 256),  # LLAMA_MAX_SEQ
}
"""Least and greatest values of settings."""


@dataclass(frozen=True)
class Settings:
    """What determines the numbers and the memory, the same for the reference and all its comparisons.

    Attributes:
        windows: which tokens are scored, one of `text.windows.RULES`.
        n_ctx: most tokens that are evaluated together; None until the reference is known (`for_model`).
        max_windows: most windows of each document; None for all.
        n_gpu_layers: layers on the GPU; None for all where there is a GPU.
        n_ubatch: most tokens in a micro-batch.
        threads: CPU threads; None for the physical cores of whatever machine evaluates.
        n_outputs_max: most scored tokens in a micro-batch of a window that is evaluated alone; None until it is known
            which process evaluates it (`for_model`).
        n_seq_max: most windows that are evaluated together; None as above.

    Raises:
        PpldeltaError: a value is out of its range.
    """

    windows: str
    n_ctx: int | None
    max_windows: int | None
    n_gpu_layers: int | None
    n_ubatch: int
    threads: int | None
    n_outputs_max: int | None = None
    n_seq_max: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.windows, str):
            raise PpldeltaError(f"`windows` must be a str, got {shown_type(self.windows)}")
        for name in ("n_ctx", "max_windows", "n_gpu_layers", "n_ubatch", "threads"):
            value = getattr(self, name)
            if value is None and name != "n_ubatch":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise PpldeltaError(f"`{name}` must be a whole number, got {shown_type(value)}")
        check_arguments(self.windows, N_CTX_MIN if self.n_ctx is None else self.n_ctx, self.max_windows)
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise PpldeltaError(f"`{name}` must lie between {least} and {most}, got {value}")

    def for_model(self, info: ModelInfo, where: Build) -> Settings:
        """The same with all filled in that follows from the reference and from what the evaluating process has.

        On the CPU each window is evaluated alone: several at once are no faster there. On a GPU short windows share a
        batch, but not those of a recurrent or hybrid model: each sequence would need a state of its own (tens of MB),
        and micro-batches that hold as many tokens of each sequence come out small.
        """
        n_ctx = self.n_ctx if self.n_ctx is not None else default_n_ctx(info.n_ctx_train)
        on_gpu = where.on_gpu(self.n_gpu_layers)
        n_outputs_max = self.n_outputs_max or (self.n_ubatch if on_gpu else min(self.n_ubatch, N_OUTPUTS_MAX_CPU))
        n_seq_max = self.n_seq_max or (N_SEQ_MAX_GPU if on_gpu and not info.recurrent else 1)
        n_seq_max = min(n_seq_max, n_ctx)  # llama.cpp has an output row for each
        return replace(self, n_ctx=n_ctx, n_outputs_max=n_outputs_max, n_seq_max=n_seq_max)

    def signature(self, where: Build | None = None) -> Signature:
        """Everything that determines the numbers beside models and documents.

        Args:
            where: what the process that evaluates is built from; by default, this process.
        """
        where = where or build()
        n_gpu_layers = self.n_gpu_layers if self.n_gpu_layers is not None else -int(where.gpu)
        parts = {
            "ppldelta": where.version,
            "llama.cpp": where.llama_cpp_commit,
            "patches": where.patches_hash,
            "windows": self.windows,
            "n_ctx": self.n_ctx,
            "max_windows": self.max_windows or "all",
            "n_ubatch": self.n_ubatch,
            "n_outputs_max": self.n_outputs_max,
            "n_seq_max": self.n_seq_max,
            "kv": "f16",  # this and the next as cpp/scorer.cpp sets them
            "flash_attn": "auto",
            "n_gpu_layers": "all" if n_gpu_layers < 0 else n_gpu_layers,
            "backend": "+".join(name.split(":")[0] for name in where.devices),
            "kernels": where.kernels,
        }
        return Signature.of(parts)


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
    settings: Settings,
    on_bytes: Callable[[int], object] = lambda n_bytes: None,
) -> tuple[list[PlannedDocument], list[str]]:
    """Tokens and windows of every document, and warnings that name those from which nothing can be scored.

    Args:
        documents: of the corpus.
        model: the reference.
        settings: with all filled in.
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


def plan_batches(planned: Sequence[PlannedDocument], settings: Settings) -> list[PlannedWindow]:
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
