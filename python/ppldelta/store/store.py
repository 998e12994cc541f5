"""Log-probabilities, and what pairs of models say of each token, computed once and kept in one SQLite file.

Windows that one task evaluated are one row, which is committed as soon as they are there: a process that is killed
loses the task it was at and nothing else. Two processes may write at once. The file also keeps what is expensive to
find out (`store.notes`).
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from ppldelta.errors import StoreError
from ppldelta.store.database import COARSE_S, ELSEWHERE, Database
from ppldelta.store.keys import N_BYTES, Digests, Key, WindowKeys, packed, places_in, unpacked
from ppldelta.store.notes import Notes
from ppldelta.text.ragged import Ragged, starts_of


def default_path() -> Path:
    """The store's file if none is named: `$PPLDELTA_STORE`, else `store.sqlite` in the user's cache folder."""
    named = os.environ.get("PPLDELTA_STORE")
    return Path(named) if named else platformdirs.user_cache_path("ppldelta", appauthor=False) / "store.sqlite"


class Store:
    """The store in one file, which is made if it is missing. To be used from the thread that made it.

    Args:
        path: the SQLite file; by default `default_path()`.

    Raises:
        StoreError: the file cannot be made, opened or written; it is damaged, or not of this program; a newer
            version wrote it. It is left as it is. The methods raise it as well.

    Attributes:
        path: the file, absolute.
        notes: what is remembered beside the log-probabilities.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.database = Database(default_path() if path is None else Path(path))
        self.path = self.database.path
        self.notes = Notes(self.database)
        self._cached: dict[int, Digests] = {}
        self._version = -1

    def get(self, keys: Iterable[Key]) -> dict[Key, NDArray[Any]]:
        """Reads values of shape [n_scored] and the key's `dtype`, bit for bit as they were put.

        Args:
            keys: any number of them.

        Returns:
            An array for each key that the store has; the others are missing.

        Raises:
            StoreError: also if a row's values are not those that were written.
        """
        found: dict[Key, NDArray[Any]] = {}
        for some in _grouped(keys):
            for at, values in self.read(some):
                found |= zip((some[i] for i in at.tolist()), values, strict=True)
        return found

    def read(self, keys: WindowKeys) -> Iterator[tuple[NDArray[np.int64], Ragged[Any]]]:
        """The same of many windows, a row of the store at a time.

        Args:
            keys: of equal ones the first is read.

        Yields:
            Indices of some keys, and the values of each.

        Raises:
            StoreError: as `get`.
        """
        with self.database.guard("read"):
            ascending, first = np.unique(keys.digests, return_index=True)
            left = np.ones(len(first), np.bool_)
            for shard, windows in self._windows_of(keys.common):
                here = places_in(ascending, unpacked(windows))
                if not (left[here] & (here >= 0)).any():
                    continue
                row = self.database.connection.execute(
                    "SELECT windows, sizes, crc32, logp FROM shards WHERE id = ?", (shard,)
                ).fetchone()
                if row:
                    digests, values = self._unpacked(row, keys.common)
                    here = places_in(ascending, digests)
                    mine = np.flatnonzero(left[here] & (here >= 0))
                    left[here[mine]] = False
                    yield first[here[mine]], values.taken(mine)
            if not left.all():
                self._touch({keys.common.settings})

    def wider(self, key: Key) -> list[int]:
        """Of how many best tokens there are values for windows of this kind: `key.top_k` at least, ascending.

        What is kept of more tokens begins with what would be kept of fewer.
        """
        with self.database.guard("read"):
            rows = self.database.connection.execute(
                f"SELECT top_k FROM passes WHERE {_OF_KIND} AND top_k >= ? ORDER BY top_k", _columns(key.settings)
            )
            return [top_k for (top_k,) in rows.fetchall()]

    def known(self, keys: Iterable[Key]) -> set[Key]:
        """Which of the keys the store has; no values are read."""
        return {some[i] for some in _grouped(keys) for i in np.flatnonzero(self.has(some)).tolist()}

    def has(self, keys: WindowKeys) -> NDArray[np.bool_]:
        """For each of many windows whether the store has it; no values are read."""
        with self.database.guard("read"):
            there = b"".join(windows for _, windows in self._windows_of(keys.common))
        return places_in(np.unique(unpacked(there)), keys.digests) >= 0

    def put_many(self, rows: Iterable[tuple[Key, NDArray[Any], float]]) -> None:
        """Writes windows' values; once this returns, killing the process does not lose them.

        They become one row, or one for each model and way of evaluating: a commit writes whole pages, so that windows
        which are done together are best written together. What is there already stays.

        Args:
            rows: for each window, what determines its values; these, of shape [n_scored] and the key's `dtype`; and the
                seconds that computing them took.
        """
        groups: dict[_Settings, list[tuple[Key, NDArray[Any], float]]] = {}
        for key, values, time_s in rows:
            _refuse_others(key, values)
            groups.setdefault(key.settings, []).append((key, values, time_s))
        self.put(
            (
                _of_one_kind([key for key, _, _ in group]),
                Ragged.of((values for _, values, _ in group), group[0][1].dtype),
                np.array([time_s for _, _, time_s in group]),
            )
            for group in groups.values()
        )

    def put(self, parts: Iterable[Part]) -> None:
        """The same with arrays.

        Args:
            parts: no two of them have the same in common.
        """
        written: list[tuple[int, NDArray[np.bytes_]]] = []
        with self.database.guard("write"), self.database.transaction() as execute:
            for keys, values, times_s in parts:
                _refuse_others(keys.common, values.values)
                settings = keys.common.settings
                execute(
                    "INSERT INTO passes (model, reference, rule, engine, top_k, used) VALUES (?, ?, ?, ?, ?, ?) "
                    f"ON CONFLICT DO UPDATE SET used = excluded.used WHERE used < excluded.used - {COARSE_S}",
                    (*_columns(settings), int(time.time())),
                )
                [(at,)] = execute(f"SELECT id FROM passes WHERE {_PASS}", _columns(settings))
                is_new = ~self._there(at).has(keys.digests) & (keys.first == np.arange(len(keys)))
                if len(fresh := np.flatnonzero(is_new)):
                    digests, some = keys.digests[fresh], values.taken(fresh)
                    windows, logps = packed(digests), some.values.astype(keys.common.dtype).tobytes()
                    sizes, time_s = _sizes(some.lengths), float(times_s[fresh].sum())
                    execute(
                        "INSERT INTO shards (pass, windows, sizes, crc32, time_s, logp) VALUES (?, ?, ?, ?, ?, ?)",
                        (at, windows, sizes, _crc32(windows, sizes, logps), time_s, logps),
                    )
                    written.append((at, digests))
        for at, digests in written:
            self._cached[at].add(digests)

    def forget(self) -> None:
        """Forgets what rows there are; called after rows were removed through this store's own connection."""
        self._cached.clear()

    def close(self) -> None:
        """Closes the file; nothing is waiting to be written."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _windows_of(self, key: Key) -> list[tuple[int, bytes]]:
        """`_windows` of the pass that keys of this kind have."""
        row = self.database.connection.execute(
            f"SELECT id FROM passes WHERE {_PASS}", _columns(key.settings)
        ).fetchone()
        return self._windows(row[0]) if row else []

    def _windows(self, at: int) -> list[tuple[int, bytes]]:
        """The id of each row of a pass and the digests of its windows, in the order in which the rows came."""
        rows = self.database.connection.execute("SELECT id, windows FROM shards WHERE pass = ? ORDER BY id", (at,))
        return [(shard, windows[: len(windows) // N_BYTES * N_BYTES]) for shard, windows in rows.fetchall()]

    def _there(self, at: int) -> Digests:
        """All windows of a pass; read again only if another connection has written."""
        if (version := self.database.pragma("data_version")) != self._version:
            self._cached.clear()
            self._version = version
        if at not in self._cached:
            self._cached[at] = Digests(unpacked(b"".join(windows for _, windows in self._windows(at))))
        return self._cached[at]

    def _unpacked(self, row: tuple[object, ...], key: Key) -> tuple[NDArray[np.bytes_], Ragged[Any]]:
        """Digest and values of each window in a row of `windows, sizes, crc32, logp`; `key` is of this kind.

        Raises:
            StoreError: the row is not what was written.
        """
        windows, sizes, crc32, logp = row
        if (
            isinstance(windows, bytes)
            and isinstance(sizes, bytes)
            and isinstance(logp, bytes)
            and len(logp) % key.dtype.itemsize == 0
            and _crc32(windows, sizes, logp) == crc32
        ):
            values = np.frombuffer(logp, key.dtype).astype(key.dtype.newbyteorder("="))
            lengths = np.frombuffer(sizes, "<u4").astype(np.int64) if sizes else np.array([len(values)])
            return unpacked(windows), Ragged(values, starts_of(lengths))
        raise StoreError(
            f"the store `{self.database.shown}` is damaged: a row of model {key.model[:12]} does not hold the values "
            "that were written",
            hint=f"remove that model's rows with `ppldelta store prune --model {key.model[:12]}`, or {ELSEWHERE}",
        )

    def _touch(self, passes: Iterable[_Settings]) -> None:
        """Notes that rows were used."""
        now = int(time.time())
        for settings in passes:
            self.database.connection.execute(
                f"UPDATE passes SET used = ? WHERE {_PASS} AND used < ? - {COARSE_S}", (now, *_columns(settings), now)
            )


_Settings = tuple[str, str, str, str, int]
"""`Key.settings`."""
Part = tuple[WindowKeys, Ragged[Any], NDArray[np.float64]]
"""Keys, values and seconds of windows that have all but the window in common."""

_OF_KIND = "model = ? AND reference = ? AND rule = ? AND engine = ?"
_PASS = f"{_OF_KIND} AND top_k = ?"


def _columns(settings: _Settings) -> tuple[bytes, bytes, str, str, int]:
    """`Key.settings` as the columns that `_PASS` names."""
    return bytes.fromhex(settings[0]), bytes.fromhex(settings[1]), *settings[2:]


def _grouped(keys: Iterable[Key]) -> list[WindowKeys]:
    """Keys by all that is not their window."""
    groups: dict[_Settings, list[Key]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault(key.settings, []).append(key)
    return [_of_one_kind(some) for some in groups.values()]


def _of_one_kind(keys: list[Key]) -> WindowKeys:
    return WindowKeys.of(bytes.fromhex("".join(key.window for key in keys)), keys[0])


def _refuse_others(key: Key, values: NDArray[Any]) -> None:
    if values.dtype != key.dtype or values.ndim != 1:
        raise ValueError(f"values must be {key.dtype} of one dimension, not {values.dtype} of {values.shape}")


def _sizes(n_scored: NDArray[np.int64]) -> bytes:
    """How many values each window has, as little-endian u32; empty for a single window, which has all of them."""
    return n_scored.astype("<u4").tobytes() if len(n_scored) > 1 else b""


def _crc32(windows: bytes, sizes: bytes, logp: bytes) -> int:
    """A checksum that also tells when a row holds another window's values."""
    return zlib.crc32(logp, zlib.crc32(sizes, zlib.crc32(windows)))
