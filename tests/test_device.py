"""The path for devices, whose memory is not the host's: an RPC server of the package, and a GPU where there is one.

The server computes on the CPU, with the kernels that the engine uses here; what differs is that weights, cache and
logits lie in another process, that short documents share batches, and that one model is loaded at a time.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
import tiny_models
from conftest import llama_perplexity
from llama_ctypes import full_logits
from ppldelta import _core, demo
from ppldelta.engine import devices, kernels, native, trusted, worker
from ppldelta.engine.native import Model, Scorer
from ppldelta.engine.session import Session
from ppldelta.engine.store import Store
from ppldelta.text.windows import plan_windows
from test_packing import CORPUS, TOLERANCE, alone_and_packed, window

SERVER = Path(ppldelta.__file__).parent / "bin" / "ggml-rpc-server"
N_CTX, N_UBATCH = 256, 128


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def serving(port: int, most_bytes: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server on loopback, which may be given little memory."""

    def limit() -> None:
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))

    environment = {**os.environ, "GOMP_SPINCOUNT": "1000", "GGML_NO_BACKTRACE": "1"}
    server = subprocess.Popen(
        [str(SERVER), "-H", "127.0.0.1", "-p", str(port), "-t", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, preexec_fn=limit,
    )  # fmt: skip
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield server
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def rpc() -> Iterator[str]:
    port = free_port()
    with serving(port):
        yield f"127.0.0.1:{port}"


@pytest.fixture(params=["rpc", "gpu"])
def device(request: pytest.FixtureRequest, fresh: None) -> str | None:
    """What to pass as `rpc=`: the server's address, or None for the GPU of this machine."""
    if request.param == "rpc":
        return request.getfixturevalue("rpc")
    if not native.build().gpu:
        pytest.skip("this build finds no GPU here")
    return None


def on_device(device: str | None, task: Callable[..., object], *arguments: object) -> object:
    """What a task gives in a worker that has the device."""
    with Session(rpc=(device,) if device else ()) as session:
        return session.call(task, *arguments, label="", doing="testing")


def flags(device: str | None) -> list[str]:
    return ["--rpc", device] if device else []


# --- kernels --------------------------------------------------------------------------------------------------------


def products_on_devices(run: int, types: Sequence[str]) -> list[kernels.Product]:
    """As a task of a worker: what its devices beside the CPU make of weights of some types."""
    on = [device for device in devices.devices() if device.gpu]
    return [product for type in types for product in kernels.multiply(type, on)]


def test_devices_multiply_right(device: str | None) -> None:
    products = on_device(device, products_on_devices, kernels.types())
    assert {"F32", "F16", "Q8_0", "Q4_K"} <= {product.kernel.type for product in products}
    assert [product for product in products if not product.right] == []


def test_the_signature_names_the_device_and_its_check_is_remembered_only_for_this_machine(
    rpc: str, fresh: None, tmp_path: Path
) -> None:
    store = tmp_path / "store.sqlite"
    text = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
    result = ppldelta.score({"a": text}, demo.REFERENCE, demo.COMPARISONS[0], rpc=rpc, store=store, progress=False)
    assert f"+RPC0[{rpc}]" in result.signature or f":RPC0[{rpc}]" in result.signature
    with Store(store) as opened:
        lines = {line for line, _ in trusted.remembered(opened.database, native.release())}
    assert len(lines) == 1 and "RPC" not in lines.pop()


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [demo.REFERENCE, demo.COMPARISONS[2]], ids=lambda path: path.stem)
def test_mean_nll_of_every_window_is_what_llama_perplexity_prints(
    device: str | None, model: Path, document: Path
) -> None:
    run = llama_perplexity(
        "-m", model, "-bf", document, "-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH, "--ppl-output-type", 1, *flags(device)
    )
    printed = [float(row[2]) for row in re.findall(r"^ *(\d+)  ([\d.]+)  ([\d.]+)  ([\d.]+)$", run.stdout, re.M)]
    result = ppldelta.score(document, model, model, n_ctx=N_CTX, n_ubatch=N_UBATCH, rpc=device, progress=False)
    per_window = N_CTX - 1 - N_CTX // 2
    logp = result.tokens["logp_ref"].cast(pl.Float64).to_numpy()
    running = -np.cumsum(logp)[per_window - 1 :: per_window] / (per_window * np.arange(1, len(printed) + 1))
    assert len(printed) >= 3
    assert running == pytest.approx(printed, abs=1.5e-6)
    assert (result.tokens["delta"] == 0).all()
    assert re.search(r"\|backend:\S*(RPC0|Vulkan0|CUDA0)", result.signature)


