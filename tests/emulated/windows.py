"""What is scored on processors that are emulated, and how far their numbers may be from those of the one at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta import demo
from ppldelta.engine.native import Model, Scorer
from ppldelta.text.windows import Window, cut_windows

N_CTX, N_UBATCH, N_OUTPUTS_MAX = 256, 128, 64
MODELS = (demo.REFERENCE, demo.COMPARISONS[2])
"""In Q8_0 and Q2_K."""

TOLERANCE = {"largest": 0.15, "mean": 4e-3, "of the mean": 6e-4}
"""Nats: of a token, of the mean absolute difference, of the mean difference; three times what was measured, on a
Sapphire Rapids (AMX) against the others, 2026-11-24."""


def first_windows(model: Model) -> list[Window]:
    """The beginning of the demo's first document."""
    document = sorted(demo.CORPUS.glob("*/*.*"))[0]
    bos = model.info.bos if model.info.add_bos else None
    return cut_windows(model.tokenize(document.read_bytes()), rule="every", n_ctx=N_CTX, bos=bos, max_windows=1)


def score(path: Path) -> NDArray[np.float32]:
    """Log-probabilities of all scored tokens (nats), on the processor at hand."""
    model = Model(path, n_gpu_layers=0)
    scorer = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, n_outputs_max=N_OUTPUTS_MAX, threads=2)
    return np.concatenate([scorer.score(window) for window in first_windows(model)])


def verdict(
    name: str, here: NDArray[np.float32], there: NDArray[np.float32], tolerance: Mapping[str, float] = TOLERANCE
) -> bool:
    """Whether both are the same within the tolerance; prints a line."""
    if len(here) != len(there) or len(here) < 200:
        print(f"{name}: {len(there)} log-probabilities instead of {len(here)}: WRONG")
        return False
    difference = there.astype(np.float64) - here
    found = {
        "largest": np.abs(difference).max(),
        "mean": np.abs(difference).mean(),
        "of the mean": abs(difference.mean()),
    }
    agrees = all(value <= tolerance[which] for which, value in found.items())  # not so NaN
    figures = ", ".join(f"{which} {value:.2g} (at most {tolerance[which]:g})" for which, value in found.items())
    print(f"{name}: {len(here)} tokens, difference in nats: {figures}: {'ok' if agrees else 'WRONG'}", flush=True)
    return agrees
