"""Pairs of context and continuation become tokens, as lm-evaluation-harness makes them.

That is `TemplateLM._encode_pair` and `TemplateLM.loglikelihood` in its ``lm_eval/api/model.py`` (0.4.13), with the
``tok_encode`` of its ``hf`` model: white space at the end of a context moves to the continuation, whose tokens are
those of the whole text beyond the number of tokens of the context alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppldelta.engine.native import ModelInfo
from ppldelta.errors import PpldeltaError
from ppldelta.wording.names import shown_type

Part = str | ArrayLike
"""A context or a continuation: text, or its tokens, as a list, an array or a polars series."""

Pair = tuple[Part, Part]
"""A context and what follows it."""

Tokenize = Callable[[Sequence[bytes]], Sequence[NDArray[np.int32]]]
"""Gives the tokens of texts, without the BOS that the vocabulary may add."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A pair as tokens: int32, those of the context (`n_context`, at least one) and behind them the continuation's."""

    tokens: NDArray[np.int32]
    n_context: int


def front_token(info: ModelInfo, asked: int | None = None) -> int | None:
    """What stands in for an empty context: the token that is asked for, else BOS, else EOS; None without any.

    Raises:
        PpldeltaError: the token that is asked for is not in the vocabulary.
    """
    if asked is not None:
        if not isinstance(asked, (int, np.integer)) or isinstance(asked, bool) or not 0 <= asked < info.n_vocab:
            raise PpldeltaError(
                f"`prefix_token_id` must be a token of the vocabulary, 0 to {info.n_vocab - 1:,}, "
                f"got {shown_type(asked)}",
                hint="without it BOS stands in for an empty context, or EOS where there is none",
            )
        return asked
    return info.bos if info.bos is not None else info.eos


def encode(pairs: Iterable[Pair], tokenize: Tokenize, info: ModelInfo, front: int | None = None) -> list[Encoded]:
    """The tokens of pairs.

    A text begins with BOS if the vocabulary adds one, unless it begins with one already; tokens are taken as they are.
    In place of an empty context stands BOS, or without one EOS; if the continuation begins with that token, the token
    is its context.

    Args:
        pairs: both parts of a pair as str, or both as tokens.
        tokenize: the model's tokenizer; it is called once, with each text once.
        info: what the model says of itself.
        front: another token in place of an empty context.

    Raises:
        PpldeltaError: a pair is none, a text is not Unicode, a continuation is empty or has no token of its own, a
            token is outside the vocabulary, or there is nothing to put in place of an empty context.
    """
    checked = [_checked(i, pair, info) for i, pair in enumerate(pairs)]
    moved = [_moved(pair) if isinstance(pair[0], str) else pair for pair in checked]
    texts: dict[str, NDArray[np.int32]] = {}
    for context, continuation in moved:
        if isinstance(context, str) and isinstance(continuation, str):
            texts[context] = texts[context + continuation] = _NOTHING
    texts.pop("", None)
    found = tokenize([text.encode() for text in texts])
    texts.update(zip(texts, found, strict=True))
    texts[""] = _NOTHING
    bos = info.bos if info.add_bos else None
    front = front_token(info, front)
    encoded = []
    for i, (context, continuation) in enumerate(moved):
        if isinstance(context, str) and isinstance(continuation, str):
            before, whole = texts[context], texts[context + continuation]
            if bos is not None and context:
                before, whole = _with_bos(before, bos), _with_bos(whole, bos)
            # the context's own tokens also where the whole text has others there, as in the harness
            whole = np.concatenate([before, whole[len(before) :]])
        else:
            before = np.asarray(context, np.int32)
            whole = np.concatenate([before, np.asarray(continuation, np.int32)])
        n_context = len(before)
        if n_context == 0:
            if front is None:
                raise _wrong(i, "has no context", "the vocabulary has neither BOS nor EOS to put there: give a context")
            if not len(whole) or whole[0] != front:
                whole = np.concatenate([np.array([front], np.int32), whole])
            n_context = 1
        if len(whole) <= n_context:
            raise _wrong(i, "has no token of its own in its continuation", "a longer continuation will have one")
        encoded.append(Encoded(whole, n_context))
    return encoded


_NOTHING = np.empty(0, np.int32)


def _moved(pair: Pair) -> Pair:
    """White space at the end of the context belongs to the continuation."""
    context, continuation = pair
    assert isinstance(context, str) and isinstance(continuation, str)
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _with_bos(tokens: NDArray[np.int32], bos: int) -> NDArray[np.int32]:
    if len(tokens) and tokens[0] == bos:
        return tokens
    return np.concatenate([np.array([bos], np.int32), tokens])


def _checked(i: int, pair: object, info: ModelInfo) -> Pair:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise _wrong(i, f"is no pair of context and continuation, but {shown_type(pair)}", _HINT)
    context, continuation = pair
    if isinstance(context, str) and isinstance(continuation, str):
        if not continuation:
            raise _wrong(i, "has an empty continuation", "there is nothing to score")
        try:
            (context + continuation).encode()
        except UnicodeEncodeError:
            raise _wrong(i, "holds half of a surrogate pair, which is no text", "decode it as UTF-8 anew") from None
        return context, continuation
    parts = [part if isinstance(part, str) else _tokens(i, part, info) for part in (context, continuation)]
    if any(isinstance(part, str) for part in parts):
        raise _wrong(i, "mixes text and tokens", _HINT)
    return parts[0], parts[1]


def _tokens(i: int, part: object, info: ModelInfo) -> NDArray[np.int32]:
    tokens = np.asarray(part if isinstance(part, Sequence) or hasattr(part, "__array__") else [None])
    if tokens.ndim != 1 or (tokens.size and not np.issubdtype(tokens.dtype, np.integer)):
        raise _wrong(i, f"holds {shown_type(part)}, which is neither text nor a row of tokens", _HINT)
    if tokens.size and (tokens.min() < 0 or tokens.max() >= info.n_vocab):
        raise _wrong(i, f"holds a token outside the vocabulary of {info.n_vocab:,}", "use this model's own tokens")
    return tokens.astype(np.int32)


_HINT = "give two texts, or two lists of tokens"


def _wrong(i: int, what: str, hint: str) -> PpldeltaError:
    return PpldeltaError(f"request {i} {what}", hint=hint)
