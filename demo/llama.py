"""The model in plain torch: a very small Llama, as llama.cpp's architecture `llama` computes it.

RMS norm before each part, rotary positions, grouped-query attention, SwiGLU, tied embeddings. Rotary positions turn
neighbouring elements of a head (llama.cpp's "normal" layout), so the weights go into a GGUF unpermuted.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    n_vocab: int = 3840
    n_embd: int = 256
    n_layer: int = 2
    n_head: int = 4
    n_head_kv: int = 1
    n_ff: int = 512
    n_ctx_train: int = 2048
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def n_rot(self) -> int:
        return self.n_embd // self.n_head


def rotation(shape: Shape, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, both [n_tokens, n_rot / 2]."""
    frequency = shape.rope_base ** (-torch.arange(0, shape.n_rot, 2, dtype=torch.float64) / shape.n_rot)
    angle = torch.arange(n_tokens, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (0, 1), (2, 3), … of the last axis; x is [batch, head, token, n_rot]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.n_rot = shape.n_rot
        self.q = nn.Linear(shape.n_embd, shape.n_head * shape.n_rot, bias=False)
        self.k = nn.Linear(shape.n_embd, shape.n_head_kv * shape.n_rot, bias=False)
        self.v = nn.Linear(shape.n_embd, shape.n_head_kv * shape.n_rot, bias=False)
        self.output = nn.Linear(shape.n_head * shape.n_rot, shape.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (part(x).view(batch, tokens, -1, self.n_rot).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.attn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.attn = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.ffn = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.attn_norm(x), cos, sin)
        return x + self.ffn(self.ffn_norm(x))


class Llama(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        cos, sin = rotation(shape, shape.n_ctx_train)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02 if "embedding" in name else weight.shape[1] ** -0.5)
        for block in self.blocks:  # each block starts as the identity
            nn.init.zeros_(block.attn.output.weight)
            nn.init.zeros_(block.ffn.down.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, token, n_vocab] for tokens [batch, token]."""
        x = self.embedding(tokens)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embedding.weight)

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean negative log-likelihood in nats of each row's tokens after the first."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
