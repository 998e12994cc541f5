"""Windows, batches and keys of many short rows: the same as one by one, in little memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ppldelta.console import progress
from ppldelta.engine import native
from ppldelta.engine.shards import PairedShard, Shard
from ppldelta.pairs import PAIR
from ppldelta.run import tokenization as run_tokenization
from ppldelta.run.batches import make_batches
from ppldelta.run.evaluation import Evaluation
from ppldelta.run.job import Job, Participant
from ppldelta.run.keys import Keys, corpus_hash
from ppldelta.run.lockstep import in_lockstep
from ppldelta.run.noise import NoiseFloor
from ppldelta.run.settings import ResolvedSettings
from ppldelta.run.span_frames import span_records
from ppldelta.run.tokenization import Tokenization, as_tokenization, tokenize
from ppldelta.run.values import Values
from ppldelta.store.keys import Digests, Key, WindowKeys, unpacked
from ppldelta.text import ragged
from ppldelta.text.document import Document
from ppldelta.text.many import Batches, Windows
from ppldelta.text.ragged import Ragged
from ppldelta.text.windows import Batch, Window, completion_windows, cut_windows

SETTINGS = ResolvedSettings(
    windows="every", n_ctx=64, max_windows=None, n_ubatch=32, n_outputs_max=32, n_seq_max=1, n_gpu_layers=0, threads=1,
    align="tokens", kld=False, top_k=0, noise_floor=False, kind="auto", chat_template=False,
)  # fmt: skip


class Bytes:
    """A vocabulary whose tokens are bytes."""

    info = SimpleNamespace(add_bos=False, bos=None)

    def tokenize(self, documents: Sequence[Document], on_bytes: Callable[[int], object]) -> Ragged[np.int32]:
        return Ragged.of((np.frombuffer(each.text, np.uint8).astype(np.int32) for each in documents), np.int32)

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]:
        return [bytes([token]) for token in tokens.tolist()]


def rows(n: int) -> list[Document]:
    return [Document(f"x.jsonl:{i}", "", b"the %10d rows." % i, 8 if i % 2 else 0) for i in range(n)]


def read(documents: list[Document]) -> tuple[Tokenization, WindowKeys]:
    tokenization, warnings = tokenize(documents, Bytes(), SETTINGS)
    assert not warnings and corpus_hash(tokenization.documents)
    keys = Keys(SETTINGS, Bytes.info, native.build(), tokenization.batches).of("0" * 64)
    assert len(keys.first) == len(documents)
    return tokenization, keys


def peak_bytes(work: Callable[[], Any], n_done: Callable[[Any], int], n: int) -> int:
    tracemalloc.start()
    try:
        kept = work()
        assert n_done(kept) >= n, "what does nothing takes no memory"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def job(n: int) -> Job:
    """Two models with the same tokens, of which the reference gives whatever is asked for."""
    tokenization, keys = read(rows(n))

    def score_pairs(_: object, batches: Batches, *rest: object) -> Iterator[PairedShard]:
        for some in (batches[begin : begin + 500] for begin in range(0, len(batches), 500)):
            sizes, at = some.windows.targets.lengths[some.which].tolist(), some.at.tolist()
            logp, pairs = ([np.zeros(size, dtype) for size in sizes] for dtype in (np.float32, PAIR))
            shard = Shard(list(zip(at, logp, [0.0] * len(at), strict=True)), "CPU")
            yield PairedShard([shard, shard], [dict(zip(at, pairs, strict=True))], [None, None])

    def model(name: str) -> Participant:
        remote = SimpleNamespace(label=name, refuse_too_many_rows=lambda *_: None, score_pairs=score_pairs)
        known, info = (
            np.zeros(len(keys), np.bool_),
            SimpleNamespace(n_vocab=256, n_ctx_train=64, recurrent=False, **vars(Bytes.info)),
        )
        mine = WindowKeys(keys.digests, Key(name * 64, "", "rule", "engine"))
        return Participant(remote, name * 64, SETTINGS, tokenization, mine, known, info, True)

    return Job(SETTINGS, [model("a"), model("b")], native.build(), None, [], False)


def in_spans(work: Job) -> Callable[[], object]:
    """The records of a comparison that has two bytes in a token."""
    reference, documents = work.reference, work.reference.tokenization.texts
    twos = Ragged[np.int32].of((np.frombuffer(each.text, "<u2").astype(np.int32) for each in documents), np.int32)
    vocabulary = SimpleNamespace(
        info=Bytes.info,
        tokenize=lambda some, _: Ragged.of((np.frombuffer(each.text, "<u2").astype(np.int32) for each in some), "i4"),
        pieces=lambda tokens: [token.to_bytes(2, "little") for token in tokens.tolist()],
    )
    whole = as_tokenization(documents, twos, [0] * len(documents), vocabulary, SETTINGS).whole
    ref, cmp = (
        Evaluation(each, Bytes.info, np.zeros(each.tokenization.n_scored, np.float32), None, 0.0, {})
        for each in (reference, replace(work.models[1], tokenization=whole, shares=False))
    )
    return lambda: span_records(ref, cmp)


PARTS: dict[str, tuple[float, Callable[[int], Callable[[], Any]], Callable[[Any], int]]] = {
    "tokenized": (800, lambda n: partial(read, rows(n)), lambda made: len(made[1].first)),
    "lockstep": (1130, lambda n: partial(in_lockstep, job(n)), lambda made: int(made.pairs["b" * 64].known.sum())),
    "noise floor": (140, lambda n: partial(NoiseFloor, job(n)), lambda made: 10_000 * (made.n_fed > 0)),
    "in spans": (960, lambda n: in_spans(job(n)), len),
}
"""Most bytes for each row at any time, without its text, what takes them, and how much it did: half as much again as
was measured (537, 751, 91 and 643: bench/README.md, 2026-11-29)."""


@pytest.mark.parametrize("part", PARTS)
def test_a_row_takes_little_memory(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At two sizes, so that what does not grow with them does not count, as what is done at a time does not."""
    monkeypatch.setattr(ragged, "_CHUNK", 256)
    monkeypatch.setattr(run_tokenization, "_TOGETHER", 256)
    most, begin, n_done = PARTS[part]
    begin(10)()
    few, many = 1_000, 3_000
    assert (peak_bytes(begin(many), n_done, many) - peak_bytes(begin(few), n_done, few)) / (many - few) < most


