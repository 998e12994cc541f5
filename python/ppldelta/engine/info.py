"""What a model says of itself, as the worker that has loaded it passes it on and the store remembers it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ModelInfo:
    """What a model says of itself. Sizes in bytes; `bos`, `eos` are None if the vocabulary has none.

    `causal` models read from left to right; encoders, encoder-decoders and diffusion models do not. What has a default
    came later: a store that was written before does not hold it, and None then means that it is not known.

    Attributes:
        tokenizer: the file's `tokenizer.ggml.model`; "gpt2" is llama.cpp's name of byte-pair encoding.
        pre_tokenizer: the file's `tokenizer.ggml.pre`, which says how a text is split before pairs are joined; empty
            where the file says nothing.
        chat_template_sha256: of the template (`engine.chats.ChatFacts` has it), in hexadecimal digits; empty where the
            file has none.
        control: the tokens that steer and stand for no text, as runs of numbers: "0-2,128000-128255".
    """

    architecture: str
    name: str
    file_type: str
    n_vocab: int
    n_ctx_train: int
    n_params: int
    size_bytes: int
    bos: int | None
    eos: int | None
    add_bos: bool
    add_eos: bool
    recurrent: bool
    causal: bool
    tokenizer: str | None = None
    pre_tokenizer: str | None = None
    chat_template_sha256: str | None = None
    control: str | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> ModelInfo:
        """From what the extension says."""
        others = dict(said)
        template = bytes(others.pop("chat_template"))
        digest = hashlib.sha256(template).hexdigest() if template else ""
        return cls(**{**others, "chat_template_sha256": digest, "control": runs_of(others["control"])})

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per parameter."""
        return 8 * self.size_bytes / self.n_params


def runs_of(numbers: NDArray[np.int32]) -> str:
    """Ascending numbers as text, those that follow one another as a run: "0-2,7"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    firsts, lasts = np.append(numbers[:1], numbers[ends + 1]), np.append(numbers[ends], numbers[-1:])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True))


def numbers_in(runs: str) -> NDArray[np.int64]:
    """What `runs_of` wrote as text."""
    ends = [each.split("-") for each in runs.split(",") if each]
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(int(each[0]), int(each[-1]) + 1) for each in ends)])
