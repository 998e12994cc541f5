"""Which tokens of a document are evaluated together, and which of them are scored.

Two rules. ``"every"``, the default, is that of lm-evaluation-harness's rolling log-likelihood
(`get_rolling_token_windows` in its ``lm_eval/utils.py``): each token is scored exactly once. ``"perplexity"`` is
exactly that of llama-perplexity (`perplexity()` in llama.cpp's ``tools/perplexity/perplexity.cpp``), so that the
numbers match it.
Pure functions on NumPy arrays; every window is evaluated on its own, positions in it start at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError
from ppldelta.wording.names import quoted
from ppldelta.wording.rules import DEFAULT_RULE, DIFFERENCE, RULES

N_CTX_MIN = 4
N_CTX_MAX_DEFAULT = 8192


@dataclass(frozen=True, eq=False)
class Window:
    """Tokens that the model sees at once, and the targets that are scored from them.

    Row ``i`` of the logits is what the model predicts after ``tokens[i]``. The last row is always needed: a token
    from which nothing is scored is never fed at the end. ``len(targets) == len(tokens) - first_output >= 1``.

    Attributes:
        tokens: int32, shape (n_fed,), ``n_fed <= n_ctx``; BOS included if the rule puts one.
        first_output: first row whose logits are needed; all later rows are needed too.
        targets: int32, shape (n_scored,); ``targets[i]`` is scored from row ``first_output + i``.
        pos: uint32, shape (n_scored,); index of each target in the document's own tokens (a BOS is not counted).
        prefix: how many of the first tokens are fed by themselves, so that windows that begin with the same ones share
            them; at most `first_output`. Whether others share it does not move the numbers.
        flash: whether flash attention may compute it on a CPU, where it rounds a token in one way or another, by how
            many come with it. Without it a window's numbers do not depend on where the window or its steps begin.
    """

    tokens: NDArray[np.int32]
    first_output: int
    targets: NDArray[np.int32]
    pos: NDArray[np.uint32]
    prefix: int = 0
    flash: bool = True

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads."""
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that are evaluated together, each on its own positions; most batches hold one.

    Either they go in side by side, which moves their last digits, or they have a prefix, which is the same for all of
    them: then it goes in once and what each has behind it one after the other, with the numbers that each has alone.

    Attributes:
        document: name of the document of the first window, for people.
        at: index of each window among all windows of its model, ascending.
        windows: the windows themselves.
    """

    document: str
    at: tuple[int, ...]
    windows: tuple[Window, ...]

    @property
    def shared(self) -> bool:
        """Whether the windows have a prefix, so that their numbers do not depend on one another."""
        return self.windows[0].prefix > 0

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads; a prefix once."""
        return sum(window.n_fed for window in self.windows) - self.windows[0].prefix * (len(self.windows) - 1)

    @property
    def n_scored(self) -> int:
        """Targets, each of which needs a row of logits."""
        return sum(len(window.targets) for window in self.windows)

    def split(self, n_scored: int) -> list[Batch]:
        """The same windows in batches of at most so many targets, as far as that leaves all numbers as they are."""
        if not self.shared or self.n_scored <= n_scored:
            return [self]
        parts: list[list[int]] = []
        n = n_scored
        for i, window in enumerate(self.windows):
            n += len(window.targets)
            if n > n_scored:
                parts.append([])
                n = len(window.targets)
            parts[-1].append(i)
        return [
            Batch(self.document, tuple(self.at[i] for i in part), tuple(self.windows[i] for i in part))
            for part in parts
        ]


def default_n_ctx(n_ctx_train: int) -> int:
    """Window size if the user names none: ``min(8192, n_ctx_train)`` tokens.

    Args:
        n_ctx_train: the context that the model was trained with, in tokens.

    Returns:
        The window size in tokens.
    """
    return min(N_CTX_MAX_DEFAULT, n_ctx_train)


def check_arguments(rule: str, n_ctx: int, max_windows: int | None) -> None:
    """Raises `PpldeltaError` if `cut_windows` cannot work with these arguments."""
    if rule not in RULES:
        raise PpldeltaError(
            f"`windows` must be one of {quoted(RULES)}, got `{rule}`",
            hint=f"the default is `{DEFAULT_RULE}`: {DIFFERENCE}",
        )
    if n_ctx < N_CTX_MIN:
        raise PpldeltaError(f"`n_ctx` must be at least {N_CTX_MIN}, got {n_ctx}", hint="512 and 2048 are usual values")
    if max_windows is not None and max_windows < 1:
        raise PpldeltaError(
            f"`max_windows` must be at least 1, got {max_windows}", hint="leave it out to keep all windows"
        )


def cut_windows(
    tokens: NDArray[np.int32] | NDArray[np.int64] | Sequence[int],
    *,
    rule: str,
    n_ctx: int,
    bos: int | None,
    max_windows: int | None = None,
) -> list[Window]:
    """Splits one document into windows.

    ``rule="perplexity"``: the stream is BOS (if any) and the tokens. Windows of ``n = min(n_ctx, length of the
    stream)`` tokens, the remainder dropped; BOS (if any) *replaces* the first token of every window; with
    ``first = n // 2``, the window's tokens ``first + 1 … n - 1`` are scored. A stream of fewer than 3 tokens has
    nothing to score. Upstream refuses texts below ``2 * n_ctx`` tokens, which its own arithmetic does not need.

    ``rule="every"``: the first window is BOS (if any) and as many tokens as fit; each later window continues with
    the text's own tokens, so that each of its targets has at least ``n_ctx // 2`` tokens of context, and the last
    one reaches back as far as ``n_ctx`` allows. As in lm-evaluation-harness (with ``context_len = n_ctx // 2``,
    where the harness itself passes 1) only the first window holds BOS. Without BOS nothing precedes the
    document's first token, which then cannot be scored (the harness would put an end-of-text token before it).

    Args:
        tokens: the document's own tokens without BOS; integers, shape (n_tokens,).
        rule: one of `RULES`.
        n_ctx: most tokens in a window, at least 4.
        bos: id of the BOS token if the vocabulary adds one, else None.
        max_windows: keep only the first so many windows (``--chunks``); None keeps all.

    Returns:
        The windows in the order of the text; empty when the document is too short for a single target.

    Raises:
        PpldeltaError: unknown rule, ``n_ctx`` or ``max_windows`` too small, or ``tokens`` not a row of integers.
    """
    check_arguments(rule, n_ctx, max_windows)
    cut = _perplexity if rule == "perplexity" else _every
    return cut(_stream(tokens, bos), n_ctx, bos, max_windows)


