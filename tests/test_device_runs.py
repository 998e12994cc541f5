"""Whole runs on a device: a server of the package, and a GPU where there is one (see test_device)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import ppldelta
from conftest import free_port, serving, until
from ppldelta import demo
from ppldelta.engine import native
from ppldelta.store.store import Store
from test_packed_runs import CORPUS


def test_the_signature_names_the_device(device: str | None, document: Path) -> None:
    result = ppldelta.score(document, demo.REFERENCE, demo.REFERENCE, n_ctx=256, rpc=device, progress=False)
    assert (result.tokens["delta"] == 0).all()
    assert re.search(r"\|backend:\S*(RPC0|Vulkan0|CUDA0)", result.signature)


def test_short_documents_share_batches_and_the_numbers_are_close_to_the_cpu_s(device: str | None) -> None:
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "windows": "every", "progress": False}
    here = ppldelta.score(CORPUS, **models, n_gpu_layers=0)
    there = ppldelta.score(CORPUS, **models, rpc=device)
    assert "|n_seq_max:1|" in here.signature and "|n_seq_max:32|" in there.signature
    assert there.tokens.select("document", "pos", "token").equals(here.tokens.select("document", "pos", "token"))
    difference = (there.tokens["logp_cmp"] - here.tokens["logp_cmp"]).to_numpy()
    assert 0 < np.abs(difference).mean() <= 0.02
    assert abs((there.tokens["delta"] - here.tokens["delta"]).mean()) <= 1e-3


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


def test_a_server_that_dies_is_a_clear_error_and_the_run_goes_on_with_another(fresh: None, tmp_path: Path) -> None:
    port = free_port()
    rpc = f"127.0.0.1:{port}"
    text = {"a": (demo.CORPUS / "prose" / "a_history_of_nether_wick.txt").read_text() * 20}
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "n_ctx": 256, "rpc": rpc, "progress": False}
    with serving(port) as server:
        killer = threading.Thread(target=lambda: (until(lambda: some_is_stored(tmp_path), 60), server.kill()))
        killer.start()
        with pytest.raises(ppldelta.ModelError, match="Remote RPC server crashed"):
            ppldelta.score(text, **models)
        killer.join()
    with pytest.raises(ppldelta.PpldeltaError, match=f"no RPC server answers at `{rpc}`"):
        ppldelta.score(text, **models)
    with serving(port):
        assert len(ppldelta.score(text, **models, max_windows=2).tokens)


def some_is_stored(folder: Path) -> bool:
    """Whether the run whose store lies in a folder has evaluated some windows: what it notes before takes less."""
    log = folder / "store.sqlite-wal"
    return log.exists() and log.stat().st_size > 40_000


@pytest.mark.parametrize("wrong", ["somewhere", "host:", ":5", "host:99999", "a b:5", 5, ["host:1", None]])
def test_what_is_no_address_is_refused(wrong: object) -> None:
    with pytest.raises(ppldelta.PpldeltaError, match="`rpc` must"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE, rpc=wrong)


def test_the_environment_names_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPLDELTA_RPC", f"127.0.0.1:{free_port()}")
    with pytest.raises(ppldelta.PpldeltaError, match="no RPC server answers"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE)


def test_rpc_and_an_executor_are_refused_together() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ppldelta.PpldeltaError, match="leave one of them out"):
        ppldelta.score({"a": "text"}, demo.REFERENCE, demo.REFERENCE, rpc="localhost:1", executor=executor)


def test_the_check_of_the_kernels_is_remembered_only_for_this_machine(rpc: str, fresh: None, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    text = (demo.CORPUS / "prose" / "mudflats_in_november.txt").read_text()
    result = ppldelta.score({"a": text}, demo.REFERENCE, demo.COMPARISONS[0], rpc=rpc, store=store, progress=False)
    assert f"+RPC0[{rpc}]" in result.signature or f":RPC0[{rpc}]" in result.signature
    with Store(store) as opened:
        lines = {line for line, _ in opened.notes.trusted(native.release())}
    assert lines and not any("RPC" in line for line in lines)


def test_a_server_outlives_a_client_that_is_killed(tmp_path: Path) -> None:
    """The client is killed in the middle of an evaluation, so that nobody reads what the server writes next."""
    (tmp_path / "long.txt").write_text((demo.CORPUS / "prose" / "a_history_of_nether_wick.txt").read_text() * 40)
    port = free_port()
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[0], "rpc": f"127.0.0.1:{port}", "progress": False}
    with serving(port) as server:
        client = subprocess.Popen(
            [sys.executable, "-m", "ppldelta.cli", "score", tmp_path / "long.txt", "--ref", demo.REFERENCE,
             "--cmp", demo.COMPARISONS[0], "-c", "256", "--rpc", f"127.0.0.1:{port}", "-o", tmp_path / "out"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until(lambda: some_is_stored(tmp_path), 60)
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        assert len(ppldelta.score({"a": "The tide was out and nobody was about. " * 5}, **models).tokens)
        assert server.poll() is None
