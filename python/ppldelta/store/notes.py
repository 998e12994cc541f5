"""What the store remembers beside log-probabilities, because finding it out takes long.

For each model that is the content hash of its files, what it says of itself, and which texts it splits as a reference
did; for each pair of models whether one is a quant of the other; for each machine which kernels were found to multiply
right.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Set

from ppldelta.models.identity import Stamp
from ppldelta.store.database import COARSE_S, Database


class Notes:
    """The notes of a store, in the same file as its log-probabilities (`store.store.Store.notes`).

    Raises:
        StoreError: raised by all methods if the file cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def remembered_hash(self, stamp: Stamp) -> str | None:
        """The content hash of a model's files; None unless it was remembered and the files are unchanged since."""
        now = int(time.time())
        with self._database.guard("read"):
            row = self._database.connection.execute(
                "SELECT sha256 FROM files WHERE path = ? AND stamp = ?", (stamp.name, stamp.text)
            ).fetchone()
            if row is None:
                return None
            self._database.connection.execute(
                f"UPDATE files SET seen = ? WHERE path = ? AND sha256 = ? AND seen < ? - {COARSE_S}",
                (now, stamp.name, row[0], now),
            )
        return bytes(row[0]).hex()

    def remember_hash(self, stamp: Stamp, sha256: str) -> None:
        """Remembers the content hash of a model's files for as long as their stamp stays the same."""
        with self._database.guard("write"):
            self._database.connection.execute(
                "INSERT OR REPLACE INTO files (path, sha256, stamp, seen) VALUES (?, ?, ?, ?)",
                (stamp.name, bytes.fromhex(sha256), stamp.text, int(time.time())),
            )

    def description(self, model: str, release: str) -> dict[str, object] | None:
        """What a model said of itself, as `describe` was given it; None if nothing was remembered.

        Args:
            model: sha256 of the model's content.
            release: the versions of what it was asked with, in a line.
        """
        with self._database.guard("read"):
            row = self._database.connection.execute(
                "SELECT info FROM models WHERE model = ? AND release = ?", (bytes.fromhex(model), release)
            ).fetchone()
        try:
            return None if row is None else dict(json.loads(row[0]))
        except (TypeError, ValueError) as error:
            raise self._database.damaged("a row holds something else than what was written") from error

    def describe(self, model: str, release: str, info: Mapping[str, object]) -> None:
        """Remembers what a model says of itself, so that it need not be loaded to be asked again."""
        with self._database.guard("write"):
            self._database.connection.execute(
                "INSERT OR REPLACE INTO models (model, release, info) VALUES (?, ?, ?)",
                (bytes.fromhex(model), release, json.dumps(dict(info))),
            )

    def is_checked(self, model: str, corpus: str) -> bool:
        """Whether the model of this content is known to split these texts as the reference did.

        Args:
            model: sha256 of its content.
            corpus: stands for the texts and the reference's tokens of them (`run.keys.corpus_hash`).
        """
        with self._database.guard("read"):
            found = self._database.connection.execute(
                "SELECT 1 FROM checked WHERE model = ? AND corpus = ?", (bytes.fromhex(model), bytes.fromhex(corpus))
            )
            return found.fetchone() is not None

    def note_checked(self, model: str, corpus: str) -> None:
        """Remembers that the model of this content splits these texts as the reference did."""
        with self._database.guard("write"):
            self._database.connection.execute(
                "INSERT OR IGNORE INTO checked (model, corpus) VALUES (?, ?)",
                (bytes.fromhex(model), bytes.fromhex(corpus)),
            )

    def kind(self, model: str, reference: str, rule: int) -> tuple[str, str] | None:
        """What a model was found to be beside a reference, and why; None if a rule has not decided that yet.

        Args:
            model: sha256 of its content.
            reference: likewise.
            rule: number of the rule.
        """
        with self._database.guard("read"):
            row = self._database.connection.execute(
                "SELECT kind, reason FROM kinds WHERE model = ? AND reference = ? AND rule = ?",
                (bytes.fromhex(model), bytes.fromhex(reference), rule),
            ).fetchone()
        try:
            return None if row is None else (row[0].decode(), row[1].decode())
        except (AttributeError, UnicodeDecodeError) as error:
            raise self._database.damaged("a row holds something else than what was written") from error

    def note_kind(self, model: str, reference: str, rule: int, kind: str, reason: str) -> None:
        """Remembers that; the arguments are those of `kind`, and what it gives."""
        with self._database.guard("write"):
            self._database.connection.execute(
                "INSERT OR REPLACE INTO kinds (model, reference, rule, kind, reason) VALUES (?, ?, ?, ?, ?)",
                (bytes.fromhex(model), bytes.fromhex(reference), rule, kind, reason),
            )

    def trusted(self, release: str) -> frozenset[tuple[str, str]]:
        """Which kernels were found to multiply right: what computes, and the type of the weights.

        Args:
            release: the versions of what was checked, in a line.
        """
        with self._database.guard("read"):
            rows = self._database.connection.execute(
                "SELECT kernels, type FROM trusted WHERE release = ?", (release,)
            ).fetchall()
        return frozenset((line.decode("utf-8", "replace"), type.decode("utf-8", "replace")) for line, type in rows)

    def trust(self, release: str, found: Set[tuple[str, str]]) -> None:
        """Remembers what was found to be right. What is wrong is tried again each time: a new build may mend it."""
        with self._database.guard("write"), self._database.transaction() as execute:
            for line, type in sorted(found):
                execute(
                    "INSERT OR IGNORE INTO trusted (release, kernels, type) VALUES (?, ?, ?)", (release, line, type)
                )
