"""(b) Against today's way: two llama-perplexity processes for each file, with the reference's logits in a .kld file.

    llama-perplexity -m REF -bf FILE -c 512 --save-all-logits KLD
    llama-perplexity -m CMP -c 512 --kl-divergence --kl-divergence-base KLD

The llama-perplexity is the one in the package: our patches let it take texts below 2·n_ctx tokens (stock refuses most
of the short files) and print gain and loss, which the check needs; they do not change what it computes. Batch sizes
are each way's defaults. Our side is one `ppldelta.score` in a fresh Python, imports and the models' hashes included.
Of the long text a third row tells what both ways have in common: decoding its windows once with each model.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path

import floor
import harness
from children import N_CTX, compare
from make_model import cached
from ppldelta.engine.native import Model
from ppldelta.text.windows import cut_windows
from texts import text

LLAMA_PERPLEXITY = harness.PACKAGE / "bin" / "llama-perplexity"


def save_logits(ref: Path, file: Path, kld: Path, threads: int) -> harness.Run:
    return harness.child(
        [LLAMA_PERPLEXITY, "-m", ref, "-bf", file, "-c", N_CTX, "-t", threads, "--save-all-logits", kld]
    )


def compare_logits(cmp: Path, kld: Path, threads: int) -> harness.Run:
    return harness.child(
        [LLAMA_PERPLEXITY, "-m", cmp, "-c", N_CTX, "-t", threads, "--kl-divergence", "--kl-divergence-base", kld]
    )


def today(
    ref: Path, comparisons: list[Path], files: list[Path], work: Path, threads: int, *, keep: bool = False
) -> harness.Run:
    """Today's way; `keep`: the reference is evaluated once for all comparisons of a file, and its logits stay."""
    runs, answers = [], []
    for file in files:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            kld = Path(folder) / "ref.kld"
            for i, cmp in enumerate(comparisons):
                if i == 0 or not keep:
                    runs.append(save_logits(ref, file, kld, threads))
                    ppl_ref = number(r"Final estimate: PPL = ([\d.]+)", runs[-1].answer)
                runs.append(compare_logits(cmp, kld, threads))
                printed = runs[-1].answer
                answers.append(
                    {
                        "n_scored": number(r"N +: +(\d+) tokens", printed),
                        "nll_ref": math.log(ppl_ref),
                        "nll_cmp": math.log(number(r"Mean PPL\(Q\) +: +([\d.]+)", printed)),
                        "gain": number(r"Gain +: +([\d.]+) nats", printed),
                        "loss": number(r"Loss +: +([\d.]+) nats", printed),
                        "kld": number(r"Mean +KLD: +(-?[\d.]+)", printed),
                    }
                )
    total = harness.Run.total(runs)
    return harness.Run(total.wall_s, total.cpu_s, total.peak_mb, total.written_mb, answers)


def decode(models: list[str], file: str, threads: int) -> tuple[float, float]:
    """Wall and CPU seconds of the forward passes alone, to be called in a fresh process."""
    size = {"n_ctx": N_CTX, "threads": threads, **floor.MICRO_BATCH}
    tokens = Model(models[0], vocab_only=True).tokenize(Path(file).read_bytes())
    windows = cut_windows(tokens, rule="perplexity", n_ctx=N_CTX, bos=None)
    runs = []
    for model in models:
        decoder = floor.Decoder(Path(model), **size)
        steps = [step for window in windows for step in decoder.steps(window)]
        runs.append(harness.timed(lambda decoder=decoder, steps=steps: decoder.run(steps))())
    total = harness.Run.total(runs)
    return total.wall_s, total.cpu_s


def number(pattern: str, printed: str) -> float:
    """What llama-perplexity printed."""
    found = re.search(pattern, printed)
    harness.require(found is not None, f"llama-perplexity prints `{pattern}`:\n{printed[-2000:]}")
    return float(found[1])


def check(runs: dict[str, list[harness.Run]]) -> int:
    """Every run's answer against our first; returns the number of token records."""
    expected = next(runs[name][0].answer for name in runs if name == "ppldelta.score")
    # the .kld file keeps a row's log-probabilities in steps of 16/65535 nats; a mean errs by half a step at most
    tolerances = {"n_scored": 0, "nll_ref": 1e-3, "nll_cmp": 1e-3, "gain": 8 / 65535, "loss": 8 / 65535}
    for name, each in runs.items():
        answers = [run.answer for run in each if run.answer is not None]  # decoding alone has none
        for pair, wanted in (
            (pair, wanted) for answer in answers for pair, wanted in zip(answer, expected, strict=True)
        ):
            for key, tolerance in tolerances.items():
                difference = abs(pair[key] - wanted[key])
                harness.require(difference <= tolerance, f"{key} of `{name}` is off by {difference}: {pair}, {wanted}")
    return int(sum(pair["n_scored"] for pair in expected))


def main() -> None:
    chosen = harness.options(__doc__, n_runs=3, n_cases=3)
    shape, n_words, n_files, n_comparisons = ("quick", 900, 3, 3) if chosen.quick else ("mid", 6900, 12, 10)
    ref, cmp = cached(chosen.work, shape), cached(chosen.work, shape, noise=0.01)
    for model in (ref, cmp):
        model.read_bytes()  # into the page cache: no contestant pays for being the first
    frame = []
    with tempfile.TemporaryDirectory(dir=chosen.work) as name:
        folder = Path(name)

        def written(file: str, words: str) -> Path:
            (folder / file).write_text(words, "utf-8")
            return folder / file

        long = written("long.txt", text(n_words))
        medium = written("medium.txt", text(n_words if chosen.quick else 1750))
        short = [written(f"short{i:02}.txt", text(510 + 36 * i, start=700 * i)) for i in range(n_files)]
        copies = [folder / f"cmp{i}.gguf" for i in range(n_comparisons)]
        for copy in copies:
            os.link(cmp, copy)

        cases = [
            ("one long text", [cmp], [long], 1 / 1.15),
            (f"{n_files} short files", [cmp], short, 1 / 1.6),
            (f"{n_comparisons} comparisons", copies, [medium], 1 / 1.9),
        ]
        if chosen.case:
            cases = [cases[chosen.case - 1]]
        for case, comparisons, files, limit in cases:
            common = (ref, comparisons, files)
            contestants = {
                "two processes": lambda common=common: today(*common, folder, chosen.threads),
                "two processes, logits kept": lambda common=common: today(*common, folder, chosen.threads, keep=True),
                "ppldelta.score": lambda common=common: harness.call(
                    compare, ref=common[0], comparisons=common[1], files=common[2], threads=chosen.threads
                ),
            }
            if len(comparisons) == 1:
                del contestants["two processes, logits kept"]
            if len(comparisons) == len(files) == 1:
                contestants["decode alone, both models"] = lambda common=common: harness.Run(
                    *harness.call(
                        decode, models=[common[0], *common[1]], file=common[2][0], threads=chosen.threads
                    ).answer
                )
            runs = harness.interleave(contestants, chosen.runs, warm_up=False)
            n = check(runs)
            for row in harness.rows(case, runs, n_units=n, limits={"ppldelta.score": limit}):
                written = None if row["written_mb"] is None else 1e6 * row["written_mb"] / n
                frame.append({**row, "written_bytes_per_unit": written})
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