def completion_windows(
    tokens: NDArray[np.int32] | NDArray[np.int64] | Sequence[int], *, n_prompt: int, n_ctx: int, bos: int | None
) -> list[Window]:
    """Windows that score what follows a prompt, with the whole prompt as context where it has room.

    One window, if it feeds at most `n_ctx` tokens. Else, as lm-evaluation-harness does (`_loglikelihood_tokens` in its
    ``lm_eval/models/huggingface.py``), one of the last `n_ctx` tokens, which drops the beginning of the prompt. A
    completion of more than `n_ctx` tokens, which the harness refuses, goes on in windows of the rule ``"every"``.

    All of the prompt but its last two tokens is the window's `prefix`. The last one predicts the first target; the one
    before it comes along since a token that is alone would be attended in parts, one for each thread (cpp/cut.cpp).
    Flash attention is not for them, so that what a completion adds to its prompt is the difference of both texts' sums.

    Args:
        tokens: those of prompt and completion without BOS; integers, shape (n_tokens,).
        n_prompt: how many of them are the prompt; may be 0.
        n_ctx: most tokens in a window, at least 4.
        bos: id of the token in front, else None. Without it the first target of an empty prompt cannot be scored.

    Returns:
        The windows in the order of the text; empty when there is nothing to score.

    Raises:
        PpldeltaError: ``n_ctx`` or ``n_prompt`` out of range, or ``tokens`` not a row of integers.
    """
    stream = _stream(tokens, bos)
    check_arguments(RULES[0], n_ctx, None)
    if not 0 <= n_prompt <= len(tokens):
        raise PpldeltaError(f"`n_prompt` must lie between 0 and the {len(tokens)} tokens, got {n_prompt}")
    begin = max(1, n_prompt + (bos is not None))
    if begin >= len(stream):
        return []
    end = len(stream) if len(stream) - begin <= n_ctx else max(n_ctx + 1, begin + _step(n_ctx))
    fed = stream[max(0, end - 1 - n_ctx) : end - 1].copy()
    first = _window(fed, stream, begin, end, bos)
    n_shared = first.first_output - 1
    windows = [replace(first, prefix=n_shared if n_shared > 1 else 0)]
    windows += _every(stream, n_ctx, bos, None, end) if end < len(stream) else []
    return [replace(window, flash=False) for window in windows]


def _stream(tokens: NDArray[np.int32] | NDArray[np.int64] | Sequence[int], bos: int | None) -> NDArray[np.int32]:
    """BOS, if any, and the tokens; raises `PpldeltaError` if they are not a row of integers."""
    own = np.asarray(tokens)
    if own.ndim != 1 or (own.size and not np.issubdtype(own.dtype, np.integer)):
        raise PpldeltaError(f"`tokens` must be integers of shape (n_tokens,), got {own.dtype} of shape {own.shape}")
    own = own.astype(np.int32)
    return own if bos is None else np.concatenate([np.array([bos], np.int32), own])


def _perplexity(stream: NDArray[np.int32], n_ctx: int, bos: int | None, max_windows: int | None) -> list[Window]:
    n = min(n_ctx, len(stream))
    first = n // 2
    if first + 1 >= n:
        return []
    starts = range(0, len(stream) - n + 1, n)[:max_windows]
    windows = []
    for start in starts:
        # One copy, since BOS replaces the first token for the model only: as a target it keeps its place in the text.
        fed = stream[start : start + n - 1].copy()
        if bos is not None:
            fed[0] = bos
        windows.append(_window(fed, stream, start + first + 1, start + n, bos))
    return windows


def _step(n_ctx: int) -> int:
    """Targets of a window of `n_ctx` tokens if the first has ``n_ctx // 2`` before it: the last target is the one token
    of the stream that the window does not feed."""
    return n_ctx - n_ctx // 2 + 1


def _every(
    stream: NDArray[np.int32], n_ctx: int, bos: int | None, max_windows: int | None, begin: int = 1
) -> list[Window]:
    # Targets are stream[begin:], by default stream[1:].
    windows: list[Window] = []
    while begin < len(stream) and (max_windows is None or len(windows) < max_windows):
        end = min(len(stream), begin + (n_ctx if begin == 1 else _step(n_ctx)))
        fed = stream[max(0, end - 1 - n_ctx) : end - 1].copy()
        windows.append(_window(fed, stream, begin, end, bos))
        begin = end
    return windows


def _window(fed: NDArray[np.int32], stream: NDArray[np.int32], begin: int, end: int, bos: int | None) -> Window:
    """The window that feeds `fed` and scores ``stream[begin:end]`` from its last rows."""
    pos = np.arange(begin, end) - (0 if bos is None else 1)
    return Window(
        tokens=fed,
        first_output=len(fed) - (end - begin),
        targets=stream[begin:end],
        pos=pos.astype(np.uint32),
    )
