"""Numbers of a look at a text (`ppldelta.look`): the columns that matter, frames, what sentences and scales need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

Values = NDArray[np.float32]
"""What a heat map draws."""

LEAST_SHOWN = 1e-3
"""Where both models give a token less probability, the difference of its log-probabilities is left blank: it would be
large and mean nothing."""


def columns_that_matter(logp: NDArray[np.float32], n_columns: int) -> NDArray[np.int64]:
    """The columns with the largest mean probability, the largest first; of equal ones the first is first.

    Args:
        logp: of the reference, in nats, shape [n_places, n_candidates].
        n_columns: how many are wanted.
    """
    order: NDArray[np.int64] = np.argsort(-mean_probability(logp), kind="stable")
    return order[:n_columns]


def mean_probability(logp: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over the places of the probability of each column, shape [n_columns]."""
    mean: NDArray[np.float64] = np.exp(logp.astype(np.float64)).mean(axis=0)
    return mean


def tokens_frame(
    tokens: NDArray[np.int32],
    pieces: Sequence[bytes],
    pos: NDArray[np.uint32],
    logp: Sequence[NDArray[np.float32]],
    top: Sequence[NDArray[np.int32]],
) -> pl.DataFrame:
    """A row for each place: `pos, token, piece`, and of each model `logp_…` (nats) and `top_…` (its best)."""
    columns: dict[str, pl.Series] = {
        "pos": pl.Series(pos, dtype=pl.UInt32),
        "token": pl.Series(tokens, dtype=pl.Int32),
        "piece": pl.Series(list(pieces), dtype=pl.Binary),
    }
    for side, values, best in zip(("ref", "cmp"), logp, top, strict=False):
        columns[f"logp_{side}"] = pl.Series(values, dtype=pl.Float32)
        columns[f"top_{side}"] = pl.Series(best, dtype=pl.Int32)
    return pl.DataFrame(columns)


def columns_frame(
    tokens: NDArray[np.int32], pieces: Sequence[bytes], logp: Sequence[NDArray[np.float32]]
) -> pl.DataFrame:
    """A row for each column: `token, piece`, and of each model `p_…`, its mean probability over the places."""
    columns: dict[str, pl.Series] = {
        "token": pl.Series(tokens, dtype=pl.Int32),
        "piece": pl.Series(list(pieces), dtype=pl.Binary),
    }
    for side, values in zip(("ref", "cmp"), logp, strict=False):
        columns[f"p_{side}"] = pl.Series(mean_probability(values), dtype=pl.Float64)
    return pl.DataFrame(columns)


def difference(logp_ref: NDArray[np.float32], logp_cmp: NDArray[np.float32], *, blank: bool) -> NDArray[np.float32]:
    """`logp_cmp - logp_ref` in nats; NaN where `blank` and both probabilities are below `LEAST_SHOWN`."""
    delta: NDArray[np.float32] = logp_cmp - logp_ref
    if blank:
        delta[np.maximum(logp_ref, logp_cmp) < np.log(LEAST_SHOWN)] = np.nan
    return delta


