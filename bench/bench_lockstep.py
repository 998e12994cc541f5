"""Lockstep: a reference and m comparisons with KL divergence against the m + 1 plain passes over the same text.

Every contestant is one `ppldelta.score` in a fresh Python without a store: plain, with `kld`, and with `kld` and the
ten best tokens. The third case is the usual way to the same numbers: `llama-perplexity` saves the reference's logits
and compares (`bench_two_processes.today`), where memory and the bytes written count as well.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import harness
from bench_two_processes import today
from children import N_CTX, in_lockstep
from make_model import SHAPES, cached
from ppldelta.engine.kept import BUDGET_BYTES
from texts import text

LIMITS = {1: 1.15, 10: 1.20}  # wall time over that of the plain passes, by the number of comparisons
ABOVE_MB = 300  # peak memory above models, their KV caches and the budget for rows
TOP_K = 10


def contestants(
    ref: Path, comparisons: list[Path], file: Path, threads: int, names: list[str]
) -> dict[str, harness.Contestant]:
    """The ways of comparing these, by name."""
    settings = {"plain passes": {}, "lockstep": {"kld": True}, f"lockstep, {TOP_K} best tokens": {"top_k": TOP_K}}
    common = {"ref": ref, "comparisons": comparisons, "file": file, "threads": threads}
    return {name: lambda name=name: harness.call(in_lockstep, **common, settings=settings[name]) for name in names}


def check(runs: dict[str, list[harness.Run]]) -> int:
    """The log-probabilities are those of the plain passes to the last bit; divergences and best tokens are there.

    Returns:
        The number of token records.
    """
    answers = [(name, run.answer) for name, each in runs.items() for run in each]
    digests = {answer["logp"] for _, answer in answers}
    harness.require(len(digests) == 1, "every way gives the same log-probabilities, bit for bit")
    for name, answer in answers:
        wanted = 0 if name == "plain passes" else answer["n_scored"]
        harness.require(answer["n_kld"] == wanted, f"{name} has {answer['n_kld']} divergences instead of {wanted}")
        wanted = answer["n_scored"] * TOP_K if "best" in name else 0
        harness.require(answer["n_best"] == wanted, f"{name} has {answer['n_best']} best tokens instead of {wanted}")
    klds = {answer["kld"] for _, answer in answers if answer["n_kld"]}
    harness.require(len(klds) == 1, "lockstep gives the same divergence, with best tokens and without")
    return int(answers[0][1]["n_scored"])


def check_tool(runs: dict[str, list[harness.Run]]) -> int:
    """Mean KL divergence, to what 16 bits for a log-probability carry; returns the number of token records."""
    (ours,) = {run.answer["kld"] for run in runs["lockstep"]}
    for run in runs["llama-perplexity, save and compare"]:
        for answer in run.answer:
            difference = abs(answer["kld"] - ours)
            harness.require(difference <= 2e-3 * ours + 8 / 65535, f"mean KLD is off by {difference} from {ours}")
    return int(runs["lockstep"][0].answer["n_scored"])


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3, n_cases=3)
    shape, n_words, n_comparisons = ("quick", 900, 3) if chosen.quick else ("mid", 5000, 10)
    ref, cmp = cached(chosen.work, shape), cached(chosen.work, shape, noise=0.01)
    for model in (ref, cmp):
        model.read_bytes()  # into the page cache: no contestant pays for being the first
    ours = ["plain passes", "lockstep", f"lockstep, {TOP_K} best tokens"]
    frame = []
    with tempfile.TemporaryDirectory(dir=chosen.work) as name:
        folder = Path(name)
        file = folder / "text.txt"
        file.write_text(text(n_words), "utf-8")
        copies = [folder / f"cmp{i}.gguf" for i in range(n_comparisons)]
        for copy in copies:
            os.link(cmp, copy)
        cases = [("1 comparison", [cmp]), (f"{n_comparisons} comparisons", copies), ("llama-perplexity", [cmp])]
        if chosen.case:
            cases = [cases[chosen.case - 1]]
        for case, comparisons in cases:
            with_tool = case == "llama-perplexity"
            ways = contestants(ref, comparisons, file, chosen.threads, ours[1:2] if with_tool else ours)
            if with_tool:
                ways = {
                    "llama-perplexity, save and compare": lambda: today(ref, [cmp], [file], folder, chosen.threads),
                    **ways,
                }
            runs = harness.interleave(ways, chosen.runs, warm_up=False)
            n = check_tool(runs) if with_tool else check(runs)
            limit = None if with_tool or chosen.quick else LIMITS[len(comparisons)]
            models_mb = (ref.stat().st_size + len(comparisons) * cmp.stat().st_size) / 1e6
            kv_mb = (1 + len(comparisons)) * SHAPES[shape].kv_bytes * N_CTX / 1e6
            most_mb = models_mb + kv_mb + BUDGET_BYTES / 1e6 + ABOVE_MB
            for row in harness.rows(case, runs, n_units=n, limits=dict.fromkeys(ours[1:], limit) if limit else None):
                highest = max(run.peak_mb for run in runs[row["contestant"].removesuffix(" (baseline)")])
                if row["contestant"] in ours[1:]:
                    harness.require(highest <= most_mb, f"the peak of {highest:.0f} MB is above {most_mb:.0f} MB")
                frame.append(
                    {**row, "peak_mb": highest, "most_mb": most_mb if "lockstep" in row["contestant"] else None}
                )
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
