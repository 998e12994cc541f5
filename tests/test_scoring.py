"""The main job: what comes out, what is left out and said, and what is refused before time is spent."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import tiny_models
from ppldelta import demo, schema
from ppldelta.engine import native, remote, worker
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.remote import RemoteModel
from ppldelta.store.pruning import summary
from ppldelta.store.store import Store
from ppldelta.text.windows import Batch

QUIET = {"ref": demo.REFERENCE, "progress": False}
TEXT = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
LONG = "\n".join(path.read_text() for path in sorted(demo.CORPUS.glob("prose/*.txt"))) * 5


def test_frames_have_the_documented_columns(demo_result: ppldelta.Result) -> None:
    for name, columns in (
        ("tokens", schema.TOKENS),
        ("documents", schema.DOCUMENTS),
        ("models", schema.MODELS),
        ("pieces", schema.PIECES),
        ("texts", schema.TEXTS),
    ):
        assert dict(getattr(demo_result, name).schema) == columns


def test_every_document_meets_every_model(demo_result: ppldelta.Result) -> None:
    documents = demo_result.documents
    assert documents["category"].unique().sort().to_list() == ["code", "multilingual", "prose"]
    assert documents.group_by("model").len()["len"].to_list() == [36, 36, 36]
    assert documents["n_scored"].sum() == len(demo_result.tokens)
    assert demo_result.warnings == []


def test_texts_hold_every_token_of_every_document(demo_result: ppldelta.Result) -> None:
    pieces = dict(demo_result.pieces.select("token", "piece").iter_rows())
    assert demo_result.texts["document"].to_list() == demo_result.documents["document"].unique().sort().to_list()
    for _, document, tokens in demo_result.texts.iter_rows():
        assert b"".join(pieces[token] for token in tokens) == (demo.CORPUS / document).read_bytes(), document
        scored = demo_result.tokens.filter(pl.col("document").cast(pl.String) == document)
        assert np.array_equal(np.array(tokens)[scored["pos"]], scored["token"])


def test_numbers_do_not_depend_on_the_documents_around(demo_result: ppldelta.Result) -> None:
    alone = ppldelta.score({"prose/mudflats_in_november.txt": TEXT}, cmp=demo.COMPARISONS[0], **QUIET)
    name = demo.COMPARISONS[0].name.removesuffix(".gguf")
    within = demo_result.tokens.filter(
        pl.col("document").cast(pl.String) == "prose/mudflats_in_november.txt", pl.col("model").cast(pl.String) == name
    )
    assert alone.tokens.drop("family", "model", "document").equals(within.drop("family", "model", "document"))


class Elsewhere(ThreadPoolExecutor):
    """An executor of which every second shard seems to come from a machine with other kernels."""

    KERNELS = "CPU[AVX2,FMA]"

    def submit(self, task: Callable[..., worker.Reply], /, *arguments: object) -> Future[worker.Reply]:
        return super().submit(self._run, task, *arguments)

    def _run(self, task: Callable[..., worker.Reply], *arguments: object) -> worker.Reply:
        reply = task(*arguments)
        if isinstance(reply.value, worker.Scored):
            self.n_shards = getattr(self, "n_shards", 0) + 1
            if self.n_shards % 2 == 0:
                return replace(reply, value=replace(reply.value, kernels=self.KERNELS))
        return reply


def test_windows_of_other_kernels_are_named_and_stored_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_SHARD_S", 0.0)  # a shard for each window
    path = tmp_path / "mixed.sqlite"
    with Elsewhere(1) as executor:
        mixed = ppldelta.score(
            demo.CORPUS / "prose", cmp=demo.COMPARISONS[0], n_ctx=512, store=path, executor=executor, **QUIET
        )
        n_shards = executor.n_shards
    here = native.build().kernels
    (family,) = mixed.families
    (warning,) = mixed.warnings
    assert here in warning and Elsewhere.KERNELS in warning
    assert family.signature["kernels"] == here
    n_windows = n_shards // 2
    assert f"of {n_windows} windows of `tiny-code.Q8_0` by {Elsewhere.KERNELS}" in warning
    for each in (family.ref, *family.cmp):
        assert set(each.kernels) == {here, Elsewhere.KERNELS}

    with Store(path) as store:
        engines = {text: n for text, n in engines_of(store).items()}
    assert {text.partition("|kernels:")[2]: n for text, n in engines.items()} == {
        here: n_shards - n_shards // 2, Elsewhere.KERNELS: n_shards // 2,
    }  # fmt: skip
    with Elsewhere(1) as executor:
        executor.n_shards = 10**9 + 1  # odd: the next one comes from elsewhere
        ppldelta.score(
            demo.CORPUS / "prose", cmp=demo.COMPARISONS[0], n_ctx=512, store=path, executor=executor, **QUIET
        )
        assert executor.n_shards - 10**9 - 1 == n_shards // 2, "those of other kernels are evaluated again"
    whole = ppldelta.score(demo.CORPUS / "prose", cmp=demo.COMPARISONS[0], n_ctx=512, store=path, **QUIET)
    assert whole.tokens.equals(mixed.tokens)  # in truth the same kernels


def test_one_kind_of_kernels_needs_no_warning(demo_result: ppldelta.Result) -> None:
    (family,) = demo_result.families
    assert [each.kernels for each in (family.ref, *family.cmp)] == [(native.build().kernels,)] * 4


def engines_of(store: Store) -> dict[str, int]:
    """Number of windows in the store by `Key.engine`."""
    rows = store.database.connection.execute(
        "SELECT engine, sum(length(windows) / 32) FROM shards JOIN passes ON passes.id = pass GROUP BY engine"
    )
    return {engine.decode(): n for engine, n in rows}


@pytest.mark.parametrize(("rule", "n_scored"), [("every", 64), ("perplexity", 64 - 1 - 32)])
def test_max_windows_limits_each_document(rule: str, n_scored: int) -> None:
    one = ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], windows=rule, n_ctx=64, max_windows=1, **QUIET)
    assert len(one.tokens) == n_scored


def test_bytes_are_those_of_the_scored_tokens(demo_result: ppldelta.Result) -> None:
    every = ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], **QUIET)
    assert every.documents["n_bytes"][0] == len(TEXT.encode())


def test_short_and_unreadable_documents_are_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(TEXT)
    (tmp_path / "short.txt").write_text("a")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    result = ppldelta.score(tmp_path, cmp=demo.COMPARISONS[0], windows="perplexity", **QUIET)
    assert result.documents["document"].to_list() == ["long.txt"]
    for name in ("short.txt", "empty.txt", "binary.txt"):
        assert any(f"`{name}`" in warning for warning in result.warnings), name
    every = ppldelta.score(tmp_path, cmp=demo.COMPARISONS[0], **QUIET)
    assert every.documents["document"].to_list() == ["long.txt", "short.txt"], "by default one token is enough"
    for name in ("empty.txt", "binary.txt"):
        assert any(f"`{name}`" in warning for warning in every.warnings), name


def test_nothing_long_enough_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ppldelta.CorpusError, match="`tiny`") as caught:
        ppldelta.score({"tiny": "a"}, cmp=demo.COMPARISONS[0], windows="perplexity", **QUIET)
    assert "`windows='every'` scores the shortest texts" in caught.value.hint
    no_bos = tiny_models.write(tmp_path / "no_bos.gguf", "llama")
    with pytest.raises(ppldelta.CorpusError, match="`tiny`") as caught:
        ppldelta.score({"tiny": "a"}, no_bos, no_bos, progress=False)
    assert caught.value.hint == "a document needs at least two tokens, or one if the vocabulary adds a BOS"


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("store", 5, "`store` must be a path, True, or None"),
        ("files", None, "there is no corpus, and `.*` is a model"),
        ("files", {}, "no document in the mapping\nhint: a mapping holds a text for each name"),
        ("files", [], "no document in the paths given\nhint: give a folder"),
        ("ref", 3, r"a model must be the path of a GGUF file or a name on the hub, got 3 \(int\)"),
        ("ref", "", "a model must be the path of a GGUF file"),
        ("cmp", None, "`cmp` must name models, got None"),
        ("cmp", [], "`cmp` is an empty list"),
        ("cmp", {}, "`cmp` is an empty mapping"),
        ("cmp", [None], "a model must be the path of a GGUF file or a name on the hub, got None"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(argument: str, value: object, message: str) -> None:
    arguments = {"files": {"a": TEXT}, "cmp": demo.COMPARISONS[0], **QUIET, argument: value}
    with pytest.raises(ppldelta.PpldeltaError, match=message):
        ppldelta.score(**arguments)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(ppldelta.CorpusError, match="put UTF-8 texts into the folder"):
        ppldelta.score(tmp_path / "corpus", cmp=demo.COMPARISONS[0], **QUIET)


def test_windows_beyond_the_training_context_are_said(tmp_path: Path) -> None:
    """A warning where a window really is longer than what a model was trained on; n_ctx alone is none."""
    assert ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], n_ctx=100_000, **QUIET).warnings == []
    short = _with_metadata(demo.REFERENCE, tmp_path / "short.gguf", b"llama.context_length", 2048, 64)
    warnings = ppldelta.score({"a": TEXT}, cmp=short, **QUIET).warnings
    assert len(warnings) == 1
    assert "`short` was trained on contexts of 64" in warnings[0]


def test_a_truncated_model_is_refused_before_anything_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(demo.REFERENCE.read_bytes()[:20_000])
    with pytest.raises(ppldelta.ModelError, match=r"half\.gguf") as caught:
        ppldelta.score({"a": TEXT}, cmp=path, **QUIET)
    assert "truncated" in caught.value.hint


def _gguf_string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _with_replaced(source: Path, path: Path, old: bytes, new: bytes) -> Path:
    """A copy of a GGUF in which one string of the metadata or vocabulary is another one of the same length."""
    assert len(old) == len(new)
    data = source.read_bytes()
    at = data.index(_gguf_string(old))
    path.write_bytes(data[: at + 8] + new + data[at + 8 + len(old) :])
    return path


def test_an_architecture_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    path = _with_replaced(demo.REFERENCE, tmp_path / "alien.gguf", b"llama", b"alien")
    with pytest.raises(ppldelta.ModelError, match="unknown model architecture") as caught:
        ppldelta.score({"a": TEXT}, cmp=path, **QUIET)
    assert "alien" in caught.value.message


def test_other_tokens_are_refused_and_the_first_difference_named(tmp_path: Path) -> None:
    """Swaps two vocabulary entries, so that the same text gets other token numbers."""
    data = demo.REFERENCE.read_bytes()
    a, b = (_gguf_string(token) for token in ("Ġthe".encode(), "Ġand".encode()))
    i, j = sorted((data.index(a), data.index(b)))
    first, second = data[i : i + len(a)], data[j : j + len(b)]
    path = tmp_path / "swapped.gguf"
    path.write_bytes(data[:i] + second + data[i + len(a) : j] + first + data[j + len(b) :])
    with pytest.raises(ppldelta.TokenizerMismatchError, match="differ from token 1 on") as caught:
        ppldelta.score({"prose/a.txt": "and" + " the" * 30}, cmp=[demo.COMPARISONS[0], path], **QUIET)
    assert "swapped" in caught.value.message
    assert "' the'" in caught.value.message
    assert "prose/a.txt" in caught.value.message


def _with_metadata(source: Path, path: Path, key: bytes, old: int, new: int) -> Path:
    """A copy of a GGUF with another value of an integer (u32) or a boolean (one byte) of its metadata."""
    data = source.read_bytes()
    at = data.index(_gguf_string(key)) + 8 + len(key)
    kind = int.from_bytes(data[at : at + 4], "little")
    form = {4: "<I", 7: "<B"}[kind]
    assert struct.unpack_from(form, data, at + 4)[0] == old
    path.write_bytes(data[: at + 4] + struct.pack(form, new) + data[at + 4 + struct.calcsize(form) :])
    return path


def test_a_vocabulary_that_adds_eos_is_refused(tmp_path: Path) -> None:
    path = _with_metadata(demo.REFERENCE, tmp_path / "eos.gguf", b"tokenizer.ggml.add_eos_token", 0, 1)
    refused_alone_and_left_out_beside_others(path, "`eos` adds an end-of-text token")


def test_a_model_that_does_not_read_from_left_to_right_is_refused(tmp_path: Path) -> None:
    """The demo's weights under the name of a diffusion model, which llama.cpp evaluates in both directions."""
    data = demo.REFERENCE.read_bytes().replace(b"llama.", b"llada.")
    path = tmp_path / "diffusion.gguf"
    path.write_bytes(data.replace(_gguf_string(b"llama"), _gguf_string(b"llada"), 1))
    refused_alone_and_left_out_beside_others(path, "`diffusion` does not read from left to right")


