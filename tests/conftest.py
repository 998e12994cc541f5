"""What several test modules share: the demo's files, the demo's result, and the built llama-perplexity."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ppldelta
from ppldelta import demo
from ppldelta.engine import local

LLAMA_PERPLEXITY = Path(ppldelta.__file__).parent / "bin" / "llama-perplexity"


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


@pytest.fixture(scope="session")
def demo_result() -> ppldelta.Result:
    """The demo, as `ppldelta demo` runs it."""
    return demo.run(store=None, progress=False)


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
