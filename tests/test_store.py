"""The store: what is put comes back bit for bit, whatever dies and whoever else writes; damage is refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ppldelta.errors import StoreError
from ppldelta.models.identity import Stamp
from ppldelta.models.source import ModelSource
from ppldelta.store import database
from ppldelta.store.database import APPLICATION_ID, SCHEMA
from ppldelta.store.keys import Key, tokens_hash
from ppldelta.store.pruning import StoredModel, prune, summary
from ppldelta.store.store import Store, default_path

ENGINE = "ppldelta:0.1.0|llama.cpp:0123456789ab|patches:0123456789ab|n_ubatch:128|kv:f16|backend:CPU" * 3
A, B = "aa" * 32, "bb" * 32

WRITER = """
import sys
from ppldelta.store.store import Store
from test_store import key, logp

path, start, count, n = sys.argv[1], *map(int, sys.argv[2:5])
with Store(path) as store:
    print("open", flush=True)
    for i in range(start, start + count):
        store.put_many([(key(i), logp(i, n), 0.5)])
        print(i, flush=True)
"""
"""Puts windows and says of each when it is stored."""


def key(i: int, *, model: str = A, rule: str = "perplexity|n_ctx:512", engine: str = ENGINE) -> Key:
    return Key(model, tokens_hash([i, i + 1]).hex(), rule, engine)


def logp(i: int, n: int = 300) -> np.ndarray:
    return -np.random.default_rng(i).exponential(3.0, n).astype(np.float32)


def writer(path: Path, start: int, count: int, n: int = 300) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", WRITER, str(path), str(start), str(count), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def integrity(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


# what is put comes back


def test_values_come_back_bit_for_bit(store: Store, path: Path) -> None:
    odd = np.array([0.0, -0.0, np.nan, -np.inf, -1e-45, -3.4e38], np.float32)
    odd[2:3].view(np.uint32)[:] |= 0x1234  # a NaN that carries something
    values = {key(1): odd, key(2): logp(2, 4000), key(3): logp(3, 1), key(4): logp(4, 0)}
    for each, array in values.items():
        store.put_many([(each, array[::1], 1.0)])
    with Store(path) as another:
        found = another.get([*values, key(5)])
    assert set(found) == set(values)
    for each, array in values.items():
        assert found[each].dtype == np.float32
        assert found[each].tobytes() == array.tobytes()
    assert store.known([*values, key(5)]) == set(values)
    assert store.get([]) == {}


@pytest.mark.parametrize("field", ["model", "window", "rule", "engine"])
def test_each_part_of_the_key_counts(store: Store, field: str) -> None:
    store.put_many([(key(1), logp(1), 1.0)])
    other = Key(**{**vars(key(1)), field: B if field in ("model", "window") else "another"})
    assert store.get([other]) == {}
    store.put_many([(other, logp(2), 1.0)])
    found = store.get([key(1), other])
    assert np.array_equal(found[key(1)], logp(1))
    assert np.array_equal(found[other], logp(2))


def test_many_at_once(store: Store) -> None:
    keys = [key(i, model=A if i % 3 else B) for i in range(1234)]
    for i, each in enumerate(keys):
        store.put_many([(each, logp(i, 5), 0.0)])
    found = store.get(reversed(keys))
    assert all(np.array_equal(found[each], logp(i, 5)) for i, each in enumerate(keys))


def test_many_are_put_together_or_not_at_all(store: Store) -> None:
    rows = [(key(i, model=A if i % 3 else B), logp(i, 10 * i), 0.5) for i in range(100)]
    store.put_many(rows)
    found = store.get(each for each, _, _ in rows)
    assert all(found[each].tobytes() == values.tobytes() for each, values, _ in rows)
    store.put_many([*rows[50:], (key(300), logp(1), 0.5), (key(300), logp(2), 0.5)])
    assert np.array_equal(store.get([key(300)])[key(300)], logp(1))
    assert sum(each.n_windows for each in summary(store)) == 101, "what was there is not written again"
    with pytest.raises(ValueError, match="float32 of one dimension"):
        store.put_many([(key(200), logp(200), 0.5), (key(201), logp(201).astype(np.float64), 0.5)])
    assert store.known([key(200), key(201)]) == set()
    store.put_many([])


def test_a_row_that_is_there_stays(store: Store) -> None:
    store.put_many([(key(1), logp(1), 1.0)])
    store.put_many([(key(1), logp(2), 1.0)])
    assert np.array_equal(store.get([key(1)])[key(1)], logp(1))


def test_only_rows_of_float32_are_taken(store: Store) -> None:
    for wrong in (logp(1).astype(np.float64), logp(1).reshape(2, -1)):
        with pytest.raises(ValueError, match="float32 of one dimension"):
            store.put_many([(key(1), wrong, 1.0)])
    assert store.known([key(1)]) == set()


def test_hash_of_tokens_is_that_of_little_endian_int32() -> None:
    expected = hashlib.sha256(b"\x01\0\0\0\xff\xff\xff\x7f").hexdigest()
    assert tokens_hash([1, 2**31 - 1]).hex() == expected
    assert tokens_hash(np.array([1, 0, 2**31 - 1], ">i4")[::2]).hex() == expected


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PPLDELTA_STORE", str(tmp_path / "mine.sqlite"))
    assert default_path() == tmp_path / "mine.sqlite"
    with Store() as store:
        assert store.path == tmp_path / "mine.sqlite"
    monkeypatch.setenv("PPLDELTA_STORE", "")
    assert default_path().parts[-2:] == ("ppldelta", "store.sqlite")


# what dies, who else writes


def test_killed_at_any_moment(path: Path) -> None:
    """SIGKILL while it opens, makes the tables, writes, and checkpoints; what it said was written is there."""
    dice = random.Random(0)
    written: list[int] = []
    for start in range(0, 800_000, 100_000):
        n = dice.choice([1, 300, 5000])
        process = writer(path, start, 100_000, n)
        assert process.stdout.readline() == "open\n"
        time.sleep(dice.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        reported = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        written += reported
        copy = shutil.copytree(path.parent, path.parent.with_name(f"copy-{start}"))
        assert integrity(copy / path.name) == "ok"
        with Store(path) as store:
            found = store.get(map(key, reported))
            assert all(found[key(i)].tobytes() == logp(i, n).tobytes() for i in reported)
            assert store.known(map(key, written)) == set(map(key, written))
            n_windows = sum(each.n_windows for each in summary(store))
            assert n_windows - len(written) <= 1 + start // 100_000, (
                "no more than one that it could not report, each time"
            )
    assert len(written) > 50, "it was killed while it wrote; how much it wrote by then depends on the machine's load"
    assert integrity(path) == "ok"


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Stops dead before each statement of the opening in turn; the next one opens what is there."""
    script = textwrap.dedent(
        """
        import os, sqlite3, sys
        from ppldelta.store import store

        left = int(sys.argv[2])

        class Connection(sqlite3.Connection):
            def execute(self, *arguments):
                global left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)
                return super().execute(*arguments)

        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)
        store.Store(sys.argv[1]).close()
        """
    )
    for left in range(40):
        path = tmp_path / f"{left}.sqlite"
        ended = subprocess.run([sys.executable, "-c", script, str(path), str(left)]).returncode
        with Store(path) as store:
            store.put_many([(key(1), logp(1), 1.0)])
            assert store.known([key(1)]) == {key(1)}
        assert integrity(path) == "ok"
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert left > 5
    assert ended == 0