def refused_alone_and_left_out_beside_others(path: Path, why: str) -> None:
    """As a reference and as the only comparison it ends the run; beside others it does not, whatever is stored."""
    good = demo.COMPARISONS[0]
    with pytest.raises(ppldelta.ModelError, match=why):
        ppldelta.score({"a": TEXT}, cmp=path, **QUIET)
    with pytest.raises(ppldelta.ModelError, match=why):
        ppldelta.score({"a": TEXT}, path, demo.REFERENCE, progress=False)
    for _ in range(2):
        result = ppldelta.score({"a": TEXT}, cmp=[path, good], **QUIET)
        (warning,) = result.warnings
        assert why in warning
        assert "; this model is left out (hint: " in warning
        assert result.tokens.equals(ppldelta.score({"a": TEXT}, cmp=good, **QUIET).tokens)
    planned = ppldelta.plan({"a": TEXT}, cmp=[path, good], **QUIET)
    assert [model.label for model in planned.models] == ["tiny-ref.Q8_0", "tiny-code.Q8_0"]
    assert planned.warnings == result.warnings


def test_another_rule_for_bos_is_said(tmp_path: Path) -> None:
    path = _with_metadata(demo.REFERENCE, tmp_path / "bare.gguf", b"tokenizer.ggml.add_bos_token", 1, 0)
    result = ppldelta.score({"a": TEXT}, cmp=path, **QUIET)
    assert any("`bare` has another rule for the beginning-of-text token" in warning for warning in result.warnings)
    assert (result.tokens["delta"] == 0).all()


