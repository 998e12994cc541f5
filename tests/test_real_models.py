"""Models that people have: SmolLM2 135M and Gemma 3 270M, with `pytest --real-models`.

They show what the demo's models and random weights cannot: vocabularies of 49 and 262 thousand tokens, trained layers
with sliding windows, quants whose damage is small. Texts are a few windows of the demo's.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import llama_perplexity, printed_nll
from helpers import real_models
from helpers.browser import opened
from ppldelta import demo
from ppldelta.engine import recognition
from ppldelta.engine.loaded import PinnedSource
from ppldelta.merging import merge
from ppldelta.models.source import ModelSource
from test_browser import POINTS
from test_recognition import noise, write

pytestmark = pytest.mark.real_models

TEXTS = ("code/ring_buffer.c", "multilingual/ja_ame_no_asa.txt", "prose/mudflats_in_november.txt")
QUANTS = ("Q6_K", "Q4_K_M", "Q2_K")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of each category."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in TEXTS:
        (folder / name).parent.mkdir()
        (folder / name).write_bytes((demo.CORPUS / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def long_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several windows of 1024 tokens."""
    path = tmp_path_factory.mktemp("text") / "long.txt"
    path.write_bytes(b"\n\n".join(file.read_bytes() for file in sorted((demo.CORPUS / "prose").glob("*.txt"))[:4]))
    return path


@pytest.fixture(scope="module")
def quants(corpus: Path) -> ppldelta.Result:
    """SmolLM2 in Q8_0 against itself and three smaller types, 256 tokens of each text."""
    comparisons = {"itself": real_models.smollm2("Q8_0"), **{type: real_models.smollm2(type) for type in QUANTS}}
    return ppldelta.score(
        corpus, real_models.smollm2("Q8_0"), comparisons, windows="every", n_ctx=256, max_windows=1, kld=True,
        noise_floor=True, store=None, progress=False,
    )  # fmt: skip


def overall(result: ppldelta.Result, column: str) -> list[float]:
    """Of all documents, weighted by token, in the order of the models."""
    rows = result.models.filter(pl.col("category").is_null(), pl.col("weighting") == "tokens")
    return [rows.filter(pl.col("model").cast(pl.String) == model)[column].item() for model in ("itself", *QUANTS)]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "type", "n_ctx", "n_ubatch"),
    [("smollm2", "Q4_1", 512, 256), ("smollm2", "Q2_K", 256, 256), ("gemma3", "Q4_K_M", 1024, 128)],
)
def test_mean_nll_of_every_window_is_what_llama_perplexity_prints(
    name: str, type: str, n_ctx: int, n_ubatch: int, long_text: Path
) -> None:
    """Layers of Gemma 3 with a sliding window look at 512 tokens, half of a window here."""
    model = getattr(real_models, name)(type)
    printed = printed_nll(model, long_text, "--chunks", 2, n_ctx=n_ctx, n_ubatch=n_ubatch)
    result = ppldelta.score(
        long_text, model, model, windows="perplexity", n_ctx=n_ctx, n_ubatch=n_ubatch, max_windows=2, store=None,
        progress=False,
    )  # fmt: skip
    nll = -result.tokens["logp_ref"].cast(pl.Float64).to_numpy().reshape(2, -1)
    assert np.cumsum(nll.mean(axis=1)) / [1, 2] == pytest.approx(printed, abs=1.5e-6)


def test_divergence_is_what_llama_perplexity_prints(long_text: Path, tmp_path: Path) -> None:
    """The tool keeps the reference in 16 bits."""
    base = tmp_path / "ref.kld"
    flags = ["-c", 256, "-b", 256, "-ub", 256]
    llama_perplexity(
        "-m", real_models.smollm2("Q8_0"), "-bf", long_text, "--chunks", 2, *flags, "--save-all-logits", base
    )
    cmp = real_models.smollm2("Q2_K")
    said = llama_perplexity("-m", cmp, *flags, "--kl-divergence", "--kl-divergence-base", base).stdout
    result = ppldelta.score(
        long_text, real_models.smollm2("Q8_0"), cmp, windows="perplexity", n_ctx=256, max_windows=2, kld=True,
        store=None, progress=False,
    )  # fmt: skip
    (printed,) = re.findall(r"Mean +KLD: +([\d.]+)", said)
    assert float(printed) > 0.05
    assert result.summary["kld"].item() == pytest.approx(float(printed), rel=2e-3)
    (same_top,) = re.findall(r"Same top p: +([\d.]+)", said)
    assert 100 * result.summary["same_top"].item() == pytest.approx(float(same_top), abs=0.5)


def test_smaller_quants_are_further_away(quants: ppldelta.Result) -> None:
    for column in ("kld", "damage", "kld_p99"):
        itself, *others = overall(quants, column)
        assert itself == 0 < others[0]
        assert others == sorted(others), column
    itself, *others = overall(quants, "same_top")
    assert itself == 1 > others[0]
    assert others == sorted(others, reverse=True)


