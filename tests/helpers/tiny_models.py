"""Models of four architectures with seeded random weights, small enough to be written by a test.

Each stands for a way in which a token sees those before it: all of them (llama), those in a sliding window (gemma2),
a state (mamba), or a state in some layers and all of them in others (lfm2). The vocabulary is the 256 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np

N_EMBD, N_LAYER, N_HEAD, N_FF = 128, 4, 2, 256
HEAD_SIZE = N_EMBD // N_HEAD
SLIDING_WINDOW = 32

Sizes = dict[str, tuple[int, ...]]


def weights(**sizes: tuple[int, ...]) -> Sizes:
    return {f"{name}.weight": size for name, size in sizes.items()}


def biases(**sizes: tuple[int, ...]) -> Sizes:
    return {f"{name}.bias": size for name, size in sizes.items()}


def attention(n_head_kv: int = N_HEAD, *, norms: bool = False, gate: bool = False) -> Sizes:
    """Of one layer: `norms` of queries and keys; a `gate` beside each query."""
    rows, rows_kv = N_HEAD * HEAD_SIZE, n_head_kv * HEAD_SIZE
    found = weights(
        attn_norm=(N_EMBD,),
        attn_q=(rows * (2 if gate else 1), N_EMBD),
        attn_k=(rows_kv, N_EMBD),
        attn_v=(rows_kv, N_EMBD),
        attn_output=(N_EMBD, rows),
    )
    return found | (weights(attn_q_norm=(HEAD_SIZE,), attn_k_norm=(HEAD_SIZE,)) if norms else {})


def feed_forward() -> Sizes:
    return weights(ffn_norm=(N_EMBD,), ffn_gate=(N_FF, N_EMBD), ffn_up=(N_FF, N_EMBD), ffn_down=(N_EMBD, N_FF))


def mamba_layer() -> Sizes:
    inner, state, rank, kernel = 2 * N_EMBD, 16, 8, 4
    return {
        "ssm_in.weight": (2 * inner, N_EMBD),
        "ssm_conv1d.weight": (inner, kernel),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (rank + 2 * state, inner),
        "ssm_dt.weight": (inner, rank),
        "ssm_dt.bias": (inner,),
        "ssm_a": (inner, state),
        "ssm_d": (inner,),
        "ssm_out.weight": (N_EMBD, inner),
    }


def _llama(layer: int) -> Sizes:
    return attention() | feed_forward()


def _gemma2(layer: int) -> Sizes:
    return attention() | feed_forward() | weights(post_attention_norm=(N_EMBD,), post_ffw_norm=(N_EMBD,))


def _mamba(layer: int) -> Sizes:
    return weights(attn_norm=(N_EMBD,)) | mamba_layer()


def _lfm2(layer: int) -> Sizes:
    if layer % 2:
        return attention(norms=True) | feed_forward()
    convolution: Sizes = {
        "shortconv.conv.weight": (N_EMBD, 3),
        "shortconv.in_proj.weight": (3 * N_EMBD, N_EMBD),
        "shortconv.out_proj.weight": (N_EMBD, N_EMBD),
    }
    return weights(attn_norm=(N_EMBD,)) | convolution | feed_forward()


_LAYERS: dict[str, Callable[[int], Sizes]] = {"llama": _llama, "gemma2": _gemma2, "mamba": _mamba, "lfm2": _lfm2}
ARCHITECTURES = tuple(_LAYERS)


def write(
    path: Path, architecture: str, *, seed: int = 0, n_unused: int = 0, merges: Sequence[str] = (), bos: bool = False
) -> Path:
    """Writes a model of one of `ARCHITECTURES`, all tensors F32.

    Args:
        path: the file.
        architecture: which.
        seed: of the weights.
        n_unused: tokens of its vocabulary that are in no text.
        merges: pairs of tokens, such as `h e`, each of which is one token more.
        bos: whether texts begin with a token, which is that of byte 0.
    """
    writer = begin(path, architecture, n_unused=n_unused, merges=merges, bos=bos)
    if architecture == "gemma2":
        writer.add_key_length(HEAD_SIZE)
        writer.add_value_length(HEAD_SIZE)
        writer.add_sliding_window(SLIDING_WINDOW)
    elif architecture == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * N_EMBD)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(8)
    elif architecture == "lfm2":
        writer.add_shortconv_l_cache(3)
    if architecture == "lfm2":
        writer.add_head_count_kv([N_HEAD * (layer % 2) for layer in range(N_LAYER)])
    else:
        writer.add_head_count_kv(N_HEAD)

    output_norm = "token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight"
    sizes: Sizes = {"token_embd.weight": (256 + n_unused + len(merges), N_EMBD), output_norm: (N_EMBD,)}
    for layer in range(N_LAYER):
        sizes |= {f"blk.{layer}.{name}": size for name, size in _LAYERS[architecture](layer).items()}
    return finish(writer, path, sizes, seed=seed)


def begin(
    path: Path,
    architecture: str,
    *,
    n_head: int = N_HEAD,
    n_unused: int = 0,
    merges: Sequence[str] = (),
    bos: bool = False,
) -> gguf.GGUFWriter:
    """A writer that has what every architecture says of itself, and the vocabulary."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_context_length(2048)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYER)
    writer.add_feed_forward_length(N_FF)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_head_count(n_head)
    _add_bytes_as_vocabulary(writer, n_unused, merges, bos)
    return writer


def finish(
    writer: gguf.GGUFWriter,
    path: Path,
    sizes: Sizes,
    type: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    *,
    as_f32: bool = False,
    seed: int = 0,
) -> Path:
    """Writes tensors of these sizes; matrices in a type, or in F32 with the values that they have in that type."""
    rng = np.random.default_rng(seed)
    for name, size in sizes.items():
        values = _values(name, size, rng)
        if type == gguf.GGMLQuantizationType.F32 or len(size) == 1:
            writer.add_tensor(name, values)
            continue
        rows = gguf.quantize(values, type)
        if as_f32:
            writer.add_tensor(name, gguf.dequantize(rows, type))
        else:
            writer.add_tensor(name, rows, raw_dtype=type)
    save(writer)
    return path


def save(writer: gguf.GGUFWriter) -> None:
    """Writes what the writer holds, and closes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _values(name: str, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.endswith("ssm_a"):  # a state decays
        return -np.exp(rng.standard_normal(size, np.float32))
    if name.endswith(("norm.weight", "norm", "ssm_d")):
        return np.ones(size, np.float32)
    if name.startswith("token_embd"):  # the head too: logits then spread like a trained model's
        return rng.standard_normal(size, np.float32) * np.float32(1.6 / N_EMBD**0.5)
    return rng.standard_normal(size, np.float32) / np.float32(max(size[-1], 4) ** 0.5)


def _add_bytes_as_vocabulary(writer: gguf.GGUFWriter, n_unused: int, merges: Sequence[str], bos: bool) -> None:
    """A byte-level vocabulary with merges, or without but one, which a reader wants to find and no text can use."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    tokens = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens += [f"<unused{i}>" for i in range(n_unused)] + [merge.replace(" ", "") for merge in merges]
    types = [gguf.TokenType.NORMAL] * len(merges)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.UNUSED] * n_unused + types)
    writer.add_token_merges(list(merges) or ["zz zz"])
    writer.add_add_bos_token(bos)
    if bos:
        writer.add_bos_token_id(188)  # byte 0, the first that is not printable
    writer.add_eos_token_id(0)
