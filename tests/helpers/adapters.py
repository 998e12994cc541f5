"""Adapters for the demo's reference, of seeded random numbers, as llama.cpp's own tools would write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
import numpy as np

from helpers import tiny_models
from ppldelta import demo

RANK = 4
ON = ("attn_q.weight", "ffn_down.weight")


def write_lora(
    path: Path,
    seed: int,
    *,
    architecture: str = "llama",
    alpha: float = 8.0,
    n_columns: int | None = None,
    renamed: str | None = None,
) -> Path:
    """A LoRA on two matrices of every layer; its change is large enough to be seen. It can be made for matrices of
    another width, or with another beginning of their names."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor in gguf.GGUFReader(demo.REFERENCE).tensors:
        if tensor.name.endswith(ON):
            own_columns, n_rows = (int(n) for n in tensor.shape)
            a = rng.normal(0, 0.05, (RANK, n_columns or own_columns)).astype(np.float32)
            b = rng.normal(0, 0.05, (n_rows, RANK)).astype(np.float32)
            name = tensor.name.replace("blk.0.", renamed or "blk.0.")
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
    tiny_models.save(writer)
    return path


def write_control_vector(
    path: Path, seed: int, *, layers: Iterable[int] = (1,), n_embd: int = 256, size: float = 1.0, **other: str
) -> Path:
    """A control vector of random directions, each of this length, for the demo's reference (256 values, 2 layers), as
    llama.cpp's cvector-generator would write it; `other` are texts of its head that take the place of its own."""
    rng = np.random.default_rng(seed)
    said = {"general_architecture": "controlvector", **other}
    writer = gguf.GGUFWriter(path, said.pop("general_architecture"))
    for key, value in said.items():
        writer.add_string(key.replace("_", ".", 1), value)
    for layer in layers:
        direction = rng.normal(0, 1, n_embd)
        writer.add_tensor(f"direction.{layer}", (size * direction / np.linalg.norm(direction)).astype(np.float32))
    tiny_models.save(writer)
    return path