def test_a_name_that_is_not_utf8_is_shown_all_the_same(tmp_path: Path) -> None:
    path = _with_replaced(demo.REFERENCE, tmp_path / "m.gguf", b"tiny-ref", b"\xff\xfe-refs!")
    path = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf"))
    result = ppldelta.score({"a": TEXT}, cmp=path, **QUIET)
    assert result.models["model"][0] == r"caf\xe9"
    assert result.report(tmp_path / "r.html").exists()


def test_a_context_that_cannot_be_made_says_why() -> None:
    model = Model(demo.REFERENCE)
    with pytest.raises(ppldelta.ModelError, match="cannot make a context") as caught:
        Scorer(model, n_ctx=2**31 - 1, n_ubatch=512, threads=1)
    assert "n_ctx_train" not in caught.value.message


def _with_nan_weights(source: Path, path: Path) -> Path:
    """A copy of a GGUF whose last bytes, the data of its last tensor, are all ones: NaN in every float format."""
    data = bytearray(source.read_bytes())
    data[-4096:] = b"\xff" * 4096
    path.write_bytes(bytes(data))
    return path


def test_a_model_with_nan_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    path = _with_nan_weights(demo.REFERENCE, tmp_path / "broken.gguf")
    result = ppldelta.score({"a": TEXT}, cmp=[path, demo.COMPARISONS[0]], **QUIET)
    assert result.models["model"].unique().to_list() == [demo.COMPARISONS[0].name.removesuffix(".gguf")]
    n = result.documents["n_scored"][0]
    assert result.warnings == [
        f"`broken` gives log-probabilities that are not finite ({n} of {n} tokens in a window of `a`); "
        "this model is left out "
        "(hint: the weights hold NaN or overflow in this quantisation; try another file of the model)."
    ]
    with pytest.raises(ppldelta.ModelError, match="not finite"):
        ppldelta.score({"a": TEXT}, cmp=path, **QUIET)


