"""The Python side of the native border: validates and calls `_core`.

A `Model` holds the weights; a `Scorer` holds a context of fixed size and turns windows into log-probabilities: one per
call, so that its numbers never depend on its neighbours, or several where that keeps a GPU busy. It also keeps a
reference's rows of logits, and compares another model's with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta import _core
from ppldelta.engine.adapters import load_adapters
from ppldelta.engine.checked import CoreWindow, as_core, check_tokens
from ppldelta.engine.devices import devices, has_gpu, kernels_of
from ppldelta.engine.info import ModelInfo as ModelInfo  # whoever has a model finds here what it says of itself
from ppldelta.engine.kept import KeptRows
from ppldelta.engine.llama_log import forward_log, guard, unstarted
from ppldelta.errors import ModelError
from ppldelta.models.source import Adapter
from ppldelta.pairs import BEST, part
from ppldelta.text.windows import Window
from ppldelta.wording.names import printable

_LONGEST_TEXT = 2**31 - 64


@dataclass(frozen=True)
class Build:
    """What the extension of this process is built from, and what it finds on this machine.

    Attributes:
        version: ppldelta's.
        llama_cpp_commit: the commit of llama.cpp.
        patches_hash: hash over the patches to it.
        gpu: whether there is a GPU: of this machine, or a device of an RPC server.
        devices: such as "CPU: AMD EPYC" or "CUDA0: NVIDIA H200".
        kernels: what of them determines how they round (`engine.devices`).
        system: llama.cpp's line on the features of the processor.
        idle: backends that are built in and find no device here, such as "CUDA".
        idle_because: what these backends said of it, if anything.
    """

    version: str
    llama_cpp_commit: str
    patches_hash: str
    gpu: bool
    devices: tuple[str, ...]
    kernels: str
    system: str
    idle: tuple[str, ...] = ()
    idle_because: str = ""

    def on_gpu(self, n_gpu_layers: int | None) -> bool:
        """Whether a model with this setting has layers on a GPU there; None means all if there is one."""
        return self.gpu and n_gpu_layers != 0

    @property
    def release(self) -> str:
        """Versions in one line; equal if the same code computes."""
        return _release(self.version, self.llama_cpp_commit, self.patches_hash)


def _release(version: str, llama_cpp_commit: str, patches_hash: str) -> str:
    return f"ppldelta {version} (llama.cpp {llama_cpp_commit}, patches {patches_hash})"


def release() -> str:
    """`Build.release` of this process, without a look at its devices."""
    return _release(_core.__version__, _core.llama_cpp_commit, _core.patches_hash)


def patches() -> list[str]:
    """Names of the patches to llama.cpp."""
    return _core.patches.split()


def compiler() -> str:
    """Name and version of the compiler that built the extension."""
    return _core.compiler


def build() -> Build:
    """The `Build` of this process."""
    here = devices()
    forward_log()  # with what backends say at their start
    return Build(
        version=_core.__version__,
        llama_cpp_commit=_core.llama_cpp_commit,
        patches_hash=_core.patches_hash,
        gpu=has_gpu(),
        devices=tuple(f"{device.name}: {device.description}" for device in here),
        kernels=kernels_of(here),
        system=_core.system_info(),
        idle=tuple(_core.idle_backends()),
        idle_because="; ".join(unstarted),
    )


_connected: set[str] = set()


def connect(rpc: Iterable[str]) -> None:
    """Makes the devices of other machines this process's own, for all models that are loaded afterwards.

    Args:
        rpc: `HOST:PORT` of each `ggml-rpc-server`. If nothing answers there, ggml ends the process.

    Raises:
        ModelError: this build has no RPC backend, or a server has no devices.
    """
    for endpoint in rpc:
        if endpoint not in _connected:
            with guard(
                f"cannot use the devices of `{printable(endpoint)}`",
                "build without `-DGGML_RPC=OFF` here, and see that the server lists a device when it starts",
            ):
                _core.add_rpc_server(endpoint)
            _connected.add(endpoint)
            devices.cache_clear()


def on_gpu(n_gpu_layers: int | None) -> bool:
    """`Build.on_gpu` of this process."""
    return has_gpu() and n_gpu_layers != 0


class Model:
    """A GGUF model, loaded.

    Args:
        path: the GGUF file (of several, the first).
        n_gpu_layers: layers to put on the GPU; None for all if there is a GPU, else for 0.
        vocab_only: leave the weights on disk; such a model tokenizes and has no `Scorer`.

    Raises:
        ModelError: llama.cpp cannot load the file; the message carries its reason.
    """

    def __init__(self, path: Path | str, *, n_gpu_layers: int | None = None, vocab_only: bool = False) -> None:
        self.path = Path(path)
        gpu = on_gpu(None)  # starts the backends: what they say of missing drivers is no reason why a model fails
        if n_gpu_layers is None:
            n_gpu_layers = -1 if gpu else 0
        self.on_gpu = gpu and n_gpu_layers != 0
        with guard(
            f"cannot load the model `{printable(path)}`",
            "the file may be truncated (compare its size with the original's), "
            "or made for an architecture that this llama.cpp does not know",
        ):
            self._core = _core.Model(os.fsencode(path), n_gpu_layers, vocab_only)
        self.info = ModelInfo.of(self._core.info())

    def tokenize(self, text: bytes, *, special: bool = False) -> NDArray[np.int32]:
        """Tokens of a UTF-8 text, shape [n_tokens], without the BOS that the vocabulary may add; with `special`, the
        special tokens that the text spells out count as such.

        Raises:
            ModelError: the tokenizer fails, or the text is longer than its 32-bit lengths allow.
        """
        if len(text) > _LONGEST_TEXT:
            raise ModelError(f"a text of {len(text)} bytes is too long for llama.cpp's tokenizer", hint="split it")
        with guard(f"the tokenizer of `{printable(self.path)}` fails"):
            return self._core.tokenize(text, special)

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]:
        """The bytes of each token; a character may be spread over several. Others than the vocabulary's: ValueError."""
        check_tokens(tokens, self.info.n_vocab)
        return self._core.pieces(tokens)