def test_it_is_shown_how_many_windows_are_cut_and_hashed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress._Lines, "_pause_s", 0.0)
    tokenization, _ = tokenize(rows(1500), Bytes(), SETTINGS, True)
    Keys(SETTINGS, Bytes.info, native.build(), tokenization.batches, True)
    shown = [said.partition(",")[0] for said in capsys.readouterr().err.splitlines()]
    assert shown == ["cutting windows: 66 % of 1.50k documents", "hashing windows: 66 % of 1.50k windows"]


def windows_of(document: Window | Sequence[Window]) -> list[tuple[object, ...]]:
    """What windows hold."""
    some = [document] if isinstance(document, Window) else document
    return [(w.tokens.tolist(), w.first_output, w.targets.tolist(), w.pos.tolist(), w.prefix) for w in some]


@pytest.fixture
def documents() -> list[tuple[str, list[Window]]]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(40):
        tokens = rng.integers(0, 3, rng.integers(4, 150)).astype(np.int32)
        windows = cut_windows(tokens, rule="every", n_ctx=32, bos=None)
        if i % 2:
            tokens[:10] = i % 3
            windows = completion_windows(tokens, n_prompt=min(10, len(tokens) - 1), n_ctx=32, bos=None)
        found.append((f"{i}", windows))
    return found


