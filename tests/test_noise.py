"""The noise floor: sampled windows, changed settings, keys of their own, the decision, and the self-check."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import facts, tiny_models
from helpers.llama_ctypes import log_softmax
from ppldelta import demo
from ppldelta.cli import main
from ppldelta.engine import worker
from ppldelta.engine.native import Build, Model, Scorer
from ppldelta.engine.remote import RemoteModel
from ppldelta.errors import ModelError
from ppldelta.family import Noise
from ppldelta.run.noise import BROKEN
from ppldelta.run.sample import MOST_TOKENS, N_WINDOWS, sample
from ppldelta.run.settings import Settings
from ppldelta.run.variants import variants
from ppldelta.text.many import Batches
from ppldelta.text.windows import Batch, Window
from test_packed_runs import CORPUS, pack
from test_settings import CPU, GPU

GOOD = demo.COMPARISONS[0]
PROSE = sorted((demo.CORPUS / "prose").glob("*.txt"))[:3]
RUN = {"windows": "perplexity", "n_ctx": 256, "n_ubatch": 64, "threads": 1, "progress": False}
CHANGES = ["n_ubatch 16", "n_ubatch 32", "n_ubatch 128", "threads 2", "activations in bfloat16"]


# --- the sample -------------------------------------------------------------------------------------------------------


def batches(*documents: tuple[str, int], n_tokens: int = 100, together: int = 1) -> list[Batch]:
    """Those of documents, each given as its name and its number of windows."""
    found, n = [], 0
    for name, n_windows in documents:
        for first in range(0, n_windows, together):
            some = range(first, min(first + together, n_windows))
            windows = tuple(window(f"{name} {i}", n_tokens) for i in some)
            found.append(Batch(name, tuple(n + i for i in some), windows))
        n += n_windows
    return found


def window(seed: str, n: int) -> Window:
    tokens = np.frombuffer(hashlib.sha256(seed.encode()).digest(), np.uint8).astype(np.int32)
    return Window(np.resize(tokens, n), n - 1, np.array([1], np.int32), np.array([n], np.uint32))


def sampled(some: list[Batch]) -> list[Batch]:
    names = list(dict.fromkeys(batch.document for batch in some))
    document = np.array([names.index(batch.document) for batch in some for _ in batch.at], np.int32)
    packed = Batches.of(some)
    of_documents = replace(packed, windows=replace(packed.windows, document=document, names=names))
    return sample(of_documents, [name.partition("/")[0] for name in names])


def test_a_sample_takes_categories_in_turn_and_each_document_once_first() -> None:
    whole = batches(*((f"a/{i}", 3) for i in range(20)), ("b/1", 30), ("b/2", 5), ("c/1", 1))
    taken = sampled(whole)
    assert [batch.at for batch in taken] == sorted(batch.at for batch in taken), "in the order of the corpus"
    names = [batch.document for batch in taken]
    assert len(names) == len(set(names)) == N_WINDOWS
    assert {"b/1", "b/2", "c/1"} < set(names), "small categories are there too"


def test_a_sample_depends_on_the_texts_alone() -> None:
    documents = [(f"{'abc'[i % 3]}/{i}", 2) for i in range(30)]
    once = {batch.windows[0].tokens.tobytes() for batch in sampled(batches(*documents))}
    other = {batch.windows[0].tokens.tobytes() for batch in sampled(batches(*reversed(documents)))}
    assert once == other
    more = {batch.windows[0].tokens.tobytes() for batch in sampled(batches(*documents, ("a/new", 2)))}
    assert len(once & more) >= len(once) - 1


def test_a_sample_is_two_per_cent_within_its_bound() -> None:
    assert len(sampled(batches(("a", 3)))) == 3, "no more than there are"
    assert len(sampled(batches(("a", 1000)))) == 20
    long = sampled(batches(("a", 1000), n_tokens=8192))
    assert sum(batch.n_fed for batch in long) == MOST_TOKENS
    assert len(sampled(batches(("a", 9), n_tokens=2 * MOST_TOKENS))) == 1, "always one"
    assert [len(batch.at) for batch in sampled(batches(("a", 50), together=5))] == [5, 5], "whole batches"


# --- what is changed --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> Model:
    return Model(demo.REFERENCE)


@pytest.mark.parametrize(
    ("build", "together", "n_tokens", "changes"),
    [
        (CPU, 1, 300, ["n_ubatch 64", "n_ubatch 128", "n_ubatch 512"]),
        (CPU, 1, 100, ["n_ubatch 64"]),
        (CPU, 1, 60, []),
        (GPU, 1, 300, ["n_ubatch 64", "n_ubatch 128", "n_ubatch 512", "on the CPU"]),
        (GPU, 2, 300, ["n_ubatch 64", "n_ubatch 128", "n_ubatch 512", "on the CPU", "each window alone"]),
    ],
)
def test_the_changes_are_those_that_can_move_something(
    reference: Model, build: Build, together: int, n_tokens: int, changes: list[str]
) -> None:
    settings = Settings(threads=8).resolve(reference.info, build)
    found = variants(settings, reference.info, build, batches(("a", 4), n_tokens=n_tokens, together=together))
    named = [each.change for each in found]
    assert [each for each in named if each not in ("threads 4", "activations in bfloat16")] == changes
    assert {"threads 4", "activations in bfloat16"} < {*named, ""}
    for each in found:
        assert each.settings.n_gpu_layers == (0 if each.change == "on the CPU" else settings.n_gpu_layers)
    everything = [*found, replace(found[0], change="", settings=settings, also="", bf16=False)]
    assert len({each.engine(build) for each in everything}) == len(everything), "no two share keys"


def test_a_change_is_what_the_setting_says(reference: Model) -> None:
    """A run with another micro-batch has these keys, so that neither evaluates what the other did."""
    settings = Settings(n_ubatch=64).resolve(reference.info, CPU)
    [half] = [
        each for each in variants(settings, reference.info, CPU, batches(("a", 9))) if each.change == "n_ubatch 32"
    ]
    assert half.settings == Settings(n_ubatch=32).resolve(reference.info, CPU)


def test_activations_are_rounded_to_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model whose layers add nothing: the logits are those of rounded embeddings, as NumPy has them."""
    values = tiny_models._values

    def silent(name: str, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return (
            np.zeros(size, np.float32)
            if name.endswith(("attn_output.weight", "ffn_down.weight"))
            else values(name, size, rng)
        )

    monkeypatch.setattr(tiny_models, "_values", silent)
    model = Model(tiny_models.write(tmp_path / "m.gguf", "llama"))
    head = values("token_embd.weight", (256, tiny_models.N_EMBD), np.random.default_rng(0))
    tokens = model.tokenize(b"She went up past the last farm.")
    bits = head.view(np.uint32).astype(np.uint64)
    rounded = (
        ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    )  # to nearest, ties even
    for bf16, embedding in ((True, rounded), (False, head)):
        scorer = Scorer(model, n_ctx=64, n_ubatch=16, threads=2, bf16=bf16)
        logp = scorer.score(Window(tokens[:-1], 0, tokens[1:], np.arange(1, len(tokens), dtype=np.uint32)))
        x = embedding[tokens[:-1]].astype(np.float64)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
        expected = log_softmax(x @ head.T)[np.arange(len(x)), tokens[1:]]
        assert np.abs(logp - expected).max() < 1e-5
    assert np.abs(rounded - head).max() > 1e-3, "rounding is seen"


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_every_architecture_is_rounded_or_refused(architecture: str, tmp_path: Path) -> None:
    model = Model(tiny_models.write(tmp_path / "m.gguf", architecture))
    plain, rounded = (Scorer(model, n_ctx=64, n_ubatch=16, threads=2, bf16=bf16) for bf16 in (False, True))
    some = window("x", 20)
    delta = rounded.score(some) - plain.score(some)
    assert 0 < np.abs(delta).max() < 0.1


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kld", [False, True])
def test_a_run_measures_what_the_changes_do(kld: bool, tmp_path: Path) -> None:
    plain = ppldelta.score(PROSE, demo.REFERENCE, GOOD, kld=kld, store=None, **RUN)
    result = ppldelta.score(PROSE, demo.REFERENCE, GOOD, kld=kld, noise_floor=True, store=tmp_path / "s", **RUN)
    assert result.tokens.equals(plain.tokens) and result.signature == plain.signature
    assert plain.families[0].noise == () and plain.families[0].noise_floor is None
    [family] = result.families
    found = {each.change: each for each in family.noise}
    assert list(found) == CHANGES and result.warnings == []
    n_windows = result.tokens["pos"].len() // 127
    assert {each.n_scored for each in found.values()} == {127 * min(n_windows, N_WINDOWS)}
    assert found["threads 2"] == dataclasses.replace(
        found["threads 2"], gain=0, loss=0, kld=0 if kld else None, delta_max=0
    )
    for change in ("n_ubatch 16", "activations in bfloat16"):
        each = found[change]
        assert 0 < each.gain < each.delta_max < 0.5 and 0 < each.loss < each.delta_max
        assert (each.kld is None) == (not kld) and (not kld or 0 < each.kld < each.gain + each.loss)
    assert family.noise_floor.gain == max(each.gain for each in found.values())
    assert not family.is_within_noise(*result.summary.select("gain", "loss").row(0))


def test_a_change_of_the_micro_batch_is_a_run_with_that_micro_batch(tmp_path: Path) -> None:
    """Against an independent way: two runs, compared. And the store has them already."""
    few = {"a": PROSE[0].read_text()[:4000]}
    store = tmp_path / "s"
    result = ppldelta.score(few, demo.REFERENCE, GOOD, noise_floor=True, store=store, **RUN)
    plan = ppldelta.plan(few, demo.REFERENCE, GOOD, store=store, **RUN | {"n_ubatch": 16})
    assert [each.n_stored for each in plan.models] == [plan.n_windows, 0], "all windows are in the sample"
    other = ppldelta.score(few, demo.REFERENCE, GOOD, store=None, **RUN | {"n_ubatch": 16})
    delta = (other.tokens["logp_ref"] - result.tokens["logp_ref"]).cast(pl.Float64)
    [found] = [each for each in result.families[0].noise if each.change == "n_ubatch 16"]
    assert found.n_scored == len(delta) and found.delta_max == delta.abs().max()
    assert found.gain == pytest.approx(delta.clip(0).mean(), rel=1e-12)
    assert found.loss == pytest.approx(-delta.clip(upper_bound=0).mean(), rel=1e-12)


def test_nothing_is_evaluated_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "s"
    asked = {"kld": True, "noise_floor": True, "store": store, **RUN}
    first = ppldelta.score(PROSE, demo.REFERENCE, GOOD, **asked)
    plan = ppldelta.plan(PROSE, demo.REFERENCE, GOOD, **asked)
    assert plan.n_fed_noise == 0 == plan.time_s and "no model has to be loaded" in repr(plan)
    for name in ("score", "score_pairs"):
        monkeypatch.setattr(worker, name, None)
    again = ppldelta.score(PROSE, demo.REFERENCE, GOOD, **asked)
    assert again.families[0].noise == first.families[0].noise
    monkeypatch.undo()
    itself = ppldelta.score(
        PROSE, demo.REFERENCE, {"same": demo.REFERENCE}, kld=True, store=store, **RUN | {"n_ubatch": 16}
    )
    assert itself.tokens["kld"].max() == 0, "a change's pairs have keys of their own"


def test_a_dry_run_counts_what_a_run_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ppldelta.plan(PROSE, demo.REFERENCE, GOOD, noise_floor=True, store=None, **RUN)
    assert plan.time_noise_s > 0 and f"noise floor     {plan.n_fed_noise:,} tokens fed, " in repr(plan)
    fed: list[int] = []
    score = RemoteModel.score

    def counting(self: RemoteModel, batches: list[Batch], *rest: object) -> object:
        fed.append(sum(batch.n_fed for batch in batches))
        return score(self, batches, *rest)

    monkeypatch.setattr(RemoteModel, "score", counting)
    ppldelta.score(PROSE, demo.REFERENCE, GOOD, noise_floor=True, store=None, **RUN)
    assert sum(fed) == 2 * plan.n_fed + plan.n_fed_noise, "the self-check costs nothing more"


def test_windows_that_share_a_batch_are_evaluated_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pack(monkeypatch)
    result = ppldelta.score(CORPUS, demo.REFERENCE, GOOD, kld=True, noise_floor=True, **RUN)
    found = {each.change: each for each in result.families[0].noise}
    assert 0 < found["each window alone"].gain < 0.1 and found["each window alone"].kld is None
    assert result.families[0].noise_floor.kld > 0


# --- what is said of it -----------------------------------------------------------------------------------------------


def test_inside_is_no_further_in_any() -> None:
    noise = (Noise("n_ubatch 64", 0.02, 0.01, 0.001, 0.5, 100), Noise("on the CPU", 0.01, 0.03, None, 0.4, 100))
    family = facts.family("f", noise=noise)
    assert family.noise_floor == Noise("on the CPU", 0.02, 0.03, 0.001, 0.5, 100)
    assert family.is_within_noise(0.02, 0.03, 0.001) and family.is_within_noise(0.0, 0.0)
    for gain, loss, kld in ((0.021, 0, 0), (0, 0.031, 0), (0, 0, 0.002), (None, 0, 0), (np.nan, 0, 0)):
        assert not family.is_within_noise(gain, loss, kld)
    assert not facts.family("f").is_within_noise(0.0, 0.0)


def test_what_is_equal_to_the_reference_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text(PROSE[0].read_text())
    arguments = ["score", str(corpus), "--ref", str(demo.REFERENCE), "--cmp", f"same={demo.REFERENCE}", "--noise-floor"]
    arguments += ["--cmp", str(GOOD), "-c", "256", "-ub", "64", "-o", str(tmp_path / "out"), "-q"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "noise floor of `tiny-ref.Q8_0`: gain 0.0" in said
    assert "\ninside it, equal to the reference: `same`\n" in said
    result = ppldelta.load(tmp_path / "out")
    assert result.families[0].noise[0].change == "n_ubatch 16"
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("the model is equal to the reference, as far as these documents tell") == 1


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_backend_that_computes_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose numbers depend on the micro-batch by more than rounding does."""
    score = RemoteModel.score

    def wrong(self: RemoteModel, batches: list[Batch], size: worker.ContextSize, *rest: object) -> object:
        for shard in score(self, batches, size, *rest):
            error = np.float32((BROKEN + 0.01) * (size.n_ubatch == 16))
            yield replace(shard, windows=[(i, logp - error, time_s) for i, logp, time_s in shard.windows])

    monkeypatch.setattr(RemoteModel, "score", wrong)
    result = ppldelta.score(PROSE, demo.REFERENCE, GOOD, noise_floor=True, **RUN)
    [warning] = result.warnings
    assert "`tiny-ref.Q8_0` is 0.2" in warning and "n_ubatch 16" in warning and "computes wrong" in warning


@pytest.mark.parametrize("kld", [False, True])
def test_a_change_under_which_the_reference_fails_is_left_out(kld: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    score, pairs = RemoteModel.score, RemoteModel.score_pairs

    def failing(self: RemoteModel, batches: list[Batch], size: worker.ContextSize, *rest: object) -> object:
        if size.bf16:
            raise ModelError("it has no layers")
        return score(self, batches, size, *rest)

    def failing_pairs(self: RemoteModel, *given: object, sizes: tuple[worker.ContextSize, ...] = ()) -> object:
        for shard in pairs(self, *given, sizes=sizes):
            at = [i for i, size in enumerate(sizes, 1) if size.bf16]
            models = [ModelError("it has no layers") if i in at else each for i, each in enumerate(shard.models)]
            yield replace(shard, models=models)

    monkeypatch.setattr(RemoteModel, "score", failing)
    monkeypatch.setattr(RemoteModel, "score_pairs", failing_pairs)
    result = ppldelta.score(PROSE, demo.REFERENCE, GOOD, kld=kld, noise_floor=True, store=None, **RUN)
    assert [each.change for each in result.families[0].noise] == CHANGES[:-1]
    assert result.warnings == ["The noise floor is measured without activations in bfloat16: it has no layers."]
    assert result.left_out == {}
