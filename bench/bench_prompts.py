"""(p) A prompt of 4000 tokens with 50 completions of 10, against one pass over the prompt.

    python bench/bench_prompts.py MODEL.gguf [--prompt 4000] [--completions 50] [--threads N]

Counts what goes through the model, times it, and checks that the first completion, the last and one in the middle have
the same numbers alone, to the last bit. One pass over the prompt is a window that feeds nothing else.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ppldelta import demo
from ppldelta.engine.loaded import default_threads
from ppldelta.engine.native import Model, Scorer
from ppldelta.text.windows import Window, completion_windows


def timed(scorer: Scorer, windows: list[Window]) -> tuple[float, int, list[np.ndarray]]:
    """Seconds, tokens that went through the model, and the log-probabilities."""
    steps: list[int] = []
    started = time.perf_counter()
    logp = scorer.score_together(windows, steps.append)
    return time.perf_counter() - started, sum(steps), logp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", type=int, default=4000)
    parser.add_argument("--completions", type=int, default=50)
    parser.add_argument("--length", type=int, default=10)
    parser.add_argument("--threads", type=int, default=default_threads())
    arguments = parser.parse_args()
    model = Model(arguments.model, n_gpu_layers=0)
    n_ctx = arguments.prompt + arguments.length + 64
    scorer = Scorer(model, n_ctx=n_ctx, n_ubatch=256, threads=arguments.threads, n_outputs_max=128)
    texts = [path.read_bytes() for path in sorted(demo.CORPUS.glob("[a-z]*/*.*"))]
    tokens = model.tokenize(b"\n".join(texts))
    prompt, rest = tokens[: arguments.prompt], tokens[arguments.prompt :]
    bos = model.info.bos if model.info.add_bos else None
    windows = []
    for i in range(arguments.completions):
        whole = np.concatenate([prompt, rest[i * arguments.length : (i + 1) * arguments.length]])
        windows += completion_windows(whole, n_prompt=len(prompt), n_ctx=n_ctx, bos=bos)

    pass_s, pass_fed, _ = timed(scorer, [_only(windows[0])])
    group_s, group_fed, together = timed(scorer, windows)
    for at in (0, len(windows) // 2, len(windows) - 1):
        one_s, one_fed, [logp] = timed(scorer, [windows[at]])
        assert np.array_equal(logp, together[at]), f"completion {at} has other numbers alone"
    assert group_fed <= pass_fed + len(windows) * (arguments.length + 2)
    print(
        f"{arguments.model.name}, {arguments.threads} threads, {len(windows)} completions of {arguments.length} tokens"
    )
    print(f"{'one pass over the prompt':<32}{pass_s:8.2f} s {pass_fed:8,} tokens")
    print(f"{'prompt and all completions':<32}{group_s:8.2f} s {group_fed:8,} tokens")
    print(f"{'one completion alone':<32}{one_s:8.2f} s {one_fed:8,} tokens")
    print(f"{'all of them alone (reckoned)':<32}{one_s * len(windows):8.2f} s {one_fed * len(windows):8,} tokens")


def _only(window: Window) -> Window:
    """The prompt alone: what stands before the first target."""
    n = window.first_output + 1
    return Window(window.tokens[:n], n - 1, window.targets[:1], window.pos[:1], window.prefix, window.flash)


if __name__ == "__main__":
    main()
