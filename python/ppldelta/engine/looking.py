"""What one or two models see in a short text: a part of the matrix of log-probabilities (places × tokens of the
vocabulary), and the hidden states along the text.

Each model reads the text twice. First as `score` has it read, so that a token's log-probability is the same to the last
bit; then in a context that shows what its layers hand on, which lets a device compute its graph only in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine import kept
from ppldelta.engine.kept import KeptRows
from ppldelta.engine.loaded import ContextSize, OnShelf, PinnedSource, Shelf, Weights, default_threads
from ppldelta.engine.native import Model, Scorer
from ppldelta.errors import ModelError
from ppldelta.text.windows import Window
from ppldelta.wording import numbers

BEST = 5
"""Most probable tokens of each place that may become columns."""

_LESS = "look at fewer tokens of the text (`n_tokens`, `-n`)"

OnStep = Callable[[int], object]


@dataclass(frozen=True, eq=False)
class View:
    """What is looked at.

    Attributes:
        window: what the models read; its rows all count (`first_output` is 0).
        n_places: how many of its targets are shown, from the first on.
        columns: how many tokens of the vocabulary are shown, those that matter, or which ones, int32 of shape [n].
    """

    window: Window
    n_places: int
    columns: int | NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class States:
    """A model's hidden states along a text of n_places places; the state of a place is the one from which its token is
    predicted.

    Attributes:
        norms: float32 of shape [n_depths, n_places]: root mean square of each state. The depths are those of `depths`.
        depths: where in the model each is: 0 before the first layer, 1 … n_layer after each layer.
        last: float32 of shape [n_places, n_embd]: what the head gets, after the last norm.
    """

    norms: NDArray[np.float32]
    depths: tuple[int, ...]
    last: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Departure:
    """How far a comparison's hidden states are from the reference's, float32 of shape [n_depths, n_places].

    Attributes:
        distance: |cmp - ref| / |ref| (Euclidean norms).
        cosine: of the angle between both.
        depths: as in `States`; one more than n_layer stands for what the head gets.
    """

    distance: NDArray[np.float32]
    cosine: NDArray[np.float32]
    depths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Looked:
    """What the models gave, the reference first.

    Attributes:
        columns: tokens of the vocabulary, int32 of shape [n_columns]; in the order given, or ascending.
        pieces: the bytes of each column.
        target_pieces: the bytes of each place's token.
        before: the bytes of the text's tokens that precede the first place.
        logp: for each model float32 of shape [n_places, n_columns], in nats.
        target_logp: for each model float32 of shape [n_places]: of the token that came next.
        top: for each model int32 of shape [n_places]: the most probable token.
        states: for each model its hidden states, or why there are none.
        departure: of the second model; why there is none, or None if there is one model.
    """

    columns: NDArray[np.int32]
    pieces: list[bytes]
    target_pieces: list[bytes]
    before: bytes
    logp: list[NDArray[np.float32]]
    target_logp: list[NDArray[np.float32]]
    top: list[NDArray[np.int32]]
    states: list[States | str]
    departure: Departure | str | None


class StateScorer(Scorer):
    """A context that also shows what the layers of its model hand on."""

    _states = True

    def states(self, window: Window, on_step: OnStep) -> dict[int, NDArray[np.float32]]:
        """Hidden states after each token of a window that is read alone.

        Returns:
            By place float32 of shape [n_fed, n_embd]: 0 for the embeddings, 1 … n_layer for what each layer hands on,
            -1 for what the head gets. A place whose tensor the graph does not name is missing.

        Raises:
            ValueError: the window does not fit the context or the vocabulary.
            ModelError: llama.cpp fails, or the architecture's graph hands on no state for each token.
        """
        core = self._checked([window])
        with self._evaluating():
            return self._core.states(core, on_step)


def look(shelf: Shelf, models: Sequence[PinnedSource], size: ContextSize, view: View, on_step: OnStep) -> Looked:
    """Reads a text with one model or two.

    Args:
        shelf: has the models.
        models: the reference, and what is compared with it, which splits the text into the same tokens.
        size: of the contexts.
        view: what is looked at.
        on_step: called after every micro-batch with the number of tokens in it.

    Raises:
        ModelError: a model cannot be evaluated, memory is too small for the rows or states, or a column that is asked
            for is in no vocabulary or another token in each.
    """
    threads = size.threads or default_threads()
    rows, states, pieces = [], [], []
    for pinned in models:
        on_shelf = shelf.get(pinned, Weights.NEEDED)
        _refuse_too_large(on_shelf.model, view.window.n_fed, len(models))
        rows.append(_rows(on_shelf, pinned, replace(size, threads=threads), view, on_step))
        states.append(_states(on_shelf, pinned, replace(size, threads=threads), view, on_step))
    columns = _columns(rows, view)
    for pinned in models:
        pieces.append(shelf.get(pinned, Weights.NOT_NEEDED).model.pieces(columns))
    columns = _common(columns, pieces, view)
    places = slice(view.n_places)
    found: list[States | str] = [each if isinstance(each, str) else _summary(each, places) for each in states]
    model = shelf.get(models[0], Weights.NOT_NEEDED).model
    return Looked(
        columns=columns,
        pieces=model.pieces(columns),
        target_pieces=model.pieces(view.window.targets[places]),
        before=b"".join(model.pieces(view.window.tokens[: view.window.pos[0]])),
        logp=[each.rows.columns(columns, threads)[places] for each in rows],
        target_logp=[each.values[0]["logp"][places].copy() for each in rows],
        top=[each.tops[0]["token"][places, 0].copy() for each in rows],
        states=found,
        departure=_departure(states, places) if len(models) > 1 else None,
    )


def _refuse_too_large(model: Model, n_fed: int, n_models: int) -> None:
    n_embd, n_layer = model._core.n_embd, model._core.n_layer
    n_logits = n_fed * model.info.n_vocab
    n_states = n_fed * n_embd * (n_layer + 2)
    if (n_bytes := 4 * n_models * (n_logits + n_states)) > kept.BUDGET_BYTES:
        raise ModelError(
            f"{n_fed:,} rows of {model.info.n_vocab:,} logits and the states of {n_layer} layers take "
            f"{numbers.size(n_bytes)}, and {numbers.size(kept.BUDGET_BYTES)} of memory are for them",
            hint=_LESS,
        )


def _rows(on_shelf: OnShelf, pinned: PinnedSource, size: ContextSize, view: View, on_step: OnStep) -> KeptRows:
    scorer = Scorer(on_shelf.model, **asdict(size), adapters=pinned.source.adapters)
    _, rows = scorer.keep([view.window], on_step, min(BEST, on_shelf.model.info.n_vocab))
    return rows


def _states(
    on_shelf: OnShelf, pinned: PinnedSource, size: ContextSize, view: View, on_step: OnStep
) -> dict[int, NDArray[np.float32]] | str:
    """The states by place, or why there are none: the matrix does not need them."""
    try:
        scorer = StateScorer(on_shelf.model, **asdict(size), adapters=pinned.source.adapters)
        return scorer.states(view.window, on_step)
    except ModelError as error:
        return error.message


def _columns(rows: Sequence[KeptRows], view: View) -> NDArray[np.int32]:
    """The columns that are asked for, or all that may matter: tokens that came next, and each place's best ones."""
    if not isinstance(view.columns, int):
        most = min(each.n_vocab for each in rows)
        if len(view.columns) and not 0 <= view.columns.min() <= view.columns.max() < most:
            raise ModelError(
                f"the columns {view.columns.min()} … {view.columns.max()} are asked for, and the vocabulary has the "
                f"tokens 0 … {most - 1}",
                hint="name columns that are there, or a number of columns for those that matter most",
            )
        return view.columns
    places = slice(view.n_places)
    tokens: NDArray[np.int32] = np.concatenate(
        [view.window.targets[places], *(each.tops[0]["token"][places].reshape(-1) for each in rows)]
    )
    found: NDArray[np.int32] = np.unique(tokens[(tokens >= 0) & (tokens < min(each.n_vocab for each in rows))])
    return found


