"""Shards: what one task gets, and what comes back from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine import worker
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.trusted import Trust
from ppldelta.errors import ModelError
from ppldelta.text.many import Batches
from ppldelta.text.ragged import Ragged


@dataclass(frozen=True)
class Shard:
    """Some windows that one worker evaluated.

    Attributes:
        windows: for each its index (`Batch.at`), its log-probabilities and its seconds. The log-probabilities are
            float32 of shape [n_scored] in nats, not finite if the model's logits are not; the seconds are the
            window's part of the shard's.
        kernels: what computed them (`native.Build.kernels`).
        trusted: kernels that this worker has checked so far.
        best: of each window by its index what is most probable at each place, of type `pairs.BEST`, if that was asked
            for.
    """

    windows: list[tuple[int, NDArray[np.float32], float]]
    kernels: str
    trusted: frozenset[Trust] = frozenset()
    best: dict[int, NDArray[np.void]] = field(default_factory=dict)

    @property
    def at(self) -> NDArray[np.int64]:
        """The index of each window."""
        return np.array([i for i, _, _ in self.windows], np.int64)

    @property
    def logp(self) -> Ragged[np.float32]:
        """The log-probabilities of each."""
        return Ragged.of((logp for _, logp, _ in self.windows), np.float32)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """The seconds of each."""
        return np.array([time_s for _, _, time_s in self.windows], np.float64)


@dataclass(frozen=True)
class PairedShard:
    """Some windows that one worker evaluated under a reference and its comparisons.

    Attributes:
        models: what each model gave, the reference first; a comparison's error where it failed.
        pairs: for each comparison the records of its windows, by index (`Batch.at`), of type `pairs.record`; empty
            where it failed.
        infos: what each model says of itself; None where it failed.
    """

    models: list[Shard | ModelError]
    pairs: list[dict[int, NDArray[np.void]]]
    infos: list[ModelInfo | None]


def shard_of(scored: worker.Scored, batches: Batches) -> Shard:
    """What a model gave for these batches; each window's seconds are its part of the whole."""
    at, n_fed = batches.at.tolist(), batches.windows.n_fed[batches.which]
    times_s = (scored.time_s / n_fed.sum() * n_fed).tolist()
    return Shard(
        list(zip(at, scored.logp, times_s, strict=True)),
        scored.kernels,
        scored.trusted,
        dict(zip(at, scored.best, strict=True)) if scored.best else {},
    )


def shards(sizes: Sequence[int], most: Callable[[], int]) -> Iterator[range]:
    """Consecutive items whose sizes sum up to at most what `most` says at the time, at least one each."""
    start = 0
    while start < len(sizes):
        stop, total, limit = start + 1, sizes[start], most()
        while stop < len(sizes) and total + sizes[stop] <= limit:
            total += sizes[stop]
            stop += 1
        yield range(start, stop)
        start = stop