@pytest.mark.parametrize("network", [False, True])
def test_writers_at_once_lose_nothing(path: Path, network: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin with no file, overlap in half of what they write, and one more reads and prunes meanwhile."""
    if network:
        monkeypatch.setattr(sys.modules[__name__], "WRITER", WRITER.replace("\npath", _PRETEND_NETWORK + "\npath"))
        monkeypatch.setattr(database, "_on_network", lambda folder: True)
    count = 60 if network else 600
    processes = [writer(path, start, count) for start in (0, count // 2, count)]
    while any(process.poll() is None for process in processes):
        with Store(path) as store:
            store.get(map(key, range(2 * count)))
            store.put_many([(key(0, model=B), logp(0), 1.0)])
            prune(store, model=B)
    for process in processes:
        assert process.stdout.read().split() == [
            "open",
            *map(str, range(int(process.args[4]), int(process.args[4]) + count)),
        ]
        process.stdout.close()
        assert process.returncode == 0
    assert integrity(path) == "ok"
    with Store(path) as store:
        found = store.get(map(key, range(2 * count)))
        assert len(found) == 2 * count == summary(store)[0].n_windows
        assert all(np.array_equal(found[key(i)], logp(i)) for i in range(2 * count))
    assert path.read_bytes()[18] == (1 if network else 2), "the header's journal version"


_PRETEND_NETWORK = "\nfrom ppldelta.store import database\ndatabase._on_network = lambda folder: True"


def test_a_store_moved_to_a_network_leaves_wal(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_many([(key(1), logp(1), 1.0)])
    store.close()
    monkeypatch.setattr(database, "_on_network", lambda folder: True)
    with Store(path) as again:
        assert again.known([key(1)])
        assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_kind_of_file_system(tmp_path: Path) -> None:
    assert not database._on_network(tmp_path)
    assert not database._on_network(Path("/"))


def test_a_locked_store_is_named(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process keeps it locked"):
            Store(path)
    Store(path).close()


# sizes


@pytest.mark.parametrize(("n", "most"), [(100, 8), (300, 5), (1000, 4.5), (4000, 4.2)])
def test_bytes_on_disk(store: Store, path: Path, n: int, most: float) -> None:
    """At most 16 bytes for each scored token, its WAL included; 4 of them are the value."""
    n_windows = 300_000 // n
    for i in range(n_windows):
        store.put_many([(key(i), logp(i, n), 1.0)])
    store.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert on_disk(path.parent) <= most * n * n_windows + 40_000, "40 kB: the empty store with its -shm"


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process writes")
@pytest.mark.parametrize(("n", "most"), [(400, 16), (1000, 12), (4000, 10)])
def test_bytes_written(path: Path, n: int, most: float) -> None:
    """Everything that is written, the WAL's pages and the checkpoint's, for windows of some hundred tokens."""
    n_windows = 2_000_000 // n
    before = _written()
    with Store(path) as store:
        for i in range(n_windows):
            store.put_many([(key(i), logp(i, n), 1.0)])
    assert _written() - before <= most * n * n_windows


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process writes")
@pytest.mark.parametrize(("n", "together"), [(29, 32), (60, 7), (60, 32), (150, 4), (150, 16), (350, 2)])
def test_bytes_written_for_windows_put_together(path: Path, n: int, together: int) -> None:
    """At most 16 bytes for each scored token of short windows, some 400 tokens in a commit or more."""
    n_windows = 500_000 // n // together * together
    before = _written()
    with Store(path) as store:
        for start in range(0, n_windows, together):
            store.put_many([(key(i), logp(i, n), 0.1) for i in range(start, start + together)])
    assert _written() - before <= 16 * n * n_windows


def _written() -> int:
    return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])


# what models say of themselves


def test_a_description_is_of_a_model_and_a_release(store: Store, path: Path) -> None:
    info = {"name": "caf\udce9", "n_params": 4_022_468_096, "bos": None, "add_bos": True}
    store.notes.describe(A, "ppldelta 0.1", info)
    with Store(path) as another:
        assert another.notes.description(A, "ppldelta 0.1") == info
        assert another.notes.description(A, "ppldelta 0.2") is None
        assert another.notes.description(B, "ppldelta 0.1") is None
        another.notes.describe(A, "ppldelta 0.1", {})
        assert another.notes.description(A, "ppldelta 0.1") == {}
    store.database.connection.execute("UPDATE models SET info = 'no json'")
    with pytest.raises(StoreError, match="is damaged"):
        store.notes.description(A, "ppldelta 0.1")


def test_a_pruned_model_is_described_no_longer(filled: Store) -> None:
    for name in ("old.Q8_0", "new.Q8_0"):
        filled.notes.describe(sha(name), "ppldelta 0.1", {"name": name})
    prune(filled, older_than_days=30)
    assert filled.notes.description(sha("old.Q8_0"), "ppldelta 0.1") is None
    assert filled.notes.description(sha("new.Q8_0"), "ppldelta 0.1") == {"name": "new.Q8_0"}


# what it holds, and less of it


@pytest.fixture
def filled(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Model A, used 40 days ago, of 30 windows in two ways; model B, used now, of 30. Returns the store."""
    now = time.time()
    for name, age_days in (("old.Q8_0", 40), ("new.Q8_0", 0)):
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(name.encode())
        monkeypatch.setattr(database.time, "time", lambda age_s=86400 * age_days: now - age_s)
        sha256 = sha(name)
        store.notes.remember_hash(Stamp.of(ModelSource(file)), sha256)
        for rule in ("perplexity", "every")[: 2 if age_days else 1]:
            for i in range(30):
                store.put_many([(key(i, model=sha256, rule=rule), logp(i, 1000), 0.5)])
    return store


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_what_was_removed_can_be_put_again(store: Store, path: Path) -> None:
    """Through the same connection and through another one."""
    store.put_many([(key(1), logp(1), 1.0)])
    prune(store, everything=True)
    store.put_many([(key(1), logp(2), 1.0)])
    assert np.array_equal(store.get([key(1)])[key(1)], logp(2))
    with Store(path) as other:
        prune(other, everything=True)
    store.put_many([(key(1), logp(3), 1.0)])
    assert np.array_equal(store.get([key(1)])[key(1)], logp(3))
    store.database.connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        store.put_many([(key(2), logp(2, 10_000), 1.0)])
    store.database.connection.execute("PRAGMA max_page_count = 100000")
    store.put_many([(key(2), logp(2), 1.0)])
    assert store.known([key(2)])


def test_summary(filled: Store, tmp_path: Path) -> None:
    new, old = summary(filled)
    assert old == StoredModel(sha("old.Q8_0"), tmp_path / "old.Q8_0.gguf", 60, 60_000, 240_000, 30.0, old.last_used)
    assert (new.sha256, new.n_windows) == (sha("new.Q8_0"), 30)
    assert 39.9 < (new.last_used - old.last_used).total_seconds() / 86400 < 40.1


def test_reading_counts_as_use(filled: Store) -> None:
    filled.get([key(0, model=sha("old.Q8_0"), rule="every")])
    [removed] = prune(filled, older_than_days=30)
    assert (removed.sha256, removed.n_windows) == (sha("old.Q8_0"), 30), "the other way of evaluating it stays"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"older_than_days": 30}, {"old.Q8_0"}),
        ({"older_than_days": 50}, set()),
        ({"older_than_days": 0}, {"old.Q8_0", "new.Q8_0"}),
        ({"model": "old.Q8_0"}, {"old.Q8_0"}),
        ({"model": "new.Q8_0.gguf"}, {"new.Q8_0"}),
        ({"model": sha("new.Q8_0")[:6].upper()}, {"new.Q8_0"}),
        ({"max_bytes": 10**9}, set()),
        ({"max_bytes": 140_000}, {"old.Q8_0"}),
        ({"max_bytes": 0}, {"old.Q8_0", "new.Q8_0"}),
        ({"everything": True}, {"old.Q8_0", "new.Q8_0"}),
    ],
)
def test_prune(filled: Store, path: Path, arguments: dict[str, object], names: set[str]) -> None:
    before = summary(filled)
    removed = prune(filled, **arguments)
    assert {each.sha256 for each in removed} == set(map(sha, names))
    assert removed == [each for each in before if each.sha256 in set(map(sha, names))]
    assert summary(filled) == [each for each in before if each not in removed]
    assert path.stat().st_size <= sum(each.size_bytes for each in summary(filled)) * 1.1 + 20_000
    assert integrity(path) == "ok"
    again = key(1000, model=sha("old.Q8_0"))
    filled.put_many([(again, logp(1), 1.0)])
    assert np.array_equal(filled.get([again])[again], logp(1))


