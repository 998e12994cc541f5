"""Models that do not read from left to right, with random weights: encoders, encoder-decoders, diffusion models.

Their files are as converters write them, but that `says_so` leaves out `attention.causal`, as some converters did.
"""

from __future__ import annotations

from pathlib import Path

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

DIFFUSION = ("dream", "llada")
BEFORE = ("attn_norm.weight", "ffn_norm.weight")
ALL = ("bert", "gemma-embedding", "t5", "t5encoder", *DIFFUSION)


def write(path: Path, architecture: str, *, says_so: bool = False) -> Path:
    """Writes a model of one of `ALL`, all tensors F32."""
    writer = begin(path, architecture)
    writer.add_head_count_kv(N_HEAD)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    if says_so:
        writer.add_causal_attention(False)
    sizes: Sizes = weights(token_embd=(256, N_EMBD))
    if architecture == "bert":
        writer.add_layer_norm_eps(1e-6)
        writer.add_token_type_count(2)
        sizes |= weights(position_embd=(2048, N_EMBD), token_embd_norm=(N_EMBD,)) | biases(token_embd_norm=(N_EMBD,))
        body = attention() | feed_forward() | _norms("attn_output_norm") | _norms("layer_output_norm")
        layers = {"blk": {name: size for name, size in body.items() if name not in BEFORE and "gate" not in name}}
    elif architecture == "gemma-embedding":
        writer.add_sliding_window(SLIDING_WINDOW)
        norms = weights(post_attention_norm=(N_EMBD,), post_ffw_norm=(N_EMBD,))
        layers = {"blk": attention(norms=True) | feed_forward() | norms}
    elif architecture in DIFFUSION:
        layers = {"blk": attention() | feed_forward()}
    else:
        writer.add_relative_attn_buckets_count(32)
        layers = {"enc.blk": _t5_layer()}
        sizes |= weights(**{"enc.output_norm": (N_EMBD,)})
        if architecture == "t5":
            layers["dec.blk"] = _t5_layer() | _cross_attention()
            sizes |= weights(**{"dec.output_norm": (N_EMBD,)})
    if architecture in ("gemma-embedding", *DIFFUSION):
        sizes |= weights(output_norm=(N_EMBD,))
    for prefix, layer in layers.items():
        for i in range(N_LAYER):
            sizes |= {f"{prefix}.{i}.{name}": size for name, size in layer.items()}
    return finish(writer, path, sizes)


def _norms(name: str) -> Sizes:
    return {f"{name}.weight": (N_EMBD,), f"{name}.bias": (N_EMBD,)}


def _t5_layer() -> Sizes:
    square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_o"), (N_EMBD, N_EMBD))
    return weights(
        attn_norm=(N_EMBD,),
        attn_rel_b=(32, N_HEAD),
        ffn_norm=(N_EMBD,),
        ffn_up=(N_FF, N_EMBD),
        ffn_down=(N_EMBD, N_FF),
        **square,
    )


def _cross_attention() -> Sizes:
    square = dict.fromkeys((f"cross_attn_{part}" for part in "qkvo"), (N_EMBD, N_EMBD))
    return weights(cross_attn_norm=(N_EMBD,), **square)
