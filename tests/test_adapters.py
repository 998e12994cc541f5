"""LoRAs on the reference's loaded weights; llama-perplexity with `--lora-scaled` is the yardstick."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import llama_perplexity
from helpers.lora import write_lora
from ppldelta import demo
from ppldelta.engine.loaded import ContextSize, PinnedSource, Shelf, Weights
from ppldelta.engine.native import Model, Scorer
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
def window(document: Path) -> Window:
    tokens = Model(demo.REFERENCE, vocab_only=True).tokenize(document.read_bytes())
    return cut_windows(tokens, rule="every", n_ctx=N_CTX, bos=None)[0]


@pytest.mark.parametrize("scale", [1.0, 0.4, -0.7])
def test_the_numbers_are_those_of_llama_perplexity(scale: float, lora: Path, document: Path) -> None:
    run = llama_perplexity(
        "-m", demo.REFERENCE, "--lora-scaled", f"{lora}:{scale}", "-bf", document,
        "-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH, "--ppl-output-type", 1,
    )  # fmt: skip
    printed = [float(row[2]) for row in re.findall(r"^ *(\d+)  ([\d.]+)  ([\d.]+)  ([\d.]+)$", run.stdout, re.M)]
    result = ppldelta.score(
        document, demo.REFERENCE, f"{demo.REFERENCE}+{lora}:{scale}", **SIZE, store=None, progress=False
    )
    per_window = N_CTX - 1 - N_CTX // 2
    logp = result.tokens["logp_cmp"].cast(pl.Float64).to_numpy()
    running = -np.cumsum(logp)[per_window - 1 :: per_window] / (per_window * np.arange(1, len(printed) + 1))
    assert len(printed) >= 3
    assert running == pytest.approx(printed, abs=1.5e-6)
    assert result.tokens["delta"].abs().mean() > 0.01, "it changes something"


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


def test_models_that_differ_in_adapters_are_loaded_once(lora: Path, window: Window) -> None:
    shelf = Shelf(2**40)
    plain = ModelSource(demo.REFERENCE)
    size = ContextSize(n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2, n_outputs_max=N_UBATCH, n_seq_max=1)
    seen = []
    for adapters in [(), (Adapter(lora),), (Adapter(lora, 0.5),), (), (Adapter(lora),)]:
        pinned = PinnedSource.of(ModelSource(plain.path, adapters), None)
        seen.append(shelf.get(pinned, Weights.NEEDED).scorer(size).score(window))
    assert len(shelf._kept) == 1
    assert np.array_equal(seen[0], seen[3]) and np.array_equal(seen[1], seen[4])
    assert len({each.tobytes() for each in seen}) == 3


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
def test_a_run_with_adapters(kld: bool, lora: Path, document: Path, tmp_path: Path) -> None:
    name = str(demo.REFERENCE)
    cmp = [f"{name}+{lora}:0.5", f"{name}+{lora}", f"{name}+{lora}:0.5+{lora}:0.5"]
    arguments = {"files": document, "ref": name, "store": tmp_path / "store", "progress": False, **SIZE, "kld": kld}
    result = ppldelta.score(cmp=cmp, **arguments)
    (family,) = ppldelta.load(result.save(tmp_path / "out")).families
    assert family.models == ["tiny-ref.Q8_0+lora:0.5", "tiny-ref.Q8_0+lora:1", "tiny-ref.Q8_0+lora:0.5+lora:0.5"]
    assert family.cmp[2].adapters == (f"{lora}:0.5", f"{lora}:0.5")
    assert len({family.ref.sha256, *(each.sha256 for each in family.cmp)}) == 4, "none shares a key with another"
    assert result.models["damage"].min() > 0.01
    again = ppldelta.score(cmp=cmp, **arguments)
    assert again.tokens.equals(result.tokens)
    assert all(each.time_s == 0 for each in again.families[0].cmp), "all from the store"


def test_what_is_no_adapter_is_left_out_by_name(lora: Path, document: Path, tmp_path: Path) -> None:
    other = write_lora(tmp_path / "other.gguf", seed=1, architecture="qwen2")
    name = str(demo.REFERENCE)
    result = ppldelta.score(
        document,
        name,
        [f"{name}+{lora}", f"{name}+{other}", f"{name}+{demo.REFERENCE}"],
        max_windows=1,
        **SIZE,
        store=None,
        progress=False,
    )
    assert len(result.left_out["comparison"]) == 2
    said = "\n".join(result.warnings)
    assert "cannot apply the adapter" in said
    assert "model arch and LoRA arch mismatch" in said
    assert "expect general.type to be 'adapter'" in said


def test_names_with_adapters(lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("base.gguf", "a+b.gguf", "x.gguf+y.gguf", "l.gguf"):
        (tmp_path / file).write_bytes(b"GGUF")

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