def scored_and_copied(run: int, text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a window by the engine, and from the copy of all logits that llama.cpp makes."""
    model = Model(demo.REFERENCE)
    (window, *_) = plan_windows(model.tokenize(text), rule="every", n_ctx=N_CTX, bos=None)
    scored = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2).score(window)
    copied = full_logits(demo.REFERENCE, window.tokens, N_UBATCH)
    return scored, _core.log_softmax(copied, window.targets, 1)


def test_logits_that_lie_on_the_device_are_those_that_llama_cpp_copies(device: str | None, document: Path) -> None:
    scored, copied = on_device(device, scored_and_copied, document.read_bytes())
    assert len(scored) > 32, "more rows than come from the device at once"
    assert np.array_equal(scored, copied)


def packing_difference(run: int, path: Path, n_ubatch: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    windows = [window(rng, int(n)) for n in rng.integers(8, 120, 24)]
    alone, packed = alone_and_packed(Model(path), windows, n_ubatch)
    return np.abs(np.concatenate(packed) - np.concatenate(alone))


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_packing_changes_rounding_only(device: str | None, architecture: str, tmp_path: Path) -> None:
    path = tiny_models.write(tmp_path / "tiny.gguf", architecture)
    difference = on_device(device, packing_difference, path, 128)
    most, mean = TOLERANCE[architecture, 128]
    assert difference.max() <= most
    assert difference.mean() <= mean


def test_short_documents_share_batches_and_the_numbers_are_close_to_the_cpu_s(device: str | None) -> None:
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "windows": "every", "progress": False}
    here = ppldelta.score(CORPUS, **models, n_gpu_layers=0)
    there = ppldelta.score(CORPUS, **models, rpc=device)
    assert "|n_seq_max:1|" in here.signature and "|n_seq_max:32|" in there.signature
    assert there.tokens.select("document", "pos", "token").equals(here.tokens.select("document", "pos", "token"))
    difference = (there.tokens["logp_cmp"] - here.tokens["logp_cmp"]).to_numpy()
    assert 0 < np.abs(difference).mean() <= 0.02
    assert abs((there.tokens["delta"] - here.tokens["delta"]).mean()) <= 1e-3


# --- models ---------------------------------------------------------------------------------------------------------


def n_kept(run: int) -> tuple[int, int]:
    return len(worker._models._kept), worker._models.n_loads


def test_one_model_at_a_time(device: str | None) -> None:
    text = {"a": "The tide was out and nobody was about. " * 5}
    result = ppldelta.score(text, demo.REFERENCE, list(demo.COMPARISONS), rpc=device, progress=False)
    assert len(result.models["model"].unique()) == len(demo.COMPARISONS)
    kept, loaded = on_device(device, n_kept)
    assert kept == 1
    assert loaded >= 1 + len(demo.COMPARISONS)


def test_without_layers_on_it_the_device_is_not_used(device: str | None) -> None:
    text = {"a": "The tide was out and nobody was about. " * 5}
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "progress": False, "store": None}
    here = ppldelta.score(text, **models, n_gpu_layers=0)
    there = ppldelta.score(text, **models, n_gpu_layers=0, rpc=device)
    assert there.tokens.equals(here.tokens)


def test_a_context_that_does_not_fit_the_device_is_a_clear_error(fresh: None) -> None:
    port = free_port()
    rpc = f"127.0.0.1:{port}"
    text = {"a": "The tide was out and nobody was about. " * 5}
    with serving(port, most_bytes=2**30):
        with pytest.raises(ppldelta.ModelError, match=r"cannot make a context of 4194304 tokens") as failed:
            ppldelta.score(text, demo.REFERENCE, demo.COMPARISONS[0], n_ctx=2**22, rpc=rpc, progress=False)
        assert "needs less memory" in failed.value.hint
        assert len(ppldelta.score(text, demo.REFERENCE, demo.COMPARISONS[0], rpc=rpc, progress=False).tokens)


# --- servers --------------------------------------------------------------------------------------------------------


def test_a_server_that_dies_is_a_clear_error_and_the_run_goes_on_with_another(fresh: None) -> None:
    port = free_port()
    rpc = f"127.0.0.1:{port}"
    text = {"a": (demo.CORPUS / "prose" / "a_history_of_nether_wick.txt").read_text() * 20}
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "n_ctx": 256, "rpc": rpc, "progress": False}
    with serving(port) as server:
        killer = subprocess.Popen(["sh", "-c", f"sleep 3; kill -9 {server.pid}"])
        with pytest.raises(ppldelta.ModelError, match="Remote RPC server crashed"):
            ppldelta.score(text, **models)
        killer.wait()
    with pytest.raises(ppldelta.PpldeltaError, match=f"no RPC server answers at `{rpc}`"):
        ppldelta.score(text, **models)
    with serving(port):
        assert len(ppldelta.score(text, **models, max_windows=2).tokens)


@pytest.mark.parametrize("wrong", ["somewhere", "host:", ":5", "host:99999", "a b:5", 5, ["host:1", None]])
def test_what_is_no_address_is_refused(wrong: object) -> None:
    with pytest.raises(ppldelta.PpldeltaError, match="`rpc` must"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE, rpc=wrong)


def test_the_environment_names_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPLDELTA_RPC", f"127.0.0.1:{free_port()}")
    with pytest.raises(ppldelta.PpldeltaError, match="no RPC server answers"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE)


def test_rpc_and_an_executor_are_refused_together() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor, pytest.raises(ppldelta.PpldeltaError, match="leave one of them out"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE, rpc="localhost:1", executor=executor)
