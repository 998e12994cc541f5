"""Trains the two LoRAs of `direction.py` on texts of which no item is made, and writes them as GGUF.

    pip install torch transformers gguf
    python bench/direction_lora.py MODEL.gguf FOLDER

`sums.gguf` learns sums in the items' form, `reference.gguf` passages of Python's language reference: rank 8 on the
values, the output of attention and the feed-forward matrices, which no converter permutes.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import direction_items

RANK, ALPHA, RATE, BATCH = 8, 16.0, 1e-3, 8
MATRICES = {
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Lora(torch.nn.Module):
    """A matrix with a change of low rank on top: W x + alpha / rank · B A x."""

    def __init__(self, of: torch.nn.Linear) -> None:
        super().__init__()
        self.of = of
        self.a = torch.nn.Parameter(torch.randn(RANK, of.in_features) / of.in_features**0.5)
        self.b = torch.nn.Parameter(torch.zeros(of.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of(x) + (x @ self.a.T) @ self.b.T * (ALPHA / RANK)


def train(path: Path, texts: list[str], n_steps: int, max_tokens: int, out: Path) -> None:
    """Trains a LoRA on texts, `BATCH` at a time, and writes it."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.requires_grad_(False)
    loras: dict[str, Lora] = {}
    for i, layer in enumerate(model.model.layers):
        for name, of_gguf in MATRICES.items():
            parent = layer.get_submodule(name.split(".")[0])
            loras[f"blk.{i}.{of_gguf}.weight"] = lora = Lora(layer.get_submodule(name))
            setattr(parent, name.split(".")[1], lora)
    parameters = [each for lora in loras.values() for each in (lora.a, lora.b)]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    rng = random.Random(0)
    started = time.perf_counter()
    for step in range(n_steps):
        rows = [tokenizer.encode(text)[:max_tokens] for text in rng.sample(texts, BATCH)]
        width = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        labels = tokens.masked_fill(mask == 0, -100)
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / n_steps)
        optimizer.step()
        if step % 10 == 0 or step == n_steps - 1:
            print(f"{out.stem} step {step}: {loss.item():.3f} nats, {time.perf_counter() - started:.0f} s", flush=True)
    write(out, loras)


def write(out: Path, loras: dict[str, Lora]) -> None:
    """Writes a LoRA as llama.cpp's convert_lora_to_gguf.py would."""
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, lora in loras.items():
        for end, matrix in (("lora_a", lora.a), ("lora_b", lora.b)):
            writer.add_tensor(f"{name}.{end}", np.ascontiguousarray(matrix.detach().numpy(), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("sums", "reference"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    _, rest = direction_items.make()
    sums = [f"{direction_items.SUMS}{a} + {b} = {a + b}" for a, b in rest.sums]
    for name, texts, n_tokens in (("sums", sums, 48), ("reference", rest.passages, 64)):
        if arguments.only in (None, name):
            train(arguments.model, texts, arguments.steps, n_tokens, arguments.folder / f"{name}.gguf")


if __name__ == "__main__":
    main()
