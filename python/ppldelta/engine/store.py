"""Log-probabilities that were computed once, kept in one SQLite file, so that nothing is ever evaluated twice.

A row per document and way of evaluating it, committed as soon as it is there: a killed process loses what it was
evaluating and nothing else. Two processes may write at once. A file that is damaged, newer or somebody else's is
refused and left as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import ArrayLike, NDArray

from ppldelta.errors import StoreError
from ppldelta.models.identity import Stamp
from ppldelta.text.names import printable

APPLICATION_ID = 0x70706C64  # "ppld"
SCHEMA = 2
"""What the file's header holds as `application_id` and `user_version`."""

# `id` keeps the order in which rows came; `logp` is last, so that reading the other columns never reads the values
_MODELS = """CREATE TABLE models (
    model BLOB NOT NULL, release TEXT NOT NULL, info TEXT NOT NULL, PRIMARY KEY (model, release)) WITHOUT ROWID"""
_TABLES = (
    """CREATE TABLE passes (
        id INTEGER PRIMARY KEY, model BLOB NOT NULL, windows TEXT NOT NULL, engine TEXT NOT NULL,
        used INTEGER NOT NULL, UNIQUE (model, windows, engine))""",
    """CREATE TABLE scores (
        id INTEGER PRIMARY KEY, pass INTEGER NOT NULL, tokens BLOB NOT NULL, crc32 INTEGER NOT NULL,
        time_s REAL NOT NULL, logp BLOB NOT NULL, UNIQUE (pass, tokens))""",
    """CREATE TABLE files (
        path BLOB NOT NULL, sha256 BLOB NOT NULL, stamp TEXT NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (path, sha256)) WITHOUT ROWID""",
    _MODELS,
)

# A commit writes whole pages, and documents are short: with 4096 it would write three times as much as with 512.
_PAGE_BYTES = 512
_CHECKPOINT_PAGES = 16 * 2**20 // _PAGE_BYTES
_ROW_BYTES = 200  # what a row takes beside its values; 110 … 450, the more the longer it is
_BUSY_S = 30.0
_AT_ONCE = 500  # SQLite's limit on `?` was 999 once
_COARSE_S = 3600  # times of use are kept to the hour, so that reading seldom writes

# where processes on two machines would not see each other's shared memory, which WAL needs
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "smbfs"),
}

_ELSEWHERE = "name another file with `store=` (`--store`), or work without one: `store=None` (`--no-store`)"
_DAMAGED = f"the file was left as it is; {_ELSEWHERE}"
_REASONS = (
    # part of SQLite's message, ours, the next step (Python 3.10 has no error codes)
    ("disk is full", "the disk is full", f"what is stored stays; free some space, or {_ELSEWHERE}"),
    ("locked", "another process keeps it locked", f"wait for that process to end, or {_ELSEWHERE}"),
    ("readonly", "it is read-only", _ELSEWHERE),
    ("unable to open", "SQLite cannot open it for writing", _ELSEWHERE),
    ("not a database", "it is not an SQLite file, or a damaged one", _DAMAGED),
    ("malformed", "it is damaged", _DAMAGED),
)


@dataclass(frozen=True)
class Key:
    """What determines a document's log-probabilities; equal keys, equal numbers.

    Attributes:
        model: sha256 of the model's content, 64 hexadecimal digits (`models.identity`).
        tokens: sha256 of the document's own tokens, 64 hexadecimal digits (`tokens_hash`).
        windows: text that names which of them are evaluated together and scored: rule, n_ctx, max_windows, BOS.
        engine: text that names what else the numbers depend on: versions, backend, micro-batch …
    """

    model: str
    tokens: str
    windows: str
    engine: str


@dataclass(frozen=True)
class StoredModel:
    """What the store holds of one model, or what `Store.prune` removed of it.

    Attributes:
        sha256: the model's content, 64 hexadecimal digits.
        path: where a file with this content was seen last; None where the store never hashed one.
        n_rows: documents, counted once for each way in which they were evaluated.
        n_scored: log-probabilities.
        size_bytes: size of these.
        time_s: what computing them took.
        last_used: when a run last read or wrote one of them, to the hour.
    """

    sha256: str
    path: Path | None
    n_rows: int
    n_scored: int
    size_bytes: int
    time_s: float
    last_used: datetime