def test_the_reference_may_share_a_comparison_s_name() -> None:
    result = ppldelta.score({"a": TEXT}, cmp={"tiny-ref.Q8_0": demo.COMPARISONS[0]}, **QUIET)
    assert result.models["model"].unique().to_list() == ["tiny-ref.Q8_0"]
    assert result.families[0].name == "models/tiny-ref.Q8_0"


def test_the_code_finetune_does_what_it_should(demo_result: ppldelta.Result) -> None:
    """What the README says of the demo: gains on code, loses elsewhere; the quantised copy mostly loses."""
    by = {
        (row["model"], row["category"]): row
        for row in demo_result.models.filter(pl.col("weighting") == "tokens").iter_rows(named=True)
    }
    assert by["tiny-code.Q8_0", "code"]["delta_low"] > 0
    assert by["tiny-code.Q8_0", "prose"]["delta_high"] < 0
    assert by["tiny-code.Q8_0", "multilingual"]["delta_high"] < 0
    assert by["tiny-multilingual.Q8_0", "multilingual"]["delta_low"] > 0
    quantised = by["tiny-ref.Q2_K", None]
    assert quantised["loss"] > 1.5 * quantised["gain"]
    assert np.isfinite(demo_result.documents["gain"].to_numpy()).all()


def test_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    """The second run takes the reference, and windows seen before, from the store, bit for bit."""
    store = tmp_path / "s.sqlite"
    other = (demo.CORPUS / "code" / "token_bucket.py").read_text()
    first = ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], store=store, **QUIET)
    again = ppldelta.score({"a": TEXT, "b": other}, cmp=demo.COMPARISONS[:2], store=store, **QUIET)
    assert first.families[0].ref.time_s > 0
    same = again.tokens.filter(
        pl.col("document").cast(pl.String) == "a", pl.col("model").cast(pl.String) == "tiny-code.Q8_0"
    )
    assert same.equals(first.tokens)
    third = ppldelta.score({"b": other, "a": TEXT}, cmp=demo.COMPARISONS[:2], store=store, **QUIET)
    assert third.tokens.equals(again.tokens)
    for model in (third.families[0].ref, *third.families[0].cmp):
        assert model.time_s == 0
    elsewhere = ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], n_ctx=128, store=store, **QUIET)
    assert elsewhere.families[0].ref.time_s > 0, "other windows are other numbers"
    without = ppldelta.score({"a": TEXT}, cmp=demo.COMPARISONS[0], store=None, **QUIET)
    assert without.families[0].ref.time_s > 0
    assert without.tokens.equals(first.tokens)


