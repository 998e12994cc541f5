"""(a) Scoring one long text: what remains above the forward pass, and what a scored token costs under each rule.

The floor is llama.cpp decoding the same windows with output rows for the same targets (`floor.py`), in the process that
scores. Both take turns window by window, in a fresh process each round: where memory happens to lie makes a process
some percent faster or slower. So does which copy of the weights was loaded first, and that turns every round. The rules
are compared with the text in several windows and in one: in several, `"every"` feeds nearly two tokens for each that it
scores, as `"perplexity"` always does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import floor
import harness
import ppldelta
from make_model import cached
from ppldelta.engine.native import Model, Scorer
from ppldelta.text.windows import cut_windows
from ppldelta.wording.rules import RULES
from texts import text

N_CTX = 512


class Bench:
    """A text under one `n_ctx`: contestants that decode or score it, and how many targets each rule has."""

    def __init__(self, path: Path, model: Model, tokens: NDArray[np.int32], n_ctx: int, threads: int) -> None:
        common = {"n_ctx": n_ctx, "threads": threads, **floor.MICRO_BATCH}
        self._decoder, self._scorer = floor.Decoder(path, **common), Scorer(model, **common)
        self._windows = {rule: cut_windows(tokens, rule=rule, n_ctx=n_ctx, bos=None) for rule in RULES}
        self.n_scored = {rule: sum(len(window.targets) for window in plan) for rule, plan in self._windows.items()}

    def decode(self, rule: str) -> harness.Contestant:
        """The floor; its answer is the log-probabilities of the last micro-batch's targets, in float64."""
        steps = [step for window in self._windows[rule] for step in self._decoder.steps(window)]
        targets = self._windows[rule][-1].targets
        return harness.timed(
            lambda: self._decoder.run(steps), lambda n: floor.log_softmax(self._decoder.logits(n), targets[-n:])
        )

    def score(self, rule: str) -> harness.Contestant:
        """The engine; its answer is the log-probabilities of all targets."""
        return harness.timed(lambda: [self._scorer.score(window) for window in self._windows[rule]], np.concatenate)

    def in_turns(self, rule: str) -> dict[str, harness.Run]:
        """Both, window by window, after a window that is not counted; every window's answers are checked."""
        runs: dict[str, list[harness.Run]] = {"decode alone": [], "score": []}
        first, *_ = windows = self._windows[rule]
        for i, window in enumerate([first, *windows]):
            steps = self._decoder.steps(window)
            pair = {
                "decode alone": harness.timed(lambda steps=steps: self._decoder.run(steps)),
                "score": harness.timed(lambda window=window: self._scorer.score(window)),
            }
            done = {name: pair[name]() for name in list(pair)[:: -1 if i % 2 else 1]}
            n = done["decode alone"].answer
            agree(done["score"].answer, floor.log_softmax(self._decoder.logits(n), window.targets[-n:]))
            for name in runs if i else ():
                runs[name].append(done[name])
        return {name: harness.Run.total(each) for name, each in runs.items()}


def score_in_turns(path: str, n_tokens: int, threads: int, floor_first: bool) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of decoding and of scoring a text, to be called in a fresh process.

    Each has a copy of the weights; `floor_first` says which is loaded first.
    """
    if floor_first:
        floor.load(Path(path))
    model = Model(Path(path))
    tokens = model.tokenize(text(n_tokens).encode())[:n_tokens]
    runs = Bench(Path(path), model, tokens, N_CTX, threads).in_turns("perplexity")
    return {name: (run.wall_s, run.cpu_s) for name, run in runs.items()}


def agree(logp: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    error = np.abs(logp[-len(exact) :] - exact).max()
    harness.require(error < 2e-5, f"log-probabilities differ by {error} from those of the floor's logits")


def main() -> None:
    chosen = harness.options(__doc__)
    path = cached(chosen.work, "quick" if chosen.quick else "mid")
    n_tokens = 1024 if chosen.quick else 4096
    model = Model(path)
    tokens = model.tokenize(text(n_tokens).encode())[:n_tokens]
    document = b"".join(model.pieces(tokens))
    harness.require(np.array_equal(model.tokenize(document), tokens), "the text splits into the same tokens again")

    def load_and_score() -> list[NDArray[np.float32]]:
        fresh = Model(path)
        plan = cut_windows(fresh.tokenize(document), rule="perplexity", n_ctx=N_CTX, bos=None)
        scorer = Scorer(fresh, n_ctx=N_CTX, threads=chosen.threads, **floor.MICRO_BATCH)
        return [scorer.score(window) for window in plan]

    def score_two_models() -> NDArray[np.float32]:
        settings = {"windows": "perplexity", "n_ctx": N_CTX, "threads": chosen.threads, "progress": False}
        return ppldelta.score({"text": document}, path, path, store=None, **settings).tokens["logp_cmp"].to_numpy()

    bench = Bench(path, model, tokens, N_CTX, chosen.threads)
    n = bench.n_scored["perplexity"]
    runs = {"decode alone": [], "score": []}
    for i in range(chosen.runs):
        print(f"  run {i + 1}/{chosen.runs}: decode alone and score, window by window", file=sys.stderr, flush=True)
        costs = harness.call(
            score_in_turns, path=path, n_tokens=n_tokens, threads=chosen.threads, floor_first=i % 2 == 1
        ).answer
        for name, cost in costs.items():
            runs[name].append(harness.Run(*cost))
    what = f"{n_tokens} tokens, n_ctx {N_CTX}"
    frame = harness.rows(f"{what}, window by window", runs, n_units=n, limits={"score": 1.03})

    runs = harness.interleave(
        {
            "decode alone": bench.decode("perplexity"),
            "score": bench.score("perplexity"),
            "load, tokenize, score": harness.timed(load_and_score, np.concatenate),
            "ppldelta.score, two models": harness.timed(score_two_models),
        },
        chosen.runs,
    )
    exact, logp = runs["decode alone"][0].answer, runs["score"][0].answer
    agree(logp, exact)
    same = all(np.array_equal(run.answer, logp) for name in list(runs)[1:] for run in runs[name])
    harness.require(same, "every way to score gives the same numbers")
    frame += harness.rows(
        f"{what}, as a whole",
        runs,
        n_units={name: 2 * n if "two models" in name else n for name in runs},
        limits={"load, tokenize, score": 1.08},
    )

    for n_ctx in (N_CTX, n_tokens):  # several windows, and the text as a whole
        bench = Bench(path, model, tokens, n_ctx, chosen.threads)
        runs = harness.interleave(
            {
                "windows='perplexity'": bench.score("perplexity"),
                "windows='every'": bench.score("every"),
                "decode alone, 'every'": bench.decode("every"),
            },
            chosen.runs,
        )
        agree(runs["windows='every'"][0].answer, runs["decode alone, 'every'"][0].answer)
        n_units = {name: bench.n_scored["perplexity" if "perplexity" in name else "every"] for name in runs}
        limits = {"windows='every'": 1 / 1.35}
        frame += harness.rows(f"per scored token, n_ctx {n_ctx}", runs, n_units=n_units, limits=limits)
    harness.publish(frame, chosen)


if __name__ == "__main__":
    main()