def probabilities(logp: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(logp), for the hover."""
    found: NDArray[np.float32] = np.exp(logp)
    return found


def reach(values: NDArray[np.float32], part: float = 0.98) -> float:
    """The absolute value that this part of some values does not exceed: the end of a scale, without outliers."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, part)) if finite.size else 1.0


def first_dimensions(
    states: NDArray[np.float32], n: int, *, less: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The first n dimensions of states, less those of other states if there are any, shape [n_places, n]."""
    some = states[:, :n]
    return some if less is None else some - less[:, :n]


def logarithms(norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """log10 of norms; those of 0 are drawn as the smallest positive float32."""
    found: NDArray[np.float32] = np.log10(np.maximum(norms, np.finfo(np.float32).tiny))
    return found


@dataclass(frozen=True)
class ByDepth:
    """How a value along a text is spread at each depth: its median, and between which values 80 % of the places lie."""

    median: list[float]
    low: list[float]
    high: list[float]

    @property
    def largest_step(self) -> int:
        """The depth whose median is farthest above that of the depth before."""
        return 1 + int(np.argmax(np.diff(self.median)))


def by_depth(values: NDArray[np.float32]) -> ByDepth:
    """
    Args:
        values: shape [n_depths, n_places]; NaN is passed over.
    """
    low, median, high = np.nanquantile(values.astype(np.float64), [0.1, 0.5, 0.9], axis=1).tolist()
    return ByDepth(median, low, high)


@dataclass(frozen=True)
class Summary:
    """What the sentences say of one or two models on these places.

    Attributes:
        n_places: how many.
        ppl: exp(-mean logp) of each model.
        n_top: at how many places the token that came next was the most probable one, for each model.
        delta: mean of logp_cmp - logp_ref in nats; None without a comparison.
        n_same_top: at how many places both find the same token most probable; None without a comparison.
    """

    n_places: int
    ppl: list[float]
    n_top: list[int]
    delta: float | None
    n_same_top: int | None


def summary(tokens: pl.DataFrame) -> Summary:
    """
    Args:
        tokens: as `tokens_frame` gives it.
    """
    sides = [side for side in ("ref", "cmp") if f"logp_{side}" in tokens.columns]
    logp = {side: tokens[f"logp_{side}"].cast(pl.Float64).to_numpy() for side in sides}
    top = {side: tokens[f"top_{side}"].to_numpy() for side in sides}
    two = len(sides) > 1
    return Summary(
        n_places=len(tokens),
        ppl=[float(np.exp(-logp[side].mean())) for side in sides],
        n_top=[int(np.count_nonzero(top[side] == tokens["token"].to_numpy())) for side in sides],
        delta=float((logp["cmp"] - logp["ref"]).mean()) if two else None,
        n_same_top=int(np.count_nonzero(top["ref"] == top["cmp"])) if two else None,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Seen:
    """What one model sees in a text, or two: a part of the matrix of log-probabilities, and hidden states.

    A *place* is a token of the text that the models had to predict; its row of the matrix, and its hidden state, are
    those from which it is predicted, after the token before it has been read. Arrays of both models are in tuples, the
    reference's first.

    Attributes:
        models: their labels.
        name: the text's: its file's name, or "text".
        before: the bytes of the tokens that the models read before the first place: none, or the text's first token
            where no beginning-of-text token precedes it.
        tokens: a row for each place: `pos` (which token of the text), `token`, `piece` (its bytes), and of each model
            `logp_ref`, `logp_cmp` in nats and `top_ref`, `top_cmp`, the token that it finds most probable.
        columns: a row for each column of the matrix: `token`, `piece`, and `p_ref`, `p_cmp`, the column's mean
            probability over the places.
        logp: for each model ln p, float32 of shape [n_places, n_columns], in nats.
        states: for each model what its head gets, float32 of shape [n_places, n_embd]; None if the architecture's graph
            does not show it.
        norms: for each model the root mean square of the state at each depth, float32 of shape [n_depths, n_places];
            None likewise.
        depths: 0 for the embeddings, 1 … n_layer for what each layer hands on, of the reference; empty without states.
        distance: |cmp - ref| / |ref| of the states, float32 of shape [n_depths + 1, n_places], of which the last row is
            that of `states`; None without a second model of the same shape.
        cosine: of the angle between both states, likewise.
        chosen: whether the columns are those that matter most, and not a range that was asked for.
        warnings: what the reader should know, in sentences.
        signature: what determines the numbers.
    """

    models: tuple[str, ...]
    name: str
    before: bytes
    tokens: pl.DataFrame
    columns: pl.DataFrame
    logp: tuple[NDArray[np.float32], ...]
    states: tuple[NDArray[np.float32] | None, ...]
    norms: tuple[NDArray[np.float32] | None, ...]
    depths: tuple[int, ...]
    distance: NDArray[np.float32] | None = None
    cosine: NDArray[np.float32] | None = None
    chosen: bool = True
    warnings: list[str] = field(default_factory=list)
    signature: str = ""

    @cached_property
    def difference(self) -> NDArray[np.float32] | None:
        """`logp[1] - logp[0]`, in nats; None if there is one model."""
        return difference(*self.logp, blank=False) if len(self.logp) > 1 else None

    @cached_property
    def summary(self) -> Summary:
        """What the sentences say."""
        return summary(self.tokens)

    @cached_property
    def shown_difference(self) -> NDArray[np.float32] | None:
        """As `difference`, but NaN where both models rule out a column that was chosen for them (`LEAST_SHOWN`)."""
        return difference(*self.logp, blank=self.chosen) if len(self.logp) > 1 else None

    @cached_property
    def by_depth(self) -> ByDepth | None:
        """The distance at each depth; None if it is unknown."""
        return None if self.distance is None else by_depth(self.distance)

    @property
    def depth_names(self) -> list[str]:
        """What each row of `norms` and `distance` is called."""
        return ["the embeddings" if depth == 0 else f"after layer {depth}" for depth in self.depths]
