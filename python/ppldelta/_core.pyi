"""Types of the native extension (cpp/module.cpp). Arguments are trusted: `engine.native` validates them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str
llama_cpp_commit: str
patches_hash: str
patches: str
"""Names of the patches, separated by spaces."""
compiler: str
record_dtype: np.dtype[Any]
"""dtype of the patched llama-perplexity's token records, from the struct that both include."""

class Model:
    def __init__(self, path: bytes, n_gpu_layers: int, vocab_only: bool) -> None: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_layer(self) -> int: ...
    def info(self) -> dict[str, Any]: ...
    def tokenize(self, text: bytes, parse_special: bool = False) -> NDArray[np.int32]: ...
    def control_tokens(self) -> list[bytes]: ...
    def chat_template(self) -> bytes: ...
    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]: ...

class ChatTemplate:
    def __init__(self, source: str) -> None: ...
    def render(
        self,
        messages: Sequence[tuple[str, ...]],  # role, content
        generate: bool,
        bos: bytes,
        eos: bytes,
    ) -> list[tuple[bytes, bool]]: ...  # a part, and whether it is from a content

class Adapter:
    def __init__(self, model: Model, path: bytes) -> None: ...

_Window = tuple[NDArray[np.int32], int, NDArray[np.int32], int]  # tokens, first_output, targets, prefix

class Scorer:
    def __init__(
        self,
        model: Model,
        n_ctx: int,
        n_ubatch: int,
        n_outputs_max: int,
        n_seq_max: int,
        n_threads: int,
        bf16: bool = False,
        adapters: list[tuple[Adapter, float]] = ...,
        directions: NDArray[np.float32] = ...,  # shape [n_layers, n_embd], from layer 1 on
        states: bool = False,
        flash: bool = True,
    ) -> None: ...
    def score(
        self,
        windows: list[_Window],
        on_step: Callable[[int], object],
    ) -> list[NDArray[np.float32]]: ...
    def describe(
        self, windows: list[_Window], on_step: Callable[[int], object]
    ) -> list[NDArray[np.void]]: ...  # as `describe_rows`
    def keep(
        self,
        windows: list[_Window],
        n_top: int,
        on_step: Callable[[int], object],
    ) -> tuple[list[NDArray[np.void]], list[NDArray[np.void]], KeptRows]: ...
    def compare(
        self,
        windows: list[_Window],
        kept: KeptRows,
        on_step: Callable[[int], object],
    ) -> tuple[list[NDArray[np.void]], list[NDArray[np.void]]]: ...
    def states(
        self, windows: list[_Window], on_step: Callable[[int], object]
    ) -> dict[int, NDArray[np.float32]]: ...  # place: [n_tokens, n_embd]; -1 for what the head gets
    @property
    def size_bytes(self) -> int: ...

class KeptRows:
    def columns(
        self, columns: NDArray[np.int32], n_threads: int
    ) -> NDArray[np.float32]: ...  # shape [n_rows, n_columns]

class RowsError(RuntimeError):
    """A graph has left other rows of logits than those that were asked for."""

def describe_rows(
    logits: NDArray[np.float32], targets: NDArray[np.int32], n_threads: int
) -> NDArray[np.void]: ...  # max, logp, logp_top, entropy: float32; rank, top: int32
def compare_rows(
    ref: NDArray[np.float32], cmp: NDArray[np.float32], targets: NDArray[np.int32], n_threads: int
) -> NDArray[np.void]: ...  # cmp: as above; kld: float32
def top_tokens(
    logits: NDArray[np.float32], n_top: int, n_threads: int
) -> NDArray[np.void]: ...  # shape [n_rows, n_top]; token: int32; logp: float32
def cut(
    windows: list[tuple[int, int]],  # n_tokens, first_output
    n_tokens: int,
    n_outputs: int,
) -> list[list[tuple[int, int, int]]]: ...  # for each step: window, begin, end
def log_softmax(logits: NDArray[np.float32], targets: NDArray[np.int32], n_threads: int) -> NDArray[np.float32]: ...
def softmax_fuses() -> bool: ...
def signed_sums(logp_ref: NDArray[np.float32], logp_cmp: NDArray[np.float32]) -> tuple[float, float, int]: ...
def drain_log(least_level: int) -> list[tuple[int, str]]: ...
def mirror_log(fd: int) -> None: ...
def devices() -> list[dict[str, Any]]: ...
def stacks_pattern(n_blocks: int | None) -> str: ...
def tensor_types() -> list[tuple[str, int, int]]: ...
def tensors_in(
    path: bytes,
) -> list[tuple[str, str, int, int, str, int]]: ...  # name, type, n_rows, n_columns, shape, offset
def quantize(type: str, rows: NDArray[np.float32]) -> NDArray[np.uint8]: ...
def dequantize(type: str, rows: NDArray[np.uint8], n_rows: int, n_columns: int) -> NDArray[np.float32]: ...
def multiply(
    device: str,
    buffer_type: str,
    type: str,
    weights: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    n_rows: int,
    n_threads: int,
    n_repeats: int,
) -> tuple[NDArray[np.float32], float] | None: ...
def idle_backends() -> list[str]: ...
def find_backends(folder: bytes) -> None: ...
def system_info() -> str: ...
def add_rpc_server(endpoint: str) -> None: ...
