"""Which tokens of a document are evaluated together, and which of them are scored.

Two rules. ``"every"``, the default, is that of lm-evaluation-harness's rolling log-likelihood
(`get_rolling_token_windows` in its ``lm_eval/utils.py``): each token is scored exactly once. ``"perplexity"`` is
exactly that of llama-perplexity (`perplexity()` in llama.cpp's ``tools/perplexity/perplexity.cpp``), so that the
numbers match it.
Pure functions on NumPy arrays; every window is evaluated on its own, positions in it start at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.errors import PpldeltaError
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
    """

    tokens: NDArray[np.int32]
    first_output: int
    targets: NDArray[np.int32]
    pos: NDArray[np.uint32]

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads."""
        return len(self.tokens)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that are evaluated together, each on its own positions; most batches hold one.

    Attributes:
        document: name of the document of the first window, for people.
        at: index of each window among all windows of its model, ascending.
        windows: the windows themselves.
    """

    document: str
    at: tuple[int, ...]
    windows: tuple[Window, ...]

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads."""
        return sum(window.n_fed for window in self.windows)

    @property
    def n_scored(self) -> int:
        """Targets, each of which needs a row of logits."""
        return sum(len(window.targets) for window in self.windows)


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
            f"`windows` must be one of {_listed(RULES)}, got `{rule}`",
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
    own = np.asarray(tokens)
    if own.ndim != 1 or (own.size and not np.issubdtype(own.dtype, np.integer)):
        raise PpldeltaError(f"`tokens` must be integers of shape (n_tokens,), got {own.dtype} of shape {own.shape}")
    own = own.astype(np.int32)
    stream = own if bos is None else np.concatenate([np.array([bos], np.int32), own])

    cut = _perplexity if rule == "perplexity" else _every
    return cut(stream, n_ctx, bos, max_windows)


def completion_windows(
    tokens: NDArray[np.int32] | NDArray[np.int64] | Sequence[int], *, n_prompt: int, n_ctx: int, bos: int | None
) -> list[Window]:
    """Windows that score what follows a prompt, with as much of the prompt as context as has room.

    Args:
        tokens: those of prompt and completion without BOS; integers, shape (n_tokens,).
        n_prompt: how many of them are the prompt.
        n_ctx: most tokens in a window, at least 4.
        bos: id of the token in front, else None. Without it the first target of an empty prompt cannot be scored.

    Returns:
        One window, if it feeds at most `n_ctx` tokens; else, as lm-evaluation-harness does, one of the last `n_ctx`
        tokens. A completion of more than `n_ctx` tokens goes on in windows of the rule ``"every"``. Empty when there is
        nothing to score.
    """
    own = np.asarray(tokens).astype(np.int32)
    stream = own if bos is None else np.concatenate([np.array([bos], np.int32), own])
    begin = max(1, n_prompt + (bos is not None))
    step = n_ctx - n_ctx // 2 + 1
    windows: list[Window] = []
    while begin < len(stream):
        fits = not windows and len(stream) - begin <= n_ctx
        end = len(stream) if fits else min(len(stream), max(begin + step, n_ctx + 1))
        windows.append(_window(stream[max(0, end - 1 - n_ctx) : end - 1].copy(), stream, begin, end, bos))
        begin = end
    return windows


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


def _every(stream: NDArray[np.int32], n_ctx: int, bos: int | None, max_windows: int | None) -> list[Window]:
    # Targets are stream[1:]. With n_ctx tokens fed and the first target preceded by n_ctx // 2 of them, a later
    # window scores n_ctx - n_ctx // 2 + 1 targets: its last target is the one token of the stream it does not feed.
    step = n_ctx - n_ctx // 2 + 1
    windows: list[Window] = []
    begin = 1
    while begin < len(stream) and (max_windows is None or len(windows) < max_windows):
        end = min(len(stream), begin + (step if windows else n_ctx))
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
