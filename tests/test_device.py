"""The path for devices, whose memory is not the host's: an RPC server of the package, and a GPU where there is one.

The server computes on the CPU, with the kernels that the engine uses here; what differs is that weights, cache and
logits lie in another process, that short documents share batches, and that one model is loaded at a time. Whole runs
are in test_device_runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import close_idle, llama_perplexity, n_kept
from helpers import tiny_models
from helpers.llama_ctypes import full_logits
from ppldelta import _core, demo
from ppldelta.engine import devices, kernels, worker
from ppldelta.engine.loaded import PinnedSource, Weights
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.session import Session
from ppldelta.errors import ModelError
from ppldelta.models.source import ModelSource
from ppldelta.text.windows import Window, cut_windows
from test_packing import TOLERANCE, alone_and_packed, window

N_CTX, N_UBATCH = 256, 128

GPU_TOLERANCE = 0.3, 0.03
"""As `test_packing.TOLERANCE`, on a GPU, whose matrix units keep 10 bits of a float32: not measured yet, but a tenth of
what a window that sees another one is moved by."""

MESA_22 = "llvmpipe (LLVM 15."
"""Debian 12's software driver for Vulkan."""


def on_device(device: str | None, task: Callable[..., object], *arguments: object) -> object:
    """What a task gives in a worker that has the device."""
    with Session(rpc=(device,) if device else ()) as session:
        return session.call(task, *arguments, label="", doing="testing")


def flags(device: str | None) -> list[str]:
    return ["--rpc", device] if device else []


@pytest.fixture(params=tiny_models.ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, device: str | None) -> str:
    """Of models whose windows share batches."""
    if device is None and request.param == "lfm2" and any(MESA_22 in each.description for each in devices.devices()):
        reason = "Mesa 22.3 follows a null pointer while it executes a batch of 24 windows"
        request.applymarker(pytest.mark.xfail(raises=ModelError, strict=True, reason=reason))
    return str(request.param)


# --- kernels --------------------------------------------------------------------------------------------------------


SOME_TYPES = ("F32", "F16", "Q8_0", "Q4_K")


def products_on_devices(run: int) -> list[kernels.Product]:
    """As a task of a worker: what its devices beside the CPU make of weights of all types.

    Of some, on Mesa's software driver, which compiles the kernels of each type for minutes.
    """
    on = [device for device in devices.devices() if device.gpu]
    types = SOME_TYPES if any("llvmpipe" in device.description for device in on) else kernels.types()
    return [product for type in types for product in kernels.multiply(type, on)]


def test_devices_multiply_right(device: str | None) -> None:
    products = on_device(device, products_on_devices)
    assert set(SOME_TYPES) <= {product.kernel.type for product in products}
    assert [product for product in products if not product.right] == []


# --- numbers --------------------------------------------------------------------------------------------------------


def window_means(run: int, path: Path, text: bytes) -> list[float]:
    """The mean negative log-probability of each window, as llama-perplexity cuts a text."""
    model = Model(path)
    bos = model.info.bos if model.info.add_bos else None
    scorer = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2)
    windows = cut_windows(model.tokenize(text), rule="perplexity", n_ctx=N_CTX, bos=bos)
    return [-float(scorer.score(each).mean(dtype=np.float64)) for each in windows]


@pytest.mark.parametrize("model", [demo.REFERENCE, demo.COMPARISONS[2]], ids=lambda path: path.stem)
def test_mean_nll_of_every_window_is_what_llama_perplexity_prints(
    device: str | None, model: Path, document: Path
) -> None:
    run = llama_perplexity(
        "-m", model, "-bf", document, "-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH, "--ppl-output-type", 1, *flags(device)
    )
    printed = [float(row[2]) for row in re.findall(r"^ *(\d+)  ([\d.]+)  ([\d.]+)  ([\d.]+)$", run.stdout, re.M)]
    means = on_device(device, window_means, model, document.read_bytes())
    assert len(printed) >= 3
    assert np.cumsum(means) / np.arange(1, len(means) + 1) == pytest.approx(printed, abs=1.5e-6)


