"""LoRAs and control vectors on the reference's loaded weights; llama-perplexity's own flags are the yardstick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import llama_perplexity, printed_nll
from helpers import tiny_models
from helpers.adapters import write_control_vector, write_lora
from ppldelta import demo
from ppldelta.engine import worker
from ppldelta.engine.adapters import scaled_directions
from ppldelta.engine.loaded import ContextSize, PinnedSource, Shelf, Weights
from ppldelta.engine.native import Model, Scorer
from ppldelta.models.header import read_header
from ppldelta.models.identity import content_hash
from ppldelta.models.references import resolve
from ppldelta.models.source import Adapter, ModelSource
from ppldelta.text.windows import Window, cut_windows

N_CTX, N_UBATCH = 256, 128
SIZE = {"n_ctx": N_CTX, "n_ubatch": N_UBATCH}


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lora(tmp_path_factory.mktemp("lora") / "lora.gguf", seed=1)


@pytest.fixture(scope="module")
def vector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_control_vector(tmp_path_factory.mktemp("vector") / "vector.gguf", seed=3, size=30.0)


@pytest.fixture(scope="module")
def window(document: Path) -> Window:
    tokens = Model(demo.REFERENCE, vocab_only=True).tokenize(document.read_bytes())
    return cut_windows(tokens, rule="every", n_ctx=N_CTX, bos=None)[0]


@pytest.mark.parametrize(
    ("loras", "vectors"),
    [
        ([1.0], []),
        ([0.4], []),
        ([-0.7], []),
        ([], [1.0]),
        ([], [0.4]),
        ([], [-0.7]),
        ([], [0.5, 0.25]),
        ([0.5, 0.3], [0.8, -0.3]),
    ],
)
def test_the_numbers_are_those_of_llama_perplexity(
    loras: list[float], vectors: list[float], lora: Path, vector: Path, document: Path, tmp_path: Path
) -> None:
    second = write_control_vector(tmp_path / "second.gguf", seed=4, size=30.0)
    other = write_lora(tmp_path / "other.gguf", seed=2)
    scaled = {
        "--lora-scaled": list(zip([lora, other], loras, strict=False)),
        "--control-vector-scaled": list(zip([vector, second], vectors, strict=False)),
    }
    flags = [(flag, ",".join(f"{path}:{scale}" for path, scale in some)) for flag, some in scaled.items() if some]
    printed = printed_nll(demo.REFERENCE, document, *(each for pair in flags for each in pair), **SIZE)
    applied = "".join(f"+{path}:{scale}" for some in scaled.values() for path, scale in some)
    result = ppldelta.score(
        document,
        demo.REFERENCE,
        f"{demo.REFERENCE}{applied}",
        windows="perplexity",
        **SIZE,
        store=None,
        progress=False,
    )
    assert_printed(result, printed)
    assert result.warnings == []


def assert_printed(result: ppldelta.Result, printed: list[float]) -> None:
    """The comparison's numbers are those that the tool printed, and not the reference's."""
    per_window = N_CTX - 1 - N_CTX // 2
    logp = result.tokens["logp_cmp"].cast(pl.Float64).to_numpy()[: per_window * len(printed)]
    running = -np.cumsum(logp)[per_window - 1 :: per_window] / (per_window * np.arange(1, len(printed) + 1))
    assert len(printed) >= 3
    assert running == pytest.approx(printed, abs=1.5e-6)
    assert result.tokens["delta"].abs().mean() > 0.01, "it changes something"


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_a_control_vector_in_other_layers_and_architectures(architecture: str, document: Path, tmp_path: Path) -> None:
    """Layers 1 and 3 of 4, and of a second vector layer 2 alone."""
    model = tiny_models.write(tmp_path / "tiny.gguf", architecture)
    one = write_control_vector(tmp_path / "one.gguf", seed=5, layers=[3, 1], n_embd=tiny_models.N_EMBD, size=4.0)
    two = write_control_vector(tmp_path / "two.gguf", seed=6, layers=[2], n_embd=tiny_models.N_EMBD, size=4.0)
    flags = ["--control-vector-scaled", f"{one}:0.5,{two}:-0.3", "--chunks", 4]
    printed = printed_nll(model, document, *flags, **SIZE)
    result = ppldelta.score(
        document,
        model,
        f"{model}+{one}:0.5+{two}:-0.3",
        windows="perplexity",
        max_windows=4,
        **SIZE,
        store=None,
        progress=False,
    )
    assert_printed(result, printed)


def test_contexts_with_and_without_share_weights_and_do_not_touch_each_other(lora: Path, window: Window) -> None:
    alone = Scorer(Model(demo.REFERENCE), **SIZE, threads=2).score(window)
    model = Model(demo.REFERENCE)

    def scored(*adapters: Adapter) -> np.ndarray:
        return Scorer(model, **SIZE, threads=2, adapters=adapters).score(window)

    with_it = scored(Adapter(lora))
    assert not np.array_equal(with_it, alone)
    assert np.array_equal(scored(), alone)
    assert np.array_equal(scored(Adapter(lora, 0.0)), alone)
    assert np.array_equal(scored(Adapter(lora)), with_it)
    halves = scored(Adapter(lora, 0.5), Adapter(lora.with_name("lora.gguf"), 0.5))
    assert halves == pytest.approx(with_it, abs=2e-4)


def test_control_vectors_are_added_up_and_touch_no_other_context(vector: Path, lora: Path, window: Window) -> None:
    model = Model(demo.REFERENCE)

    def scored(*adapters: Adapter) -> np.ndarray:
        return Scorer(model, **SIZE, threads=2, adapters=adapters).score(window)

    alone, once = scored(), scored(Adapter(vector))
    assert not np.array_equal(once, alone)
    assert np.array_equal(scored(), alone)
    assert np.array_equal(scored(Adapter(vector, 0.0)), alone)
    assert np.array_equal(scored(Adapter(vector, 0.5), Adapter(vector, 0.5)), once), "halves have no rounding"
    assert np.array_equal(scored(Adapter(vector), Adapter(lora)), scored(Adapter(lora), Adapter(vector)))
    assert not np.array_equal(scored(Adapter(vector), Adapter(lora)), scored(Adapter(lora)))


def test_a_direction_is_added_to_its_layer(tmp_path: Path) -> None:
    path = write_control_vector(tmp_path / "v.gguf", seed=0, layers=[3, 1], size=2.0)
    found = scaled_directions(Adapter(path, 0.5))
    read = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    assert found.shape == (3, 256)
    assert np.array_equal(found[0], read["direction.1"] / 2)
    assert not found[1].any()
    assert np.array_equal(found[2], read["direction.3"] / 2)


def test_models_that_differ_in_adapters_are_loaded_once(lora: Path, vector: Path, window: Window) -> None:
    shelf = Shelf(2**40)
    plain = ModelSource(demo.REFERENCE)
    size = ContextSize(n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2, n_outputs_max=N_UBATCH, n_seq_max=1)
    seen = []
    for adapters in [(), (Adapter(lora),), (Adapter(lora, 0.5),), (), (Adapter(lora),), (Adapter(vector),)]:
        pinned = PinnedSource.of(ModelSource(plain.path, adapters), None)
        seen.append(shelf.get(pinned, Weights.NEEDED).scorer(size).score(window))
    assert len(shelf._kept) == 1
    assert np.array_equal(seen[0], seen[3]) and np.array_equal(seen[1], seen[4])
    assert len({each.tobytes() for each in seen}) == 4


def test_an_adapter_that_changes_under_a_run_is_refused(tmp_path: Path, lora: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(lora.read_bytes())
    pinned = PinnedSource.of(ModelSource(demo.REFERENCE, (Adapter(mine),)), None)
    shelf = Shelf(2**40)
    shelf.get(pinned, Weights.NEEDED)
    write_lora(mine, seed=2)
    with pytest.raises(ppldelta.ModelError, match="has changed since the run began"):
        shelf.get(pinned, Weights.NEEDED)


def test_on_another_machine_the_whole_is_compared_by_content(lora: Path, window: Window, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(lora.read_bytes())
    source = ModelSource(demo.REFERENCE, (Adapter(mine),))
    pinned = PinnedSource.of(source, None).elsewhere(content_hash(source))
    size = ContextSize(n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2, n_outputs_max=N_UBATCH, n_seq_max=1)
    logp = Shelf(2**40).get(pinned, Weights.NEEDED).scorer(size).score(window)
    model = Model(demo.REFERENCE)
    assert np.array_equal(logp, Scorer(model, **SIZE, threads=2, adapters=source.adapters).score(window))
    write_lora(mine, seed=2)
    with pytest.raises(ppldelta.ModelError, match="its sha256 begins with"):
        Shelf(2**40).get(pinned, Weights.NEEDED)


@pytest.mark.parametrize("kld", [False, True])
def test_a_run_with_adapters(kld: bool, lora: Path, vector: Path, document: Path, tmp_path: Path) -> None:
    name = str(demo.REFERENCE)
    cmp = [f"{name}+{lora}:0.5", f"{name}+{lora}", f"{name}+{lora}:0.5+{lora}:0.5", f"{name}+{vector}:0.5"]
    arguments = {"files": document, "ref": name, "store": tmp_path / "store", "progress": False, **SIZE, "kld": kld}
    result = ppldelta.score(cmp=cmp, **arguments)
    (family,) = ppldelta.load(result.save(tmp_path / "out")).families
    assert [model.removeprefix("tiny-ref.Q8_0") for model in family.models] == [
        *("+lora:0.5", "+lora:1", "+lora:0.5+lora:0.5", "+vector:0.5"),
    ]
    assert family.cmp[2].adapters == (f"{lora}:0.5", f"{lora}:0.5")
    assert len({family.ref.sha256, *(each.sha256 for each in family.cmp)}) == 5, "none shares a key with another"
    assert {each.kind for each in family.cmp} == {"finetune"}
    assert result.models["damage"].min() > 0.01
    again = ppldelta.score(cmp=cmp, **arguments)
    assert again.tokens.equals(result.tokens)
    assert all(each.time_s == 0 for each in again.families[0].cmp), "all from the store"


def test_what_changes_nothing_is_said(document: Path, tmp_path: Path) -> None:
    """As an architecture whose graph adds no control vector would make it."""
    name, path = str(demo.REFERENCE), write_control_vector(tmp_path / "none.gguf", seed=0, size=0.0)
    cmp = [f"{name}+{path}", f"{name}+{path}:0"]
    result = ppldelta.score(document, name, cmp, max_windows=1, **SIZE, store=None, progress=False)
    zero, warning = result.warnings
    assert zero == "`tiny-ref.Q8_0+none:0` has an adapter of scale 0, which changes nothing."
    assert warning.startswith("`tiny-ref.Q8_0+none:1` gives the reference's numbers to the last bit")


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (lambda path: demo.REFERENCE, r"is neither a LoRA nor a control vector: it is a model \(llama\)"),
        (lambda path: write_control_vector(path, 1, general_architecture="odd"), "nor a control vector: its `general"),
        (lambda path: write_lora(path, 1, architecture="qwen2"), "made for the architecture qwen2, and .* is llama"),
        (lambda path: write_lora(path, 1, n_columns=64), r"changes `blk.0.attn_q.weight` of 64 × \d+ values, which"),
        (lambda path: write_lora(path, 1, renamed="blk.9."), "changes `blk.9.attn_q.weight` of .* does not have"),
        (lambda path: write_control_vector(path, 1, n_embd=64), "has 64 values a layer, and .* has 256"),
        (lambda path: write_control_vector(path, 1, layers=[1, 2]), "for layer 2, and the last layer of .* is 1"),
        (lambda path: write_control_vector(path, 1, layers=[0]), "`direction.0`, which is no direction"),
        (lambda path: write_control_vector(path, 1, layers=[]), "holds no direction"),
        (lambda path: cut_short(write_lora(path, 1)), "the head of .* is damaged or cut short"),
    ],
)
def test_what_is_no_adapter_for_the_model_is_refused_before_anything_is_loaded(
    adapter: Callable[[Path], Path], message: str, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "perform", lambda *_: pytest.fail("a worker got something to do"))
    name, path = str(demo.REFERENCE), adapter(tmp_path / "other.gguf")
    with pytest.raises(ppldelta.ModelError, match=message) as caught:
        ppldelta.score({"a": "text"}, name, [f"{name}+{lora}", f"{name}+{path}:0.5"], store=None, progress=False)
    assert "\n" not in caught.value.message and caught.value.hint


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:200])
    return path


@pytest.mark.parametrize("n_bytes", [*range(0, 24), *range(24, 400, 7)])
def test_a_head_that_ends_early_is_damaged(n_bytes: int, vector: Path, tmp_path: Path) -> None:
    (tmp_path / "short.gguf").write_bytes(vector.read_bytes()[:n_bytes])
    whole = read_header(vector)
    try:
        found = read_header(tmp_path / "short.gguf")
    except ppldelta.ModelError as error:
        assert "damaged or cut short" in error.message
    else:
        assert found == whole, "all of the head is there"


def test_a_head_is_what_the_gguf_package_reads() -> None:
    header, reader = read_header(demo.REFERENCE), gguf.GGUFReader(demo.REFERENCE)
    assert {name: shape.sizes for name, shape in header.tensors.items()} == {
        tensor.name: tuple(tensor.shape.tolist()) for tensor in reader.tensors
    }
    assert header.metadata.keys() == reader.fields.keys() - {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    for key, value in header.metadata.items():
        field = reader.fields[key]
        if field.types[0] != gguf.GGUFValueType.ARRAY:
            assert value == field.contents()


@pytest.mark.parametrize("kind", ["lora", "vector"])
def test_against_a_kld_file_the_tool_applies_adapters(
    kind: str, request: pytest.FixtureRequest, document: Path, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(kind)
    size = ["-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH, "-ngl", 0]
    llama_perplexity("-m", demo.REFERENCE, "-bf", document, *size, "--save-all-logits", tmp_path / "ref.kld")
    name = f"{demo.REFERENCE}+{path}:0.5"
    plain = ppldelta.score(document, demo.REFERENCE, name, windows="perplexity", **SIZE, store=None, progress=False)
    of_file = ppldelta.score(None, tmp_path / "ref.kld", name, n_ubatch=N_UBATCH, store=None, progress=False)
    n = of_file.tokens.height
    assert n > 300
    assert of_file.tokens["logp_cmp"].to_numpy() == pytest.approx(plain.tokens["logp_cmp"].to_numpy()[:n], abs=2e-4)
    odd = tmp_path / "a:b.gguf"
    odd.write_bytes(path.read_bytes())
    with pytest.raises(ppldelta.ModelError, match="cannot be told of the adapter"):
        ppldelta.score(None, tmp_path / "ref.kld", f"{demo.REFERENCE}+{odd}", store=None, progress=False)


def test_names_with_adapters(lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("base.gguf", "a+b.gguf", "x.gguf+y.gguf"):
        (tmp_path / file).symlink_to(demo.REFERENCE)
    (tmp_path / "l.gguf").symlink_to(lora)

    def read(text: str) -> tuple[str, list[tuple[str, float]]]:
        source = resolve(text).source
        return str(source.path), [(str(each.path), each.scale) for each in source.adapters]

    assert read("base.gguf+l.gguf:0.8") == ("base.gguf", [("l.gguf", 0.8)])
    assert read("base.gguf+l.gguf+l.gguf:-1e-1") == ("base.gguf", [("l.gguf", 1.0), ("l.gguf", -0.1)])
    assert read("a+b.gguf+l.gguf") == ("a+b.gguf", [("l.gguf", 1.0)])
    assert read("x.gguf+y.gguf") == ("x.gguf+y.gguf", [])
    assert read("x.gguf+y.gguf+l.gguf") == ("x.gguf+y.gguf", [("l.gguf", 1.0)])
    for text, message in [
        ("base.gguf+no.gguf", "no adapter file `no.gguf`"),
        ("base.gguf+l.gguf:much", "must be a number, got `much`"),
        ("base.gguf+l.gguf:nan", "must be a finite number"),
        ("no.gguf+l.gguf", "no model file `no.gguf`"),
        ("base.gguf+l.txt", "no model file `base.gguf\\+l.txt`"),
    ]:
        with pytest.raises(ppldelta.ModelError, match=message):
            resolve(text)
