"""The numbers against independent ways to the same numbers, on real text and the demo's models.

Three oracles: what the built llama-perplexity prints, log-softmax in NumPy over full logits that came out of
libllama by another path, and a NumPy reading of the `.kld` file that llama-perplexity wrote.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import llama_perplexity, printed_nll
from helpers.llama_ctypes import full_logits, log_softmax
from ppldelta import _core, demo
from ppldelta.engine.native import Model, Scorer
from ppldelta.text.windows import cut_windows

N_CTX = 256
N_UBATCH = 128
SETTINGS = {"windows": "perplexity", "n_ubatch": N_UBATCH, "progress": False}


@pytest.fixture(scope="module")
def pair(document: Path) -> ppldelta.Result:
    """One document under the reference and the code finetune, in several windows."""
    return ppldelta.score(document, demo.REFERENCE, demo.COMPARISONS[0], n_ctx=N_CTX, store=None, **SETTINGS)


@pytest.fixture(scope="module")
def kld_file(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's log-probabilities in 16 bits, as llama-perplexity saves them."""
    path = tmp_path_factory.mktemp("kld") / "ref.kld"
    llama_perplexity(
        "-m", demo.REFERENCE, "-bf", document, "-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH, "--save-all-logits", path
    )
    return path


@pytest.fixture(scope="module")
def kld_run(kld_file: Path) -> tuple[str, np.ndarray]:
    """What the patched `kl_divergence()` prints and the token records that it writes."""
    records = kld_file.with_suffix(".npy")
    run = llama_perplexity(
        "-m", demo.COMPARISONS[0], "-c", N_CTX, "-b", N_CTX, "-ub", N_UBATCH,
        "--kl-divergence", "--kl-divergence-base", kld_file, "--signed-deltas", records,
    )  # fmt: skip
    return run.stdout, np.load(records)


@pytest.mark.parametrize("model", [demo.REFERENCE, *demo.COMPARISONS], ids=lambda path: path.stem)
def test_mean_nll_of_every_window_is_what_llama_perplexity_prints(model: Path, document: Path) -> None:
    printed = printed_nll(model, document, n_ctx=N_CTX, n_ubatch=N_UBATCH)
    result = ppldelta.score(document, model, model, n_ctx=N_CTX, **SETTINGS)
    per_window = N_CTX - 1 - N_CTX // 2
    logp = result.tokens["logp_ref"].cast(pl.Float64).to_numpy()
    running = -np.cumsum(logp)[per_window - 1 :: per_window] / (per_window * np.arange(1, len(printed) + 1))
    assert len(printed) >= 3
    assert running == pytest.approx(printed, abs=1.5e-6)


def test_a_document_shorter_than_n_ctx_is_one_window_of_its_own_length(document: Path) -> None:
    model = Model(demo.REFERENCE, vocab_only=True)
    length = len(model.tokenize(document.read_bytes())) + 1  # with BOS
    printed = printed_nll(demo.REFERENCE, document, n_ctx=length, n_ubatch=N_UBATCH)
    result = ppldelta.score(document, demo.REFERENCE, demo.REFERENCE, **SETTINGS)
    assert len(printed) == 1
    assert -result.tokens["logp_ref"].cast(pl.Float64).mean() == pytest.approx(printed[0], abs=1.5e-6)


@pytest.mark.parametrize("rule", ["perplexity", "every"])
@pytest.mark.parametrize(
    "path", ["code/ring_buffer.c", "multilingual/ja_ame_no_asa.txt", "prose/mudflats_in_november.txt"]
)
def test_logp_equals_numpy_log_softmax_over_full_logits(rule: str, path: str) -> None:
    model = Model(demo.REFERENCE)
    info = model.info
    tokens = model.tokenize((demo.CORPUS / path).read_bytes())
    windows = cut_windows(tokens, rule=rule, n_ctx=N_CTX, bos=info.bos if info.add_bos else None)
    scorer = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2)
    assert windows
    for window in windows:
        cut = _core.cut([(len(window.tokens), window.first_output)], N_UBATCH, N_UBATCH)
        steps = [range(begin, end) for [(_, begin, end)] in cut]
        exact = log_softmax(full_logits(demo.REFERENCE, window.tokens, N_UBATCH, steps, window.first_output))
        expected = exact[np.arange(len(window.targets)), window.targets]
        assert scorer.score(window) == pytest.approx(expected, abs=2e-5)