Evaluated = dict[str, int]
"""Windows that each model is asked for."""


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    """What is evaluated from here on."""
    asked: Evaluated = {}
    score = RemoteModel.score

    def spied(model: RemoteModel, batches: Sequence[Batch], *arguments: object) -> object:
        asked[model.label] = sum(len(batch.windows) for batch in batches)
        return score(model, batches, *arguments)

    monkeypatch.setattr(RemoteModel, "score", spied)
    return asked


def kill_once_stored(n_windows: int, store: Path, files: Path, out: Path, *flags: str) -> None:
    """Runs the command on files, and ends it by SIGKILL when the store has so many windows."""
    command = [sys.executable, "-m", "ppldelta.cli", "score", str(files), "--ref", str(demo.REFERENCE), *flags]
    command += ["--cmp", str(demo.COMPARISONS[0]), "-o", str(out), "--store", str(store), "-q"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while n_stored(store) < n_windows and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.kill()
    run.wait()


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, evaluated: Evaluated) -> None:
    """kill -9 once some documents are stored; the next run evaluates only the rest and gives the same bits."""
    store = tmp_path / "s.sqlite"
    kill_once_stored(3, store, demo.CORPUS, tmp_path / "out")
    before = ppldelta.plan(demo.CORPUS, cmp=demo.COMPARISONS[0], store=store, **QUIET)
    assert 3 <= sum(model.n_stored for model in before.models) < 2 * before.n_windows
    evaluated.clear()
    resumed = ppldelta.score(demo.CORPUS, cmp=demo.COMPARISONS[0], store=store, **QUIET)
    assert list(evaluated.values()) == [before.n_windows - model.n_stored for model in before.models]
    whole = ppldelta.score(demo.CORPUS, cmp=demo.COMPARISONS[0], store=None, **QUIET)
    assert resumed.tokens.equals(whole.tokens)


def test_a_killed_run_goes_on_within_a_text(tmp_path: Path, evaluated: Evaluated) -> None:
    """The same with one long text: its windows are kept as they are done."""
    store, text = tmp_path / "s.sqlite", tmp_path / "long.txt"
    text.write_text(LONG)
    kill_once_stored(1, store, text, tmp_path / "out", "-c", "256")
    before = ppldelta.plan(text, cmp=demo.COMPARISONS[0], n_ctx=256, store=store, **QUIET)
    assert 0 < before.models[0].n_stored < before.n_windows
    evaluated.clear()
    resumed = ppldelta.score(text, cmp=demo.COMPARISONS[0], n_ctx=256, store=store, **QUIET)
    assert evaluated["tiny-ref.Q8_0"] == before.n_windows - before.models[0].n_stored
    whole = ppldelta.score(text, cmp=demo.COMPARISONS[0], n_ctx=256, store=None, **QUIET)
    assert resumed.tokens.equals(whole.tokens)


