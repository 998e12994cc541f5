"""What the store holds, for people, and less of it: removes rows and makes the file smaller."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ppldelta.errors import StoreError
from ppldelta.store.database import PAGE_BYTES, Database
from ppldelta.store.store import Store
from ppldelta.wording.names import printable

_EMPTY_BYTES = 24 * PAGE_BYTES  # what a store without rows takes
_ROW_BYTES = 170  # what a row takes beside its values and hashes, the more the longer it is


@dataclass(frozen=True)
class StoredModel:
    """What the store holds of one model, or what `prune` removed of it.

    Attributes:
        sha256: the model's content, 64 hexadecimal digits.
        path: where a file with this content was seen last; None if the store never hashed one.
        n_windows: windows, counted once for each way in which they were evaluated.
        n_scored: log-probabilities.
        size_bytes: size of these, and of what was computed of the model as a comparison with references.
        time_s: what computing them took.
        last_used: when a run last read or wrote one of them, to the hour.
    """

    sha256: str
    path: Path | None
    n_windows: int
    n_scored: int
    size_bytes: int
    time_s: float
    last_used: datetime


def summary(store: Store) -> list[StoredModel]:
    """What the store holds, a `StoredModel` each, the last used first."""
    with store.database.guard("read"):
        return _summary(store.database)


def prune(
    store: Store,
    *,
    model: str | None = None,
    older_than_days: float | None = None,
    max_bytes: int | None = None,
    everything: bool = False,
) -> list[StoredModel]:
    """Removes rows and makes the file smaller. Exactly one of the arguments says which.

    Args:
        store: the store.
        model: one model: the first digits of its sha256 (four at least), or its file's name or path.
        older_than_days: what no run has read or written for so many days.
        max_bytes: as much as makes the file this small, what was not used for longest first.
        everything: all of it.

    Returns:
        What was removed, by model.

    Raises:
        StoreError: also if `model` names none or several. If only making the file smaller fails, the rows
            are gone and their space is used again.
    """
    if [model, older_than_days, max_bytes, everything or None].count(None) != 3:
        raise ValueError("one of `model`, `older_than_days`, `max_bytes`, `everything` says what to remove")
    doomed = "1"
    values: tuple[bytes | float, ...] = ()
    if model is not None:
        sha256 = bytes.fromhex(_one_model(store, model))
        doomed, values = "? IN (model, reference)", (sha256,)
    elif older_than_days is not None:
        doomed, values = "used < ?", (time.time() - 86400 * older_than_days,)
    elif max_bytes is not None:
        doomed, values = "total > ?", (max_bytes - _EMPTY_BYTES,)
    database = store.database
    with database.guard("prune"), database.transaction() as execute:
        execute(
            "CREATE TEMP TABLE doomed AS SELECT id FROM (SELECT shards.id, model, reference, used, "
            f"sum(length(windows) + length(logp) + {_ROW_BYTES}) OVER (ORDER BY used DESC, shards.id DESC) AS total "
            f"FROM shards JOIN passes ON passes.id = pass) WHERE {doomed}",
            values,
        )
        removed = _summary(database, "WHERE shards.id IN (SELECT id FROM doomed)")
        execute("DELETE FROM shards WHERE id IN (SELECT id FROM doomed)")
        execute("DELETE FROM passes WHERE id NOT IN (SELECT pass FROM shards)")
        for table in ("models", "checked", "kinds"):
            execute(f"DELETE FROM {table} WHERE model NOT IN (SELECT model FROM passes)")
        if model is not None:
            execute("DELETE FROM files WHERE sha256 = ?", values)
        elif older_than_days is not None:
            execute("DELETE FROM files WHERE seen < ?", values)
        elif everything:
            execute("DELETE FROM files")
            execute("DELETE FROM trusted")
        execute("DROP TABLE doomed")
    store.forget()
    with database.guard("make smaller"):
        if database.pragma("freelist_count"):
            database.connection.execute("VACUUM")
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return removed


def _summary(database: Database, where: str = "") -> list[StoredModel]:
    rows = database.connection.execute(
        "SELECT model, (SELECT path FROM files WHERE sha256 = model ORDER BY seen DESC LIMIT 1), "
        "sum(alone * length(windows) / 32), sum(alone * length(logp)), sum(length(logp)), sum(time_s), "
        "max(used) AS last FROM shards JOIN (SELECT *, length(reference) = 0 AS alone FROM passes) AS passes "
        f"ON passes.id = pass {where} GROUP BY model ORDER BY last DESC, model"
    )
    try:
        return [
            StoredModel(
                sha256=model.hex(),
                path=None if path is None else Path(os.fsdecode(path)),
                n_windows=n_windows,
                n_scored=logp_bytes // 4,
                size_bytes=size_bytes,
                time_s=time_s,
                last_used=datetime.fromtimestamp(last, timezone.utc),
            )
            for model, path, n_windows, logp_bytes, size_bytes, time_s, last in rows
        ]
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise database.damaged("a row holds something else than what was written") from error


def _one_model(store: Store, text: str) -> str:
    """sha256 of the stored model that `text` names."""
    stored = summary(store)
    matching = [
        each
        for each in stored
        if (len(text) >= 4 and each.sha256.startswith(text.lower()))
        or (each.path is not None and text in (str(each.path), each.path.name, each.path.stem))
    ]
    if len(matching) == 1:
        return matching[0].sha256
    found = f"{len(matching)} models" if matching else "no model"
    names = ", ".join(
        each.sha256[:12] + (f" (`{printable(each.path.stem)}`)" if each.path else "") for each in matching or stored
    )
    raise StoreError(
        f"`{printable(text)}` names {found} in the store `{store.database.shown}`",
        hint=f"name one of {names}" if names else "the store is empty",
    )