@pytest.mark.parametrize("max_bytes", [50_000, 100_000, 150_000, 300_000])
def test_prune_to_a_size(filled: Store, path: Path, max_bytes: int) -> None:
    removed = sum(each.n_windows for each in prune(filled, max_bytes=max_bytes))
    assert 0.7 * max_bytes < path.stat().st_size <= max_bytes
    assert sum(each.n_windows for each in summary(filled)) == 90 - removed


def test_prune_needs_one_reason_and_one_model(filled: Store) -> None:
    for arguments in ({}, {"model": "x", "max_bytes": 1}):
        with pytest.raises(ValueError, match="one of"):
            prune(filled, **arguments)
    with pytest.raises(StoreError, match="names no model") as caught:
        prune(filled, model="x.gguf")
    assert sha("old.Q8_0")[:12] in caught.value.hint
    for digits in ("cafe11", "cafe12"):
        filled.put_many([(key(1, model=digits.ljust(64, "0")), logp(1), 1.0)])
    with pytest.raises(StoreError, match="names 2 models"):
        prune(filled, model="cafe1")


# versions

# the tables as the first version made them
FIRST_TABLES = (
    """CREATE TABLE passes (
        id INTEGER PRIMARY KEY, model BLOB NOT NULL, windows TEXT NOT NULL, engine TEXT NOT NULL,
        used INTEGER NOT NULL, UNIQUE (model, windows, engine))""",
    """CREATE TABLE scores (
        id INTEGER PRIMARY KEY, pass INTEGER NOT NULL, tokens BLOB NOT NULL, crc32 INTEGER NOT NULL,
        time_s REAL NOT NULL, logp BLOB NOT NULL, UNIQUE (pass, tokens))""",
    """CREATE TABLE files (
        path BLOB NOT NULL, sha256 BLOB NOT NULL, stamp TEXT NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (path, sha256)) WITHOUT ROWID""",
)


