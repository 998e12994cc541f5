"""The log-probabilities that a model has given so far, of all its windows in one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ppldelta.text.ragged import Ragged


class Values:
    """Log-probabilities of a model's windows, each of which may be known or not.

    Args:
        starts: where each window's targets begin among those of all, int64 of shape [n_windows + 1].
        first: of each window the first one that equals it, whose values are put and count for all.

    Attributes:
        known: of each window whether its values are there, bool of shape [n_windows].
    """

    def __init__(self, starts: NDArray[np.int64], first: NDArray[np.int64]) -> None:
        self._first, self._equals = first, np.flatnonzero(first != np.arange(len(first)))
        self._values = Ragged(np.full(starts[-1], np.nan, np.float32), starts)
        self._kernels = np.full(len(first), -1, np.int32)
        self._names: dict[str, int] = {}

    @property
    def known(self) -> NDArray[np.bool_]:
        return self._kernels[self._first] >= 0

    def put(self, at: NDArray[np.int64], values: Ragged[np.float32], kernels: str) -> None:
        """Values of some windows, and what computed them (`native.Build.kernels`).

        Args:
            at: indices of windows.
            values: of each, float32 in nats.
            kernels: by name.
        """
        at = self._first[at]
        self._values.values[self._values.places(at)] = values.values
        self._kernels[at] = self._names.setdefault(kernels, len(self._names))

    def put_one(self, i: int, values: NDArray[np.float32], kernels: str) -> None:
        """The same of one window."""
        self.put(np.array([i]), Ragged(values, np.array([0, len(values)])), kernels)

    @property
    def logp(self) -> NDArray[np.float32]:
        """Those of all windows in their order, shape [n_scored]; NaN where a window's are not known."""
        if len(self._equals):
            of_equals = self._values.values[self._values.places(self._first[self._equals])]
            self._values.values[self._values.places(self._equals)] = of_equals
        return self._values.values

    @property
    def kernels(self) -> dict[str, int]:
        """How many of the windows were computed by which kernels."""
        n_windows = np.bincount(self._kernels[self._first], minlength=len(self._names)).tolist()
        return {name: n_windows[k] for name, k in self._names.items() if n_windows[k]}
