"""Adapters for a model that is loaded: its weights stay as they are, and contexts with and without adapters share them.

A LoRA changes what matrices multiply to; a control vector is added to what layers hand on. The file says which it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine.llama_log import guard
from ppldelta.engine.tensors import rows, tensors_of
from ppldelta.models.fitness import directions, kind_of
from ppldelta.models.source import Adapter
from ppldelta.wording.names import printable

_NONE = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Applied:
    """What a context applies to its model, as `_core.Scorer` takes it.

    Attributes:
        loras: each with its scale.
        directions: what is added to what layers hand on: float32 of shape [n_layers, n_embd], from layer 1 on; empty if
            there is no control vector.
    """

    loras: list[tuple[_core.Adapter, float]]
    directions: NDArray[np.float32]


def load_adapters(model: _core.Model, path: Path, adapters: Sequence[Adapter]) -> Applied:
    """Loads adapters. Those of several control vectors are added up.

    Args:
        model: with weights.
        path: its file, for errors.
        adapters: what is to be applied to it.

    Raises:
        ModelError: a file cannot be loaded, or is no adapter for this model.
    """
    loras = []
    control = _NONE
    for each in adapters:
        if kind_of(each.path) == "control vector":
            control = _sum(control, scaled_directions(each))
            continue
        with guard(
            f"cannot apply the adapter `{printable(each.path)}` to `{printable(path)}`",
            "name a LoRA in GGUF (llama.cpp's convert_lora_to_gguf.py makes it) that was made for this model",
        ):
            loras.append((_core.Adapter(model, os.fsencode(each.path)), each.scale))
    return Applied(loras, control)


def scaled_directions(adapter: Adapter) -> NDArray[np.float32]:
    """The directions of a control vector times its scale, as llama.cpp's `common_control_vector_load` reads them.

    Returns:
        Shape [last layer, n_embd], from layer 1 on; layers without a direction hold 0.

    Raises:
        ModelError: the file cannot be read, or a tensor is no direction.
    """
    tensors = tensors_of([adapter.path])
    layers = directions(adapter.path)
    n_embd = tensors[next(iter(layers))].n_columns
    found: NDArray[np.float32] = np.zeros((max(layers.values()), n_embd), np.float32)
    for name, layer in layers.items():
        found[layer - 1] += rows(tensors[name], np.arange(1), n_embd)[0] * np.float32(adapter.scale)
    return found


def _sum(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of two sets of directions, of which either may have fewer layers."""
    found: NDArray[np.float32] = np.zeros((max(len(one), len(other)), max(one.shape[1], other.shape[1])), np.float32)
    for each in (one, other):
        found[: len(each)] += each if len(each) else 0
    return found