def test_logits_that_are_read_in_place_are_those_that_llama_cpp_copies(document: Path) -> None:
    """Bit by bit: the same micro-batches with a host copy of every row, and no reader set."""
    model = Model(demo.REFERENCE)
    (window, *_) = cut_windows(model.tokenize(document.read_bytes()), rule="every", n_ctx=N_CTX, bos=None)
    assert window.first_output == 0 and len(window.tokens) > N_UBATCH
    copied = full_logits(demo.REFERENCE, window.tokens, N_UBATCH)
    scorer = Scorer(model, n_ctx=N_CTX, n_ubatch=N_UBATCH, threads=2)
    assert np.array_equal(scorer.score(window), _core.log_softmax(copied, window.targets, 1))


def test_a_micro_batch_ends_where_its_rows_of_logits_end(document: Path) -> None:
    model = Model(demo.REFERENCE)
    (window, *_) = cut_windows(model.tokenize(document.read_bytes()), rule="perplexity", n_ctx=512, bos=model.info.bos)
    assert (len(window.tokens), window.first_output) == (511, 256)
    steps: list[int] = []
    scorer = Scorer(model, n_ctx=512, n_ubatch=200, n_outputs_max=85, threads=2)
    logp = scorer.score(window, steps.append)
    # at least 64 tokens in each: with fewer, flash attention accumulates in float16
    assert steps == [200, 56 + 85, 85, 85]
    exact = log_softmax(full_logits(demo.REFERENCE, window.tokens, 511))
    assert logp == pytest.approx(exact[np.arange(256, 511), window.targets], abs=1e-4)


def test_records_agree_with_the_engine_within_16_bits(pair: ppldelta.Result, kld_run: tuple[str, np.ndarray]) -> None:
    """The comparison's side is float32; the reference's carries the base file's step, at most 16 / 65535 nats.

    The base file floors a row's log-probabilities at 16 nats below its largest: below that only a bound holds.
    """
    _, records = kld_run
    tokens = pair.tokens
    n_bos = 1
    assert records["token"].tolist() == tokens["token"].to_list()
    assert (records["chunk"] * N_CTX + records["pos"] - n_bos).tolist() == tokens["pos"].to_list()
    assert records["logp_cmp"] == pytest.approx(tokens["logp_cmp"].to_numpy(), abs=1e-5)
    logp_ref = tokens["logp_ref"].to_numpy()
    carried = logp_ref > -14
    assert carried.mean() > 0.9
    assert records["logp_ref"][carried] == pytest.approx(logp_ref[carried], abs=0.5 * 16 / 65535 + 1e-5)
    assert (records["logp_ref"] >= logp_ref - 0.5 * 16 / 65535 - 1e-5).all()