def first_version(path: Path, n: int, file: Path) -> None:
    """A store of schema 1: the hash of a model's file, and `n` documents that it was evaluated on."""
    path.parent.mkdir(exist_ok=True)
    stamp = Stamp.of(ModelSource(file))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in ("page_size = 512", f"application_id = {APPLICATION_ID}", "user_version = 1"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("PRAGMA journal_mode = WAL")
        for table in FIRST_TABLES:
            connection.execute(table)
        connection.execute("INSERT INTO files VALUES (?, ?, ?, 1)", (stamp.name, bytes.fromhex(A), stamp.text))
        connection.execute("INSERT INTO passes VALUES (1, ?, 'perplexity', ?, 1700000000)", (bytes.fromhex(A), ENGINE))
        for i in range(n):
            row = (hashlib.sha256(b"%d" % i).digest(), zlib.crc32(b"%d" % i), logp(i).tobytes())
            connection.execute("INSERT INTO scores VALUES (NULL, 1, ?, ?, 0.5, ?)", row)
        connection.commit()


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    return file


def test_a_store_of_the_first_version_is_taken_over(path: Path, model_file: Path) -> None:
    """Its rows are documents, which nothing asks for any more; the hashes of model files stay."""
    first_version(path, 700, model_file)
    for _ in range(2):
        with Store(path) as store:
            assert store.notes.remembered_hash(Stamp.of(ModelSource(model_file))) == A
            store.put_many([(key(1), logp(1), 1.0)])
            assert store.get([key(1)])[key(1)].tobytes() == logp(1).tobytes()
            store.notes.describe(A, "ppldelta 0.1", {})
            [model] = summary(store)
            assert (model.n_windows, model.n_scored, model.time_s) == (1, 300, 1.0)
    assert integrity(path) == "ok"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA


def test_two_take_over_one_store_at_once(path: Path, model_file: Path) -> None:
    first_version(path, 2000, model_file)
    processes = [writer(path, start, 50) for start in (2000, 2050, 2100)]
    for process in processes:
        assert len(process.stdout.read().split()) == 51
        process.stdout.close()
        assert process.wait() == 0
    with Store(path) as store:
        assert summary(store)[0].n_windows == 150
        assert store.notes.remembered_hash(Stamp.of(ModelSource(model_file))) == A


def test_what_was_checked_is_remembered_until_the_model_is_pruned(store: Store) -> None:
    corpora = [tokens_hash([i]).hex() for i in range(2)]
    store.put_many([(key(1), logp(1), 1.0)])
    assert not store.notes.is_checked(A, corpora[0])
    for _ in range(2):
        store.notes.note_checked(A, corpora[0])
    assert [store.notes.is_checked(model, corpus) for model in (A, B) for corpus in corpora] == [
        True,
        False,
        False,
        False,
    ]
    prune(store, model=A[:12])
    assert not store.notes.is_checked(A, corpora[0])


# what is refused


def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    def sqlite(name: str, *statements: str) -> Path:
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            for statement in statements:
                connection.execute(statement)
        return tmp_path / name

    Store(tmp_path / "newer").close()
    (tmp_path / "text").write_text("hello, I am no SQLite file " * 100)
    cases = {
        tmp_path / "text": "not an SQLite file",
        sqlite("other", "CREATE TABLE passes (x)"): "another program",
        sqlite("third", "PRAGMA journal_mode = WAL", "CREATE TABLE x (y)"): "another program",
        sqlite("newer", f"PRAGMA user_version = {SCHEMA + 1}"): f"schema {SCHEMA + 1}; this version reads up to",
        sqlite("empty", f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1"): "tables are missing",
    }
    for path, message in cases.items():
        before = path.read_bytes()
        with pytest.raises(StoreError, match=message) as caught:
            Store(path)
        assert str(path) in caught.value.message
        assert "--no-store" in caught.value.hint
        assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {path.name for path in cases}, "nothing is left beside them"


def test_damage_never_gives_other_numbers(store: Store, path: Path, tmp_path: Path) -> None:
    """Bytes flipped and tails cut off anywhere: the values that were put, none, or a `StoreError`."""
    for i in range(40):
        store.put_many([(key(i), logp(i, 20 * i), 1.0)])
    store.close()
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    keys = [key(i) for i in range(40)]
    for attempt in range(300):
        damaged = bytearray(whole)
        if attempt % 10 == 0:
            del damaged[dice.randrange(1, len(whole)) :]
        else:
            start = dice.choice([0, dice.randrange(len(whole))])
            for at in range(start, min(start + dice.choice([1, 16, 600]), len(whole))):
                damaged[at] ^= dice.randrange(256) if start else dice.choice([0, 0, 0, dice.randrange(256)])
        file = tmp_path / "damaged.sqlite"
        file.write_bytes(damaged)
        try:
            with Store(file) as opened:
                found = opened.get(keys)
                summary(opened)
            assert all(found[key(i)].tobytes() == logp(i, 20 * i).tobytes() for i in range(40) if key(i) in found)
        except StoreError as error:
            refused += 1
            assert error.hint
        for each in tmp_path.glob("damaged.sqlite*"):
            each.unlink()
    assert refused > 100


@pytest.mark.parametrize("damage", ["substr(logp, 1, length(logp) - 4)", "substr(logp, 1, 7)", "logp || x'00000000'"])
def test_a_blob_of_wrong_length_is_damage(store: Store, damage: str) -> None:
    store.put_many([(key(1), logp(1), 1.0)])
    store.database.connection.execute(f"UPDATE shards SET logp = {damage}")
    with pytest.raises(StoreError, match="does not hold the values that were written") as caught:
        store.get([key(1)])
    assert "prune --model aaaaaaaaaaaa" in caught.value.hint
    prune(store, model=A[:12])
    assert store.get([key(1)]) == {}


def test_a_path_that_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is not a file"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="cannot open or make the folder"):
        Store(tmp_path / "file" / "store.sqlite")


READ_ONLY = """
import os, sys
from ppldelta.store.store import Store
from ppldelta.errors import StoreError
if os.getuid() == 0:
    os.setuid(65534)
try:
    Store(sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("case", ["folder", "new file", "file", "closed folder"])
def test_read_only(case: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder, path = Path(name), Path(name) / "store.sqlite"
        if case == "folder":
            path = folder / "sub" / "store.sqlite"
        elif case != "new file":
            Store(path).close()
            path.chmod(0o444)
        folder.chmod(0o000 if case == "closed folder" else 0o555)
        said = subprocess.run([sys.executable, "-c", READ_ONLY, str(path)], stdout=subprocess.PIPE, text=True).stdout
        folder.chmod(0o755)
        assert "cannot open" in said
        assert str(path.parent) in said
        assert "hint: " in said
        assert "--no-store" in said


def test_a_full_disk_keeps_what_is_stored(store: Store) -> None:
    store.database.connection.execute("PRAGMA max_page_count = 200")
    with pytest.raises(StoreError, match="the disk is full") as caught:
        for i in range(1000):
            store.put_many([(key(i), logp(i), 1.0)])
    assert "free some space" in caught.value.hint
    assert i > 10
    assert store.known(map(key, range(1000))) == set(map(key, range(i)))
    store.database.connection.execute("PRAGMA max_page_count = 100000")
    store.put_many([(key(i), logp(i), 1.0)])


def test_a_failed_write_keeps_what_is_stored(path: Path) -> None:
    """A limit on the size of files, as a quota: here it is the WAL that cannot grow."""
    script = textwrap.dedent(
        """
        import resource, sys
        from ppldelta.store.store import Store
        from ppldelta.errors import StoreError
        from test_store import key, logp

        store = Store(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            for i in range(1000):
                store.put_many([(key(i), logp(i), 1.0)])
        except StoreError as error:
            print(i, error)
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    said = subprocess.run(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ).stdout
    assert "cannot write the store" in said
    count = int(said.split()[0])
    assert count > 10
    assert integrity(path) == "ok"
    with Store(path) as store:
        found = store.get(map(key, range(1000)))
    assert set(found) == set(map(key, range(count)))
    assert all(np.array_equal(found[key(i)], logp(i)) for i in range(count))


# the command


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ppldelta.cli", "store", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_shows_and_prunes(filled: Store, path: Path) -> None:
    shown = command("--store", path)
    assert shown.returncode == 0
    assert shown.stdout == command("show", "--store", path).stdout
    new, old, total, size = (line.split() for line in shown.stdout.splitlines()[1:])
    assert new[:4] == ["new.Q8_0.gguf", sha("new.Q8_0")[:12], "30", "30,000"]
    assert old[:4] == ["old.Q8_0.gguf", sha("old.Q8_0")[:12], "60", "60,000"]
    assert total[:4] == ["2", "models,", "90,000", "tokens"]
    assert size[-1] == "kB"

    pruned = command("prune", "--older-than", 30, "--store", path)
    assert "old.Q8_0.gguf" in pruned.stdout
    assert "removed from" in pruned.stdout
    assert "new.Q8_0.gguf" not in pruned.stdout
    assert [each.sha256 for each in summary(filled)] == [sha("new.Q8_0")]
    assert "0 models, 0 tokens removed" in command("prune", "--max-size", 100, "--store", path).stdout
    assert "new.Q8_0.gguf" in command("prune", "--model", "new.Q8_0", "--store", path).stdout
    assert summary(filled) == []
    assert command("prune", "--all", "--store", path).stdout.startswith("0 models, 0 tokens removed")


def test_command_in_error(tmp_path: Path) -> None:
    for wrong in (["prune"], ["show", "--all"], ["prune", "--all", "--older-than", 3], ["prune", "--older-than", "-1"]):
        used = command(*wrong, "--store", tmp_path / "none")
        assert used.returncode == 2
        assert "usage: ppldelta store" in used.stderr
    missing = command("--store", tmp_path / "none")
    assert (missing.returncode, missing.stderr) == (0, "")
    assert "there is no store" in missing.stdout
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
    (tmp_path / "text").write_text("no store " * 100)
    failed = command("--store", tmp_path / "text")
    assert failed.returncode == 1
    assert failed.stderr.startswith("ppldelta: error: cannot open the store")
    assert "hint: " in failed.stderr
    assert failed.stdout == ""
