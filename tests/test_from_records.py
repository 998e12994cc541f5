"""Comparisons with a `.kld` file: the numbers of a plain run as far as 16 bits carry them, and what is refused."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import children, llama_perplexity, until
from helpers.blocks import decode
from helpers.kld_files import write_random_kld
from ppldelta import demo
from ppldelta.engine import tool
from ppldelta.errors import ModelError, PpldeltaError, ProcessLostError, RecordsError, TokenizerMismatchError
from ppldelta.records.rows import of_both, of_one
from ppldelta.reporting.blocks import encode
from ppldelta.reporting.payload import make_payload
from ppldelta.run import kld_models

N_CTX, N_CHUNKS = 128, 6
STEP = 16 / 65535
CMP, OTHER = demo.COMPARISONS[-1], demo.COMPARISONS[0]


@dataclass(frozen=True)
class Written:
    """A text, what the tool saved of two models on it, and what it printed of the second against the first."""

    text: str
    ref: Path
    cmp: Path
    printed: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("kld")
    text = "".join(path.read_text() for path in sorted((demo.CORPUS / "prose").iterdir())[:2])
    (folder / "text.txt").write_bytes(text.encode())
    common = ["-c", N_CTX, "-b", N_CTX, "-ub", 256, "-ngl", 0, "-t", 2]
    of_text = [*common, "-bf", folder / "text.txt", "--chunks", N_CHUNKS]
    for name, model in (("ref", demo.REFERENCE), ("cmp", CMP)):
        llama_perplexity(*of_text, "-m", model, "--save-all-logits", folder / f"{name}.kld")
    base = ["--kl-divergence", "--kl-divergence-base", folder / "ref.kld"]
    printed = llama_perplexity(*common, "-m", CMP, *base).stdout
    return Written(text, folder / "ref.kld", folder / "cmp.kld", printed)


@pytest.fixture(scope="module")
def plain(written: Written) -> ppldelta.Result:
    """The same text under the models themselves, in lockstep."""
    settings = {"n_ctx": N_CTX, "max_windows": N_CHUNKS, "kld": True, "store": None, "progress": False}
    return ppldelta.score({"text": written.text}, demo.REFERENCE, CMP, windows="perplexity", **settings)


@pytest.fixture(scope="module")
def of_model(written: Written) -> ppldelta.Result:
    return ppldelta.score(None, written.ref, CMP, store=None, progress=False)


@pytest.fixture(scope="module")
def of_files(written: Written) -> ppldelta.Result:
    return ppldelta.score(None, written.ref, written.cmp, progress=False)


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_a_model_against_a_file_is_a_plain_run_in_16_bits(of_model: ppldelta.Result, plain: ppldelta.Result) -> None:
    ours, theirs = of_model.tokens, plain.tokens
    assert ours["token"].to_list() == theirs["token"].to_list()
    assert ours["logp_cmp"].to_numpy() == pytest.approx(theirs["logp_cmp"].to_numpy(), abs=2e-5)
    kept = theirs["logp_ref"].to_numpy() > -14
    assert kept.mean() > 0.9
    assert ours["logp_ref"].to_numpy()[kept] == pytest.approx(theirs["logp_ref"].to_numpy()[kept], abs=STEP / 2 + 2e-5)
    assert ours["kld"].to_numpy() == pytest.approx(theirs["kld"].to_numpy(), abs=2e-3)
    assert ours["entropy_ref"].to_numpy() == pytest.approx(theirs["entropy_ref"].to_numpy(), abs=2e-3)
    assert (ours["rank_ref"] == theirs["rank_ref"]).mean() > 0.98
    whole = pl.col("category").is_null(), pl.col("weighting") == "tokens"
    (row,), (expected,) = (each.models.filter(*whole).to_dicts() for each in (of_model, plain))
    for name in ("gain", "loss", "kld", "bpb_cmp", "kld_p99", "dp_mean"):
        assert row[name] == pytest.approx(expected[name], abs=STEP), name


def test_two_files_are_a_plain_run_in_16_bits(of_files: ppldelta.Result, plain: ppldelta.Result) -> None:
    ours, theirs = of_files.tokens, plain.tokens
    for name in ("kld", "entropy_ref", "entropy_cmp"):
        assert ours[name].to_numpy() == pytest.approx(theirs[name].to_numpy(), abs=2e-3), name
    for name in ("same_top", "rank_ref", "rank_cmp"):
        assert (ours[name] == theirs[name]).mean() > 0.98, name
    assert ours["logp_cmp"].to_numpy() == pytest.approx(theirs["logp_cmp"].to_numpy(), abs=STEP / 2 + 2e-5)


def test_means_are_those_that_the_tool_prints(of_model: ppldelta.Result, written: Written) -> None:
    row = of_model.models.filter(pl.col("category").is_null(), pl.col("weighting") == "tokens").row(0, named=True)
    printed = {
        name: float(value) for name, value in re.findall(r"^(.+?) *: +(-?\d+\.\d+)", written.printed, re.MULTILINE)
    }
    for ours, theirs in {
        "kld": "Mean    KLD",
        "kld_max": "Maximum KLD",
        "kld_p99": "99.0%   KLD",
        "kld_p50": "Median  KLD",
        "gain": "Gain",
        "loss": "Loss",
        "ppl_cmp": "Mean PPL(Q)",
        "ppl_ref": "Mean PPL(base)",
    }.items():
        assert row[ours] == pytest.approx(printed[theirs], rel=2e-6, abs=2e-6), ours


def test_same_top_of_two_files_is_what_the_tool_prints(of_files: ppldelta.Result, written: Written) -> None:
    """But for a token or two whose two best are one step apart."""
    printed = float(re.findall(r"Same top p: *([\d.]+)", written.printed)[0]) / 100
    n = len(of_files.tokens)
    assert abs(of_files.tokens["same_top"].sum() - printed * n) < 3


def test_what_the_tool_does_not_say_is_null(of_model: ppldelta.Result) -> None:
    for name in ("same_top", "rank_cmp", "entropy_cmp"):
        assert of_model.tokens[name].null_count() == len(of_model.tokens), name
    assert of_model.documents["same_top"].null_count() == N_CHUNKS
    assert of_model.models["same_top"].null_count() == len(of_model.models)
    assert of_model.models["kld"].null_count() == 0


def test_the_report_of_a_nearly_equal_model_is_drawn_and_claims_nothing_that_is_unknown(
    written: Written, tmp_path: Path
) -> None:
    """Rounded to 16 bits, the divergence of the same model comes out below 0 at some tokens."""
    result = ppldelta.score(None, written.ref, {"same": demo.REFERENCE, "other": CMP}, kind="quant", progress=False)
    assert result.tokens["kld"].min() < 0
    assert result.families[0].quants == ["same", "other"]
    assert result.confidence["kld"].null_count() < len(result.confidence)
    assert result.confidence["same_top"].null_count() == len(result.confidence)
    assert ppldelta.verify(result.save(tmp_path / "out")) == []
    frames = {name: result.frames[name] for name in ("tokens", "documents", "pieces", "texts")}
    payload = make_payload(**frames, families=result.families, n_views="all", budget=None)
    _, documents = decode(encode(payload.blocks["f0.documents"]))
    n = len(documents["n_scored"])
    assert (documents["n_same"].reshape(-1, n) > documents["n_scored"]).all(), "nobody knows it"


def test_a_file_against_itself_is_zero(written: Written, tmp_path: Path) -> None:
    shutil.copy(written.ref, tmp_path / "copy.kld")
    result = ppldelta.score(None, written.ref, {"itself": tmp_path / "copy.kld"}, progress=False)
    assert (result.tokens["delta"] == 0).all()
    assert (result.tokens["kld"] == 0).all()
    assert result.tokens["same_top"].all()


def test_a_model_and_a_file_stand_side_by_side(written: Written) -> None:
    result = ppldelta.score(None, written.ref, [CMP, written.cmp], store=None, progress=False)
    model, file = result.tokens.partition_by("model", maintain_order=True)
    assert result.families[0].models == [CMP.stem, "cmp"]
    assert file["logp_cmp"].to_numpy() == pytest.approx(model["logp_cmp"].to_numpy(), abs=STEP / 2 + 2e-5)
    assert result.models["bpb_cmp"].null_count() == 0, "the model's tokenizer reads both"


@pytest.mark.parametrize("seed", range(3))
def test_rows_agree_with_numpy_over_whole_rows(seed: int, tmp_path: Path) -> None:
    """Exact float64 over the log-probabilities of the file, in blocks of rows or not."""
    write_random_kld(tmp_path / "a.kld", seed=seed)
    write_random_kld(tmp_path / "b.kld", seed=seed + 10, tokens_of=seed)
    a, b = ppldelta.read_kld(tmp_path / "a.kld"), ppldelta.read_kld(tmp_path / "b.kld")
    p, q = a.logp(1).astype(np.float64), b.logp(1).astype(np.float64)
    found, rows = of_both(a, b, 1), np.arange(a.n_scored)
    kept = p > -16 + STEP
    assert (~kept).any(), "some are cut off"
    assert found["kld"] == pytest.approx(np.where(kept, np.exp(p) * (p - q), 0).sum(1), rel=1e-6)
    assert found["entropy_ref"] == pytest.approx(-np.where(kept, np.exp(p) * p, 0).sum(1), abs=1e-6)
    assert np.array_equal(found["top_cmp"], q.argmax(1))
    assert found["logp_top_cmp"] == pytest.approx(q.max(1))
    target = q[rows, b.targets[1]]
    assert np.array_equal(found["rank_cmp"], 1 + (q > target[:, None]).sum(1))
    assert np.array_equal(of_one(a, 1)["logp"], found["logp_ref"])


def test_blocks_of_rows_are_the_whole_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random_kld(tmp_path / "a.kld", seed=0)
    file = ppldelta.read_kld(tmp_path / "a.kld")
    whole = of_one(file, 1)
    monkeypatch.setattr("ppldelta.records.kld._BLOCK_BYTES", 3 * 4 * file.n_vocab)
    assert [rows for rows, *_ in file.blocks(1)] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    for name, values in of_one(file, 1).items():
        assert np.array_equal(values, whole[name]), name


# --- the result -------------------------------------------------------------------------------------------------------


def test_chunks_are_documents(of_model: ppldelta.Result, written: Written) -> None:
    assert of_model.documents["document"].to_list() == [f"chunk {i + 1:04}" for i in range(N_CHUNKS)]
    assert of_model.families[0].ref.label == "ref"
    assert of_model.families[0].ref.path == str(written.ref)
    assert of_model.families[0].cmp[0].file_type, "known from the model"
    assert "16 bits" in of_model.warnings[0]
    assert "llama-perplexity" in of_model.signature
    # texts hold no BOS, and `pos` counts without it
    first, second = of_model.texts["tokens"].to_list()[:2]
    assert (len(first), len(second)) == (N_CTX - 1, N_CTX)
    pieces = dict(zip(of_model.pieces["token"], of_model.pieces["piece"], strict=True))
    text = b"".join(pieces[token] for chunk in of_model.texts["tokens"] for token in chunk)
    assert written.text.encode().startswith(text.removeprefix(b" "))
    record = of_model.tokens.row(0, named=True)
    of_chunk = b"".join(pieces[token] for token in first)
    assert of_chunk[record["byte_start"] : record["byte_end"]] == pieces[record["token"]]


def test_without_a_tokenizer_tokens_are_numbers(of_files: ppldelta.Result, tmp_path: Path) -> None:
    assert of_files.documents["n_bytes"].sum() == 0
    assert of_files.documents["gain_bpb"].null_count() == N_CHUNKS
    assert of_files.models["kld"].null_count() == 0
    assert "KLD" in repr(of_files)
    folder = of_files.save(tmp_path / "out")
    again = ppldelta.load(folder)
    assert again.tokens.equals(of_files.tokens)
    passages = [each for each in ppldelta.verify(folder) if each]
    assert passages == []


def test_nothing_is_left_behind(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ppldelta.score(None, written.ref, CMP, store=None, progress=False)
    assert not [path for path in tmp_path.rglob("records.npy")]


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"windows": "every"}, "`windows` must be 'perplexity'"),
        ({"n_ctx": 64}, "`n_ctx` is 128 in"),
        ({"max_windows": 1}, "`max_windows` is for documents"),
        ({"align": "bytes"}, "`align` must be 'tokens' with a `.kld` file, got 'bytes'"),
        ({"top_k": 3}, "`top_k` needs the reference as a model"),
        ({"noise_floor": True}, "`noise_floor` needs the reference as a model"),
    ],
)
def test_settings_that_mean_nothing_are_refused(arguments: dict[str, object], message: str, written: Written) -> None:
    with pytest.raises(PpldeltaError, match=message):
        ppldelta.score(None, written.ref, CMP, progress=False, **arguments)


def test_settings_that_agree_are_taken(written: Written) -> None:
    given = {"windows": "perplexity", "n_ctx": N_CTX, "kld": True}
    result = ppldelta.score(None, written.ref, written.cmp, progress=False, **given)
    assert result.families[0].signature["windows"] == "perplexity"
    assert "the window rule `perplexity`" in " ".join(repr(result).split())


def test_a_file_and_a_corpus_do_not_go_together(written: Written) -> None:
    with pytest.raises(ModelError, match=r"leave the corpus out: `ppldelta.score\(None"):
        ppldelta.score(demo.CORPUS, written.ref, CMP, progress=False)
    with pytest.raises(ModelError, match="name that as `ref`, and no corpus"):
        ppldelta.score(demo.CORPUS, demo.REFERENCE, written.cmp, progress=False)
    with pytest.raises(PpldeltaError, match="there is no corpus"):
        ppldelta.score(None, demo.REFERENCE, CMP, progress=False)
    with pytest.raises(PpldeltaError, match="a dry run needs a corpus"):
        ppldelta.plan(None, written.ref, CMP, progress=False)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    write_random_kld(tmp_path / "a.kld", seed=0)
    with pytest.raises(TokenizerMismatchError, match=r"has a vocabulary of [\d,]+ tokens, and .* one of 96"):
        ppldelta.score(None, tmp_path / "a.kld", CMP, store=None, progress=False)


def test_tokens_of_another_tokenizer_are_refused(written: Written, tmp_path: Path) -> None:
    """The same file with every token's number moved: valid tokens, and no text of this model's."""
    path = tmp_path / "moved.kld"
    shutil.copy(written.ref, path)
    file = ppldelta.read_kld(path)
    tokens = np.memmap(path, "<i4", "r+", 20, file.tokens.shape)
    tokens[:] = 300 + (tokens.astype(np.int64) * 7919) % (file.n_vocab - 300)
    tokens.flush()
    with pytest.raises(TokenizerMismatchError, match="splits texts into other tokens"):
        ppldelta.score(None, path, CMP, store=None, progress=False)


def test_files_of_other_tokens_are_refused(tmp_path: Path) -> None:
    write_random_kld(tmp_path / "a.kld", seed=0)
    write_random_kld(tmp_path / "b.kld", seed=1)
    with pytest.raises(RecordsError, match="tokens differ from chunk 0"):
        ppldelta.score(None, tmp_path / "a.kld", tmp_path / "b.kld", progress=False)


def damaged(path: Path, at: Path) -> Path:
    """A copy whose last row is impossible."""
    content = bytearray(path.read_bytes())
    content[-4000:] = b"\xff" * 4000
    at.write_bytes(content)
    return at


def test_damaged_rows_of_the_reference_end_the_run(written: Written, tmp_path: Path) -> None:
    path = damaged(written.ref, tmp_path / "bad.kld")
    for cmp in (CMP, written.cmp):
        with pytest.raises(RecordsError, match="is damaged: what it holds for chunk 5"):
            ppldelta.score(None, path, cmp, store=None, progress=False)


def test_a_comparison_that_fails_is_left_out(written: Written, tmp_path: Path) -> None:
    bad = damaged(written.cmp, tmp_path / "bad.kld")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(CMP.read_bytes()[:100_000])
    result = ppldelta.score(None, written.ref, [bad, broken, written.cmp], store=None, progress=False)
    assert result.families[0].models == ["cmp"]
    assert sorted(result.left_out["comparison"]) == ["bad", "broken"]
    with pytest.raises(RecordsError, match="damaged"):
        ppldelta.score(None, written.ref, bad, progress=False)


def test_a_tool_that_fails_says_why(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kld_models, "_flags", lambda model, *_: ["-m", str(model.source.path), "--kl-divergence"])
    with pytest.raises(ModelError, match=r"failed: .*you must provide a name of a file"):
        ppldelta.score(None, written.ref, CMP, store=None, progress=False)


@pytest.mark.parametrize(("script", "message"), [("kill -9 $$", "SIGKILL"), ("echo last words; exit 3", "last words")])
def test_a_tool_that_is_ended_is_named(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "dying").chmod(0o755)
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    with pytest.raises(ProcessLostError, match=f"dying, which was evaluating `m`, .*{message}"):
        tool.run_tool("dying", [], label="m", doing="evaluating", written=tmp_path / "nothing")


def test_records_of_another_file_are_refused(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file had been written anew while the tool ran."""
    flags = kld_models._flags
    monkeypatch.setattr(
        kld_models,
        "_flags",
        lambda *given: [str(written.cmp) if part == str(written.ref) else part for part in flags(*given)],
    )
    with pytest.raises(ModelError, match="the file was changed meanwhile"):
        ppldelta.score(None, written.ref, OTHER, store=None, progress=False)


