"""Many short arrays behind one another in one long one: a million rows of tokens cost what their tokens cost.

An array of NumPy takes some hundred bytes beside its values, which is more than most rows of a table have.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T", bound=np.generic)
"""Type of a value."""
Item = TypeVar("Item")

_CHUNK = 4096
"""Arrays that are put into one at a time while they come in."""


class MadeOnDemand(Sequence[Item], Generic[Item]):
    """A sequence that keeps arrays and makes an item when it is looked at; a slice is a list of items."""

    @abstractmethod
    def at_index(self, i: int) -> Item:
        """The item at an index from 0 on."""

    @overload
    def __getitem__(self, i: int) -> Item: ...
    @overload
    def __getitem__(self, i: slice) -> list[Item]: ...
    def __getitem__(self, i: int | slice) -> Item | list[Item]:
        indices = range(len(self))
        return [self.at_index(k) for k in indices[i]] if isinstance(i, slice) else self.at_index(indices[i])


class Ragged(Sequence[NDArray[T]], Generic[T]):
    """A sequence of arrays of one dimension; each that is taken out is a view.

    Args:
        values: of all arrays, shape [n].
        starts: where each array begins among them, and behind the last start n; int64 of shape [n_arrays + 1].
    """

    def __init__(self, values: NDArray[T], starts: NDArray[np.int64]) -> None:
        self.values, self.starts = values, starts

    @staticmethod
    def of(arrays: Iterable[NDArray[T]], dtype: DTypeLike) -> Ragged[T]:
        """The same arrays; they are read once, and let go as they come."""
        if isinstance(arrays, Ragged):
            return arrays
        packer = Packer[T](dtype)
        for each in arrays:
            packer.add(each)
        return packer.packed()

    @staticmethod
    def joined(parts: Sequence[Ragged[T]], dtype: DTypeLike) -> Ragged[T]:
        """The arrays of several, one behind the other."""
        values: NDArray[T] = np.concatenate([np.empty(0, dtype), *(each.values for each in parts)])
        return Ragged(values, starts_of(np.concatenate([np.empty(0, np.int64), *(each.lengths for each in parts)])))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Of each array, int64."""
        lengths: NDArray[np.int64] = np.diff(self.starts)
        return lengths

    def places(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the values of some arrays lie, one array behind the other."""
        lengths = self.starts[at + 1] - self.starts[at]
        ends = np.cumsum(lengths)
        places: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0)
        places += np.repeat(self.starts[at] - (ends - lengths), lengths)
        return places

    def taken(self, at: NDArray[np.int64]) -> Ragged[T]:
        """A copy of some arrays, in this order."""
        return Ragged(self.values[self.places(at)], starts_of(self.starts[at + 1] - self.starts[at]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, i: int) -> NDArray[T]: ...
    @overload
    def __getitem__(self, i: slice) -> Ragged[T]: ...
    def __getitem__(self, i: int | slice) -> NDArray[T] | Ragged[T]:
        if isinstance(i, slice):
            return self.taken(np.arange(len(self))[i])
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        return self.values[self.starts[i] : self.starts[i + 1]]

    def __iter__(self) -> Iterator[NDArray[T]]:
        values, begin = self.values, 0
        for length in self.lengths.tolist():
            yield values[begin : begin + length]
            begin += length


class Packer(Generic[T]):
    """Puts arrays behind one another as they come in.

    Args:
        dtype: that of the values.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._waiting: list[NDArray[T]] = [np.empty(0, dtype)]
        self._values: list[NDArray[T]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, array: NDArray[T]) -> None:
        """One more."""
        self._waiting.append(array)
        if len(self._waiting) > _CHUNK:
            self._pack()

    def packed(self) -> Ragged[T]:
        """All of them."""
        self._pack()
        return Ragged(np.concatenate(self._values), starts_of(np.concatenate(self._lengths)))

    def _pack(self) -> None:
        first, *arrays = self._waiting  # the first has the type, and nothing in it
        self._values.append(np.concatenate(self._waiting))
        self._lengths.append(np.array([len(each) for each in arrays], np.int64))
        self._waiting = [first]


def starts_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where arrays of these lengths begin, one behind the other, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
