"""Writes a model as a GGUF file, reads one back, and quantises.

F32 and Q8_0 are written here with the `gguf` package; K-quants are left to llama.cpp's `llama-quantize`, called on the
F32 file. Reading back (dequantised) lets `evaluate` measure the very files that are shipped.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch

import tokenizer as family_tokenizer
from llama import Llama, Shape


@dataclass(frozen=True)
class Card:
    """What the file says about itself: shown by model hubs and by llama.cpp."""

    name: str
    description: str
    finetune: str = ""


def tensor_names(shape: Shape) -> dict[str, str]:
    """The module's parameter → the GGUF's tensor."""
    names = {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    parts = {
        "attn_norm": "attn_norm",
        "attn.q": "attn_q",
        "attn.k": "attn_k",
        "attn.v": "attn_v",
        "attn.output": "attn_output",
        "ffn_norm": "ffn_norm",
        "ffn.gate": "ffn_gate",
        "ffn.up": "ffn_up",
        "ffn.down": "ffn_down",
    }
    for i in range(shape.n_layer):
        names |= {f"blocks.{i}.{ours}.weight": f"blk.{i}.{theirs}.weight" for ours, theirs in parts.items()}
    return names


def write(model: Llama, tokenizer_path: Path, path: Path, file_type: gguf.LlamaFileType, card: Card) -> None:
    """Writes `path`; matrices in the file type (F32 or Q8_0), norms in F32."""
    quantization = {
        gguf.LlamaFileType.ALL_F32: gguf.GGMLQuantizationType.F32,
        gguf.LlamaFileType.MOSTLY_Q8_0: gguf.GGMLQuantizationType.Q8_0,
    }[file_type]
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    add_card(writer, card)
    add_shape(writer, model.shape)
    add_tokenizer(writer, tokenizer_path)
    writer.add_file_type(file_type)
    if file_type != gguf.LlamaFileType.ALL_F32:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = tensor_names(model.shape)
    for name, weight in model.named_parameters():
        values = weight.detach().numpy()
        kind = quantization if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(names[name], gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(path)


def add_card(writer: gguf.GGUFWriter, card: Card) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(card.name)
    writer.add_description(card.description)
    writer.add_basename("tiny")
    if card.finetune:
        writer.add_finetune(card.finetune)
    writer.add_size_label("2M")
    writer.add_license("mit")
    writer.add_license_name("MIT")
    writer.add_author("the ppldelta project")
    writer.add_languages(["en", "de", "fr", "es", "it", "pt", "pl", "ru", "nl", "ja"])


def add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_vocab_size(shape.n_vocab)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_rot)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)


def add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    model = json.loads(path.read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    special = {family_tokenizer.BOS_ID, family_tokenizer.EOS_ID}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    )
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(family_tokenizer.BOS_ID)
    writer.add_eos_token_id(family_tokenizer.EOS_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def quantize(program: str, source: Path, out: Path) -> None:
    """Q2_K throughout, the token embedding included, so that the damage shows."""
    flags = ["--pure", "--token-embedding-type", "q2_K"]
    subprocess.run(
        [program, *flags, source, out, "Q2_K", "1"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def read(path: Path, shape: Shape) -> Llama:
    """The model in a GGUF file, dequantised to float32."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    model = Llama(shape)
    state = {}
    for ours, theirs in tensor_names(shape).items():
        tensor = tensors[theirs]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        state[ours] = torch.from_numpy(np.array(values, dtype=np.float32))
    model.load_state_dict(state)
    return model