def tokens_hash(tokens: ArrayLike) -> str:
    """sha256 over tokens as little-endian int32, as 64 hexadecimal digits: the same on every machine."""
    return hashlib.sha256(np.ascontiguousarray(tokens, dtype="<i4")).hexdigest()


def default_path() -> Path:
    """The store's file where none is named: `$PPLDELTA_STORE`, else `store.sqlite` in the user's cache folder."""
    named = os.environ.get("PPLDELTA_STORE")
    return Path(named) if named else platformdirs.user_cache_path("ppldelta", appauthor=False) / "store.sqlite"


class Store:
    """The store in one file, which is made where it is missing. To be used from the thread that made it.

    Args:
        path: the SQLite file; by default `default_path()`.

    Raises:
        StoreError: the file cannot be made, opened or written; it is damaged, or not of this program; a newer
            version wrote it. It is left as it is. The methods raise it as well.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = (default_path() if path is None else Path(path)).expanduser().absolute()
        self._shown = printable(self.path)
        try:
            if self.path.exists() and not self.path.is_file():
                raise StoreError(f"the store `{self._shown}` is not a file", hint=_ELSEWHERE)
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot open or make the folder `{printable(self.path.parent)}` of the store: {error.strerror}",
                hint=_ELSEWHERE,
            ) from error
        with self._guard("open"):
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._connection.text_factory = bytes  # a damaged file may hold text that cannot be decoded
        try:
            with self._guard("open"):
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def get(self, keys: Iterable[Key]) -> dict[Key, NDArray[np.float32]]:
        """Reads log-probabilities: float32 of shape [n_scored], in nats, bit for bit as they were put.

        Args:
            keys: any number of them.

        Returns:
            An array for each key that the store has; the others are missing.

        Raises:
            StoreError: also where a row's values are not those that were written.
        """
        found = {}
        with self._guard("read"):
            for key, tokens, crc32, logp in self._select(keys, "crc32, logp"):
                if not isinstance(logp, bytes) or len(logp) % 4 != 0 or _crc32(tokens, logp) != crc32:
                    raise StoreError(
                        f"the store `{self._shown}` is damaged: a row of model {key.model[:12]} does not hold the "
                        "values that were written",
                        hint=f"remove that model's rows with `ppldelta store prune --model {key.model[:12]}`, "
                        f"or {_ELSEWHERE}",
                    )
                found[key] = np.frombuffer(logp, "<f4").astype(np.float32)
            self._touch({(key.model, key.windows, key.engine) for key in found})
        return found

    def known(self, keys: Iterable[Key]) -> set[Key]:
        """Which of the keys the store has; no values are read."""
        with self._guard("read"):
            return {key for key, _ in self._select(keys)}

    def put(self, key: Key, logp: NDArray[np.float32], time_s: float) -> None:
        """`put_many` of one document."""
        self.put_many([(key, logp, time_s)])

    def put_many(self, rows: Iterable[tuple[Key, NDArray[np.float32], float]]) -> None:
        """Writes documents' log-probabilities; once this returns, killing the process does not lose them.

        A commit writes whole pages: documents that are done together are best written together. A row that is there
        already stays.

        Args:
            rows: for each document, what determines its log-probabilities; these, float32 of shape [n_scored] in nats;
                and the seconds that computing them took.
        """
        rows = list(rows)
        for _, logp, _ in rows:
            if logp.dtype != np.float32 or logp.ndim != 1:
                raise ValueError(f"`logp` must be float32 of one dimension, not {logp.dtype} of shape {logp.shape}")
        with self._guard("write"), self._transaction() as execute:
            for model, windows, engine in dict.fromkeys((key.model, key.windows, key.engine) for key, _, _ in rows):
                execute(
                    "INSERT INTO passes (model, windows, engine, used) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                    f"SET used = excluded.used WHERE used < excluded.used - {_COARSE_S}",
                    (bytes.fromhex(model), windows, engine, int(time.time())),
                )
            for key, logp, time_s in rows:
                tokens, values = bytes.fromhex(key.tokens), logp.astype("<f4").tobytes()
                execute(
                    "INSERT INTO scores (pass, tokens, crc32, time_s, logp) SELECT id, ?, ?, ?, ? FROM passes "
                    "WHERE model = ? AND windows = ? AND engine = ? ON CONFLICT (pass, tokens) DO NOTHING",
                    (tokens, _crc32(tokens, values), time_s, values, bytes.fromhex(key.model), key.windows, key.engine),
                )

    def remembered_hash(self, stamp: Stamp) -> str | None:
        """The content hash of a model's files, where it was remembered and they are unchanged since."""
        now = int(time.time())
        with self._guard("read"):
            row = self._connection.execute(
                "SELECT sha256 FROM files WHERE path = ? AND stamp = ?", (stamp.name, stamp.text)
            ).fetchone()
            if row is None:
                return None
            self._connection.execute(
                f"UPDATE files SET seen = ? WHERE path = ? AND sha256 = ? AND seen < ? - {_COARSE_S}",
                (now, stamp.name, row[0], now),
            )
        return row[0].hex()

    def remember_hash(self, stamp: Stamp, sha256: str) -> None:
        """Remembers the content hash of a model's files for as long as their stamp stays the same."""
        with self._guard("write"):
            self._connection.execute(
                "INSERT OR REPLACE INTO files (path, sha256, stamp, seen) VALUES (?, ?, ?, ?)",
                (stamp.name, bytes.fromhex(sha256), stamp.text, int(time.time())),
            )

    def description(self, model: str, release: str) -> dict[str, Any] | None:
        """What a model said of itself (the fields of `native.ModelInfo`), where it was remembered.

        Args:
            model: sha256 of its content.
            release: what was asked: `native.release()`.
        """
        with self._guard("read"):
            row = self._connection.execute(
                "SELECT info FROM models WHERE model = ? AND release = ?", (bytes.fromhex(model), release)
            ).fetchone()
        try:
            return None if row is None else dict(json.loads(row[0]))
        except (TypeError, ValueError) as error:
            raise self._damaged("a row holds something else than what was written") from error

    def describe(self, model: str, release: str, info: Mapping[str, Any]) -> None:
        """Remembers what a model says of itself, so that its weights need not be loaded to know it."""
        with self._guard("write"):
            self._connection.execute(
                "INSERT OR REPLACE INTO models (model, release, info) VALUES (?, ?, ?)",
                (bytes.fromhex(model), release, json.dumps(dict(info))),
            )

    def summary(self) -> list[StoredModel]:
        """What the store holds, a `StoredModel` each, the last used first."""
        with self._guard("read"):
            return self._summary()

    def prune(
        self,
        *,
        model: str | None = None,
        older_than_days: float | None = None,
        max_bytes: int | None = None,
        everything: bool = False,
    ) -> list[StoredModel]:
        """Removes rows and makes the file smaller. Exactly one of the arguments says which.

        Args:
            model: one model: the first digits of its sha256 (four at least), or its file's name or path.
            older_than_days: what no run has read or written for so many days.
            max_bytes: as much as makes the file this small, what was not used for longest first.
            everything: all of it.

        Returns:
            What was removed, by model.

        Raises:
            StoreError: also where `model` names none or several. Where only making the file smaller fails, the rows
                are gone and their space is used again.
        """
        if [model, older_than_days, max_bytes, everything or None].count(None) != 3:
            raise ValueError("one of `model`, `older_than_days`, `max_bytes`, `everything` says what to remove")
        doomed, values = "1", ()
        if model is not None:
            doomed, values = "model = ?", (bytes.fromhex(self._one_model(model)),)
        elif older_than_days is not None:
            doomed, values = "used < ?", (time.time() - 86400 * older_than_days,)
        elif max_bytes is not None:
            doomed, values = "total > ?", (max_bytes - len(_TABLES) * 6 * _PAGE_BYTES,)
        with self._guard("prune"), self._transaction() as execute:
            execute(
                "CREATE TEMP TABLE doomed AS SELECT id FROM (SELECT scores.id, model, used, "
                f"sum(length(logp) + {_ROW_BYTES}) OVER (ORDER BY used DESC, scores.id DESC) AS total "
                f"FROM scores JOIN passes ON passes.id = pass) WHERE {doomed}",
                values,
            )
            removed = self._summary("WHERE scores.id IN (SELECT id FROM doomed)")
            execute("DELETE FROM scores WHERE id IN (SELECT id FROM doomed)")
            execute("DELETE FROM passes WHERE id NOT IN (SELECT pass FROM scores)")
            execute("DELETE FROM models WHERE model NOT IN (SELECT model FROM passes)")
            if model is not None:
                execute("DELETE FROM files WHERE sha256 = ?", values)
            elif older_than_days is not None:
                execute("DELETE FROM files WHERE seen < ?", values)
            elif everything:
                execute("DELETE FROM files")
            execute("DROP TABLE doomed")
        with self._guard("make smaller"):
            if self._pragma("freelist_count"):
                self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def close(self) -> None:
        """Closes the file; nothing is waiting to be written."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        """Sees whose file this is before anything is written, makes the tables in an empty one, sets how to write."""
        for statement in ("cell_size_check = ON", f"page_size = {_PAGE_BYTES}"):
            self._connection.execute(f"PRAGMA {statement}")
        # a transaction that may write, so that two who find no file make one, and so that a file which cannot be
        # written to is refused now instead of after the first document
        with self._transaction() as execute:
            if self.path.stat().st_size:
                self._refuse_foreign()
                self._migrate(execute)
            else:
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA}")
                for table in _TABLES:
                    execute(table)
        mode = self._set_journal_mode("DELETE" if _on_network(self.path.parent) else "WAL")
        # without WAL a power cut between two writes could damage the file
        self._connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == b'wal' else 'FULL'}")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    def _refuse_foreign(self) -> None:
        schema = self._pragma("user_version")
        if self._pragma("application_id") != APPLICATION_ID:
            raise StoreError(f"`{self._shown}` is an SQLite file of another program", hint=_DAMAGED)
        if schema > SCHEMA:
            raise StoreError(
                f"the store `{self._shown}` was written in schema {schema}; this version reads up to {SCHEMA}",
                hint=f"upgrade ppldelta, or {_ELSEWHERE}",
            )
        names = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if schema < 1 or not {b"passes", b"scores", b"files", *([b"models"] if schema > 1 else [])} <= names:
            raise self._damaged("its tables are missing")

    def _migrate(self, execute: Callable[..., sqlite3.Cursor]) -> None:
        """Brings the tables of an older version up to date; what they hold stays."""
        if self._pragma("user_version") < 2:
            execute(_MODELS)
            execute("PRAGMA user_version = 2")

    def _set_journal_mode(self, mode: str) -> bytes:
        """Returns the mode that is set, which is another one where the file system cannot share memory."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                return self._pragma(f"journal_mode = {mode}")
            except sqlite3.OperationalError as error:  # SQLite does not wait for others here
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _pragma(self, statement: str) -> int | bytes:
        return self._connection.execute(f"PRAGMA {statement}").fetchone()[0]

    def _select(self, keys: Iterable[Key], columns: str = "") -> Iterator[tuple]:
        """(key, tokens, columns …) of each key that is there."""
        groups: dict[tuple[str, str, str], dict[bytes, Key]] = defaultdict(dict)
        for key in keys:
            groups[key.model, key.windows, key.engine][bytes.fromhex(key.tokens)] = key
        for (model, *texts), wanted in groups.items():
            row = self._connection.execute(
                "SELECT id FROM passes WHERE model = ? AND windows = ? AND engine = ?", (bytes.fromhex(model), *texts)
            ).fetchone()
            tokens = list(wanted) if row else []
            for start in range(0, len(tokens), _AT_ONCE):
                some = tokens[start : start + _AT_ONCE]
                found = self._connection.execute(
                    f"SELECT tokens{columns and ', '}{columns} FROM scores "
                    f"WHERE pass = ? AND tokens IN ({', '.join('?' * len(some))})",
                    (row[0], *some),
                )
                for digest, *values in found:
                    yield (wanted[digest], digest, *values) if columns else (wanted[digest], digest)

    def _touch(self, passes: Iterable[tuple[str, str, str]]) -> None:
        """Notes that rows were used."""
        now = int(time.time())
        for model, windows, engine in passes:
            self._connection.execute(
                f"UPDATE passes SET used = ? WHERE model = ? AND windows = ? AND engine = ? AND used < ? - {_COARSE_S}",
                (now, bytes.fromhex(model), windows, engine, now),
            )

    def _summary(self, where: str = "") -> list[StoredModel]:
        rows = self._connection.execute(
            "SELECT model, (SELECT path FROM files WHERE sha256 = model ORDER BY seen DESC LIMIT 1), "
            "count(*), sum(length(logp)), sum(time_s), max(used) AS last "
            f"FROM scores JOIN passes ON passes.id = pass {where} GROUP BY model ORDER BY last DESC, model"
        )
        try:
            return [
                StoredModel(
                    sha256=model.hex(),
                    path=None if path is None else Path(os.fsdecode(path)),
                    n_rows=n_rows,
                    n_scored=size_bytes // 4,
                    size_bytes=size_bytes,
                    time_s=time_s,
                    last_used=datetime.fromtimestamp(last, timezone.utc),
                )
                for model, path, n_rows, size_bytes, time_s, last in rows
            ]
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise self._damaged("a row holds something else than what was written") from error

    def _one_model(self, text: str) -> str:
        """sha256 of the stored model that `text` names."""
        stored = self.summary()
        matching = [
            each
            for each in stored
            if (len(text) >= 4 and each.sha256.startswith(text.lower()))
            or (each.path is not None and text in (str(each.path), each.path.name, each.path.stem))
        ]
        if len(matching) == 1:
            return matching[0].sha256
        found = f"{len(matching)} models" if matching else "no model"
        names = ", ".join(each.sha256[:12] for each in matching or stored)
        raise StoreError(
            f"`{printable(text)}` names {found} in the store `{self._shown}`",
            hint=f"name one of {names}" if names else "the store is empty",
        )

    def _damaged(self, what: str) -> StoreError:
        return StoreError(f"the store `{self._shown}` is damaged: {what}", hint=_DAMAGED)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All of what is executed in it, or nothing; others wait meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some errors end it by themselves
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        """Turns what SQLite says into a `StoreError`."""
        try:
            yield
        except UnicodeDecodeError as error:  # of a name in SQLite's own message
            raise self._damaged("its tables have other names") from error
        except (sqlite3.Error, OSError) as error:
            said = str(error)
            known = ((reason, hint) for part, reason, hint in _REASONS if part in said)
            reason, hint = next(known, (said, _ELSEWHERE))
            raise StoreError(f"cannot {what} the store `{self._shown}`: {reason}", hint=hint) from error


def _crc32(tokens: bytes, logp: bytes) -> int:
    """A checksum that also tells when a row holds another document's values."""
    return zlib.crc32(logp, zlib.crc32(tokens))


def _on_network(folder: Path) -> bool:
    """Whether a folder lies on a network file system, as far as /proc tells (Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_bytes().splitlines()
    except OSError:
        return False
    folder = folder.resolve()
    kinds = {}
    for mount in mounts:
        _, point, kind, *_ = mount.split(b" ")
        kinds[os.fsdecode(point.replace(rb"\040", b" "))] = kind.decode()
    nearest = next((str(each) for each in (folder, *folder.parents) if str(each) in kinds), "/")
    return kinds.get(nearest) in _NETWORK