class Scorer:
    """A context on a model that scores one window per call, or several side by side.

    Args:
        model: the model.
        n_ctx: most tokens that a window may feed, and of windows that are scored together all of them.
        n_ubatch: most tokens in a micro-batch. This and `n_outputs_max` determine the numbers in their last digits.
        threads: CPU threads.
        n_outputs_max: most scored tokens in a micro-batch of a lone window (n_vocab float32 each); default n_ubatch.
        n_seq_max: most windows that are scored together.
        bf16: round each layer's output to bfloat16, as engines do that keep activations in this type.
        adapters: LoRAs and control vectors, applied in this context; the model's weights stay as they are.

    Raises:
        ModelError: the context cannot be made (for lack of memory, say), or not for this model or these adapters.
    """

    _states = False  # whether it shows what the layers hand on (`engine.looking`)

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_ubatch: int,
        threads: int,
        n_outputs_max: int | None = None,
        n_seq_max: int = 1,
        bf16: bool = False,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        self.model, self.n_ctx, self.n_seq_max = model, n_ctx, n_seq_max
        n_ubatch = min(n_ubatch, n_ctx)
        applied = load_adapters(model._core, model.path, adapters)
        sizes = n_ctx, n_ubatch, min(n_outputs_max or n_ubatch, n_ubatch), n_seq_max
        self._made_of = model._core, *sizes, threads, bf16, applied.loras, applied.directions, self._states
        self._flash = True
        self._core = self._made()

    def score(self, window: Window, on_step: Callable[[int], object] = lambda n_tokens: None) -> NDArray[np.float32]:
        """Log-probabilities of a window's targets.

        Args:
            window: the tokens to feed and the targets to score.
            on_step: called after every micro-batch with the number of tokens in it; what it raises ends the window.

        Returns:
            float32 of shape [len(window.targets)], in nats; values are not finite if the model's logits are not.

        Raises:
            ValueError: the window does not fit the context or the vocabulary.
            ModelError: llama.cpp fails to evaluate it.
            KeyboardInterrupt: between two micro-batches; the scorer stays usable.
        """
        return self.score_together([window], on_step)[0]

    def score_together(
        self, windows: Sequence[Window], on_step: Callable[[int], object] = lambda n_tokens: None
    ) -> list[NDArray[np.float32]]:
        """Log-probabilities of the targets of several windows, each a sequence of its own in one batch.

        The last digits of a window's numbers depend on the others. All are one step: no interrupt or `on_step` within.
        Windows with a prefix, the same for all, go in one after the other instead, each with the numbers that it has
        alone.

        Raises:
            ValueError: also for more than `n_seq_max` windows, or more than `n_ctx` tokens in all of them, unless they
                have a prefix; for windows of different prefixes.
        """
        core = self._checked(windows)
        with self._evaluating():
            return self._for(windows).score(core, on_step)

    def describe(
        self, windows: Sequence[Window], on_step: Callable[[int], object] = lambda n_tokens: None
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.void]]]:
        """As `score_together`, to the last bit, and of each window what is most probable at each place.

        Returns:
            Of each window the log-probabilities, and a structured array of type `pairs.BEST`.
        """
        core = self._checked(windows)
        with self._evaluating():
            values = self._for(windows).describe(core, on_step)
        return [each["logp"].copy() for each in values], [part(each, BEST) for each in values]

    @property
    def size_bytes(self) -> int:
        """Memory of the context beside the weights: keys and values, and what the graph computes in."""
        return self._core.size_bytes

    def keep(
        self, windows: Sequence[Window], on_step: Callable[[int], object] = lambda n_tokens: None, top_k: int = 0
    ) -> tuple[list[NDArray[np.float32]], KeptRows]:
        """As `score_together`, to the last bit, and the rows with their `top_k` best tokens, for `compare`."""
        core = self._checked(windows)
        with self._evaluating():
            values, tops, rows = self._for(windows).keep(core, top_k, on_step)
        kept = KeptRows(self.model.info.n_vocab, [window.targets for window in windows], values, tops, rows)
        return [each["logp"].copy() for each in values], kept

    def compare(
        self, windows: Sequence[Window], kept: KeptRows, on_step: Callable[[int], object] = lambda n_tokens: None
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.void]]]:
        """As `score_together`, to the last bit, and how far this model is from another one on the same windows.

        Returns:
            Of each window the log-probabilities, and a structured array of shape [len(window.targets)] and type
            `pairs.record`, with as many best tokens as the rows were kept with; where logits of one of the models are
            not finite, `kld` is not.

        Raises:
            ValueError: also where the rows were kept for other windows or have another length.
        """
        core = self._checked(windows)
        kept.refuse_others(windows, self.model.info.n_vocab)
        with self._evaluating():
            found, tops = self._for(windows).compare(core, kept.rows, on_step)
        return [each["cmp"]["logp"].copy() for each in found], kept.records(found, tops)

    def _made(self) -> _core.Scorer:
        with guard(
            f"cannot make a context of {self.n_ctx} tokens for `{printable(self.model.path)}`",
            "a smaller `n_ctx` or `n_ubatch` needs less memory",
        ):
            return _core.Scorer(*self._made_of, flash=self._flash)

    def _for(self, windows: Sequence[Window]) -> _core.Scorer:
        """The context that evaluates these windows, with flash attention or without; there is one at a time."""
        flash = windows[0].flash or self.model.on_gpu  # a GPU has kernels of its own, and they move numbers either way
        if flash != self._flash:
            del self._core  # its memory first
            self._flash = flash
            self._core = self._made()
        return self._core

    def _checked(self, windows: Sequence[Window]) -> list[CoreWindow]:
        return as_core(windows, n_ctx=self.n_ctx, n_seq_max=self.n_seq_max, n_vocab=self.model.info.n_vocab)

    def _evaluating(self) -> AbstractContextManager[None]:
        return guard(f"cannot evaluate `{printable(self.model.path)}`")
