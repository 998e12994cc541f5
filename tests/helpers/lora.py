"""LoRAs for the demo's reference, of seeded random numbers, as llama.cpp's convert_lora_to_gguf.py would write them."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from helpers import tiny_models
from ppldelta import demo

RANK = 4
ON = ("attn_q.weight", "ffn_down.weight")


def write_lora(path: Path, seed: int, *, architecture: str = "llama", alpha: float = 8.0) -> Path:
    """A LoRA on two matrices of every layer; its change is large enough to be seen."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor in gguf.GGUFReader(demo.REFERENCE).tensors:
        if tensor.name.endswith(ON):
            n_columns, n_rows = (int(n) for n in tensor.shape)
            a = rng.normal(0, 0.05, (RANK, n_columns)).astype(np.float32)
            b = rng.normal(0, 0.05, (n_rows, RANK)).astype(np.float32)
            writer.add_tensor(f"{tensor.name}.lora_a", a)
            writer.add_tensor(f"{tensor.name}.lora_b", b)
    tiny_models.save(writer)
    return path