def test_records_equal_a_numpy_reading_of_the_base_file(kld_file: Path, kld_run: tuple[str, np.ndarray]) -> None:
    """Layout: `_logits_`, u32 n_ctx, i32 n_vocab, i32 n_chunk, tokens, then a row of u16 per scored token."""
    _, records = kld_run
    raw = kld_file.read_bytes()
    assert raw[:8] == b"_logits_"
    n_ctx, n_vocab, n_chunk = (int(v) for v in np.frombuffer(raw, "<i4", 3, 8))
    tokens = np.frombuffer(raw, "<i4", n_chunk * n_ctx, 20).reshape(n_chunk, n_ctx)
    width = 2 * ((n_vocab + 1) // 2) + 4
    rows = np.frombuffer(raw, "<u2", offset=20 + tokens.nbytes).reshape(-1, width)
    scale, floor = rows[:, :4].copy().view("<f4").T
    targets = tokens[:, n_ctx // 2 + 1 :].reshape(-1)
    q = rows[np.arange(len(rows)), 4 + targets].astype(np.float32)
    assert np.array_equal(records["token"], targets)
    # float32 throughout; a compiler may contract the product and the sum, which costs one rounding less
    fused = (scale.astype(np.float64) * q + floor).astype(np.float32)
    assert np.all((records["logp_ref"] == scale * q + floor) | (records["logp_ref"] == fused))


def test_printed_sums_are_those_of_the_records(kld_run: tuple[str, np.ndarray]) -> None:
    text, records = kld_run
    gain, loss, n = _core.signed_sums(records["logp_ref"], records["logp_cmp"])
    block = text[text.index("Signed delta statistics") :]
    printed = [float(v) for v in re.findall(r"-?\d+\.\d+", block)]
    assert n == len(records)
    assert printed[0] == pytest.approx(gain / n, abs=1e-6)
    assert str(n) in block
    assert any(v == pytest.approx(loss / n, abs=1e-6) for v in printed)
    assert any(v == pytest.approx((gain - loss) / n, abs=1e-6) for v in printed)
    assert any(v == pytest.approx(gain / n / np.log(2), abs=1e-6) for v in printed)


def test_a_model_against_itself_is_zero(document: Path) -> None:
    result = ppldelta.score(document, demo.REFERENCE, demo.REFERENCE, n_ctx=N_CTX, progress=False)
    assert (result.tokens["delta"] == 0).all()
    assert result.documents.select("gain", "loss", "gain_bpb", "loss_bpb").row(0) == (0, 0, 0, 0)
    assert result.documents.select("ppl_gain", "ppl_loss").row(0) == (1, 1)


def test_swapping_swaps(pair: ppldelta.Result, document: Path) -> None:
    back = ppldelta.score(document, demo.COMPARISONS[0], demo.REFERENCE, n_ctx=N_CTX, **SETTINGS)
    assert (back.tokens["delta"] == -pair.tokens["delta"]).all()
    there, again = pair.documents.row(0, named=True), back.documents.row(0, named=True)
    assert (again["gain"], again["loss"]) == (there["loss"], there["gain"])
    assert there["gain"] > 0
    assert there["loss"] > 0


def test_gain_minus_loss_is_the_mean_delta(demo_result: ppldelta.Result) -> None:
    for row in demo_result.documents.iter_rows(named=True):
        records = demo_result.tokens.filter(
            pl.col("model").cast(pl.String) == row["model"], pl.col("document").cast(pl.String) == row["document"]
        )
        logp_ref, logp_cmp = (records[name].cast(pl.Float64) for name in ("logp_ref", "logp_cmp"))
        mean = (logp_cmp - logp_ref).mean()
        assert row["gain"] - row["loss"] == pytest.approx(mean, abs=1e-12)
        assert mean == pytest.approx(-(np.log(row["ppl_cmp"]) - np.log(row["ppl_ref"])), abs=1e-12)
        assert records["delta"].cast(pl.Float64).mean() == pytest.approx(mean, abs=1e-6), "the column is float32"


def test_every_token_is_scored_once_and_prefix_scores_agree() -> None:
    """Under both rules a document that fits one window is the same forward pass: where both score, they agree."""
    path = demo.CORPUS / "prose" / "mudflats_in_november.txt"
    settings = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[1], "progress": False}
    half = ppldelta.score(path, windows="perplexity", **settings).tokens
    every = ppldelta.score(path, **settings)
    assert every.tokens["pos"].to_list() == list(range(every.documents["n_tokens"][0]))
    both = half.join(every.tokens, on="pos", suffix="_every")
    assert len(both) == len(half) < len(every.tokens)
    for side in ("logp_ref", "logp_cmp"):
        assert both[side].to_numpy() == pytest.approx(both[f"{side}_every"].to_numpy(), abs=2e-5)
