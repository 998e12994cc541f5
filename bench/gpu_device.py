"""What the claims of gpu_check.py share: the device that they are about, and how each verdict is written down.

Like all scripts named gpu_*, this one imports neither polars nor plotly: a GPU machine may have none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import loky
import numpy as np

import make_model
from ppldelta.engine import local, native
from ppldelta.engine.session import Session
from ppldelta.text.windows import Window


@dataclass(frozen=True)
class Verdict:
    """One claim and what came of it.

    Attributes:
        claim: a sentence that is true or not, or the name of a figure.
        figure: what was measured, with its unit.
        verdict: "ok", "WRONG", or "unknown" where it could not be told.
        limit: what the figure was held against; empty where there is none.
        data: the numbers, for results.json.
    """

    claim: str
    figure: str
    verdict: str
    limit: str = ""
    data: object = None

    def __str__(self) -> str:
        limit = f"   (limit {self.limit})" if self.limit else ""
        return f"{self.verdict:<8}{self.claim}: {self.figure}{limit}"


@dataclass(frozen=True)
class Device:
    """The device, and where verdicts go.

    Attributes:
        work: folder for models.
        into: file that gets a line of JSON for each verdict.
        rpc: address of the server that stands in for a GPU in a rehearsal, else None.
        server: its process id.
        llama_bench: the program, or None.
        deadline: `time.time()` at which the claim is given up.
    """

    work: Path
    into: Path
    rpc: str | None
    server: int | None
    llama_bench: Path | None
    deadline: float

    @classmethod
    def of(cls, args: argparse.Namespace) -> Device:
        return cls(args.work, args.into, args.rpc, args.server, args.llama_bench, time.time() + args.seconds)

    @property
    def rehearsal(self) -> bool:
        return self.rpc is not None

    @property
    def servers(self) -> tuple[str, ...]:
        return (self.rpc,) if self.rpc else ()

    def use(self) -> None:
        """Makes the device this process's own."""
        native.connect(self.servers)

    @contextmanager
    def session(self, *, gpu: bool = True) -> Iterator[Session]:
        """A new worker process, which either has the device or has no device at all."""
        close_idle()
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        try:
            with Session(rpc=self.servers if gpu else ()) as session:
                yield session
        finally:
            close_idle()
            if not gpu:
                del os.environ["CUDA_VISIBLE_DEVICES"]
                if before is not None:
                    os.environ["CUDA_VISIBLE_DEVICES"] = before

    def used_mb(self) -> int:
        """Memory in use on the device, by whatever program, in MiB; in a rehearsal, that of the server."""
        if self.server:
            status = Path(f"/proc/{self.server}/status").read_text()
            return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024
        said = subprocess.check_output(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"])
        return int(said.split()[0])

    def model(self) -> Path:
        """A model with random weights, large enough to keep a GPU busy; written at the first call."""
        shape = "quick" if self.rehearsal else "large"
        path = self.work / f"{shape}.gguf"
        if not path.exists():
            make_model.write(path, make_model.SHAPES[shape], quick=True)
        return path

    def say(self, claim: str, figure: str, holds: bool | None = True, *, limit: str = "", data: object = None) -> None:
        """Writes a verdict down; what is not known (`holds=None`) is neither right nor wrong."""
        word = "unknown" if holds is None else "ok" if holds else "WRONG"
        verdict = Verdict(claim, figure, word, limit, data)
        with self.into.open("a") as file:
            print(json.dumps(asdict(verdict)), file=file)
        print(verdict, flush=True)

    def at_most(
        self,
        claim: str,
        value: float,
        unit: str,
        limit: float | None = None,
        *,
        meaningless: bool = False,
        **data: object,
    ) -> None:
        """A figure that must not pass a limit, where there is one and the figure means something."""
        self.say(
            claim,
            f"{value:.3g} {unit}".rstrip(),
            None if meaningless else limit is None or bool(value <= limit),
            limit=f"{limit:g}" if limit is not None else "",
            data={"value": float(value), **data},
        )


def threads() -> int:
    """As many as `ppldelta.score` uses."""
    return loky.cpu_count(only_physical_cores=True)


def close_idle() -> None:
    """Ends the workers that wait for the next call."""
    while local.idle:
        local.idle.pop().executor.end()


def windows(n_windows: int, n_tokens: int, n_vocab: int, *, scored: float = 1.0) -> list[Window]:
    """Windows of random tokens, of which the last part is scored, at least one token."""
    rng = np.random.default_rng(n_tokens)
    made = []
    for _ in range(n_windows):
        tokens = rng.integers(1, n_vocab - 1, n_tokens + 1).astype(np.int32)
        first = min(n_tokens - 1, round(n_tokens * (1 - scored)))
        pos = np.arange(first + 1, n_tokens + 1, dtype=np.uint32)
        made.append(Window(tokens[:-1], first, tokens[first + 1 :], pos))
    return made


def rate(work: Callable[[Any], object], items: Sequence[Any], n_tokens: int, least_s: float) -> float:
    """Tokens per second of `work` on items of `n_tokens` each, in turns; the first call is not counted."""
    work(items[0])
    n_calls, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < least_s or not n_calls:
        work(items[n_calls % len(items)])
        n_calls += 1
    return n_calls * n_tokens / took
