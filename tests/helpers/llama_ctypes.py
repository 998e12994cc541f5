"""libllama by another path than the engine's: C structs through ctypes.

Full logits come of one batch that holds the whole window, with an output row for every token: slow and hungry, which is
fine for an oracle. Quantising is what llama-quantize does, without a program of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_uint8, c_uint32, c_void_p
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

import ppldelta


class _Opaque(ctypes.Structure):
    """Parameters passed by value, larger than llama.h's; only the first three fields of a context's are touched."""

    _fields_ = (("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("rest", c_uint8 * 1012))


class _Batch(ctypes.Structure):
    """`struct llama_batch` of llama.h."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class _Quantization(ctypes.Structure):
    """`struct llama_model_quantize_params` of llama.h: its first fields, and room for more than there are."""

    _fields_ = (
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        ("allow_requantize", c_bool),
        ("rest", c_uint8 * 1007),
    )


def _library() -> ctypes.CDLL:
    folder = Path(ppldelta.__file__).parent / "lib"
    lib = ctypes.CDLL(str(next(folder.glob("libllama.*"))))
    lib.llama_model_default_params.restype = _Opaque
    lib.llama_context_default_params.restype = _Opaque
    lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Opaque]
    lib.llama_model_load_from_file.restype = c_void_p
    lib.llama_init_from_model.argtypes = [c_void_p, _Opaque]
    lib.llama_init_from_model.restype = c_void_p
    lib.llama_batch_init.argtypes = [c_int32, c_int32, c_int32]
    lib.llama_batch_init.restype = _Batch
    lib.llama_batch_free.argtypes = [_Batch]
    lib.llama_decode.argtypes = [c_void_p, _Batch]
    lib.llama_get_logits.argtypes = [c_void_p]
    lib.llama_get_logits.restype = POINTER(c_float)
    lib.llama_set_embeddings.argtypes = [c_void_p, c_bool]
    lib.llama_get_embeddings.argtypes = [c_void_p]
    lib.llama_get_embeddings.restype = POINTER(c_float)
    lib.llama_model_get_vocab.argtypes = [c_void_p]
    lib.llama_model_get_vocab.restype = c_void_p
    lib.llama_vocab_n_tokens.argtypes = [c_void_p]
    lib.llama_model_n_embd.argtypes = [c_void_p]
    lib.llama_free.argtypes = [c_void_p]
    lib.llama_model_free.argtypes = [c_void_p]
    lib.llama_model_quantize_default_params.restype = _Quantization
    lib.llama_model_quantize.argtypes = [c_char_p, c_char_p, POINTER(_Quantization)]
    lib.llama_model_quantize.restype = c_uint32
    return lib


def quantize(source: Path, into: Path, type: str) -> None:
    """Writes a model in another type, such as "Q4_K_M": the bytes that `llama-quantize --allow-requantize` writes."""
    lib = _library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = gguf.LlamaFileType[f"MOSTLY_{type}"]
    params.allow_requantize = True
    status = lib.llama_model_quantize(str(source).encode(), str(into).encode(), ctypes.byref(params))
    if status:
        raise RuntimeError(f"llama.cpp cannot quantise `{source.name}` to {type}: status {status}")


@contextmanager
def _context(path: Path, n_tokens: int, n_ubatch: int) -> Iterator[tuple[ctypes.CDLL, int, int]]:
    """The library, a model, and a context of it for one sequence of so many tokens; both are freed at the end."""
    lib = _library()
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    assert model
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = n_tokens
    params.n_ubatch = min(n_ubatch, n_tokens)
    context = lib.llama_init_from_model(model, params)
    assert context
    try:
        yield lib, model, context
    finally:
        lib.llama_free(context)
        lib.llama_model_free(model)


def _decode(lib: ctypes.CDLL, context: int, tokens: NDArray[np.int32], step: range, first_output: int = 0) -> None:
    """Feeds the tokens of a step, with an output row for each from `first_output` on."""
    batch = lib.llama_batch_init(len(step), 0, 1)
    batch.n_tokens = len(step)
    for i, pos in enumerate(step):
        batch.token[i] = int(tokens[pos])
        batch.pos[i] = pos
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = pos >= first_output
    assert lib.llama_decode(context, batch) == 0
    lib.llama_batch_free(batch)


def full_logits(
    path: Path, tokens: NDArray[np.int32], n_ubatch: int, steps: Sequence[range] | None = None, first_output: int = 0
) -> NDArray[np.float32]:
    """Logits after every token of one sequence from `first_output` on, float32 of shape [n_rows, n_vocab].

    Args:
        path: the model.
        tokens: the sequence.
        n_ubatch: most tokens in a micro-batch.
        steps: which tokens go into each call of llama.cpp; by default all into one, which llama.cpp cuts. On
            some devices a row's last digits depend on how many there are.
        first_output: the first token after which logits are wanted; on some devices a single row is computed by another
            kernel than several.
    """
    parts = []
    with _context(path, len(tokens), n_ubatch) as (lib, model, context):
        n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        for step in steps or [range(len(tokens))]:
            _decode(lib, context, tokens, step, first_output)
            if n_rows := max(0, step.stop - max(step.start, first_output)):
                parts.append(np.ctypeslib.as_array(lib.llama_get_logits(context), (n_rows, n_vocab)).copy())
    return np.concatenate(parts)


def hidden_states(path: Path, tokens: NDArray[np.int32], n_ubatch: int, steps: Sequence[range]) -> NDArray[np.float32]:
    """What the head gets for every token of one sequence, float32 of shape [n_tokens, n_embd]: `llama_get_embeddings`
    of a context that is asked for embeddings. The arguments are as for `full_logits`."""
    parts = []
    with _context(path, len(tokens), n_ubatch) as (lib, model, context):
        lib.llama_set_embeddings(context, True)
        n_embd = lib.llama_model_n_embd(model)
        for step in steps:
            _decode(lib, context, tokens, step)
            parts.append(np.ctypeslib.as_array(lib.llama_get_embeddings(context), (len(step), n_embd)).copy())
    return np.concatenate(parts)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-softmax over the last axis in float64."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
