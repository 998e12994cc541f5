"""Trains one model on a mix of categories: Muon for the matrices, AdamW for the embedding and the norms.

Rows are random cuts of a category's token stream, their first token replaced by BOS, as llama-perplexity does with its
windows. The last third of the steps uses rows as long as the longest document we evaluate: attention must hold there.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama import Llama
from tokenizer import BOS_ID

SHORT_ROW, LONG_ROW = 512, 1536


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        mix: category → share of the rows; normalised.
        n_steps: optimiser steps; each sees `tokens_per_step` tokens.
        lr_muon, lr_adam: peak learning rates; 40 steps up, then constant, then linearly to zero over the last half.
    """

    mix: dict[str, float]
    n_steps: int
    lr_muon: float = 0.02
    lr_adam: float = 0.004
    tokens_per_step: int = 4608
    long_rows_from: float = 0.7
    seed: int = 1


class Muon(torch.optim.Optimizer):
    """Momentum whose update is the nearest orthogonal matrix, found by five Newton-Schulz steps.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                average = self.state[weight].setdefault("average", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(average, group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def rows(streams: dict[str, np.ndarray], recipe: Recipe) -> Iterator[Tensor]:
    """One batch [row, token] for each step, drawn with the recipe's seed."""
    rng = np.random.default_rng(recipe.seed)
    categories = list(recipe.mix)
    share = np.array([recipe.mix[name] for name in categories])
    for step in range(recipe.n_steps):
        length = LONG_ROW if step >= recipe.long_rows_from * recipe.n_steps else SHORT_ROW
        batch = np.empty((recipe.tokens_per_step // length, length + 1), dtype=np.int64)
        for row in batch:
            stream = streams[categories[rng.choice(len(categories), p=share / share.sum())]]
            start = rng.integers(0, len(stream) - length)
            row[:] = stream[start : start + length + 1]
        batch[:, 0] = BOS_ID
        yield torch.from_numpy(batch)


def rate(step: int, n_steps: int) -> float:
    """Share of the peak learning rate."""
    return min((step + 1) / 40, 1.0, 2 * (n_steps - step) / n_steps)


def train(model: Llama, streams: dict[str, np.ndarray], recipe: Recipe, name: str) -> None:
    """Trains `model` in place; prints the loss now and then."""
    matrices = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    optimizers = [
        Muon(matrices, recipe.lr_muon),
        torch.optim.AdamW(others, recipe.lr_adam, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peaks = [recipe.lr_muon, recipe.lr_adam]
    loss_of = torch.compile(model.loss, dynamic=False)
    started, smooth = time.monotonic(), math.nan
    for step, batch in enumerate(rows(streams, recipe)):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate(step, recipe.n_steps)
        loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        if step % 50 == 49 or step == recipe.n_steps - 1:
            speed = (step + 1) * recipe.tokens_per_step / (time.monotonic() - started)
            print(f"{name}: step {step + 1}/{recipe.n_steps}, loss {smooth:.3f}, {speed:.0f} tokens/s", flush=True)
