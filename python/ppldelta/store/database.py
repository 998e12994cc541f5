"""The store's file: whose it is, its tables, how it is written, and what SQLite says in our own errors.

A file that is damaged, newer or somebody else's is refused and left as it is; one of an older version is brought up to
date in place.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppldelta.errors import StoreError
from ppldelta.wording.names import printable

APPLICATION_ID = 0x70706C64  # "ppld"
SCHEMA = 6
"""What the file's header holds as `application_id` and `user_version`."""

# `id` keeps the order in which rows came; `logp` is last, so that reading the other columns never reads the values.
# There is no index over windows: each row would change another page of it, and a commit writes whole pages.
TABLES = {
    "files": """(
        path BLOB NOT NULL, sha256 BLOB NOT NULL, stamp TEXT NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (path, sha256)) WITHOUT ROWID""",
    "models": """(
        model BLOB NOT NULL, release TEXT NOT NULL, info TEXT NOT NULL, PRIMARY KEY (model, release)) WITHOUT ROWID""",
    "checked": "(model BLOB NOT NULL, corpus BLOB NOT NULL, PRIMARY KEY (model, corpus)) WITHOUT ROWID",
    "kinds": """(
        model BLOB NOT NULL, reference BLOB NOT NULL, rule INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (model, reference)) WITHOUT ROWID""",
    "trusted": """(
        release TEXT NOT NULL, kernels TEXT NOT NULL, type TEXT NOT NULL,
        PRIMARY KEY (release, kernels, type)) WITHOUT ROWID""",
    "passes": """(
        id INTEGER PRIMARY KEY, model BLOB NOT NULL, reference BLOB NOT NULL, rule TEXT NOT NULL, engine TEXT NOT NULL,
        top_k INTEGER NOT NULL, used INTEGER NOT NULL, UNIQUE (model, reference, rule, engine, top_k))""",
    "shards": """(
        id INTEGER PRIMARY KEY, pass INTEGER NOT NULL, windows BLOB NOT NULL, sizes BLOB NOT NULL,
        crc32 INTEGER NOT NULL, time_s REAL NOT NULL, logp BLOB NOT NULL)""",
}
_INDEX = "CREATE INDEX IF NOT EXISTS shards_of_pass ON shards (pass)"
_BY_WINDOW = 3  # the first schema of which all tables are still there
_WITH_PAIRS = 5  # the first schema whose passes may have a reference
_WITH_TOPS = 6  # the first one that may hold best tokens
_OLD = ("scores", "shards", "passes")
"""Tables of versions before that, whose rows nothing asks for any more: they were filed by document."""

# A commit writes whole pages and may hold a window of some hundred tokens: with 4096 it would write three times as much
# as with 512.
PAGE_BYTES = 512
_CHECKPOINT_PAGES = 16 * 2**20 // PAGE_BYTES
_BUSY_S = 30.0

# where processes on two machines would not see each other's shared memory, which WAL needs
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "smbfs"),
}

COARSE_S = 3600
"""Seconds to which times of use are kept, so that reading seldom writes."""

ELSEWHERE = "name another file with `store=` (`--store`), or work without one: `store=None` (`--no-store`)"
_DAMAGED = f"the file was left as it is; {ELSEWHERE}"
_REASONS = (
    # part of SQLite's message, ours, the next step (Python 3.10 has no error codes)
    ("disk is full", "the disk is full", f"what is stored stays; free some space, or {ELSEWHERE}"),
    ("locked", "another process keeps it locked", f"wait for that process to end, or {ELSEWHERE}"),
    ("readonly", "it is read-only", ELSEWHERE),
    ("unable to open", "SQLite cannot open it for writing", ELSEWHERE),
    ("not a database", "it is not an SQLite file, or a damaged one", _DAMAGED),
    ("malformed", "it is damaged", _DAMAGED),
)