@pytest.mark.parametrize("n_seq_max", [1, 3])
def test_what_lies_in_arrays_is_what_was_put_there(documents: list[tuple[str, list[Window]]], n_seq_max: int) -> None:
    several = [(name, window) for name, windows in documents for window in windows]
    windows = Windows.of(documents)
    assert windows_of(list(windows)) == windows_of([window for _, window in several])
    assert [windows.name_of(i) for i in range(len(windows))] == [name for name, _ in several]
    assert windows_of(windows[3:9]) == windows_of([window for _, window in several[3:9]])
    batches = make_batches(windows, n_seq_max=n_seq_max, n_ctx=32)
    one_by_one = list(batches)
    assert batches.n_fed.tolist() == [batch.n_fed for batch in one_by_one]
    assert batches.n_scored.tolist() == [batch.n_scored for batch in one_by_one]
    assert batches.names == [batch.document for batch in one_by_one]
    assert any(batch.shared for batch in one_by_one) and any(len(batch.at) > 1 for batch in one_by_one)
    for some in (batches[5:12], Batches.of(one_by_one[5:12])):
        assert [held(batch) for batch in some] == [held(batch) for batch in one_by_one[5:12]]
    assert len(batches[5:12].windows) < len(windows) and len(batches[7:7]) == 0
    parts = [part for batch in one_by_one for part in batch.split(5)]
    assert [held(batch) for batch in batches.split(5)] == [held(part) for part in parts]
    assert len(batches.only(np.empty(0, np.int64))) == 0
    flash = [batch for batch in one_by_one if batch.windows[0].flash]
    expected = flash + [batch for batch in one_by_one if not batch.windows[0].flash]
    assert [held(batch) for batch in batches.by_context()] == [held(batch) for batch in expected]
    assert 0 < len(flash) < len(batches) and Batches.of(flash).by_context().at.tolist() == Batches.of(flash).at.tolist()


def held(batch: Batch) -> tuple[object, ...]:
    return batch.document, batch.at, windows_of(batch.windows)


def test_a_row_is_filed_under_the_key_that_it_always_had() -> None:
    """sha256 over the prefix below zero, the first scored row, tokens and targets, so that old stores go on."""
    window = Window(np.array([5, 6, 7, 8], np.int32), 2, np.array([8, 9], np.int32), np.array([3, 4], np.uint32), 1)
    for each, head in ((window, [-1, 2]), (Window(window.tokens, 2, window.targets, window.pos), [2])):
        batches = make_batches(Windows.of([("a", [each])]), n_seq_max=1, n_ctx=8)
        (key,) = Keys(SETTINGS, Bytes.info, native.build(), batches).of("0" * 64)
        expected = np.array([*head, 5, 6, 7, 8, 8, 9], "<i4").tobytes()
        assert key.window == hashlib.sha256(expected).hexdigest()


def test_sets_of_windows_hold_what_was_put_into_them() -> None:
    """Zeros at the end of a digest are part of it."""
    rng = np.random.default_rng(0)
    digests = [rng.bytes(30) + bytes([i % 3, 0]) for i in range(12_000)]
    there = Digests(unpacked(b"".join(digests[:50])))
    for begin, end in ((50, 60), (60, 11_900)):
        assert not there.has(unpacked(b"".join(digests[begin:end]))).any()
        there.add(unpacked(b"".join(digests[begin:end])))
        assert there.has(unpacked(b"".join(digests[:end]))).all()
    assert not there.has(unpacked(b"".join(digests[11_900:]))).any()
    keys = WindowKeys.of(b"".join([*digests[:4], digests[1]]), Key("1" * 64, "", "rule", "engine"))
    assert [key.window for key in keys] == [each.hex() for each in [*digests[:4], digests[1]]]
    assert keys.first.tolist() == [0, 1, 2, 3, 1]


def test_equal_windows_have_the_values_of_the_first() -> None:
    starts, first = np.array([0, 2, 3, 5]), np.array([0, 1, 0])
    values, other = (Values[np.float32](starts, first, np.float32) for _ in range(2))
    values.put(np.array([2]), Ragged(np.array([1, 2], np.float32), np.array([0, 2])), "CPU")
    assert values.known.tolist() == [True, False, True]
    other.put(np.arange(2), Ragged(np.array([4, 4, 3], np.float32), np.array([0, 2, 3])), "GPU")
    values.put_known(other)
    assert [each.tolist() for each in values.at(np.array([2, 1]))] == [[1, 2], [3]]
    assert values.of_all.tolist() == [1, 2, 3, 1, 2] and values.kernels == {"CPU": 2, "GPU": 1}
