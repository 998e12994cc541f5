"""Log-softmax of one target per row of 151 936 logits: time and error of the engine's routine beside NumPy's.

The error is the largest difference from float64 (of the same float32 logits). The baseline is the plain way in
float32; the engine's routine may err no more than it, on logits that spread as a model's do and on peaked ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import harness
from ppldelta import _core
from ppldelta.run.limits import N_OUTPUTS_MAX_CPU

N_VOCAB = 151_936


def naive(logits: NDArray[np.floating], targets: NDArray[np.int32]) -> NDArray[np.floating]:
    """Log-softmax as one writes it down, in the precision of `logits`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted[np.arange(len(targets)), targets] - np.log(np.exp(shifted).sum(axis=1))


def cases(n_rows: int) -> dict[str, NDArray[np.float32]]:
    """Rows of logits: spread as in a model's output, and with one entry far above the others."""
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((n_rows, N_VOCAB), np.float32) * np.float32(2.5)
    peaked = spread.copy()
    peaked[np.arange(n_rows), rng.integers(0, N_VOCAB, n_rows)] += 25
    return {"spread": spread, "peaked": peaked}


def main() -> None:
    chosen = harness.options(__doc__, n_runs=9)
    n_rows = 16 if chosen.quick else N_OUTPUTS_MAX_CPU
    frame = []
    for case, logits in cases(n_rows).items():
        # likely and unlikely targets, the likeliest of each row among them
        targets = np.random.default_rng(1).integers(0, N_VOCAB, n_rows).astype(np.int32)
        targets[::2] = logits[::2].argmax(axis=1)
        contestants = {
            "NumPy float32": lambda logits=logits, targets=targets: naive(logits, targets),
            "NumPy float64": lambda logits=logits, targets=targets: naive(logits.astype(np.float64), targets),
            "ppldelta, 1 thread": lambda logits=logits, targets=targets: _core.log_softmax(logits, targets, 1),
        }
        if chosen.threads > 1:
            contestants[f"ppldelta, {chosen.threads} threads"] = lambda logits=logits, targets=targets: (
                _core.log_softmax(logits, targets, chosen.threads)
            )
        runs = harness.interleave({name: harness.timed(work) for name, work in contestants.items()}, chosen.runs)

        exact = naive(logits.astype(np.float64), targets)
        error = {name: max(float(np.abs(run.answer - exact).max()) for run in each) for name, each in runs.items()}
        for row in harness.rows(f"{n_rows} rows, {case}", runs, n_units=n_rows):
            name = row["contestant"].removesuffix(" (baseline)")
            if name.startswith("ppldelta"):
                harness.require(error[name] <= error["NumPy float32"], f"{name} errs by {error[name]} on {case} logits")
            frame.append({**row, "max_error_1e-9": 1e9 * error[name]})
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
