"""What to do about a model that llama.cpp refuses: a hint for what it says, where that names a cause."""

from __future__ import annotations

import re

from ppldelta import _core

DECODER_ONLY = "use a decoder-only language model"

_THIS = f"this llama.cpp ({_core.llama_cpp_commit})"
_PREFIX = "llama_model_load: error loading model: "
CONVERT = "convert the model again from its original, with the tokenizer's files beside it"
_HINTS = {
    r"does not read from left to right": DECODER_ONLY,
    r"unknown pre-tokenizer type: ": (
        f"{_THIS} does not know by which rule this vocabulary splits texts; convert the model again with llama.cpp's "
        "converter, which writes `tokenizer.ggml.pre`"
    ),
    r"unknown tokenizer: ": f"{_THIS} does not know this kind of vocabulary",
    r"error loading model vocabulary: ": f"the vocabulary in the file is incomplete or damaged; {CONVERT}",
    r"tensor 'token_embd\.weight' has wrong shape; expected +(\d+), +(\d+), got +\1, +(\d+)": (
        rf"the file's vocabulary has \2 tokens, and its embedding rows for \3; {CONVERT}"
    ),
    r"unknown model architecture: ": (
        f"{_THIS} does not know the architecture; a build on a newer one may (`-DPPLDELTA_LLAMA_CPP_DIR`)"
    ),
    r"CLIP cannot be used as main model": "this file only reads pictures or sound; name the language model beside it",
    r"key not found in model: ": (
        "the file does not describe a whole model; an adapter is named behind its model, as in `base.gguf+lora.gguf`"
    ),
    r"requires ctx_other to be set": "this is a draft model, which predicts nothing without the model that it helps",
}
"""What llama.cpp says (a pattern, the first that matches) → what to do; groups of the pattern stand in the hint."""


def without_prefix(reason: str) -> str:
    """What llama.cpp logged, without the names of functions of its own that say nothing of a cause."""
    return reason.removeprefix(_PREFIX)


def hint_for(reason: str, otherwise: str | None) -> str | None:
    """The hint for what llama.cpp says of a failure, or another one where that names no cause that is known here."""
    for pattern, hint in _HINTS.items():
        if found := re.search(pattern, reason):
            return found.expand(hint)
    return otherwise
