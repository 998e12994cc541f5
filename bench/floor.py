"""The floor: llama.cpp's forward pass with output rows for the scored targets, and nothing done with the logits.

By another path than the engine's, C structs through ctypes as in tests/helpers/llama_ctypes.py, so that the engine is
not compared with itself. Same library, micro-batches, KV cache and threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_float, c_int32, c_uint8, c_uint32, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from package import PACKAGE, require
from ppldelta.run.limits import DEFAULT_N_UBATCH, N_OUTPUTS_MAX_CPU
from ppldelta.text.windows import Window

MICRO_BATCH = {"n_ubatch": DEFAULT_N_UBATCH, "n_outputs_max": N_OUTPUTS_MAX_CPU}
"""As `ppldelta.score` evaluates on the CPU."""


class _Parameters(ctypes.Structure):
    """Parameters passed by value, larger than llama.h's; only the first fields of a context's are touched."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("rest", c_uint8 * 1008),
    )


class _Batch(ctypes.Structure):
    """`struct llama_batch` of llama.h."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", c_void_p),  # i32
        ("embd", c_void_p),
        ("pos", c_void_p),  # i32
        ("n_seq_id", c_void_p),  # i32
        ("seq_id", c_void_p),  # i32 **
        ("logits", c_void_p),  # i8
    )


_SIGNATURES = {
    "llama_model_default_params": (_Parameters, []),
    "llama_context_default_params": (_Parameters, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, _Parameters]),
    "llama_init_from_model": (c_void_p, [c_void_p, _Parameters]),
    "llama_free": (None, [c_void_p]),
    "llama_set_n_threads": (None, [c_void_p, c_int32, c_int32]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, ctypes.c_bool]),
    "llama_decode": (c_int32, [c_void_p, _Batch]),
    "llama_synchronize": (None, [c_void_p]),
    "llama_get_logits": (POINTER(c_float), [c_void_p]),
    "llama_set_logits_reader": (None, [c_void_p, c_void_p, c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
}


@CFUNCTYPE(None, c_void_p, c_void_p, c_uint32, c_void_p)
def _look_away(logits: int, batch_idxs: int, n_outputs: int, user_data: int) -> None:
    """A reader of logits that reads none."""


class Step:
    """A micro-batch, made before the clock starts: rows are (token, position, sequence, whether it has an output).

    `fresh`: the KV cache is cleared before it.
    """

    def __init__(self, rows: Sequence[tuple[int, int, int, bool]], *, fresh: bool) -> None:
        token, pos, sequence, output = (np.array(column, np.int32) for column in zip(*rows, strict=True))
        output = output.astype(np.int8)
        sequences = sequence.ctypes.data + 4 * np.arange(len(rows), dtype=np.uint64)
        ones = np.ones(len(rows), np.int32)
        self._arrays = (token, pos, ones, sequence, sequences, output)  # kept alive
        self.batch = _Batch(
            n_tokens=len(rows),
            token=token.ctypes.data,
            pos=pos.ctypes.data,
            n_seq_id=ones.ctypes.data,
            seq_id=sequences.ctypes.data,
            logits=output.ctypes.data,
        )
        self.n_outputs = int(output.sum())
        self.fresh = fresh


@cache
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(next((PACKAGE / "lib").glob("libllama.*"))))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@cache
def load(path: Path) -> int | None:
    """Loads a model, once in a process."""
    return _library().llama_model_load_from_file(str(path).encode(), _library().llama_model_default_params())


class Decoder:
    """A context that decodes. It lives as long as the process, or until `close`; models are loaded once and stay.

    Args:
        path: the GGUF file.
        n_ctx: most tokens of a window; with several sequences, of all that are evaluated at once.
        n_ubatch: most tokens in a micro-batch.
        threads: CPU threads.
        n_outputs_max: most output rows in a micro-batch of `steps`; n_ubatch by default.
        n_seq: most sequences that are evaluated at once.
        keep: whether logits are copied to where `logits` finds them; without, they stay where the graph left them.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int,
        n_ubatch: int,
        threads: int,
        n_outputs_max: int | None = None,
        n_seq: int = 1,
        keep: bool = True,
    ) -> None:
        self._lib = _library()
        model = load(path)
        parameters = self._lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = n_ctx, n_seq
        parameters.n_batch = parameters.n_ubatch = self._n_step = min(n_ubatch, n_ctx)
        self._n_outputs_max = n_outputs_max or self._n_step
        self._context = self._lib.llama_init_from_model(model, parameters)
        require(bool(model and self._context), f"llama.cpp makes a context for {path.name}")
        self._lib.llama_set_n_threads(self._context, threads, threads)
        if not keep:
            self._lib.llama_set_logits_reader(self._context, _look_away, None)
        self._memory = self._lib.llama_get_memory(self._context)
        self._n_vocab = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(model))

    def close(self) -> None:
        """Frees the context."""
        self._lib.llama_free(self._context)
        self._context = None

    def steps(self, window: Window) -> list[Step]:
        """A window in micro-batches, as the engine cuts it, but for a last one of one token."""
        cuts: list[list[tuple[int, int, int, bool]]] = [[]]
        for i, token in enumerate(window.tokens):
            if len(cuts[-1]) == self._n_step or sum(row[3] for row in cuts[-1]) == self._n_outputs_max:
                cuts.append([])
            cuts[-1].append((token, i, 0, i >= window.first_output))
        return [Step(rows, fresh=i == 0) for i, rows in enumerate(cuts)]

    def run(self, steps: Sequence[Step]) -> int:
        """Decodes, and returns the number of output rows of the last micro-batch."""
        for step in steps:
            if step.fresh:
                self._lib.llama_memory_clear(self._memory, False)
            require(self._lib.llama_decode(self._context, step.batch) == 0, "llama_decode succeeds")
            self._lib.llama_synchronize(self._context)
        return steps[-1].n_outputs

    def logits(self, n_rows: int) -> NDArray[np.float32]:
        """A copy of the output rows of the last micro-batch, shape [n_rows, n_vocab]."""
        return np.ctypeslib.as_array(self._lib.llama_get_logits(self._context), (n_rows, self._n_vocab)).copy()


def log_softmax(logits: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """Log-probabilities of the targets in float64."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x[np.arange(len(x)), targets] - np.log(np.exp(x).sum(axis=-1))