def test_a_killed_run_goes_on_within_a_table(tmp_path: Path, evaluated: Evaluated) -> None:
    """The same with many short rows, of which a task evaluates hundreds."""
    store, table = tmp_path / "s.sqlite", tmp_path / "rows.jsonl"
    rows = [{"prompt": f"row {i} of", "completion": f" a table {i}"} for i in range(800)]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    kill_once_stored(1, store, table, tmp_path / "out")
    n_before = n_stored(store)
    assert 0 < n_before < 1600
    evaluated.clear()
    resumed = ppldelta.score(table, cmp=demo.COMPARISONS[0], store=store, **QUIET)
    assert sum(evaluated.values()) == 1600 - n_before and n_stored(store) == 1600
    whole = ppldelta.score(table, cmp=demo.COMPARISONS[0], store=None, **QUIET)
    assert resumed.tokens.equals(whole.tokens)


def n_stored(store: Path) -> int:
    """Windows of all models in a store; 0 where there is none yet."""
    if not store.exists():
        return 0
    with Store(store) as kept:
        return sum(model.n_windows for model in summary(kept))


def test_of_a_text_that_has_grown_only_new_windows_are_evaluated(tmp_path: Path, evaluated: Evaluated) -> None:
    """The same for more windows of a text, and for one that occurs twice."""
    stored = {"cmp": demo.COMPARISONS[0], "n_ctx": 64, "store": tmp_path / "s.sqlite", "windows": "perplexity", **QUIET}

    def score(texts: dict[str, str], **more: int) -> tuple[ppldelta.Result, int]:
        """Also how many windows each model was asked for; the numbers are those without a store."""
        fresh = ppldelta.score(texts, **{**stored, "store": None}, **more)
        evaluated.clear()
        result = ppldelta.score(texts, **stored, **more)
        assert result.tokens.equals(fresh.tokens)
        [n] = set(evaluated.values())
        return result, n

    few, n_few = score({"a": TEXT}, max_windows=2)
    whole, n_more = score({"a": TEXT})
    _, n_twice = score({"a": TEXT, "b": TEXT})
    grown, n_grown = score({"a": TEXT + " " + TEXT})
    assert (n_few, n_twice) == (2, 0)
    assert n_more == len(whole.tokens) // 31 - 2, "31 tokens of each window are scored"
    assert n_grown == len(grown.tokens) // 31 - 2 - n_more
    assert "max_windows:2" in few.signature and "max_windows:all" in whole.signature
    _, n_repeated = score({"a": TEXT + LONG[:2000], "b": TEXT + LONG[:2000]})
    assert 0 < n_repeated <= len(LONG[:2000]) // 64


def test_of_a_text_that_has_grown_every_window_but_the_last_is_in_the_store(tmp_path: Path) -> None:
    """By the default rule, whose last window ends with the text."""
    run = {"cmp": demo.COMPARISONS[0], "n_ctx": 64, "store": tmp_path / "s.sqlite", **QUIET}
    n_windows = ppldelta.plan({"a": TEXT}, **run).n_windows
    ppldelta.score({"a": TEXT}, **run)
    ppldelta.score({"a": TEXT}, **run, windows="perplexity")
    grown = ppldelta.plan({"a": TEXT + " " + TEXT}, **run)
    assert grown.windows == "every" and n_windows > 10
    assert [model.n_stored for model in grown.models] == [n_windows - 1] * 2, "the other rule's are others"


def test_a_comparison_that_cannot_be_read_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(20))
    folder = Path(demo.__file__).parent / "models"
    good, ref = folder / "tiny-code.Q8_0.gguf", folder / "tiny-ref.Q8_0.gguf"
    text = {"a.txt": "The rain had stopped, and the street was quiet. " * 8}
    result = ppldelta.score(text, ref, [bad, good], store=None, progress=False)
    assert result.models["model"].unique().to_list() == ["tiny-code.Q8_0"]
    assert any("bad.gguf" in warning and "left out" in warning for warning in result.warnings)
    with pytest.raises(ppldelta.ModelError, match=r"bad\.gguf"):
        ppldelta.score(text, ref, [bad], store=None, progress=False)
