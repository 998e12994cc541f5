"""Log-probabilities, and what pairs of models say of each token, computed once and kept in one SQLite file.

Windows that one task evaluated are one row, which is committed as soon as they are there: a process that is killed
loses the task it was at and nothing else. Two processes may write at once. The file also keeps what is expensive to
find out (`store.notes`).
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import ArrayLike, NDArray

from ppldelta.errors import StoreError
from ppldelta.pairs import BEST, PAIR, tops
from ppldelta.store.database import COARSE_S, ELSEWHERE, Database
from ppldelta.store.notes import Notes


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


def tokens_hash(tokens: ArrayLike) -> str:
    """sha256 over tokens as little-endian int32, as 64 hexadecimal digits: the same on every machine."""
    return hashlib.sha256(np.ascontiguousarray(tokens, dtype="<i4").tobytes()).hexdigest()


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
        self._cached: dict[int, set[bytes]] = {}
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
        with self.database.guard("read"):
            for wanted, shard in self._shards_of(keys):
                row = self.database.connection.execute(
                    "SELECT windows, sizes, crc32, logp FROM shards WHERE id = ?", (shard,)
                ).fetchone()
                for digest, logp in self._unpacked(row, next(iter(wanted.values()))) if row else ():
                    if digest in wanted:
                        found.setdefault(wanted[digest], logp)
            self._touch({key.settings for key in found})
        return found

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
        with self.database.guard("read"):
            return {key for wanted, _ in self._shards_of(keys) for key in wanted.values()}

    def put_many(self, rows: Iterable[tuple[Key, NDArray[Any], float]]) -> None:
        """Writes windows' values; once this returns, killing the process does not lose them.

        They become one row, or one for each model and way of evaluating: a commit writes whole pages, so that windows
        which are done together are best written together. What is there already stays.

        Args:
            rows: for each window, what determines its values; these, of shape [n_scored] and the key's `dtype`; and the
                seconds that computing them took.
        """
        rows = list(rows)
        for key, values, _ in rows:
            if values.dtype != key.dtype or values.ndim != 1:
                raise ValueError(f"values must be {key.dtype} of one dimension, not {values.dtype} of {values.shape}")
        written: list[tuple[int, Iterable[bytes]]] = []
        with self.database.guard("write"), self.database.transaction() as execute:
            for settings in dict.fromkeys(key.settings for key, _, _ in rows):
                execute(
                    "INSERT INTO passes (model, reference, rule, engine, top_k, used) VALUES (?, ?, ?, ?, ?, ?) "
                    f"ON CONFLICT DO UPDATE SET used = excluded.used WHERE used < excluded.used - {COARSE_S}",
                    (*_columns(settings), int(time.time())),
                )
                [(at,)] = execute(f"SELECT id FROM passes WHERE {_PASS}", _columns(settings))
                there = self._there(at)
                fresh: dict[bytes, tuple[NDArray[Any], float]] = {}
                for key, values, time_s in rows:
                    digest = bytes.fromhex(key.window)
                    if key.settings == settings and digest not in there:
                        fresh.setdefault(digest, (values.astype(key.dtype), time_s))
                if fresh:
                    windows, logps = b"".join(fresh), b"".join(values.tobytes() for values, _ in fresh.values())
                    sizes = _sizes([len(values) for values, _ in fresh.values()])
                    execute(
                        "INSERT INTO shards (pass, windows, sizes, crc32, time_s, logp) VALUES (?, ?, ?, ?, ?, ?)",
                        (at, windows, sizes, _crc32(windows, sizes, logps), sum(s for _, s in fresh.values()), logps),
                    )
                    written.append((at, fresh))
        for at, digests in written:
            self._cached[at].update(digests)

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

    def _shards_of(self, keys: Iterable[Key]) -> Iterator[tuple[dict[bytes, Key], int]]:
        """For each row that holds windows of these keys: the keys by digest, and the row's id."""
        groups: dict[tuple[str, str, str, str, int], dict[bytes, Key]] = defaultdict(dict)
        for key in keys:
            groups[key.settings][bytes.fromhex(key.window)] = key
        for settings, wanted in groups.items():
            row = self.database.connection.execute(
                f"SELECT id FROM passes WHERE {_PASS}", _columns(settings)
            ).fetchone()
            for shard, digests in self._windows(row[0]) if row else ():
                if here := {digest: wanted[digest] for digest in digests if digest in wanted}:
                    yield here, shard

    def _windows(self, at: int) -> list[tuple[int, list[bytes]]]:
        """The id of each row of a pass and the digests of its windows, in the order in which the rows came."""
        rows = self.database.connection.execute("SELECT id, windows FROM shards WHERE pass = ? ORDER BY id", (at,))
        return [(shard, _digests(windows)) for shard, windows in rows.fetchall()]

    def _there(self, at: int) -> set[bytes]:
        """Digests of all windows of a pass; read again only if another connection has written."""
        if (version := self.database.pragma("data_version")) != self._version:
            self._cached.clear()
            self._version = version
        if at not in self._cached:
            self._cached[at] = {digest for _, digests in self._windows(at) for digest in digests}
        return self._cached[at]

    def _unpacked(self, row: tuple[object, ...], key: Key) -> list[tuple[bytes, NDArray[Any]]]:
        """Digest and values of each window in a row of `windows, sizes, crc32, logp`; `key` is one of the windows.

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
            starts = np.cumsum(np.frombuffer(sizes, "<u4"))[:-1]  # of all but the first
            values = np.frombuffer(logp, key.dtype).astype(key.dtype.newbyteorder("="))
            return list(zip(_digests(windows), np.split(values, starts), strict=True))
        raise StoreError(
            f"the store `{self.database.shown}` is damaged: a row of model {key.model[:12]} does not hold the values "
            "that were written",
            hint=f"remove that model's rows with `ppldelta store prune --model {key.model[:12]}`, or {ELSEWHERE}",
        )

    def _touch(self, passes: Iterable[tuple[str, str, str, str, int]]) -> None:
        """Notes that rows were used."""
        now = int(time.time())
        for settings in passes:
            self.database.connection.execute(
                f"UPDATE passes SET used = ? WHERE {_PASS} AND used < ? - {COARSE_S}", (now, *_columns(settings), now)
            )


_OF_KIND = "model = ? AND reference = ? AND rule = ? AND engine = ?"
_PASS = f"{_OF_KIND} AND top_k = ?"


def _columns(settings: tuple[str, str, str, str, int]) -> tuple[bytes, bytes, str, str, int]:
    """`Key.settings` as the columns that `_PASS` names."""
    return bytes.fromhex(settings[0]), bytes.fromhex(settings[1]), *settings[2:]


def _digests(windows: bytes) -> list[bytes]:
    """The sha256 of each window, which follow one another."""
    return [windows[i : i + 32] for i in range(0, len(windows), 32)]


def _sizes(n_scored: list[int]) -> bytes:
    """How many values each window has, as little-endian u32; empty for a single window, which has all of them."""
    return np.array(n_scored, "<u4").tobytes() if len(n_scored) > 1 else b""


def _crc32(windows: bytes, sizes: bytes, logp: bytes) -> int:
    """A checksum that also tells when a row holds another window's values."""
    return zlib.crc32(logp, zlib.crc32(sizes, zlib.crc32(windows)))
