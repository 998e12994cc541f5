"""The checks of models before any time is spent on evaluating them: some refuse a model, others give a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.causes import DECODER_ONLY
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.errors import LeftOut, ModelError, PpldeltaError, TokenizerMismatchError
from ppldelta.models.references import LabelledSource
from ppldelta.run.cautions import why_other_tokens
from ppldelta.run.settings import Settings
from ppldelta.run.tokenization import Tokenization, Vocabulary
from ppldelta.run.tokenized import TokenizedDocument
from ppldelta.text.alignment import n_alike
from ppldelta.text.ragged import Ragged
from ppldelta.wording.names import counted, printable


def refuse_kld(models: list[LabelledSource]) -> None:
    """Raises `ModelError` for a `.kld` file among the models of a corpus, the reference first."""
    reference, *comparisons = models
    if reference.is_kld:
        raise ModelError(
            f"`{printable(reference.path)}` holds a model's log-probabilities, for the tokens that it holds with them "
            "and for no corpus",
            hint="leave the corpus out: `ppldelta.score(None, ref, cmp)`, `ppldelta score --ref FILE.kld --cmp GGUF`",
        )
    for each in comparisons:
        if each.is_kld:
            raise ModelError(
                f"`{printable(each.path)}` holds a model's log-probabilities and is no model",
                hint="such a file is compared with another one of the same tokens: name that as `ref`, and no corpus",
            )


def refuse_unscorable(info: ModelInfo, label: str) -> None:
    """Raises `ModelError` for a model whose log-probabilities are not those of the next token of the text."""
    if not info.causal:
        raise ModelError(
            f"`{printable(label)}` does not read from left to right ({printable(info.architecture)}), "
            "so its perplexity means nothing",
            hint=DECODER_ONLY,
        )
    if info.add_eos:
        raise ModelError(
            f"the vocabulary of `{printable(label)}` adds an end-of-text token to every text, "
            "so that a document's end would be part of its score",
            hint="set `tokenizer.ggml.add_eos_token` to false with gguf-py's gguf_set_metadata.py",
        )


@dataclass(frozen=True)
class OtherToken:
    """Where a comparison begins to split a document in another way than the reference: at a token of it."""

    expected: TokenizedDocument
    tokens: NDArray[np.int32]
    at: int


def first_other_token(tokenization: Tokenization, tokens: Iterable[NDArray[np.int32]]) -> OtherToken | None:
    """The first place at which a comparison splits the documents in another way than the reference; None if it does
    nowhere. A longer vocabulary is fine.

    Args:
        tokenization: the reference's.
        tokens: those of each of its documents, as the comparison splits it.
    """
    reference = tokenization.documents.tokens
    theirs = Ragged.of(tokens, np.int32)
    if np.array_equal(theirs.values, reference.values) and np.array_equal(theirs.starts, reference.starts):
        return None
    for expected, own in zip(tokenization.documents, theirs, strict=True):
        n = n_alike(own, expected.tokens)
        if not n == len(own) == len(expected.tokens):
            return OtherToken(expected, own, n)
    return None


_WAYS_OUT = (
    "`align='bytes'` (`--align bytes`) compares both on the same text, in bits per byte; or compare each with a "
    "reference of its own family"
)


def refuse_other_tokens(
    found: OtherToken, label: str, vocabulary: Vocabulary, reference_label: str, reference_vocabulary: Vocabulary
) -> NoReturn:
    """Raises `TokenizerMismatchError` for a comparison that splits a document into other tokens than the reference."""
    expected, at = found.expected, found.at
    raise TokenizerMismatchError(
        f"`{printable(label)}` splits `{printable(expected.document.name)}` into other tokens than the reference "
        f"`{printable(reference_label)}`: they differ from token {at} on, {_shown(vocabulary, found.tokens, at)} "
        f"instead of {_shown(reference_vocabulary, expected.tokens, at)}",
        hint="; ".join(filter(None, [why_other_tokens(vocabulary.info, reference_vocabulary.info), _WAYS_OUT])),
    )


def other_bos(label: str, info: ModelInfo, reference_label: str, reference_info: ModelInfo) -> list[str]:
    """A warning if a comparison begins texts in another way than the reference."""
    if (info.add_bos, info.bos) == (reference_info.add_bos, reference_info.bos):
        return []
    return [
        f"`{printable(label)}` has another rule for the beginning-of-text token than `{printable(reference_label)}` "
        f"({_bos(info)} instead of {_bos(reference_info)}); both are evaluated with the reference's."
    ]


def _bos(info: ModelInfo) -> str:
    return f"token {info.bos}" if info.add_bos and info.bos is not None else "none"


def beyond_training(info: ModelInfo, label: str, longest: int) -> list[str]:
    """A warning if the longest window has more tokens than the contexts that the model was trained on."""
    if longest <= info.n_ctx_train:
        return []
    return [
        f"Windows of up to {counted(longest, 'token')}, but `{printable(label)}` was trained on contexts of "
        f"{info.n_ctx_train}: what lies beyond says little about the model."
    ]


def no_device(settings: Settings, build: Build) -> list[str]:
    """A warning if a build for GPUs finds none, unless none is wanted."""
    if build.gpu or settings.n_gpu_layers == 0 or not build.idle:
        return []
    because = f" ({build.idle_because})" if build.idle_because else ""
    return [
        f"This build is for {' and '.join(build.idle)}, but finds no device{because}, and evaluates on the CPU. "
        "Is the driver installed, and is the device visible (CUDA_VISIBLE_DEVICES, the container's settings)? "
        "`n_gpu_layers=0` (`-ngl 0`) means the CPU without this warning."
    ]


def same_content(models: Iterable[tuple[str, str]]) -> list[str]:
    """A warning for each comparison that has the content of an earlier one.

    Args:
        models: label and sha256 of each comparison.
    """
    first: dict[str, str] = {}
    return [
        f"`{printable(label)}` has the same content as `{printable(before)}`; one of them is enough."
        for label, sha256 in models
        if (before := first.setdefault(sha256, label)) != label
    ]


def refuse_not_finite(values: NDArray[np.float32], label: str, document: str) -> None:
    """
    Args:
        values: what the model's logits gave for each token of a window.
        label: the model's.
        document: the name of the window's document.

    Raises:
        ModelError: some of the values are not finite.
    """
    if n_bad := int(np.count_nonzero(~np.isfinite(values))):
        raise ModelError(
            f"`{printable(label)}` gives log-probabilities that are not finite "
            f"({n_bad} of {counted(len(values), 'token')} in a window of `{printable(document)}`)",
            hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
        )


def refuse_any_not_finite(
    values: Ragged[np.float32], at: NDArray[np.int64], label: str, name_of: Callable[[int], str]
) -> None:
    """`refuse_not_finite` of several windows: their values, their indices, and what names a window's document."""
    if not np.isfinite(values.values).all():
        for i, each in zip(at.tolist(), values, strict=True):
            refuse_not_finite(each, label, name_of(i))


def left_out(label: str, failure: PpldeltaError, what: str = "this model is left out") -> LeftOut:
    """A warning about a comparison that failed while the others go on."""
    text = f"{failure.message}; {what}" + (f" (hint: {failure.hint})." if failure.hint else ".")
    return LeftOut(text, "comparison", label)


def _shown(model: Vocabulary, tokens: NDArray[np.int32], at: int) -> str:
    """A token for people: its number and its text."""
    if at >= len(tokens):
        return "the end of the text"
    piece = model.pieces(tokens[at : at + 1])[0].decode("utf-8", "backslashreplace")
    return f"{tokens[at]} ({piece!r})"