def test_the_noise_floor_lies_below_what_rounding_to_few_bits_does(quants: ppldelta.Result) -> None:
    (family,) = quants.families
    assert family.noise_floor is not None and family.noise_floor.kld > 0
    assert {"n_ubatch 64", "activations in bfloat16"} <= {each.change for each in family.noise}
    gain, loss, kld = (overall(quants, column) for column in ("gain", "loss", "kld"))
    within = [family.is_within_noise(*values) for values in zip(gain, loss, kld, strict=True)]
    assert within[0] and not any(within[2:]), "Q6_K is near the floor, and may be on either side"


# --- what a model is --------------------------------------------------------------------------------------------------


def test_quants_are_recognised(quants: ppldelta.Result) -> None:
    (family,) = quants.families
    assert [model.kind for model in family.cmp] == ["quant"] * 4
    assert "the same 272 tensors" in (family.cmp[2].kind_reason or "")


@pytest.mark.parametrize(
    ("reference", "comparison", "kind"),
    [
        (("gemma3", "Q4_K_M"), ("gemma3", "Q3_K_M"), "quant"),
        (("smollm2", "Q2_K"), ("smollm2", "Q4_1"), "quant"),
        (("smollm2", "Q4_1"), ("gemma3", "Q4_K_M"), "finetune"),
    ],
)
def test_kinds(reference: tuple[str, str], comparison: tuple[str, str], kind: str) -> None:
    pinned = [PinnedSource.of(ModelSource(getattr(real_models, n)(type)), None) for n, type in (reference, comparison)]
    assert recognition.recognise(*pinned).kind == kind


def test_a_light_finetune_is_no_quant(tmp_path: Path) -> None:
    reference = real_models.smollm2("Q8_0")
    changed = write(tmp_path / "m.gguf", reference, type="q8_0", change=noise(0.03))
    pinned = [PinnedSource.of(ModelSource(path), None) for path in (reference, changed)]
    assert recognition.recognise(*pinned).kind == "finetune"


# --- runs -------------------------------------------------------------------------------------------------------------


def n_shards(store: Path) -> int:
    if not store.exists():
        return 0
    with closing(sqlite3.connect(store)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM shards").fetchone()[0])
        except sqlite3.OperationalError:  # no tables yet
            return 0


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    ref, cmp = real_models.smollm2("Q8_0"), real_models.smollm2("Q4_K_M")
    prose, store = sorted((demo.CORPUS / "prose").glob("*.txt"))[:8], tmp_path / "store.sqlite"
    flags = ["--ref", ref, "--cmp", cmp, "--windows", "every", "-c", "256", "--chunks", "1", "--store", store, "-q"]
    command = [sys.executable, "-m", "ppldelta.cli", "score", *prose, *flags, "-o", tmp_path / "out"]
    run = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not n_shards(store) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "out" / "run.json").exists()
    settings: dict[str, Any] = {"windows": "every", "n_ctx": 256, "max_windows": 1, "progress": False}
    plan = ppldelta.plan(prose, ref, cmp, store=store, **settings)
    n_stored = sum(model.n_stored for model in plan.models)
    assert 0 < n_stored < 2 * plan.n_windows
    resumed = ppldelta.score(prose, ref, cmp, store=store, **settings)
    whole = ppldelta.score(prose, ref, cmp, store=None, **settings)
    assert resumed.tokens.equals(whole.tokens)


def test_families_with_other_vocabularies_meet_on_the_same_bytes(corpus: Path, quants: ppldelta.Result) -> None:
    settings: dict[str, Any] = {"windows": "every", "n_ctx": 256, "max_windows": 1, "store": None, "progress": False}
    gemma = ppldelta.score(corpus, real_models.gemma3(), real_models.gemma3("Q3_K_M"), **settings)
    both = merge([quants, gemma])
    whole = pl.col("category").is_null() & (pl.col("weighting") == "tokens")
    n_bytes = both.models.filter(whole)["n_bytes"].unique().to_list()
    assert len(both.families) == 2 and len(n_bytes) == 1
    assert any(f"compared on the {n_bytes[0]:,} bytes that all of them scored" in each for each in both.warnings)


def test_the_report_opens(quants: ppldelta.Result, browser: Any, tmp_path: Path) -> None:
    with opened(browser, quants.report(tmp_path / "report.html")) as page:
        page.locator("#f0-documents").scroll_into_view_if_needed()  # it is drawn when it is seen
        page.wait_for_selector(POINTS, state="attached")
        assert page.locator(POINTS).count() == len(TEXTS) * (1 + len(QUANTS))
        text = page.inner_text("body")
        assert "Q2_K" in text and "damage" in text
