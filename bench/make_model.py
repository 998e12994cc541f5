"""Writes the synthetic models of the benchmarks: qwen3 in shape, Q8_0, tied head, random but seeded weights.

The vocabulary has the size of Qwen3's and a byte-level BPE that works (`texts.vocabulary`).

    python bench/make_model.py --shape mid -o mid.gguf
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from texts import vocabulary

Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32


@dataclass(frozen=True)
class Shape:
    """Hyperparameters, named as llama.cpp names them."""

    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_vocab: int
    n_ctx_train: int
    head_size: int = 64

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV cache (f16) for each token of context."""
        return self.n_layer * 2 * self.n_head_kv * self.head_size * 2


SHAPES = {
    "mid": Shape(n_embd=1024, n_layer=8, n_head=16, n_head_kv=8, n_ff=3072, n_vocab=151936, n_ctx_train=40960),
    "long": Shape(n_embd=256, n_layer=2, n_head=4, n_head_kv=1, n_ff=512, n_vocab=151936, n_ctx_train=131072),
    "large": Shape(
        n_embd=2560, n_layer=24, n_head=32, n_head_kv=8, n_ff=9728, n_vocab=151936, n_ctx_train=40960, head_size=128
    ),  # a model of four billion parameters, with two thirds of its layers
    "least": Shape(n_embd=64, n_layer=1, n_head=1, n_head_kv=1, n_ff=64, n_vocab=2048, n_ctx_train=512),
    "quick": Shape(n_embd=256, n_layer=2, n_head=4, n_head_kv=1, n_ff=512, n_vocab=16384, n_ctx_train=131072),
}


def tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and sizes of the weights; one dimension means a norm."""
    heads, heads_kv = shape.n_head * shape.head_size, shape.n_head_kv * shape.head_size
    block = {
        "attn_norm": (shape.n_embd,),
        "attn_q": (heads, shape.n_embd),
        "attn_k": (heads_kv, shape.n_embd),
        "attn_v": (heads_kv, shape.n_embd),
        "attn_q_norm": (shape.head_size,),
        "attn_k_norm": (shape.head_size,),
        "attn_output": (shape.n_embd, heads),
        "ffn_norm": (shape.n_embd,),
        "ffn_gate": (shape.n_ff, shape.n_embd),
        "ffn_up": (shape.n_ff, shape.n_embd),
        "ffn_down": (shape.n_embd, shape.n_ff),
    }
    blocks = {f"blk.{i}.{name}.weight": size for i in range(shape.n_layer) for name, size in block.items()}
    return {"token_embd.weight": (shape.n_vocab, shape.n_embd), "output_norm.weight": (shape.n_embd,), **blocks}


def drawn_blocks(rng: np.random.Generator, size: tuple[int, ...], scale: float) -> np.ndarray:
    """Q8_0 blocks of weights with this standard deviation, which are drawn evenly, since that is fast.

    A block is a float16 factor and 32 int8 values.
    """
    rows, columns = size
    blocks = np.frombuffer(rng.bytes(rows * columns // 32 * 34), np.uint8).reshape(-1, 34).copy()
    blocks[:, :2] = np.array([scale / 73.9], np.float16).view(np.uint8)  # 73.9: of the 256 int8 values, evenly drawn
    return blocks.reshape(rows, -1)


def write(path: Path, shape: Shape, *, seed: int = 0, noise: float = 0.0, quick: bool = False) -> Path:
    """Writes `path`. The same seed gives the same weights; `noise` (relative) makes a comparison to that reference.

    `quick` draws the weights as `drawn_blocks` does; there is no comparison to them.
    """
    rng, noise_rng = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "qwen3")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(path.stem)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokens, merges = vocabulary(shape.n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    for name, size in tensors(shape).items():
        # the embedding is the head too: logits then spread like a trained model's, by about 1.6
        scale = 1.6 / shape.n_embd**0.5 if name.startswith("token_embd") else 0.64 / shape.n_embd**0.5
        if quick and len(size) > 1:
            writer.add_tensor(name, drawn_blocks(rng, size, scale), raw_dtype=Q8_0)
            continue
        values = np.ones(size, np.float32) if len(size) == 1 else rng.standard_normal(size, np.float32) * scale
        if noise and len(size) > 1:
            values += noise_rng.standard_normal(size, np.float32) * (noise * scale)
        kind = F32 if len(size) == 1 else Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return part.rename(path)


def cached(work: Path, shape: str, *, noise: float = 0.0) -> Path:
    """A model of the benchmarks, written where it is not there yet."""
    path = work / f"{shape}{f'-noise{noise:g}' if noise else ''}.Q8_0.gguf"
    if not path.exists():
        print(f"  writing {path.name}", file=sys.stderr, flush=True)
        write(path, SHAPES[shape], noise=noise)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="mid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.0, help="relative noise on the weights: a comparison model")
    parser.add_argument("--quick", action="store_true", help="even instead of normal weights, written in seconds")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.gguf")
    given = parser.parse_args()
    write(given.output, SHAPES[given.shape], seed=given.seed, noise=given.noise, quick=given.quick)