class Database:
    """The open file, which is made if it is missing. To be used from the thread that made it.

    Attributes:
        path: of the file, absolute.
        shown: the same for people.
        connection: SQLite's; every statement outside of `transaction` is one of its own.

    Raises:
        StoreError: see `store.store.Store`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.shown = printable(self.path)
        try:
            if self.path.exists() and not self.path.is_file():
                raise StoreError(f"the store `{self.shown}` is not a file", hint=ELSEWHERE)
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot open or make the folder `{printable(self.path.parent)}` of the store: {error.strerror}",
                hint=ELSEWHERE,
            ) from error
        with self.guard("open"):
            self.connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self.connection.text_factory = bytes  # a damaged file may hold text that cannot be decoded
        try:
            with self.guard("open"):
                self._open()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Closes the file; nothing is waiting to be written."""
        self.connection.close()

    def damaged(self, what: str) -> StoreError:
        """The error that says in which way the file is damaged."""
        return StoreError(f"the store `{self.shown}` is damaged: {what}", hint=_DAMAGED)

    @contextmanager
    def transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All of what is executed in it, or nothing; others wait meanwhile."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection.execute
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # some errors end it by themselves
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turns what SQLite says into a `StoreError`."""
        try:
            yield
        except UnicodeDecodeError as error:  # of a name in SQLite's own message
            raise self.damaged("its tables have other names") from error
        except (sqlite3.Error, OSError) as error:
            said = str(error)
            known = ((reason, hint) for part, reason, hint in _REASONS if part in said)
            reason, hint = next(known, (said, ELSEWHERE))
            raise StoreError(f"cannot {what} the store `{self.shown}`: {reason}", hint=hint) from error

    def _open(self) -> None:
        """Sees whose file this is before anything is written, makes the tables in an empty one, sets how to write."""
        for statement in ("cell_size_check = ON", f"page_size = {PAGE_BYTES}"):
            self.connection.execute(f"PRAGMA {statement}")
        # a transaction that may write, so that two who find no file make one, and so that a file which cannot be
        # written to is refused now instead of after the first window
        with self.transaction() as execute:
            if self.path.stat().st_size:
                self._refuse_foreign()
                self._migrate(execute)
            else:
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA}")
                _make_tables(execute)
        mode = self._set_journal_mode("DELETE" if _on_network(self.path.parent) else "WAL")
        # without WAL a power cut between two writes could damage the file
        self.connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == b'wal' else 'FULL'}")
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    def _refuse_foreign(self) -> None:
        schema = self.pragma("user_version")
        if self.pragma("application_id") != APPLICATION_ID:
            raise StoreError(f"`{self.shown}` is an SQLite file of another program", hint=_DAMAGED)
        if schema > SCHEMA:
            raise StoreError(
                f"the store `{self.shown}` was written in schema {schema}; this version reads up to {SCHEMA}",
                hint=f"upgrade ppldelta, or {ELSEWHERE}",
            )
        names = {name for (name,) in self.connection.execute("SELECT name FROM sqlite_master")}
        expected = {name.encode() for name in TABLES} if schema == SCHEMA else {b"files", b"passes"}
        if schema < 1 or not expected <= names:
            raise self.damaged("its tables are missing")

    def _migrate(self, execute: Callable[..., sqlite3.Cursor]) -> None:
        """Brings the tables of an older version up to date; the hashes of model files stay."""
        if (schema := self.pragma("user_version")) < SCHEMA:
            for table in _OLD if schema < _BY_WINDOW else ():
                execute(f"DROP TABLE IF EXISTS {table}")
            if _BY_WINDOW <= schema < _WITH_TOPS:
                execute("ALTER TABLE passes RENAME TO passes_before")
            _make_tables(execute)
            if _BY_WINDOW <= schema < _WITH_TOPS:
                reference = "x''" if schema < _WITH_PAIRS else "reference"
                execute(
                    "INSERT INTO passes (id, model, reference, rule, engine, top_k, used) "
                    f"SELECT id, model, {reference}, rule, engine, 0, used FROM passes_before"
                )
                execute("DROP TABLE passes_before")
            execute(f"PRAGMA user_version = {SCHEMA}")

    def _set_journal_mode(self, mode: str) -> bytes:
        """Returns the mode that is set, which is another one if the file system cannot share memory."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                row: tuple[bytes] = self.connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
                return row[0]
            except sqlite3.OperationalError as error:  # SQLite does not wait for others here
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def pragma(self, name: str) -> int:
        """The value of a pragma that is a number."""
        row: tuple[int] = self.connection.execute(f"PRAGMA {name}").fetchone()
        return row[0]


def _make_tables(execute: Callable[..., sqlite3.Cursor]) -> None:
    for name, columns in TABLES.items():
        execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
    execute(_INDEX)


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
