"""LoRAs for a model that is loaded: its weights stay as they are, and contexts with and without LoRAs share them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppldelta import _core
from ppldelta.engine.llama_log import guard
from ppldelta.models.source import Adapter
from ppldelta.wording.names import printable


def load_adapters(model: _core.Model, path: Path, adapters: Sequence[Adapter]) -> list[tuple[_core.Adapter, float]]:
    """Loads adapters; gives each with its scale, as `_core.Scorer` takes them.

    Args:
        model: with weights.
        path: its file, for errors.
        adapters: what is to be applied to it.

    Raises:
        ModelError: a file cannot be loaded, or is no adapter for this model.
    """
    found = []
    for each in adapters:
        with guard(
            f"cannot apply the adapter `{printable(each.path)}` to `{printable(path)}`",
            "name a LoRA in GGUF (llama.cpp's convert_lora_to_gguf.py makes it) that was made for this model",
        ):
            found.append((_core.Adapter(model, os.fsencode(each.path)), each.scale))
    return found
