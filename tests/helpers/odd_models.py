"""Tiny models of architectures that need care, with seeded random weights; the vocabulary is the 256 bytes.

cogvlm's graph makes a row of logits for every token, and not for those that were asked for. deepseek2 multiplies with
stacks of matrices (MLA), which AMX's layout of weights does not hold.
"""

from __future__ import annotations

from pathlib import Path

import gguf

from helpers.tiny_models import HEAD_SIZE, N_EMBD, N_FF, N_HEAD, N_LAYER, Sizes, begin, finish

KV_RANK, ROPE_SIZE, QK_SIZE, V_SIZE = 64, 32, 64, 32
N_MLA_HEAD = 4


def write_cogvlm(path: Path) -> Path:
    """All tensors F32."""
    writer = begin(path, "cogvlm")
    writer.add_head_count_kv(N_HEAD)
    writer.add_rope_dimension_count(HEAD_SIZE)
    sizes: Sizes = {"token_embd.weight": (256, N_EMBD), "output_norm.weight": (N_EMBD,)}
    for layer in range(N_LAYER):
        sizes |= {
            f"blk.{layer}.{name}.weight": size
            for name, size in {
                "attn_norm": (N_EMBD,),
                "attn_qkv": (3 * N_EMBD, N_EMBD),
                "attn_output": (N_EMBD, N_EMBD),
                "vis_attn_qkv": (3 * N_EMBD, N_EMBD),
                "vis_attn_output": (N_EMBD, N_EMBD),
                "ffn_norm": (N_EMBD,),
                "ffn_gate": (N_FF, N_EMBD),
                "ffn_up": (N_FF, N_EMBD),
                "ffn_down": (N_EMBD, N_FF),
                "vis_gate": (N_FF, N_EMBD),
                "vis_up": (N_FF, N_EMBD),
                "vis_down": (N_EMBD, N_FF),
            }.items()
        }
    return finish(writer, path, sizes)


def write_deepseek2(path: Path, type: str, *, as_f32: bool = False) -> Path:
    """All matrices of one type, such as "Q8_0"; with `as_f32`, F32 tensors with the values that they have there."""
    writer = begin(path, "deepseek2", n_head=N_MLA_HEAD)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(ROPE_SIZE)
    writer.add_q_lora_rank(0)
    writer.add_kv_lora_rank(KV_RANK)
    writer.add_key_length(KV_RANK + ROPE_SIZE)
    writer.add_value_length(KV_RANK)
    writer.add_key_length_mla(QK_SIZE)
    writer.add_value_length_mla(V_SIZE)
    writer.add_leading_dense_block_count(N_LAYER)
    writer.add_expert_count(2)
    writer.add_expert_used_count(1)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(N_FF)
    sizes: Sizes = {"token_embd.weight": (256, N_EMBD), "output_norm.weight": (N_EMBD,)}
    for layer in range(N_LAYER):
        sizes |= {
            f"blk.{layer}.{name}.weight": size
            for name, size in {
                "attn_norm": (N_EMBD,),
                "attn_kv_a_norm": (KV_RANK,),
                "attn_q": (N_MLA_HEAD * QK_SIZE, N_EMBD),
                "attn_kv_a_mqa": (KV_RANK + ROPE_SIZE, N_EMBD),
                "attn_k_b": (N_MLA_HEAD, KV_RANK, QK_SIZE - ROPE_SIZE),
                "attn_v_b": (N_MLA_HEAD, V_SIZE, KV_RANK),
                "attn_output": (N_EMBD, N_MLA_HEAD * V_SIZE),
                "ffn_norm": (N_EMBD,),
                "ffn_gate": (N_FF, N_EMBD),
                "ffn_up": (N_FF, N_EMBD),
                "ffn_down": (N_EMBD, N_FF),
            }.items()
        }
    return finish(writer, path, sizes, gguf.GGMLQuantizationType[type], as_f32=as_f32)