# --- the command line -------------------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ppldelta.cli", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)


def test_the_command_needs_no_corpus(written: Written, tmp_path: Path) -> None:
    done = run("score", "--ref", written.ref, "--cmp", CMP, "--cmp", f"file={written.cmp}", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "16 bits" in done.stderr
    assert "6 chunks of 128 tokens" in done.stderr
    assert f"{CMP.stem}: 768 tokens in" in done.stderr, "progress"
    assert ppldelta.load(tmp_path / "out").families[0].models == [CMP.stem, "file"]


def test_the_command_without_a_corpus_needs_a_file(tmp_path: Path) -> None:
    done = run("score", "--ref", demo.REFERENCE, "--cmp", CMP, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "CORPUS (or a .kld file as --ref)" in done.stderr


def test_flags_may_stand_before_the_corpus(tmp_path: Path) -> None:
    done = run("score", "--ref", demo.REFERENCE, "--cmp", CMP, "--dry-run", "--no-store", demo.CORPUS / "prose")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_tool(signum: int, status: int, written: Written, tmp_path: Path) -> None:
    """The tool is made to last: its base is a pipe that nobody writes to."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import sys, os; from ppldelta import cli; from ppldelta.run import kld_models as m; flags = m._flags;"
        f"os.mkfifo({str(tmp_path / 'pipe')!r});"
        f"m._flags = lambda *a: [{str(tmp_path / 'pipe')!r} if p == {str(written.ref)!r} else p for p in flags(*a)];"
        "sys.exit(cli.main())"
    )
    arguments = ["score", "--ref", written.ref, "--cmp", CMP, "-o", tmp_path / "out", "--no-store"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**__import__("os").environ, "TMPDIR": str(scratch)},
    )
    tools: list[int] = []

    def running() -> bool:
        tools[:] = [pid for pid in children(process.pid) if b"llama-perplexity" in cmdline(pid)]
        return bool(tools)

    until(running, 120)
    time.sleep(0.5)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "nothing was kept" in said
    assert not Path(f"/proc/{tools[0]}").exists()
    assert not [path for path in scratch.rglob("*") if path.name == "records.npy"]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
