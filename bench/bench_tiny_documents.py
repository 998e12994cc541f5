"""(c) Many documents of 20 to 60 tokens, as in question sets: what a window of its own costs each of them.

The floor is llama.cpp decoding the same windows with output rows for the same targets, one document per call. A second
row decodes as many documents as fit a micro-batch side by side, each as a sequence of its own. The engine's own rows
are one document per call, as it does on the CPU, and packed as it does on a GPU: what packing saves or costs here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import floor
import harness
import ppldelta
from make_model import cached
from ppldelta.engine.native import Model, Scorer
from ppldelta.run.batches import shared_batches
from ppldelta.run.limits import DEFAULT_N_UBATCH, N_SEQ_MAX_GPU
from ppldelta.text.windows import Window, cut_windows
from texts import text


def packs(windows: list[Window]) -> Iterator[list[Window]]:
    """Windows that fill a micro-batch together, in their order."""
    pack: list[Window] = []
    for window in windows:
        if sum(len(other.tokens) for other in pack) + len(window.tokens) > DEFAULT_N_UBATCH:
            yield pack
            pack = []
        pack.append(window)
    yield pack


def packed_step(pack: list[Window]) -> floor.Step:
    rows = [
        (token, i, sequence, i >= window.first_output)
        for sequence, window in enumerate(pack)
        for i, token in enumerate(window.tokens)
    ]
    return floor.Step(rows, fresh=True)


def main() -> None:
    chosen = harness.options(__doc__)
    path = cached(chosen.work, "quick" if chosen.quick else "mid")
    n_documents = 60 if chosen.quick else 400
    model = Model(path)
    n_words = np.random.default_rng(0).integers(20, 46, n_documents)
    corpus = {f"{i:04}": text(int(n), start=61 * i).encode() for i, n in enumerate(n_words)}
    tokens = [model.tokenize(document) for document in corpus.values()]
    lengths = [len(each) for each in tokens]
    print(f"{n_documents} documents of {min(lengths)} to {max(lengths)} tokens")
    # every token is scored, as one does with short texts
    windows = [cut_windows(each, rule="every", n_ctx=512, bos=None)[0] for each in tokens]

    longest = max(len(window.tokens) for window in windows)
    common = {"n_ubatch": DEFAULT_N_UBATCH, "threads": chosen.threads}
    scorer = Scorer(model, n_ctx=longest, **common)
    n_ctx = N_SEQ_MAX_GPU * longest
    packing = Scorer(model, n_ctx=n_ctx, n_seq_max=N_SEQ_MAX_GPU, **common)
    batch_of = shared_batches([[len(window.tokens)] for window in windows], n_seq_max=N_SEQ_MAX_GPU, n_ctx=n_ctx)
    batches = [[i for i, batch in enumerate(batch_of) if batch == number] for number in range(max(batch_of) + 1)]

    def score_packed() -> np.ndarray:
        logp: list[np.ndarray] = [np.empty(0)] * len(windows)
        for batch in batches:
            for i, values in zip(batch, packing.score_together([windows[i] for i in batch]), strict=True):
                logp[i] = values
        return np.concatenate(logp)

    alone = floor.Decoder(path, n_ctx=longest, **common)
    steps = [step for window in windows for step in alone.steps(window)]
    packed = list(packs(windows))
    n_seq = max(len(pack) for pack in packed)
    # without a unified KV cache n_ctx is shared out to the sequences, in multiples of 256
    side_by_side = floor.Decoder(path, n_ctx=256 * n_seq, n_seq=n_seq, **common)
    packed_steps = [packed_step(pack) for pack in packed]

    def score_two_models() -> np.ndarray:
        result = ppldelta.score(corpus, path, path, windows="every", threads=chosen.threads, store=None, progress=False)
        return result.tokens["logp_cmp"].to_numpy()

    runs = harness.interleave(
        {
            "decode alone, one per call": harness.timed(
                lambda: alone.run(steps), lambda n: floor.log_softmax(alone.logits(n), windows[-1].targets)
            ),
            "decode alone, packed": harness.timed(
                lambda: side_by_side.run(packed_steps),
                lambda n: floor.log_softmax(
                    side_by_side.logits(n), np.concatenate([window.targets for window in packed[-1]])
                ),
            ),
            "score, one per call": harness.timed(lambda: [scorer.score(window) for window in windows], np.concatenate),
            "score, packed": harness.timed(score_packed),
            "ppldelta.score, two models": harness.timed(score_two_models),
        },
        chosen.runs,
    )

    answers = {name: each[0].answer for name, each in runs.items()}
    logp = answers["score, one per call"]
    floor_tail, packed_tail = answers["decode alone, one per call"], answers["decode alone, packed"]
    difference = np.abs(logp[-len(floor_tail) :] - floor_tail).max()
    harness.require(difference < 2e-5, f"log-probabilities differ by {difference} from those of the floor's logits")
    expected = {
        "score, one per call": logp,
        "ppldelta.score, two models": logp,
        "score, packed": answers["score, packed"],
    }
    for name, same in expected.items():
        harness.require(all(np.array_equal(run.answer, same) for run in runs[name]), f"`{name}` is not the same again")
    for name, moved in (
        ("floor", logp[-len(packed_tail) :] - packed_tail),
        ("engine", logp - answers["score, packed"]),
    ):
        moved = np.abs(moved)
        print(f"packing by the {name} moved log-probabilities by up to {moved.max():.1e}, mean {moved.mean():.1e}")
        harness.require(moved.mean() < 0.05, "packed documents see one another")

    n = len(logp)
    units = {name: 2 * n if "two models" in name else n for name in runs}
    harness.publish(harness.rows(f"{n_documents} documents", runs, n_units=units), chosen)


if __name__ == "__main__":
    main()
