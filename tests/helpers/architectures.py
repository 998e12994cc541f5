"""Models of many architectures with seeded random weights, of every kind that llama.cpp computes in another way.

The four of `tiny_models` and deepseek2 of `odd_models` are among them. What each one has is read off llama.cpp's
`src/models`; sizes are those of rows and columns, so the reverse of the order there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf

from helpers import odd_models, tiny_models
from helpers.tiny_models import (
    HEAD_SIZE,
    N_EMBD,
    N_FF,
    N_HEAD,
    N_LAYER,
    SLIDING_WINDOW,
    Sizes,
    attention,
    begin,
    biases,
    feed_forward,
    finish,
    weights,
)

N_EXPERT, N_FF_EXPERT = 4, 64
PER_LAYER = 16  # columns of gemma4's embedding for each layer
INNER, STATE, RANK, KERNEL = 2 * N_EMBD, 16, 8, 4  # of a state space: its width, size, heads or rank, and convolution

Body = Callable[[gguf.GGUFWriter], Callable[[int], Sizes]]
"""Adds to a writer what an architecture says of itself, and gives the tensors of each layer, named without it."""


def experts(writer: gguf.GGUFWriter, n_ff: int = N_FF_EXPERT) -> Sizes:
    writer.add_expert_count(N_EXPERT)
    writer.add_expert_used_count(2)
    if n_ff != N_FF:
        writer.add_expert_feed_forward_length(n_ff)
    return weights(
        ffn_norm=(N_EMBD,),
        ffn_gate_inp=(N_EXPERT, N_EMBD),
        ffn_gate_exps=(N_EXPERT, n_ff, N_EMBD),
        ffn_up_exps=(N_EXPERT, n_ff, N_EMBD),
        ffn_down_exps=(N_EXPERT, N_EMBD, n_ff),
    )


def heads(writer: gguf.GGUFWriter, n_head_kv: int | list[int] = N_HEAD) -> None:
    writer.add_head_count_kv(n_head_kv)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)


def state_space(writer: gguf.GGUFWriter) -> None:
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)


def mamba2_layer() -> Sizes:
    width = INNER + 2 * STATE
    plain: Sizes = {"ssm_a": (RANK, 1), "ssm_d": (RANK, 1)}
    convolution = biases(ssm_conv1d=(width,), ssm_dt=(RANK,))
    return plain | convolution | weights(
        attn_norm=(N_EMBD,),
        ssm_in=(INNER + width + RANK, N_EMBD),
        ssm_conv1d=(width, KERNEL),
        ssm_norm=(1, INNER),
        ssm_out=(N_EMBD, INNER),
    )  # fmt: skip


# --- attention to all tokens ------------------------------------------------------------------------------------------


def qwen3(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    heads(writer, 1)
    return lambda layer: attention(1, norms=True) | feed_forward()


def gpt2(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """Learnt positions, biases, and norms that subtract the mean."""
    writer.add_layer_norm_eps(1e-5)
    sizes = weights(
        attn_norm=(N_EMBD,),
        attn_qkv=(3 * N_EMBD, N_EMBD),
        attn_output=(N_EMBD, N_EMBD),
        ffn_norm=(N_EMBD,),
        ffn_up=(N_FF, N_EMBD),
        ffn_down=(N_EMBD, N_FF),
    )
    return lambda layer: sizes | {name.replace("weight", "bias"): size[:1] for name, size in sizes.items()}


def phi3(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """Queries, keys and values in one matrix, and so gate and up."""
    heads(writer)
    writer.add_rope_dimension_count(HEAD_SIZE)
    return lambda layer: weights(
        attn_norm=(N_EMBD,),
        attn_qkv=(3 * N_EMBD, N_EMBD),
        attn_output=(N_EMBD, N_EMBD),
        ffn_norm=(N_EMBD,),
        ffn_up=(2 * N_FF, N_EMBD),
        ffn_down=(N_EMBD, N_FF),
    )


# --- sliding windows --------------------------------------------------------------------------------------------------


def gemma3(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    heads(writer, 1)
    writer.add_sliding_window(SLIDING_WINDOW)
    writer.add_sliding_window_pattern(2)
    norms = weights(post_attention_norm=(N_EMBD,), post_ffw_norm=(N_EMBD,))
    return lambda layer: attention(1, norms=True) | feed_forward() | norms


def gemma4(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """Two kinds of layers, the second of each with the keys and values of the first; embeddings for each layer."""
    heads(writer, 1)
    writer.add_uint32("gemma4.attention.key_length_swa", HEAD_SIZE // 2)
    writer.add_uint32("gemma4.attention.value_length_swa", HEAD_SIZE // 2)
    writer.add_uint32("gemma4.rope.dimension_count_swa", HEAD_SIZE // 2)
    writer.add_sliding_window(SLIDING_WINDOW)
    writer.add_sliding_window_pattern([layer % 2 == 0 for layer in range(N_LAYER)])
    writer.add_shared_kv_layers(N_LAYER // 2)
    writer.add_embedding_length_per_layer_input(PER_LAYER)

    def layer_of(layer: int) -> Sizes:
        size = HEAD_SIZE // 2 if layer % 2 == 0 else HEAD_SIZE
        keys = weights(attn_k=(size, N_EMBD), attn_v=(size, N_EMBD), attn_k_norm=(size,))
        return feed_forward() | (keys if layer < N_LAYER // 2 else {}) | weights(
            attn_norm=(N_EMBD,),
            attn_q=(N_HEAD * size, N_EMBD),
            attn_q_norm=(size,),
            attn_output=(N_EMBD, N_HEAD * size),
            post_attention_norm=(N_EMBD,),
            post_ffw_norm=(N_EMBD,),
            inp_gate=(PER_LAYER, N_EMBD),
            proj=(N_EMBD, PER_LAYER),
            post_norm=(N_EMBD,),
        )  # fmt: skip

    return layer_of


# --- states -----------------------------------------------------------------------------------------------------------


def mamba2(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    state_space(writer)
    writer.add_ssm_group_count(1)
    return lambda layer: mamba2_layer()


def rwkv7(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    rank, square = 16, (N_EMBD, N_EMBD)
    writer.add_layer_norm_eps(1e-5)
    writer.add_wkv_head_size(HEAD_SIZE)
    writer.add_decay_lora_rank(rank)
    writer.add_iclr_lora_rank(rank)
    writer.add_value_residual_mix_lora_rank(rank)
    writer.add_gate_lora_rank(rank)
    low_rank = {f"time_mix_{name}{i}.weight": size for name in "wav" for i, size in enumerate(
        [(N_EMBD,), (rank, N_EMBD), (N_EMBD, rank)])}  # fmt: skip
    vectors = ["attn_norm", "attn_norm_2", "time_mix_ln"]
    sizes = low_rank | biases(**dict.fromkeys(vectors, (N_EMBD,))) | weights(
        **dict.fromkeys([*vectors, "time_mix_k_k", "time_mix_k_a", "time_mix_r_k", "channel_mix_lerp_k"], (N_EMBD,)),
        **dict.fromkeys([f"time_mix_{name}" for name in ("key", "value", "receptance", "output")], square),
        time_mix_g1=(rank, N_EMBD),
        time_mix_g2=(N_EMBD, rank),
        time_mix_lerp_fused=(6, 1, 1, N_EMBD),
        channel_mix_key=(N_FF, N_EMBD),
        channel_mix_value=(N_EMBD, N_FF),
    )  # fmt: skip
    return lambda layer: sizes


# --- states in some layers, attention in others, or both in each ------------------------------------------------------


def jamba(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """Attention in every other layer, and experts in the last two."""
    state_space(writer)
    writer.add_head_count_kv([layer % 2 for layer in range(N_LAYER)])
    several = experts(writer, N_FF)
    norms = weights(ssm_dt_norm=(RANK,), ssm_b_norm=(STATE,), ssm_c_norm=(STATE,), attn_norm=(N_EMBD,))

    def layer_of(layer: int) -> Sizes:
        mixer = attention(1) if layer % 2 else tiny_models.mamba_layer() | norms
        return mixer | (several if layer >= N_LAYER // 2 else feed_forward())

    return layer_of


def falcon_h1(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    heads(writer, 1)
    state_space(writer)
    writer.add_ssm_group_count(1)
    both = mamba2_layer() | attention(1) | feed_forward()
    both["ffn_norm"] = both.pop("ffn_norm.weight")  # so llama.cpp calls it
    return lambda layer: both


def qwen35(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """A gated delta rule in every other layer, gated attention with several kinds of positions in the others."""
    n_v, n_k, size = 4, 2, 32
    heads(writer, 1)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(n_v * size)
    writer.add_ssm_state_size(size)
    writer.add_ssm_time_step_rank(n_v)
    writer.add_ssm_group_count(n_k)
    writer.add_full_attention_interval(2)
    width = (2 * n_k + n_v) * size
    plain: Sizes = {"ssm_a": (n_v,), "ssm_dt.bias": (n_v,)}
    delta = plain | weights(
        attn_norm=(N_EMBD,),
        attn_qkv=(width, N_EMBD),
        attn_gate=(n_v * size, N_EMBD),
        ssm_conv1d=(width, KERNEL),
        ssm_beta=(n_v, N_EMBD),
        ssm_alpha=(n_v, N_EMBD),
        ssm_norm=(size,),
        ssm_out=(N_EMBD, n_v * size),
    )
    rest = feed_forward()
    rest["post_attention_norm.weight"] = rest.pop("ffn_norm.weight")
    return lambda layer: (attention(1, norms=True, gate=True) if layer % 2 else delta) | rest


# --- experts ----------------------------------------------------------------------------------------------------------


def mixtral(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    several = experts(writer, N_FF)
    return lambda layer: attention() | several


def qwen3moe(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    heads(writer, 1)
    several = experts(writer)
    return lambda layer: attention(1, norms=True) | several


def gpt_oss(writer: gguf.GGUFWriter) -> Callable[[int], Sizes]:
    """Sliding windows in every other layer, a sink for each head, biases."""
    heads(writer, 1)
    writer.add_sliding_window(SLIDING_WINDOW)
    several = experts(writer)
    several["post_attention_norm.weight"] = several.pop("ffn_norm.weight")
    more = weights(attn_sinks=(N_HEAD,)) | biases(
        attn_output=(N_EMBD,),
        ffn_gate_inp=(N_EXPERT,),
        ffn_gate_exps=(N_EXPERT, N_FF_EXPERT),
        ffn_up_exps=(N_EXPERT, N_FF_EXPERT),
        ffn_down_exps=(N_EXPERT, N_EMBD),
    )
    return lambda layer: attention(1) | several | more


# ----------------------------------------------------------------------------------------------------------------------

HEAD = weights(output=(256, N_EMBD))
NORM_BIAS = biases(output_norm=(N_EMBD,))
EMBEDDING_NORM = weights(token_embd_norm=(N_EMBD,)) | biases(token_embd_norm=(N_EMBD,))
OF_EACH_LAYER = weights(
    per_layer_token_embd=(256, PER_LAYER * N_LAYER),
    per_layer_model_proj=(PER_LAYER * N_LAYER, N_EMBD),
    per_layer_proj_norm=(PER_LAYER,),
    rope_freqs=(HEAD_SIZE // 2,),
)

_BODIES: dict[str, tuple[str, Body, Sizes]] = {
    "qwen3": ("qwen3", qwen3, {}),
    "gpt2": ("gpt2", gpt2, weights(position_embd=(2048, N_EMBD)) | NORM_BIAS),
    "phi3": ("phi3", phi3, {}),
    "gemma3": ("gemma3", gemma3, {}),
    "gemma4": ("gemma4", gemma4, OF_EACH_LAYER),
    "mamba2": ("mamba2", mamba2, {}),
    "rwkv7": ("rwkv7", rwkv7, HEAD | NORM_BIAS | EMBEDDING_NORM),
    "jamba": ("jamba", jamba, {}),
    "falcon-h1": ("falcon-h1", falcon_h1, {}),
    "qwen35": ("qwen35", qwen35, {}),
    "mixtral": ("llama", mixtral, {}),
    "qwen3moe": ("qwen3moe", qwen3moe, {}),
    "gpt-oss": ("gpt-oss", gpt_oss, HEAD),
}
"""Name → architecture, what its layers hold, and what it has beside them, embedding and last norm."""

ALL = (*tiny_models.ARCHITECTURES, "deepseek2", *_BODIES)


def write(path: Path, name: str) -> Path:
    """Writes a model of one of `ALL`, all tensors F32."""
    if name in tiny_models.ARCHITECTURES:
        return tiny_models.write(path, name)
    if name == "deepseek2":
        return odd_models.write_deepseek2(path, "F32")
    architecture, body, more = _BODIES[name]
    writer = begin(path, architecture)
    layer_of = body(writer)
    sizes: Sizes = {"token_embd.weight": (256, N_EMBD), "output_norm.weight": (N_EMBD,), **more}
    for layer in range(N_LAYER):
        sizes |= {f"blk.{layer}.{name}": size for name, size in layer_of(layer).items()}
    return finish(writer, path, sizes)
