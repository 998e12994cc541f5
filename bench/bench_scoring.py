"""(a) Scoring one long text: what remains above the forward pass, and what a scored token costs under each rule.

The floor is llama.cpp decoding the same windows with output rows for the same targets (`floor.py`), in this process.
`llama-bench`, which issue 3 names, is not built by this package: its prompt processing has no output rows to speak of,
so it would be a floor for another computation. Each contestant's log-probabilities are checked against a float64
log-softmax of the floor's logits.
"""

from __future__ import annotations

import numpy as np

import floor
import harness
import ppldelta
from make_model import cached
from ppldelta.engine.native import Model, Scorer
from ppldelta.scoring import DEFAULT_N_UBATCH
from ppldelta.text.windows import plan_windows
from texts import text

N_CTX = 512


def main() -> None:
    chosen = harness.options(__doc__)
    path = cached(chosen.work, "quick" if chosen.quick else "mid")
    n_tokens = 1024 if chosen.quick else 4096
    model = Model(path)
    tokens = model.tokenize(text(n_tokens).encode())[:n_tokens]
    document = b"".join(model.pieces(tokens))
    harness.require(np.array_equal(model.tokenize(document), tokens), "the text splits into the same tokens again")
    windows = {rule: plan_windows(tokens, rule=rule, n_ctx=N_CTX, bos=None) for rule in ("perplexity", "every")}
    n_scored = {rule: sum(len(window.targets) for window in plan) for rule, plan in windows.items()}

    decoder = floor.Decoder(path, n_ctx=N_CTX, n_ubatch=DEFAULT_N_UBATCH, threads=chosen.threads)
    steps = {rule: [step for window in plan for step in decoder.steps(window)] for rule, plan in windows.items()}
    scorer = Scorer(model, n_ctx=N_CTX, n_ubatch=DEFAULT_N_UBATCH, threads=chosen.threads)
    exact = floor.log_softmax

    def decode(rule: str) -> harness.Contestant:
        def answer(n_rows: int) -> np.ndarray:
            return exact(decoder.logits(n_rows), windows[rule][-1].targets[-n_rows:])

        return harness.timed(lambda: decoder.run(steps[rule]), answer)

    def score(rule: str) -> harness.Contestant:
        return harness.timed(lambda: [scorer.score(window) for window in windows[rule]], np.concatenate)

    def load_and_score() -> list[np.ndarray]:
        fresh = Model(path)
        plan = plan_windows(fresh.tokenize(document), rule="perplexity", n_ctx=N_CTX, bos=None)
        scorer = Scorer(fresh, n_ctx=N_CTX, n_ubatch=DEFAULT_N_UBATCH, threads=chosen.threads)
        return [scorer.score(window) for window in plan]

    def score_two_models() -> np.ndarray:
        settings = {"n_ctx": N_CTX, "threads": chosen.threads, "progress": False}
        result = ppldelta.score({"text": document}, path, path, **settings)
        return result.tokens["logp_cmp"].to_numpy()

    steady = harness.interleave(
        {
            "decode alone": decode("perplexity"),
            "score": score("perplexity"),
            "load, tokenize, score": harness.timed(load_and_score, np.concatenate),
            "ppldelta.score, two models": harness.timed(score_two_models),
        },
        chosen.runs,
    )
    rules = harness.interleave(
        {
            "windows='perplexity'": score("perplexity"),
            "windows='every'": score("every"),
            "decode alone, 'every'": decode("every"),
        },
        chosen.runs,
    )

    # a floor's answer is its last micro-batch, a contestant's all targets: their tails must agree
    for runs, floor_name, names in (
        (steady, "decode alone", list(steady)[1:]),
        (rules, "decode alone, 'every'", ["windows='every'"]),
    ):
        expected = runs[floor_name][0].answer
        for run in (run for name in names for run in runs[name]):
            error = np.abs(run.answer[-len(expected) :] - expected).max()
            harness.require(error < 2e-5, f"log-probabilities differ by {error} from those of the floor's logits")
            harness.require(np.array_equal(run.answer, runs[names[0]][0].answer), "runs differ from one another")
    for window in windows["perplexity"][:2]:
        tail = scorer.score(window)[-decoder.run(decoder.steps(window)) :]
        error = np.abs(tail - exact(decoder.logits(len(tail)), window.targets[-len(tail) :])).max()
        harness.require(error < 2e-5, f"log-probabilities of a window differ by {error}")

    n = n_scored["perplexity"]
    harness.publish(
        [
            *harness.rows(
                f"{len(tokens)} tokens, n_ctx {N_CTX}",
                steady,
                n_units={name: 2 * n if "two models" in name else n for name in steady},
                limits={"score": 1.03, "load, tokenize, score": 1.08},
            ),
            *harness.rows(
                "per scored token",
                rules,
                n_units={name: n_scored["perplexity" if "perplexity" in name else "every"] for name in rules},
                limits={"windows='every'": 1 / 1.35},
            ),
        ],
        chosen,
    )


if __name__ == "__main__":
    main()
