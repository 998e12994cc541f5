"""Models whose rows of logits, sliding window or placement of weights could make numbers wrong without a word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from conftest import printed_nll
from helpers import odd_models, tiny_models
from ppldelta import _core
from ppldelta.engine.devices import devices
from ppldelta.engine.native import Model, Scorer

TEXT = "The tide was out, and nobody was about. " * 12
QUIET = {"progress": False, "store": None}


def amx() -> bool:
    """Whether weights may lie in AMX's layout here."""
    return any("AMX" in device.buffer_types for device in devices())


# --- rows that were not asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kld", [False, True])
def test_a_graph_that_does_not_select_rows_is_refused(tmp_path: Path, kld: bool) -> None:
    model = odd_models.write_cogvlm(tmp_path / "cogvlm.gguf")
    with pytest.raises(
        ppldelta.ModelError, match=r"gives 127 rows of logits instead of the 63 .* \(in `a`\)"
    ) as caught:
        ppldelta.score({"a": TEXT}, model, model, windows="perplexity", n_ctx=128, kld=kld, **QUIET)
    assert "leave the model out" in caught.value.hint
    good = tiny_models.write(tmp_path / "llama.gguf", "llama")
    result = ppldelta.score({"a": TEXT}, good, {"cogvlm": model, "good": good}, n_ctx=128, kld=kld, **QUIET)
    assert result.left_out == {"comparison": ["cogvlm"]}
    assert "rows of logits" in result.warnings[0] and "leave the model out" in result.warnings[0]
    assert result.tokens["model"].unique().to_list() == ["good"]


def test_where_all_rows_are_asked_for_they_are_right(tmp_path: Path) -> None:
    """The refusal goes by the rows: a window that is scored as a whole is evaluated."""
    model = odd_models.write_cogvlm(tmp_path / "cogvlm.gguf")
    result = ppldelta.score({"a": TEXT[:100]}, model, model, n_ctx=128, windows="every", **QUIET)
    assert len(result.tokens) == 99


# --- sliding windows ------------------------------------------------------------------------------------------------


def test_a_sliding_window_is_cached_as_llama_perplexity_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sliding window of 32 and micro-batches of 128 take 256 cells instead of 1024."""
    path = tiny_models.write(tmp_path / "gemma2.gguf", "gemma2")
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(32 + 7 * i * i % 95) for i in range(2100)))
    n_ctx, n_ubatch = 1024, 128
    printed = printed_nll(path, text, n_ctx=n_ctx, n_ubatch=n_ubatch)
    ours = ppldelta.score(text, path, path, windows="perplexity", n_ctx=n_ctx, n_ubatch=n_ubatch, **QUIET)
    per_window = n_ctx - 1 - n_ctx // 2
    logp = ours.tokens["logp_ref"].cast(pl.Float64).to_numpy()
    running = -np.cumsum(logp)[per_window - 1 :: per_window] / (per_window * np.arange(1, 3))
    assert running == pytest.approx(printed, abs=1.5e-6)
    assert "|swa_full:false|" in ours.signature
    cells = r"llama_kv_cache: size = .* \( *(\d+) cells"
    with caplog.at_level("DEBUG", logger="ppldelta.llama_cpp"):
        Scorer(Model(path), n_ctx=n_ctx, n_ubatch=n_ubatch, threads=1)
    assert re.findall(cells, caplog.text)[-2:] == ["1024", "256"], (
        "the last context's; others may not have been logged yet"
    )


# --- stacks of matrices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["F16", "Q4_0", "Q8_0"])
def test_stacks_of_matrices_are_multiplied_right(tmp_path: Path, type: str) -> None:
    """Where AMX had them, ggml would end the process. What is left is the rounding of activations."""
    plain = odd_models.write_deepseek2(tmp_path / "plain.gguf", type, as_f32=True)
    packed = odd_models.write_deepseek2(tmp_path / "packed.gguf", type)
    (difference,) = ppldelta.score({"a": TEXT}, plain, packed, n_ctx=128, **QUIET).tokens.select(
        pl.col("delta").abs().mean()
    )
    assert difference.item() < 0.1, "0.03 with AMX"


@pytest.mark.skipif(not amx(), reason="this CPU has no AMX, or the build does not use it")
def test_only_stacks_are_kept_from_amx(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = odd_models.write_deepseek2(tmp_path / "packed.gguf", "Q8_0")
    with caplog.at_level("DEBUG", logger="ppldelta.llama_cpp"):
        ppldelta.score({"a": TEXT}, model, model, n_ctx=128, **QUIET)
    moved = set(re.findall(r"tensor (blk\.\S+) \(.*overridden to CPU_Mapped", caplog.text))
    assert moved == {f"blk.{i}.attn_{kv}_b.weight" for i in range(tiny_models.N_LAYER) for kv in "kv"}
    assert re.search(r"AMX model buffer size = +\d+\.\d+ MiB", caplog.text)


@pytest.mark.skipif(not amx(), reason="this CPU has no AMX, or the build does not use it")
def test_stacks_on_a_device_stay_there(tmp_path: Path, rpc: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of four blocks and the output, the last two are on the device."""
    plain = odd_models.write_deepseek2(tmp_path / "plain.gguf", "Q8_0", as_f32=True)
    packed = odd_models.write_deepseek2(tmp_path / "packed.gguf", "Q8_0")
    with caplog.at_level("DEBUG", logger="ppldelta.llama_cpp"):
        result = ppldelta.score({"a": TEXT}, plain, packed, n_ctx=128, rpc=[rpc], n_gpu_layers=2, **QUIET)
    moved = set(re.findall(r"tensor (blk\.\S+) \(.*overridden to CPU_Mapped", caplog.text))
    assert moved == {f"blk.{i}.attn_{kv}_b.weight" for i in range(3) for kv in "kv"}
    assert result.tokens["delta"].abs().mean() < 0.1


def test_which_tensors_are_stacks() -> None:
    def matching(n_blocks: int | None) -> list[str]:
        pattern = re.compile(_core.stacks_pattern(n_blocks))
        names = [f"blk.{i}.{name}.weight" for i in (0, 3, 12, 30) for name in ("attn_k_b", "attn_q", "ffn_up_exps")]
        return [name for name in [*names, "altup_proj.weight", "output.weight"] if pattern.search(name)]

    blocks = [f"blk.{i}.attn_k_b.weight" for i in (0, 3, 12, 30)]
    assert matching(None) == [*blocks, "altup_proj.weight"]
    assert matching(4) == blocks[:2]
    assert matching(13) == blocks[:3]
