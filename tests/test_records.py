"""Files of the patched llama-perplexity: what it writes is read as it counts, and what is damaged is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ppldelta import _core, demo
from ppldelta.errors import RecordsError
from ppldelta.records.kld import read_kld
from ppldelta.records.signed import DTYPE, compare_kld, read_records

N_CTX = 128
N_VOCAB = 96


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `.kld` files of two models and the tool's own records of the second against the first."""
    folder = tmp_path_factory.mktemp("records")
    text = folder / "text.txt"
    text.write_text("".join(path.read_text() for path in sorted((demo.CORPUS / "prose").iterdir())[:2]))
    common = ["-f", str(text), "-c", str(N_CTX), "-b", str(N_CTX), "--chunks", "4", "-ngl", "0", "-t", "2"]
    tool = [sys.executable, "-m", "ppldelta.cli", "perplexity", *common]
    models = {"ref": demo.REFERENCE, "cmp": demo.COMPARISONS[-1]}
    for name, model in models.items():
        subprocess.run(
            [*tool, "-m", str(model), "--save-all-logits", str(folder / f"{name}.kld")], check=True, timeout=120
        )
    ours = [
        "--kl-divergence",
        "--kl-divergence-base",
        str(folder / "ref.kld"),
        "--signed-deltas",
        str(folder / "cmp.npy"),
    ]
    subprocess.run([*tool, "-m", str(models["cmp"]), *ours], check=True, timeout=120)
    return folder


def test_the_record_is_that_of_the_shared_header() -> None:
    assert _core.record_dtype == DTYPE


def test_two_files_give_the_tools_records(written: Path) -> None:
    theirs = read_records(written / "cmp.npy")
    ours = np.concatenate(list(compare_kld(read_kld(written / "ref.kld"), read_kld(written / "cmp.kld"))))
    for name in ("chunk", "pos", "token"):
        assert np.array_equal(ours[name], theirs[name])
    assert np.abs(ours["logp_ref"] - theirs["logp_ref"]).max() < 1e-6, "read from the same file"
    assert np.abs(ours["logp_cmp"] - theirs["logp_cmp"]).max() < 8 / 65535, "half a step of 16 nats / 65535"
    assert np.abs(ours["kld"] - theirs["kld"]).max() < 8 / 65535 + 1e-5


def test_a_file_against_itself_is_at_no_distance(written: Path) -> None:
    ref = read_kld(written / "ref.kld")
    assert all(not records["kld"].any() for records in compare_kld(ref, ref))


def test_probabilities_sum_up_to_one(written: Path) -> None:
    ref = read_kld(written / "ref.kld")
    sums = np.exp(ref.logp(0).astype(np.float64)).sum(axis=1)
    assert sums == pytest.approx(np.ones(ref.n_scored), abs=1e-3)


def test_files_of_other_tokens_do_not_belong_together(written: Path, tmp_path: Path) -> None:
    write_kld(tmp_path / "a.kld", seed=0)
    write_kld(tmp_path / "b.kld", seed=1)
    with pytest.raises(RecordsError, match="tokens differ from chunk 0, token 0 on"):
        next(compare_kld(read_kld(tmp_path / "a.kld"), read_kld(tmp_path / "b.kld")))
    with pytest.raises(RecordsError, match="n_vocab is"):
        next(compare_kld(read_kld(tmp_path / "a.kld"), read_kld(written / "ref.kld")))


def write_kld(path: Path, *, seed: int) -> NDArray[np.float32]:
    """A small file as the tool writes it, from random logits; returns its log-probabilities."""
    rng = np.random.default_rng(seed)
    n_ctx, n_chunks = 16, 2
    n_rows = n_chunks * (n_ctx - 1 - n_ctx // 2)
    logits = rng.standard_normal((n_rows, N_VOCAB)).astype(np.float32) * 3
    most = logits.max(axis=1, keepdims=True)
    least = np.maximum(logits.min(axis=1, keepdims=True), most - 16)
    log_sum = np.log(np.exp(logits - most, dtype=np.float64).sum(axis=1, keepdims=True))
    step = ((most - least) / 65535).astype(np.float32)
    steps = np.rint(np.maximum(logits - least, 0) / step).astype("<u2")
    heads = np.concatenate([step, (least - most - log_sum).astype(np.float32)], axis=1).astype("<f4")
    tokens = rng.integers(0, N_VOCAB, n_chunks * n_ctx).astype("<i4")
    header = b"_logits_" + np.array([n_ctx, N_VOCAB, n_chunks], "<i4").tobytes()
    rows = b"".join(head.tobytes() + row.tobytes() for head, row in zip(heads, steps, strict=True))
    path.write_bytes(header + tokens.tobytes() + rows)
    return (logits - most - log_sum).astype(np.float32)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    logp = write_kld(tmp_path / "a.kld", seed=3)
    file = read_kld(tmp_path / "a.kld")
    assert (file.n_ctx, file.n_vocab, file.n_chunks, file.n_scored) == (16, N_VOCAB, 2, 7)
    assert np.concatenate([file.logp(0), file.logp(1)]) == pytest.approx(
        np.maximum(logp, logp.max(1)[:, None] - 16), abs=2e-4
    )


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_kld_file_is_refused_or_means_the_same(seed: int, tmp_path: Path) -> None:
    """16 bits without a checksum cannot show every flipped bit: what is accepted is near what was written."""
    path = tmp_path / "a.kld"
    write_kld(path, seed=3)
    before = np.concatenate([read_kld(path).logp(i) for i in range(2)])
    tokens = read_kld(path).tokens
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        content = content[: rng.integers(len(content))]
    else:
        # heads of rows and the file's head half of the time, else anywhere
        at = int(rng.integers(len(content)) if seed % 3 == 1 else rng.integers(20))
        content[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    try:
        file = read_kld(path)
        after = np.concatenate([file.logp(i) for i in range(file.n_chunks)])
    except RecordsError:
        return
    if not np.array_equal(file.tokens, tokens):  # another token of the same vocabulary: nothing tells
        assert (file.tokens != tokens).sum() == 1
        return
    p, q = np.exp(before.astype(np.float64)), np.exp(after.astype(np.float64))
    assert np.abs(p - q).sum() < 5e-4, "probability that was moved: 1.7e-4 at most in 3,000 files"


@pytest.mark.parametrize("seed", range(200))
def test_damaged_records_are_refused_or_possible(seed: int, written: Path, tmp_path: Path) -> None:
    content = bytearray((written / "cmp.npy").read_bytes())
    rng = np.random.default_rng(seed)
    if seed % 2:
        content = content[: rng.integers(len(content))]
    else:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    try:
        records = read_records(path)
    except RecordsError:
        return
    assert (records["logp_ref"] <= 1e-3).all()
    assert np.isfinite(records["kld"]).all()


@pytest.mark.parametrize("content", [b"", b"_logits_", b"GGUF" + bytes(100), b"_logits_" + bytes(12)])
def test_other_files_are_no_kld_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.kld").write_bytes(content)
    with pytest.raises(RecordsError):
        read_kld(tmp_path / "a.kld")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="cannot read"):
        read_kld(tmp_path / "a.kld")
    with pytest.raises(RecordsError, match="cannot read"):
        read_records(tmp_path / "a.npy")
