"""Peak memory above the model and its KV cache: flat in n_ctx and in the number of documents?

Each case is one `ppldelta.score` in a fresh Python (the same model as reference and comparison), or one plain
llama-perplexity, whose logits grow with n_ctx × n_vocab. From the peak of all its processes together go the model's
tensors and the f16 KV cache of n_ctx tokens. What remains holds Python and the libraries too, and the line about
imports says how much of it they are. The highest peak of all runs counts.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path

import harness
from children import compare_same, imported
from make_model import SHAPES, cached
from texts import text

LIMIT_MB = 300  # above model and KV cache


def perplexity(model: Path, file: Path, n_ctx: int, threads: int) -> harness.Run:
    command = [harness.PACKAGE / "bin" / "llama-perplexity", "-m", model, "-bf", file, "-c", n_ctx, "-t", threads]
    run = harness.child(command)
    found = re.search(r"Final estimate: PPL = ([\d.]+)", run.answer)
    harness.require(found is not None, "llama-perplexity prints an estimate")
    return harness.Run(run.wall_s, run.cpu_s, run.peak_mb, run.written_mb, math.log(float(found[1])))


def corpus(folder: Path, n_documents: int, n_words: int) -> Path:
    """Documents of so many words, each with a text of its own: equal ones would be evaluated once."""
    folder.mkdir()
    for i in range(n_documents):
        (folder / f"{i:03}.txt").write_text(text(n_words, start=61 * i), "utf-8")
    return folder


def main() -> None:
    chosen = harness.options(__doc__, n_runs=1, n_cases=4)
    # shape, n_ctx, documents, words of each (about 1.2 tokens a word: a text that is alone fills at least a window)
    cases = [("mid", 512, 1, 900), ("mid", 512, 200, 110), ("mid", 8192, 1, 7200), ("long", 65536, 1, 58000)]
    if chosen.quick:
        cases = [("quick", 512, 1, 900), ("quick", 512, 40, 460), ("quick", 2048, 1, 1800), ("quick", 8192, 1, 7200)]
    if chosen.case:
        cases = [cases[chosen.case - 1]]
    frame, alone = [], harness.call(imported).peak_mb

    with tempfile.TemporaryDirectory(dir=chosen.work) as name:
        for shape, n_ctx, n_documents, n_words in cases:
            model = cached(chosen.work, shape)
            folder = corpus(Path(name) / f"{n_ctx}-{n_documents}", n_documents, n_words)
            common = {"model": model, "n_ctx": n_ctx, "threads": chosen.threads}
            needed = n_ctx * SHAPES[shape].n_vocab * 4  # its logits; a machine may not have that
            contestants = {}
            if n_documents == 1 and 1.5 * needed < os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
                contestants["llama-perplexity"] = lambda c=common, f=folder: perplexity(file=f / "000.txt", **c)
            contestants["ppldelta.score"] = lambda c=common, f=folder: harness.call(compare_same, folder=f, **c)
            runs = harness.interleave(contestants, chosen.runs, warm_up=False)

            answer = runs["ppldelta.score"][0].answer
            harness.require(len(answer["nll"]) == n_documents, "every document is scored")
            expected = [("000.txt", run.answer) for run in runs.get("llama-perplexity", [])]
            if n_documents > 1:
                some = [f"{i:03}.txt" for i in range(0, n_documents, n_documents // 4)]
                for file in some:  # shorter than a window: llama-perplexity wants a window of their length
                    short = {**common, "n_ctx": min(n_ctx, answer["n_tokens"][file])}
                    expected.append((file, perplexity(file=folder / file, **short).answer))
            for document, nll in expected:
                difference = abs(nll - answer["nll"][document])
                harness.require(difference < 1e-3, f"mean NLL is off by {difference} from llama-perplexity's")
            kv_mb = SHAPES[shape].kv_bytes * n_ctx / 1e6
            for contestant, each in runs.items():
                peak_mb, model_mb = max(run.peak_mb for run in each), answer["size_bytes"] / 1e6
                ours = contestant == "ppldelta.score"
                frame.append(
                    {
                        "case": f"{shape}, n_ctx {n_ctx}, {n_documents} document{'s' * (n_documents > 1)}",
                        "contestant": contestant + ("" if ours else " (baseline)"),
                        "peak_mb": peak_mb,
                        "model_mb": model_mb,
                        "kv_mb": kv_mb,
                        "above_mb": peak_mb - model_mb - kv_mb,
                        "limit_mb": LIMIT_MB if ours else None,
                    }
                )
    print(f"importing `ppldelta.score` alone: {alone:.0f} MB, part of `above_mb`")
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
