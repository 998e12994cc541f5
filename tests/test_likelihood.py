"""`ppldelta.loglikelihood`: tokens as lm-evaluation-harness makes them, numbers, store, errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ppldelta
from helpers import encoders, tiny_models
from ppldelta import demo
from ppldelta.engine import shards, worker
from ppldelta.engine.native import Model, ModelInfo, Scorer
from ppldelta.engine.remote import RemoteModel
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.likelihood.encoding import Encoded, Part, encode, front_token
from ppldelta.schema import LIKELIHOODS
from ppldelta.store.store import Store
from ppldelta.text.windows import Window

PAIRS: list[tuple[Part, Part]] = [
    ("The capital of the country is", " a small town by the sea"),
    ("The capital of the country is", " x"),
    ("", "Once upon a time"),
    ("def f(x): ", "return x"),
    ("The capital of the country is", " a small town by the sea"),
]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(demo.REFERENCE, n_gpu_layers=0)


# --- tokens -----------------------------------------------------------------------------------------------------------


def by_hand(model: Model, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """`TemplateLM._encode_pair` and what `loglikelihood` does around it, for a vocabulary that adds BOS."""
    bos = model.info.bos

    def tok_encode(text: str, add_bos: bool = True) -> list[int]:
        return [bos] * add_bos + model.tokenize(text.encode()).tolist()

    if context == "":
        return [bos], tok_encode(continuation, add_bos=False)
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    whole, own = tok_encode(context + continuation), tok_encode(context)
    return own, whole[len(own) :]


TEXTS = [
    ("The capital is", " Paris"),
    ("The capital is ", "Paris"),
    ("Two lines\n\n", "and more"),
    ("Half a wor", "d goes on"),
    ("", "From nothing"),
    ("Grüße aus", " Köln – 東京"),
    ("  leading", "  spaces "),
]


@pytest.mark.parametrize(("context", "continuation"), TEXTS)
def test_texts_become_tokens_as_the_harness_makes_them(model: Model, context: str, continuation: str) -> None:
    [mine] = encode([(context, continuation)], lambda texts: [model.tokenize(each) for each in texts], model.info)
    before, after = by_hand(model, context, continuation)
    assert mine.tokens.tolist() == before + after and mine.n_context == len(before)


def encoded(pairs: Sequence[object], info: ModelInfo, front: int | None = None) -> list[Encoded]:
    """With the bytes of a text as its tokens."""

    def tokenize(texts: Sequence[bytes]) -> list[NDArray[np.int32]]:
        assert len(set(texts)) == len(texts), "each text once"
        return [np.frombuffer(text, np.uint8).astype(np.int32) for text in texts]

    return encode(pairs, tokenize, info, front)  # type: ignore[arg-type]


def test_what_stands_in_for_an_empty_context(model: Model) -> None:
    info = replace(model.info, bos=3, eos=4, add_bos=False)
    assert [each.tokens.tolist() for each in encoded([("", "a"), (" ", "b")], info)] == [[3, 97], [3, 32, 98]]
    assert encoded([("", "a")], replace(info, bos=None))[0].tokens.tolist() == [4, 97]
    assert encoded([("", "a")], info, 9)[0].tokens.tolist() == [9, 97]
    [given] = encoded([([], [3, 5])], info)
    assert given.tokens.tolist() == [3, 5] and given.n_context == 1  # it begins with BOS already
    assert encoded([("a", "b")], info)[0].tokens.tolist() == [97, 98]  # no BOS that the vocabulary does not add
    assert encoded([([], [7])], info)[0].tokens.tolist() == [3, 7]
    assert front_token(replace(info, bos=None, eos=None)) is None
    with pytest.raises(PpldeltaError, match="request 1 has no context"):
        encoded([("a", "b"), ("", "c")], replace(info, bos=None, eos=None))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("ab", "request 0 is no pair of context and continuation, but 'ab'"),
        (("a", "b", "c"), "request 0 is no pair"),
        (("a", ""), "request 0 has an empty continuation"),
        (("a", "\ud800"), "request 0 holds half of a surrogate pair"),
        (("a", [1]), "request 0 mixes text and tokens"),
        (([1], []), "request 0 has no token of its own in its continuation"),
        (([1], [4000]), "request 0 holds a token outside the vocabulary of 3,840"),
        (([1], [-1]), "request 0 holds a token outside"),
        (([1], [0.5]), r"request 0 holds \[0.5\] \(list\), which is neither text nor a row of tokens"),
        ((None, "b"), r"request 0 holds None \(NoneType\), which is neither text nor a row of tokens"),
        ((None, [1]), r"request 0 holds None \(NoneType\), which is neither"),
    ],
)
def test_what_is_no_request_is_named(model: Model, pair: object, message: str) -> None:
    with pytest.raises(PpldeltaError, match=message):
        encoded([pair], model.info)


@pytest.mark.parametrize("token", [10**9, 3840, -1, "a", True])
def test_a_token_in_front_is_one_of_the_vocabulary(model: Model, token: object) -> None:
    with pytest.raises(PpldeltaError, match="must be a token of the vocabulary, 0 to 3,839, got ") as error:
        encoded([("", "b")], model.info, token)  # type: ignore[arg-type]
    assert error.value.hint


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_frame_says_what_a_scorer_says(model: Model) -> None:
    found = ppldelta.loglikelihood(demo.REFERENCE, PAIRS, n_ctx=512, store=None, progress=False)
    assert dict(found.frame.schema) == LIKELIHOODS and found.frame.height == len(found) == len(PAIRS)
    scorer = Scorer(model, n_ctx=512, n_ubatch=256, threads=2, n_outputs_max=128)
    for pair, row, (logp, is_greedy) in zip(PAIRS, found.frame.iter_rows(named=True), found, strict=True):
        before, after = by_hand(model, str(pair[0]), str(pair[1]))
        fed = np.array((before + after)[:-1], np.int32)
        targets, first = np.array(after, np.int32), len(before) - 1
        window = Window(
            fed, first, targets, np.arange(len(after), dtype=np.uint32), first - 1 if first > 2 else 0, flash=False
        )
        [values], [best] = scorer.describe([window])
        assert row["tokens"] == after and row["n_tokens"] == len(after) and row["n_context"] == len(before)
        assert row["token_logp"] == values.tolist() and row["top_tokens"] == best["top"].tolist()
        assert row["top_logp"] == best["logp_top"].tolist() and row["n_dropped"] == 0
        assert logp == row["logp"] == pytest.approx(values.sum(dtype=float))
        assert is_greedy == (best["top"].tolist() == after)
    assert found[0] == found[4] == next(iter(found))
    assert "Loglikelihood of 5 continuations under tiny-ref.Q8_0" in repr(found)


def test_no_requests_and_another_token_in_front() -> None:
    assert list(ppldelta.loglikelihood(demo.REFERENCE, [], progress=False)) == []
    pairs: list[tuple[Part, Part]] = [("", "a")]
    other = ppldelta.loglikelihood(demo.REFERENCE, pairs, prefix_token_id=1, progress=False)
    assert other[0] == ppldelta.loglikelihood(demo.REFERENCE, [([1], other.frame["tokens"][0])], progress=False)[0]


def test_greedy_is_what_greedy_decoding_gives() -> None:
    context = [0, 100, 200, 300]
    for _ in range(4):
        found = ppldelta.loglikelihood(demo.REFERENCE, [(context, [1])], store=None, progress=False)
        context.append(found.frame["top_tokens"][0][0])
    pairs = [(context[:4], context[4:]), (context[:4], [*context[4:7], (context[7] + 1) % 3840])]
    assert [greedy for _, greedy in ppldelta.loglikelihood(demo.REFERENCE, pairs, progress=False)] == [True, False]


def test_what_is_too_long_loses_its_beginning_with_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    context, continuation = list(range(100, 200)), [5, 6, 7]
    pairs = [(context, continuation), (context[-10:], continuation), ([1], list(range(90)))]
    found = ppldelta.loglikelihood(demo.REFERENCE, pairs, n_ctx=32, store=None)
    assert found.frame["n_context"].to_list() == [30, 10, 1] and found.frame["n_dropped"].to_list() == [70, 0, 0]
    assert found.frame["n_tokens"].to_list() == [3, 3, 90] and found.frame["token_logp"].list.len().to_list()[2] == 90
    assert found.warnings == ["1 context lost the beginning, up to 70 tokens: a window holds 32 (`n_ctx`)."]
    assert found.warnings[0] in capfd.readouterr().err
    short = ppldelta.loglikelihood(demo.REFERENCE, [(context[70:], continuation)], n_ctx=32, store=None, progress=False)
    assert short[0] == found[0]


def test_windows_beyond_training_are_warned_of_and_nothing_else_is_printed() -> None:
    """The process sets up no logging, so that Python itself would print logged warnings on stderr."""
    script = (
        "import ppldelta; from ppldelta import demo\n"
        "found = ppldelta.loglikelihood(demo.REFERENCE, [([5] * 2048, [6] * n) for n in {of_each}], n_ctx=2100,"
        " store=None, progress=False)\n"
        "print(found.warnings)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script.format(of_each=of_each)], capture_output=True, text=True, timeout=120
        )
        for of_each in ([1], [1, 2])
    ]
    assert [(each.returncode, each.stderr) for each in said] == [(0, "")] * 2
    assert said[0].stdout == "[]\n"
    assert "Windows of up to 2,049 tokens, but `tiny-ref.Q8_0` was trained on contexts of 2048" in said[1].stdout


def test_special_tokens_count_if_that_is_asked_for(model: Model) -> None:
    name = model.pieces(np.array([1], np.int32))[0].decode()
    found = [
        ppldelta.loglikelihood(demo.REFERENCE, [("a", name)], special=special, progress=False).frame["tokens"][0]
        for special in (False, True)
    ]
    assert found[1].to_list() == [1] and len(found[0]) > 1


# --- the store --------------------------------------------------------------------------------------------------------


def test_nothing_is_evaluated_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kept.sqlite"
    first = ppldelta.loglikelihood(demo.REFERENCE, PAIRS[:2], store=file, progress=False)
    calls: list[int] = []
    monkeypatch.setattr(RemoteModel, "score", _counted(calls))
    again = ppldelta.loglikelihood(demo.REFERENCE, PAIRS[:2], store=file, progress=False)
    assert calls == [0] and again.frame.equals(first.frame)
    more = ppldelta.loglikelihood(demo.REFERENCE, PAIRS, store=file, progress=False)
    assert calls == [0, 2] and more.frame[:2].equals(first.frame)  # of five, two are stored, and one is there twice
    alone = ppldelta.loglikelihood(demo.REFERENCE, PAIRS, store=None, progress=False)
    assert alone.frame.equals(more.frame)


def _counted(calls: list[int]):  # type: ignore[no-untyped-def]
    score = RemoteModel.score

    def counted(self: RemoteModel, batches, *arguments, **named):  # type: ignore[no-untyped-def]
        calls.append(sum(len(batch.windows) for batch in batches))
        return score(self, batches, *arguments, **named)

    return counted


def test_what_was_done_when_a_worker_died_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr("ppldelta.engine.remote.shards", lambda sizes, most: shards.shards(sizes, lambda: 1))
    pairs: list[tuple[Part, Part]] = [([0, i, i + 1, i + 2], [7, 8]) for i in range(1, 9)]
    file = tmp_path / "kept.sqlite"

    def stop(store: Store, rows: list[object]) -> None:
        put(store, rows)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    put = Store.put_many
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Store, "put_many", stop)
        ppldelta.loglikelihood(demo.REFERENCE, pairs, store=file, progress=False)
    calls: list[int] = []
    monkeypatch.setattr(RemoteModel, "score", _counted(calls))
    found = ppldelta.loglikelihood(demo.REFERENCE, pairs, store=file, progress=False)
    assert calls == [7]
    assert found.frame.equals(ppldelta.loglikelihood(demo.REFERENCE, pairs, store=None, progress=False).frame)


def test_what_is_stored_for_score_stays_as_it_is(tmp_path: Path) -> None:
    """The best tokens are values of their own: a text that `score` has evaluated keeps its log-probabilities."""
    file = tmp_path / "kept.sqlite"
    size = {"n_ctx": 128, "windows": "every", "store": file, "progress": False}
    before = ppldelta.score({"a.txt": "One two three four five."}, demo.REFERENCE, demo.COMPARISONS[0], **size)
    ppldelta.loglikelihood(demo.REFERENCE, PAIRS, n_ctx=128, store=file, progress=False)
    after = ppldelta.score({"a.txt": "One two three four five."}, demo.REFERENCE, demo.COMPARISONS[0], **size)
    assert after.tokens.equals(before.tokens)


@pytest.mark.parametrize("bos", [True, False])
def test_a_continuation_is_what_it_adds_to_its_context(model: Model, bos: bool) -> None:
    """Also where the vocabulary adds no BOS, since the first token is the context of both sides."""
    text = (demo.CORPUS / "prose" / "a_history_of_nether_wick.txt").read_bytes()
    tokens = np.concatenate([[model.info.bos][:bos], model.tokenize(text)[:319]]).astype(int)
    for n in (40, 300):
        pairs: list[tuple[Part, Part]] = [(tokens[:n], tokens[n:]), (tokens[:1], tokens[1:]), (tokens[:1], tokens[1:n])]
        found = ppldelta.loglikelihood(demo.REFERENCE, pairs, store=None, progress=False)
        mine, both, context = (logp for logp, _ in found)
        assert abs(mine - (both - context)) <= 1e-4 * (len(tokens) - n)


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_that_do_not_read_from_left_to_right_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no"):
        ppldelta.loglikelihood(tmp_path / "none.gguf", PAIRS)
    encoder = encoders.write(tmp_path / "encoder.gguf", "bert")
    with pytest.raises(ModelError, match="`encoder` does not read from left to right"):
        ppldelta.loglikelihood(encoder, PAIRS)


def test_a_recurrent_model_answers_the_same_alone_and_in_a_group(tmp_path: Path) -> None:
    for architecture in ("mamba", "gemma2"):
        path = tiny_models.write(tmp_path / f"{architecture}.gguf", architecture)
        pairs: list[tuple[Part, Part]] = [(list(range(1, 90)), [i, 5, 6]) for i in range(10, 14)]
        together = ppldelta.loglikelihood(path, pairs, store=None, progress=False)
        alone = [ppldelta.loglikelihood(path, [pair], store=None, progress=False)[0] for pair in pairs]
        assert alone == list(together)


def test_a_worker_of_an_executor_answers_too() -> None:
    with ThreadPoolExecutor(1) as executor:
        found = ppldelta.loglikelihood(demo.REFERENCE, PAIRS, store=None, executor=executor, progress=False)
    worker._shelf._kept.clear()
    assert found.frame.equals(ppldelta.loglikelihood(demo.REFERENCE, PAIRS, store=None, progress=False).frame)
