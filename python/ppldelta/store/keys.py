"""What the store files values under: the key of a window, keys of many windows, sets of windows.

A table has a million windows, so that what is kept of many is in arrays: 32 bytes of each window.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppldelta.pairs import BEST, PAIR, tops
from ppldelta.text.ragged import MadeOnDemand

N_BYTES = 32
"""Of a window's sha256."""

_DIGEST = np.dtype((np.bytes_, N_BYTES))
"""NumPy's bytes, which it sorts; it takes zeros at their end for padding, which makes no difference where all are as
long."""


@dataclass(frozen=True)
class Key:
    """What determines a window's values; equal keys, equal numbers.

    Attributes:
        model: sha256 of the model's content, 64 hexadecimal digits (`models.identity`).
        window: sha256 of the window, 64 hexadecimal digits (`run.keys`): of its first scored row, its tokens, its
            targets and its prefix; if several windows go in side by side, of the whole batch as well.
        rule: text that names how texts are cut into windows: the rule, n_ctx, BOS.
        engine: text that names what else the numbers depend on: versions, backend, micro-batch …
        reference: sha256 of the reference's content, where the values are those of a pair; empty for a model's own
            log-probabilities.
        top_k: of values that are best tokens, how many of each model they hold; 0 for other values. Without a
            reference 1, and the values are the model's own (`pairs.BEST`).
    """

    model: str
    window: str
    rule: str
    engine: str
    reference: str = ""
    top_k: int = 0

    @property
    def settings(self) -> tuple[str, str, str, str, int]:
        """What it has in common with the model's other windows."""
        return self.model, self.reference, self.rule, self.engine, self.top_k

    @property
    def dtype(self) -> np.dtype[np.void] | np.dtype[np.float32]:
        """Type of a target's value: a log-probability in nats, the record of a pair, or what is most probable."""
        if not self.reference:
            return BEST if self.top_k else np.dtype("<f4")
        return tops(self.top_k) if self.top_k else PAIR


@dataclass(frozen=True, eq=False)
class WindowKeys(MadeOnDemand[Key]):
    """Keys that differ in nothing but their window.

    Attributes:
        digests: sha256 of each window, `_DIGEST` of shape [n].
        common: one of the keys; its window means nothing.
    """

    digests: NDArray[np.bytes_]
    common: Key

    @staticmethod
    def of(digests: bytes, common: Key) -> WindowKeys:
        """Keys of windows whose sha256 follow one another."""
        return WindowKeys(unpacked(digests), common)

    def having(
        self, *, reference: str | None = None, engine: str | None = None, top_k: int | None = None
    ) -> WindowKeys:
        """Keys of the same windows that differ from these in what is given."""
        common = self.common
        return WindowKeys(
            self.digests,
            replace(
                common,
                reference=common.reference if reference is None else reference,
                engine=common.engine if engine is None else engine,
                top_k=common.top_k if top_k is None else top_k,
            ),
        )

    def taken(self, at: NDArray[np.int64]) -> WindowKeys:
        """Some of them."""
        return WindowKeys(self.digests[at], self.common)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """For each key the index of the first one that equals it."""
        _, first, which = np.unique(self.digests, return_index=True, return_inverse=True)
        found: NDArray[np.int64] = first[which]
        return found

    def __len__(self) -> int:
        return len(self.digests)

    def at_index(self, i: int) -> Key:
        return replace(self.common, window=_padded(self.digests[i]).hex())


class Digests:
    """A set of windows that grows: what is in it is told by a search in a sorted array.

    Args:
        digests: of the first windows, in any order; they may stand in it twice.
    """

    def __init__(self, digests: NDArray[np.bytes_]) -> None:
        self._sorted: NDArray[np.bytes_] = np.unique(digests)
        self._recent: set[bytes] = set()

    def has(self, digests: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Which of these windows are in it."""
        found = places_in(self._sorted, digests) >= 0
        if self._recent:
            found |= np.fromiter((_padded(each) in self._recent for each in digests), np.bool_, len(digests))
        return found

    def add(self, digests: NDArray[np.bytes_]) -> None:
        """Puts windows into it."""
        self._recent.update(map(_padded, digests))
        if len(self._recent) > max(10_000, len(self._sorted) // 8):
            self._sorted = np.union1d(self._sorted, np.array(list(self._recent), _DIGEST))
            self._recent = set()


def unpacked(digests: bytes) -> NDArray[np.bytes_]:
    """sha256 that follow one another, as an array."""
    return np.frombuffer(digests, _DIGEST)


def packed(digests: NDArray[np.bytes_]) -> bytes:
    """The inverse of `unpacked`."""
    return digests.tobytes()


def places_in(ascending: NDArray[np.bytes_], digests: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Where each window stands in a sorted array; -1 for those that do not."""
    if not len(ascending):
        return np.full(len(digests), -1)
    at = np.minimum(np.searchsorted(ascending, digests), len(ascending) - 1)
    return np.where(ascending[at] == digests, at, -1)


def _padded(digest: bytes) -> bytes:
    """A digest as it was, with the zeros at its end."""
    return bytes(digest).ljust(N_BYTES, b"\0")


def tokens_hash(tokens: ArrayLike) -> bytes:
    """sha256 over tokens as little-endian int32, `N_BYTES` long: the same on every machine."""
    return hashlib.sha256(np.ascontiguousarray(tokens, dtype="<i4").tobytes()).digest()
