"""What a model has given so far, or a pair of models, of all windows in one array."""

from __future__ import annotations

from typing import Generic

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ppldelta.text.ragged import Ragged, T


class Values(Generic[T]):
    """Values of a model's windows, each of which may be known or not.

    Args:
        starts: where each window's targets begin among those of all, int64 of shape [n_windows + 1].
        first: of each window the first one that equals it, whose values are put and count for all.
        dtype: that of a target's value, such as float32 for log-probabilities in nats.

    Attributes:
        known: of each window whether its values are there, bool of shape [n_windows].
    """

    def __init__(self, starts: NDArray[np.int64], first: NDArray[np.int64], dtype: DTypeLike) -> None:
        self._first, self._equals = first, np.flatnonzero(first != np.arange(len(first)))
        self._values: Ragged[T] = Ragged(np.zeros(starts[-1], dtype), starts)
        self._kernels = np.full(len(first), -1, np.int32)
        self._names: dict[str, int] = {}

    @property
    def known(self) -> NDArray[np.bool_]:
        return self._kernels[self._first] >= 0

    def put(self, at: NDArray[np.int64], values: Ragged[T], kernels: str) -> None:
        """Values of some windows, and what computed them (`native.Build.kernels`).

        Args:
            at: indices of windows.
            values: of each.
            kernels: by name.
        """
        at = self._first[at]
        self._values.values[self._values.places(at)] = values.values
        self._kernels[at] = self._names.setdefault(kernels, len(self._names))

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each window's values begin."""
        return self._values.starts

    def at(self, at: NDArray[np.int64]) -> Ragged[T]:
        """Those of some windows, which must be known."""
        return self._values.taken(self._first[at])

    def put_known(self, other: Values[T]) -> None:
        """What is known elsewhere of the same windows, and not here."""
        for kernels, k in other._names.items():
            at = np.flatnonzero((other._kernels == k) & ~self.known)
            self.put(at, other._values.taken(at), kernels)

    @property
    def of_all(self) -> NDArray[T]:
        """Those of all windows in their order, shape [n_scored]; all of them must be known."""
        if len(self._equals):
            of_equals = self._values.values[self._values.places(self._first[self._equals])]
            self._values.values[self._values.places(self._equals)] = of_equals
        return self._values.values

    @property
    def kernels(self) -> dict[str, int]:
        """How many of the windows were computed by which kernels."""
        n_windows = np.bincount(self._kernels[self._first], minlength=len(self._names)).tolist()
        return {name: n_windows[k] for name, k in self._names.items() if n_windows[k]}
