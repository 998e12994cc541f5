"""What a run is asked for: the settings that determine its numbers and its memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppldelta.engine.native import Build, ModelInfo, build
from ppldelta.errors import PpldeltaError
from ppldelta.text.windows import N_CTX_MIN, check_arguments, default_n_ctx
from ppldelta.wording.names import shown_type

N_OUTPUTS_MAX_CPU = 128
"""Most scored tokens in a micro-batch on the CPU: each takes n_vocab float32 logits, and 256 were 2 % faster.

Decoding a window of 512 with 152 thousand entries in the vocabulary, n_ubatch 256 (2026-11-23, two cores, Q8_0): 0.95 s
with 128, 0.93 s with 256.
"""

N_SEQ_MAX_GPU = 32
"""Most windows in one batch where layers are on a GPU; with 60 tokens each they fill 7 micro-batches of 256."""

RANGES = {
    "n_ctx": (N_CTX_MIN, 2**31 - 1),
    "n_gpu_layers": (-1, 2**31 - 1),
    "n_ubatch": (4, 2**16),  # below that a window's last token may come alone, and then threads matter (cpp/scorer.cpp)
    "n_outputs_max": (1, 2**16),
    "threads": (1, 512),  # GGML_MAX_N_THREADS
    "n_seq_max": (1, 256),  # LLAMA_MAX_SEQ
}
"""Least and greatest values of settings."""


@dataclass(frozen=True)
class Settings:
    """What determines the numbers and the memory, the same for the reference and all its comparisons.

    Attributes:
        windows: which tokens are scored, one of `text.windows.RULES`.
        n_ctx: most tokens that are evaluated together; None until the reference is known (`for_model`).
        max_windows: most windows of each document; None for all.
        n_gpu_layers: layers on the GPU; None for all where there is a GPU.
        n_ubatch: most tokens in a micro-batch.
        threads: CPU threads; None for the physical cores of whatever machine evaluates.
        n_outputs_max: most scored tokens in a micro-batch of a window that is evaluated alone; None until it is known
            which process evaluates it (`for_model`).
        n_seq_max: most windows that are evaluated together; None as above.

    Raises:
        PpldeltaError: a value is out of its range.
    """

    windows: str
    n_ctx: int | None
    max_windows: int | None
    n_gpu_layers: int | None
    n_ubatch: int
    threads: int | None
    n_outputs_max: int | None = None
    n_seq_max: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.windows, str):
            raise PpldeltaError(f"`windows` must be a str, got {shown_type(self.windows)}")
        for name in ("n_ctx", "max_windows", "n_gpu_layers", "n_ubatch", "threads"):
            value = getattr(self, name)
            if value is None and name != "n_ubatch":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise PpldeltaError(f"`{name}` must be a whole number, got {shown_type(value)}")
        check_arguments(self.windows, N_CTX_MIN if self.n_ctx is None else self.n_ctx, self.max_windows)
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise PpldeltaError(f"`{name}` must lie between {least} and {most}, got {value}")

    def for_model(self, info: ModelInfo, where: Build) -> Settings:
        """The same with all filled in that follows from the reference and from what the evaluating process has.

        On the CPU each window is evaluated alone: several at once are no faster there. On a GPU short windows share a
        batch, but not those of a recurrent or hybrid model: each sequence would need a state of its own (tens of MB),
        and micro-batches that hold as many tokens of each sequence come out small.
        """
        n_ctx = self.n_ctx if self.n_ctx is not None else default_n_ctx(info.n_ctx_train)
        on_gpu = where.on_gpu(self.n_gpu_layers)
        n_outputs_max = self.n_outputs_max or (self.n_ubatch if on_gpu else min(self.n_ubatch, N_OUTPUTS_MAX_CPU))
        n_seq_max = self.n_seq_max or (N_SEQ_MAX_GPU if on_gpu and not info.recurrent else 1)
        n_seq_max = min(n_seq_max, n_ctx)  # llama.cpp has an output row for each
        return replace(self, n_ctx=n_ctx, n_outputs_max=n_outputs_max, n_seq_max=n_seq_max)

    def signature(self, where: Build | None = None) -> str:
        """Everything that determines the numbers beside models and documents, in one line.

        Args:
            where: what the process that evaluates is built from; by default, this process.
        """
        where = where or build()
        n_gpu_layers = self.n_gpu_layers if self.n_gpu_layers is not None else -int(where.gpu)
        parts = {
            "ppldelta": where.version,
            "llama.cpp": where.llama_cpp_commit,
            "patches": where.patches_hash,
            "windows": self.windows,
            "n_ctx": self.n_ctx,
            "max_windows": self.max_windows or "all",
            "n_ubatch": self.n_ubatch,
            "n_outputs_max": self.n_outputs_max,
            "n_seq_max": self.n_seq_max,
            "kv": "f16",  # this and the next as cpp/scorer.cpp sets them
            "flash_attn": "auto",
            "n_gpu_layers": "all" if n_gpu_layers < 0 else n_gpu_layers,
            "backend": "+".join(name.split(":")[0] for name in where.devices),
            "kernels": where.kernels,
        }
        return "|".join(f"{key}:{value}" for key, value in parts.items())
