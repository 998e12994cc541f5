"""Numbers and names that `settings` takes as defaults and limits, each with what it rests on."""

from __future__ import annotations

DEFAULT_N_UBATCH = 256
"""As fast as llama.cpp's 512 within 2 % (see `N_OUTPUTS_MAX_CPU` for how), with half of its memory per token."""

N_OUTPUTS_MAX_CPU = 128
"""Most scored tokens in a micro-batch on the CPU: each takes n_vocab float32 logits, and 256 were 2 % faster.

Decoding a window of 512 with 152 thousand entries in the vocabulary, n_ubatch 256 (2026-11-23, two cores, Q8_0): 0.95 s
with 128, 0.93 s with 256.
"""

N_SEQ_MAX_GPU = 32
"""Most windows in one batch if layers are on a GPU; with 60 tokens each they fill 7 micro-batches of 256."""

ALL_LAYERS = -1
"""`n_gpu_layers` for all of them, as in llama.cpp."""

KINDS = ("auto", "quant", "finetune")
"""What comparisons may be said to be; the first leaves that to their weights."""
