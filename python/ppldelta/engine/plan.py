"""What will be evaluated: settings, and for each document its tokens and windows, the same for all models.

Models that cannot be compared are refused here, before any time is spent on evaluating.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine.native import Model
from ppldelta.errors import CorpusError, ModelError, TokenizerMismatchError
from ppldelta.models.references import ModelReference
from ppldelta.text.documents import Document
from ppldelta.text.windows import Window, plan_windows


@dataclass(frozen=True)
class Settings:
    """What determines the numbers and the memory, the same for the reference and all its comparisons."""

    windows: str
    n_ctx: int
    max_windows: int | None
    n_gpu_layers: int | None
    n_ubatch: int
    threads: int

    def signature(self) -> str:
        """Everything that determines the numbers beside models and documents, in one line."""
        parts = {
            "ppldelta": _core.__version__,
            "llama.cpp": _core.llama_cpp_commit,
            "patches": _core.patches_hash,
            "windows": self.windows,
            "n_ctx": self.n_ctx,
            "max_windows": self.max_windows or "all",
            "n_ubatch": self.n_ubatch,
            "kv": "f16",
            "flash_attn": "auto",
            "n_gpu_layers": "all"
            if self.n_gpu_layers is None and _core.supports_gpu_offload()
            else self.n_gpu_layers or 0,
            "backend": "+".join(name.split(":")[0] for name in _core.devices()),
        }
        return "|".join(f"{key}:{value}" for key, value in parts.items())


@dataclass(frozen=True)
class PlannedDocument:
    """A document with its tokens (int32, without BOS) and the windows in which they are evaluated."""

    document: Document
    tokens: NDArray[np.int32]
    windows: list[Window]

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads."""
        return sum(len(window.tokens) for window in self.windows)


def load_scorable(reference: ModelReference, n_gpu_layers: int | None) -> Model:
    """Loads a model.

    Raises:
        ModelError: it cannot be loaded, or its log-probabilities are not those of the next token.
    """
    model = Model(reference.path, n_gpu_layers=n_gpu_layers)
    if model.info.has_encoder:
        raise ModelError(
            f"`{reference.label}` is an encoder or encoder-decoder model ({model.info.architecture}), "
            "which has no left-to-right perplexity",
            hint="use a decoder-only language model",
        )
    if model.info.add_eos:
        raise ModelError(
            f"the vocabulary of `{reference.label}` adds an end-of-text token to every text, "
            "so that a document's end would be part of its score",
            hint="set `tokenizer.ggml.add_eos_token` to false with gguf-py's gguf_set_metadata.py",
        )
    return model


def plan_documents(
    documents: list[Document], model: Model, settings: Settings
) -> tuple[list[PlannedDocument], list[str]]:
    """Tokens and windows of every document, and warnings that name those from which nothing can be scored.

    Raises:
        CorpusError: nothing can be scored at all.
    """
    planned, too_short = [], []
    for document in documents:
        tokens = model.tokenize(document.text)
        windows = plan_windows(
            tokens,
            rule=settings.windows,
            n_ctx=settings.n_ctx,
            bos=model.info.bos if model.info.add_bos else None,
            max_windows=settings.max_windows,
        )
        if windows:
            planned.append(PlannedDocument(document, tokens, windows))
        else:
            too_short.append(f"`{document.name}` ({len(tokens)} tokens)")
    if not planned:
        raise CorpusError(
            f"no document is long enough to score: {_some(too_short)}",
            hint="a document needs at least three tokens; `windows='every'` scores the shortest texts",
        )
    return planned, [f"Too short to score, left out: {_some(too_short)}."] if too_short else []


def check_comparison(
    comparison: ModelReference, planned: list[PlannedDocument], reference: ModelReference, model: Model
) -> list[str]:
    """Whether a comparison can be set against the reference, token by token; returns what is worth a warning.

    Args:
        comparison: the model that is judged; only its vocabulary is read.
        planned: the documents as the reference splits them.
        reference: the yardstick.
        model: the same, loaded.

    Raises:
        TokenizerMismatchError: it splits a document into other tokens. A longer vocabulary is fine.
    """
    judged = Model(comparison.path, vocab_only=True)
    for plan in planned:
        tokens = judged.tokenize(plan.document.text)
        n = min(len(tokens), len(plan.tokens))
        differ = np.flatnonzero(tokens[:n] != plan.tokens[:n])
        if not len(differ) and len(tokens) == len(plan.tokens):
            continue
        at = int(differ[0]) if len(differ) else n
        raise TokenizerMismatchError(
            f"`{comparison.label}` splits `{plan.document.name}` into other tokens than the reference "
            f"`{reference.label}`: they differ from token {at} on, "
            f"{_shown(judged, tokens, at)} instead of {_shown(model, plan.tokens, at)}",
            hint="compare models of one family; across families compare each with its own reference, in bits per byte",
        )
    ours, theirs = judged.info, model.info
    if (ours.add_bos, ours.bos) != (theirs.add_bos, theirs.bos):
        return [
            f"`{comparison.label}` has another rule for the beginning-of-text token than `{reference.label}`; "
            "both are evaluated with the reference's."
        ]
    return []


def _shown(model: Model, tokens: NDArray[np.int32], at: int) -> str:
    """A token for people: its number and its text."""
    if at >= len(tokens):
        return "the end of the text"
    piece = model.pieces(tokens[at : at + 1])[0].decode("utf-8", "backslashreplace")
    return f"{tokens[at]} ({piece!r})"


def _some(names: list[str], most: int = 5) -> str:
    """A list for people: the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