def scored_and_copied(run: int, text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a window by the engine, and from the copy of all logits that llama.cpp makes."""
    model = Model(demo.REFERENCE)
    (window, *_) = cut_windows(model.tokenize(text), rule="every", n_ctx=N_CTX, bos=None)
    scored = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2).score(window)
    copied = full_logits(demo.REFERENCE, window.tokens, N_UBATCH)
    return scored, _core.log_softmax(copied, window.targets, 1)


def test_logits_that_lie_on_the_device_are_those_that_llama_cpp_copies(device: str | None, document: Path) -> None:
    scored, copied = on_device(device, scored_and_copied, document.read_bytes())
    assert len(scored) > 32, "more rows than come from the device at once"
    assert np.array_equal(scored, copied)


def packing_difference(run: int, path: Path, n_ubatch: int) -> np.ndarray:
    """What sharing a batch moves each token by."""
    rng = np.random.default_rng(0)
    windows = [window(rng, int(n)) for n in rng.integers(8, 120, 24)]
    alone, packed = alone_and_packed(Model(path), windows, n_ubatch)
    return np.abs(np.concatenate(packed) - np.concatenate(alone))


def neighbour_difference(run: int, path: Path) -> float:
    """Mean absolute difference (nats) that a window shows if it can see the tokens of another window."""
    rng = np.random.default_rng(0)
    a, b = window(rng, 40), window(rng, 40)
    both = Window(np.concatenate([a.tokens, b.tokens]), 40 + b.first_output, b.targets, b.pos)
    scorer = Scorer(Model(path), n_ctx=512, n_ubatch=128, threads=2)
    return float(np.abs(scorer.score(both) - scorer.score(b)).mean())


def test_packing_changes_rounding_only(device: str | None, architecture: str, tmp_path: Path) -> None:
    path = tiny_models.write(tmp_path / "tiny.gguf", architecture)
    difference = on_device(device, packing_difference, path, 128)
    most, mean = TOLERANCE[architecture, 128] if device else GPU_TOLERANCE
    assert difference.max() <= most
    assert difference.mean() <= mean
    assert on_device(device, neighbour_difference, path) > 10 * mean


def rounding(run: int, path: Path) -> list[np.ndarray]:
    """The same window and the same batch again: in one context, in another, with other threads."""
    model = Model(path)
    rng = np.random.default_rng(0)
    windows = [window(rng, int(n)) for n in rng.integers(8, 120, 24)]
    found = []
    for threads in (1, 3):
        scorer = Scorer(model, n_ctx=4096, n_ubatch=128, threads=threads, n_seq_max=len(windows))
        for _ in range(2):
            found.append(np.concatenate([scorer.score(windows[0]), *scorer.score_together(windows)]))
    return found


def test_a_rerun_is_the_same_bit_for_bit(device: str | None, architecture: str, tmp_path: Path) -> None:
    path = tiny_models.write(tmp_path / "tiny.gguf", architecture)
    first, *others = on_device(device, rounding, path)
    assert all(np.array_equal(first, other) for other in others)


# --- models ---------------------------------------------------------------------------------------------------------


def test_one_model_at_a_time(device: str | None) -> None:
    with Session(rpc=(device,) if device else ()) as session:
        for path in (demo.REFERENCE, *demo.COMPARISONS):
            session.call(
                worker.describe,
                PinnedSource.of(ModelSource(path), None),
                Weights.NEEDED,
                label=path.name,
                doing="loading",
            )
        assert session.call(n_kept, label="", doing="testing") == 1


def logp(run: int, n_gpu_layers: int | None) -> np.ndarray:
    scorer = Scorer(Model(demo.REFERENCE, n_gpu_layers=n_gpu_layers), n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2)
    return scorer.score(window(np.random.default_rng(0), 200))


def test_without_layers_on_it_the_device_computes_nothing(
    device: str | None, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp would give a GPU the large multiplications all the same."""
    without, on = on_device(device, logp, 0), on_device(device, logp, None)
    close_idle()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert np.array_equal(without, on_device(None, logp, 0))
    assert device or not np.array_equal(without, on)