def _common(columns: NDArray[np.int32], pieces: Sequence[list[bytes]], view: View) -> NDArray[np.int32]:
    """The columns that are the same token in each vocabulary.

    Raises:
        ModelError: one that was asked for is not.
    """
    same = np.array([len(set(each)) == 1 for each in zip(*pieces, strict=True)], bool)
    if not isinstance(view.columns, int) and not same.all():
        at = int(np.flatnonzero(~same)[0])
        ref, cmp = (mine[at].decode("utf-8", "backslashreplace") for mine in pieces)
        raise ModelError(
            f"token {columns[at]} is {ref!r} in one vocabulary and {cmp!r} in the other",
            hint="name other columns, or a number of columns for those that matter most",
        )
    common: NDArray[np.int32] = columns[same]
    return common


def _depths(states: dict[int, NDArray[np.float32]]) -> list[int]:
    """The places whose states are as wide as those that the head gets, without these."""
    return sorted(place for place, each in states.items() if place >= 0 and each.shape[1] == _last(states).shape[1])


def _last(states: dict[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    return states[-1] if -1 in states else states[max(states)]


def _summary(states: dict[int, NDArray[np.float32]], places: slice) -> States:
    depths = _depths(states)
    norms = [_rms(states[depth][places]) for depth in depths]
    return States(np.stack(norms).astype(np.float32), tuple(depths), _last(states)[places].copy())


def _departure(states: Sequence[dict[int, NDArray[np.float32]] | str], places: slice) -> Departure | str:
    """How far the second model's states are from the first one's, or why that cannot be said."""
    ref, cmp = states
    if isinstance(ref, str) or isinstance(cmp, str):
        return "the states of one of the models are unknown"
    depths = _depths(ref)
    if depths != _depths(cmp) or _last(ref).shape != _last(cmp).shape:
        shapes = [f"{max(_depths(each))} layers of width {_last(each).shape[1]}" for each in (ref, cmp)]
        return f"the models have other shapes: {shapes[0]}, and {shapes[1]}"
    distances, cosines = [], []
    for x, y in [*((ref[depth], cmp[depth]) for depth in depths), (_last(ref), _last(cmp))]:
        x, y = x[places].astype(np.float64), y[places].astype(np.float64)
        lengths = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a state of zeros has no direction: NaN
            distances.append(np.linalg.norm(y - x, axis=1) / lengths[0])
            cosines.append(np.einsum("ij,ij->i", x, y) / (lengths[0] * lengths[1]))
    of_all = (*depths, depths[-1] + 1)
    return Departure(np.stack(distances).astype(np.float32), np.stack(cosines).astype(np.float32), of_all)


def _rms(states: NDArray[np.float32]) -> NDArray[np.float64]:
    rms: NDArray[np.float64] = np.sqrt(np.mean(np.square(states, dtype=np.float64), axis=1))
    return rms


def steps_until(n_tokens: int, n_rows: int, size: ContextSize) -> int:
    """How many tokens of a window that is read alone go into the micro-batches which hold its first rows.

    What comes after them moves no number, but to end within a micro-batch would move the last digits of its rows.

    Args:
        n_tokens: of the window, all of whose rows count.
        n_rows: of these the first so many.
        size: of the context.
    """
    n_ubatch = min(size.n_ubatch, size.n_ctx)
    for ((_, _, end),) in _core.cut([(n_tokens, 0)], n_ubatch, min(size.n_outputs_max, n_ubatch)):
        if end >= n_rows:
            return end
    return n_tokens
